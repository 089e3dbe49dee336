"""Real threads on one pool: stress, races, and exceptions thrown into threads from outside."""

from __future__ import annotations

import ctypes
import gc
import logging
import queue
import random
import signal
import threading
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from improved_db.pool.housekeeper import Housekeeper
from tests.fakes import PATIENCE, Caller, FakeConnection, FakeDriver, ThreadedPool, eventually, run_alone

if TYPE_CHECKING:
    from collections.abc import Callable

    from improved_db.pool.pool import Pool


class Thrown(BaseException):
    """An exception that another thread threw into this one."""


def capacity_is_whole(pool: Pool[FakeConnection]) -> None:
    """Check that every slot is in one place, and that all of them can be had."""
    gc.collect()
    pool.recover()
    eventually(lambda: pool.stats().opening == 0)
    stats = pool.stats()
    assert stats.idle + stats.used + stats.cold == stats.max_size
    assert (stats.used, stats.waiting) == (0, 0)
    loans = [pool.acquire(PATIENCE) for _ in range(stats.max_size)]
    assert len({loan.connection.number for loan in loans}) == stats.max_size
    for loan in loans:
        pool.release(loan)


class ExclusiveDriver(FakeDriver):
    """Notices two threads that use one connection at once."""

    def __init__(self) -> None:
        super().__init__()
        self.users: Counter[int] = Counter()

    def use(self, connection: FakeConnection) -> None:
        """Use a connection as a borrower does, for as long as it takes others to come."""
        self.users[connection.number] += 1
        assert self.users[connection.number] == 1
        assert connection.open
        threading.Event().wait(random.random() / 5000)
        self.users[connection.number] -= 1


@pytest.mark.parametrize(("max_size", "threads"), [(1, 4), (4, 4), (3, 12), (12, 3)])
def test_no_connection_has_two_users_under_load(max_size: int, threads: int) -> None:
    """Borrow, use, give back or break, from many threads: one owner each, never more than allowed, nothing lost."""
    driver = ExclusiveDriver()
    threaded = ThreadedPool(driver, max_size=max_size)
    Housekeeper.look_after(threaded.pool, period=0.05)

    def work(seed: int) -> None:
        chance = random.Random(seed)
        for _ in range(80):
            loan = threaded.pool.acquire()
            driver.use(loan.connection)
            loan.connection.alive = chance.random() > 0.05
            threaded.pool.release(loan, "broken" if chance.random() < 0.05 else None)
            assert len(driver.open) <= max_size

    for caller in [Caller(lambda seed=seed: work(seed)) for seed in range(threads)]:  # type: ignore[misc]
        caller.result()
    capacity_is_whole(threaded.pool)
    assert threaded.pool.stats().acquired == 80 * threads + max_size
    threaded.pool.close()
    assert driver.open == []


def test_owners_verbs_under_load_break_nothing() -> None:
    """Drain, resize, suspend and recover while others borrow: each call of theirs ends, and the size is right."""
    threaded = ThreadedPool(max_size=4)
    Housekeeper.look_after(threaded.pool, period=0.05)
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            threaded.pool.release(threaded.pool.acquire())

    callers = [Caller(work) for _ in range(6)]
    for number in range(40):
        threaded.pool.resize(1 + number % 5)
        threaded.pool.drain()
        threaded.pool.suspend()
        threaded.pool.recover()
        threaded.pool.resume()
    threaded.pool.resize(4)
    before = threaded.pool.stats().acquired
    eventually(lambda: threaded.pool.stats().acquired > before + 100)
    stop.set()
    for caller in callers:
        caller.result()
    capacity_is_whole(threaded.pool)
    threaded.pool.close()
    assert threaded.driver.open == []


def test_threads_that_come_together_to_an_empty_pool_are_all_served() -> None:
    """Between "nothing idle" and "waiting" no borrower must be missed."""
    for _ in range(50):
        threaded = ThreadedPool(max_size=2)
        together = threading.Barrier(6)

        def borrow() -> None:
            together.wait(PATIENCE)  # noqa: B023  # joined in this round
            threaded.pool.release(threaded.pool.acquire())  # noqa: B023

        for caller in [Caller(borrow) for _ in range(6)]:
            caller.result()
        assert threaded.pool.stats().opened <= 2
        threaded.pool.close()


