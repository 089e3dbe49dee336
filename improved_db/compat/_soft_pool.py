"""How the doors borrow from a pool whose size is a soft one: without a wait, or beyond the size after one.

``max_size`` is what the pool opens for borrowers who wait. Beyond it, up to a limit that each borrower brings, one is
opened in the borrower's own thread (`Pool.acquire_now`), and kept when it is returned if few enough are idle.

Knows the pool, and when a borrower opens for itself. Does not know in which older words that is asked for.
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
    """Borrow an idle connection, or open one; beyond ``max_size`` only after a wait in vain.

    Args:
        pool: Lends it.
        patience: Seconds to wait if there are ``max_size`` connections.
        limit: Connections there may be after it.
        ping: As for `Pool.acquire_now`.
        in_vain: Called when that time is over.

    Raises:
        PoolTimeout: There are *limit*, and none was returned.
        PoolClosed: The pool is closed.
        Exception: What the driver said when it was to open one.
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
    """Open connections until there are *number*, and keep those that the pool has room for.

    Raises:
        Exception: What the driver said.
    """
    loans: list[Loan[C]] = []
    try:
        while len(loans) < number and (loan := pool.acquire_now(number)) is not None:
            loans.append(loan)
    finally:
        for loan in loans:
            pool.release(loan)
