"""Stops a thread whose call was cancelled: it gets no connection, and the one that it has is taken away.

Knows how a loan changes its holder, and who waits. Does not know why a call is given up, or what ends it on the server.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

from improved_db.critical import Section, critical
from improved_db.errors import LoanSpent, PoolError
from improved_db.pool.loan import DISMISSED, Loan, current_errand
from improved_db.pool.openers import watch

if TYPE_CHECKING:
    from collections.abc import Callable

    from improved_db.clock import Clock
    from improved_db.pool.loan import Errand
    from improved_db.pool.pool import Pool
    from improved_db.pool.state import PoolState

C = TypeVar("C")


def pause(state: PoolState[C], clock: Clock, end: float) -> None:
    """Sleep until *end*, as `Pool.pause` does."""
    errand = current_errand()
    watch(state, clock, lambda: state.closed or (errand is not None and errand.dismissed), end)
    state.ensure_open()
    if errand is not None and errand.dismissed:
        raise PoolError(DISMISSED)


class Revoking(Generic[C]):
    """Stops threads that use the connections of one pool."""

    def __init__(self, pool: Pool[C]) -> None:
        self._pool = pool
        self._state = pool._state

    @property
    def section(self) -> Section:
        """The pool's own."""
        return self._state.section

    @critical
    def dismiss(self, errand: Errand) -> None:
        """Let a thread wait for no connection, and sleep before no retry, on this errand."""
        errand.dismissed = True
        rack = self._state.rack
        for loan in [loan for loan in rack.waiters if errand.has(loan)]:
            rack.fail(loan, PoolError(DISMISSED))
        self._state._wake()

    def revoke(self, loan: Loan[C], end: Callable[[C], object]) -> bool:
        """Take a loan from its borrower, who gets `LoanSpent` when it returns it; close the connection, free the slot.

        From the first step on no other borrower can get the connection, so that *end* meets no other statement.

        Args:
            loan: What the borrower holds, or has just returned.
            end: Gets the borrower off the connection; it should return once the borrower has left it.

        Returns:
            False if the loan was returned before; then nothing was done.
        """
        pool = self._pool
        keeper: Loan[C] = Loan(pool, loan.started_at, float("inf"))
        keeper.taken_at, keeper.reported = loan.taken_at, loan.reported
        try:
            slot = self._state.reclaim(loan, keeper)
        except LoanSpent:
            return False
        try:
            if slot.connection is not None:
                end(slot.connection)
        finally:
            pool._put_back(keeper, "cancelled", loan)
        return True
