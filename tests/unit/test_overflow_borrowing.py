"""The pool with a soft size: who takes, who opens, who waits, and who is refused."""

from __future__ import annotations

import threading

import pytest

from improved_db.compat._soft_pool import acquire_patiently
from improved_db.errors import PoolTimeout
from tests.fakes import Caller, Gate, refuse
from tests.unit.overflowing import NO_LIMIT, Overflowing, Threaded

# --- borrowing without a wait ----------------------------------------------------------------------------------------


def test_idle_connection_is_lent_before_one_is_opened() -> None:
    """A connect is a hundred times as dear as a look at the rack."""
    over = Overflowing()
    over.fill(2)
    assert [loan.connection.number for loan in over.borrow(2)] == [2, 1]
    assert over.pool.stats().opened == 2


def test_connection_is_opened_in_the_borrowers_own_thread() -> None:
    """A driver such as sqlite3's binds a connection to the thread that opened it."""
    over = Overflowing()
    threads: list[threading.Thread] = []
    over.driver.before_connect = lambda: threads.append(threading.current_thread())
    loans = over.borrow(5)
    assert threads == [threading.current_thread()] * 5
    assert len({loan.connection.number for loan in loans}) == 5
    assert over.pool.stats().used == 5


def test_borrower_is_refused_at_its_limit_and_nothing_changes() -> None:
    """Each borrower brings its own limit; one that is reached is an answer, not an error."""
    over = Overflowing()
    kept = over.borrow(3)
    before = over.pool.stats()
    assert over.pool.acquire_now(3) is None
    assert over.pool.acquire_now(1) is None
    assert over.pool.stats() == before
    assert over.one(4).connection.number == 4
    assert [loan.connection.number for loan in kept] == [1, 2, 3]


def test_idle_connection_is_lent_whatever_the_limit() -> None:
    """The limit is for opening; what is there already costs nothing."""
    over = Overflowing()
    over.fill(2)
    kept = over.one()
    assert over.one(1).connection.number == 1
    assert kept.connection.number == 2


def test_borrower_without_patience_never_waits() -> None:
    """Who wants to wait says so; time must not pass for the others."""
    over = Overflowing(max_size=1)
    kept = over.one()
    assert over.pool.acquire_now(1) is None
    stats = over.pool.stats()
    assert (stats.waited, stats.timed_out, over.clock.now()) == (0, 0, 0.0)
    over.pool.release(kept)


# --- opening that fails ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [ConnectionRefusedError("no"), KeyboardInterrupt(), SystemExit(), MemoryError()])
@pytest.mark.parametrize("lent", [0, 2, 3])
def test_failed_connect_gives_its_slot_back(error: BaseException, lent: int) -> None:
    """A night without a server must not end in a pool without places, whatever the error and however full it was."""
    over = Overflowing()
    kept = over.borrow(lent)
    before = over.pool.stats()
    for _ in range(10):
        over.driver.connect_errors.append(error)
        with pytest.raises(type(error)) as caught:
            over.pool.acquire_now(NO_LIMIT)
        assert caught.value is error
    after = over.pool.stats()
    assert (after.used, after.cold, after.open_errors) == (before.used, before.cold, 10)
    assert over.one(lent + 1).connection.open
    assert len(kept) == lent


def test_failed_connect_lets_a_waiter_have_the_slot() -> None:
    """It waits for the connection that will not come; the next attempt may be luckier, and is made for it at once."""
    threaded = Threaded(max_size=1)
    gate = Gate()
    threaded.driver.before_connect = gate
    threaded.driver.connect_errors.append(ConnectionRefusedError("no"))
    unlucky = Caller(lambda: threaded.pool.acquire_now(1))
    gate.wait_reached()
    (waiting,) = threaded.in_line(1, threaded.pool.acquire)
    gate.open()
    with pytest.raises(ConnectionRefusedError):
        unlucky.result()
    loan = waiting.result()
    assert loan.connection.number == 1
    threaded.pool.release(loan)
    threaded.pool.close()


def test_error_of_a_failed_connect_is_named_by_those_who_waited_in_vain() -> None:
    """A timeout without its reason sends people to the wrong place."""
    over = Overflowing(max_size=1)
    kept = over.one()
    over.driver.connect_errors.append(ConnectionRefusedError("the host is down"))
    with pytest.raises(ConnectionRefusedError):
        over.pool.acquire_now(2)
    with pytest.raises(PoolTimeout, match="the host is down"):
        over.pool.acquire(1)
    over.pool.release(kept)


