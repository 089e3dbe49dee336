"""What happened, in order: a ring of the last thousand events, each with its numbers and without a value.

An event that only repeats the one before, within a second, raises that one's count. Writers take no lock: each step
here is one operation of the interpreter, so a finalizer or a signal handler may write, too. If two threads fold at the
same instant without the GIL, a count may be one too small.

Knows kinds of events and their order. Does not know who writes or reads them.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections import deque
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

#: How many are kept, and how many of a kind that has a ring of its own: slow statements may come in floods.
KEPT: Final = 1_000
KEPT_ALONE: Final = {"slow": 200}
#: Seconds within which equal neighbours are one event.
FOLDED: Final = 1.0


@dataclasses.dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened.

    Attributes:
        seq: Its number; later events have higher ones.
        at: When it happened first: seconds since 1970.
        until: When it was last repeated; *at* if it was not.
        kind: ``opened``, ``open_failed``, ``closed``, ``timeout``, ``refused``, ``leak``, ``lost``, ``suspended``,
            ``resumed``, ``drained``, ``retry``, ``unknown`` (an `OutcomeUnknown`), ``role``, ``slow``, ``purged``,
            ``fuse`` or ``pool_closed``.
        times: How often it happened, all within a second of each other.
        details: What is known about it, by name: a reason, seconds, a place, the id of a statement. No value of the
            caller's and no text of the server's is in it.
    """

    seq: int
    at: float
    until: float
    kind: str
    times: int
    details: Mapping[str, Any]

    def __str__(self) -> str:
        shown = " ".join(f"{name}={value}" for name, value in self.details.items())
        return self.kind + (f" x{self.times}" if self.times > 1 else "") + (f" {shown}" if shown else "")


class _Record:
    __slots__ = ("at", "details", "key", "kind", "seq", "times", "until")

    def __init__(self, seq: int, at: float, kind: str, key: object, details: dict[str, Any]) -> None:
        self.seq = seq
        self.at = self.until = at
        self.kind = kind
        self.key = key
        self.times = 1
        self.details = details


class Events:
    """The events of one pool, or of several servers behind one object."""

    def __init__(self, wall: Callable[[], float], kept: int = KEPT) -> None:
        """Make an empty ring.

        Args:
            wall: The time, in seconds since 1970.
            kept: How many events are kept.
        """
        self._wall = wall
        self._ring: deque[_Record] = deque(maxlen=kept)
        self._alone: dict[str, deque[_Record]] = {kind: deque(maxlen=most) for kind, most in KEPT_ALONE.items()}
        self._numbers = itertools.count(1)

    def add(self, kind: str, /, *, fold: object = None, **details: Any) -> None:
        """Note an event.

        Args:
            kind: What happened.
            fold: What makes two events equal besides their kind; the details if None.
            **details: What is known about it.
        """
        now = self._wall()
        key = tuple(details.items()) if fold is None else fold
        ring = self._alone.get(kind, self._ring)
        last = _last(ring)
        if last is not None and last.kind == kind and last.key == key and now - last.until < FOLDED:
            last.until = now
            last.times += 1
            return
        ring.append(_Record(next(self._numbers), now, kind, key, details))

    def clear(self) -> None:
        """Forget what happened."""
        for ring in (self._ring, *self._alone.values()):
            ring.clear()

    def since(self, after: int = 0, kind: str | None = None) -> list[Event]:
        """Return the events that are kept, the oldest first.

        Args:
            after: Only those with a higher number.
            kind: Only those of this kind.
        """
        records = [record for ring in (self._ring, *self._alone.values()) for record in _copy(ring)]
        return [
            Event(record.seq, record.at, record.until, record.kind, record.times, dict(record.details))
            for record in sorted(records, key=lambda record: record.seq)
            if record.seq > after and kind in {None, record.kind}
        ]


def _last(ring: deque[_Record]) -> _Record | None:
    try:
        return ring[-1]
    except IndexError:
        return None


def _copy(ring: deque[_Record]) -> list[_Record]:
    while True:
        try:
            return list(ring)
        except RuntimeError:  # another thread added one meanwhile
            continue
