"""What a pool is made of, and how connections come into it: short-lived threads connect, each on a slot of its own.

A borrower that gives up, or is interrupted, leaves behind a connect that still ends in the rack. An opener tries again
for as long as somebody waits, and is heard by those who wait when nothing else can come for them.

Knows slots, the line, the clock and the driver. Does not know borrowers, owners, SQL or retries.
"""

from __future__ import annotations

import copy
import logging
import os
import random
import threading
from functools import partial
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from improved_db.errors import PoolClosed, PoolError
from improved_db.pool.rack import Rack
from improved_db.pool.slot import Loan, Slot

if TYPE_CHECKING:
    from collections.abc import Callable

    from improved_db.clock import Clock, Signal
    from improved_db.pool.driver import Driver
    from improved_db.pool.stats import Listener
    from improved_db.settings.settings import PoolSettings

C = TypeVar("C")
logger = logging.getLogger("improved_db.pool")

#: Seconds between attempts to open a connection that somebody still needs: first and longest.
FIRST_PAUSE: Final = 0.05
LONGEST_PAUSE: Final = 2.0

#: The reasons for which a healthy connection is retired. Every other reason means that it was unfit and is discarded.
RULES: Final = frozenset({"closed", "drained", "resized", "max_lifetime", "idle_timeout", "overflow"})


