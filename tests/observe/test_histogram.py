"""Histograms of seconds: quantiles, exact bounds, and sums of two."""

from __future__ import annotations

import random
import statistics

from improved_db.observe.histogram import BOUNDS, COARSE, added, bucket, cumulative, empty, quantile


def counted(samples: list[float]) -> list[int]:
    """Return the histogram of *samples*."""
    counts = empty()
    for sample in samples:
        counts[bucket(sample)] += 1
    return counts


def test_quantiles_are_within_six_percent() -> None:
    """A p99 is compared with what was promised to someone."""
    rng = random.Random(7)
    samples = sorted(rng.lognormvariate(-6.0, 1.5) for _ in range(20_000))
    counts = counted(samples)
    for share in (0.5, 0.9, 0.95, 0.99):
        true = samples[int(share * len(samples)) - 1]
        assert abs(quantile(counts, share) / true - 1) < 0.06, share
    assert abs(quantile(counts, 0.5) / statistics.median(samples) - 1) < 0.06


def test_what_is_as_long_as_a_bound_counts_below_it() -> None:
    """Prometheus and OpenTelemetry count in this way, and their bounds are among these: their counts are exact."""
    assert set(COARSE) <= set(BOUNDS)
    assert {1.0, 2.0, 5.0, 10.0, 0.001, 0.002, 0.005, 1e-05, 100.0} <= set(BOUNDS)
    assert (len(BOUNDS), list(BOUNDS)) == (142, sorted(BOUNDS))
    counts = counted([0.001, 0.0011, 0.005, 0.00500001, 31.0, 1000.0, 0.0])
    assert dict(zip(COARSE, cumulative(counts), strict=True)) == {
        0.0001: 1, 0.0005: 1, 0.001: 2, 0.005: 4, 0.01: 5, 0.05: 5, 0.1: 5, 0.5: 5, 1.0: 5, 5.0: 5, 10.0: 5, 30.0: 5,
    }  # fmt: skip


def test_the_sum_of_two_is_the_histogram_of_both() -> None:
    """Several processes are shown as one."""
    one, other = [0.001, 0.2, 3.0], [0.2, 400.0]
    assert added(counted(one), counted(other)) == counted(one + other)


def test_nothing_and_what_is_beyond_the_last_bound_have_a_quantile() -> None:
    """A page divides by nothing, and shows no number that was not measured."""
    assert (quantile(empty(), 0.5), quantile(counted([1e6]), 0.5)) == (0.0, 100.0)
