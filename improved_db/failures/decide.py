"""From a verdict to what may be done: the matrix of verdicts and units of work.

One rule stands above it: inside a transaction of the caller's nothing is ever retried, because only the caller knows
what belongs to it.

Knows verdicts and units of work. Does not know error numbers, phases, or how often and when to retry.
"""

from __future__ import annotations

import enum
from typing import Final, NamedTuple

from improved_db.failures.error_table import Verdict


class Unit(enum.Enum):
    """What a failed statement was part of, and so what a retry would run."""

    READ = "read"  #: one statement, autocommitted, provably read-only; BEGIN counts as one
    WRITE = "write"  #: one statement, autocommitted, that may change something
    CALLER_STATEMENT = "caller_statement"  #: part of a transaction that belongs to the caller
    TRANSACTION = "transaction"  #: a function that a retry calls again
    BULK_ATOMIC = "bulk_atomic"  #: many rows in one transaction of ours
    BULK_CHUNKS = "bulk_chunks"  #: many rows, each chunk committed by itself


class Action(enum.Enum):
    """What may be done, once the connection has met its `Fate` (if that is a ROLLBACK, it comes before a retry).

    After RAISE_REFUSED, RAISE_LOST, RAISE_ROLLED_BACK and RAISE_UNKNOWN a transaction of the caller's is over: its
    handle must refuse every further statement, which would autocommit. So it is after any fate from `Fate.DISCARD` up.
    """

    RETRY = "retry"  #: the whole unit, from its beginning
    RESUME = "resume"  #: this chunk, then those after it
    RAISE = "raise"  #: the driver's own error
    RAISE_REFUSED = "raise_refused"  #: `ServerRefused`
    RAISE_LOST = "raise_lost"  #: `TransactionLost`
    RAISE_ROLLED_BACK = "raise_rolled_back"  #: `TransactionRolledBack`
    RAISE_UNKNOWN = "raise_unknown"  #: `OutcomeUnknown`


class Decision(NamedTuple):
    """What follows from a failure.

    Attributes:
        now: RETRY or RESUME if that is safe, else which error to raise.
        finally_: Which error to raise when no retry is left, or none is allowed.
    """

    now: Action
    finally_: Action

    @property
    def again(self) -> bool:
        """Whether a retry is safe."""
        return self.now in _AGAIN


_AGAIN: Final = frozenset({Action.RETRY, Action.RESUME})
_WHOLE: Final = frozenset({Unit.CALLER_STATEMENT, Unit.TRANSACTION, Unit.BULK_ATOMIC})
_NOTHING_RAN: Final = frozenset({Verdict.NOT_CONNECTED, Verdict.NOT_SENT})
_UNDONE: Final = frozenset({Verdict.TRANSACTION_ROLLED_BACK, Verdict.STATEMENT_ROLLED_BACK})

AGAIN, RESUME, RAISE, REFUSED = Action.RETRY, Action.RESUME, Action.RAISE, Action.RAISE_REFUSED
LOST, UNDONE, UNKNOWN = Action.RAISE_LOST, Action.RAISE_ROLLED_BACK, Action.RAISE_UNKNOWN

# Columns in the order of Unit. The verdict is that on the unit, which `_on_unit` derives from that on the statement.
# fmt: off
MATRIX: Final = {
    #                                 READ     WRITE    CALLER   TRANSACT ATOMIC   CHUNKS
    Verdict.NOT_CONNECTED:           (AGAIN,   AGAIN,   RAISE,   AGAIN,   AGAIN,   RESUME),
    Verdict.NOT_SENT:                (AGAIN,   AGAIN,   LOST,    AGAIN,   AGAIN,   RESUME),
    Verdict.REFUSED:                 (AGAIN,   AGAIN,   REFUSED, AGAIN,   AGAIN,   RESUME),
    Verdict.TRANSACTION_ROLLED_BACK: (AGAIN,   AGAIN,   UNDONE,  AGAIN,   AGAIN,   RESUME),
    Verdict.STATEMENT_ROLLED_BACK:   (AGAIN,   AGAIN,   RAISE,   AGAIN,   AGAIN,   RESUME),
    Verdict.UNKNOWN:                 (AGAIN,   UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN),
    Verdict.PERMANENT:               (RAISE,   RAISE,   RAISE,   RAISE,   RAISE,   RAISE),
}

