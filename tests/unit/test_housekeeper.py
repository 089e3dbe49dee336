"""Maintenance: what it does in a round, and when its thread lives."""

from __future__ import annotations

import gc
import logging
import threading
from typing import TYPE_CHECKING, Any

import pytest

from improved_db.pool.housekeeper import Housekeeper, keepalive
from tests.fakes import Caller, FakeConnection, FakePool, ThreadedPool, eventually, refuse

if TYPE_CHECKING:
    from improved_db.pool.loan import Loan
    from improved_db.pool.pool import Pool
    from improved_db.pool.stats import Borrowed


class Kept(FakePool):
    """A pool whose housekeeper makes its rounds when the test says so."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{"ping_idle_after": None, "lifetime_jitter": 0.0, **settings})
        self.housekeeper = Housekeeper(self.pool)  # without a thread: time here is the test's

    def after(self, seconds: float) -> float | None:
        """Let time pass, and make a round."""
        self.clock.advance(seconds)
        return self.housekeeper.round(self.pool)


def housekeepers() -> list[threading.Thread]:
    """Return the threads of housekeepers."""
    return [thread for thread in threading.enumerate() if thread.name == "improved_db-housekeeper"]


# --- what it does ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("seconds", "left"), [(599.0, 3), (600.0, 0)])
def test_connection_idle_for_too_long_is_closed(seconds: float, left: int) -> None:
    """The peak of the morning must not hold the server's memory all day."""
    kept = Kept(max_size=3, idle_timeout=600.0)
    kept.fill()
    kept.after(seconds)
    assert len(kept.driver.open) == left


def test_only_those_that_are_idle_for_too_long_are_closed() -> None:
    """What is used stays."""
    kept = Kept(max_size=3, idle_timeout=600.0)
    kept.fill()
    kept.clock.advance(400)
    kept.pool.release(kept.pool.acquire(1))
    kept.after(300)
    assert [connection.number for connection in kept.driver.open] == [3]
    assert kept.pool.stats().retired == {"idle_timeout": 2}


def test_min_size_is_kept_however_idle() -> None:
    """The connections that are wanted beforehand are not closed to be opened again."""
    kept = Kept(min_size=2, max_size=5, idle_timeout=600.0, max_lifetime=None)
    kept.fill()
    kept.after(10_000)
    stats = kept.pool.stats()
    assert (stats.idle, stats.opened) == (2, 5)


def test_without_an_idle_timeout_nothing_is_closed_for_idleness() -> None:
    """None means never."""
    kept = Kept(max_size=2, idle_timeout=None, max_lifetime=None)
    kept.fill()
    kept.after(10**7)
    assert kept.pool.stats().idle == 2


def test_old_connection_is_replaced_in_the_background() -> None:
    """The borrower after a quiet hour finds a young connection, and does not pay for it."""
    kept = Kept(min_size=1, max_size=2, max_lifetime=1000.0, idle_timeout=None)
    kept.fill()
    kept.after(1000)
    assert kept.pool.stats().retired == {"max_lifetime": 2}
    assert [connection.number for connection in kept.driver.open] == [3]


def test_pool_that_fell_below_its_min_size_is_refilled() -> None:
    """A killed session, or ten, must not be found out by ten requests."""
    kept = Kept(min_size=3, max_size=5)
    loans = kept.borrow(3)
    kept.driver.before_connect = refuse
    for loan in loans:
        kept.pool.release(loan, "killed")
    kept.driver.before_connect = lambda: None
    assert kept.pool.stats().idle == 0
    kept.after(5)
    assert kept.pool.stats().idle == 3


def test_refill_that_fails_is_tried_again_in_the_next_round() -> None:
    """A pool that gives up once is empty for ever after an outage."""
    kept = Kept(min_size=1, max_size=1)
    kept.driver.before_connect = refuse
    for _ in range(3):
        kept.after(5)
        assert kept.pool.stats().cold == 1
    kept.driver.before_connect = lambda: None
    kept.after(5)
    assert kept.pool.stats().idle == 1


