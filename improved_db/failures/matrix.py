"""From a verdict to what may be done: the matrix of verdicts and units of work.

Two rules stand above it. Inside a transaction that belongs to the caller nothing is ever run again, because only its
owner knows what belongs to it. And once rows have been handed on, they cannot be taken back.

Knows verdicts and units of work. Does not know error numbers, phases, or how often and when to retry.
"""

from __future__ import annotations

import enum
from typing import Final

from improved_db.failures.error_table import Verdict


class Unit(enum.Enum):
    """What a failed statement was part of, and so what would be run again."""

    READ = "read"  #: one statement, autocommitted, provably read-only; BEGIN is one too
    WRITE = "write"  #: one statement, autocommitted, that may change something
    CALLER_STATEMENT = "caller_statement"  #: part of a transaction that belongs to the caller
    TRANSACTION = "transaction"  #: a function that we may call again
    BULK_ATOMIC = "bulk_atomic"  #: many rows in one transaction of ours
    BULK_CHUNKS = "bulk_chunks"  #: many rows, each chunk committed by itself


class Action(enum.Enum):
    """What may be done, once the connection has met its `Fate` (a ROLLBACK comes before a retry, too).

    RAISE_REFUSED, RAISE_LOST, RAISE_ROLLED_BACK and RAISE_UNKNOWN also say that a transaction of the caller's is over:
    its handle must refuse every further statement, which would autocommit. So does any fate from `Fate.DISCARD` up.
    """

    RETRY = "retry"  #: the whole unit again, from its beginning
    RESUME = "resume"  #: this chunk again, then those after it
    RAISE = "raise"  #: the driver's own error
    RAISE_REFUSED = "raise_refused"  #: `ServerRefused`
    RAISE_LOST = "raise_lost"  #: `TransactionLost`
    RAISE_ROLLED_BACK = "raise_rolled_back"  #: `TransactionRolledBack`
    RAISE_UNKNOWN = "raise_unknown"  #: `OutcomeUnknown`


_WHOLE: Final = frozenset({Unit.CALLER_STATEMENT, Unit.TRANSACTION, Unit.BULK_ATOMIC})
_NOTHING_RAN: Final = frozenset({Verdict.NOT_CONNECTED, Verdict.NOT_SENT})
_UNDONE: Final = frozenset({Verdict.TRANSACTION_ROLLED_BACK, Verdict.STATEMENT_ROLLED_BACK})

AGAIN, RESUME, RAISE, REFUSED = Action.RETRY, Action.RESUME, Action.RAISE, Action.RAISE_REFUSED
LOST, UNDONE, UNKNOWN = Action.RAISE_LOST, Action.RAISE_ROLLED_BACK, Action.RAISE_UNKNOWN

# Columns in the order of Unit. The verdict is the one on the unit, which `_on_unit` makes of that on the statement.
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


def action(
    verdict: Verdict,
    unit: Unit,
    *,
    idempotent: bool | None = None,
    transactional_engine: bool = True,
    implicit_commit: bool = False,
    at_commit: bool = False,
    rows_given: bool = False,
) -> Action:
    """Say what may be done about a failed statement.

    Args:
        verdict: What is known about the statement.
        unit: What it was part of. READ only if it is provably read-only; COMMIT belongs to its transaction.
        idempotent: True: running the unit twice is the same as once, says the caller. False: never again once it may
            have reached the server. None: as the unit says.
        transactional_engine: False if a table's engine cannot undo what a failed statement has already done.
        implicit_commit: Something in the transaction (DDL, LOCK TABLES, a procedure) may have committed part of it.
        at_commit: The statement that failed was the COMMIT.
        rows_given: Rows of the answer have been handed on.

    Returns:
        RETRY or RESUME where that is safe, else which error is true.
    """
    if idempotent is False and unit is Unit.READ:
        unit = Unit.WRITE
    verdict = _on_unit(verdict, unit, transactional_engine, lasting=implicit_commit, at_commit=at_commit)
    if rows_given or (idempotent is False and verdict not in _NOTHING_RAN):
        return LAST_WORD[verdict][_COLUMN[unit]]
    if idempotent and verdict is Verdict.UNKNOWN and unit is not Unit.CALLER_STATEMENT:
        verdict = Verdict.NOT_SENT
    return MATRIX[verdict][_COLUMN[unit]]


def giving_up(
    verdict: Verdict,
    unit: Unit,
    *,
    idempotent: bool | None = None,
    transactional_engine: bool = True,
    implicit_commit: bool = False,
    at_commit: bool = False,
) -> Action:
    """Say which error is true when no attempt is left, or none was allowed.

    Args:
        verdict: As for `action`, of the last attempt.
        unit: As for `action`.
        idempotent: As for `action`.
        transactional_engine: As for `action`.
        implicit_commit: As for `action`.
        at_commit: As for `action`.

    Returns:
        One of the RAISE actions.
    """
    if idempotent is False and unit is Unit.READ:
        unit = Unit.WRITE
    verdict = _on_unit(verdict, unit, transactional_engine, lasting=implicit_commit, at_commit=at_commit)
    return LAST_WORD[verdict][_COLUMN[unit]]


def _on_unit(verdict: Verdict, unit: Unit, transactional_engine: bool, *, lasting: bool, at_commit: bool) -> Verdict:
    """Make of the verdict on the statement the verdict on its unit."""
    if verdict in {Verdict.NOT_CONNECTED, Verdict.PERMANENT}:
        return verdict
    if unit not in _WHOLE:
        kept = not transactional_engine and unit is not Unit.READ and verdict in _UNDONE
        return Verdict.UNKNOWN if kept else verdict
    if verdict is Verdict.STATEMENT_ROLLED_BACK and unit is Unit.CALLER_STATEMENT and not at_commit:
        return verdict  # still open, whatever of it lasts
    if lasting or not transactional_engine:
        return Verdict.UNKNOWN  # a ROLLBACK would not undo all of it, a repetition would do part of it twice
    if at_commit:
        # A COMMIT that was undone by itself leaves nothing once the ROLLBACK has gone out.
        return Verdict.TRANSACTION_ROLLED_BACK if verdict in _UNDONE else verdict
    # COMMIT never left, so nothing of it lasts, wherever the statement got to.
    return Verdict.NOT_SENT if verdict is Verdict.UNKNOWN else verdict
