"""How connections come into the pool: who opens them, how many, what a failure does, and to whom it is told."""

from __future__ import annotations

import itertools
import threading

import pytest

from improved_db.errors import PoolClosed, PoolError, PoolTimeout
from improved_db.pool.pool import Pool
from improved_db.settings.settings import PoolSettings
from tests.fakes import PATIENCE, Caller, FakeClock, FakeDriver, FakePool, Gate, ThreadedPool, eventually, refuse


def test_failed_connect_gives_its_slot_back() -> None:
    """A pool that counts connects which failed is full of nothing after an outage."""
    fake = FakePool(max_size=2)
    for _ in range(5):
        fake.driver.connect_errors.append(ConnectionRefusedError("no"))
        with pytest.raises(ConnectionRefusedError):
            fake.pool.acquire(1)
        assert fake.pool.stats().cold == 2
    assert len(fake.borrow(2)) == 2
    assert fake.pool.stats().open_errors == 5


def test_failed_connect_is_told_at_once_when_nothing_is_out() -> None:
    """Where no connection could come back there is nothing to wait for, and the driver says why."""
    fake = FakePool(max_size=2)
    fake.driver.before_connect = refuse
    with pytest.raises(ConnectionRefusedError, match="refused"):
        fake.pool.acquire(30)
    assert fake.clock.now() == 0.0


def test_every_waiter_gets_the_error_of_the_failed_connects() -> None:
    """All opens fail: each waiter gets the error, and none is left behind to wait for its timeout."""
    threaded = ThreadedPool(max_size=4)
    threaded.driver.before_connect = gate = Gate()
    threaded.driver.connect_errors += [ConnectionRefusedError("refused")] * 9
    callers = threaded.in_line(6, threaded.pool.acquire)
    gate.open()
    for caller in callers:
        with pytest.raises(ConnectionRefusedError):
            caller.result()
    eventually(lambda: threaded.pool.stats().cold == 4)
    assert threaded.pool.stats().waiting == 0


def test_one_failed_connect_of_several_fails_no_waiter() -> None:
    """While another connect is under way there is hope, and most often it is fulfilled."""
    threaded = ThreadedPool(max_size=2)
    turns = threading.Semaphore(0)
    threaded.driver.connect_errors.append(ConnectionRefusedError("the first only"))
    threaded.driver.before_connect = lambda: _wait(turns)
    callers = threaded.in_line(2, threaded.pool.acquire)
    turns.release()
    eventually(lambda: threaded.pool.stats().open_errors == 1)
    turns.release(3)
    for caller in callers:
        threaded.pool.release(caller.result())
    threaded.pool.close()


def test_waiters_share_no_exception_object() -> None:
    """Each raise writes on the traceback; threads that share one write into each other's."""
    threaded = ThreadedPool(max_size=1)
    threaded.driver.before_connect = gate = Gate()
    threaded.driver.connect_errors += [ConnectionRefusedError("refused")] * 9
    callers = threaded.in_line(3, threaded.pool.acquire)
    gate.open()
    errors = []
    for caller in callers:
        with pytest.raises(ConnectionRefusedError) as caught:
            caller.result()
        errors.append(caught.value)
    assert len({id(error) for error in errors}) == 3


def test_failed_connect_is_tried_again_while_a_connection_is_out() -> None:
    """A connection that is lent may come back, so the line waits; meanwhile the server may."""
    fake = FakePool(max_size=2)
    loan = fake.pool.acquire(1)
    fake.driver.connect_errors += [ConnectionRefusedError("no")] * 3
    other = fake.pool.acquire(30)
    assert other.connection is not loan.connection
    assert fake.pool.stats().open_errors == 3


def test_pauses_between_connects_double_and_are_bounded() -> None:
    """A server that comes up is not helped by clients that all knock every millisecond, nor are they by minutes."""
    fake = FakePool(max_size=2)
    loan = fake.pool.acquire(1)
    tries: list[float] = []
    fake.driver.before_connect = lambda: tries.append(fake.clock.now())
    fake.driver.connect_errors += [ConnectionRefusedError("no")] * 10
    fake.pool.acquire(60)
    pauses = [later - earlier for earlier, later in itertools.pairwise(tries)]
    for number, pause in enumerate(pauses):
        longest = min(0.05 * 2**number, 2.0)
        assert longest / 2 <= pause <= longest
    fake.pool.release(loan)


