"""Every error raised here, in one tree.

Each class also inherits the matching `pymysql.err` class or builtin, so ``except`` clauses written for PyMySQL keep
working. Errors of the driver that need no verdict pass through as they are and are not in this file.

Knows PyMySQL's exception classes. Does not know what raises them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pymysql.err

if TYPE_CHECKING:
    from collections.abc import Sequence


class ImprovedDbError(Exception):
    """Base of the errors raised here."""


class ConfigError(ImprovedDbError, ValueError):
    """An option has an invalid value, or a URL or option file cannot be read; the text says what to write instead."""


class AlreadyEnabled(ImprovedDbError, RuntimeError):
    """`enable` was called while it was in force; the handle of the first call has `disable`."""


class StatementError(ImprovedDbError, pymysql.err.ProgrammingError):
    """A statement and its arguments do not fit together; nothing was sent."""


class RowNotFound(ImprovedDbError, LookupError):
    """The statement returned no row, and its caller said that there is one (``required=True``)."""


class ServerNotFound(ImprovedDbError, RuntimeError):
    """No mariadbd or mysqld is installed; the text is the one command that installs it here."""


class PoolError(ImprovedDbError, pymysql.err.OperationalError):
    """The pool could not do what the caller asked."""


class PoolClosed(PoolError):
    """The pool is closed, or was closed while the caller waited."""


class PoolTimeout(PoolError, TimeoutError):
    """No connection was free before the deadline.

    The text says how long the caller waited and what the pool looked like; the last connect error, if there is one, is
    the ``__cause__``.

    Attributes:
        waited: Seconds that the caller waited.
    """

    waited: float = 0.0


class TooManyWaiting(PoolError):
    """``max_waiting`` callers are waiting already."""


#: SQLAlchemy and others look for "already closed": they replace such a connection instead of failing.
RETURNED: Final = "connection already closed: it was returned to its pool; borrow another"


class RepeatedStatements(ImprovedDbError, AssertionError):
    """A statement ran more often in the block of `ImprovedDb.watch` than `Watch.check` allows; the text lists them."""


class LoanSpent(PoolError):
    """A connection was used or returned after its return, or returned to a pool that did not lend it."""


class VerdictError(ImprovedDbError, pymysql.err.OperationalError):
    """Base of the errors that say what is known about a statement that failed.

    Attributes:
        verdict: The value of the `improved_db.Verdict`.
        attempts: One line for each attempt made, oldest first.
        acked_rows: For `exec_many(atomic=False)`: how many rows, from the first, are surely committed; None elsewhere.
        unknown_rows: For the same: the numbers, from 0, of the rows in doubt.
        token: For `exactly_once`: if ``improved_db_outcomes`` has this token, the transaction was committed.
        host: Which of several servers the last attempt was on; empty if there is one, or it got no connection.
    """

    verdict: str = "unknown"
    host: str = ""
    acked_rows: int | None = None
    unknown_rows: range | None = None
    token: bytes | None = None

    def __init__(self, *args: object, sqlstate: str | None = None, attempts: Sequence[str] = ()) -> None:
        """Keep PyMySQL's ``(code, text)`` arguments and the lines about the attempts."""
        super().__init__(*args, sqlstate=sqlstate)
        self.attempts: tuple[str, ...] = tuple(attempts)


class OutcomeUnknown(VerdictError):
    """The statement may or may not have been applied; only a look at the data can tell."""

    verdict = "unknown"


class TransactionRolledBack(VerdictError):
    """The server rolled the whole transaction back; nothing of it is left."""

    verdict = "transaction_rolled_back"


class TransactionLost(VerdictError):
    """The session ended before COMMIT was sent; nothing of the transaction is left."""

    verdict = "not_sent"


class TransactionEnded(VerdictError):
    """A statement (DDL, LOCK TABLES, COMMIT by hand ...) committed the transaction, with all statements before it."""

    verdict = "permanent"


class StatementTimeout(VerdictError, TimeoutError):
    """A statement ran into a time limit, which the text names: ``timeout``, ``deadline``, or a limit of the server's.

    The server has undone the statement, or it was a read.
    """

    verdict = "statement_rolled_back"

    def __str__(self) -> str:
        return Exception.__str__(self)  # that of TimeoutError would read the server's number as one of the system


class ServerRefused(VerdictError):
    """The server said that it does not run this now (read-only, not ready, full); nothing was applied."""

    verdict = "refused"
