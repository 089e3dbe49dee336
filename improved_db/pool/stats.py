"""What the pool looks like at one instant, and what has happened so far: frozen snapshots.

Knows names and numbers. Does not know their readers, or any metrics library.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    from improved_db.pool.rack import Rack


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PoolStats:
    """One consistent look at a pool: gauges first, then counters that only grow.

    Attributes:
        name: The pool's name.
        max_size: How many connections it may have.
        min_size: How many it keeps.
        idle: Connections in the rack.
        used: Connections that borrowers hold.
        opening: Connections being opened.
        cold: Slots without a connection; ``idle + used + opening + cold == max_size``, unless the pool was made smaller
            while connections were in use.
        waiting: Borrowers who wait.
        acquired: Borrowers who were served.
        acquired_at_once: Of those, how many did not wait.
        waited: Of those, how many waited.
        wait_seconds: How long those waited, in sum.
        use_seconds: How long borrowers held connections that they have returned, in sum.
        timed_out: Borrowers who left without a connection at their deadline.
        refused: Borrowers refused because ``max_waiting`` others waited.
        opened: Connections opened.
        open_seconds: How long that took, in sum.
        open_errors: Attempts to open that failed.
        discarded: Connections closed because they were unfit, by reason.
        retired: Healthy connections replaced or closed by rule (age, idleness, drain, resize, close), by reason.
        lost: Loans that were never returned; the pool took their slots back.
        leaks: Loans reported as held for too long.
        retries: Retries by the executor, by verdict.
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
        """How many connections there are: idle, used or being opened."""
        return self.idle + self.used + self.opening


class Borrowed(NamedTuple):
    """One loan that a borrower holds now.

    Attributes:
        thread: The name of the borrower's thread.
        seconds: How long the borrower has held it.
        place: Where it was borrowed, innermost frame first, as ``file:line in function``.
    """

    thread: str
    seconds: float
    place: tuple[str, ...]

    def __str__(self) -> str:
        at = f" at {self.place[0]}" if self.place else ""
        return f"{self.thread} for {self.seconds:.1f} s{at}"


class Listener(Protocol):
    """Hears each duration, in seconds, as it happens; the pool calls it outside its lock."""

    def waited(self, pool: str, seconds: float) -> None:
        """Hear that a borrower was served after a wait (0.0: at once)."""

    def used(self, pool: str, seconds: float) -> None:
        """Hear that a borrower returned its connection."""

    def created(self, pool: str, seconds: float) -> None:
        """Hear that a connection was opened."""


#: The reasons for which a healthy connection is retired. Every other reason means that it was unfit and is discarded.
RULES: Final = frozenset({"closed", "drained", "resized", "max_lifetime", "idle_timeout", "overflow"})


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

    def count(self, reason: str, number: int = 1) -> None:
        """Count connections that were retired or discarded, by reason."""
        if number:
            counts = self.retired if reason in RULES else self.discarded
            counts[reason] = counts.get(reason, 0) + number


def snapshot(name: str, rack: Rack[Any], *, closed: bool) -> PoolStats:
    """Return every gauge and counter of a pool; without the lock, a slot that is moving counts as used."""
    counters = rack.counters
    return PoolStats(
        name=name,
        max_size=rack.max_size,
        min_size=rack.min_size,
        idle=len(rack.idle),
        used=rack.used,
        opening=rack.opening,
        cold=len(rack.cold),
        waiting=len(rack.waiters),
        acquired_at_once=counters.acquired - counters.waited,
        closed=closed,
        **dataclasses.asdict(counters),
    )