def test_after_a_connect_that_succeeds_the_pauses_begin_anew() -> None:
    """The next outage has nothing to do with the last one."""
    fake = FakePool(max_size=3)
    loan = fake.pool.acquire(1)
    for _ in range(2):
        tries: list[float] = []
        fake.driver.before_connect = lambda: tries.append(fake.clock.now())  # noqa: B023  # called in this round
        fake.driver.connect_errors += [ConnectionRefusedError("no")] * 4
        fake.pool.acquire(60)
        assert tries[1] - tries[0] <= 0.05
    fake.pool.release(loan)


def test_return_beats_a_refused_connect() -> None:
    """The first in line gets whatever comes first."""
    fake = FakePool(max_size=2)
    loan = fake.pool.acquire(1)
    fake.driver.before_connect = refuse
    fake.in_seconds(1, lambda: fake.pool.release(loan))
    assert fake.pool.acquire(30).connection is loan.connection


def test_last_failure_is_told_when_the_last_connection_out_proves_dead() -> None:
    """As soon as nothing can come back any more, waiting is over."""
    fake = FakePool(max_size=2)
    loan = fake.pool.acquire(1)
    fake.driver.before_connect = refuse
    fake.in_seconds(1, lambda: fake.pool.release(loan, "gone"))
    with pytest.raises(ConnectionRefusedError):
        fake.pool.acquire(30)
    assert fake.clock.now() < 4.0


def test_connect_that_outlives_its_borrower_ends_in_the_rack() -> None:
    """Where connecting takes longer than any caller waits, a pool that drops late connects never warms up."""
    threaded = ThreadedPool(max_size=1)
    threaded.driver.before_connect = gate = Gate()
    with pytest.raises(PoolTimeout):
        threaded.pool.acquire(0)
    gate.open()
    eventually(lambda: threaded.pool.stats().idle == 1)
    threaded.pool.release(threaded.pool.acquire(0))
    assert threaded.pool.stats().opened == 1
    threaded.pool.close()


def test_connect_finished_after_its_borrower_was_served_is_kept() -> None:
    """The line was served by a return; the connection that arrives then is idle, not leaked."""
    threaded = ThreadedPool(max_size=2)
    loan = threaded.pool.acquire()
    threaded.driver.before_connect = gate = Gate()
    (waiting,) = threaded.in_line(1, threaded.pool.acquire)
    threaded.pool.release(loan)
    mine = waiting.result()
    assert mine.connection is loan.connection
    gate.open()
    eventually(lambda: threaded.pool.stats().idle == 1)
    threaded.pool.release(mine)
    threaded.pool.close()
    assert threaded.driver.open == []


def test_hanging_connect_holds_no_other_borrower_up() -> None:
    """One connect that hangs costs one slot, not the pool; and who waited for it is served by the next return."""
    threaded = ThreadedPool(max_size=3)
    hang, first = Gate(), threading.Semaphore(1)
    threaded.driver.before_connect = lambda: hang() if first.acquire(blocking=False) else None
    callers = threaded.in_line(1, threaded.pool.acquire)
    callers += [Caller(threaded.pool.acquire) for _ in range(2)]
    eventually(lambda: threaded.pool.stats().used == 2 and threaded.pool.stats().waiting == 1)
    threaded.pool.release(callers[0].result())
    loans = [caller.result() for caller in callers[1:]]
    assert threaded.pool.stats().opening == 1
    hang.open()
    for loan in loans:
        threaded.pool.release(loan)
    threaded.pool.close()


def test_no_more_connects_at_once_than_max_opening() -> None:
    """A cold start with a thousand requests must not be a thousand handshakes."""
    threaded = ThreadedPool(max_size=8, max_opening=2)
    turns = threading.Semaphore(0)
    threaded.driver.before_connect = lambda: _wait(turns)
    callers = threaded.in_line(6, threaded.pool.acquire)
    for _ in range(6):
        assert threaded.pool.stats().opening <= 2
        turns.release()
    loans = [caller.result() for caller in callers]
    assert threaded.pool.stats().opened == 6
    for loan in loans:
        threaded.pool.release(loan)
    threaded.pool.close()


def test_pool_grows_to_demand_and_not_beyond() -> None:
    """Five borrowers at a time need five connections, however many times they come."""
    fake = FakePool(max_size=50)
    for _ in range(20):
        for loan in fake.borrow(5):
            fake.pool.release(loan)
    assert fake.pool.stats().opened == 5


