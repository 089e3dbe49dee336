"""The end of a pool: who is told, who is waited for, what is cut, and that nothing remains."""

from __future__ import annotations

import logging
import threading

import pytest

from improved_db.errors import PoolClosed, PoolTimeout
from improved_db.pool.housekeeper import Housekeeper
from tests.fakes import PATIENCE, Caller, FakePool, Gate, ThreadedPool, eventually, run_alone


def test_close_closes_idle_connections() -> None:
    """Sessions that no program can reach any more still count against the server's limit."""
    fake = FakePool(max_size=3)
    connections = fake.fill()
    fake.pool.close()
    assert fake.driver.open == []
    assert all(connection.said_goodbye for connection in connections)
    assert fake.pool.stats().retired == {"closed": 3}


def test_closed_pool_lends_nothing() -> None:
    """With an error that says why, and at once."""
    fake = FakePool(name="orders")
    fake.pool.close()
    with pytest.raises(PoolClosed, match="pool 'orders' is closed"):
        fake.pool.acquire(5)
    assert fake.clock.now() == 0.0


def test_close_wakes_every_waiter() -> None:
    """No borrower waits half a minute for a pool that is gone."""
    threaded = ThreadedPool(max_size=1)
    loan = threaded.pool.acquire()
    callers = threaded.in_line(5, threaded.pool.acquire)
    threaded.pool.close(0)
    for caller in callers:
        with pytest.raises(PoolClosed):
            caller.result()
    assert loan.connection.open
    threaded.pool.release(loan)


def test_lent_connection_is_closed_when_it_comes_back() -> None:
    """Its borrower finishes undisturbed; the session does not outlive the loan."""
    fake = FakePool(max_size=1)
    loan = fake.pool.acquire(1)
    fake.pool.close(0)
    assert loan.connection.open
    fake.pool.release(loan)
    assert loan.connection.said_goodbye
    assert fake.pool.stats().size == 0


def test_close_waits_for_borrowers_in_other_threads() -> None:
    """A shutdown that does not is a shower of errors."""
    threaded = ThreadedPool(max_size=1)
    borrowed, finish = threading.Event(), threading.Event()

    def work() -> None:
        loan = threaded.pool.acquire()
        borrowed.set()
        assert finish.wait(PATIENCE)
        threaded.pool.release(loan)

    worker = Caller(work)
    assert borrowed.wait(PATIENCE)
    closing = Caller(lambda: threaded.pool.close(PATIENCE))
    eventually(lambda: threaded.pool.closed)
    assert closing.blocked
    finish.set()
    assert closing.result() == []
    worker.result()
    assert threaded.driver.open == []


def test_close_waits_no_longer_than_it_is_told() -> None:
    """And says who was still out."""
    fake = FakePool(max_size=1)
    loan = fake.pool.acquire(1)
    (left,) = Caller(lambda: fake.pool.close(7)).result()
    assert fake.clock.now() == 7.0
    assert left.thread == threading.current_thread().name
    fake.pool.release(loan)


def test_close_logs_who_still_holds_a_connection(caplog: pytest.LogCaptureFixture) -> None:
    """The line that shuts down is not the line that leaks."""
    fake = FakePool(max_size=1)
    loan = fake.pool.acquire(1, note_place=True)
    with caplog.at_level(logging.WARNING, logger="improved_db"):
        left = fake.pool.close()
    assert "in test_close_logs_who_still_holds_a_connection" in caplog.text
    assert [str(borrowed) in caplog.text for borrowed in left] == [True]
    fake.pool.release(loan)


def test_close_does_not_wait_for_its_own_thread() -> None:
    """Called inside a ``with`` block it would wait for itself, and time out each time."""
    fake = FakePool(max_size=1)
    loan = fake.pool.acquire(1)
    fake.pool.close(60)
    assert fake.clock.now() == 0.0
    fake.pool.release(loan)
    assert fake.driver.open == []


