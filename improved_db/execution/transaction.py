"""A transaction: an object that knows whether the server still has the transaction.

After an error PyMySQL does not know that, because an error carries no status flags. So a `Transaction` keeps its own
state. Once the server has ended the transaction, it refuses every statement, which would otherwise commit by itself.

Knows statements, verdicts and the state of one transaction. Does not know who owns it, or whether it is retried.
"""

from __future__ import annotations

import contextlib
import logging
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar, overload

from improved_db.errors import StatementError
from improved_db.execution.bulk import load_on
from improved_db.execution.loans import KILL_WAIT
from improved_db.execution.observed import in_transaction
from improved_db.execution.pipeline import pipelined
from improved_db.execution.pipeline_in_transaction import run_in
from improved_db.execution.stream_in_transaction import streamed_in
from improved_db.execution.transaction_state import REFUSALS, State
from improved_db.failures.decide import Action, Unit, decide
from improved_db.failures.raising import CallersOwn, error_for, explained
from improved_db.failures.verdict import Fate
from improved_db.logs import complain, warn
from improved_db.rows import DictRow, Rows, TupleRow, rows_from
from improved_db.sql.composed import compose
from improved_db.sql.statement import ends_transaction
from improved_db.verbs.names import OF_TRANSACTION, Block, missing
from improved_db.verbs.queries import Queries

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from contextlib import AbstractContextManager

    from typing_extensions import Unpack

    from improved_db.execution.executor import Executor
    from improved_db.execution.pipeline import Pipeline
    from improved_db.execution.progress import Progress
    from improved_db.execution.stage import Stage
    from improved_db.execution.stream import Stream
    from improved_db.failures.verdict import Judgement, Verdict
    from improved_db.settings import typed
    from improved_db.sql.composed import Query
    from improved_db.wire.connection import Connection

T = TypeVar("T")
logger: logging.Logger = logging.getLogger("improved_db.transaction")

#: The valid values of `transaction(isolation=...)`.
ISOLATION_LEVELS = ("read uncommitted", "read committed", "repeatable read", "serializable")


#: Seconds that the ping may take which asks whether a transaction is still open.
PING_TIMEOUT = 2.0