def test_tiny_timeouts_race_with_returns_and_lose_nothing() -> None:
    """A waiter that gives up in the instant in which it is served: the connection is another borrower's, or idle."""
    threaded = ThreadedPool(max_size=2)

    def work(seed: int) -> int:
        chance = random.Random(seed)
        served = 0
        for _ in range(300):
            try:
                loan = threaded.pool.acquire(chance.random() / 2000)
            except TimeoutError:
                continue
            served += 1
            threading.Event().wait(chance.random() / 3000)
            threaded.pool.release(loan)
        return served

    callers = [Caller(lambda seed=seed: work(seed)) for seed in range(6)]  # type: ignore[misc]
    served = sum(caller.result() for caller in callers)
    stats = threaded.pool.stats()
    assert stats.acquired >= served > 0
    assert stats.acquired + stats.timed_out >= 6 * 300
    capacity_is_whole(threaded.pool)
    threaded.pool.close()


class Victim:
    """A thread that borrows again and again, and counts the exceptions that are thrown into it meanwhile."""

    def __init__(self, pool: Pool[FakeConnection], stop: threading.Event) -> None:
        self.pool = pool
        self.stop = stop
        self.thrown = self.caught = 0
        self._never = threading.Lock()
        self._never.acquire()
        self.caller = Caller(self._live)

    def _live(self) -> None:
        while not self.stop.is_set():
            try:
                self.borrow()
            except Thrown:
                self.caught += 1

    def borrow(self) -> None:
        """Borrow once, and forget the loan however it ends."""
        loan = self.pool.acquire()
        self._never.acquire(timeout=0.0002)  # a lock: interrupting a Condition breaks it
        self.pool.release(loan)

    def throw(self) -> None:
        """Throw one into it, unless the last one has not arrived yet."""
        if self.thrown == self.caught:
            self.thrown += 1
            ident = ctypes.c_ulong(self.caller.ident or 0)
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ident, ctypes.py_object(Thrown))


def openers_that_exist() -> Callable[[Callable[[], None]], None]:
    """Return a `spawn` that starts no threads: CPython up to 3.11 throws into one that its target is just starting."""
    tasks: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()

    def work() -> None:
        while True:
            tasks.get()()

    for _ in range(4):
        threading.Thread(target=work, daemon=True).start()
    return tasks.put


def test_exceptions_thrown_into_threads_lose_no_slot() -> None:
    """Servers that kill slow requests throw into their threads: while they wait, while they hold, while they return."""
    threaded = ThreadedPool(max_size=3, spawn=openers_that_exist())
    stop = threading.Event()
    victims = [Victim(threaded.pool, stop) for _ in range(6)]
    chance = random.Random(1)
    for _ in range(600):
        chance.choice(victims).throw()
        threading.Event().wait(chance.random() / 1000)
    before = threaded.pool.stats().acquired
    Housekeeper.look_after(threaded.pool, period=0.05).attend()
    eventually(lambda: threaded.pool.stats().acquired > before + 50)
    stop.set()
    for victim in victims:
        victim.caller.join(PATIENCE)
        assert not victim.caller.is_alive()
    assert sum(victim.caught for victim in victims) > 100
    capacity_is_whole(threaded.pool)
    threaded.pool.close()


def raise_it(*_: object) -> None:
    """Raise, as the handler of a signal."""
    raise Thrown


def interrupt_a_waiting_main_thread() -> None:
    """Let a signal handler raise at random instants while the main thread borrows, waits and gives back."""
    logging.disable(logging.WARNING)
    threaded = ThreadedPool(max_size=1)
    Housekeeper.look_after(threaded.pool, period=0.05)
    stop = threading.Event()
    rival = Victim(threaded.pool, stop)
    signal.signal(signal.SIGALRM, raise_it)
    chance = random.Random(2)
    hit = 0
    while hit < 1000:
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.00005 + chance.random() / 1000)
            while True:
                rival.borrow()
        except Thrown:
            hit += 1
    before = threaded.pool.stats().acquired
    eventually(lambda: threaded.pool.stats().acquired > before + 50)
    stop.set()
    rival.caller.result()
    capacity_is_whole(threaded.pool)
    threaded.pool.close()


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="there are no interval timers here")
def test_thousand_signals_into_a_waiting_main_thread_lose_no_slot() -> None:
    """Ctrl-C, SIGTERM and alarms raise wherever the main thread stands; a pool of one must still have its one."""
    run_alone(interrupt_a_waiting_main_thread)
