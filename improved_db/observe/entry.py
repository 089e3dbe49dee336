"""One row of the tally, while it is counted.

Knows sums. Does not know texts, or the table that it is in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from improved_db.observe.histogram import added, empty
from improved_db.observe.statement import Statement
from improved_db.pool.loan import callers_place, describe_place

if TYPE_CHECKING:
    from types import CodeType

#: How many different texts are told apart, and how many errors and places are.
MANY: Final = 100
ERRORS: Final = 8
PLACES: Final = 3
#: Seconds between two looks at the place of a call: each takes about a microsecond.
LOOKS: Final = 1.0


class Entry:
    """The sums of all calls with one normal form; each means what `Statement` says, and *total* is wait and run."""

    __slots__ = (
        "batched",
        "codes",
        "counts",
        "first_at",
        "form",
        "id",
        "last_at",
        "longest",
        "longest_at",
        "look_at",
        "places",
        "remarkable",
        "retries",
        "rows",
        "run",
        "slow",
        "summary",
        "texts",
        "total",
        "unserved",
        "verb",
        "verdicts",
        "weighed",
        "weight",
    )

    id: str
    form: str
    summary: str
    verb: str
    first_at: float
    last_at: float
    counts: list[int]
    remarkable: float
    run: float
    total: float
    longest: float
    longest_at: float
    weight: float
    weighed: float
    rows: int
    batched: int
    unserved: int
    slow: int
    texts: int
    look_at: float

    def __init__(self, name: str, form: str, summary: str, verb: str, now: float) -> None:
        self.id: str = name
        self.form: str = form
        self.summary: str = summary
        self.verb: str = verb
        self.first_at: float = now
        self.last_at: float = now
        self.counts: list[int] = empty()
        self.run: float = 0.0
        self.total: float = 0.0
        self.longest: float = 0.0
        self.longest_at: float = 0.0
        self.remarkable: float = 0.0  # what a call has to take to be slow, or the longest so far
        self.weight: float = 0.0
        self.weighed: float = 0.0
        self.rows: int = 0
        self.batched: int = 0
        self.unserved: int = 0
        self.slow: int = 0
        self.texts: int = 0
        self.verdicts: dict[str, int] = {}
        self.codes: dict[str, int] = {}
        self.retries: dict[str, int] = {}
        self.places: dict[tuple[CodeType, int], int] = {}
        self.look_at: float = 0.0

    def look(self, now: float) -> None:
        """Note from where it is called, now and not before another second has passed."""
        self.look_at = now + LOOKS
        self.last_at = now
        self.note_place()

    def note_place(self) -> None:
        """Note from where it is called."""
        for place in callers_place():
            if place in self.places or len(self.places) < PLACES:
                self.places[place] = self.places.get(place, 0) + 1

    def failed(self, verdict: str, code: str) -> None:
        """Count a call that failed."""
        self.verdicts[verdict] = self.verdicts.get(verdict, 0) + 1
        code = code if code in self.codes or len(self.codes) < ERRORS else "other"
        self.codes[code] = self.codes.get(code, 0) + 1

    def retried(self, verdict: str) -> None:
        """Count a retry."""
        self.retries[verdict] = self.retries.get(verdict, 0) + 1

    def fade(self, factor: float) -> None:
        """Let its weight fade, and add what it ran since that was last done."""
        self.weight = self.weight * factor + self.run - self.weighed
        self.weighed = self.run

    def take_over(self, other: Entry) -> None:
        """Add the sums of an entry that is dropped."""
        self.counts = added(self.counts, other.counts)
        self.run += other.run
        self.total += other.total
        self.rows += other.rows
        self.batched += other.batched
        self.unserved += other.unserved
        self.slow += other.slow
        self.texts = min(self.texts + other.texts, MANY)
        if other.longest > self.longest:
            self.longest, self.longest_at = other.longest, other.longest_at
        self.first_at, self.last_at = min(self.first_at, other.first_at), max(self.last_at, other.last_at)
        for mine, theirs in ((self.verdicts, other.verdicts), (self.codes, other.codes), (self.retries, other.retries)):
            for name, count in theirs.items():
                mine[name] = mine.get(name, 0) + count

    def described_places(self) -> list[str]:
        """Return where it is called from, the most frequent place first."""
        places = sorted(self.places.copy().items(), key=lambda item: -item[1])
        return [text for place, _ in places for text in describe_place((place,), None)]

    def snapshot(self, total: float, offset: float) -> Statement:
        """Return its sums; *total* is the run of all entries, *offset* makes an instant seconds since 1970."""
        counts = tuple(self.counts)
        verdicts = self.verdicts.copy()
        return Statement(
            id=self.id,
            digest=self.form,
            summary=self.summary,
            verb=self.verb,
            calls=sum(counts) + self.unserved,
            rows=self.rows,
            batched=self.batched,
            errors=sum(verdicts.values()),
            errors_by_verdict=verdicts,
            errors_by_code=self.codes.copy(),
            retries=sum(self.retries.copy().values()),
            retries_by_verdict=self.retries.copy(),
            unknown=verdicts.get("unknown", 0),
            slow=self.slow,
            texts=self.texts,
            run_seconds=self.run,
            wait_seconds=max(self.total - self.run, 0.0),
            longest=self.longest,
            longest_at=self.longest_at + offset if self.longest_at else 0.0,
            first_at=self.first_at + offset,
            last_at=self.last_at + offset,
            share=self.run / total if total else 0.0,
            places=tuple(self.described_places()),
            counts=counts,
        )
