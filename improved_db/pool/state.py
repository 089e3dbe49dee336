"""What a pool knows and decides: every public method is one critical section, and returns what is left to do.

I1  Conservation. Every slot is in exactly one place, in the rack or with one holder; ``cold + idle + used + opening ==
    max_size``, also while an exception is on its way. Outside the rack, a slot is held by one loan.
I2  One lock. It guards the rack, the waiters, every slot's state and `closed`. A waiter sleeps on a signal of its own,
    which guards nothing and is released under the lock. There is no second lock. No interrupt leaves the lock held,
    and its holder never waits for it (`improved_db.critical`).
I3  Nothing that can block, log or call user code runs under the lock: this class has nothing that could. It decides;
    `Pool` and `Openers` act outside.
I4  Sole owner. Between `acquire` and `release` one thread touches a slot's connection; the pool never does. Maintenance
    borrows, as borrowers do.
I5  No borrower waits while a usable slot is in the rack; a returned slot goes straight to the first live waiter.
I6  Waiters are served first come, first served; the rack is last in, first out, with cold slots at the far end.
I7  One monotonic deadline per call, computed once. No borrower is served later than that, but for the 50 ms that a
    ping or check may always take (`fitness.SHORTEST_PING`).
I8  Unfit until proven fit: a connection is lent again only after `is_clean()` or `restore()` said yes.
I9  `close()` is final: it wakes every waiter, and the call that returns a connection closes it.
I10 Each borrowing is a fresh loan; a spent or foreign one is refused under the lock before anything moves.
I11 In a forked child every slot is cold and the parent's sockets are untouched.
I12 If a loan cannot be reached any more, the pool takes its slot back within one housekeeping period, or before the
    next borrower has to wait. A loan that a user's object holds lives as long as that object, whichever thread borrowed
    it; a loan that a method of this package holds for one call lives as long as its thread.

Knows the rack, the waiters, generations and the last failure. Does not know drivers, logs, listeners or how time
passes.
"""

from __future__ import annotations

import random
import threading
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from improved_db.critical import Section, critical, critical_for_one
from improved_db.errors import LoanSpent, PoolClosed
from improved_db.pool.loan import upkeep_loan
from improved_db.pool.rack import Rack

if TYPE_CHECKING:
    from collections.abc import Callable

    from improved_db.clock import Signal
    from improved_db.pool.loan import Loan, Place
    from improved_db.pool.slot import Slot
    from improved_db.pool.snapshot import MakeStats, PoolStats
    from improved_db.settings.settings import PoolSettings

C = TypeVar("C")
Lost = list[tuple["Place", C | None]]
Watcher = tuple["Callable[[], bool]", "Signal"]

#: Seconds between attempts to open a connection for which a borrower waits: first and longest.
FIRST_PAUSE: Final = 0.05
LONGEST_PAUSE: Final = 2.0

#: Seconds for each slot between two looks for lost loans, while borrowers keep coming to wait: a hundred times what a
#: look takes.
LOOK_PERIOD: Final = 0.00002


class Queued(Generic[C]):
    """What became of a borrower that found no idle slot.

    Attributes:
        admitted: Whether it waits now; False if too many wait already.
        waiting: How many wait.
        lost: The lost slots that were taken back: where each was borrowed, and its connection.
        openers: The openers to be started.
    """

    def __init__(self, admitted: bool, waiting: int, lost: Lost[C], openers: list[Loan[C]]) -> None:
        self.admitted: bool = admitted
        self.waiting: int = waiting
        self.lost: Lost[C] = lost
        self.openers: list[Loan[C]] = openers


