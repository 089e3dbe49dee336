"""What a borrower gets from a pool, and what it is told when it gets nothing."""

from __future__ import annotations

import threading
import time

import pytest

from improved_db.clock import MonotonicClock
from improved_db.errors import PoolError, PoolTimeout
from tests.fakes import PATIENCE, Caller, FakePool, ThreadedPool, eventually, refuse


def test_nothing_connects_before_the_first_borrower() -> None:
    """A program that never queries must start without its database."""
    fake = FakePool(max_size=3)
    assert fake.driver.made == []
    fake.pool.acquire(1)
    assert len(fake.driver.made) == 1


def test_returned_connection_is_lent_again() -> None:
    """A pool that connects anew each time is no pool."""
    fake = FakePool(max_size=3)
    for _ in range(5):
        fake.pool.release(fake.pool.acquire(1))
    assert len(fake.driver.made) == 1
    assert fake.pool.stats().idle == 1


def test_rack_is_last_in_first_out() -> None:
    """The busiest connections stay warm, the others grow old and can be closed."""
    fake = FakePool(max_size=3)
    first, second, third = fake.borrow(3)
    for loan in (second, third, first):
        fake.pool.release(loan)
    assert [loan.connection for loan in fake.borrow(3)] == [first.connection, third.connection, second.connection]


def test_cold_slots_are_used_last() -> None:
    """As long as an idle connection serves, none is opened."""
    fake = FakePool(max_size=5)
    fake.fill(2)
    fake.borrow(2)
    assert fake.pool.stats().opened == 2
    fake.pool.acquire(1)
    assert fake.pool.stats().opened == 3


def test_no_connection_is_lent_twice() -> None:
    """Two users of one connection read each other's answers."""
    fake = FakePool(max_size=8)
    loans = fake.borrow(8)
    assert len({loan.connection.number for loan in loans}) == 8


def test_never_more_than_max_size_are_open() -> None:
    """The limit protects the server; a pool that opens one more under pressure does not."""
    fake = FakePool(max_size=4)
    for _ in range(10):
        loans = fake.borrow(4)
        with pytest.raises(PoolTimeout):
            fake.pool.acquire(1)
        assert len(fake.driver.open) == 4
        fake.pool.release(loans.pop(), "broken")
        for loan in loans:
            fake.pool.release(loan)


def test_exhausted_pool_times_out_at_its_own_timeout() -> None:
    """A caller that named no timeout waits for the configured one: not less, not more, not for ever."""
    fake = FakePool(max_size=1, acquire_timeout=7.0)
    loan = fake.pool.acquire()
    with pytest.raises(PoolTimeout):
        fake.pool.acquire()
    assert fake.clock.now() == 7.0
    fake.pool.release(loan)


def test_timeout_of_the_call_beats_that_of_the_pool() -> None:
    """Only the caller knows how long its own request still has."""
    fake = FakePool(max_size=1, acquire_timeout=7.0)
    loan = fake.pool.acquire()
    with pytest.raises(PoolTimeout):
        fake.pool.acquire(2)
    assert fake.clock.now() == 2.0
    fake.pool.release(loan)


def test_timeout_below_a_second_is_not_rounded() -> None:
    """A pool that counts in whole seconds turns 0.25 into 0 or 1."""
    fake = FakePool(max_size=1)
    loan = fake.pool.acquire(1)
    with pytest.raises(PoolTimeout):
        fake.pool.acquire(0.25)
    assert fake.clock.now() == 0.25
    fake.pool.release(loan)


def test_zero_timeout_takes_what_is_idle_and_never_waits() -> None:
    """Zero asks for what is there now: no error if there is something, no wait if there is not."""
    fake = FakePool(max_size=1)
    (connection,) = fake.fill()
    loan = fake.pool.acquire(0)
    assert loan.connection is connection
    with pytest.raises(PoolTimeout):
        fake.pool.acquire(0)
    assert fake.clock.now() == 0.0


def test_endless_timeout_is_served() -> None:
    """Infinity is a timeout that people write; no lock takes it as it is."""
    threaded = ThreadedPool(max_size=1)
    loan = threaded.pool.acquire(float("inf"))
    (waiting,) = threaded.in_line(1, lambda: threaded.pool.acquire(float("inf")))
    threaded.pool.release(loan)
    threaded.pool.release(waiting.result())
    threaded.pool.close()


def test_negative_timeout_is_a_timeout_that_has_passed() -> None:
    """What is left of a deadline may be less than nothing when the pool computes it."""
    fake = FakePool(max_size=1)
    with pytest.raises(PoolTimeout):
        fake.pool.acquire(-1)
    assert fake.pool.stats().waiting == 0