@pytest.mark.parametrize(("limit", "pinged"), [(100.0, [0, 1]), (None, [0, 0])])
def test_silent_connection_is_pinged_before_the_server_ends_it(limit: float | None, pinged: list[int]) -> None:
    """With ``wait_timeout`` known, idle connections that are kept outlive it; nothing else has to be set."""
    kept = Kept(min_size=1, max_size=1, idle_timeout=None)
    (connection,) = kept.fill()
    kept.driver.idle_limit = limit
    kept.after(49)
    seen = [connection.pinged]
    kept.after(1)
    assert [*seen, connection.pinged] == pinged


def test_keepalive_may_be_set() -> None:
    """A firewall may be quicker than the server."""
    kept = Kept(min_size=1, max_size=1, idle_timeout=None, keepalive=10.0)
    (connection,) = kept.fill()
    kept.driver.idle_limit = 28800.0
    for _ in range(5):
        kept.after(10)
    assert connection.pinged == 5
    assert keepalive(kept.pool) == 10.0


def test_connection_that_does_not_answer_the_keepalive_is_replaced() -> None:
    """That is what it is for: to find out before a borrower does."""
    kept = Kept(min_size=1, max_size=1, idle_timeout=None, keepalive=10.0)
    kept.fill()[0].answers = False
    kept.after(10)
    assert kept.pool.stats().discarded == {"ping": 1}
    assert [connection.number for connection in kept.driver.open] == [2]


def test_maintenance_replaces_the_broken_connection_and_no_other() -> None:
    """One dropped flow is no reason to log in three times."""
    kept = Kept(min_size=3, max_size=3, idle_timeout=None, keepalive=10.0)
    _, broken, _ = kept.fill()
    broken.answers = False
    kept.after(10)
    assert {connection.number for connection in kept.driver.open} == {1, 2, 3, 4} - {broken.number}


def test_keepalive_does_not_make_a_connection_young_or_busy() -> None:
    """A pinged connection is as idle as before, or the idle timeout never comes."""
    kept = Kept(max_size=2, idle_timeout=600.0, keepalive=100.0)
    kept.fill()
    for _ in range(6):
        kept.after(100)
    assert kept.pool.stats().retired == {"idle_timeout": 2}


def test_maintenance_is_in_no_statistic_of_borrowers() -> None:
    """Its loans would make a quiet pool look busy."""
    kept = Kept(max_size=2, idle_timeout=None, keepalive=10.0)
    kept.fill()
    before = kept.pool.stats()
    for _ in range(10):
        kept.after(10)
    after = kept.pool.stats()
    assert (after.acquired, after.use_seconds) == (before.acquired, before.use_seconds)


def test_connection_in_maintenance_goes_to_who_waits_for_it() -> None:
    """Waiting for a ping is better than opening another connection, and the line is the line."""
    threaded = ThreadedPool(max_size=1, keepalive=0.01, ping_idle_after=None)
    threaded.pool.release(threaded.pool.acquire())
    callers: list[Caller[Loan[FakeConnection]]] = []

    def come_meanwhile() -> None:
        if not callers:
            callers.extend(threaded.in_line(1, threaded.pool.acquire))

    threaded.driver.before_ping = come_meanwhile
    housekeeper = Housekeeper.look_after(threaded.pool)
    eventually(lambda: housekeeper.round(threaded.pool) and callers)
    threaded.pool.release(callers[0].result())
    assert threaded.pool.stats().opened == 1
    threaded.pool.close()


def test_only_one_connection_at_a_time_is_in_maintenance() -> None:
    """A round of pings must not make the pool look exhausted."""
    kept = Kept(max_size=4, idle_timeout=None, keepalive=10.0)
    kept.fill()
    used: list[int] = []
    kept.driver.before_ping = lambda: used.append(kept.pool.stats().used)
    kept.after(10)
    assert used == [1, 1, 1, 1]