class PoolState(Generic[C]):
    """The state of one pool, and every decision about it.

    Attributes:
        settings: Sizes and times.
        section: The one critical section.
        rack: The slots and the waiters.
        max_idle: How many connections may be idle, for a pool whose size is soft; None: as many as ``max_size``.
        generation: Grows when all older connections become suspect.
        retire_below: Connections of an older generation are replaced, healthy or not.
        last_error: Of the last attempt to connect, if it failed.
        rest_until: When the next attempt may begin.
        closed: Whether `close` was called.
    """

    def __init__(self, settings: PoolSettings, now: Callable[[], float], max_idle: int | None = None) -> None:
        self.settings: PoolSettings = settings
        self.max_idle: int | None = max_idle
        self.generation: int = 0
        self.retire_below: int = 0
        self.last_error: BaseException | None = None
        self.rest_until: float = 0.0
        self.closed: bool = False
        self._now = now
        self._failures = 0  # to connect, since the last success
        self._looked_at = 0.0  # for lost loans
        self.begin()

    def begin(self) -> None:
        """Start with cold slots and a new lock: at first, and in a forked child."""
        settings = self.settings
        self.section: Section = Section()
        self.rack: Rack[C] = Rack(settings.max_size, settings.min_size, settings.max_opening)
        self._watchers: list[Watcher] = []

    # --- borrowers -------------------------------------------------------------------------------------------------

    @critical_for_one
    def take(self, loan: Loan[C]) -> bool:
        """Lend an idle slot; False if there is none."""
        return self.rack.take(loan)

    @critical_for_one
    def take_back(self, loan: Loan[C]) -> str | None:
        """Move on the slot of a loan whose connection is clean.

        Returns:
            None if the slot has moved. Else the rule by which the pool has to close the connection first; the loan
            still holds the slot.

        Raises:
            LoanSpent: The loan has no slot.
        """
        slot = loan.slot
        if slot is None or slot.loan is not loan.ref:
            raise LoanSpent(SPENT)
        return self._move(slot, None, loan, loan)

    @critical
    def queue(self, loan: Loan[C], *, first: bool) -> Queued[C] | None:
        """Take a slot after all (None), or let the borrower wait, *first* ahead of the others."""
        rack = self.rack
        if not self.closed and rack.take(loan):
            return None
        self.ensure_open()
        lost = self._look_for_lost(loan.started_at)
        loan.signal = signal = threading.Lock()
        admitted = rack.enqueue(loan, signal.acquire, first=first, max_waiting=self.settings.max_waiting)
        return Queued(admitted, len(rack.waiters), lost, rack.grow(upkeep_loan))

    @critical
    def leave(self, loan: Loan[C]) -> tuple[bool, BaseException | None]:
        """Stop waiting; return whether the borrower was served, and an error if the pool knows why not."""
        self.rack.waiters.pop(loan, None)
        if loan.slot is not None:
            return True, None
        error, loan.error = loan.error, None  # its traceback may hold this very loan
        if error is None:
            self.rack.counters.timed_out += 1
        return False, error

    @critical
    def stop_waiting(self, loan: Loan[C]) -> None:
        """Stop waiting, as a borrower that was interrupted."""
        self.rack.waiters.pop(loan, None)

    @critical
    def take_cold(self, loan: Loan[C], limit: float) -> tuple[bool, Lost[C]]:
        """Lend a slot without a connection, if there are fewer than *limit* connections; return the lost slots, too."""
        self.ensure_open()
        lost = self._look_for_lost(loan.started_at)
        return self.rack.take_cold(loan, limit), lost

    @critical
    def take_idle(self, loan: Loan[C], due: Callable[[Slot[C]], bool]) -> bool:
        """Lend maintenance the slot that has been idle longest of those that are *due*; False if none is."""
        return not self.closed and self.rack.take_idle(loan, due)

    @critical
    def reclaim(self, loan: Loan[C], keeper: Loan[C]) -> Slot[C]:
        """Pass the slot of a returned loan to a loan of the pool's own, while the connection is restored or closed.

        Raises:
            LoanSpent: The loan has no slot.
        """
        if not self.rack.reclaim(loan, keeper) or keeper.slot is None:
            raise LoanSpent(SPENT)
        return keeper.slot

    @critical
    def move(self, holder: Loan[C], flaw: str | None, borrower: Loan[C] | None) -> str | None:
        """Move on the holder's slot, or return why the pool has to close its connection first."""
        slot = holder.slot
        return None if slot is None else self._move(slot, flaw, holder, borrower)

    @critical
    def ended(self, holder: Loan[C], reason: str) -> list[Loan[C]]:
        """Make the holder's slot cold, now that its session has ended; return the openers to be started."""
        if holder.slot is not None:
            self.rack.make_cold(holder.slot, holder)
            self.rack.counters.count(reason)
        return self._after()

    @critical
    def count_timeout(self) -> None:
        """Count a borrower that left at its deadline."""
        self.rack.counters.timed_out += 1

    @critical
    def count_leak(self, loan: Loan[C]) -> bool:
        """Count a loan that is held for too long; False if it was counted before."""
        if loan.reported:
            return False
        loan.reported = True
        self.rack.counters.leaks += 1
        return True

    @critical
    def invalidate(self, loan: Loan[C], *, retire: bool) -> None:
        """Begin a new generation, unless the connection is of an older one: one outage, one invalidation."""
        if loan.slot is not None and loan.slot.generation >= self.generation:
            self.generation += 1
            self.retire_below = self.generation if retire else self.retire_below

    # --- openers ---------------------------------------------------------------------------------------------------

    @critical
    def opened(
        self, holder: Loan[C], connection: C, generation: int, started_at: float, now: float
    ) -> tuple[str | None, list[Loan[C]]]:
        """Move on a slot with a new connection; return why the connection is unwanted, if it is, and new openers."""
        slot = holder.slot
        assert slot is not None
        self._install(slot, connection, generation, started_at, now)
        unwanted = self._rule(slot, now)
        if unwanted is None:
            self.rack.give(slot, now, holder=holder)
        else:
            self.rack.make_cold(slot, holder)
            self.rack.counters.count(unwanted)
        return unwanted, self._after()

    @critical
    def installed(self, slot: Slot[C], connection: C, generation: int, started_at: float, now: float) -> None:
        """Note a new connection that its borrower opened and keeps."""
        self._install(slot, connection, generation, started_at, now)

    @critical
    def open_failed(self, slot: Slot[C], kept: BaseException, error: BaseException) -> None:
        """Note a failed attempt to connect; if no other connection can come, the borrowers who wait get the error.

        Args:
            slot: The opener's.
            kept: A copy without a traceback, for reports.
            error: For the borrowers who wait.
        """
        self._note_failure(kept)
        self._failures += 1
        self.rest_until = self._now() + self._rest()
        self.rack.max_opening = 1
        slot.failed = True
        if self.rack.hopeless():
            self.rack.fail_all(error)

    @critical
    def goes_on(self, holder: Loan[C], *, final: bool) -> bool:
        """Say whether an opener that failed retries; if not, make its slot cold."""
        again = not final and not self.is_idle()
        if not again and holder.slot is not None:
            self.rack.make_cold(holder.slot, holder)
        self._wake()
        return again

    @critical
    def gave_up(self, holder: Loan[C], kept: BaseException) -> list[Loan[C]]:
        """Make cold the slot of a borrower that could not connect; return openers for the borrowers who wait."""
        self._note_failure(kept)
        if holder.slot is not None:
            self.rack.make_cold(holder.slot, holder)
        return self._after()

    def is_idle(self) -> bool:
        """Say, under the lock, whether no borrower who waits needs an opener."""
        return self.closed or self.rack.first_waiter(self._now()) is None

    # --- the owner -------------------------------------------------------------------------------------------------

    @critical
    def missing(self, target: int) -> list[Loan[C]] | None:
        """Return openers for what is missing to *target* connections; None if nothing is."""
        self.ensure_open()
        return None if self.rack.connected >= target else self.rack.grow(upkeep_loan, at_least=target)

    @critical
    def grow(self) -> list[Loan[C]]:
        """Return openers for what is missing to ``min_size``, and for the borrowers who wait."""
        return self._after()

    @critical
    def resize(self, settings: PoolSettings) -> tuple[list[C], list[Loan[C]]]:
        """Take new sizes; return connections to be closed, and openers."""
        self.ensure_open()
        self.settings = settings
        self.rack.min_size = settings.min_size
        dropped = self.rack.resize(settings.max_size)
        self.rack.counters.count("resized", len(dropped))
        return dropped, self._after()

    @critical
    def drain(self) -> tuple[list[C], list[Loan[C]]]:
        """Retire every connection; return the idle ones, to be closed, and openers."""
        self.ensure_open()
        self.generation += 1
        self.retire_below = self.generation
        return self._cleared("drained"), self._after()

    @critical
    def clear(self) -> list[C]:
        """Return the idle connections, to be closed."""
        return self._cleared("drained")

    @critical
    def recover(self) -> tuple[Lost[C], list[Loan[C]]]:
        """Take back lost slots; return for each where it was borrowed and its connection, and openers."""
        return self.rack.recover(), self._after()

    @critical
    def suspend(self) -> None:
        """Let every borrower wait."""
        self.ensure_open()
        self.rack.suspended = True

    @critical
    def resume(self) -> list[Loan[C]]:
        """Serve the borrowers who wait; return openers."""
        self.ensure_open()
        self.rack.suspended = False
        self.rack.serve(self._now())
        return self._after()

    @critical
    def close(self) -> list[C]:
        """Close for good: wake every waiter, and return the idle connections, to be closed."""
        self.closed = self.rack.suspended = True
        self.rack.fail_all(PoolClosed(f"pool {self.settings.name!r} was closed"))
        idle = self._cleared("closed")
        self._wake()
        return idle

    @critical
    def watch(self, predicate: Callable[[], bool], signal: Signal) -> Watcher | None:
        """Release *signal* once *predicate* holds, asked under the lock after each move; None if it holds now."""
        if predicate():
            return None
        watcher = (predicate, signal)
        self._watchers.append(watcher)
        return watcher

    @critical
    def unwatch(self, watcher: Watcher) -> None:
        """Forget a watcher."""
        if watcher in self._watchers:
            self._watchers.remove(watcher)

    def ensure_open(self) -> None:
        """Raise `PoolClosed` if the pool is closed."""
        if self.closed:
            raise PoolClosed(f"pool {self.settings.name!r} is closed")

    # --- looking: each in two forms, because a caller that re-enters may look, too -----------------------------------

    def look(self, make: MakeStats) -> PoolStats:
        """Return every gauge and counter, as *make* makes them; without the lock, a moving slot counts as used."""
        return make(self.settings.name, self.rack, closed=self.closed)

    def look_at_holders(self) -> list[tuple[Slot[C], Loan[C]]]:
        """Return the slots that are held, each with the loan that holds it."""
        held = [(slot, slot.loan) for slot in self.rack.slots]
        loans = [(slot, ref()) for slot, ref in held if ref is not None]
        return [(slot, loan) for slot, loan in loans if loan is not None]

    @critical
    def stats(self, make: MakeStats) -> PoolStats:
        """Return every gauge and counter, as of one instant."""
        return self.look(make)

    @critical
    def holders(self) -> list[tuple[Slot[C], Loan[C]]]:
        """Return the slots that are held, each with the loan that holds it, as of one instant."""
        return self.look_at_holders()

    # --- parts of critical sections --------------------------------------------------------------------------------

    def _move(self, slot: Slot[C], flaw: str | None, holder: Loan[C], borrower: Loan[C] | None) -> str | None:
        now = self._now()
        used = borrower is not None and not borrower.upkeep
        if used and borrower is not None:
            borrower.ended_at = now
            self.rack.counters.use_seconds += now - borrower.taken_at
            if not borrower.place:  # our own call has just had an answer; of a user's calls the pool knows nothing
                slot.checked_at = now
        flaw = flaw or self._rule(slot, now)
        if flaw is None:
            self.rack.give(slot, now, used=used, holder=holder)
            if self._watchers:
                self._wake()
        return flaw

    def _after(self) -> list[Loan[C]]:
        """Do what follows a move: wake watchers, and return openers for those who need them."""
        openers = [] if self.closed else self.rack.grow(upkeep_loan)
        if self._watchers:
            self._wake()
        return openers

    def _cleared(self, reason: str) -> list[C]:
        idle = self.rack.clear()
        self.rack.counters.count(reason, len(idle))
        return idle

    def _look_for_lost(self, now: float) -> Lost[C]:
        """Take back lost slots before a borrower has to wait; while others wait, at most once per `LOOK_PERIOD`."""
        if self.rack.waiters and now < self._looked_at + LOOK_PERIOD * len(self.rack.slots):
            return []
        self._looked_at = now
        return self.rack.recover()

    def _install(self, slot: Slot[C], connection: C, generation: int, started_at: float, now: float) -> None:
        slot.opened_at = slot.checked_at = slot.idle_since = now
        slot.expires_at = now + self._lifetime()
        slot.connection, slot.generation = connection, generation
        self.rack.counters.opened += 1
        self.rack.counters.open_seconds += now - started_at
        self.rack.counters.peak_size = max(self.rack.counters.peak_size, len(self.rack.slots) - len(self.rack.cold))
        self.last_error = None
        self._failures = 0
        self.rack.max_opening = self.settings.max_opening

    def _note_failure(self, kept: BaseException) -> None:
        self.rack.counters.open_errors += 1
        self.last_error = kept

    def _rule(self, slot: Slot[C], now: float) -> str | None:
        """Say by which rule a connection, healthy or not, must not be kept; None if it may."""
        if self.closed:
            return "closed"
        if slot.generation < self.retire_below:
            return "drained"
        if now >= slot.expires_at:
            return "max_lifetime"
        rack = self.rack
        if self.max_idle is not None:
            return "overflow" if len(rack.idle) >= self.max_idle and rack.first_waiter(now) is None else None
        return "resized" if len(rack.slots) > rack.max_size else None

    def _wake(self) -> None:
        for watcher in list(self._watchers):
            if watcher[0]():
                self._watchers.remove(watcher)
                watcher[1].release()

    def _rest(self) -> float:
        longest = min(FIRST_PAUSE * 2.0 ** min(self._failures - 1, 30), LONGEST_PAUSE)
        return longest * random.uniform(0.5, 1.0)  # noqa: S311  # spreads load, guards nothing

    def _lifetime(self) -> float:
        longest = self.settings.max_lifetime
        if longest is None:
            return float("inf")
        return longest * (1.0 - self.settings.lifetime_jitter * random.random())  # noqa: S311  # spreads load


SPENT: Final = "this connection was returned before, or belongs to another pool"