def test_timeout_is_caught_as_the_builtin_and_as_the_driver_error() -> None:
    """Old code catches what PyMySQL raises, new code what Python calls a timeout."""
    fake = FakePool(max_size=1)
    loan = fake.pool.acquire(1)
    with pytest.raises(TimeoutError) as caught:
        fake.pool.acquire(1)
    assert isinstance(caught.value, PoolError)
    fake.pool.release(loan)


def test_timeout_says_what_the_pool_looks_like() -> None:
    """Readers of the log need the numbers of that moment."""
    fake = FakePool(max_size=2, name="orders")
    loans = fake.borrow(2)
    with pytest.raises(PoolTimeout, match=r"'orders'.* after 3\.00 s .*size=2/2 idle=0 used=2 opening=0 waiting=0"):
        fake.pool.acquire(3)
    del loans


def test_timeout_names_the_longest_borrowers_and_where_they_borrowed() -> None:
    """The three oldest loans are where to look for the one that never comes back."""
    threaded = ThreadedPool(max_size=4)
    enough = threading.Event()
    holding: list[object] = []

    def keep_one() -> None:
        loan = threaded.pool.acquire(note_place=True)
        holding.append(loan)
        enough.wait(PATIENCE)
        threaded.pool.release(loan)

    keepers = []
    for number in range(4):
        keepers.append(Caller(keep_one, name=f"keeper {number}"))
        eventually(lambda: len(holding) == number + 1)  # noqa: B023  # asked at once
    with pytest.raises(PoolTimeout, match=r"held longest: keeper 0 .* in keep_one; keeper 1 .*; keeper 2 ") as caught:
        threaded.pool.acquire(0)
    assert "keeper 3" not in str(caught.value)
    assert "this thread itself" not in str(caught.value)
    enough.set()
    for keeper in keepers:
        keeper.result()
    threaded.pool.close()


def test_nested_borrow_is_named_in_the_timeout() -> None:
    """A thread that waits for itself is the commonest way to run dry; thirty silent seconds do not say so."""
    fake = FakePool(max_size=1)
    loan = fake.pool.acquire(1, note_place=True)
    with pytest.raises(PoolTimeout, match="this thread itself holds 1 of them") as caught:
        fake.pool.acquire(1)
    assert "test_pool_borrowing.py:" in str(caught.value)
    assert "in test_nested_borrow_is_named_in_the_timeout" in str(caught.value)
    fake.pool.release(loan)


def test_timeout_has_the_last_connect_error_as_its_cause() -> None:
    """A bare "timed out" hides a wrong password; the driver's own words do not."""
    fake = FakePool(max_size=2)
    loan = fake.pool.acquire(1)
    fake.driver.before_connect = refuse
    with pytest.raises(PoolTimeout, match="last connect error: refused") as caught:
        fake.pool.acquire(5)
    assert isinstance(caught.value.__cause__, ConnectionRefusedError)
    fake.pool.release(loan)


def test_connect_error_of_the_past_is_no_cause() -> None:
    """Once a connect has succeeded, the outage before it explains nothing."""
    fake = FakePool(max_size=1)
    fake.driver.connect_errors.append(ConnectionRefusedError("long ago"))
    with pytest.raises(ConnectionRefusedError):
        fake.pool.acquire(1)
    loan = fake.pool.acquire(1)
    with pytest.raises(PoolTimeout) as caught:
        fake.pool.acquire(1)
    assert caught.value.__cause__ is None
    fake.pool.release(loan)


def test_capacity_is_whole_after_a_timeout() -> None:
    """A borrower that gave up took nothing with it."""
    fake = FakePool(max_size=2)
    loans = fake.borrow(2)
    for _ in range(3):
        with pytest.raises(PoolTimeout):
            fake.pool.acquire(1)
    for loan in loans:
        fake.pool.release(loan)
    assert len(fake.borrow(2)) == 2
    assert fake.pool.stats().opened == 2


def test_only_the_monotonic_clock_is_asked() -> None:
    """Clocks that people see are set forward and back; a timeout must not jump with them."""
    assert MonotonicClock.now is time.monotonic


def test_borrower_that_waits_waits_no_longer_than_needed() -> None:
    """The connection goes over in the moment it comes back, not at the next look at a clock."""
    fake = FakePool(max_size=1)
    loan = fake.pool.acquire(1)
    fake.in_seconds(3, lambda: fake.pool.release(loan))
    assert fake.pool.acquire(10).connection is loan.connection
    assert fake.clock.now() == 3.0