def test_lost_loan_is_back_after_a_round() -> None:
    """Also when no borrower comes who would need it."""
    kept = Kept(max_size=1)
    kept.pool.acquire(1)
    kept.after(5)
    assert kept.pool.stats().lost == 1
    assert kept.driver.open == []


# --- loans held for too long ----------------------------------------------------------------------------------------


def test_long_loan_is_reported_once_with_its_place(caplog: pytest.LogCaptureFixture) -> None:
    """Who forgot a ``with`` is found by the line where it is missing."""
    told: list[Borrowed] = []
    kept = Kept(max_size=1, leak_warn_after=60.0, on_leak=told.append)
    loan = kept.pool.acquire(1, note_place=True)
    with caplog.at_level(logging.WARNING, logger="improved_db"):
        kept.after(59)
        assert caplog.records == []
        for _ in range(3):
            kept.after(1)
    (record,) = caplog.records
    assert "has been held for 60.0 s" in record.getMessage()
    assert "in test_long_loan_is_reported_once_with_its_place" in record.getMessage()
    assert [borrowed.seconds for borrowed in told] == [60.0]
    assert kept.pool.stats().leaks == 1
    kept.pool.release(loan)


def test_long_loan_that_comes_back_after_all_is_reported_as_well(caplog: pytest.LogCaptureFixture) -> None:
    """Slow is not leaked; the second line takes the first one back."""
    kept = Kept(max_size=1, leak_warn_after=60.0)
    loan = kept.pool.acquire(1)
    kept.after(60)
    kept.clock.advance(30)
    with caplog.at_level(logging.WARNING, logger="improved_db"):
        kept.pool.release(loan)
    assert "was returned after 90.0 s" in caplog.text


def test_loans_are_not_reported_unless_asked_for() -> None:
    """How long is too long, only the user knows."""
    kept = Kept(max_size=1)
    loan = kept.pool.acquire(1)
    kept.after(10**6)
    assert kept.pool.stats().leaks == 0
    kept.pool.release(loan)


def test_leak_callback_that_raises_does_not_end_housekeeping(caplog: pytest.LogCaptureFixture) -> None:
    """A callback with a bug must not stop the one thread that looks after everything."""

    def broken(_: object) -> None:
        raise ValueError("callback bug")

    threaded = ThreadedPool(max_size=2, leak_warn_after=0.1, on_leak=broken)
    with caplog.at_level(logging.ERROR, logger="improved_db"):
        Housekeeper.look_after(threaded.pool, period=0.05)
        loan = threaded.pool.acquire()
        eventually(lambda: "housekeeping failed; the next round is in" in caplog.text)
        threaded.pool.release(loan)
        threaded.pool.acquire()
        eventually(lambda: threaded.pool.stats().lost == 1)
    threaded.pool.close()


# --- its thread -----------------------------------------------------------------------------------------------------


def test_after_twenty_four_quiet_hours_it_still_does_its_work() -> None:
    """A wait that raises after a day, once seen in the field, leaves a pool without maintenance for ever."""
    kept = Kept(min_size=1, max_size=2, max_lifetime=1800.0, keepalive=600.0)
    kept.fill()
    pause: float | None = 0.0
    while kept.clock.now() < 24 * 3600:
        assert pause is not None
        pause = kept.after(pause)
    stats = kept.pool.stats()
    assert stats.idle == 1
    assert stats.retired["max_lifetime"] >= 47
    kept.pool.acquire(1)
    kept.after(5)
    assert kept.pool.stats().lost == 1


def test_rounds_come_often_enough_for_the_shortest_time_that_is_set() -> None:
    """A timeout of a second that is looked at every five is a timeout of five."""
    assert Kept(min_size=1, max_size=1).after(0) == 5.0
    assert Kept(min_size=1, max_size=1, idle_timeout=1.0).after(0) == 0.5
    assert Kept(min_size=1, max_size=1, leak_warn_after=0.01).after(0) == 0.05


