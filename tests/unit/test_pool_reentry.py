"""A finalizer or a signal handler may call the pool at any instant of its thread: the pool never waits for itself."""

from __future__ import annotations

import gc
import signal
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

from improved_db.errors import LoanSpent, PoolError, PoolTimeout
from improved_db.pool.housekeeper import Housekeeper
from tests.bombs import is_instant
from tests.fakes import PATIENCE, Caller, FakePool, ThreadedPool, eventually, run_alone
from tests.unit.test_pool_interrupts import FILES, SCENARIOS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

    from improved_db.pool.loan import Loan
    from tests.fakes import FakeConnection


class Visitor:
    """Calls something once, at the n-th instant at which CPython looks for signals in the pool's own code."""

    def __init__(self, instant: int, call: Callable[[], object]) -> None:
        self.instant = instant
        self.seen = 0
        self.call = call
        self.refused = False

    def __call__(self, frame: FrameType, event: str, _: object) -> None:
        """Hear of an event, as a profile function."""
        if not is_instant(frame, event, FILES):
            return
        self.seen += 1
        if self.seen == self.instant:
            try:
                self.call()
            except PoolError:
                self.refused = True

    @property
    def came(self) -> bool:
        """Whether it called."""
        return self.seen >= self.instant


def visited(visitor: Visitor, scenario: Callable[[], object]) -> None:
    """Run *scenario* with a visitor in it; that the scenario's own expectations fail then is none of ours."""
    sys.setprofile(visitor)
    try:
        scenario()
    except (AssertionError, PoolError, pytest.fail.Exception):
        pass
    finally:
        sys.setprofile(None)


def is_whole(fake: FakePool, where: str) -> None:
    """Check that every slot is in one place, and that all of them can be had, each once."""
    gc.collect(0)
    fake.clock.advance(10)
    fake.driver.connect_errors.clear()
    fake.pool.resume()
    fake.pool.resize(2)
    fake.pool.recover()
    stats = fake.pool.stats()
    assert stats.idle + stats.used + stats.opening + stats.cold == stats.max_size, where
    assert (stats.used, stats.opening, stats.waiting) == (0, 0, 0), where
    loans = [fake.pool.acquire(1) for _ in range(stats.max_size)]
    assert len({loan.connection.number for loan in loans}) == stats.max_size, where
    for loan in loans:
        fake.pool.release(loan)


def borrow_and_return(fake: FakePool) -> None:
    fake.pool.release(fake.pool.acquire(0))


def look(fake: FakePool) -> None:
    stats = fake.pool.stats()
    assert stats.idle + stats.used + stats.opening + stats.cold >= 1
    fake.pool.borrowed()


def tidy(fake: FakePool) -> None:
    fake.pool.recover()
    fake.pool.drain()
    fake.pool.replenish()


VISITS = [borrow_and_return, look, tidy]


@pytest.mark.parametrize("visit", VISITS)
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_call_at_any_instant_is_answered_or_refused_and_loses_nothing(
    scenario: Callable[[FakePool], None], visit: Callable[[FakePool], None]
) -> None:
    """A handler that asks for the statistics, or a finalizer that runs a query, in the middle of a move."""
    instant, came = 0, True
    while came:
        instant += 1
        fake = FakePool(max_size=2)
        fake.fill()
        visitor = Visitor(instant, lambda: visit(fake))  # noqa: B023  # run at once
        visited(visitor, lambda: scenario(fake))  # noqa: B023
        came = visitor.came
        assert not (visitor.refused and visit is look), "looking is never refused"
        is_whole(fake, f"instant {instant}")


