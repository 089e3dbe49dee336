"""What a pool counts and remembers: outages, timeouts, answers to pings, and how long it pauses."""

from __future__ import annotations

from itertools import pairwise

import pytest

from improved_db.errors import PoolClosed, PoolTimeout
from improved_db.pool.state import LONGEST_PAUSE
from tests.fakes import FakeConnection, FakePool, refuse


def test_second_victim_of_an_outage_casts_no_doubt_on_connections_opened_since() -> None:
    """One outage, one invalidation: else each late error costs every healthy connection a ping."""
    fake = FakePool(max_size=3)
    first, second = fake.borrow(2)
    fake.pool.invalidate(first, retire=False)
    fake.pool.release(first, "server gone")
    renewed = fake.pool.acquire(1)
    fake.pool.release(renewed)
    fake.pool.invalidate(second, retire=False)
    fake.pool.release(second, "server gone")
    assert fake.pool.acquire(1).connection is renewed.connection
    assert fake.driver.pings == []


def test_second_victim_of_a_failover_retires_nothing_opened_since() -> None:
    """Else every statement that the old primary refused would empty the pool once more."""
    fake = FakePool(max_size=3)
    first, second = fake.borrow(2)
    fake.pool.invalidate(first, retire=True)
    fake.pool.release(first)
    renewed = fake.pool.acquire(1)
    fake.pool.release(renewed)
    fake.pool.invalidate(second, retire=True)
    fake.pool.release(second)
    assert fake.pool.acquire(1).connection is renewed.connection


def test_next_outage_is_an_outage_of_its_own() -> None:
    """A connection opened since the first one has failed: everything idle is suspect again."""
    fake = FakePool(max_size=2)
    (first,) = fake.borrow(1)
    fake.pool.invalidate(first, retire=False)
    fake.pool.release(first, "server gone")
    victim, other = fake.borrow(2)
    fake.pool.release(other)
    fake.pool.invalidate(victim, retire=False)
    assert fake.pool.acquire(1).connection.pinged == 1


def test_borrower_that_waits_when_the_pool_closes_has_not_timed_out() -> None:
    """Timeouts say that a pool is too small; a shutdown says nothing of the kind."""
    fake = FakePool(max_size=1)
    loan = fake.pool.acquire(1)
    fake.in_seconds(1, lambda: fake.pool.close(timeout=0.0))
    with pytest.raises(PoolClosed):
        fake.pool.acquire(5)
    assert fake.pool.stats().timed_out == 0
    fake.pool.release(loan)


def test_borrower_who_hears_a_connect_error_has_not_timed_out() -> None:
    """Its server is down, and it heard so before its time was over."""
    fake = FakePool(max_size=1)
    fake.driver.before_connect = refuse
    with pytest.raises(ConnectionRefusedError):
        fake.pool.acquire(5)
    assert fake.pool.stats().timed_out == 0


def test_borrower_whose_time_is_over_has_timed_out_once() -> None:
    """What the other two are told from."""
    fake = FakePool(max_size=1)
    loan = fake.pool.acquire(1)
    with pytest.raises(PoolTimeout):
        fake.pool.acquire(5)
    assert fake.pool.stats().timed_out == 1
    fake.pool.release(loan)


def test_answer_to_a_ping_counts_as_heard_of_whatever_the_borrower_does() -> None:
    """A connection that its user's own hands had tells nothing when it comes back; the ping before it did."""
    fake = FakePool(max_size=1, ping_idle_after=30.0)
    fake.fill()
    fake.clock.advance(60)
    for _ in range(3):
        fake.pool.release(fake.pool.acquire(1, note_place=True))
    assert len(fake.driver.pings) == 1


def test_pause_between_new_connections_that_are_unfit_never_exceeds_the_longest() -> None:
    """A server that is unfit for an hour is tried again within two seconds of being fit."""

    def fail(_: FakeConnection) -> None:
        raise ValueError("not fit")

    fake = FakePool(max_size=1, check=fail)
    tried: list[float] = []
    fake.driver.before_connect = lambda: tried.append(fake.clock.now())
    with pytest.raises(PoolTimeout, match=r"unfit \(check\)"):
        fake.pool.acquire(100)
    pauses = [later - earlier for earlier, later in pairwise(tried)]
    assert max(pauses) == pytest.approx(LONGEST_PAUSE)
    assert pauses[0] < LONGEST_PAUSE / 10
