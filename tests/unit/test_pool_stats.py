"""What can be seen of a pool: gauges that add up, counters that only grow, durations as they happen."""

from __future__ import annotations

import dataclasses
import logging
import threading
from typing import TYPE_CHECKING

import pytest

from improved_db.errors import PoolTimeout, TooManyWaiting
from tests.fakes import PATIENCE, Caller, FakePool, ThreadedPool, eventually

if TYPE_CHECKING:
    from improved_db.pool.snapshot import PoolStats


class Ear:
    """Writes down what it hears."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, str, float]] = []

    def waited(self, pool: str, seconds: float) -> None:
        """Write it down."""
        self.heard.append(("waited", pool, seconds))

    def used(self, pool: str, seconds: float) -> None:
        """Write it down."""
        self.heard.append(("used", pool, seconds))

    def created(self, pool: str, seconds: float) -> None:
        """Write it down."""
        self.heard.append(("created", pool, seconds))


class BrokenEar(Ear):
    """Raises whatever it hears."""

    def waited(self, pool: str, seconds: float) -> None:
        """Raise."""
        raise ValueError(f"metrics are down: {pool} {seconds}")

    used = created = waited


def test_new_pool_is_all_cold() -> None:
    """Zero of everything, and every slot accounted for."""
    stats = FakePool(name="orders", min_size=1, max_size=4).pool.stats()
    assert (stats.name, stats.min_size, stats.max_size) == ("orders", 1, 4)
    assert (stats.idle, stats.used, stats.opening, stats.cold, stats.waiting, stats.size) == (0, 0, 0, 4, 0, 0)
    assert not stats.closed


def test_gauges_follow_a_connection_around() -> None:
    """Cold, used, idle, used, cold: at each step the sum is the size."""
    fake = FakePool(max_size=2)
    seen = []

    def look() -> None:
        stats = fake.pool.stats()
        assert stats.idle + stats.used + stats.opening + stats.cold == 2
        seen.append((stats.idle, stats.used, stats.cold))

    loan = fake.pool.acquire(1)
    look()
    fake.pool.release(loan)
    look()
    loan = fake.pool.acquire(1)
    look()
    fake.pool.release(loan, "broken")
    look()
    assert seen == [(0, 1, 1), (1, 0, 1), (0, 1, 1), (0, 0, 2)]


def test_connections_being_opened_and_waiters_are_seen() -> None:
    """Whether a pool is slow because it is small or because connecting is slow, is seen while it is so."""
    threaded = ThreadedPool(max_size=2)
    go = threading.Event()
    threaded.driver.before_connect = lambda: _wait(go)
    callers = threaded.in_line(3, threaded.pool.acquire)
    stats = threaded.pool.stats()
    assert (stats.opening, stats.waiting, stats.used) == (2, 3, 0)
    go.set()
    loans = [caller.result() for caller in callers[:2]]
    stats = threaded.pool.stats()
    assert (stats.opening, stats.waiting, stats.used) == (0, 1, 2)
    for loan in loans:
        threaded.pool.release(loan)
    threaded.pool.release(callers[2].result())
    threaded.pool.close()


def test_counters_tell_served_at_once_from_served_after_a_wait() -> None:
    """The share of those that waited is the first number by which a pool is sized."""
    fake = FakePool(max_size=1)
    fake.fill()
    loan = fake.pool.acquire(1)
    fake.in_seconds(4, lambda: fake.pool.release(loan))
    fake.pool.release(fake.pool.acquire(10))
    stats = fake.pool.stats()
    assert (stats.acquired, stats.waited, stats.acquired_at_once) == (3, 2, 1)
    assert stats.wait_seconds == 4.0


def test_time_with_borrowers_is_counted_when_it_is_over() -> None:
    """Use over time times size is how full the pool is."""
    fake = FakePool(max_size=2)
    for seconds in (2, 3):
        loan = fake.pool.acquire(1)
        fake.clock.advance(seconds)
        fake.pool.release(loan)
    assert fake.pool.stats().use_seconds == 5.0


def test_time_that_connecting_takes_is_counted() -> None:
    """Slow name resolution and slow TLS look like a slow pool."""
    fake = FakePool(max_size=2)
    fake.driver.before_connect = lambda: fake.clock.advance(0.5)
    fake.borrow(2)
    assert fake.pool.stats().opened == 2
    assert fake.pool.stats().open_seconds == 1.0


def test_timeouts_and_refusals_are_counted() -> None:
    """Each is a request that failed for want of a connection."""
    fake = FakePool(max_size=1, max_waiting=0)
    loan = fake.pool.acquire(1)
    for _ in range(2):
        with pytest.raises(TooManyWaiting):
            fake.pool.acquire(1)
    fake.pool.release(loan)
    fake.pool.suspend()
    with pytest.raises(TooManyWaiting):
        fake.pool.acquire(1)
    fake.pool.resize(2)
    with pytest.raises(PoolTimeout):
        fake.pool.acquire(1)
    stats = fake.pool.stats()
    assert (stats.timed_out, stats.refused, stats.waiting) == (1, 3, 0)


def test_reasons_of_discards_and_of_retirements_are_told_apart() -> None:
    """Connections that broke show a problem; those replaced by rule do not."""
    fake = FakePool(max_size=2, max_lifetime=100.0)
    aged, broken = fake.borrow(2)
    fake.pool.release(broken, "server gone")
    fake.clock.advance(100)
    fake.pool.release(aged)
    stats = fake.pool.stats()
    assert stats.discarded == {"server gone": 1}
    assert stats.retired == {"max_lifetime": 1}


def test_snapshot_is_frozen_and_stays_what_it_was() -> None:
    """Two snapshots can be subtracted; that takes that neither changes."""
    fake = FakePool(max_size=1)
    before = fake.pool.stats()
    fake.pool.release(fake.pool.acquire(1), "broken")
    assert before.discarded == {}
    assert before.acquired == 0
    with pytest.raises(dataclasses.FrozenInstanceError):
        before.idle = 7  # type: ignore[misc]


def test_listener_hears_each_duration() -> None:
    """Sums make no percentiles."""
    fake = FakePool(max_size=1, name="orders")
    ear = Ear()
    fake.pool.listeners.append(ear)
    fake.driver.before_connect = lambda: fake.clock.advance(0.5)
    loan = fake.pool.acquire(5)
    fake.in_seconds(2, lambda: fake.pool.release(loan))
    fake.pool.release(fake.pool.acquire(5))
    assert ear.heard == [
        ("created", "orders", 0.5),
        ("waited", "orders", 0.5),
        ("used", "orders", 2.0),
        ("waited", "orders", 2.0),
        ("used", "orders", 0.0),
    ]


def test_measured_durations_are_of_waits_uses_and_openings() -> None:
    """The histograms of Prometheus and OpenTelemetry are made of them."""
    fake = FakePool(max_size=1)
    heard: list[tuple[str, float]] = []
    fake.pool.reports.measure = lambda kind, seconds: heard.append((kind, seconds))
    fake.driver.before_connect = lambda: fake.clock.advance(0.5)
    fake.clock.advance(100)
    loan = fake.pool.acquire(5, note_place=True)
    fake.in_seconds(2, lambda: fake.pool.release(loan))
    fake.pool.release(fake.pool.acquire(5))
    fake.pool.release(fake.pool.acquire(5))  # at once, which is counted only
    assert heard == [("open", 0.5), ("wait", 0.5), ("use", 2.0), ("wait", 2.0)]


def test_listener_that_raises_harms_only_itself(caplog: pytest.LogCaptureFixture) -> None:
    """A metrics backend that is down must not take the database with it."""
    fake = FakePool(max_size=1)
    ear = Ear()
    fake.pool.listeners.extend([BrokenEar(), ear])
    with caplog.at_level(logging.ERROR, logger="improved_db"):
        fake.pool.release(fake.pool.acquire(1))
    assert [what for what, _, _ in ear.heard] == ["created", "waited", "used"]
    assert [record.getMessage() for record in caplog.records] == ["pool 'pool': a listener failed"] * 3
    assert fake.pool.stats().idle == 1


def test_listener_may_use_the_pool() -> None:
    """It is called outside the lock: one that asks for the gauges gets them."""
    fake = FakePool(max_size=1)
    seen: list[PoolStats] = []

    class Nosy(Ear):
        def used(self, pool: str, seconds: float) -> None:
            super().used(pool, seconds)
            seen.append(fake.pool.stats())

    fake.pool.listeners.append(Nosy())
    fake.pool.release(fake.pool.acquire(1))
    assert [stats.idle for stats in seen] == [1]


def test_log_handler_may_use_the_pool(caplog: pytest.LogCaptureFixture) -> None:
    """Some write their log to the database: nothing is logged under the lock, at whatever level."""
    fake = FakePool(max_size=2, check=lambda connection: connection.number == 3 or 1 / 0)
    seen: list[int] = []

    class Writing(logging.Handler):
        def emit(self, _: logging.LogRecord) -> None:
            seen.append(fake.pool.stats().size)

    handler = Writing()
    logger = logging.getLogger("improved_db")
    logger.addHandler(handler)
    try:
        with caplog.at_level(logging.DEBUG, logger="improved_db"):
            fake.driver.connect_errors.append(ConnectionRefusedError("once"))
            with pytest.raises(ConnectionRefusedError):
                Caller(lambda: fake.pool.acquire(10)).result()
            Caller(lambda: fake.pool.acquire(10), dies=True).result()
            fake.pool.recover()
    finally:
        logger.removeHandler(handler)
    assert len(seen) == len(caplog.records) >= 4


def test_borrowed_lists_loans_oldest_first_with_place_and_age() -> None:
    """Which request has held a connection for a minute is a question for a running program."""
    fake = FakePool(max_size=3)
    loans = [fake.pool.acquire(1, note_place=True)]
    fake.clock.advance(5)
    loans.append(fake.pool.acquire(1, note_place=True))
    first, second = fake.pool.borrowed()
    assert (first.seconds, second.seconds) == (5.0, 0.0)
    assert "in test_borrowed_lists_loans_oldest_first_with_place_and_age" in first.place[0]
    assert [borrowed.seconds for borrowed in fake.pool.borrowed(longer_than=5)] == [5.0]
    for loan in loans:
        fake.pool.release(loan)
    assert fake.pool.borrowed() == []


def test_loan_without_a_noted_place_is_shown_where_its_thread_is_now() -> None:
    """Noting a place at each statement would cost; where a borrower hangs can be seen without."""
    threaded = ThreadedPool(max_size=1)
    enough = threading.Event()

    def hang_in_here() -> None:
        loan = threaded.pool.acquire()
        _wait(enough)
        threaded.pool.release(loan)

    caller = Caller(hang_in_here)
    eventually(lambda: any("in hang_in_here" in line for loan in threaded.pool.borrowed() for line in loan.place))
    enough.set()
    caller.result()
    threaded.pool.close()


def _wait(event: threading.Event) -> None:
    assert event.wait(PATIENCE)
