"""Who owns a transaction: the caller, who gets the error if it fails, or the package, which may retry all of it.

Knows transactions, the executor and the table of tokens. Does not know what users type, or sockets.
"""

from __future__ import annotations

import contextlib
import inspect
import secrets
from operator import methodcaller
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from improved_db.errors import OutcomeUnknown, StatementError, TransactionLost, VerdictError
from improved_db.execution.exactly_once import TABLE, TokenTable, write
from improved_db.execution.retry import inside_retry
from improved_db.execution.stage import Stage
from improved_db.execution.transaction import ISOLATION_LEVELS, Transaction
from improved_db.execution.transaction_state import State
from improved_db.failures.decide import Unit
from improved_db.failures.raising import CallersOwn, Failed, causes
from improved_db.failures.verdict import Backoff, Verdict
from improved_db.wire.ending import mark

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from improved_db.execution.executor import Executor
    from improved_db.pool.loan import Loan
    from improved_db.wire.connection import Connection

T = TypeVar("T")


def check_work(fn: object) -> None:
    """Refuse, before anything is sent, what is no function to call in a transaction.

    Raises:
        StatementError: *fn* is not callable, or its body would run after the call: it is a coroutine or a generator.
    """
    if not callable(fn):
        raise StatementError(f"fn must be callable: pass work, not work(), which is a {type(fn).__name__}")
    if inspect.iscoroutinefunction(fn) or inspect.iscoroutinefunction(getattr(fn, "__call__", None)):  # noqa: B004
        raise StatementError("fn is a coroutine function; calls of improved_db block, and cannot await it: use def")
    if inspect.isgeneratorfunction(fn) or inspect.isasyncgenfunction(fn):
        raise StatementError("fn is a generator function, whose body would run after COMMIT: return a list")


def finished(result: T) -> T:
    """Return what a function returned, which has to be done by then.

    Raises:
        StatementError: It is a coroutine, which has not begun.
    """
    if inspect.iscoroutine(result):
        result.close()
        raise StatementError("fn returned a coroutine; calls of improved_db block, and cannot await it: use def")
    return result


class Transactions:
    """Makes transactions on connections of the pool.

    Attributes:
        tokens: The table that tells, for ``exactly_once``, which transactions are committed.
    """

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self.tokens: TokenTable = TokenTable(executor)

    def work(self, fn: Callable[..., T], *args: Any, **kwargs: Any) -> Callable[[Transaction], T]:
        """Return the call of *fn* with these arguments and a transaction in front of them.

        Raises:
            StatementError: *fn* is not callable, or its body would run after the call.
        """
        check_work(fn)
        return lambda tx: finished(fn(tx, *args, **kwargs))

    @contextlib.contextmanager
    def lend(self, isolation: str | None, read_only: bool) -> Iterator[Transaction]:
        """Begin a transaction and lend it to the caller, who owns it; see `ImprovedDb.transaction`."""
        executor = self._executor
        start = statements_to_start(isolation, read_only)
        deadline = executor.deadline()
        begin = methodcaller("_run_each", start)
        loan = executor.persist(lambda: executor.loans.prepared(deadline, begin), deadline)
        stage = Stage()
        stage.in_transaction = True
        stage.read_only = read_only
        stage.waited = loan.taken_at - loan.started_at
        tx = Transaction(executor, loan.connection, stage, deadline)
        try:
            with executor.owning():
                yield tx
            tx._commit()
        except BaseException as error:
            tx._abandon()
            self._leave(loan, tx, error, deadline)
            if tx.state is State.COMMITTED:  # by hand, before the error
                tx._call_back()
            raise
        executor.loans.return_loan(loan, deadline)
        tx._call_back()

    def _leave(self, loan: Loan[Connection], tx: Transaction, error: BaseException, deadline: float | None) -> None:
        told = tx._failure if isinstance(error, Exception) else error
        if told is not None:
            self._executor.loans.end_if_given_up(loan.connection, told)
        if tx._judgement is not None:
            self._executor.loans.return_judged(loan, tx._judgement, deadline)
        else:
            self._executor.loans.return_loan(loan, deadline)

    def run(
        self,
        fn: Callable[[Transaction], T],
        *,
        exactly_once: bool = False,
        isolation: str | None = None,
        read_only: bool = False,
    ) -> T:
        """Call *fn* in a transaction, and retry all of it if that is safe; see `ImprovedDb.run_transaction`."""
        exactly_once = exactly_once and not read_only  # if nothing is written, nothing can be lost
        if exactly_once:
            self.tokens.ensure()
        attempts = _Attempts(self._executor, fn, isolation, read_only, exactly_once)
        around = self._executor.around_transaction
        with contextlib.nullcontext() if around is None else around() as tell:
            try:
                result = self._executor.persist(lambda: self._attempt(attempts), attempts.deadline)
            except OutcomeUnknown as error:
                if attempts.token is not None:  # it could not be read
                    self._executor.tell("COMMIT", None, error)
                raise
            finally:
                if tell is not None:
                    tell(attempts.number)
        attempts.tx._call_back()
        return result

    def _attempt(self, attempts: _Attempts[T]) -> T:
        if attempts.exactly_once:
            self.tokens.ensure_on_new_primary(attempts.deadline)
        try:
            return self._executor.attempt(Unit.TRANSACTION, attempts.work, attempts.deadline)
        except Failed as failed:
            token, lost_session = attempts.token, attempts.lost_session
            if token is None or not isinstance(failed.error, OutcomeUnknown):
                raise
            unknown = failed
        if self.tokens.committed(token, lost_session, attempts.deadline):
            attempts.tx.state = State.COMMITTED
            return attempts.result
        lost = TransactionLost(
            0, "the answer to COMMIT was lost, and COMMIT was not applied; nothing of the transaction is left"
        )
        raise Failed(
            lost, again=True, verdict=Verdict.NOT_SENT, backoff=Backoff.CONNECTION, reason="fenced"
        ) from unknown