LAST_WORD: Final = {
    #                                 READ     WRITE    CALLER   TRANSACT ATOMIC   CHUNKS
    Verdict.NOT_CONNECTED:           (RAISE,   RAISE,   RAISE,   RAISE,   RAISE,   RAISE),
    Verdict.NOT_SENT:                (RAISE,   RAISE,   LOST,    LOST,    LOST,    RAISE),
    Verdict.REFUSED:                 (REFUSED, REFUSED, REFUSED, REFUSED, REFUSED, REFUSED),
    Verdict.TRANSACTION_ROLLED_BACK: (RAISE,   RAISE,   UNDONE,  UNDONE,  UNDONE,  RAISE),
    Verdict.STATEMENT_ROLLED_BACK:   (RAISE,   RAISE,   RAISE,   RAISE,   RAISE,   RAISE),
    Verdict.UNKNOWN:                 (RAISE,   UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN),
    Verdict.PERMANENT:               (RAISE,   RAISE,   RAISE,   RAISE,   RAISE,   RAISE),
}
# fmt: on
_COLUMN: Final = {unit: column for column, unit in enumerate(Unit)}


def decide(
    verdict: Verdict,
    unit: Unit,
    *,
    idempotent: bool | None = None,
    kept_part: bool = False,
    committed_part: bool = False,
    at_commit: bool = False,
) -> Decision:
    """Return what may be done about a failed statement.

    Args:
        verdict: What is known about the statement.
        unit: What it was part of. READ only if it is provably read-only; COMMIT belongs to its transaction.
        idempotent: True: the caller says that running the unit twice is the same as once. False: no retry once it may
            have reached the server. None: as the unit says.
        kept_part: A table without transactions has kept what a failed statement had done so far.
        committed_part: A statement in the transaction (DDL, LOCK TABLES, CALL) may have committed part of it.
        at_commit: The statement that failed was the COMMIT.
    """
    if idempotent is False and unit is Unit.READ:
        unit = Unit.WRITE
    column = _COLUMN[unit]
    verdict = _on_unit(verdict, unit, kept_part=kept_part, committed_part=committed_part, at_commit=at_commit)
    last = LAST_WORD[verdict][column]
    if idempotent is False and verdict not in _NOTHING_RAN:
        return Decision(last, last)
    if idempotent and verdict is Verdict.UNKNOWN and unit is not Unit.CALLER_STATEMENT:
        return Decision(MATRIX[Verdict.NOT_SENT][column], last)
    return Decision(MATRIX[verdict][column], last)


def _on_unit(verdict: Verdict, unit: Unit, *, kept_part: bool, committed_part: bool, at_commit: bool) -> Verdict:
    """Return the verdict on the unit, given that on its statement."""
    if verdict in {Verdict.NOT_CONNECTED, Verdict.PERMANENT}:
        return verdict
    if unit not in _WHOLE:
        kept = kept_part and unit is not Unit.READ and verdict in _UNDONE
        return Verdict.UNKNOWN if kept else verdict
    if verdict is Verdict.STATEMENT_ROLLED_BACK and unit is Unit.CALLER_STATEMENT and not at_commit:
        return verdict  # the transaction is still open
    if committed_part or kept_part:
        return Verdict.UNKNOWN  # a ROLLBACK would not undo all of it, a retry would do part of it twice
    if at_commit:
        # If only the COMMIT was undone, the ROLLBACK that follows leaves nothing of the transaction.
        return Verdict.TRANSACTION_ROLLED_BACK if verdict in _UNDONE else verdict
    # COMMIT was not sent, so nothing of the transaction lasts, whatever became of the statement.
    return Verdict.NOT_SENT if verdict is Verdict.UNKNOWN else verdict
