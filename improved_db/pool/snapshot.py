"""What the pool looks like at one instant, and what has happened so far: a frozen snapshot.

A module of its own, because it is imported when the first snapshot is made.

Knows names and numbers. Does not know their readers, or any metrics library.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Protocol

    from improved_db.pool.rack import Rack

    class MakeStats(Protocol):
        """How `snapshot` is called."""

        def __call__(self, name: str, rack: Rack[Any], *, closed: bool) -> PoolStats:
            """Return every gauge and counter."""


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
        peak_size: The most connections that there were at once. The pool opens one only if none is idle, so callers
            needed so many at once, unless ``min_size`` asked for them.
        discarded: Connections closed because they were unfit, by reason.
        retired: Healthy connections replaced or closed by rule (age, idleness, drain, resize, close), by reason.
        lost: Loans that were never returned; the pool took their slots back.
        leaks: Loans reported as held for too long.
        retries: Retries by the executor, by verdict.
        seeking_seconds: How long several servers had no primary, since they were first asked.
        conflict_seconds: How long several of them took writes, and it was not known which of them was right.
        causal_free: Reads on a replica that was known to have what this program had written.
        causal_waited: Reads on a replica that were sent with a wait for that in front of them.
        causal_fallback: Reads that the primary answered, because no replica had that in time.
        fallback_reads: Reads that the primary answered, because no replica could, for this or another reason.
        schema_lag: Reads that named what a replica did not have yet, and were answered by the primary.
        monitor_late: How often several servers were asked too late, because this program did not run: it was stopped,
            or a thread of it held the interpreter. A server that was silent then is not taken for dead.
        failovers: How often another one of several servers became the primary.
        lost_writes: Writes that were acknowledged, and lost by these failovers, as far as GTIDs tell.
        closed: Whether the pool is closed.
        by_host: The same for each server, if there are several.
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
    peak_size: int
    discarded: Mapping[str, int]
    retired: Mapping[str, int]
    lost: int
    leaks: int
    retries: Mapping[str, int] = dataclasses.field(default_factory=dict)
    failovers: int = 0
    seeking_seconds: float = 0.0
    conflict_seconds: float = 0.0
    causal_free: int = 0
    causal_waited: int = 0
    causal_fallback: int = 0
    fallback_reads: int = 0
    schema_lag: int = 0
    monitor_late: int = 0
    lost_writes: int = 0
    closed: bool = False
    by_host: Mapping[str, PoolStats] = dataclasses.field(default_factory=dict)

    @property
    def size(self) -> int:
        """How many connections there are: idle, used or being opened."""
        return self.idle + self.used + self.opening


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
        **{
            **{name: getattr(counters, name) for name in counters.__slots__},
            "discarded": dict(counters.discarded),
            "retired": dict(counters.retired),
        },
    )


def summed(name: str, parts: Iterable[PoolStats]) -> PoolStats:
    """Return the sum of several pools under one name; it is closed if all of them are."""
    zeros: dict[str, Callable[[], Any]] = {"int": int, "float": float}
    fields = dataclasses.fields(PoolStats)
    sums: dict[str, Any] = {field.name: zeros.get(str(field.type), dict)() for field in fields}
    sums |= {"name": name, "closed": True}
    for part in parts:
        sums["closed"] = sums["closed"] and part.closed
        for field in fields:
            value = getattr(part, field.name)
            if str(field.type) in zeros:
                sums[field.name] += value
            elif field.name in {"discarded", "retired"}:
                for reason, number in value.items():
                    sums[field.name][reason] = sums[field.name].get(reason, 0) + number
    return PoolStats(**sums)