def test_interrupt_while_the_connection_is_examined_leaves_no_loan_behind() -> None:
    """Ctrl-C arrives anywhere; the connection that was looked at may be in any state."""
    over = Overflowing()
    over.fill(1)

    def interrupt() -> None:
        raise KeyboardInterrupt

    over.driver.before_look = interrupt
    with pytest.raises(KeyboardInterrupt):
        over.pool.acquire_now(NO_LIMIT)
    assert over.is_whole()
    assert over.driver.open == []
    assert over.pool.stats().discarded == {"interrupted": 1}


def test_interrupt_after_the_connect_leaves_no_loan_behind() -> None:
    """Between the connect and its return to the borrower lies our own bookkeeping, where a signal may arrive too."""
    over = Overflowing()

    def interrupt() -> None:
        raise KeyboardInterrupt

    over.pool.reports.on_opened = interrupt
    with pytest.raises(KeyboardInterrupt):
        over.pool.acquire_now(NO_LIMIT)
    assert over.is_whole()
    assert over.driver.open == []


# --- patience --------------------------------------------------------------------------------------------------------


def test_patient_borrower_does_not_wait_while_there_is_room() -> None:
    """Up to the size, on demand and at once."""
    over = Overflowing(max_size=2)
    calls: list[float] = []
    loans = [acquire_patiently(over.pool, 1, 4, in_vain=lambda: calls.append(over.clock.now())) for _ in range(2)]
    assert len({loan.connection.number for loan in loans}) == 2
    assert (calls, over.clock.now()) == ([], 0.0)


def test_patient_borrower_opens_beyond_the_size_after_its_turn_was_in_vain() -> None:
    """The size is what one would like to have, the limit what one can have."""
    over = Overflowing(max_size=1)
    kept = over.one()
    calls: list[float] = []
    loan = acquire_patiently(over.pool, 3, 2, in_vain=lambda: calls.append(over.clock.now()))
    assert (loan.connection.number, calls) == (2, [3.0])
    assert kept.connection.open


def test_patient_borrower_is_served_meanwhile_and_nothing_is_opened() -> None:
    """That is what it waits for."""
    over = Overflowing(max_size=1)
    kept = over.one()
    calls: list[float] = []
    over.clock.at(2.0, lambda: (over.pool.release(kept), None)[1])
    loan = acquire_patiently(over.pool, 3, 2, in_vain=lambda: calls.append(over.clock.now()))
    assert (loan.connection.number, calls, over.clock.now()) == (1, [], 2.0)
    assert over.pool.stats().opened == 1


def test_patient_borrower_at_the_limit_is_told_what_the_pool_looks_like() -> None:
    """A borrower may have forgotten to return one, and the error must say which borrower has which."""
    over = Overflowing(max_size=1)
    kept = [over.pool.acquire_now(NO_LIMIT) for _ in range(2)]
    calls: list[float] = []
    with pytest.raises(PoolTimeout, match=r"no connection after 3\.00 s .*used=2") as caught:
        acquire_patiently(over.pool, 3, 2, in_vain=lambda: calls.append(over.clock.now()))
    assert __file__ in str(caught.value)
    assert calls == [3.0]
    assert len(kept) == 2


def test_patience_of_zero_asks_and_goes() -> None:
    """``timeout=0`` means: now or not at all."""
    over = Overflowing(max_size=1)
    kept = over.one()
    with pytest.raises(PoolTimeout):
        acquire_patiently(over.pool, 0, 1, in_vain=lambda: None)
    assert over.clock.now() == 0.0
    over.pool.release(kept)
    assert over.is_whole()


def test_patient_borrower_gets_what_answers_only() -> None:
    """``pre_ping`` holds for a connection that is handed over in the line as well."""
    over = Overflowing(max_size=1, ping_idle_after=None)
    kept = over.one()
    over.clock.at(2.0, lambda: (over.pool.release(kept), None)[1])
    loan = acquire_patiently(over.pool, 3, 1, ping=True, in_vain=lambda: None)
    assert (loan.connection.number, loan.connection.pinged) == (1, 1)


def test_error_while_opening_beyond_the_size_reaches_the_patient() -> None:
    """What the driver said is worth more than that the pool is full."""
    over = Overflowing(max_size=1)
    kept = over.one()
    over.driver.before_connect = refuse
    with pytest.raises(ConnectionRefusedError):
        acquire_patiently(over.pool, 1, 2, in_vain=lambda: None)
    over.pool.release(kept)
    assert over.is_whole()
