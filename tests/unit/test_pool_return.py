"""What happens to a connection that comes back, and what is refused."""

from __future__ import annotations

import threading

import pytest

from improved_db.errors import LoanSpent
from tests.fakes import PATIENCE, Caller, FakePool, Gate, ThreadedPool, eventually


def test_returned_connection_is_restored_before_it_is_lent_again() -> None:
    """The last borrower's transaction is not the next one's."""
    fake = FakePool(max_size=1)
    loan = fake.pool.acquire(1)
    assert loan.connection.restored == 0
    fake.pool.release(loan)
    assert loan.connection.restored == 1


def test_connection_that_is_known_to_be_clean_goes_home_without_a_restore() -> None:
    """Most are: the session's own memory of what was done to it saves the round trip, and the second look."""
    fake = FakePool(max_size=1)
    loan = fake.pool.acquire(1)
    loan.connection.clean = True
    assert fake.pool.release(loan) is None
    assert loan.connection.restored == 0
    assert fake.pool.acquire(1).connection is loan.connection


def test_clean_connection_is_thrown_away_all_the_same_when_its_borrower_says_so() -> None:
    """What the borrower knows weighs more than what the session remembers."""
    fake = FakePool(max_size=1)
    loan = fake.pool.acquire(1)
    loan.connection.clean = True
    assert fake.pool.release(loan, "condemned") == "condemned"
    assert not loan.connection.open


def test_clean_connection_of_a_closed_pool_is_closed() -> None:
    """Clean or not, a rule of the pool's comes first."""
    fake = FakePool(max_size=1)
    loan = fake.pool.acquire(1)
    loan.connection.clean = True
    fake.pool.close(0)
    assert fake.pool.release(loan) == "closed"
    assert loan.connection.said_goodbye


def test_connection_goes_to_the_next_waiter_restored() -> None:
    """The quick way past the rack is no way past the reset."""
    fake = FakePool(max_size=1)
    loan = fake.pool.acquire(1)
    seen: list[int] = []
    fake.in_seconds(1, lambda: fake.pool.release(loan))
    other = fake.pool.acquire(5)
    seen.append(other.connection.restored)
    assert seen == [1]


def test_connection_that_cannot_be_restored_is_thrown_away() -> None:
    """Half a result on the wire, or a rollback that fails: what the next borrower would read is unknown."""
    fake = FakePool(max_size=1)
    loan = fake.pool.acquire(1)
    loan.connection.restorable = False
    fake.pool.release(loan)
    stats = fake.pool.stats()
    assert (stats.idle, stats.cold) == (0, 1)
    assert stats.discarded == {"unrestorable": 1}
    assert not loan.connection.open
    assert not loan.connection.said_goodbye


@pytest.mark.parametrize("error", [OSError("broken"), KeyboardInterrupt(), SystemExit(1)])
def test_restore_that_raises_loses_no_slot(error: BaseException) -> None:
    """Where the way back can fail halfway, each failure makes the pool smaller."""
    fake = FakePool(max_size=1)
    loan = fake.pool.acquire(1)
    fake.driver.restore_errors.append(error)
    with pytest.raises(type(error)):
        fake.pool.release(loan)
    assert fake.pool.stats().cold == 1
    assert fake.driver.open == []
    assert fake.pool.acquire(1).connection.number == 2


def test_connection_its_borrower_condemned_is_thrown_away_unrestored() -> None:
    """Who saw the failure knows; asking the connection again would only take time."""
    fake = FakePool(max_size=1)
    loan = fake.pool.acquire(1)
    fake.pool.release(loan, "server gone")
    assert loan.connection.restored == 0
    assert not loan.connection.open
    assert not loan.connection.said_goodbye
    assert fake.pool.stats().discarded == {"server gone": 1}


def test_bad_connection_never_comes_back() -> None:
    """Whatever was wrong with it stays wrong."""
    fake = FakePool(max_size=2)
    bad, good = fake.borrow(2)
    fake.pool.release(bad, "protocol error")
    fake.pool.release(good)
    for _ in range(5):
        loans = fake.borrow(2)
        assert bad.connection.number not in {loan.connection.number for loan in loans}
        for loan in loans:
            fake.pool.release(loan)


def test_second_return_is_refused() -> None:
    """A connection that is in the pool twice has two users at once."""
    fake = FakePool(max_size=2)
    loan = fake.pool.acquire(1)
    fake.pool.release(loan)
    with pytest.raises(LoanSpent, match="returned before"):
        fake.pool.release(loan)
    assert fake.pool.stats().idle == 1


def test_spent_loan_is_refused_while_another_borrower_has_its_connection() -> None:
    """A belated second return must not take a connection out of another thread's hands."""
    fake = FakePool(max_size=1)
    spent = fake.pool.acquire(1)
    fake.pool.release(spent)
    owner = fake.pool.acquire(1)
    assert owner.connection is spent.connection
    with pytest.raises(LoanSpent):
        fake.pool.release(spent, "broken")
    assert owner.connection.open
    assert fake.pool.stats().used == 1
    fake.pool.release(owner)


def test_loan_of_another_pool_is_refused_by_both_rules() -> None:
    """It stays what it was: lent, by the pool that it comes from."""
    here, there = FakePool(max_size=1), FakePool(max_size=1)
    loan = there.pool.acquire(1)
    with pytest.raises(LoanSpent, match="another pool"):
        here.pool.release(loan)
    assert here.pool.stats().cold == 1
    assert there.pool.stats().used == 1
    there.pool.release(loan)


