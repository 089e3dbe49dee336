"""Reports as text: for a terminal, and as Markdown to keep.

Knows reports. Does not know where they come from, or pictures.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from measurements import OURS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from measurements import Measurement, Report, Verdict

Row = list[str]

LEGEND: Final = (
    "Best and median are of the rounds of one run, all contenders in turn. A target is met if both meet it, missed if "
    "neither does, and borderline otherwise. How to run this, and what each line means: [README](../README.md)."
)


def report_as_text(report: Report) -> str:
    """Return everything in *report*, for a terminal."""
    parts = [f"\n{task[0].task} ({unit_of(task)})\n{_aligned(_rows_of(task))}" for task in report.tasks()]
    if report.verdicts:
        parts.append(f"\ntargets\n{_aligned(_verdict_rows(report.verdicts))}")
    parts += [f"without {name}: {why}" for name, why in report.missing.items()]
    return "\n".join(parts + report.notes)


def reports_as_markdown(reports: Sequence[Report], about: dict[str, Any]) -> str:
    """Return the page to keep: targets, every task, machine and versions."""
    verdicts = sorted((each for report in reports for each in report.verdicts), key=_place)
    parts = [
        f"# Benchmarks of improved_db, {about['date'][:10]}",
        _sentence_about(about),
        LEGEND,
        "## Targets",
        _markdown(_verdict_rows(verdicts)),
    ]
    for report in reports:
        parts.append(f"## {report.script}")
        parts += [f"![{report.script}]({report.script}.svg)"] * about["plots"]
        for task in report.tasks():
            parts += [f"### {task[0].task} ({unit_of(task)})", _markdown(_rows_of(task))]
        parts += [f"- {note}" for note in report.notes]
        parts += [f"- without {name}: {why}" for name, why in report.missing.items()]
    parts += ["## Versions", _markdown([["what", "version"], *([k, v] for k, v in about["versions"].items())])]
    return "\n\n".join(parts) + "\n"


def _place(verdict: Verdict) -> tuple[int, str]:
    """Return where a target stands: by its number, then by its letter."""
    return int("".join(filter(str.isdigit, verdict.number))), verdict.number


def unit_of(task: Sequence[Measurement]) -> str:
    """Return the unit of a task, and which way is better."""
    return f"{task[0].unit}, {'more' if task[0].more_is_better else 'less'} is better"


def _sentence_about(about: dict[str, Any]) -> str:
    machine = about["machine"]
    quick = " **A quick run: these numbers mean nothing.**" if about["quick"] else ""
    return (
        f"{machine['cpu']}, {machine['cores']} cores, {machine['system']}, Python {machine['python']}; "
        f"load average at the start {machine['load']:.2f}.{quick}"
    )


def _rows_of(task: Sequence[Measurement]) -> list[Row]:
    if all(each.x is None for each in task):
        return _contender_rows(task)
    points = sorted({each.x for each in task if each.x is not None})
    rows = [["contender", *(f"{point:,.0f}" for point in points)]]
    for name in dict.fromkeys(each.contender for each in task):
        found = {each.x: each for each in task if each.contender == name}
        rows.append([name, *(number(found[point].best) if point in found else "" for point in points)])
    return rows


def _contender_rows(task: Sequence[Measurement]) -> list[Row]:
    ours = next((each for each in task if each.contender.startswith(OURS)), task[0])
    rows = [["contender", "best", "median", f"best, {ours.contender} = 1"]]
    for each in sorted(task, key=lambda each: each.best, reverse=task[0].more_is_better):
        relative = f"{each.best / ours.best:.2f}" if ours.best else ""
        rows.append([each.contender, number(each.best), number(each.median), relative])
    return rows


def _verdict_rows(verdicts: Sequence[Verdict]) -> list[Row]:
    rows = [["target", "what", "limit", "best", "median", "outcome"]]
    for each in verdicts:
        sign, unit = "<=" if each.at_most else ">=", each.unit
        best, median = (f"{value:.3g} {unit}" for value in each.measured) if each.measured else ("", "")
        rows.append([each.number, each.claim, f"{sign} {each.limit:g} {unit}", best, median, each.outcome])
    return rows


def number(value: float) -> str:
    """Return *value* with three digits that say something."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}" if abs(value) >= 0.1 else f"{value:.3g}"


def _aligned(rows: Sequence[Row]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)


def _markdown(rows: Sequence[Row]) -> str:
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([lines[0], "|---" * len(rows[0]) + "|", *lines[1:]])
