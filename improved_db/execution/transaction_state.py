"""What has become of a transaction, and which error a statement gets after its end.

Knows the states and their errors. Does not know transactions.
"""

from __future__ import annotations

import enum

from improved_db.errors import TransactionEnded, TransactionLost, TransactionRolledBack, VerdictError


class State(enum.Enum):
    """What has become of a transaction."""

    OPEN = "open"
    COMMITTED = "committed"
    ROLLED_BACK = "rolled back"  # by its owner: a ROLLBACK, or an exception
    ROLLED_BACK_BY_SERVER = "rolled back by the server"
    LOST = "lost with its session"
    ENDED = "committed by a statement of its own"  # DDL, LOCK TABLES, a procedure, or a COMMIT


#: The error that a statement gets after the end of its transaction.
REFUSALS: dict[State, tuple[type[VerdictError], str]] = {
    State.ROLLED_BACK_BY_SERVER: (TransactionRolledBack, "the server has rolled this transaction back; begin another"),
    State.LOST: (TransactionLost, "this transaction was lost with its session; nothing of it is left"),
    State.ENDED: (TransactionEnded, "a statement has committed this transaction implicitly; begin another"),
    State.COMMITTED: (TransactionEnded, "this transaction is committed; begin another"),
    State.ROLLED_BACK: (TransactionRolledBack, "this transaction is rolled back; begin another"),
}
