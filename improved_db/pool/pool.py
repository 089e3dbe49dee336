"""The pool: lends connections, first come, first served. `PoolState` decides under the lock, the pool acts outside it.

Short-lived threads open connections, not borrowers (`openers`): the first borrower who waits gets whichever comes
first, an opened or a returned connection. The invariants I1 to I12 stand at the top of `state`.

Knows borrowers, owners, and the order of the steps. Does not know SQL, retries or any driver.
"""

from __future__ import annotations

import dataclasses
from functools import partial
from os import getpid
from typing import TYPE_CHECKING, Generic, TypeVar

from improved_db.clock import Clock, MonotonicClock
from improved_db.critical import Reentered
from improved_db.errors import LoanSpent, PoolTimeout
from improved_db.pool.fitness import Fitness
from improved_db.pool.fork import remember
from improved_db.pool.loan import Loan
from improved_db.pool.openers import Openers, own_copy, start_thread, wait_for_borrowers
from improved_db.pool.reports import Reports
from improved_db.pool.revoking import pause
from improved_db.pool.state import FIRST_PAUSE, LONGEST_PAUSE, SPENT, PoolState
from improved_db.pool.stats import RULES

if TYPE_CHECKING:
    from collections.abc import Callable

    from improved_db.errors import PoolTimeout
    from improved_db.pool.driver import Driver
    from improved_db.pool.slot import Slot
    from improved_db.pool.snapshot import PoolStats
    from improved_db.pool.state import Lost
    from improved_db.pool.stats import Borrowed, Listener
    from improved_db.settings.settings import PoolSettings

C = TypeVar("C")


