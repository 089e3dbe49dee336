"""The last half an hour or more, as points for charts.

A point is made when a browser asks, and in each round of the pool's maintenance, so that there is a past to look at.

Knows sums and how they differ between two instants. Does not know where they come from.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from improved_db.clock import MonotonicClock, wall

if TYPE_CHECKING:
    from collections.abc import Callable

#: How many points are kept.
KEPT: Final = 1_000


class Numbers(NamedTuple):
    """Gauges and sums at one instant.

    Attributes:
        used: Connections in use.
        idle: Connections that are not.
        waiting: Callers that wait for one.
        calls: Calls so far.
        errors: Those that failed.
        retries: Retries.
        rows: Rows returned or changed.
        counts: Calls so far by duration, one number for each bucket.
    """

    used: int
    idle: int
    waiting: int
    calls: int
    errors: int
    retries: int
    rows: int
    counts: tuple[int, ...]


class History:
    """The points of one page."""

    def __init__(
        self, numbers: Callable[[], Numbers], quantile: Callable[[tuple[int, ...], float], float], interval: float
    ) -> None:
        """Begin now.

        Args:
            numbers: Returns those of now.
            quantile: Returns the duration of a share of the calls in a histogram.
            interval: Seconds between two points, at least.
        """
        self._numbers = numbers
        self._quantile = quantile
        self._interval = interval
        self._points: deque[dict[str, Any]] = deque(maxlen=KEPT)
        self._last = (MonotonicClock.now(), numbers())

    def sample(self) -> None:
        """Add a point, unless the last one is too young."""
        now, (before, last) = MonotonicClock.now(), self._last
        if now - before < self._interval:
            return
        current = self._numbers()
        self._last = (now, current)
        seconds = now - before
        counts = tuple(max(new - old, 0) for new, old in zip(current.counts, last.counts, strict=True))

        def rate(name: str) -> float:
            grown: int = getattr(current, name) - getattr(last, name)
            return round(max(grown, 0) / seconds, 3)

        self._points.append(
            {
                "at": round(wall(), 3),
                "used": current.used,
                "idle": current.idle,
                "waiting": current.waiting,
                **{name: rate(name) for name in ("calls", "errors", "retries", "rows")},
                "p50": self._quantile(counts, 0.5),
                "p99": self._quantile(counts, 0.99),
            }
        )

    def since(self, after: float = 0.0) -> list[dict[str, Any]]:
        """Return the points later than *after*, in seconds since 1970."""
        return [point for point in list(self._points) if point["at"] > after]
