"""Several statements in one round trip: collected, written together, each with its own outcome.

`batch` sends them and judges their failures.

Knows what users write in a pipeline's block, and the executor. Does not know how many bytes may be on their way.
"""

from __future__ import annotations

import contextlib
from collections import deque
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, Generic

from improved_db import records
from improved_db.errors import StatementError
from improved_db.execution.batch import Exchange, Statement, bind_some, interrupted, run_alone
from improved_db.execution.executor import check_batch_size
from improved_db.failures.raising import CallersOwn, callers_rows
from improved_db.rows import R_co, Rows, rows_from, rows_made
from improved_db.sql.composed import compose

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from improved_db.execution.executor import Executor
    from improved_db.sql.composed import Query

#: How many statements a pipeline collects before it sends them.
COLLECTED: Final = 1_000


class Handle(Generic[R_co]):
    """One statement of a pipeline, and its outcome."""

    def __init__(self, pipeline: Pipeline, statement: Statement, *, return_one: bool) -> None:
        self._pipeline: Pipeline = pipeline
        self._statement: Statement = statement
        self._return_one: bool = return_one
        self._asked: bool = False

    @property
    def done(self) -> bool:
        """Whether its outcome is known."""
        return self._statement.done

    def result(self) -> Any:
        """Return what `execute_query` returns; if the statement was not sent yet, send all that was collected.

        Raises:
            StatementError: The statement cannot be sent; or it was not, because an exception ended the block.
            OutcomeUnknown: The server may or may not have applied the statement.
            pymysql.err.MySQLError: What the server or the driver said of this statement.
        """
        statement = self._statement
        if statement.outcome is None and statement.error is None:
            self._pipeline.flush()
        self._asked = True
        if statement.error is not None:
            raise statement.error
        rows = rows_from(statement.outcome)
        return (rows[0] if rows else None) if self._return_one else rows

    def _unasked_error(self) -> BaseException | None:
        return None if self._asked else self._statement.error

    def __repr__(self) -> str:
        error = self._statement.error
        state = "not sent" if not self.done else "done" if error is None else type(error).__name__
        return f"<{type(self).__name__} {state}>"


class Pipeline:
    """Statements that share round trips, each as if `execute_query` had run it by itself, in this order."""

    def __init__(self, run: Callable[[Sequence[Statement]], None]) -> None:
        self._run: Callable[[Sequence[Statement]], None] = run
        self._collected: list[Statement] = []
        self._unasked: list[Handle[Any]] = []
        self._over = False

    def execute_query(
        self,
        query: Query,
        args: Any = None,
        *,
        dictcursor: bool = False,
        return_one: bool = False,
        idempotent: bool | None = None,
    ) -> Handle[Any]:
        """Collect a statement. The end of the block sends it, or an earlier call of ``result()``.

        Args:
            query: The statement.
            args: As for `ImprovedDb.execute_query`.
            dictcursor: Rows as dicts.
            return_one: The first row or None.
            idempotent: As for `ImprovedDb.execute_query`.

        Returns:
            A handle; its ``result()`` is what `ImprovedDb.execute_query` returns.
        """
        if self._over:
            raise StatementError("this pipeline is over; begin another with db.pipeline()")
        if not isinstance(query, str):
            query, args = compose(query, args)
        statement = Statement(query, args, dict_rows=dictcursor, idempotent=idempotent)
        handle: Handle[Any] = Handle(self, statement, return_one=return_one)
        self._collected.append(statement)
        self._unasked.append(handle)
        if len(self._collected) >= COLLECTED:
            self.flush()
        return handle

    def flush(self) -> None:
        """Send what was collected, and read the answers; ``result()`` and the end of the block raise the errors.

        Raises:
            PoolError: The pool lends no connection; all collected statements get this error.
        """
        collected, self._collected = self._collected, []
        if not collected:
            return
        self._run(collected)
        self._unasked = [
            handle for handle in self._unasked if handle._statement.error is not None and not handle._asked
        ]

    def finish(self) -> None:
        """Send what is left, and raise the first error that no ``result()`` has raised; called at the end of the block.

        Raises:
            pymysql.err.MySQLError: What the server or the driver said of a statement.
        """
        self._over = True
        self.flush()
        for handle in self._unasked:
            error = handle._unasked_error()
            if error is not None:
                raise error

    def abandon(self) -> None:
        """Drop what was not sent, because an exception ended the block."""
        self._over = True
        for statement in self._collected:
            statement.settle(error=StatementError("not sent: an exception ended the block of its pipeline"))
        self._collected = []