class Pool(Generic[C]):
    """At most ``max_size`` connections, lent first come, first served.

    If a finalizer or a signal handler interrupts a thread in the middle of the pool's bookkeeping and calls the pool,
    `acquire` and `wait` raise a `PoolError`; verbs that return nothing act as soon as that thread goes on.
    """

    def __init__(
        self,
        driver: Driver[C],
        settings: PoolSettings,
        *,
        clock: Clock | None = None,
        spawn: Callable[[Callable[[], None]], None] = start_thread,
        max_idle: int | None = None,
    ) -> None:
        """Make an empty pool; it connects when it is first asked for a connection.

        Args:
            driver: Opens, checks, restores and closes connections.
            settings: Sizes and times.
            clock: The time; a test's own, or the real one.
            spawn: Runs an opener; by default in a thread of its own.
            max_idle: How many connections may be idle if ``max_size`` is a soft limit (`acquire_now`); the pool closes
                one more when it is returned. None: ``max_size`` is a hard limit.
        """
        self.settings: PoolSettings = settings
        self.clock: Clock = MonotonicClock() if clock is None else clock
        self._driver = driver
        self._now = now = self.clock.now
        self._state: PoolState[C] = PoolState(settings, now, max_idle)
        self.reports: Reports[C] = Reports(settings.name, self._state, now)
        self._listeners = self.reports.listeners
        self._fitness = Fitness(driver, settings, self._state, now)
        self._openers = Openers(driver, settings, self._state, clock=self.clock, spawn=spawn, reports=self.reports)
        self._pid = getpid()
        remember(self)

    # --- borrowing -------------------------------------------------------------------------------------------------

    def acquire(self, timeout: float | None = None, *, note_place: bool = False, ping: bool = False) -> Loan[C]:
        """Borrow a connection that is fit for use.

        Args:
            timeout: Seconds to wait at the most; ``acquire_timeout`` if None.
            note_place: Note the caller's frames, for reports of lost and long loans.
            ping: Ping the server first, however lately it has answered.

        Raises:
            PoolTimeout: No connection was free in time.
            PoolClosed: The pool is closed, or was closed meanwhile.
            TooManyWaiting: Too many borrowers wait already.
            Exception: What the driver said, if no connection is in use and the pool could not open one.
        """
        if self._pid != getpid():  # a fork that runs no hooks, as uWSGI's
            self.begin_in_child()
        started_at = self._now()
        patience = self.settings.acquire_timeout if timeout is None else timeout
        loan: Loan[C] = Loan(self, started_at, started_at + patience)
        if note_place:
            loan.note_place()
        if ping:
            loan.ping = True
        try:
            waited = not self._state.take(loan)
            if waited:
                self._wait_for_slot(loan, first=False)
            pause = 0.0
            while (flaw := self._fitness.flaw(loan)) is not None:
                pause = self._swap(loan, flaw, pause)
            if waited:  # now `taken_at` says when the wait was over
                self.reports.measure("wait", loan.taken_at - loan.started_at)
        except BaseException:
            self._give_up(loan)
            raise
        if self._listeners:
            self.reports.waited(loan)
        return loan

    def acquire_now(self, limit: float, *, ping: bool = False) -> Loan[C] | None:
        """Borrow an idle connection, or open one in the caller's thread if there are fewer than *limit*; never wait.

        If a connection was idle for ``idle_timeout`` or longer, it is replaced.

        Args:
            limit: Connections; there may be more than ``max_size``.
            ping: As for `acquire`.

        Returns:
            The loan; None if no connection is idle and there are *limit*.

        Raises:
            PoolClosed: The pool is closed.
            Exception: What the driver said, if it could not open one.
        """
        if self._pid != getpid():
            self.begin_in_child()
        now = self._now()
        loan: Loan[C] = Loan(self, now, now + self.settings.acquire_timeout)
        loan.note_caller()
        loan.outlive_thread()
        if ping:
            loan.ping = True
        try:
            if not self._take_idle(loan) and not self._open_here(loan, limit):
                return None
        except BaseException:
            self._give_up(loan)
            raise
        if self._listeners:
            self.reports.waited(loan)
        return loan

    def _wait_for_slot(self, loan: Loan[C], *, first: bool) -> None:
        """Wait until a slot is handed over, *first* ahead of the others who wait."""
        queued = self._state.queue(loan, first=first)
        if queued is None:
            return
        self._drop_lost(queued.lost, queued.openers)
        if not queued.admitted:
            self.reports.refused(queued.waiting)
            raise self.reports.too_many(queued.waiting, self.settings.max_waiting)
        assert loan.signal is not None
        self.clock.wait(loan.signal, loan.deadline - self._now())
        served, error = self._state.leave(loan)
        if served:
            return
        if error is not None:
            raise own_copy(error).with_traceback(error.__traceback__)
        raise self.reports.timeout(loan) from self._state.last_error

    def _take_idle(self, loan: Loan[C]) -> bool:
        """Take an idle connection that is fit; False if there is none."""
        longest = self.settings.idle_timeout
        while self._state.take(loan):
            slot = loan.slot
            stale = longest is not None and slot is not None and loan.started_at - slot.idle_since >= longest
            flaw = "idle_timeout" if stale else self._fitness.flaw(loan)
            if flaw is None:
                return True
            self._put_back(loan, flaw)
        return False

    def _open_here(self, loan: Loan[C], limit: float) -> bool:
        """Open a connection in the borrower's thread; False if there are *limit* already."""
        taken, lost = self._state.take_cold(loan, limit)
        self._drop_lost(lost, [])
        if not taken or loan.slot is None:
            return False
        loan.connection = self._openers.open_here(loan, loan.slot)
        loan.taken_at = self._now()
        return True

    def _swap(self, loan: Loan[C], flaw: str, pause: float) -> float:
        """Replace an unfit connection by another, ahead of the borrowers who wait."""
        slot = loan.slot
        assert slot is not None
        fresh = slot.opened_at >= loan.started_at
        self._put_back(loan, None if flaw == "late" else flaw)
        if fresh:  # new ones are unfit too: do not spin
            pause = min(max(FIRST_PAUSE, pause * 2), LONGEST_PAUSE)
            self.clock.sleep(min(pause, max(loan.deadline - self._now(), 0.0)))
        if self._now() >= loan.deadline:
            self._state.count_timeout()
            why = "its check took too long" if flaw == "late" else f"the last connection was unfit ({flaw})"
            raise self.reports.timeout(loan, why)
        if not self._state.take(loan):
            self._wait_for_slot(loan, first=True)
        return pause

    def _give_up(self, loan: Loan[C]) -> None:
        """Stop waiting; if a slot was handed over meanwhile, close its connection, whose state is unknown."""
        if loan.signal is not None:
            self._state.stop_waiting(loan)
        if loan.slot is not None:
            self._put_back(loan, "interrupted")

    def waited_in_vain(self, started_at: float) -> PoolTimeout:
        """Count, and return the error of, a caller that waited since *started_at* for a share in another's loan."""
        self._state.count_timeout()
        return self.reports.timeout(Loan(self, started_at, started_at))

    # --- returning -------------------------------------------------------------------------------------------------

    def release(self, loan: Loan[C], discard: str | None = None) -> str | None:
        """Return a loan.

        Args:
            loan: What `acquire` returned; spent afterwards.
            discard: Why the connection must not be lent again; None if it may.

        Returns:
            Why the pool closed the connection; None if it kept it.

        Raises:
            LoanSpent: It was returned before, or is another pool's.
        """
        slot = loan.slot
        if slot is None or loan.pool is not self:
            raise LoanSpent(SPENT)
        try:
            # If another thread has just returned the loan, this check does no harm, and `take_back` refuses the loan.
            if discard is None and slot.connection is not None and self._driver.is_clean(slot.connection):
                discard = self._state.take_back(loan)
                if discard is None:
                    if loan.place or loan.reported or self._listeners:
                        self.reports.returned(loan)
                    return None
            return self._renew(loan, discard)
        except Reentered:
            self._state.section.postpone(partial(self.release, loan, discard))
            return None
        except LoanSpent:
            if loan.ref() is None:
                return "lost"  # a finalizer returns it too late: the collector had cleared the weak reference before
            raise

    def owns(self, loan: Loan[C]) -> bool:
        """Say whether a loan has to be returned here."""
        return loan.pool is self

    def _renew(self, loan: Loan[C], flaw: str | None) -> str | None:
        """Restore the connection of a returned loan, or close it; meanwhile a loan of the pool's own holds the slot."""
        keeper: Loan[C] = Loan(self, loan.started_at, float("inf"))
        keeper.taken_at, keeper.reported = loan.taken_at, loan.reported
        try:
            slot = self._state.reclaim(loan, keeper)
            if flaw is None and (slot.connection is None or not self._driver.restore(slot.connection)):
                flaw = "unrestorable"
            return self._put_back(keeper, flaw, loan)
        except BaseException:
            if keeper.slot is not None:
                self._put_back(keeper, "interrupted", loan)
            raise

    def _put_back(self, holder: Loan[C], flaw: str | None, borrower: Loan[C] | None = None) -> str | None:
        """Move on the holder's slot: to a waiter, into the rack, or cold; return why it is cold, if it is."""
        flaw = self._state.move(holder, flaw, borrower)
        if flaw is not None:
            self._end(holder, flaw)
        if borrower is not None and (borrower.place or borrower.reported or self._listeners) and not borrower.upkeep:
            self.reports.returned(borrower)
        return flaw

    def _end(self, holder: Loan[C], flaw: str) -> None:
        """End the session, then make its slot cold: so there are never more sessions than slots."""
        connection = None if holder.slot is None else holder.slot.connection
        try:
            if connection is not None:
                (self._driver.close if flaw in RULES else self._driver.abandon)(connection)
        finally:
            openers = self._state.ended(holder, flaw)
        self.reports.ended(flaw)
        self._openers.start(openers)

    def invalidate(self, loan: Loan[C], *, retire: bool) -> None:
        """Suspect every connection of the loan's generation and before: one outage, one invalidation.

        Args:
            loan: Its connection failed.
            retire: Replace them all (the server has become read-only) instead of pinging each before its next loan.
        """
        self._do(partial(self._state.invalidate, loan, retire=retire))

    # --- maintenance -----------------------------------------------------------------------------------------------

    def borrow_idle(self, due: Callable[[Slot[C]], bool]) -> Loan[C] | None:
        """Lend maintenance the connection that has been idle longest of those that are *due*, if one is."""
        loan: Loan[C] = Loan(self, 0.0, float("inf"))
        loan.upkeep = True
        if not self._state.take_idle(loan, due) or loan.slot is None:
            return None
        assert loan.slot.connection is not None
        loan.connection = loan.slot.connection
        return loan

    def still_answers(self, loan: Loan[C], timeout: float | None = None) -> bool:
        """Ping the server over a connection that the caller holds, and note when.

        Args:
            loan: The loan.
            timeout: Seconds that the server has to answer; ``ping_timeout`` if None.
        """
        return self._fitness.still_answers(loan, timeout)

    def has_spare(self) -> bool:
        """Say whether there are more than ``min_size`` connections; maintenance asks it while it chooses."""
        return self._state.rack.connected > self._state.rack.min_size

    def count_leak(self, loan: Loan[C]) -> bool:
        """Note that a loan was reported as held for too long; False if it was noted before."""
        return self._state.count_leak(loan)

    @property
    def idle_limit(self) -> float | None:
        """Seconds after which the server ends idle sessions; None until a connection has asked it."""
        return self._driver.idle_limit

    # --- the owner's verbs -----------------------------------------------------------------------------------------

    def wait(self, timeout: float = 30.0, *, at_least: int = 1, patient: bool = True) -> None:
        """Wait until ``min_size`` connections, or *at_least* that many, are up.

        Args:
            timeout: Seconds.
            at_least: How many have to be up.
            patient: Retry while the server does not answer; otherwise raise the first connect error.

        Raises:
            PoolTimeout: They were not up in time; the last connect error is the cause.
            PoolClosed: The pool is closed.
        """
        self._openers.wait(max(at_least, self._state.rack.min_size), timeout, patient=patient)

    def replenish(self) -> None:
        """Start opening what is missing to ``min_size``, and what the borrowers who wait need."""
        self._do(lambda: self._openers.start(self._state.grow()))

    def resize(self, max_size: int, min_size: int | None = None) -> None:
        """Change how many connections there may be; those above the new size are closed when they are returned."""
        kept = self.settings.min_size if min_size is None else min_size
        settings = dataclasses.replace(self.settings, max_size=max_size, min_size=min(kept, max_size))

        def decided() -> None:
            dropped, openers = self._state.resize(settings)
            self.settings = settings
            self._replace(dropped, openers, "resized")

        self._do(decided)

    def drain(self) -> None:
        """Replace every connection: idle ones now, those in use when they are returned."""
        self._do(lambda: self._replace(*self._state.drain(), "drained"), "drained")

    def clear(self) -> None:
        """Close the idle connections; those in use are kept when they are returned."""
        self._do(lambda: self._close_all(self._state.clear(), "drained"))

    def recover(self) -> None:
        """Take back lost slots, and open connections for the borrowers who wait."""
        self._do(lambda: self._drop_lost(*self._state.recover()))

    def suspend(self) -> None:
        """Let every borrower wait until `resume`, each until its own deadline."""
        self._do(self._state.suspend, "suspended")

    def resume(self) -> None:
        """Serve the borrowers who wait, in their order."""
        self._do(lambda: self._openers.start(self._state.resume()), "resumed")

    def pause(self, seconds: float) -> None:
        """Sleep, as a retry does, unless the pool is closed first.

        Raises:
            PoolClosed: It is.
            PoolError: The call was cancelled (`revoking`).
        """
        pause(self._state, self.clock, self._now() + seconds)

    def close(self, timeout: float = 5.0, *, force: bool = False) -> list[Borrowed]:
        """Close the pool for good. Every waiter is woken; idle connections are closed now, those in use on return.

        Args:
            timeout: Seconds to wait for borrowers in other threads; the caller's own loans are not waited for.
            force: Cut the connections that are still in use then, so that calls blocked on them raise an error.

        Returns:
            The loans that were not returned in time; the log has them, too.
        """
        try:
            self.shut()
        except Reentered:
            self._state.section.postpone(partial(self.close, timeout, force=force))
            return self.borrowed()
        deadline = self._now() + timeout
        self.reports.tell("pool_closed")
        self.reports.on_closed()
        self.recover()
        wait_for_borrowers(self._state, self.clock, deadline)
        left = self.borrowed()
        if left:
            self.reports.closed_too_early(left)
        if left and force:
            for connection in self.reports.connections_in_use():
                self._driver.cut(connection)
        return left

    def shut(self) -> None:
        """Do the first step of `close`, which waits for nothing: wake every waiter, and close idle connections."""
        self._close_all(self._state.close(), "closed")

    def summary(self) -> str:
        """Return the state of the pool in a few words."""
        stats = self.stats()
        return "closed" if stats.closed else f"{stats.size}/{stats.max_size} connections, {stats.waiting} waiting"

    def _do(self, decided: Callable[[], object], event: str = "") -> None:
        """Do something now; if this call has interrupted the pool in its own thread, let that do it when it goes on."""
        try:
            decided()
            if event:
                self.reports.tell(event)
        except Reentered:
            self._state.section.postpone(partial(self._do, decided, event))

    # --- looking ---------------------------------------------------------------------------------------------------

    def tell_events(self, hear: Callable[..., object], look: Callable[[Pool[C]], object] | None = None) -> None:
        """Let *hear* be called with the kind of each event and what is known about it, and *look* with the pool."""
        self.reports.tell = hear
        if look is not None:
            look(self)

    def look_again(self) -> None:
        """Let threads that sleep before a retry look whether they still have to; `Revoking` has woken them here."""

    def members(self) -> list[Pool[C]]:
        """Return this pool; of several servers, their pools."""
        return [self]

    def add_listener(self, listener: Listener) -> None:
        """Let *listener* hear how long each wait, use and opening of a connection takes."""
        self.reports.listeners.append(listener)

    @property
    def listeners(self) -> list[Listener]:
        """The listeners: they hear how long each wait, use and opening of a connection took."""
        return self.reports.listeners

    @property
    def ever_opened(self) -> bool:
        """Whether a connection was ever opened: if an address never answered, it is probably wrong, not down."""
        return self._state.rack.counters.opened > 0

    @property
    def is_full(self) -> bool:
        """Whether there are as many connections as there may be, so that another borrower has to wait for one."""
        rack = self._state.rack
        return rack.connected >= rack.max_size

    def remove_listener(self, listener: Listener) -> None:
        """Let *listener* hear no more."""
        if listener in self.reports.listeners:
            self.reports.listeners.remove(listener)

    @property
    def load(self) -> int:
        """How many borrowers have or want a connection, without a lock: a count that may be old in a moment."""
        rack = self._state.rack
        return len(rack.slots) - len(rack.cold) - len(rack.idle) - rack.opening + len(rack.waiters)

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._state.closed

    def stats(self) -> PoolStats:
        """Return every gauge and counter, as of one instant."""
        return self.reports.stats()

    def borrowed(self, longer_than: float = 0.0) -> list[Borrowed]:
        """Return the loans held for *longer_than* seconds or more, the oldest first."""
        return [borrowed for _, borrowed in self.reports.loans_out(longer_than)]

    def loans_out(self, longer_than: float = 0.0) -> list[tuple[Loan[C], Borrowed]]:
        """Return the loans held for *longer_than* seconds or more, the oldest first, each with its report."""
        return self.reports.loans_out(longer_than)

    def _close_all(self, connections: list[C], reason: str) -> None:
        for connection in connections:
            self._driver.close(connection)
        self.reports.ended(reason, len(connections))

    def _replace(self, connections: list[C], openers: list[Loan[C]], reason: str) -> None:
        self._close_all(connections, reason)
        self._openers.start(openers)

    def _drop_lost(self, lost: Lost[C], openers: list[Loan[C]]) -> None:
        self.reports.lost(place for place, _ in lost)
        for _, connection in lost:
            if connection is not None:
                self._driver.abandon(connection)
        self._openers.start(openers)

    def begin_in_child(self) -> None:
        """Start cold in a forked child: close our copies of the parent's sockets, and send nothing on them."""
        for slot in self._state.rack.slots:
            slot.loan = None  # the loans belong to the parent's threads
            if slot.connection is not None:
                self._driver.abandon(slot.connection)
        self._state.begin()
        self._pid = getpid()