def test_no_thread_before_the_first_connection() -> None:
    """Importing and configuring start nothing; programs fork after that."""
    before = housekeepers()
    threaded = ThreadedPool(max_size=1)
    Housekeeper.look_after(threaded.pool)
    assert housekeepers() == before
    threaded.pool.release(threaded.pool.acquire())
    eventually(lambda: len(housekeepers()) == len(before) + 1)
    threaded.pool.close()


def test_one_thread_for_a_pool_however_many_connections() -> None:
    """A thread per connection would cost more than the connections."""
    before = housekeepers()
    threaded = ThreadedPool(max_size=20)
    Housekeeper.look_after(threaded.pool)
    for loan in [threaded.pool.acquire() for _ in range(20)]:
        threaded.pool.release(loan)
    assert len(housekeepers()) <= len(before) + 1
    threaded.pool.close()


def test_thread_leaves_an_empty_pool_and_comes_back() -> None:
    """A program that is done with its database has no thread that wakes up for it."""
    before = len(housekeepers())
    threaded = ThreadedPool(max_size=1, idle_timeout=0.1)
    Housekeeper.look_after(threaded.pool, period=0.05)
    for _ in range(2):
        threaded.pool.release(threaded.pool.acquire())
        eventually(lambda: threaded.pool.stats().size == 0)
        eventually(lambda: len(housekeepers()) == before)
    assert threaded.pool.stats().retired == {"idle_timeout": 2}
    threaded.pool.close()


def test_connection_opened_while_the_thread_leaves_is_looked_after() -> None:
    """Between "nothing to do" and the end of the thread is an instant in which an opener may open one."""
    threaded = ThreadedPool(max_size=1, idle_timeout=0.1)
    opened_late = threading.Event()

    class Leaving(Housekeeper[Any]):
        def round(self, pool: Any) -> float | None:
            pause = super().round(pool)
            if pause is None and not opened_late.is_set():
                pool.release(pool.acquire())
                opened_late.set()
            return pause

    Leaving.look_after(threaded.pool, period=0.05)
    threaded.pool.release(threaded.pool.acquire())
    eventually(opened_late.is_set)
    eventually(lambda: threaded.pool.stats().retired == {"idle_timeout": 2})
    threaded.pool.close()


def test_thread_that_cannot_be_started_is_started_with_the_next_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that was short of threads once keeps its maintenance all the same."""
    threaded = ThreadedPool(max_size=2)
    threaded.pool.release(threaded.pool.acquire())
    housekeeper = Housekeeper.look_after(threaded.pool)
    with monkeypatch.context() as short_of_threads:
        short_of_threads.setattr(threading.Thread, "start", _no_thread)
        housekeeper.attend()
    before = len(housekeepers())
    housekeeper.attend()
    assert len(housekeepers()) == before + 1
    threaded.pool.close()


def test_thread_ends_with_an_abandoned_pool() -> None:
    """Programs do not close everything; a pool that is dropped must be able to die."""
    before = len(housekeepers())
    threaded = ThreadedPool(max_size=1)
    Housekeeper.look_after(threaded.pool)
    threaded.pool.release(threaded.pool.acquire())
    eventually(lambda: len(housekeepers()) == before + 1)
    del threaded
    gc.collect()
    eventually(lambda: len(housekeepers()) == before)


def test_close_in_the_middle_of_a_round_ends_the_thread() -> None:
    """Also when it is maintenance itself that leads to the close."""
    before = len(housekeepers())
    pools: list[Pool[FakeConnection]] = []
    threaded = ThreadedPool(max_size=1, leak_warn_after=0.1, on_leak=lambda _: pools[0].close(0))
    pools.append(threaded.pool)
    Housekeeper.look_after(threaded.pool, period=0.05)
    loan = threaded.pool.acquire()
    eventually(lambda: threaded.pool.closed)
    eventually(lambda: len(housekeepers()) == before)
    threaded.pool.release(loan)


def _no_thread(_: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")
