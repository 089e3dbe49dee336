"""A thread whose caller has given it up: it gets no connection, and loses the one it has."""

from __future__ import annotations

import pytest

from improved_db.errors import LoanSpent, PoolError
from improved_db.pool.loan import Errand, begin_errand
from improved_db.pool.revoking import Revoking
from tests.fakes import Caller, FakeConnection, FakePool, ThreadedPool, eventually


def test_a_revoked_connection_is_ended_closed_and_never_lent_again() -> None:
    """While it is being ended, no other borrower has the slot: what ends it must not meet another statement."""
    fake = FakePool(max_size=1)
    loan = fake.pool.acquire(1)
    seen: list[FakeConnection] = []

    def end(connection: FakeConnection) -> None:
        seen.append(connection)
        assert (fake.pool.stats().used, fake.pool.stats().cold, connection.open) == (1, 0, True)

    assert Revoking(fake.pool).revoke(loan, end)
    assert seen == [loan.connection]
    assert not loan.connection.open
    assert (fake.pool.stats().cold, fake.pool.stats().discarded) == (1, {"cancelled": 1})
    with pytest.raises(LoanSpent):
        fake.pool.release(loan)
    assert fake.pool.acquire(1).connection is not loan.connection


def test_a_loan_that_was_returned_cannot_be_revoked() -> None:
    """The next borrower has its connection by then."""
    fake = FakePool(max_size=1)
    loan = fake.pool.acquire(1)
    fake.pool.release(loan)
    again = fake.pool.acquire(1)
    assert not Revoking(fake.pool).revoke(loan, lambda _: pytest.fail("it is another borrower's"))
    fake.pool.release(again)
    assert fake.pool.stats().discarded == {}


def test_a_slot_is_free_also_if_its_session_could_not_be_ended() -> None:
    """The pool would shrink with each failure."""
    fake = FakePool(max_size=1)
    loan = fake.pool.acquire(1)
    with pytest.raises(ZeroDivisionError):
        Revoking(fake.pool).revoke(loan, lambda _: 1 / 0)
    assert fake.pool.stats().cold == 1


def test_a_dismissed_thread_waits_for_no_connection() -> None:
    """Others wait on, and its errand's earlier loans stay its own."""
    threaded = ThreadedPool(max_size=1)
    held = threaded.pool.acquire(1)
    errands: list[Errand] = []

    def wait() -> None:
        errands.append(begin_errand(threaded.pool.clock.now()))
        threaded.pool.acquire(20)

    caller = Caller(wait)
    eventually(lambda: threaded.pool.stats().waiting == 1)
    other = Caller(lambda: threaded.pool.release(threaded.pool.acquire(20)))
    eventually(lambda: threaded.pool.stats().waiting == 2)
    Revoking(threaded.pool).dismiss(errands[0])
    with pytest.raises(PoolError, match="the caller of this call was cancelled"):
        caller.result()
    threaded.pool.release(held)
    other.result()
    assert threaded.pool.stats().timed_out == 0


def test_a_dismissed_thread_does_not_sleep_before_a_retry() -> None:
    """Until it begins another errand."""
    threaded = ThreadedPool(max_size=1)
    revoking = Revoking(threaded.pool)
    revoking.dismiss(begin_errand(0.0))
    with pytest.raises(PoolError, match="was cancelled"):
        threaded.pool.pause(20)
    begin_errand(0.0)
    threaded.pool.pause(0.001)