def test_spike_on_slow_connects_opens_only_what_is_still_needed() -> None:
    """Those served by returns need no connection of their own: the need is asked again before each connect."""
    threaded = ThreadedPool(max_size=50, max_opening=1)
    loan = threaded.pool.acquire()
    threaded.driver.before_connect = gate = Gate()
    callers = threaded.in_line(20, lambda: threaded.pool.release(threaded.pool.acquire()))
    threaded.pool.release(loan)
    for caller in callers:
        caller.result()
    gate.open()
    eventually(lambda: threaded.pool.stats().opening == 0)
    assert threaded.pool.stats().opened == 2
    threaded.pool.close()


def test_opener_stops_when_no_borrower_needs_it_any_more() -> None:
    """After the last waiter has left, no opener knocks at a server that is down."""
    fake = FakePool(max_size=2)
    loan = fake.pool.acquire(1)
    fake.driver.before_connect = refuse
    with pytest.raises(PoolTimeout):
        fake.pool.acquire(5)
    stats = fake.pool.stats()
    assert (stats.opening, stats.cold) == (0, 1)
    errors = stats.open_errors
    fake.clock.advance(600)
    assert fake.pool.stats().open_errors == errors
    fake.pool.release(loan)


def test_close_ends_an_opener_between_two_tries() -> None:
    """A pool that is closed while its server is down has no thread left to knock again."""
    threaded = ThreadedPool(max_size=2)
    loan = threaded.pool.acquire()
    threaded.driver.before_connect = refuse
    (waiting,) = threaded.in_line(1, threaded.pool.acquire)
    eventually(lambda: threaded.pool.stats().open_errors >= 2)
    threaded.pool.close(0)
    with pytest.raises(PoolClosed):
        waiting.result()
    eventually(lambda: threaded.pool.stats().opening == 0)
    threaded.pool.release(loan)
    assert threaded.driver.open == []


def test_connection_that_arrives_in_a_closed_pool_is_closed() -> None:
    """No borrower would ever get it again."""
    threaded = ThreadedPool(max_size=1)
    threaded.driver.before_connect = gate = Gate()
    (waiting,) = threaded.in_line(1, threaded.pool.acquire)
    threaded.pool.close(0)
    with pytest.raises(PoolClosed):
        waiting.result()
    gate.open()
    eventually(lambda: threaded.pool.stats().cold == 1)
    eventually(lambda: threaded.driver.made and threaded.driver.open == [])
    assert threaded.driver.made[0].said_goodbye


def test_connect_begun_before_a_drain_is_replaced_and_strands_no_waiter() -> None:
    """The new password, or the new server, came after it; who waits for it gets another one."""
    threaded = ThreadedPool(max_size=1)
    threaded.driver.before_connect = gate = Gate()
    (waiting,) = threaded.in_line(1, threaded.pool.acquire)
    gate.wait_reached()
    threaded.pool.drain()
    gate.open()
    assert waiting.result().connection.number == 2
    assert threaded.pool.stats().retired == {"drained": 1}


def test_connect_begun_before_a_shrink_is_surplus_and_strands_no_waiter() -> None:
    """The slot leaves with the connection; who waits is served by the others."""
    threaded = ThreadedPool(max_size=2)
    loan = threaded.pool.acquire()
    threaded.driver.before_connect = gate = Gate()
    (waiting,) = threaded.in_line(1, threaded.pool.acquire)
    threaded.pool.resize(1)
    gate.open()
    eventually(lambda: threaded.pool.stats().retired == {"resized": 1})
    threaded.pool.release(loan)
    threaded.pool.release(waiting.result())
    assert threaded.pool.stats().size == 1
    threaded.pool.close()


def test_openers_that_cannot_be_started_are_a_connect_error() -> None:
    """A process out of threads says so to those who wait, and the slot is free for later."""

    def no_thread(_: object) -> None:
        raise RuntimeError("can't start new thread")

    pool = Pool(FakeDriver(), PoolSettings(max_size=1), clock=FakeClock(), spawn=no_thread)
    with pytest.raises(RuntimeError, match="can't start new thread"):
        pool.acquire(1)
    assert pool.stats().cold == 1


def test_interrupt_of_an_opener_is_not_the_waiters_interrupt() -> None:
    """A SystemExit in one thread must not end the others."""
    threads: list[Caller[None]] = []
    pool = Pool(driver := FakeDriver(), PoolSettings(max_size=1), spawn=lambda work: threads.append(Caller(work)))
    driver.connect_errors.append(SystemExit(3))
    with pytest.raises(PoolError, match="interrupted by SystemExit"):
        pool.acquire(PATIENCE)
    with pytest.raises(SystemExit):
        threads[0].result()
    pool.release(pool.acquire(PATIENCE))
    pool.close()


def _wait(turns: threading.Semaphore) -> None:
    assert turns.acquire(timeout=PATIENCE)