class Opening(Generic[C]):
    """The state of a pool, and its openers."""

    def __init__(
        self, driver: Driver[C], settings: PoolSettings, clock: Clock, spawn: Callable[[Callable[[], None]], None]
    ) -> None:
        self.settings = settings
        self.clock = clock
        self.listeners: list[Listener] = []
        self.on_opened: Callable[[], object] = _nothing
        self.on_closed: Callable[[], object] = _nothing
        self._driver = driver
        self._spawn = spawn
        self._now = clock.now
        window = settings.ping_idle_after
        self._ping_window = float("inf") if window is None else window
        self._generation = self._retire_below = 0
        self._last_error: BaseException | None = None
        self._failures = 0  # to connect, since the last success
        self._looked_at = 0.0  # for lost loans
        self._rest_until = 0.0  # when the next attempt may be made
        self._closed = False
        self._begin()

    def _begin(self) -> None:
        settings = self.settings
        self._lock = threading.Lock()
        self._rack: Rack[C] = Rack(settings.max_size, settings.min_size, settings.max_opening)
        self._watchers: list[tuple[Callable[[], bool], Signal]] = []
        self._pid = os.getpid()

    def _new_loan(self) -> Loan[C]:
        loan: Loan[C] = Loan(self, 0.0, float("inf"))
        loan.upkeep = True
        return loan

    # --- opening ---------------------------------------------------------------------------------------------------

    def _start(self, openers: list[Loan[C]]) -> None:
        while openers:
            loan = openers.pop()
            try:
                self._spawn(partial(self._open, loan))
            except RuntimeError as error:  # no more threads to be had
                self._open_failed(loan, error, final=True)
            except BaseException as error:
                for unstarted in openers:
                    self._open_failed(unstarted, self._interrupted(error), final=True)
                raise

    def _interrupted(self, error: BaseException) -> PoolError:
        return PoolError(f"pool {self.settings.name!r}: connecting was interrupted by {error!r}")

    def _open(self, loan: Loan[C]) -> None:
        """Connect, on the opener's own slot and in its own thread, until it succeeds or nobody needs it any more.

        After a failure one opener at a time tries again, and not at once: a server that is down, or full, is not helped
        by a crowd at its door.
        """
        while True:
            if self._rest_until > self._now():
                self._watch(self._is_idle, self._rest_until)
                if not self._goes_on(loan):
                    return
            started_at, generation = self._now(), self._generation
            try:
                connection = self._connect()
            except Exception as error:
                if not self._open_failed(loan, error):
                    return
            except BaseException as error:
                self._open_failed(loan, self._interrupted(error), final=True)
                raise
            else:
                self._opened(loan, connection, generation, started_at)
                return

    def _connect(self) -> C:
        connection = self._driver.connect()
        if self.settings.configure is not None:
            try:
                self.settings.configure(connection)
            except BaseException:
                self._driver.abandon(connection)
                raise
            if not self._driver.restore(connection):
                self._driver.abandon(connection)
                raise RuntimeError("configure() left the connection unusable")
        return connection

    def _opened(self, loan: Loan[C], connection: C, generation: int, started_at: float) -> None:
        slot, loan.slot = loan.slot, None
        assert slot is not None
        now = self._now()
        with self._lock:
            self._furnish(slot, connection, generation, started_at, now)
            unwanted = self._rule(slot, now)
            if unwanted is None:
                self._rack.give(slot, now)
            else:
                self._rack.chill(slot)
                self._count(unwanted)
            openers = [] if self._closed else self._rack.grow(self._new_loan)
            self._wake_watchers()
        if unwanted is not None:
            self._driver.close(connection)
        self._start(openers)
        self._tell(lambda listener: listener.created(self.settings.name, now - started_at))
        if unwanted is None:
            self.on_opened()

    def _furnish(self, slot: Slot[C], connection: C, generation: int, started_at: float, now: float) -> None:
        """Put a connection that was just opened into its slot, under the lock; the server is there."""
        slot.opened_at = slot.checked_at = slot.idle_since = now
        slot.expires_at = now + self._lifetime()
        slot.connection, slot.generation = connection, generation
        self._rack.counters.opened += 1
        self._rack.counters.open_seconds += now - started_at
        self._last_error = None
        self._failures = 0
        self._rack.max_opening = self.settings.max_opening

    def _open_failed(self, loan: Loan[C], error: BaseException, *, final: bool = False) -> bool:
        """Tell those who wait, or keep the slot for another attempt; return whether to try again."""
        slot = loan.slot
        assert slot is not None
        with self._lock:
            self._rack.counters.open_errors += 1
            self._last_error = own_copy(error)
            self._failures += 1
            self._rest_until = self._now() + self._rest()
            self._rack.max_opening = 1
            slot.failed = True
            if self._rack.hopeless():
                self._rack.fail_all(error)
        logger.info("pool %r: could not connect: %s", self.settings.name, error)
        return self._goes_on(loan, final=final)

    def _goes_on(self, loan: Loan[C], *, final: bool = False) -> bool:
        """Say whether an opener that failed tries again; its slot is cold if not."""
        slot = loan.slot
        assert slot is not None
        with self._lock:
            again = not final and not self._is_idle()
            if not again:
                loan.slot = None
                self._rack.chill(slot)
            self._wake_watchers()
        return again

    def _is_idle(self) -> bool:
        return self._closed or self._rack.first_in_line(self._now()) is None

    def _rest(self) -> float:
        longest = min(FIRST_PAUSE * 2.0 ** min(self._failures - 1, 30), LONGEST_PAUSE)
        return longest * random.uniform(0.5, 1.0)  # noqa: S311  # spreads load, guards nothing

    def _lifetime(self) -> float:
        longest = self.settings.max_lifetime
        if longest is None:
            return float("inf")
        return longest * (1.0 - self.settings.lifetime_jitter * random.random())  # noqa: S311  # spreads load

    # --- what everybody here does ----------------------------------------------------------------------------------

    def _ensure_open(self) -> None:
        if self._closed:
            raise PoolClosed(f"pool {self.settings.name!r} is closed")

    def _rule(self, slot: Slot[C], now: float) -> str | None:
        """Say by which rule a connection, healthy or not, must not be kept; None if it may."""
        if self._closed:
            return "closed"
        if slot.generation < self._retire_below:
            return "drained"
        if now >= slot.expires_at:
            return "max_lifetime"
        return "resized" if len(self._rack.slots) > self._rack.max_size else None

    def _count(self, reason: str, number: int = 1) -> None:
        if number:
            counters = self._rack.counters
            counts = counters.retired if reason in RULES else counters.discarded
            counts[reason] = counts.get(reason, 0) + number

    def _tell(self, report: Callable[[Listener], object]) -> None:
        """Let the listeners hear something; what they raise is theirs."""
        for listener in self.listeners:
            try:
                report(listener)
            except Exception:
                logger.exception("pool %r: a listener failed", self.settings.name)

    def _watch(self, predicate: Callable[[], bool], deadline: float) -> bool:
        """Wait until *predicate*, asked under the lock after every move, holds; False if *deadline* came first."""
        signal = threading.Lock()
        signal.acquire()
        entry = (predicate, signal)
        with self._lock:
            if predicate():
                return True
            self._watchers.append(entry)
        try:
            return self.clock.wait(signal, deadline - self._now())
        finally:
            with self._lock:
                if entry in self._watchers:
                    self._watchers.remove(entry)

    def _wake_watchers(self) -> None:
        for entry in list(self._watchers):
            if entry[0]():
                self._watchers.remove(entry)
                entry[1].release()


def own_copy(error: BaseException) -> BaseException:
    """Return a copy without the traceback, which holds whole frames and on which each raise in each thread writes."""
    try:
        return copy.copy(error)
    except Exception:
        return error


def _nothing() -> None:
    """Stand where nobody listens."""
