"""What was measured, what it says about a target, and the best and the median of it.

Knows numbers. Does not know how they were obtained, or how they are shown.
"""

from __future__ import annotations

import dataclasses
import statistics
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

#: How ours is called; so begins the name of each of its variants.
OURS: Final = "improved_db"


class Pair(NamedTuple):
    """One quantity twice: from the best rounds, and from the medians of the rounds."""

    best: float
    median: float


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One contender at one task.

    Attributes:
        task: What was done.
        contender: By whom.
        unit: Of the values.
        values: One for each round, in their order.
        x: Where it stands on a curve: a number of threads, rows ...; None if the task is no curve.
        more_is_better: Whether it is a rate and not a time.
    """

    task: str
    contender: str
    unit: str
    values: Sequence[float]
    x: float | None = None
    more_is_better: bool = False

    @property
    def best(self) -> float:
        """The round that was disturbed least."""
        return max(self.values) if self.more_is_better else min(self.values)

    @property
    def median(self) -> float:
        """The usual round."""
        return statistics.median(self.values)

    @property
    def pair(self) -> Pair:
        """Both."""
        return Pair(self.best, self.median)


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """A target, and how far we are.

    Attributes:
        number: The target's, as in "P1".
        claim: What is compared with what.
        limit: What the measured number must not exceed, or must reach.
        at_most: Whether it must not exceed it.
        measured: The number; None if it could not be had, mostly as a peer is missing.
        unit: Of limit and number; "x" for a ratio.
    """

    number: str
    claim: str
    limit: float
    measured: Pair | None
    at_most: bool = True
    unit: str = "x"

    @property
    def outcome(self) -> Literal["met", "missed", "borderline", "not measured"]:
        """What the best rounds and the medians say; borderline where they disagree."""
        if self.measured is None:
            return "not measured"
        kept = {value <= self.limit if self.at_most else value >= self.limit for value in self.measured}
        return "borderline" if len(kept) > 1 else "met" if kept.pop() else "missed"


@dataclass(kw_only=True)
class Report:
    """All that one script found.

    Attributes:
        script: Its name.
        measurements: In the order of their making.
        verdicts: In the order of the targets.
        missing: Peers that could not take part, and why.
        notes: What else is to be known, a sentence each.
    """

    script: str
    measurements: list[Measurement] = field(default_factory=list)
    verdicts: list[Verdict] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def find(self, task: str, contender: str, x: float | None = None) -> Measurement | None:
        """Return one measurement, if it was made."""
        for each in self.measurements:
            if (each.task, each.contender, each.x) == (task, contender, x):
                return each
        return None

    def tasks(self) -> Iterator[list[Measurement]]:
        """Yield the measurements of each task."""
        for task in dict.fromkeys(each.task for each in self.measurements):
            yield [each for each in self.measurements if each.task == task]

    def value(self, task: str, contender: str, x: float | None = None) -> Pair | None:
        """Return what a contender reached at a task."""
        found = self.find(task, contender, x)
        return None if found is None else found.pair

    def ratio(self, task: str, contender: str, *peers: str) -> Pair | None:
        """Return a contender's number divided by the best peer's; None if it or all of the peers are missing."""
        mine = self.find(task, contender)
        others = [found for peer in peers if (found := self.find(task, peer)) is not None]
        if mine is None or not others:
            return None
        choose = max if mine.more_is_better else min
        return Pair(
            mine.best / choose(other.best for other in others), mine.median / choose(other.median for other in others)
        )

    def spread(self, task: str, contender: str, at_least: float) -> Pair | None:
        """Return the highest divided by the lowest of a contender's numbers on the curve of a task.

        Args:
            task: Which one.
            contender: Whose.
            at_least: Where on the curve to begin.
        """
        curve = [each for each in self.measurements if (each.task, each.contender) == (task, contender)]
        curve = [each for each in curve if each.x is not None and each.x >= at_least]
        if not curve:
            return None
        best, median = [each.best for each in curve], [each.median for each in curve]
        return Pair(max(best) / min(best), max(median) / min(median))

    def as_json(self) -> dict[str, Any]:
        """Return what `from_json` takes, with best, median and outcome added for other readers."""
        return {
            "script": self.script,
            "measurements": [
                {**dataclasses.asdict(each), "best": each.best, "median": each.median} for each in self.measurements
            ],
            "verdicts": [
                {**dataclasses.asdict(each), "measured": each.measured and list(each.measured), "outcome": each.outcome}
                for each in self.verdicts
            ],
            "missing": self.missing,
            "notes": self.notes,
        }

    @classmethod
    def from_json(cls, found: dict[str, Any]) -> Report:
        """Return the report that `as_json` wrote."""
        report = cls(script=found["script"], missing=found["missing"], notes=found["notes"])
        for each in found["measurements"]:
            kept = {name: value for name, value in each.items() if name not in ("best", "median")}
            report.measurements.append(Measurement(**kept))
        for each in found["verdicts"]:
            kept = {name: value for name, value in each.items() if name != "outcome"}
            report.verdicts.append(Verdict(**{**kept, "measured": kept["measured"] and Pair(*kept["measured"])}))
        return report