@contextlib.contextmanager
def pipelined(run: Callable[[Sequence[Statement]], None]) -> Iterator[Pipeline]:
    """Lend a pipeline for a block; *run* runs and settles its statements; see `ImprovedDb.pipeline`."""
    pipeline = Pipeline(run)
    try:
        yield pipeline
    except BaseException:
        pipeline.abandon()
        raise
    pipeline.finish()


def execute_each(
    executor: Executor, query: Query, args_iterable: Iterable[Any], *, row_type: Callable[..., Any], batch_size: int
) -> Iterator[Any]:
    """Run *query* for each of many arguments and yield the rows of each; see `ImprovedDb.execute_each`."""
    row_type = records.checked(row_type)
    check_batch_size(batch_size)
    if not isinstance(query, str):
        query, _ = compose(query, many=True)
    each = _each(executor, query, callers_rows(args_iterable), row_type is dict, batch_size)
    if row_type is tuple or row_type is dict:
        return each
    return (rows_made(records.converted(rows, rows.columns, row_type), rows._result) for rows in each)


def _each(
    executor: Executor, query: str, source: Iterator[Any], dict_rows: bool, batch_size: int
) -> Iterator[Rows[Any]]:
    while True:
        pipeline = Pipeline(partial(run_each, executor))
        handles: list[Handle[Any]] = []
        failure: BaseException | None = None
        try:
            handles.extend(
                pipeline.execute_query(query, args, dictcursor=dict_rows) for args in islice(source, batch_size)
            )
        except CallersOwn as own:  # the executions before it have their results all the same
            failure = own.error
        for handle in handles:
            yield handle.result()
        if failure is not None:
            raise failure from failure.__cause__
        if not handles:
            return


# --- running them ----------------------------------------------------------------------------------------------------


def run_each(executor: Executor, statements: Sequence[Statement]) -> None:
    """Run *statements* in their order, and settle each.

    Raises:
        BaseException: An interrupt, or the pool's error; every statement is settled then, too.
    """
    left = deque(statements)
    deadline = executor.deadline()
    try:
        while left:
            _run_some(executor, left, deadline)
    except BaseException as error:
        for statement in statements:
            if not statement.done:
                statement.settle(error=error if isinstance(error, Exception) else interrupted(statement))
        raise


def _run_some(executor: Executor, left: deque[Statement], deadline: float | None) -> None:
    """Run the next statements that may share a connection, or the next one alone."""
    loan = executor.persist(lambda: executor.loans.borrow(deadline), deadline)
    connection = loan.connection
    sharing: deque[Statement] = deque()
    number = len(left)
    try:
        more = executor.may_share(connection) and bind_some(connection, left, sharing)
    except BaseException:
        executor.pool.release(loan)
        raise
    if not more and len(sharing) <= 1:
        executor.pool.release(loan)
        if not sharing and len(left) == number:
            sharing.append(left.popleft())
        if sharing:
            run_alone(executor, sharing[0], None, deadline)
        return
    exchange = Exchange(executor, loan, sharing, more=partial(bind_some, connection, left, sharing) if more else None)
    exchange.run(deadline)
    for statement, failed in exchange.retried:
        run_alone(executor, statement, failed, deadline)
    left.extendleft(reversed(exchange.unsent))
