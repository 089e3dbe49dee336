"""What the pool looks like at one instant, and what has happened so far: frozen snapshots.

Knows names and numbers. Does not know who asks, or any metrics library.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PoolStats:
    """One consistent look at a pool: gauges first, then counters that only grow.

    Attributes:
        name: The pool's name.
        max_size: How many connections it may have.
        min_size: How many it keeps.
        idle: Connections in the rack.
        used: Connections with borrowers.
        opening: Connections being opened.
        cold: Slots without a connection; ``idle + used + opening + cold == max_size``, but for a pool that was shrunk
            while lent.
        waiting: Borrowers in line.
        acquired: Loans given out.
        acquired_at_once: Of those, how many did not stand in line.
        waited: Of those, how many stood in line.
        wait_seconds: Time spent in line by those who were served.
        use_seconds: Time connections spent with borrowers, of the loans that ended.
        timed_out: Borrowers who left without a connection at their deadline.
        refused: Borrowers refused because the line was full.
        opened: Connections opened.
        open_seconds: Time that took.
        open_errors: Attempts to open that failed.
        discarded: Connections thrown away because they were unfit, by reason.
        retired: Healthy connections replaced or closed by rule (age, idleness, drain, resize, close), by reason.
        lost: Loans that never came back and were recovered.
        leaks: Loans reported as held for too long.
        retries: Attempts made again by the executor, by verdict.
        closed: Whether the pool is closed.
    """

    name: str
    max_size: int
    min_size: int
    idle: int
    used: int
    opening: int
    cold: int
    waiting: int
    acquired: int
    acquired_at_once: int
    waited: int
    wait_seconds: float
    use_seconds: float
    timed_out: int
    refused: int
    opened: int
    open_seconds: float
    open_errors: int
    discarded: Mapping[str, int]
    retired: Mapping[str, int]
    lost: int
    leaks: int
    retries: Mapping[str, int] = dataclasses.field(default_factory=dict)
    closed: bool = False

    @property
    def size(self) -> int:
        """Connections there are: idle, used or being opened."""
        return self.idle + self.used + self.opening


class Borrowed(NamedTuple):
    """One loan that is out now.

    Attributes:
        thread: The borrower's thread name.
        seconds: How long it has been out.
        place: Where it was borrowed, innermost frame first, as ``file:line in function``.
    """

    thread: str
    seconds: float
    place: tuple[str, ...]

    def __str__(self) -> str:
        at = f" at {self.place[0]}" if self.place else ""
        return f"{self.thread} for {self.seconds:.1f} s{at}"


class Listener(Protocol):
    """Whoever wants to hear each duration in seconds, as it happens; called outside the lock."""

    def waited(self, pool: str, seconds: float) -> None:
        """Hear that a borrower was served after standing in line (0.0: at once)."""

    def used(self, pool: str, seconds: float) -> None:
        """Hear that a loan came home."""

    def created(self, pool: str, seconds: float) -> None:
        """Hear that a connection was opened."""


@dataclasses.dataclass(slots=True)
class Counters:
    """The counters of a pool, changed under its lock only; each is explained in `PoolStats`."""

    acquired: int = 0
    waited: int = 0
    wait_seconds: float = 0.0
    use_seconds: float = 0.0
    timed_out: int = 0
    refused: int = 0
    opened: int = 0
    open_seconds: float = 0.0
    open_errors: int = 0
    discarded: dict[str, int] = dataclasses.field(default_factory=dict)
    retired: dict[str, int] = dataclasses.field(default_factory=dict)
    lost: int = 0
    leaks: int = 0
