"""A pool that may have more connections than its size: borrowers who do not stand in line open them for themselves.

``max_size`` is what the pool opens for those who stand in line. Beyond it, up to a limit that each borrower brings, one
is opened in the borrower's own thread, and kept when it comes home if there is room among the idle ones.

Knows the pool, and when a borrower opens for itself. Does not know whose older words ask for that.
"""

from __future__ import annotations

import sys
from os import getpid
from typing import TYPE_CHECKING, TypeVar

from improved_db.errors import PoolTimeout
from improved_db.pool.opening import own_copy
from improved_db.pool.pool import Pool
from improved_db.pool.slot import DOOR, Loan

if TYPE_CHECKING:
    from collections.abc import Callable

    from improved_db.clock import Clock
    from improved_db.pool.driver import Driver
    from improved_db.pool.slot import Slot
    from improved_db.settings.settings import PoolSettings

C = TypeVar("C")


class OverflowPool(Pool[C]):
    """A pool with a soft size."""

    def __init__(self, driver: Driver[C], settings: PoolSettings, *, max_idle: int, clock: Clock | None = None) -> None:
        """Make an empty pool.

        Args:
            driver: As for `Pool`. Connections of borrowers that do not stand in line are opened in their threads.
            settings: As for `Pool`. ``idle_timeout`` is looked at when an idle connection is about to be lent.
            max_idle: How many connections may be idle; one more is closed when it comes home.
            clock: As for `Pool`.
        """
        super().__init__(driver, settings, clock=clock)
        self._max_idle = max_idle
        self._longest_idle = settings.idle_timeout

    def acquire_now(self, limit: float, *, ping: bool = False) -> Loan[C] | None:
        """Borrow an idle connection, or open one if there are fewer than *limit*; never stand in line.

        Args:
            limit: Connections; there may be more than ``max_size``.
            ping: Lend one whose server has just answered.

        Returns:
            The loan; None if none is idle and there are *limit*.

        Raises:
            PoolClosed: The pool is closed.
            Exception: What the driver said when it was to open one.
        """
        if self._pid != getpid():  # a fork that runs no hooks, as uWSGI's
            self._begin_in_child()
        now = self._now()
        loan: Loan[C] = Loan(self, now, now + self.settings.acquire_timeout)
        frame = sys._getframe(1)  # the one that borrows through a door: all that a hurried borrower has time for
        while DOOR in frame.f_globals and frame.f_back is not None:
            frame = frame.f_back
        loan.place = ((frame.f_code, frame.f_lasti),)
        del frame  # whoever keeps it keeps all that its functions hold
        loan.pulse = loan.ref  # as `outlive_thread` does
        if ping:
            loan.ping = True
        try:
            while True:
                with self._lock:
                    taken = not self._closed and self._rack.take(loan)
                if not taken:
                    return self._open_here(loan, limit)
                slot, longest = loan.slot, self._longest_idle
                assert slot is not None
                stale = longest is not None and now - slot.idle_since >= longest
                flaw = "idle_timeout" if stale else self._flaw(loan)
                if flaw is None:
                    return loan
                loan.slot = None
                self._put_back(slot, flaw)
        except BaseException:
            self._forsake(loan)
            raise

    def acquire_patiently(
        self, patience: float, limit: int, *, ping: bool = False, in_vain: Callable[[], object]
    ) -> Loan[C]:
        """Borrow an idle connection, or open one; beyond ``max_size`` only after a turn in the line was in vain.

        Args:
            patience: Seconds to stand in line if there are ``max_size`` connections.
            limit: Connections there may be after it.
            ping: As for `acquire_now`.
            in_vain: Called when that time is over.

        Raises:
            PoolTimeout: There are *limit*, and none came back.
            PoolClosed: The pool is closed.
            Exception: What the driver said when it was to open one.
        """
        loan = self.acquire_now(self.settings.max_size, ping=ping)
        if loan is not None:
            return loan
        try:
            loan = self.acquire(patience, note_place=True, ping=ping)
        except PoolTimeout:
            in_vain()
            loan = self.acquire_now(limit, ping=ping)
            if loan is None:
                raise
        loan.outlive_thread()
        return loan

    def stock(self, number: int) -> None:
        """Open connections until there are *number*, and keep those for which there is room.

        Raises:
            Exception: What the driver said.
        """
        loans: list[Loan[C]] = []
        try:
            while len(loans) < number and (loan := self.acquire_now(number)) is not None:
                loans.append(loan)
        finally:
            for loan in loans:
                self.release(loan)

    def clear(self) -> None:
        """Close the idle connections; lent ones are kept when they come back."""
        with self._lock:
            idle = self._rack.clear()
            self._count("drained", len(idle))
        self._close_all(idle)

    def _open_here(self, loan: Loan[C], limit: float) -> Loan[C] | None:
        """Open a connection in the borrower's thread; None if there are *limit* already."""
        with self._lock:
            self._ensure_open()
            lost = self._look_for_lost(loan.started_at)
            taken = self._rack.take_cold(loan, limit)
        self._bury(lost)
        slot = loan.slot
        if not taken or slot is None:
            return None
        started_at, generation = self._now(), self._generation
        try:
            connection = self._connect()
        except BaseException as error:
            self._give_up(loan, slot, error)
            raise
        now = self._now()
        with self._lock:
            self._furnish(slot, connection, generation, started_at, now)
        loan.connection, loan.taken_at = connection, now
        self._tell(lambda listener: listener.created(self.settings.name, now - started_at))
        self.on_opened()
        return loan

    def _give_up(self, loan: Loan[C], slot: Slot[C], error: BaseException) -> None:
        """Make the slot cold again; whoever stands in line may have better luck with it."""
        with self._lock:
            loan.slot = None
            self._rack.counters.open_errors += 1
            self._last_error = own_copy(error)
            self._rack.chill(slot)
            openers = [] if self._closed else self._rack.grow(self._new_loan)
            self._wake_watchers()
        self._start(openers)

    def _rule(self, slot: Slot[C], now: float) -> str | None:
        """Let the number of idle connections decide, where the pool's size would."""
        rule = super()._rule(slot, now)
        if rule is not None and rule != "resized":
            return rule
        full = len(self._rack.warm) >= self._max_idle
        return "overflow" if full and self._rack.first_in_line(now) is None else None
