"""How connections come into a pool: short-lived threads connect, each on a slot of its own.

If a borrower gives up or is interrupted, its opener still connects, and the connection goes to the rack. An opener
retries while a borrower waits. If no other connection can come, the borrowers who wait get its error.

Openers have the state and the reports, never the pool: so an abandoned pool dies at once, without the collector.

Knows the driver, the state and how threads start. Does not know borrowers, owners, SQL or retries.
"""

from __future__ import annotations

import _thread
import copy
import logging
import threading
from functools import partial
from typing import TYPE_CHECKING, Generic, TypeVar

from improved_db.errors import PoolError, PoolTimeout
from improved_db.pool.state import FIRST_PAUSE, LONGEST_PAUSE

if TYPE_CHECKING:
    from collections.abc import Callable

    from improved_db.clock import Clock
    from improved_db.pool.driver import Driver
    from improved_db.pool.loan import Loan
    from improved_db.pool.reports import Reports
    from improved_db.pool.slot import Slot
    from improved_db.pool.state import PoolState
    from improved_db.settings.settings import PoolSettings

C = TypeVar("C")
logger: logging.Logger = logging.getLogger("improved_db.pool")


def start_thread(work: Callable[[], None]) -> None:
    """Run *work* in a daemon thread of its own.

    `Thread.start` waits for the new thread on a Condition. If a signal handler raises there, either thread may hang
    for ever. So a bare thread calls it: no signal arrives there.
    """
    _thread.start_new_thread(_start_named, (work,))


def _start_named(work: Callable[[], None]) -> None:
    try:
        threading.Thread(target=work, name="improved_db-opener", daemon=True).start()
    except RuntimeError:  # the system has no second thread: work in this one
        work()


class NoThread(PoolError, RuntimeError):
    """The system has no more threads, so the pool cannot open a connection."""


class Openers(Generic[C]):
    """Opens the connections of one pool."""

    def __init__(
        self,
        driver: Driver[C],
        settings: PoolSettings,
        state: PoolState[C],
        *,
        clock: Clock,
        spawn: Callable[[Callable[[], None]], None],
        reports: Reports[C],
    ) -> None:
        self._driver = driver
        self._settings = settings
        self._state = state
        self._clock = clock
        self._now = clock.now
        self._spawn = spawn
        self._reports = reports

    def start(self, loans: list[Loan[C]]) -> None:
        """Start an opener for each of *loans*, which hold cold slots."""
        while loans:
            loan = loans.pop()
            try:
                self._spawn(partial(self._open, loan))
            except RuntimeError as error:
                text = f"no connection can be opened: {error}; the process is at its limit of threads or of memory"
                self._failed(loan, NoThread(text), final=True)
            except BaseException as error:
                for unstarted in loans:
                    self._failed(unstarted, self._interrupted(error), final=True)
                raise

    def wait(self, target: int, timeout: float, *, patient: bool) -> None:
        """Wait until *target* connections are up; see `Pool.wait`."""
        state, deadline, pause = self._state, self._now() + timeout, FIRST_PAUSE
        while (loans := state.missing(target)) is not None:
            self.start(loans)
            watch(state, self._clock, lambda: state.rack.opening == 0 or state.closed, deadline)
            have, left = state.rack.connected, deadline - self._now()
            if have >= target:
                continue
            if not patient and state.last_error is not None:
                raise own_copy(state.last_error)
            if left <= 0:
                raise PoolTimeout(
                    f"pool {self._settings.name!r}: {have} of {target} connections after {timeout:g} s"
                ) from state.last_error
            if state.last_error is not None:
                self._clock.sleep(min(pause, left))
                pause = min(pause * 2, LONGEST_PAUSE)

    def open_here(self, loan: Loan[C], slot: Slot[C]) -> C:
        """Open a connection in the borrower's own thread, on the slot that its loan holds.

        Raises:
            Exception: What the driver said; the slot is cold then.
        """
        started_at, generation = self._now(), self._state.generation
        try:
            connection = self._driver.connect()
        except BaseException as error:
            self.start(self._state.gave_up(loan, own_copy(error)))
            self._reports.open_failed(error)
            raise
        now = self._now()
        self._state.installed(slot, connection, generation, started_at, now)
        self._reports.created(now - started_at, kept=True)
        return connection

    def _open(self, loan: Loan[C]) -> None:
        """Connect, on the opener's own slot and in its own thread, until it succeeds or no borrower needs it any more.

        After a failure one opener at a time retries, after a pause, so that the server is not flooded.
        """
        state = self._state
        while True:
            if state.rest_until > self._now():
                watch(state, self._clock, state.is_idle, state.rest_until)
                if not state.goes_on(loan, final=False):
                    return
            started_at, generation = self._now(), state.generation
            try:
                connection = self._driver.connect()
            except Exception as error:
                if not self._failed(loan, error):
                    return
            except BaseException as error:
                self._failed(loan, self._interrupted(error), final=True)
                raise
            else:
                self._opened(loan, connection, generation, started_at)
                return

    def _opened(self, loan: Loan[C], connection: C, generation: int, started_at: float) -> None:
        now = self._now()
        unwanted, openers = self._state.opened(loan, connection, generation, started_at, now)
        if unwanted is not None:
            self._driver.close(connection)
        self.start(openers)
        self._reports.created(now - started_at, kept=unwanted is None)
        if unwanted is not None:
            self._reports.ended(unwanted)

    def _failed(self, loan: Loan[C], error: BaseException, *, final: bool = False) -> bool:
        """Note a failed attempt; return whether to retry, with the slot kept."""
        assert loan.slot is not None
        self._state.open_failed(loan.slot, own_copy(error), error)
        self._reports.open_failed(error)
        return self._state.goes_on(loan, final=final)

    def _interrupted(self, error: BaseException) -> PoolError:
        return PoolError(f"pool {self._settings.name!r}: connecting was interrupted by {error!r}")


def watch(state: PoolState[C], clock: Clock, predicate: Callable[[], bool], deadline: float) -> bool:
    """Wait until *predicate* holds, asked under the lock after each move; False if *deadline* comes first."""
    signal = threading.Lock()
    signal.acquire()
    watcher = state.watch(predicate, signal)
    if watcher is None:
        return True
    try:
        return clock.wait(signal, deadline - clock.now())
    finally:
        state.unwatch(watcher)


def wait_for_borrowers(state: PoolState[C], clock: Clock, deadline: float) -> None:
    """Wait until other threads have returned their loans, or *deadline*; the caller's own loans are not waited for."""
    me = threading.current_thread()
    watch(state, clock, lambda: all(slot.thread is me for slot in state.rack.busy()), deadline)


def own_copy(error: BaseException) -> BaseException:
    """Return a copy without the traceback: that keeps whole frames alive, and each raise in each thread adds to it."""
    try:
        return copy.copy(error)
    except Exception:
        return error
