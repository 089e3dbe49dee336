"""The pool: slots move here, under one lock; everything that can block happens on a slot that is somebody's alone.

I1  Conservation. Every slot is in exactly one place, the rack or one borrower's hands; ``cold + warm + lent ==
    max_size``, also while an exception is on its way.
I2  One lock. It guards the rack, the line, every slot's state and `closed`. A waiter sleeps on a signal of its own,
    which guards nothing and is given under the lock. There is no second lock.
I3  Nothing that can block, log or call user code runs under the lock. Decide inside (`Rack`), act outside.
I4  Sole owner. Between take and give back one thread touches a slot's connection; the pool never does. Maintenance
    borrows like anybody else.
I5  Nobody waits while a usable slot is in the rack; a returned slot goes straight to the first live waiter.
I6  The line is first come, first served; the rack is last in, first out, with cold slots at the far end.
I7  One monotonic deadline per call, computed once. Nobody is served after it.
I8  Cold until proven fit: a connection is lent again only after `restore()` said yes.
I9  `close()` is final: everyone in line is woken, lent connections are closed by whoever gives them back.
I10 Each borrowing is a fresh loan; a spent or foreign one is refused under the lock before anything moves.
I11 In a forked child every slot is cold and the parent's sockets are untouched.
I12 A slot lost with a dead thread or a collected borrower is back within one housekeeping period, or when the next
    borrower would otherwise wait.

Connections are opened by short-lived threads, not by borrowers: a borrower that gives up, or is interrupted, leaves
behind a connect that still ends in the rack, and whichever comes first, that connect or a returned connection, serves
the first in line.

Knows slots, the line and the clock. Does not know SQL, retries or any driver.
"""

from __future__ import annotations

import copy
import logging
import os
import random
import threading
from typing import TYPE_CHECKING, TypeVar

from improved_db.clock import Clock, MonotonicClock
from improved_db.errors import LoanSpent
from improved_db.lifecycle import FIRST_PAUSE, LONGEST_PAUSE, RULES, Lifecycle
from improved_db.slot import Loan, Slot

if TYPE_CHECKING:
    from collections.abc import Callable

    from improved_db.config import PoolSettings
    from improved_db.driver import Driver

C = TypeVar("C")
logger = logging.getLogger("improved_db.pool")


def start_thread(work: Callable[[], None]) -> None:
    """Run *work* in a daemon thread of its own."""
    threading.Thread(target=work, name="improved_db-opener", daemon=True).start()