def test_forced_close_cuts_what_is_still_out() -> None:
    """A thread blocked on its socket gets an error, and the process can end."""
    threaded = ThreadedPool(max_size=1)
    borrowed, cut = threading.Event(), threading.Event()

    def work() -> None:
        loan = threaded.pool.acquire()
        borrowed.set()
        eventually(lambda: not loan.connection.open)
        cut.set()
        threaded.pool.release(loan, "cut")

    worker = Caller(work)
    assert borrowed.wait(PATIENCE)
    left = threaded.pool.close(0, force=True)
    assert len(left) == 1
    worker.result()
    assert cut.is_set()
    assert threaded.pool.stats().size == 0


def test_close_twice_is_once() -> None:
    """``with`` and an explicit close, or two shutdown handlers, are no mistake."""
    fake = FakePool(max_size=2)
    fake.fill()
    fake.pool.close()
    assert fake.pool.close() == []
    assert fake.pool.stats().retired == {"closed": 2}


def test_many_threads_may_close_at_once() -> None:
    """All return, and each connection is closed once."""
    threaded = ThreadedPool(max_size=4)
    for loan in [threaded.pool.acquire() for _ in range(4)]:
        threaded.pool.release(loan)
    Housekeeper.look_after(threaded.pool)
    together = threading.Barrier(6)
    for caller in [Caller(lambda: (together.wait(PATIENCE), threaded.pool.close())) for _ in range(6)]:
        caller.result()
    assert threaded.pool.stats().retired == {"closed": 4}
    assert threaded.driver.open == []


def test_close_while_others_borrow_leaves_nothing_open() -> None:
    """A borrower served before is closed on return, one that came after is refused, and no third thing happens."""
    for _ in range(20):
        threaded = ThreadedPool(max_size=3)
        together = threading.Barrier(5)

        def borrow() -> None:
            together.wait(PATIENCE)  # noqa: B023  # joined in this round
            try:
                threaded.pool.release(threaded.pool.acquire())  # noqa: B023
            except PoolClosed:
                pass

        callers = [Caller(borrow) for _ in range(4)]
        together.wait(PATIENCE)
        threaded.pool.close(PATIENCE)
        for caller in callers:
            caller.result()
        eventually(lambda: threaded.driver.open == [])  # noqa: B023
        assert threaded.pool.stats().size == 0


def test_no_thread_of_a_closed_pool_remains() -> None:
    """Neither the housekeeper nor an opener."""
    before = set(threading.enumerate())
    threaded = ThreadedPool(max_size=3)
    Housekeeper.look_after(threaded.pool)
    for loan in [threaded.pool.acquire() for _ in range(3)]:
        threaded.pool.release(loan)
    assert set(threading.enumerate()) > before
    threaded.pool.close()
    eventually(lambda: set(threading.enumerate()) <= before)


def test_close_waits_for_a_connect_under_way() -> None:
    """A connection that arrives after all borrowers have gone would stay open."""
    threaded = ThreadedPool(max_size=1)
    go = threading.Event()
    threaded.driver.before_connect = lambda: _wait(go)
    (waiting,) = threaded.in_line(1, threaded.pool.acquire)
    closing = Caller(lambda: threaded.pool.close(PATIENCE))
    with pytest.raises(PoolClosed):
        waiting.result()
    assert closing.blocked
    go.set()
    assert closing.result() == []
    eventually(lambda: threaded.driver.open == [])
    assert threaded.pool.stats().size == 0


def end_without_a_word() -> None:
    """Leave an idle connection, a loan, a hanging connect and a housekeeper behind."""
    threaded = ThreadedPool(max_size=3, min_size=1)
    Housekeeper.look_after(threaded.pool)
    threaded.pool.release(threaded.pool.acquire())
    left_behind.append(threaded.pool.acquire())
    threaded.driver.before_connect = hang = Gate()
    with pytest.raises(PoolTimeout):
        threaded.pool.acquire(0)
    hang.wait_reached()
    left_behind.append(threaded)
    print(threading.active_count())  # noqa: T201  # to the test


left_behind: list[object] = []


def test_interpreter_ends_without_close_and_without_a_word() -> None:
    """A script that forgets to close must neither hang at its end nor print a traceback over its output."""
    assert int(run_alone(end_without_a_word)) >= 3


def _wait(event: threading.Event) -> None:
    assert event.wait(PATIENCE)
