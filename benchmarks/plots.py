"""Reports as pictures, a PNG and an SVG for each script, by matplotlib.

Knows reports and matplotlib. Does not know where the numbers come from.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

from measurements import OURS
from table import number, unit_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from measurements import Measurement, Report

BLUE, GREY, DARK = "#2f6db3", "#b4bac2", "#333333"
COLORS: Final = ("#c2452d", "#5a9e57", "#8f6bb0", "#d39a2c", "#4fa3a5", "#8c6d52", "#7f7f7f")


def draw(report: Report, folder: Path) -> bool:
    """Draw every task of *report* into one picture in *folder*; False where matplotlib is not installed."""
    tasks = list(report.tasks())
    heights = [_height(task) for task in tasks]
    try:
        matplotlib = importlib.import_module("matplotlib")
        figure_class = importlib.import_module("matplotlib.figure").Figure
    except ImportError:
        return False
    if not tasks:
        return True
    figure = figure_class(figsize=(9, sum(heights)), layout="constrained")
    axes = figure.subplots(len(tasks), 1, squeeze=False, gridspec_kw={"height_ratios": heights})[:, 0]
    for task, each in zip(tasks, axes, strict=True):
        (_bars if task[0].x is None else _curves)(each, task)
        each.set_title(task[0].task, loc="left", fontsize=11, fontweight="bold", color=DARK)
        each.spines[["top", "right"]].set_visible(False)
    with matplotlib.rc_context({"svg.hashsalt": report.script, "svg.fonttype": "none"}):  # same data, same file
        figure.savefig(folder / f"{report.script}.svg", metadata={"Date": None})
    figure.savefig(folder / f"{report.script}.png", dpi=110)
    return True


def _height(task: Sequence[Measurement]) -> float:
    """Return how many inches a task's picture needs."""
    return 3.4 if task[0].x is not None else 1.0 + 0.27 * len(task)


def _bars(axes: Any, task: Sequence[Measurement]) -> None:
    """Draw the best of each contender, the winner on top, with a tick for the median."""
    ordered = sorted(task, key=lambda each: each.best, reverse=not task[0].more_is_better)
    places = range(len(ordered))
    colors = [BLUE if each.contender.startswith(OURS) else GREY for each in ordered]
    axes.barh(places, [each.best for each in ordered], color=colors, height=0.72)
    for place, each in zip(places, ordered, strict=True):
        axes.plot([each.median] * 2, [place - 0.36, place + 0.36], color=DARK, linewidth=1.2)
        at = max(each.best, each.median)
        axes.annotate(number(each.best), (at, place), (4, 0), textcoords="offset points", va="center", fontsize=9)
    axes.set_yticks(places, [each.contender for each in ordered])
    axes.set_xlabel(f"{unit_of(task)}; the tick is the median")
    axes.margins(x=0.08)
    axes.set_xlim(left=0, right=None if ordered[0].best else 1)


def _curves(axes: Any, task: Sequence[Measurement]) -> None:
    colors = iter(COLORS * len(task))
    for name in dict.fromkeys(each.contender for each in task):
        curve = sorted((each.x or 0, each.best) for each in task if each.contender == name)
        color, width = (BLUE, 2.4) if name == OURS else (next(colors), 1.3)
        axes.plot(*zip(*curve, strict=True), marker="o", markersize=4, color=color, linewidth=width, label=name)
    axes.set_xscale("log", base=2 if max(each.x or 0 for each in task) <= 1024 else 10)
    axes.set_xticks(sorted({each.x or 0 for each in task}))
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.minorticks_off()
    axes.set_ylim(bottom=0)
    axes.set_ylabel(task[0].unit)
    axes.legend(fontsize=8, frameon=False)