def test_loan_returned_at_any_instant_comes_home() -> None:
    """The ``finally`` of an abandoned generator, which the collector runs in the middle of another borrower's call."""
    instant, came = 0, True
    while came:
        instant += 1
        fake = FakePool(max_size=2)
        fake.fill()
        loan = fake.pool.acquire(1)
        visitor = Visitor(instant, lambda: fake.pool.release(loan))  # noqa: B023  # run at once
        visited(visitor, lambda: fake.pool.release(fake.pool.acquire(1)))  # noqa: B023
        came = visitor.came
        if came:
            assert not visitor.refused, f"instant {instant}"
            with pytest.raises(LoanSpent):
                fake.pool.release(loan)
        else:
            fake.pool.release(loan)
        stats = fake.pool.stats()
        assert (stats.idle, stats.used, stats.lost) == (2, 0, 0), f"instant {instant}: {stats}"


def test_pool_closed_at_any_instant_is_closed() -> None:
    """What a handler of SIGTERM does."""
    instant, came = 0, True
    while came:
        instant += 1
        fake = FakePool(max_size=2)
        fake.fill()
        visitor = Visitor(instant, lambda: fake.pool.close(0))  # noqa: B023  # run at once
        visited(visitor, lambda: fake.pool.release(fake.pool.acquire(1)))  # noqa: B023
        came = visitor.came
        assert not visitor.refused
        assert fake.pool.closed == came, f"instant {instant}"
        gc.collect(0)
        fake.pool.recover()
        assert fake.pool.stats().size == (0 if came else 2), f"instant {instant}"


def test_refusal_says_what_to_do() -> None:
    """The one who reads it wrote a signal handler or a finalizer."""
    refusals: list[str] = []
    instant, came = 0, True
    while came:
        instant += 1
        fake = FakePool(max_size=2)
        fake.fill()

        def visit() -> None:
            try:
                borrow_and_return(fake)  # noqa: B023  # run at once
            except PoolError as error:
                refusals.append(str(error))
                raise

        visitor = Visitor(instant, visit)
        visited(visitor, lambda: fake.pool.release(fake.pool.acquire(1)))  # noqa: B023
        came = visitor.came
    assert refusals
    assert all("call the pool from ordinary code" in text for text in refusals)


class Node:
    """Something that refers to itself, and so waits for the collector."""

    def __init__(self, kept: object) -> None:
        self.kept = kept
        self.me = self


def lend(threaded: ThreadedPool) -> Iterator[Loan[FakeConnection]]:
    """Borrow for as long as the generator lives."""
    loan = threaded.pool.acquire()
    loan.outlive_thread()
    try:
        yield loan
    finally:
        threaded.pool.release(loan)


class Restless:
    """Borrows while it is finalized."""

    def __init__(self, threaded: ThreadedPool) -> None:
        self.threaded = threaded

    def __del__(self) -> None:
        """Run a query, as some finalizers do."""
        try:
            self.threaded.pool.release(self.threaded.pool.acquire(0.01))
        except PoolError:
            pass


def storm() -> None:
    """Let the collector run at every allocation, while threads leave generators with loans to it."""
    threaded = ThreadedPool(max_size=250)  # more than all the loans that are left to the collector
    Housekeeper.look_after(threaded.pool, period=0.05)

    def work(number: int) -> None:
        for turn in range(150):
            if turn % 3 == number % 3:
                generator = lend(threaded)
                next(generator)
                Node(generator)
                del generator
            elif turn % 7 == 0:
                Node(Restless(threaded))
            threaded.pool.release(threaded.pool.acquire())

    before = gc.get_threshold()
    gc.set_threshold(1)
    callers: list[Caller[Any]] = [Caller(lambda number=number: work(number)) for number in range(4)]  # type: ignore[misc]
    for caller in callers:
        caller.result()
    gc.set_threshold(*before)
    gc.collect()
    threaded.pool.recover()
    eventually(lambda: (threaded.pool.stats().used, threaded.pool.stats().opening) == (0, 0))
    stats = threaded.pool.stats()
    assert stats.idle + stats.cold == stats.max_size
    threaded.pool.close()


def test_storm_of_finalizers_blocks_no_thread_and_loses_no_slot() -> None:
    """A collection may begin at any allocation, under the lock, too, and finalize whatever waits for it."""
    run_alone(storm)


