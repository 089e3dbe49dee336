"""The tally: what each statement cost, by its normal form, in bounded memory.

`Tally.note` runs after every query, so it takes no lock: each of its steps changes one number between two instructions
where the interpreter with a GIL never switches threads. Without the GIL, `note` takes the lock. New forms, purges and
snapshots are critical sections in any case.

If the table is full, the lightest forms are dropped by a weight that fades, and their sums go to a row for each verb:
totals never fall. If new texts come too fast (a program that writes values into its texts), they are not read for the
rest of the second.

Knows statements, their times and how they ended. Does not know connections, or who reads the table.
"""

from __future__ import annotations

import contextlib
import sys
from bisect import bisect_left
from typing import TYPE_CHECKING, Any, Final

from improved_db.critical import Reentered, Section, critical
from improved_db.observe.entry import MANY, Entry
from improved_db.observe.histogram import BOUNDS
from improved_db.observe.statement import Statements
from improved_db.pool.fork import remember
from improved_db.sql.keywords import KEYWORDS
from improved_db.sql.normal import identity, normal_form
from improved_db.sql.summary import summary
from improved_db.sql.tokens import first_words

if TYPE_CHECKING:
    from collections.abc import Callable

    from improved_db.execution.observed import Call, Times

#: Texts longer than this are read each time; how many characters of shorter ones are remembered.
LONG: Final = 16_000
REMEMBERED: Final = 2_000_000
#: Texts that are remembered for each form that is kept.
TEXTS: Final = 4
#: New texts that are read within a second at the most: a hundredth of a processor's time, or two.
FUSE: Final = 200
#: Which part of the table a purge drops, and how a weight fades with each.
DROPPED: Final = 0.05
FADES: Final = 0.99


