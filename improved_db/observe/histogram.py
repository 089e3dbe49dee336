"""Histograms of seconds over fixed bounds: quantiles within 6 %, and exact sums at 1, 2 and 5 of each decade.

The bounds are Renard's series R20 from 10 us to 100 s, and 30 s. They contain the bounds that Prometheus and
OpenTelemetry use, so those histograms are sums of these and no estimates; and the histograms of two processes add up.

Knows bounds and counts. Does not know what was timed.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

_R20: Final = (1.0, 1.12, 1.25, 1.4, 1.6, 1.8, 2.0, 2.24, 2.5, 2.8, 3.15, 3.55, 4.0, 4.5, 5.0, 5.6, 6.3, 7.1, 8.0, 9.0)

#: Upper bounds of the buckets, in seconds; one more bucket has what took longer.
BOUNDS: Final = tuple(sorted([*(float(f"{step}e{decade}") for decade in range(-5, 2) for step in _R20), 30.0, 100.0]))

#: The bounds of Prometheus' histograms here.
COARSE: Final = (0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0)


def empty() -> list[int]:
    """Return the counts of a histogram that has seen nothing."""
    return [0] * (len(BOUNDS) + 1)


def bucket(seconds: float) -> int:
    """Return in which bucket a duration counts: the first whose bound is not below it."""
    return bisect_left(BOUNDS, seconds)


def quantile(counts: Sequence[int], share: float) -> float:
    """Return the duration that *share* of all were not longer than; 0.0 if there were none.

    Args:
        counts: As of `empty`.
        share: From 0 to 1.

    Returns:
        Seconds, between the bounds of the bucket in proportion to the counts; 100.0 for what took longer than that.
    """
    rank = share * sum(counts)
    below = 0
    for at, count in enumerate(counts):
        if count and below + count >= rank:
            if at == len(BOUNDS):
                break
            lower = BOUNDS[at - 1] if at else 0.0
            return lower + (BOUNDS[at] - lower) * max(rank - below, 0.0) / count
        below += count
    return BOUNDS[-1] if rank else 0.0


def cumulative(counts: Sequence[int], bounds: Sequence[float] = COARSE) -> list[int]:
    """Return for each of *bounds*, which are among `BOUNDS`, how many durations were not longer."""
    sums: list[int] = []
    done = total = 0
    for bound in bounds:
        end = bisect_left(BOUNDS, bound) + 1
        total += sum(counts[done:end])
        done = end
        sums.append(total)
    return sums


def added(one: Sequence[int], other: Sequence[int]) -> list[int]:
    """Return the histogram of both."""
    return [left + right for left, right in zip(one, other, strict=True)]
