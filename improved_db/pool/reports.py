"""What a pool reports: durations to listeners, lines to the log, its loans, and why a borrower got no connection.

Knows listeners, and the state to read. Does not know how the state decides.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from improved_db.critical import Reentered
from improved_db.errors import PoolTimeout, TooManyWaiting
from improved_db.logs import complain, warn
from improved_db.pool.loan import describe_place
from improved_db.pool.slot import SlotState
from improved_db.pool.stats import Borrowed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from improved_db.pool.loan import Loan, Place
    from improved_db.pool.slot import Slot
    from improved_db.pool.snapshot import PoolStats
    from improved_db.pool.state import PoolState
    from improved_db.pool.stats import Listener

C = TypeVar("C")
logger: logging.Logger = logging.getLogger("improved_db.pool")


class Reports(Generic[C]):
    """Reports of one pool, made outside the lock, in the thread of the borrower or opener.

    Attributes:
        listeners: The user's.
        on_opened: Called after a connection was opened and kept.
        on_closed: Called after the pool was closed.
        tell: Called with the kind of each event and what is known about it, without texts of the server's.
        measure: Called with "wait", "use" or "open" and seconds: of a borrower that had to wait, of a loan that its
            borrower used directly, and of an opened connection.
        on_round: Called by maintenance, every few seconds while there are connections.
    """

    def __init__(self, name: str, state: PoolState[C], now: Callable[[], float]) -> None:
        self.listeners: list[Listener] = []
        self.on_opened: Callable[[], object] = _nothing
        self.on_closed: Callable[[], object] = _nothing
        self.tell: Callable[..., object] = _nothing
        self.measure: Callable[[str, float], object] = _nothing
        self.on_round: Callable[[], object] = _nothing
        # Not when the package is imported, for speed, nor when a thread first looks: a child that is forked during an
        # import in another thread would wait for that import for ever.
        from improved_db.pool.snapshot import snapshot  # noqa: PLC0415

        self._snapshot = snapshot
        self._name = name
        self._state = state
        self._now = now

    # --- to listeners and logs -------------------------------------------------------------------------------------

    def waited(self, loan: Loan[C]) -> None:
        """Report that a borrower was served."""
        seconds = loan.taken_at - loan.started_at
        self._tell(lambda listener: listener.waited(self._name, seconds))

    def returned(self, loan: Loan[C]) -> None:
        """Report that a borrower has returned its loan."""
        seconds = self._now() - loan.taken_at
        if loan.reported:
            warn(logger, "pool %r: a connection held for too long was returned after %.1f s", self._name, seconds)
        if loan.place:
            self.measure("use", seconds)
        self._tell(lambda listener: listener.used(self._name, seconds))

    def created(self, seconds: float, *, kept: bool) -> None:
        """Report that a connection was opened."""
        self._tell(lambda listener: listener.created(self._name, seconds))
        self.tell("opened", fold="", seconds=round(seconds, 6))
        self.measure("open", seconds)
        if kept:
            self.on_opened()

    def open_failed(self, error: BaseException) -> None:
        """Report that a connection could not be opened."""
        # As text: a handler that keeps records would keep the error's frames too, and the loans in them.
        logger.info("pool %r: could not connect: %s", self._name, str(error))
        number = error.args[0] if error.args and isinstance(error.args[0], int) else None
        self.tell("open_failed", error=type(error).__name__, code=number)

    def ended(self, reason: str, number: int = 1) -> None:
        """Report that connections were closed."""
        for _ in range(number):
            self.tell("closed", reason=reason)

    def lost(self, places: Iterable[Place]) -> None:
        """Report connections that were never returned."""
        for place in places:
            where = " <- ".join(describe_place(place, None)) or "a call that was interrupted"
            logger.warning("pool %r: a connection was never returned; borrowed at %s", self._name, where)
            self.tell("lost", place=where)

    def refused(self, waiting: int) -> None:
        """Report that a borrower was refused because too many wait."""
        self.tell("refused", fold="", waiting=waiting)

    def closed_too_early(self, left: list[Borrowed]) -> None:
        """Report the loans that were not returned before the pool stopped waiting for them."""
        logger.warning("pool %r closed; still in use: %s", self._name, "; ".join(map(str, left)))

    def _tell(self, report: Callable[[Listener], object]) -> None:
        for listener in self.listeners:
            try:
                report(listener)
            except Exception:
                complain(logger, "pool %r: a listener failed", self._name)

    # --- to those who ask ------------------------------------------------------------------------------------------

    def stats(self) -> PoolStats:
        """Return every gauge and counter, as of one instant."""
        try:
            return self._state.stats(self._snapshot)
        except Reentered:
            return self._state.look(self._snapshot)

    def loans_out(self, longer_than: float) -> list[tuple[Loan[C], Borrowed]]:
        """Return the loans held for *longer_than* seconds or more, the oldest first, each with its report."""
        now = self._now()
        out = [(slot, loan) for slot, loan in self.holders() if not loan.upkeep]
        out.sort(key=lambda pair: pair[1].taken_at)
        return [
            (loan, Borrowed(loan.thread.name, now - loan.taken_at, tuple(describe_place(slot.place, slot.thread))))
            for slot, loan in out
            if now - loan.taken_at >= longer_than
        ]

    def holders(self) -> list[tuple[Slot[C], Loan[C]]]:
        """Return the slots that are held, each with the loan that holds it."""
        try:
            return self._state.holders()
        except Reentered:
            return self._state.look_at_holders()

    def connections_in_use(self) -> list[C]:
        """Return the connections that borrowers hold."""
        return [
            slot.connection
            for slot, _ in self.holders()
            if slot.state is SlotState.USED and slot.connection is not None
        ]

    def timeout(self, loan: Loan[Any], why: str = "") -> PoolTimeout:
        """Return the error for a borrower that got no connection in time, with hints for its reader."""
        stats = self.stats()
        out = [borrowed for _, borrowed in self.loans_out(0.0)]
        mine = sum(borrowed.thread == loan.thread.name for borrowed in out)
        hints = [why] if why else []
        if self._state.last_error is not None:
            hints.append(f"last connect error: {self._state.last_error}")
        if mine:
            hints.append(f"this thread itself holds {mine} of them: return one, or raise max_size")
        if out:
            hints.append("held longest: " + "; ".join(map(str, out[:3])))
        waited = self._now() - loan.started_at
        self.tell("timeout", fold="", seconds=round(waited, 3), used=stats.used, waiting=stats.waiting)
        error = PoolTimeout(
            f"pool {stats.name!r}: no connection after {waited:.2f} s "
            f"(size={stats.size}/{stats.max_size} idle={stats.idle} used={stats.used} opening={stats.opening} "
            f"waiting={stats.waiting})" + "".join(f"; {hint}" for hint in hints)
        )
        error.waited = waited
        return error

    def too_many(self, waiting: int, most: int | None) -> TooManyWaiting:
        """Return the error for a borrower that may not wait, because *most* others wait already."""
        return TooManyWaiting(
            f"{waiting} borrowers are waiting already (max_waiting={most}); shed load, or raise max_size or max_waiting"
        )


def _nothing(*_: object, **__: object) -> None:
    """Do nothing: the default of the hooks."""
