"""What a forked child finds: nothing of its parent's, and no way to harm it.

Each test forks in a Python of its own, where no other test's threads are.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback
from typing import TYPE_CHECKING

import pytest

from improved_db.errors import LoanSpent, PoolClosed
from improved_db.pool.housekeeper import Housekeeper
from tests.fakes import Caller, Gate, ThreadedPool, eventually, run_alone

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")

#: Forking with threads about is what these tests are for; newer Pythons warn of it.
OPTIONS = ("-W", "ignore:.*multi-threaded:DeprecationWarning")


def in_child(check: Callable[[], object]) -> None:
    """Fork, let *check* run in the child, and wait until it has passed there."""
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        try:
            check()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0


def child_is_cold() -> None:
    """Fork with idle, lent and wanted connections."""
    threaded = ThreadedPool(max_size=2)
    idle, lent = [threaded.pool.acquire() for _ in range(2)]
    (waiting,) = threaded.in_line(1, threaded.pool.acquire)

    def check() -> None:
        stats = threaded.pool.stats()
        assert (stats.cold, stats.size, stats.waiting, stats.acquired) == (2, 0, 0, 0)
        assert threaded.driver.open == []
        assert not any(connection.said_goodbye for connection in threaded.driver.made)
        loans = [threaded.pool.acquire() for _ in range(2)]
        assert {loan.connection.number for loan in loans} == {3, 4}
        for loan in loans:
            threaded.pool.release(loan)
        threaded.pool.close()

    in_child(check)
    assert len(threaded.driver.open) == 2
    threaded.pool.release(idle)
    threaded.pool.release(waiting.result())
    threaded.pool.release(lent)
    assert threaded.pool.stats().opened == 2
    threaded.pool.close()


def test_child_starts_cold_and_leaves_the_parents_sessions_alone() -> None:
    """Two processes on one session read each other's answers; one QUIT ends it for both."""
    run_alone(child_is_cold, *OPTIONS)


def lock_is_held() -> None:
    """Fork while another thread is under the lock."""
    threaded = ThreadedPool(max_size=1)
    threaded.pool.release(threaded.pool.acquire())
    gate = Gate()

    def stop_under_the_lock(_: object) -> bool:
        gate()
        return False

    holder = Caller(lambda: threaded.pool.borrow_idle(stop_under_the_lock))
    gate.wait_reached()

    def check() -> None:
        threaded.pool.release(threaded.pool.acquire())
        threaded.pool.close()

    in_child(check)
    gate.open()
    holder.result()
    threaded.pool.release(threaded.pool.acquire())
    threaded.pool.close()


def test_fork_while_another_thread_holds_the_lock_does_not_block_the_child() -> None:
    """The thread that would release it does not exist in the child."""
    run_alone(lock_is_held, *OPTIONS)


def loans_are_the_parents() -> None:
    """Fork with a loan in hand."""
    threaded = ThreadedPool(max_size=2)
    loan = threaded.pool.acquire()

    def check() -> None:
        for discard in (None, "broken"):
            with pytest.raises(LoanSpent):
                threaded.pool.release(loan, discard)
        stats = threaded.pool.stats()
        assert stats.idle + stats.used + stats.opening + stats.cold == 2
        assert len([threaded.pool.acquire() for _ in range(2)]) == 2

    in_child(check)
    assert loan.connection.open
    threaded.pool.release(loan)
    assert threaded.pool.stats().idle == 1
    threaded.pool.close()


def test_loan_of_the_parent_is_refused_in_the_child() -> None:
    """A ``with`` block that was entered before the fork is left twice; only one of them owns the connection."""
    run_alone(loans_are_the_parents, *OPTIONS)


def rounds_import_nothing() -> None:
    """Do what the housekeeper's thread does."""
    threaded = ThreadedPool(max_size=1, idle_timeout=0.1)
    housekeeper = Housekeeper(threaded.pool, period=60.0)
    Housekeeper.look_after(threaded.pool, period=60.0)
    before = set(sys.modules)
    threaded.pool.release(threaded.pool.acquire())
    housekeeper.round(threaded.pool)
    assert set(sys.modules) - before == set()
    threaded.pool.close()


def test_the_housekeepers_thread_imports_nothing() -> None:
    """A fork in the middle of an import leaves the child a lock that no thread of its own will ever release."""
    run_alone(rounds_import_nothing)


def housekeeping_goes_on() -> None:
    """Fork with a housekeeper on duty."""
    threaded = ThreadedPool(max_size=1, idle_timeout=0.1)
    Housekeeper.look_after(threaded.pool, period=0.05)
    loan = threaded.pool.acquire()

    def check() -> None:
        assert threading.active_count() == 1
        threaded.pool.release(threaded.pool.acquire())
        eventually(lambda: threaded.pool.stats().retired == {"idle_timeout": 1})
        threaded.pool.close()

    in_child(check)
    assert loan.connection.open
    threaded.pool.release(loan)
    eventually(lambda: threaded.pool.stats().retired == {"idle_timeout": 1})
    threaded.pool.close()


def test_child_has_a_housekeeper_of_its_own_when_it_needs_one() -> None:
    """The parent's thread is not there, and must not be thought to be."""
    run_alone(housekeeping_goes_on, *OPTIONS)


def resized_and_closed_pools_stay_so() -> None:
    """Fork with pools whose owner has done something to them."""
    grown, closed, suspended = ThreadedPool(max_size=1), ThreadedPool(max_size=1), ThreadedPool(max_size=1)
    grown.pool.resize(3)
    closed.pool.close()
    suspended.pool.suspend()

    def check() -> None:
        assert len([grown.pool.acquire() for _ in range(3)]) == 3
        with pytest.raises(PoolClosed):
            closed.pool.acquire()
        suspended.pool.release(suspended.pool.acquire())

    in_child(check)
    with pytest.raises(TimeoutError):
        suspended.pool.acquire(0)
    for threaded in (grown, suspended):
        threaded.pool.close()


def test_child_inherits_the_size_and_the_end_of_a_pool_but_no_suspension() -> None:
    """What was decided once holds; a suspension ends by a call that only the parent will make."""
    run_alone(resized_and_closed_pools_stay_so, *OPTIONS)


def grandchild_works() -> None:
    """Fork in a fork."""
    threaded = ThreadedPool(max_size=1)
    threaded.pool.release(threaded.pool.acquire())

    def check() -> None:
        loan = threaded.pool.acquire()
        in_child(lambda: threaded.pool.release(threaded.pool.acquire()))
        assert loan.connection.open
        threaded.pool.release(loan)

    in_child(check)
    threaded.pool.release(threaded.pool.acquire())
    assert threaded.pool.stats().opened == 1
    threaded.pool.close()


def test_grandchildren_work_as_well() -> None:
    """A preforking server inside a supervisor forks twice."""
    run_alone(grandchild_works, *OPTIONS)