def test_of_two_threads_that_return_the_same_loan_one_is_refused() -> None:
    """A check outside the lock lets both pass."""
    threaded = ThreadedPool(max_size=2)
    for _ in range(100):
        loan = threaded.pool.acquire()
        together = threading.Barrier(2)

        def give_back() -> bool:
            together.wait(PATIENCE)  # noqa: B023  # joined in this round
            try:
                threaded.pool.release(loan)  # noqa: B023
            except LoanSpent:
                return False
            return True

        callers = [Caller(give_back) for _ in range(2)]
        assert sorted(caller.result() for caller in callers) == [False, True]
    stats = threaded.pool.stats()
    assert (stats.used, stats.idle) == (0, 1)
    threaded.pool.close()


def test_loan_may_come_back_in_another_thread() -> None:
    """Work is handed from thread to thread, and its connection with it."""
    threaded = ThreadedPool(max_size=1)
    loan = threaded.pool.acquire()
    Caller(lambda: threaded.pool.release(loan)).result()
    assert threaded.pool.stats().idle == 1
    threaded.pool.close()


def test_slow_restore_holds_no_other_borrower_up() -> None:
    """Three rollbacks at once take as long as one, if none is done under the lock."""
    threaded = ThreadedPool(max_size=3)
    loans = [threaded.pool.acquire() for _ in range(3)]
    together = threading.Barrier(3)
    threaded.driver.before_restore = lambda: together.wait(PATIENCE)
    callers = [Caller(lambda loan=loan: threaded.pool.release(loan)) for loan in loans]  # type: ignore[misc]
    for caller in callers:
        caller.result()
    assert threaded.pool.stats().idle == 3
    threaded.pool.close()


def test_connection_under_restoration_is_not_lent() -> None:
    """It is counted as used until it is fit; no borrower can get it before."""
    threaded = ThreadedPool(max_size=1)
    loan = threaded.pool.acquire()
    threaded.driver.before_restore = gate = Gate()
    returning = Caller(lambda: threaded.pool.release(loan))
    gate.wait_reached()
    (waiting,) = threaded.in_line(1, threaded.pool.acquire)
    assert threaded.pool.stats().used == 1
    gate.open()
    returning.result()
    threaded.pool.release(waiting.result())
    threaded.pool.close()


def test_slow_goodbye_holds_no_other_borrower_up() -> None:
    """Closing a connection waits on the network; other threads return and borrow meanwhile."""
    threaded = ThreadedPool(max_size=2)
    loans = [threaded.pool.acquire() for _ in range(2)]
    gate, first = Gate(), threading.Semaphore(1)
    threaded.driver.before_close = lambda: gate() if first.acquire(blocking=False) else None
    threaded.pool.drain()
    returning = Caller(lambda: threaded.pool.release(loans[0]))
    gate.wait_reached()
    threaded.pool.release(loans[1])
    threaded.pool.release(threaded.pool.acquire())
    gate.open()
    returning.result()
    threaded.pool.close()


def test_old_connection_is_closed_before_its_successor_is_opened() -> None:
    """Where it is the other way round, a pool of ten has eleven sessions, and the server refuses the eleventh."""
    fake = FakePool(max_size=1)
    loan = fake.pool.acquire(1)
    open_then: list[int] = []
    fake.driver.before_connect = lambda: open_then.append(len(fake.driver.open))
    fake.in_seconds(1, lambda: fake.pool.release(loan, "broken"))
    fake.pool.acquire(5)
    assert open_then == [0]


def test_retired_connections_say_goodbye_and_unfit_ones_do_not() -> None:
    """A healthy server likes to be told; on a broken connection the goodbye reaches no server, and may block."""
    fake = FakePool(max_size=2)
    retired, unfit = fake.borrow(2)
    fake.pool.drain()
    fake.pool.release(retired)
    fake.pool.release(unfit, "protocol error")
    assert retired.connection.said_goodbye
    assert not unfit.connection.said_goodbye
    assert fake.driver.open == []


def test_driver_that_fails_at_any_step_leaves_a_whole_pool() -> None:
    """A bug in a driver is an error for one caller, not the end of the pool."""
    fake = FakePool(max_size=2)

    def broken() -> None:
        raise RuntimeError("driver bug")

    steps = ("before_connect", "before_ping", "before_restore")
    for step in steps:
        fake.fill()
        fake.clock.advance(60)
        if step == "before_connect":
            fake.pool.drain()
        setattr(fake.driver, step, broken)
        with pytest.raises(RuntimeError, match="driver bug"):
            fake.pool.release(fake.pool.acquire(1))
        setattr(fake.driver, step, lambda: None)
        loans = fake.borrow(2)
        for loan in loans:
            fake.pool.release(loan)
        assert fake.pool.stats().size == 2
    assert len(fake.driver.open) == 2


def test_pool_may_be_used_from_inside_the_driver() -> None:
    """Callbacks run outside the lock: one that looks at the pool, or borrows from it, does not wait for itself."""
    threaded = ThreadedPool(max_size=2, ping_idle_after=0.0)
    seen: list[int] = []
    threaded.driver.before_connect = lambda: seen.append(threaded.pool.stats().opening)
    threaded.driver.before_ping = lambda: seen.append(threaded.pool.stats().used)
    threaded.driver.before_restore = lambda: seen.append(len(threaded.pool.borrowed()))
    Caller(lambda: threaded.pool.release(threaded.pool.acquire())).result()
    eventually(lambda: len(seen) == 3)
    assert seen == [1, 1, 1]
    threaded.pool.close()
