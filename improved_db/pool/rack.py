"""The rack and the waiters: which borrower gets which slot. Methods decide and move; none waits, calls out or logs.

`PoolState` calls all of it inside its critical section. Between two stores that belong together there is no call:
CPython delivers a signal or an asynchronous exception only after calls and at backward jumps, so a move happens whole
or not at all. A move also spends the loan of the slot's last holder, in the same stores.

Knows slots, loans and their order. Does not know locks, clocks, drivers or SQL.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Generic, TypeVar

from improved_db.pool.slot import Slot, SlotState
from improved_db.pool.stats import Counters

if TYPE_CHECKING:
    from collections.abc import Callable

    from improved_db.pool.loan import Loan, Place

C = TypeVar("C")
COLD, IDLE, OPENING, USED = SlotState.COLD, SlotState.IDLE, SlotState.OPENING, SlotState.USED


class Rack(Generic[C]):
    """N slots, those of them that are in the rack, and the borrowers who wait for one.

    Attributes:
        max_size: How many slots there are to be.
        min_size: How many connections are kept.
        max_opening: How many slots openers may hold at a time.
        slots: All of them.
        idle: Those with an idle connection; the last one in is the first one out.
        cold: Those without a connection.
        waiters: The borrowers who wait, first come, first served; one leaves in O(1).
        opening: How many slots openers hold.
        suspended: Whether every borrower has to wait for now.
        counters: What has happened so far.
    """

    def __init__(self, max_size: int, min_size: int, max_opening: int) -> None:
        self.max_size: int = max_size
        self.min_size: int = min_size
        self.max_opening: int = max_opening
        self.slots: list[Slot[C]] = [Slot() for _ in range(max_size)]
        self.idle: list[Slot[C]] = []
        self.cold: list[Slot[C]] = list(self.slots)
        self.waiters: OrderedDict[Loan[C], None] = OrderedDict()
        self.opening: int = 0
        self.suspended: bool = False
        self.counters: Counters = Counters()

    @property
    def used(self) -> int:
        """How many connections borrowers hold."""
        return len(self.slots) - len(self.idle) - len(self.cold) - self.opening

    @property
    def connected(self) -> int:
        """How many connections there are, idle or used."""
        return len(self.slots) - len(self.cold) - self.opening

    def busy(self) -> list[Slot[C]]:
        """Return the slots that are in use or being opened."""
        return [slot for slot in self.slots if slot.state is USED or slot.state is OPENING]

    def take(self, loan: Loan[C]) -> bool:
        """Lend the slot that became idle last; False if the borrower has to wait."""
        if not self.idle or self.suspended:
            return False
        if not loan.counted:
            loan.counted = True
            self.counters.acquired += 1
        slot = self.idle[-1]  # as `_lend` does; every query goes this way
        slot.state, slot.loan, slot.thread, slot.place = USED, loan.ref, loan.thread, loan.place
        loan.slot = slot
        del self.idle[-1]
        return True

    def take_cold(self, loan: Loan[C], limit: float) -> bool:
        """Lend a slot without a connection to a borrower who opens one itself; if there is none, add one.

        A slot beyond `max_size` leaves the pool when it is cold again.

        Returns:
            False if there are *limit* connections already.
        """
        if self.suspended or len(self.slots) - len(self.cold) >= limit:
            return False
        if not self.cold:
            extra: Slot[C] = Slot()
            self.slots, self.cold = [*self.slots, extra], [extra]
        if not loan.counted:
            loan.counted = True
            self.counters.acquired += 1
        self._lend(self.cold, len(self.cold) - 1, loan)
        return True

    def take_idle(self, loan: Loan[C], due: Callable[[Slot[C]], bool]) -> bool:
        """Lend maintenance the slot that has been idle longest of those that are *due*; False if none is."""
        for index, slot in enumerate(self.idle):
            if due(slot):
                self._lend(self.idle, index, loan)
                return True
        return False

    @staticmethod
    def _lend(shelf: list[Slot[C]], index: int, loan: Loan[C]) -> None:
        slot = shelf[index]
        slot.state, slot.loan, slot.thread, slot.place = USED, loan.ref, loan.thread, loan.place
        loan.slot = slot
        del shelf[index]

    def enqueue(self, loan: Loan[C], signal: Callable[[], bool], *, first: bool, max_waiting: int | None) -> bool:
        """Let a borrower wait behind all others; *first*: ahead of them, because its connection proved unfit.

        Borrowers for whom a connection is being or will be opened do not count against *max_waiting*.

        Returns:
            False if too many wait already.
        """
        coming = self.opening + len(self.cold)
        if max_waiting is not None and not first and len(self.waiters) - coming >= max_waiting:
            self.counters.refused += 1
            return False
        signal()
        self.waiters[loan] = None
        if first:
            self.waiters.move_to_end(loan, last=False)
        return True

    def give(self, slot: Slot[C], now: float, *, used: bool = True, holder: Loan[C] | None = None) -> None:
        """Hand a usable slot to the first borrower who waits, or put it in the rack.

        Args:
            slot: Its connection is fit to be lent.
            now: The time.
            used: Whether a borrower or an opener had it. If only maintenance had it, the slot goes to the far end of
                the rack, and its idle time goes on.
            holder: The loan that this spends.
        """
        if self.waiters and (first := self.first_waiter(now)) is not None:
            self._hand_over(slot, first, now, holder)
            return
        if slot.state is OPENING:
            self.opening -= 1
        slot.state, slot.loan, slot.thread = IDLE, None, None
        if holder is not None:
            holder.slot = None
        if used:
            slot.idle_since = now
            self.idle.append(slot)
        else:
            self.idle.insert(0, slot)

    def serve(self, now: float) -> None:
        """Hand out the idle slots to the borrowers who wait, after a suspension."""
        while self.idle and (first := self.first_waiter(now)) is not None:
            self._hand_over(self.idle[-1], first, now, None)

    def first_waiter(self, now: float) -> Loan[C] | None:
        """Return the borrower to be served next, if one waits; those whose deadline has passed stop waiting."""
        while self.waiters and not self.suspended:
            loan = next(iter(self.waiters))
            if loan.deadline > now:
                return loan
            assert loan.signal is not None
            del self.waiters[loan]
            loan.signal.release()  # past its deadline it is not served: it finds neither slot nor error
        return None

    def _hand_over(self, slot: Slot[C], loan: Loan[C], now: float, holder: Loan[C] | None) -> None:
        assert loan.signal is not None
        if not loan.counted:
            loan.counted = True
            self.counters.acquired += 1
            self.counters.waited += 1
            self.counters.wait_seconds += now - loan.started_at
        if slot.state is OPENING:
            self.opening -= 1
        elif slot.state is IDLE:
            del self.idle[-1]
        if holder is not None:
            holder.slot = None
        # The stores of `_lend`, not a call of it: an interrupt could come before or after the call, in mid-move.
        slot.state, slot.loan, slot.thread, slot.place = USED, loan.ref, loan.thread, loan.place
        loan.slot = slot
        del self.waiters[loan]
        loan.signal.release()

    def hopeless(self) -> bool:
        """Say whether the borrowers wait in vain: no connection is in use, and every opener has failed."""
        return self.used == 0 and not self.suspended and all(s.failed for s in self.slots if s.state is OPENING)

    def fail_all(self, error: BaseException) -> None:
        """Tell all borrowers who wait why they will not be served."""
        while self.waiters:
            self.fail(next(iter(self.waiters)), error)

    def fail(self, loan: Loan[C], error: BaseException) -> None:
        """Tell a borrower who waits why it will not be served."""
        assert loan.signal is not None
        loan.error = error
        del self.waiters[loan]
        loan.signal.release()

    def reclaim(self, loan: Loan[C], keeper: Loan[C]) -> bool:
        """Pass a borrower's slot to a loan of the pool's own; False if the borrower's loan holds none."""
        slot = loan.slot
        if slot is None or slot.loan is not loan.ref:
            return False
        loan.slot = None
        slot.loan, slot.thread = keeper.ref, keeper.thread
        keeper.slot = slot
        return True

    def make_cold(self, slot: Slot[C], holder: Loan[C] | None = None) -> C | None:
        """Make a used or idle slot cold, spend its *holder*, and return the connection, which the caller closes."""
        surplus = len(self.slots) > self.max_size
        was_opening = slot.state is OPENING
        where = self.idle.index(slot) if slot.state is IDLE else -1
        connection, slot.connection = slot.connection, None
        slot.state, slot.loan, slot.thread = COLD, None, None
        if holder is not None:
            holder.slot = None
        if was_opening:
            self.opening -= 1
        if where >= 0:
            del self.idle[where]
        if surplus:
            self.slots.remove(slot)
        else:
            self.cold.append(slot)
        return connection

    def grow(self, new_loan: Callable[[], Loan[C]], at_least: int = 0) -> list[Loan[C]]:
        """Lend cold slots to openers: no more than the borrowers who wait, `min_size` or *at_least* need.

        At most `max_opening` open at a time; an opener that ends asks again.
        """
        wanted = len(self.waiters) - self.opening if not self.suspended else 0
        wanted = max(wanted, max(self.min_size, at_least) - (len(self.slots) - len(self.cold)))
        openers: list[Loan[C]] = []
        while self.cold and len(openers) < wanted and self.opening < self.max_opening:
            loan = new_loan()
            slot = self.cold[-1]
            slot.state, slot.loan, slot.thread, slot.place, slot.failed = OPENING, loan.ref, None, (), False
            loan.slot = slot
            self.opening += 1
            del self.cold[-1]
            openers.append(loan)
        return openers

    def recover(self) -> list[tuple[Place, C | None]]:
        """Take back the slots whose borrowers vanished; return where each was borrowed and its connection."""
        lost = [slot for slot in self.slots if slot.is_lost()]
        found = []
        for slot in lost:
            self.counters.lost += 1
            place = slot.place
            found.append((place, self.make_cold(slot)))
        return found

    def resize(self, max_size: int) -> list[C]:
        """Add cold slots, or drop slots: cold ones, then the longest idle; those in use go when they are returned."""
        added: list[Slot[C]] = [Slot() for _ in range(max_size - len(self.slots))]
        surplus = max(len(self.slots) - max_size, 0)
        gone = set(self.cold[:surplus])
        slots = [slot for slot in self.slots if slot not in gone] + added
        cold = self.cold[surplus:] + added
        self.max_size, self.slots, self.cold = max_size, slots, cold
        dropped = []
        while self.idle and len(self.slots) > max_size:
            connection = self.make_cold(self.idle[0])
            if connection is not None:
                dropped.append(connection)
        return dropped

    def clear(self) -> list[C]:
        """Make every idle slot cold; return their connections."""
        idle = []
        while self.idle:
            connection = self.make_cold(self.idle[-1])
            if connection is not None:
                idle.append(connection)
        return idle