class Pool(Lifecycle[C]):
    """At most ``max_size`` connections, shared first come first served."""

    def __init__(
        self,
        driver: Driver[C],
        settings: PoolSettings,
        *,
        clock: Clock | None = None,
        spawn: Callable[[Callable[[], None]], None] = start_thread,
    ) -> None:
        """Make an empty pool; nothing connects before somebody asks.

        Args:
            driver: Opens, checks, restores and closes connections.
            settings: Sizes and times.
            clock: The time; a test's own, or the real one.
            spawn: Runs an opener; by default in a thread of its own.
        """
        super().__init__(driver, settings, MonotonicClock() if clock is None else clock, spawn)

    # --- borrowing -------------------------------------------------------------------------------------------------

    def acquire(self, timeout: float | None = None, *, note_place: bool = False) -> Loan[C]:
        """Borrow a connection that is fit for use.

        Args:
            timeout: Seconds to wait at the most; ``acquire_timeout`` if None.
            note_place: Remember where the caller stands, for reports of lost and long loans.

        Raises:
            PoolTimeout: None could be had in time.
            PoolClosed: The pool is closed, or was closed meanwhile.
            TooManyWaiting: The line is full.
            Exception: What the driver said, where no connection could be opened and none is out that could come back.
        """
        started_at = self._now()
        patience = self.settings.acquire_timeout if timeout is None else timeout
        loan: Loan[C] = Loan(self, threading.current_thread(), started_at, started_at + patience)
        if note_place:
            loan.note_place()
        try:
            self._take(loan, first=False)
            pause = 0.0
            while (flaw := self._flaw(loan)) is not None:
                pause = self._exchange(loan, flaw, pause)
        except BaseException:
            self._forsake(loan)
            raise
        return loan

    def _take(self, loan: Loan[C], *, first: bool) -> None:
        """Take a slot from the rack, or stand in line until one is handed over."""
        if self._pid != os.getpid():
            self._begin_in_child()
        with self._lock:
            self._ensure_open()
            if self._rack.take(loan):
                return
            lost = self._rack.recover()
            loan.signal = signal = threading.Lock()
            self._rack.enqueue(loan, signal.acquire, first=first, max_waiting=self.settings.max_waiting)
            openers = self._rack.grow(self._new_loan)
        self._start(openers)
        self._bury(lost)
        self._stand_in_line(loan)

    def _stand_in_line(self, loan: Loan[C]) -> None:
        assert loan.signal is not None
        self.clock.wait(loan.signal, loan.deadline - self._now())
        if loan.slot is not None:
            return
        with self._lock:
            self._rack.line.pop(loan, None)
            if loan.slot is not None:
                return
            if loan.error is None:
                self._rack.counters.timed_out += 1
        if loan.error is not None:
            raise _again(loan.error)
        raise self._timeout(loan) from self._last_error

    def _flaw(self, loan: Loan[C]) -> str | None:
        """Say why the connection in the loan's slot must not be used; None if it is fit, and the loan's from now on."""
        slot = loan.slot
        assert slot is not None
        assert slot.connection is not None
        now = self._now()
        if slot.generation < self._retire_below:
            return "drained"
        if now >= slot.expires_at:
            return "max_lifetime"
        if not self._driver.is_alive(slot.connection):
            return "dead"
        window = self.settings.ping_idle_after
        if slot.generation < self._generation or (window is not None and now - slot.checked_at >= window):
            if not self._driver.ping(slot.connection, min(self.settings.ping_timeout, loan.deadline - now)):
                return "ping"
            slot.generation = self._generation
            slot.checked_at = self._now()
        if self.settings.check is not None and not self._passes_check(slot.connection):
            return "check"
        loan.connection = slot.connection
        loan.taken_at = now
        for listener in self.listeners:
            listener.waited(self.settings.name, now - loan.started_at)
        return None

    def _passes_check(self, connection: C) -> bool:
        assert self.settings.check is not None
        try:
            self.settings.check(connection)
        except Exception as error:
            logger.warning("pool %r: check failed: %s", self.settings.name, error)
            return False
        return self._driver.restore(connection)

    def _exchange(self, loan: Loan[C], flaw: str, pause: float) -> float:
        """Give the unfit connection up and take another, ahead of those who came later."""
        slot, loan.slot = loan.slot, None
        assert slot is not None
        fresh = slot.opened_at >= loan.started_at
        self._put_back(slot, flaw)
        if fresh:  # new ones are unfit too: do not spin
            pause = min(max(FIRST_PAUSE, pause * 2), LONGEST_PAUSE)
            self.clock.sleep(min(pause, max(loan.deadline - self._now(), 0.0)))
        if self._now() >= loan.deadline:
            with self._lock:
                self._rack.counters.timed_out += 1
            raise self._timeout(loan, f"the last connection was unfit ({flaw})")
        self._take(loan, first=True)
        return pause

    def _forsake(self, loan: Loan[C]) -> None:
        """Leave the line; a slot handed over meanwhile loses its connection, as nobody knows what was done on it."""
        with self._lock:
            self._rack.line.pop(loan, None)
            slot, loan.slot = loan.slot, None
        if slot is not None:
            self._put_back(slot, "interrupted")

    # --- giving back -----------------------------------------------------------------------------------------------

    def release(self, loan: Loan[C], discard: str | None = None) -> None:
        """Give a loan back.

        Args:
            loan: What `acquire` returned; spent afterwards.
            discard: Why its connection must not be used again, if so.

        Raises:
            LoanSpent: It was given back before, or is another pool's.
        """
        with self._lock:
            slot = loan.slot
            if slot is None or loan.pool is not self or slot.loan is not loan.ref:
                raise LoanSpent("this connection was given back before, or belongs to another pool")
            loan.slot = None
        assert slot.connection is not None
        flaw: str | None = "interrupted"
        try:
            flaw = discard or (None if self._driver.restore(slot.connection) else "unrestorable")
        finally:
            self._put_back(slot, flaw, loan)

    def _put_back(self, slot: Slot[C], flaw: str | None, loan: Loan[C] | None = None) -> None:
        """Move a slot out of the hands of its last user: to a waiter, into the rack, or cold."""
        now = self._now()
        connection: C | None = None
        openers: list[Loan[C]] = []
        lent = loan is not None and not loan.upkeep
        with self._lock:
            if lent and loan is not None:
                self._rack.counters.use_seconds += now - loan.taken_at
                slot.checked_at = now
            flaw = flaw or self._rule(slot, now)
            if flaw is None:
                self._rack.give(slot, now, used=lent)
            else:
                connection = self._rack.chill(slot)
                self._count(flaw)
                openers = [] if self._closed else self._rack.grow(self._new_loan)
            if self._watchers:
                self._wake_watchers()
        if connection is not None:
            self._start(openers)
            (self._driver.close if flaw in RULES else self._driver.abandon)(connection)
        if lent and loan is not None and (loan.reported or self.listeners):
            self._came_home(loan, now - loan.taken_at)

    def _rule(self, slot: Slot[C], now: float) -> str | None:
        if self._closed:
            return "closed"
        if slot.generation < self._retire_below:
            return "drained"
        if len(self._rack.slots) > self._rack.max_size:
            return "resized"
        return "max_lifetime" if now >= slot.expires_at else None

    def _came_home(self, loan: Loan[C], seconds: float) -> None:
        name = self.settings.name
        if loan.reported:
            logger.warning("pool %r: a loan held for too long came back after %.1f s", name, seconds)
        for listener in self.listeners:
            listener.used(name, seconds)

    def invalidate(self, loan: Loan[C], *, retire: bool) -> None:
        """Distrust every connection that is not younger than this loan's: one outage, one invalidation.

        Args:
            loan: The one that failed.
            retire: Replace them all (the server has become read-only) instead of pinging each before its next use.
        """
        with self._lock:
            if loan.slot is not None and loan.slot.generation >= self._generation:
                self._generation += 1
                self._retire_below = self._generation if retire else self._retire_below

    # --- opening ---------------------------------------------------------------------------------------------------

    def _start(self, openers: list[Loan[C]]) -> None:
        for loan in openers:
            try:
                self._spawn(lambda loan=loan: self._open(loan))  # type: ignore[misc]  # a default cannot be typed
            except RuntimeError as error:  # no more threads to be had
                self._open_failed(loan, error)

    def _open(self, loan: Loan[C]) -> None:
        """Connect, on the opener's own slot and in its own thread, until it succeeds or nobody needs it any more."""
        pause = FIRST_PAUSE
        while True:
            started_at, generation = self._now(), self._generation
            try:
                connection = self._connect()
            except Exception as error:
                if not self._open_failed(loan, error):
                    return
            except BaseException as error:
                self._open_failed(loan, error, final=True)
                raise
            else:
                self._opened(loan, connection, generation, started_at)
                return
            self.clock.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311  # spreads load, guards nothing
            pause = min(pause * 2, LONGEST_PAUSE)

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
        slot.opened_at = slot.checked_at = now
        slot.expires_at = now + self._lifetime()
        openers: list[Loan[C]] = []
        with self._lock:
            self._rack.counters.opened += 1
            self._rack.counters.open_seconds += now - started_at
            self._last_error = None
            slot.connection, slot.generation = connection, generation
            unwanted = self._rule(slot, now)
            if unwanted is not None:
                self._rack.chill(slot)
                self._count(unwanted)
            else:
                self._rack.opening -= 1
                self._rack.give(slot, now)
                openers = self._rack.grow(self._new_loan)
            self._wake_watchers()
        self._start(openers)
        if unwanted is not None:
            self._driver.close(connection)
        for listener in self.listeners:
            listener.created(self.settings.name, now - started_at)
        self.on_opened()

    def _open_failed(self, loan: Loan[C], error: BaseException, *, final: bool = False) -> bool:
        """Tell those who wait, or keep the slot for another attempt; return whether to try again."""
        slot = loan.slot
        assert slot is not None
        with self._lock:
            self._rack.counters.open_errors += 1
            self._last_error = error
            if self._rack.used == 0 and self._rack.opening == 1 and not self._rack.suspended:
                self._rack.fail_all(error)  # nothing is out that could come back
            again = bool(self._rack.line) and not self._closed and not final
            if not again:
                loan.slot = None
                self._rack.chill(slot)
            self._wake_watchers()
        logger.info("pool %r: could not connect: %s", self.settings.name, error)
        return again

    def _lifetime(self) -> float:
        longest = self.settings.max_lifetime
        if longest is None:
            return float("inf")
        return longest * (1.0 - self.settings.lifetime_jitter * random.random())  # noqa: S311  # spreads load

    # --- maintenance -----------------------------------------------------------------------------------------------

    def _new_loan(self) -> Loan[C]:
        loan: Loan[C] = Loan(self, threading.current_thread(), 0.0, float("inf"))
        loan.upkeep = True
        return loan

    def borrow_idle(self, due: Callable[[Slot[C]], bool]) -> Loan[C] | None:
        """Lend maintenance the connection that has been idle longest of those that are *due*, if one is."""
        loan = self._new_loan()
        with self._lock:
            if self._closed or not self._rack.take_idle(loan, due) or loan.slot is None:
                return None
        assert loan.slot.connection is not None
        loan.connection = loan.slot.connection
        return loan

    def still_answers(self, loan: Loan[C]) -> bool:
        """Ping the server over a loan of maintenance's; afterwards the connection counts as heard of."""
        assert loan.slot is not None
        alive = self._driver.ping(loan.connection, self.settings.ping_timeout)
        loan.slot.checked_at = self._now()
        return alive

    def has_spare(self) -> bool:
        """Say whether there are more connections than are kept; asked by maintenance while it chooses."""
        return self._rack.connected > self._rack.min_size

    @property
    def idle_limit(self) -> float | None:
        """Seconds after which the server ends idle sessions, once known."""
        return self._driver.idle_limit

    def recover(self) -> None:
        """Take back the slots of borrowers that vanished, and serve those in line with them."""
        with self._lock:
            lost = self._rack.recover()
            openers = [] if self._closed else self._rack.grow(self._new_loan)
            self._wake_watchers()
        self._start(openers)
        self._bury(lost)

    def _bury(self, lost: list[tuple[list[str], C | None]]) -> None:
        for where, connection in lost:
            place = " <- ".join(where) or "a call that was interrupted"
            logger.warning("pool %r: a connection never came back; borrowed at %s", self.settings.name, place)
            if connection is not None:
                self._driver.abandon(connection)


def _again(error: BaseException) -> BaseException:
    """Return a copy for one of several threads to raise: each raise writes on the exception's traceback."""
    try:
        return copy.copy(error).with_traceback(error.__traceback__)
    except Exception:
        return error
