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
I8  Cold until proven fit: a connection is lent again only after `is_clean()` or `restore()` said yes.
I9  `close()` is final: everyone in line is woken, lent connections are closed by whoever gives them back.
I10 Each borrowing is a fresh loan; a spent or foreign one is refused under the lock before anything moves.
I11 In a forked child every slot is cold and the parent's sockets are untouched.
I12 A slot whose loan cannot be reached any more is back within one housekeeping period, or when the next borrower would
    otherwise wait. A loan that a user's object holds lives as long as that object, whatever thread borrowed it; a call
    of ours lives with its thread.

Connections are opened by short-lived threads, not by borrowers (`opening`): whichever comes first, an opened or a
returned connection, serves the first in line.

Knows slots, the line and the clock. Does not know SQL, retries or any driver.
"""

from __future__ import annotations

import _thread
import logging
import threading
from os import getpid
from typing import TYPE_CHECKING, Final, TypeVar

from improved_db.clock import Clock, MonotonicClock
from improved_db.errors import LoanSpent, TooManyWaiting
from improved_db.pool.lifecycle import Lifecycle
from improved_db.pool.opening import FIRST_PAUSE, LONGEST_PAUSE, RULES, own_copy
from improved_db.pool.slot import Loan, Slot

if TYPE_CHECKING:
    from collections.abc import Callable

    from improved_db.pool.driver import Driver
    from improved_db.settings.settings import PoolSettings

C = TypeVar("C")
logger = logging.getLogger("improved_db.pool")

#: Seconds for which an answer proves a connection alive. Nobody ends a session in so short a time, and looking at the
#: socket is a system call, during which another thread takes the interpreter.
FRESH: Final = 0.0001

#: Seconds for each slot between two looks for lost loans, while borrowers come and wait one after the other: a
#: hundred times what the look takes.
LOOK_PERIOD: Final = 0.00002

#: Seconds that a ping or a check gets at the least: a healthy connection is not thrown away because its borrower had
#: no time.
SHORTEST_PING: Final = 0.05


def start_thread(work: Callable[[], None]) -> None:
    """Run *work* in a daemon thread of its own.

    `Thread.start` waits for the new thread on a Condition, and a signal that raises there breaks it: either thread
    may then hang for ever. So it is called from a bare thread, where no signal arrives.
    """
    _thread.start_new_thread(_start_named, (work,))


def _start_named(work: Callable[[], None]) -> None:
    try:
        threading.Thread(target=work, name="improved_db-opener", daemon=True).start()
    except RuntimeError:  # no second thread to be had; this one will do
        work()


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

    def acquire(self, timeout: float | None = None, *, note_place: bool = False, ping: bool = False) -> Loan[C]:
        """Borrow a connection that is fit for use.

        Args:
            timeout: Seconds to wait at the most; ``acquire_timeout`` if None.
            note_place: Remember where the caller stands, for reports of lost and long loans.
            ping: Have the server answer first, however short the connection's silence.

        Raises:
            PoolTimeout: None could be had in time.
            PoolClosed: The pool is closed, or was closed meanwhile.
            TooManyWaiting: The line is full.
            Exception: What the driver said, where no connection could be opened and none is out that could come back.
        """
        started_at = self._now()
        patience = self.settings.acquire_timeout if timeout is None else timeout
        loan: Loan[C] = Loan(self, started_at, started_at + patience)
        if note_place:
            loan.note_place()
        if ping:
            loan.ping = True
        try:
            self._take(loan)
            pause = 0.0
            while (flaw := self._flaw(loan)) is not None:
                pause = self._exchange(loan, flaw, pause)
        except BaseException:
            self._forsake(loan)
            raise
        return loan

    def _take(self, loan: Loan[C], first: bool = False) -> None:
        """Take a slot from the rack, or stand in line until one is handed over."""
        if self._pid != getpid():
            self._begin_in_child()
        with self._lock:
            if not self._closed and self._rack.take(loan):
                return
            self._ensure_open()
            lost = self._look_for_lost(loan.started_at)
            loan.signal = signal = threading.Lock()
            most = self.settings.max_waiting
            admitted = self._rack.enqueue(loan, signal.acquire, first=first, max_waiting=most)
            waiting = len(self._rack.line)
            openers = self._rack.grow(self._new_loan)
        self._bury(lost)
        self._start(openers)
        if not admitted:
            raise TooManyWaiting(
                f"{waiting} borrowers are waiting already (max_waiting={most}); "
                "shed load, or raise max_size or max_waiting"
            )
        self._stand_in_line(loan)

    def _look_for_lost(self, now: float) -> list[tuple[list[str], C | None]]:
        """Take back what was lost before anybody waits for it; a crowd that waits anyway need not look all the time."""
        if self._rack.line and now < self._looked_at + LOOK_PERIOD * len(self._rack.slots):
            return []
        self._looked_at = now
        return self._rack.recover()

    def _stand_in_line(self, loan: Loan[C]) -> None:
        assert loan.signal is not None
        self.clock.wait(loan.signal, loan.deadline - self._now())
        with self._lock:
            self._rack.line.pop(loan, None)
            if loan.slot is not None:
                return
            error, loan.error = loan.error, None  # its traceback may hold this very loan
            if error is None:
                self._rack.counters.timed_out += 1
        if error is not None:
            raise own_copy(error).with_traceback(error.__traceback__)
        raise self._timeout(loan) from self._last_error

    def _flaw(self, loan: Loan[C]) -> str | None:
        """Say why the connection in the loan's slot must not be used; None if it is fit, and the loan's from now on."""
        slot = loan.slot
        assert slot is not None
        assert slot.connection is not None
        now = self._now()
        silence = now - slot.checked_at
        if silence > FRESH and not self._driver.is_alive(slot.connection):
            return "dead"
        if (
            silence >= self._ping_window
            or now >= slot.expires_at
            or slot.generation != self._generation
            or loan.ping
            or self.settings.check is not None
        ):
            flaw = self._examine(slot, slot.connection, now, loan)
            if flaw is not None:
                return flaw
        loan.connection = slot.connection
        loan.taken_at = now
        if self.listeners:
            self._tell(lambda listener: listener.waited(self.settings.name, now - loan.started_at))
        return None

    def _examine(self, slot: Slot[C], connection: C, now: float, loan: Loan[C]) -> str | None:
        """Look closely at a connection that is old, was silent for long, or has become suspect."""
        if slot.generation < self._retire_below:
            return "drained"
        if now >= slot.expires_at:
            return "max_lifetime"
        if loan.ping or now - slot.checked_at >= self._ping_window or slot.generation != self._generation:
            generation = self._generation
            timeout = max(min(self.settings.ping_timeout, loan.deadline - now), SHORTEST_PING)
            if not self._driver.ping(connection, timeout):
                return "ping"
            slot.generation = generation
            slot.checked_at = self._now()
        if self.settings.check is None:
            return None
        if not self._passes_check(self.settings.check, connection):
            return "check"
        return "late" if self._now() > loan.deadline + SHORTEST_PING else None

    def _passes_check(self, check: Callable[[C], object], connection: C) -> bool:
        try:
            check(connection)
        except Exception as error:
            logger.warning("pool %r: check failed: %s", self.settings.name, error)
            return False
        return self._driver.restore(connection)

    def _exchange(self, loan: Loan[C], flaw: str, pause: float) -> float:
        """Give the unfit connection up and take another, ahead of those who came later."""
        slot, loan.slot = loan.slot, None
        assert slot is not None
        fresh = slot.opened_at >= loan.started_at
        self._put_back(slot, None if flaw == "late" else flaw)
        if fresh:  # new ones are unfit too: do not spin
            pause = min(max(FIRST_PAUSE, pause * 2), LONGEST_PAUSE)
            self.clock.sleep(min(pause, max(loan.deadline - self._now(), 0.0)))
        if self._now() >= loan.deadline:
            with self._lock:
                self._rack.counters.timed_out += 1
            late = flaw == "late"
            raise self._timeout(loan, "its check took too long" if late else f"the last connection was unfit ({flaw})")
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

    def release(self, loan: Loan[C], discard: str | None = None) -> str | None:
        """Give a loan back.

        Args:
            loan: What `acquire` returned; spent afterwards.
            discard: Why its connection must not be used again, if so.

        Returns:
            Why its connection was not kept; None if it was.

        Raises:
            LoanSpent: It was given back before, or is another pool's.
        """
        slot, mine = loan.slot, False
        try:
            with self._lock:
                if slot is None or loan.slot is None or loan.pool is not self or slot.loan is not loan.ref:
                    raise LoanSpent("this connection was given back before, or belongs to another pool")
                loan.slot, mine = None, True
                assert slot.connection is not None
                clean = discard is None and self._driver.is_clean(slot.connection)
                flaw = self._move(slot, None, loan) if clean else discard
            if not clean:
                flaw = flaw or (None if self._driver.restore(slot.connection) else "unrestorable")
                return self._put_back(slot, flaw, loan)
            return self._moved(slot, flaw, loan)
        except BaseException:
            if mine and slot is not None and slot.loan is loan.ref:  # it has not moved
                self._put_back(slot, "interrupted", loan)
            raise

    def _put_back(self, slot: Slot[C], flaw: str | None, loan: Loan[C] | None = None) -> str | None:
        """Move a slot out of the hands of its last user: to a waiter, into the rack, or cold; return why cold."""
        with self._lock:
            flaw = self._move(slot, flaw, loan)
        return self._moved(slot, flaw, loan)

    def _move(self, slot: Slot[C], flaw: str | None, loan: Loan[C] | None) -> str | None:
        """Hand a slot on, under the lock, or say why its session has to be ended first."""
        now = self._now()
        lent = loan is not None and not loan.upkeep
        if lent and loan is not None:
            self._rack.counters.use_seconds += now - loan.taken_at
            if not loan.place:  # ours: an answer has just come; when a user's hands had one, nobody knows
                slot.checked_at = now
        flaw = flaw or self._rule(slot, now)
        if flaw is None:
            self._rack.give(slot, now, used=lent)
            if self._watchers:
                self._wake_watchers()
        return flaw

    def _moved(self, slot: Slot[C], flaw: str | None, loan: Loan[C] | None) -> str | None:
        if flaw is not None:
            self._end(slot, flaw)
        if loan is not None and (loan.reported or self.listeners) and not loan.upkeep:
            self._came_home(loan, self._now() - loan.taken_at)
        return flaw

    def _end(self, slot: Slot[C], flaw: str) -> None:
        """End a session; only then is its slot cold: there are never more sessions than slots."""
        try:
            if slot.connection is not None:
                (self._driver.close if flaw in RULES else self._driver.abandon)(slot.connection)
        finally:
            with self._lock:
                self._rack.chill(slot)
                self._count(flaw)
                openers = [] if self._closed else self._rack.grow(self._new_loan)
                if self._watchers:
                    self._wake_watchers()
        self._start(openers)

    def _came_home(self, loan: Loan[C], seconds: float) -> None:
        name = self.settings.name
        if loan.reported:
            logger.warning("pool %r: a loan held for too long came back after %.1f s", name, seconds)
        self._tell(lambda listener: listener.used(name, seconds))

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

    # --- maintenance -----------------------------------------------------------------------------------------------

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
