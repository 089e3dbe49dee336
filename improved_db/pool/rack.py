"""The rack and the line: which slot goes to whom. Every method decides and moves; none waits, calls out or logs.

All of it is called under the pool's lock, and between two stores that belong together there is no call: CPython
delivers a signal or an asynchronous exception only after calls and backward jumps, so a move happens whole or not at
all.

Knows slots, loans and their order. Does not know locks, clocks, drivers or SQL.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Generic, TypeVar

from improved_db.pool.slot import Loan, Slot, SlotState
from improved_db.pool.stats import Counters

if TYPE_CHECKING:
    from collections.abc import Callable

C = TypeVar("C")
COLD, WARM, OPENING, LENT = SlotState.COLD, SlotState.WARM, SlotState.OPENING, SlotState.LENT


class Rack(Generic[C]):
    """N slots, those of them that are not lent, and the borrowers who wait for one.

    Attributes:
        slots: All of them.
        warm: Those with an idle connection; the last one in is the first one out.
        cold: Those without a connection.
        line: Who waits, first come first served; a borrower leaves it in O(1).
        opening: How many slots are with openers.
        suspended: Whether nobody is served for now.
    """

    def __init__(self, max_size: int, min_size: int, max_opening: int) -> None:
        self.max_size = max_size
        self.min_size = min_size
        self.max_opening = max_opening
        self.slots: list[Slot[C]] = [Slot() for _ in range(max_size)]
        self.warm: list[Slot[C]] = []
        self.cold: list[Slot[C]] = list(self.slots)
        self.line: OrderedDict[Loan[C], None] = OrderedDict()
        self.opening = 0
        self.suspended = False
        self.counters = Counters()

    @property
    def used(self) -> int:
        """How many connections are with borrowers."""
        return len(self.slots) - len(self.warm) - len(self.cold) - self.opening

    @property
    def connected(self) -> int:
        """How many connections there are, idle or used."""
        return len(self.slots) - len(self.cold) - self.opening

    def busy(self) -> list[Slot[C]]:
        """Return the slots that are lent or being opened."""
        return [slot for slot in self.slots if slot.state is LENT or slot.state is OPENING]

    def take(self, loan: Loan[C]) -> bool:
        """Lend the warmest slot; False if the borrower has to wait."""
        if not self.warm or self.suspended:
            return False
        if not loan.counted:
            loan.counted = True
            self.counters.acquired += 1
        slot = self.warm[-1]  # as `_lend` does; this is every query's way
        slot.state, slot.loan, slot.thread, slot.place = LENT, loan.ref, loan.thread, loan.place
        loan.slot = slot
        del self.warm[-1]
        return True

    def take_cold(self, loan: Loan[C], limit: float) -> bool:
        """Lend a slot without a connection to a borrower who opens one itself; a new slot if there is none.

        A slot beyond `max_size` is gone when it is cold again.

        Returns:
            False if *limit* slots or more are in use already.
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
        for index, slot in enumerate(self.warm):
            if due(slot):
                self._lend(self.warm, index, loan)
                return True
        return False

    @staticmethod
    def _lend(shelf: list[Slot[C]], index: int, loan: Loan[C]) -> None:
        slot = shelf[index]
        slot.state, slot.loan, slot.thread, slot.place = LENT, loan.ref, loan.thread, loan.place
        loan.slot = slot
        del shelf[index]

    def enqueue(self, loan: Loan[C], signal: Callable[[], bool], *, first: bool, max_waiting: int | None) -> bool:
        """Put a borrower at the end of the line; *first*: at its head, for one whose connection proved unfit.

        Those for whom a connection is being or will be opened do not count against *max_waiting*.

        Returns:
            False if the line is full.
        """
        coming = self.opening + len(self.cold)
        if max_waiting is not None and not first and len(self.line) - coming >= max_waiting:
            self.counters.refused += 1
            return False
        signal()
        self.line[loan] = None
        if first:
            self.line.move_to_end(loan, last=False)
        return True

    def give(self, slot: Slot[C], now: float, *, used: bool = True) -> None:
        """Hand a usable slot to the first live waiter, or put it in the rack.

        A slot that maintenance looked at goes back to the far end, as idle as it was.
        """
        if self.line and (first := self.first_in_line(now)) is not None:
            self._hand_over(slot, first, now)
            return
        if slot.state is OPENING:
            self.opening -= 1
        slot.state, slot.loan, slot.thread = WARM, None, None
        if used:
            slot.idle_since = now
            self.warm.append(slot)
        else:
            self.warm.insert(0, slot)

    def serve(self, now: float) -> None:
        """Hand out what is in the rack to those in line, after a suspension."""
        while self.warm and (first := self.first_in_line(now)) is not None:
            self._hand_over(self.warm[-1], first, now)

    def first_in_line(self, now: float) -> Loan[C] | None:
        """Return who is to be served next, if anybody; those whose deadline has passed leave the line."""
        while self.line and not self.suspended:
            loan = next(iter(self.line))
            if loan.deadline > now:
                return loan
            assert loan.signal is not None
            del self.line[loan]
            loan.signal.release()  # nobody is served after its deadline; it finds neither slot nor error
        return None

    def _hand_over(self, slot: Slot[C], loan: Loan[C], now: float) -> None:
        assert loan.signal is not None
        if not loan.counted:
            loan.counted = True
            self.counters.acquired += 1
            self.counters.waited += 1
            self.counters.wait_seconds += now - loan.started_at
        if slot.state is OPENING:
            self.opening -= 1
        elif slot.state is WARM:
            del self.warm[-1]
        slot.state, slot.loan, slot.thread, slot.place = LENT, loan.ref, loan.thread, loan.place
        loan.slot = slot
        del self.line[loan]
        loan.signal.release()

    def hopeless(self) -> bool:
        """Say whether those in line wait for nothing: no connection is out, and every opener has failed by now."""
        return self.used == 0 and not self.suspended and all(s.failed for s in self.slots if s.state is OPENING)

    def fail_all(self, error: BaseException) -> None:
        """Tell everybody in line why they will not be served."""
        while self.line:
            loan = next(iter(self.line))
            assert loan.signal is not None
            loan.error = error
            del self.line[loan]
            loan.signal.release()

    def chill(self, slot: Slot[C]) -> C | None:
        """Make a lent or warm slot cold and return its connection, which is now the caller's to close."""
        surplus = len(self.slots) > self.max_size
        was_opening = slot.state is OPENING
        where = self.warm.index(slot) if slot.state is WARM else -1
        connection, slot.connection = slot.connection, None
        slot.state, slot.loan, slot.thread = COLD, None, None
        if was_opening:
            self.opening -= 1
        if where >= 0:
            del self.warm[where]
        if surplus:
            self.slots.remove(slot)
        else:
            self.cold.append(slot)
        return connection

    def grow(self, new_loan: Callable[[], Loan[C]], at_least: int = 0) -> list[Loan[C]]:
        """Lend cold slots to openers: no more than those in line, `min_size` or *at_least* need.

        At most `max_opening` open at a time; whoever finishes asks again.
        """
        wanted = len(self.line) - self.opening if not self.suspended else 0
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

    def recover(self) -> list[tuple[list[str], C | None]]:
        """Take back the slots whose borrowers vanished; return where each was borrowed and its connection."""
        lost = [slot for slot in self.slots if slot.is_lost()]
        found = []
        for slot in lost:
            self.counters.lost += 1
            where = slot.where() if slot.place else []
            found.append((where, self.chill(slot)))
        return found

    def resize(self, max_size: int) -> list[C]:
        """Add cold slots, or drop slots: cold ones, then the longest idle; lent ones go when they come back."""
        added: list[Slot[C]] = [Slot() for _ in range(max_size - len(self.slots))]
        surplus = max(len(self.slots) - max_size, 0)
        gone = set(self.cold[:surplus])
        slots = [slot for slot in self.slots if slot not in gone] + added
        cold = self.cold[surplus:] + added
        self.max_size, self.slots, self.cold = max_size, slots, cold
        dropped = []
        while self.warm and len(self.slots) > max_size:
            connection = self.chill(self.warm[0])
            if connection is not None:
                dropped.append(connection)
        return dropped

    def clear(self) -> list[C]:
        """Make every idle slot cold; return their connections."""
        idle = []
        while self.warm:
            connection = self.chill(self.warm[-1])
            if connection is not None:
                idle.append(connection)
        return idle