def starve() -> None:
    """Wait for a connection that only the collector can return, in the only thread that could start a collection."""
    gc.set_threshold(1_000_000)
    threaded = ThreadedPool(max_size=1)
    Housekeeper.look_after(threaded.pool, period=0.05)
    generator = lend(threaded)
    next(generator)
    Node(generator)
    del generator
    threaded.pool.release(threaded.pool.acquire(PATIENCE))
    assert threaded.pool.stats().timed_out == 0
    threaded.pool.close()


def test_loan_that_waits_for_the_collector_is_back_although_all_threads_wait_for_it() -> None:
    """The collector starts when a thread allocates, and a thread that waits for a connection does not."""
    run_alone(starve)


def handle_signals() -> None:
    """Let a signal handler borrow and look, hundreds of times a second, in a thread that does the same."""
    threaded = ThreadedPool(max_size=2)
    heard = [0, 0]

    def handler(*_: object) -> None:
        heard[0] += 1
        threaded.pool.stats()
        try:
            threaded.pool.release(threaded.pool.acquire(0.01))
        except PoolError:
            heard[1] += 1

    signal.signal(signal.SIGALRM, handler)
    for number in range(1000):
        signal.setitimer(signal.ITIMER_REAL, 0.0001 + number % 10 * 0.00003)
        while heard[0] == number:
            threaded.pool.release(threaded.pool.acquire())
    stats = threaded.pool.stats()
    assert (stats.used, stats.idle) == (0, stats.size)
    assert heard[1] < heard[0]
    threaded.pool.close()


def test_signal_handler_that_borrows_is_served_or_refused_at_once() -> None:
    """Programs do it, for a last word to the database or a heartbeat."""
    run_alone(handle_signals)


class Stop(Exception):
    """What a handler raises, as a timeout by a signal does."""


def raise_stop(*_: object) -> None:
    """Raise, as the handler of a signal."""
    raise Stop


def interrupt_everywhere() -> None:
    """Let a signal handler raise at random instants of a busy thread, and other threads borrow meanwhile."""
    threaded = ThreadedPool(max_size=2)
    Housekeeper.look_after(threaded.pool, period=0.05)
    over = threading.Event()

    def work() -> int:
        turns = 0
        while not over.is_set():
            threaded.pool.release(threaded.pool.acquire(PATIENCE))
            turns += 1
        return turns

    other = Caller(work)
    signal.signal(signal.SIGALRM, raise_stop)
    stopped = 0
    while stopped < 1000:
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.0001 + (stopped % 10) * 0.00003)
            while True:
                threaded.pool.release(threaded.pool.acquire(PATIENCE))
        except Stop:
            stopped += 1
    signal.setitimer(signal.ITIMER_REAL, 0)
    over.set()
    assert other.result() > 100
    gc.collect()
    threaded.pool.recover()
    stats = threaded.pool.stats()
    assert (stats.used, stats.idle + stats.cold + stats.opening) == (0, 2)
    threaded.pool.close()


def test_signals_that_raise_leave_the_lock_to_others() -> None:
    """Python 3.14 delivers a signal between a lock's ``__enter__`` and the block that would release it."""
    run_alone(interrupt_everywhere)


def test_connection_returned_while_a_report_is_made_makes_no_other_error() -> None:
    """The text of a PoolTimeout says who holds what, and one of them may return it at any instant."""
    instant, came = 0, True
    while came:
        instant += 1
        fake = FakePool(max_size=2)
        held = fake.borrow(2)
        visitor = Visitor(instant, lambda: fake.pool.release(held[0]))  # noqa: B023  # run at once
        sys.setprofile(visitor)
        try:
            fake.pool.release(fake.pool.acquire(0.01))
        except PoolTimeout:
            pass
        finally:
            sys.setprofile(None)
        came = visitor.came
        assert not visitor.refused
