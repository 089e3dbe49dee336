"""How the doors borrow from a pool with a soft size: without a wait, or beyond the size after a wait.

The pool opens up to ``max_size`` connections for borrowers who wait. Beyond it, up to a limit that each borrower names,
the borrower opens a connection in its own thread (`Pool.acquire_now`). When that is returned, the pool keeps it unless
too many are idle.

Knows the pool, and when a borrower opens a connection. Does not know the words of the older designs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from improved_db.errors import PoolTimeout

if TYPE_CHECKING:
    from collections.abc import Callable

    from improved_db.pool.loan import Loan
    from improved_db.pool.pool import Pool

C = TypeVar("C")


def acquire_patiently(
    pool: Pool[C], patience: float, limit: int, *, ping: bool = False, in_vain: Callable[[], object]
) -> Loan[C]:
    """Borrow an idle connection, or open one; beyond ``max_size`` open one only after waiting without success.

    Args:
        pool: The pool that lends it.
        patience: Seconds to wait if there are ``max_size`` connections.
        limit: The most connections that there may be after the wait.
        ping: As for `Pool.acquire_now`.
        in_vain: Called if the wait ends without a connection.

    Raises:
        PoolTimeout: There are *limit* connections, and none was returned in time.
        PoolClosed: The pool is closed.
        Exception: The driver's error, if it could not open a connection.
    """
    loan = pool.acquire_now(pool.settings.max_size, ping=ping)
    if loan is not None:
        return loan
    try:
        loan = pool.acquire(patience, note_place=True, ping=ping)
    except PoolTimeout:
        in_vain()
        loan = pool.acquire_now(limit, ping=ping)
        if loan is None:
            raise
    loan.outlive_thread()
    return loan


def stock(pool: Pool[C], number: int) -> None:
    """Open connections until there are *number*; the pool keeps those that it has room for.

    Raises:
        Exception: The driver's error, if it could not open a connection.
    """
    loans: list[Loan[C]] = []
    try:
        while len(loans) < number and (loan := pool.acquire_now(number)) is not None:
            loans.append(loan)
    finally:
        for loan in loans:
            pool.release(loan)
