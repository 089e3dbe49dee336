"""Connections for programs that know no pool: close() returns one, and it cannot be used afterwards.

Knows loans and how they end. Does not know what the connection is for.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, cast

from improved_db.errors import LoanSpent
from improved_db.logs import warn
from improved_db.wire.connection import Connection

if TYPE_CHECKING:
    from improved_db.execution.executor import Executor
    from improved_db.execution.lane import Lane
    from improved_db.pool.loan import Loan
    from improved_db.pool.pool import Pool

logger: logging.Logger = logging.getLogger("improved_db.compat")


def give_back(loan: Loan[Any], discard: str | None = None) -> str | None:
    """End a loan: return its connection to the pool that lent it.

    Returns:
        Why the pool did not keep the connection; None if it did.

    Raises:
        LoanSpent: It was returned before.
    """
    pool = cast("Pool[Any]", loan.pool)
    why = pool.release(loan, discard)
    if why == "overflow":
        warn(logger, "pool(%s) is full: a connection was closed on its return", pool.settings.name)
    return why


class PooledConnection(Connection):
    """A connection whose `close` returns it to its pool; if it is in no pool, `close` ends its session."""

    def close(self) -> None:
        """Return the connection to its pool; if it is in no pool, end its session.

        Raises:
            LoanSpent: It was closed before.
        """
        if self._loan is None:
            super().close()
        elif self._spent:
            raise self._closed_error()
        else:
            try:
                self.give_back()
            except LoanSpent:  # in a forked child the pool has dropped it already
                pass

    def give_back(self, discard: str | None = None) -> str | None:
        """Make this handle unusable and end its loan, as the function `give_back` does."""
        self._spend()
        return give_back(cast("Loan[Connection]", self._loan), discard)


class LentConnection(PooledConnection):
    """A `PooledConnection` of an `ImprovedDb`, which may have several pools."""

    __slots__ = ("_lane",)

    _lane: Lane

    def give_back(self, discard: str | None = None) -> str | None:
        """Make this handle unusable and end its loan."""
        self._spend()
        return self._lane.release(cast("Loan[Connection]", self._loan), discard)


def lend(executor: Executor, autocommit: bool) -> LentConnection:
    """Borrow a connection, set its autocommit, and lend it as one whose `close` returns it."""
    deadline = executor.deadline()
    loan = executor.persist(lambda: executor.loans.prepared(deadline, lambda raw: raw.autocommit(autocommit)), deadline)
    lent = loan.connection._handle_of(LentConnection, loan)
    lent._lane = executor.pool
    return lent
