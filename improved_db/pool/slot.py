"""A slot: the right to have one connection, and that connection while there is one.

Knows the states of a slot and who holds it. Does not know the waiters, drivers or time.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    import weakref
    from threading import Thread

    from improved_db.pool.loan import Loan, Place

C = TypeVar("C")


class SlotState(enum.Enum):
    """Where a slot is. Only `Rack` changes it, under the pool's lock.

    COLD -> OPENING -> IDLE or USED; IDLE -> USED or COLD; USED -> IDLE, USED (handed over) or COLD. A slot that leaves
    the pool for good (resize) leaves from COLD.
    """

    COLD = "cold"  # in the rack, without a connection
    IDLE = "idle"  # in the rack, with an idle connection
    OPENING = "opening"  # held by an opener, which is connecting
    USED = "used"  # held by one loan, whose holder alone may touch the connection


class Slot(Generic[C]):
    """The right to have one connection.

    While a borrower holds it, the connection and the times are the borrower's; the pool reads its state and holder.

    Attributes:
        loan: The loan that holds it, weakly: the pool must not keep alive what its borrower has dropped.
        thread: The borrower's thread; None while an opener holds the slot.
        place: Where it was borrowed; empty while a method of this package holds it for one call.
        opened_at: When its connection was opened.
        expires_at: When that connection has to be replaced, healthy or not.
        idle_since: When the connection was last returned.
        checked_at: When the server last answered, a borrower or a ping.
        generation: The pool's generation in which the connection was opened or last proven fit.
        failed: Whether its opener's last attempt failed.
    """

    __slots__ = (
        "checked_at",
        "connection",
        "expires_at",
        "failed",
        "generation",
        "idle_since",
        "loan",
        "opened_at",
        "place",
        "state",
        "thread",
    )

    def __init__(self) -> None:
        self.state: SlotState = SlotState.COLD
        self.connection: C | None = None
        self.loan: weakref.ref[Loan[C]] | None = None
        self.thread: Thread | None = None
        self.place: Place = ()
        self.opened_at: float = 0.0
        self.expires_at: float = 0.0
        self.idle_since: float = 0.0
        self.checked_at: float = 0.0
        self.generation: int = 0
        self.failed: bool = False

    def is_lost(self) -> bool:
        """Say whether its holder can no longer return it: the loan was collected, or the holder's thread has ended."""
        if self.loan is None:
            return False
        loan = self.loan()
        return loan is None or (self.thread is not None and loan.pulse() is None)