class Tally:
    """The statements of one pool.

    Attributes:
        slow_after: Seconds that make a call slow; infinite if none is.
        on_slow: Called with the entry, the times and the result of a slow statement.
    """

    def __init__(
        self,
        limit: int,
        database: str,
        *,
        now: Callable[[], float],
        wall: Callable[[], float],
        on_event: Callable[..., object],
        slow_after: float = float("inf"),
        on_slow: Callable[[Entry, str, Times, Any], object] | None = None,
    ) -> None:
        """Make an empty table.

        Args:
            limit: How many forms are kept.
            database: Part of each statement's id.
            now: The clock by which calls are timed.
            wall: The time, in seconds since 1970.
            on_event: Hears of purges, and of texts that are not read.
            slow_after: Seconds that make a call slow.
            on_slow: Hears of slow calls that succeeded at once.
        """
        self.slow_after: float = slow_after
        self.on_slow: Callable[[Entry, str, Times, Any], object] | None = on_slow
        self._limit = limit
        self._database = database
        self._now = now
        self._wall = wall
        self._on_event = on_event
        if not getattr(sys, "_is_gil_enabled", lambda: True)():
            self.note = self._note_locked  # type: ignore[method-assign]  # the same, where a number needs a lock
        self._before: dict[str, Entry] = {}
        self.begin_in_child()
        remember(self)

    def begin_in_child(self) -> None:
        """Start with an empty table, at first and in a forked child: what was counted is the parent's."""
        self.section: Section = Section()
        self._before = {}
        self._clear()

    def _clear(self) -> None:
        self._since = self._wall()
        self._texts: dict[str, Entry] = {}
        self._characters = 0
        self._entries: dict[str, Entry] = {}
        self._rest: dict[str, Entry] = {}
        self._purged = 0
        self._purged_at = self._now()
        self._second = -1.0
        self._met = 0

    # --- counting --------------------------------------------------------------------------------------------------

    def note(self, query: str, args: object, times: Times, result: Any) -> None:  # noqa: ARG002  # others ask for args
        """Count a statement that succeeded at once."""
        try:
            entry = self._texts[query]
        except KeyError:
            entry = self.entry(query)
        ended_at = times.ended_at
        run = ended_at - times.taken_at
        total = ended_at - times.started_at
        at = bisect_left(BOUNDS, run)
        entry.counts[at] += 1
        entry.run += run
        entry.total += total
        rows = result.affected_rows
        if rows:
            entry.rows += rows
        if ended_at >= entry.look_at:
            entry.look(ended_at)
        if total >= entry.remarkable:
            self._remark(entry, run, total, query, times, result)

    def _note_locked(self, query: str, args: object, times: Times, result: Any) -> None:
        with contextlib.suppress(Reentered):  # a finalizer's query, in the middle of this very note
            self._note_in_section(query, args, times, result)

    @critical
    def _note_in_section(self, query: str, args: object, times: Times, result: Any) -> None:
        Tally.note(self, query, args, times, result)

    def _remark(self, entry: Entry, run: float, total: float, query: str, times: Times, result: Any) -> None:
        """Count a call that is slow, or the longest so far."""
        if run > entry.longest:
            entry.longest, entry.longest_at = run, times.ended_at
            entry.remarkable = min(run, self.slow_after)
        if total >= self.slow_after:
            entry.slow += 1
            if self.on_slow is not None:
                self.on_slow(entry, query, times, result)

    def done(self, call: Call) -> Entry:
        """Count any other call."""
        entry = self._texts.get(call.query) or self.entry(call.query)
        if call.served:
            entry.counts[bisect_left(BOUNDS, call.run)] += 1
        else:
            entry.unserved += 1
        entry.run += call.run
        entry.total += call.wait + call.run
        entry.rows += call.rows
        entry.batched += call.batch or 0
        now = self._now()
        if call.run > entry.longest:
            entry.longest, entry.longest_at = call.run, now
            entry.remarkable = min(call.run, self.slow_after)
        if now >= entry.look_at:
            entry.look(now)
        for failed in call.failures:
            if failed.pause is not None and not failed.statement:  # `retried` was told of the others
                entry.retried(failed.verdict.value)
        if call.error is not None:
            entry.failed(call.verdict, code_of(call.error))
        if call.wait + call.run >= self.slow_after:
            entry.slow += 1
        return entry

    def retried(self, query: str, verdict: str) -> None:
        """Count a retry."""
        entry = self._texts.get(query) or self.entry(query)
        entry.retried(verdict)

    # --- the table -------------------------------------------------------------------------------------------------

    def entry(self, query: str) -> Entry:
        """Return the entry of a text, new or known."""
        try:
            return self._meet(query)
        except Reentered:  # a finalizer's query, in the middle of this very bookkeeping
            return self._unread(query)

    @critical
    def _meet(self, query: str) -> Entry:
        entry = self._texts.get(query)
        if entry is not None:
            return entry
        if self._has_blown():
            return self._unread(query)
        form = normal_form(query)
        entry = self._entries.get(form)
        if entry is None:
            if len(self._entries) >= self._limit:
                self._purge()
            entry = self._entries[form] = self._new(form, summary(query), _verb(form))
        entry.texts = min(entry.texts + 1, MANY)
        if len(query) <= LONG:
            self._characters += len(query)
            if len(self._texts) >= TEXTS * self._limit or self._characters > REMEMBERED:
                self._texts, self._characters = {}, len(query)
            self._texts[query] = entry
        return entry

    def _has_blown(self) -> bool:
        """Say whether new texts come too fast to be read."""
        second = self._now() // 1.0
        if second != self._second:
            self._second, self._met = second, 0
        self._met += 1
        if self._met == FUSE + 1:
            self._on_event("fuse", texts=FUSE)
        return self._met > FUSE

    def _unread(self, query: str) -> Entry:
        return self._row("unread texts", _verb(query))

    def _row(self, kind: str, verb: str) -> Entry:
        """Return the entry of a row that stands for many forms; there are few of them, and none is purged."""
        form = f"({kind}) {verb}"
        entry = self._rest.get(form)
        if entry is None:
            entry = self._rest[form] = self._new(form, form, verb)
        return entry

    def _new(self, form: str, short: str, verb: str) -> Entry:
        return Entry(identity(form, self._database), form, short, verb, self._now())

    def _purge(self) -> None:
        """Drop the lightest forms; those first seen since the last purge are spared if others are left."""
        for entry in self._entries.values():
            entry.fade(FADES)
        old = [entry for entry in self._entries.values() if entry.first_at <= self._purged_at]
        number = max(int(self._limit * DROPPED), 1)
        light = sorted(old if len(old) >= number else self._entries.values(), key=lambda entry: entry.weight)[:number]
        for entry in light:
            del self._entries[entry.form]
            self._row("rest", entry.verb).take_over(entry)
        dropped = set(map(id, light))
        self._texts = {text: entry for text, entry in self._texts.items() if id(entry) not in dropped}
        self._purged += len(light)
        self._purged_at = self._now()
        self._on_event("purged", forms=len(light))

    @critical
    def reset(self) -> None:
        """Begin anew; sums by verb go on, because they are metrics, which never fall."""
        self._before = self._sums()
        self._clear()

    # --- reading ---------------------------------------------------------------------------------------------------

    @property
    def tracked(self) -> int:
        """How many forms are kept."""
        return len(self._entries)

    @property
    def purged(self) -> int:
        """How many forms were dropped."""
        return self._purged

    def statements(self) -> Statements:
        """Return a snapshot of the whole table, the longest run seconds first."""
        try:
            entries = self._copy()
        except Reentered:
            entries = [*self._entries.values(), *self._rest.values()]
        total = sum(entry.run for entry in entries)
        offset = self._wall() - self._now()
        made = (entry.snapshot(total, offset) for entry in entries)
        found = Statements(sorted(made, key=lambda statement: -statement.run_seconds))
        found.since, found.purged, found.run_seconds = self._since, self._purged, total
        found.unread = self._met > FUSE and self._now() // 1.0 == self._second
        return found

    def by_verb(self) -> dict[str, Entry]:
        """Return the sums of all statements by verb, since the process began."""
        try:
            return self._locked_sums()
        except Reentered:
            return self._sums()

    @critical
    def _locked_sums(self) -> dict[str, Entry]:
        return self._sums()

    def _sums(self) -> dict[str, Entry]:
        sums: dict[str, Entry] = {}
        for entry in (*self._before.values(), *self._entries.values(), *self._rest.values()):
            if entry.verb not in sums:
                sums[entry.verb] = Entry("", entry.verb, entry.verb, entry.verb, entry.first_at)
            sums[entry.verb].take_over(entry)
        return sums

    @critical
    def _copy(self) -> list[Entry]:
        return [*self._entries.values(), *self._rest.values()]


def code_of(error: BaseException) -> str:
    """Return the server's or the driver's number as text; the name of the class if there is none."""
    code = error.args[0] if error.args else None
    if isinstance(code, int) and code and not isinstance(error, OSError):
        return str(code)
    return type(error).__name__


def _verb(text: str) -> str:
    """Return the first word of a statement, if it is a word of SQL's: any other may be a value."""
    first = next((word for word in first_words(text[:200], 3) if word), "")
    return first if first in KEYWORDS else "OTHER"