class Transaction(Queries):
    """One transaction, with the query verbs of `ImprovedDb`.

    Attributes:
        state: What has become of it.
    """

    def __init__(
        self, executor: Executor, connection: Connection, stage: Stage, deadline: float | None, *, retried: bool = False
    ) -> None:
        """Represent the transaction that is open on *connection* and has to end by *deadline*."""
        self.state: State = State.OPEN
        # The driver's error of the statement that failed last, and its judgement, by which the owner returns the loan.
        self._failure: BaseException | None = None
        self._judgement: Judgement | None = None
        self._stage = stage
        self._deadline = deadline
        self._executor = executor
        self._connection = connection
        self._callbacks: list[Callable[[], object]] = []
        self._savepoints = 0
        self._retried = retried  # `run_transaction` owns it, and commits it

    # --- statements ------------------------------------------------------------------------------------------------

    @overload
    def execute_query(
        self, query: Query, args: Any = None, **options: Unpack[typed.TuplesInTransaction]
    ) -> Rows[TupleRow]: ...
    @overload
    def execute_query(
        self, query: Query, args: Any = None, **options: Unpack[typed.DictsInTransaction]
    ) -> Rows[DictRow]: ...
    @overload
    def execute_query(
        self, query: Query, args: Any = None, **options: Unpack[typed.OneTupleInTransaction]
    ) -> TupleRow | None: ...
    @overload
    def execute_query(
        self, query: Query, args: Any = None, **options: Unpack[typed.OneDictInTransaction]
    ) -> DictRow | None: ...
    @overload
    def execute_query(self, query: Query, args: Any = None, **options: Unpack[typed.AnyShapeInTransaction]) -> Any: ...
    def execute_query(
        self,
        query: Query,
        args: Any = None,
        *,
        dictcursor: bool = False,
        return_one: bool = False,
        exec_many: bool = False,
        timeout: float | None = None,
    ) -> Any:
        """Run one statement in this transaction and return its rows; it is never retried.

        Args:
            query: The statement.
            args: As for `ImprovedDb.execute_query`.
            dictcursor: Rows as dicts.
            return_one: The first row or None.
            exec_many: *args* is an iterable of rows.
            timeout: Seconds that the statement may run.

        Raises:
            TransactionRolledBack: The server has rolled the transaction back, now or before.
            TransactionLost: The session has ended, and the transaction with it.
            TransactionEnded: An earlier statement has committed the transaction.
            pymysql.err.MySQLError: The server's error; it concerns this statement alone, and the transaction is open.
        """
        if not isinstance(query, str):
            query, args = compose(query, args, many=exec_many)
        rows = self.exec_many(query, args) if exec_many else rows_from(self._result(query, args, dictcursor, timeout))
        return (rows[0] if rows else None) if return_one else rows

    execute_query_multiplex = execute_query

    def _perform(self, query: str, args: Any, dict_rows: bool | type, timeout: float | None) -> Any:
        self._stage.statement = query
        return self._executor.perform(self._connection, query, args, dict_rows, timeout, self._deadline)

    def _result(self, query: Query, args: Any, row_kind: bool | type, timeout: float | None) -> Any:
        text, values = (query, args) if isinstance(query, str) else compose(query, args)
        return self._told(values, lambda: self._perform(text, values, row_kind, timeout))

    def _stream(
        self, query: Query, args: Any, row_kind: bool | type, batch_size: int, timeout: float | None
    ) -> AbstractContextManager[Stream[Any]]:
        if not isinstance(query, str):
            query, args = compose(query, args)
        return Block(streamed_in(self, query, args, row_kind, batch_size, timeout), "with tx.stream(...) as rows")

    def exec_many(
        self,
        query: Query,
        rows: Iterable[Any],
        *,
        progress: bool | Progress | None = None,
        total: int | None = None,
    ) -> Rows[TupleRow]:
        """Run one statement for many rows in this transaction.

        Args:
            query: The statement.
            rows: Any iterable of sequences or mappings.
            progress: As for `ImprovedDb.exec_many`.
            total: As for `ImprovedDb.exec_many`.

        Raises:
            VerdictError: As for `execute_query`.
        """
        if not isinstance(query, str):
            query, rows = compose(query, rows, many=True)
        max_packet = self._executor.driver.max_packet
        return self._exchange(query, lambda connection: load_on(connection, query, rows, max_packet, progress, total))

    def pipeline(self) -> AbstractContextManager[Pipeline]:
        """Collect statements of this transaction in a ``with`` block and send them in one round trip.

        As `ImprovedDb.pipeline`, but nothing is retried. If the server rolls the transaction back at one statement,
        the statements after it have no effect, and their results are `TransactionRolledBack`.

        Returns:
            A context manager that gives a `Pipeline`.
        """
        return Block(pipelined(partial(run_in, self)), "with tx.pipeline() as pipeline")

    def savepoint(self) -> AbstractContextManager[Transaction]:
        """If the block raises an exception, undo what it did; the transaction goes on.

        Raises:
            VerdictError: The server has ended the whole transaction.
        """
        return Block(self._savepoint(), "with tx.savepoint()")

    @contextlib.contextmanager
    def _savepoint(self) -> Iterator[Transaction]:
        self._savepoints += 1
        name = f"improved_db_{self._savepoints}"
        callbacks = len(self._callbacks)
        self.execute_query(f"savepoint {name}")
        try:
            yield self
        except BaseException:
            del self._callbacks[callbacks:]
            if self.state is State.OPEN and self._connection._is_settled():
                self.execute_query(f"rollback to savepoint {name}")
            raise
        if self.state not in {State.COMMITTED, State.ROLLED_BACK}:  # by hand, in the block
            self.execute_query(f"release savepoint {name}")

    if not TYPE_CHECKING:  # a type checker knows the names that there are

        def __getattr__(self, name: str) -> NoReturn:
            raise missing(self, name, OF_TRANSACTION)

    def on_commit(self, callback: Callable[[], object]) -> None:
        """Call *callback* once, after the transaction is known to be committed, however often it is retried.

        Callbacks run in order, after the pool has its connection back. If one raises an error, the others still run,
        and the transaction stays committed; when all have run, the first such error is raised.

        Raises:
            StatementError: *callback* is not callable.
        """
        if not callable(callback):
            raise StatementError(f"callback must be callable, not a {type(callback).__name__}: pass work, not work()")
        self._refuse_if_over()
        self._callbacks.append(callback)

    def _exchange(self, query: str, exchange: Callable[[Connection], T]) -> T:
        """Run *exchange*, which sends *query* on the connection and has to read all answers.

        Raises:
            VerdictError: As for `execute_query`.
        """

        def bounded() -> T:
            self._stage.statement = query
            return self._executor.loans.bounded(self._connection, self._deadline, partial(exchange, self._connection))

        done: T = self._told(None, bounded)
        return done

    def _told(self, args: object, exchange: Callable[[], Any]) -> Any:
        """Run *exchange* as `_guarded` does, and tell the observer how its statement went."""
        self._refuse_if_over()
        return in_transaction(self._executor, self._stage, args, partial(self._noted, exchange), self._verdict)

    def _verdict(self, error: BaseException) -> Verdict | None:
        """Return what is known after *error*; None if it is not the failure that was judged last."""
        judged = self._failure is not None and (error is self._failure or error.__cause__ is self._failure)
        return self._judgement.verdict if judged and self._judgement is not None else None

    def _guarded(self, exchange: Callable[[], Any], *, streaming: bool = False) -> Any:
        """Run *exchange* if the transaction is open, and note what it did to the transaction."""
        self._refuse_if_over(streaming=streaming)
        return self._noted(exchange)

    def _noted(self, exchange: Callable[[], Any]) -> Any:
        try:
            result = exchange()
        except StatementError:
            raise
        except CallersOwn as own:
            raise own.error from own.error.__cause__
        except Exception as error:
            raise self._after(error) from error
        except BaseException:
            self.state = State.LOST  # interrupted inside the protocol: the owner has to discard the connection
            raise
        ending = ends_transaction(self._stage.statement)
        if ending == "ROLLBACK":
            self.state = State.ROLLED_BACK
            self._stage.in_transaction = False
        elif ending or not self._connection._in_transaction():
            self._end()
        return result

    def _end(self) -> None:
        """Note that a statement of the transaction has ended it."""
        self.state = State.ENDED
        self._stage.committed_part = True
        self._stage.in_transaction = False

    def _after(self, error: Exception) -> BaseException:
        """Judge *error*, note what has become of the transaction, and return the error that the caller gets."""
        judgement = self._executor.loans.judge(self._connection, error, self._stage)
        what = decide(judgement.verdict, Unit.CALLER_STATEMENT, at_commit=self._stage.at_commit).now
        if what is Action.RAISE_ROLLED_BACK:
            self.state = State.ROLLED_BACK_BY_SERVER
        else:
            broken = what is not Action.RAISE or judgement.fate.value >= Fate.DISCARD.value
            # The error does not say whether the transaction is open: DDL commits, then fails. A ping does.
            if broken or not self._connection._answers(self._ping_timeout()):
                self.state = State.LOST
            elif not self._connection._in_transaction():
                self._end()
        self._failure, self._judgement = error, judgement
        final = explained(error_for(what, error), error, self._stage.statement, judgement.verdict)
        self._executor.loans.name_host(final, self._connection)
        return final

    def _ping_timeout(self) -> float:
        if self._deadline is None:
            return PING_TIMEOUT
        return min(PING_TIMEOUT, max(self._deadline - self._executor.pool.clock.now(), 0.0) + KILL_WAIT)

    def _refuse_if_over(self, *, streaming: bool = False) -> None:
        if self.state is not State.OPEN:
            kind, text = REFUSALS[self.state]
            raise kind(0, text) from self._failure
        if not streaming and self._connection._is_streaming():
            raise StatementError("a stream of this transaction is still open; end its block before the next statement")

    # --- its end ---------------------------------------------------------------------------------------------------

    def commit(self) -> None:
        """Commit now; the block takes no further statement, and its end does nothing more.

        Raises:
            OutcomeUnknown: The answer was lost.
            VerdictError: The transaction was over before.
            StatementError: It belongs to `run_transaction`, which commits when its function returns.
        """
        if self._retried:
            raise StatementError(
                "run_transaction commits when the function returns; to commit by hand use db.transaction()"
            )
        if self.state is not State.ENDED:
            self._refuse_if_over()
        self._commit()

    def rollback(self) -> None:
        """Roll back now; the block takes no further statement, and its end does nothing more.

        Raises:
            VerdictError: The transaction is committed or lost.
        """
        if self.state in {State.ROLLED_BACK, State.ROLLED_BACK_BY_SERVER}:
            self.state = State.ROLLED_BACK
            return
        self._exchange("ROLLBACK", lambda connection: connection.rollback())

    def _commit(self) -> None:
        """Commit, unless it was done by hand. If the server has ended the transaction, raise the error that says so."""
        if self.state is State.ENDED:
            warn(logger, "a statement has committed the transaction implicitly; nothing is left to commit")
            return
        if self.state in {State.ROLLED_BACK, State.COMMITTED}:
            return
        self._refuse_if_over()
        self._stage.at_commit = True
        self._stage.statement = "COMMIT"
        in_transaction(self._executor, self._stage, None, self._send_commit, self._verdict)
        self.state = State.COMMITTED

    def _send_commit(self) -> None:
        try:
            self._executor.loans.bounded(self._connection, self._deadline, self._connection.commit)
        except Exception as error:
            raise self._after(error) from error

    def _abandon(self) -> None:
        """Note that the transaction is over without a commit; the pool rolls the connection back on its return."""
        if self.state is State.OPEN:
            self.state = State.ROLLED_BACK

    def _call_back(self) -> None:
        """Run the callbacks of `on_commit`, unless the owner has rolled the transaction back."""
        if self.state is State.ROLLED_BACK:
            return
        callbacks, self._callbacks = self._callbacks, []
        first_error: Exception | None = None
        for callback in callbacks:
            try:
                callback()
            except Exception as error:
                complain(logger, "an on_commit callback failed; the transaction is committed all the same")
                first_error = first_error or error
        if first_error is not None:
            raise first_error