class _Attempts(Generic[T]):
    """The attempts of one call: each calls the function in a new transaction.

    Attributes:
        tx: The transaction of the last attempt.
        lost_session: Its connection, if the session may go on at the server without us.
        token: The token that the attempt has written, if any.
        result: What the function returned.
    """

    tx: Transaction
    lost_session: Connection | None = None
    result: T

    def __init__(
        self,
        executor: Executor,
        fn: Callable[[Transaction], T],
        isolation: str | None,
        read_only: bool,
        exactly_once: bool,
    ) -> None:
        self.deadline = executor.deadline()
        self._executor = executor
        self._fn = fn
        self._start = statements_to_start(isolation, read_only)
        self._read_only = read_only
        self.exactly_once = exactly_once
        self.token: bytes | None = None
        self.number = 0

    def work(self, connection: Connection, stage: Stage) -> T:
        """Make one attempt, with a new `Transaction` and a new token."""
        if self.lost_session is not None:
            # That session may still hold locks that this attempt needs.
            self._executor.driver.end(mark(self.lost_session), through=connection)
        self.number += 1
        self.lost_session = self.token = None
        connection._run_each(self._start)
        stage.in_transaction = True
        stage.read_only = self._read_only
        self.tx = tx = Transaction(self._executor, connection, stage, self.deadline, retried=True)
        try:
            with inside_retry(), self._executor.owning():
                self.result = result = self._fn(tx)
            if self.exactly_once and tx.state is State.OPEN:
                self.token = secrets.token_bytes(16)
                stage.statement = f"INSERT INTO {TABLE}"
                write(connection, self.token)
                stage.token_written = True
            tx._commit()
        except Exception as error:
            # A settled connection returns to the pool: its session is the next borrower's, and must not be ended.
            self.lost_session = None if connection._is_settled() else connection
            if tx._failure is not None and any(cause is tx._failure for cause in causes(error)):
                if error is tx._failure or isinstance(error, VerdictError):
                    raise tx._failure from tx._failure.__cause__  # judge the driver's own error
                raise CallersOwn(error, tx._failure) from error
            if self.token is None:
                raise CallersOwn(error) from error
            raise
        finally:
            tx._abandon()
        return result


def statements_to_start(isolation: str | None, read_only: bool) -> list[str]:
    """Return the statements that begin a transaction.

    Raises:
        StatementError: *isolation* is not an isolation level.
    """
    start = ["START TRANSACTION READ ONLY" if read_only else "START TRANSACTION"]
    if isolation is None:
        return start
    level = isolation.lower().replace("-", " ").replace("_", " ")
    if level not in ISOLATION_LEVELS:
        raise StatementError(f"isolation must be one of {', '.join(ISOLATION_LEVELS)}, not {isolation!r}")
    return [f"SET TRANSACTION ISOLATION LEVEL {level.upper()}", *start]
