"""Several statements in one round trip: written at once, their answers read in order, each with its own outcome.

The server runs them one after another, and an error of one does not stop the next. A connection that is lost on the way
leaves the answered ones as they are; those without an answer are judged one by one, as single statements are.

Knows statements, the executor and how many bytes may be on their way. Does not know the bytes of answers.
"""

from __future__ import annotations

import contextlib
from collections import deque
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, Generic

from improved_db.errors import StatementError
from improved_db.execution.executor import Standing
from improved_db.failures.decide import Unit, decide
from improved_db.failures.raising import CallersOwn, Failed, callers_rows, error_for
from improved_db.failures.verdict import Fate, Verdict
from improved_db.rows import R_co, rows_from
from improved_db.sql.session_state import touches
from improved_db.sql.statement import is_read_only
from improved_db.wire.exchange import DriverError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from improved_db.execution.executor import Executor
    from improved_db.failures.verdict import Judgement
    from improved_db.pool.loan import Loan
    from improved_db.wire.connection import Connection

#: Bytes of statements that may be on their way, written and not yet answered: what the sockets' buffers take in any
#: case, so that neither side waits for the other to read.
IN_FLIGHT: Final = 65_536

#: How many statements a pipeline collects before it sends them.
COLLECTED: Final = 1_000

#: How a statement begins that may share a round trip: what it leaves behind depends on no other statement of the
#: session. All others go alone, as by `execute_query`.
SHARING: Final = frozenset(b"sel wit val tab ins rep upd del sho des exp".split())

#: What is known of a write that came to nothing; in a pipeline it is not retried, because later statements have run.
_SAFE_LATER: Final = frozenset({Verdict.NOT_CONNECTED, Verdict.NOT_SENT})


class Handle(Generic[R_co]):
    """One statement of a pipeline, and its outcome."""

    def __init__(
        self,
        pipeline: Pipeline,
        query: str,
        args: object,
        *,
        dict_rows: bool,
        return_one: bool,
        idempotent: bool | None,
    ) -> None:
        self.query: str = query
        self.args: object = args
        self.dict_rows: bool = dict_rows
        self.idempotent: bool | None = idempotent
        self.sql: bytes = b""
        self._pipeline: Pipeline = pipeline
        self._return_one: bool = return_one
        self._result: Any = None
        self._error: BaseException | None = None
        self._asked: bool = False

    @property
    def done(self) -> bool:
        """Whether its outcome is known."""
        return self._result is not None or self._error is not None

    def result(self) -> Any:
        """Return what `execute_query` returns; send what the pipeline has collected, if that has not happened yet.

        Raises:
            StatementError: It cannot be sent, or was not, because an exception ended the block.
            OutcomeUnknown: It may or may not have been applied.
            pymysql.err.MySQLError: What the server or the driver said of this statement.
        """
        if not self.done:
            self._pipeline.flush()
        self._asked = True
        if self._error is not None:
            raise self._error
        rows = rows_from(self._result)
        return (rows[0] if rows else None) if self._return_one else rows

    def settle(self, result: Any = None, error: BaseException | None = None) -> None:
        """Note the outcome; the pipeline's to call."""
        self._result, self._error = result, error

    @property
    def unasked_error(self) -> BaseException | None:
        """The error for which no caller has asked."""
        return None if self._asked else self._error

    def __repr__(self) -> str:
        state = "not sent" if not self.done else "done" if self._error is None else type(self._error).__name__
        return f"<{type(self).__name__} {state}>"


class Pipeline:
    """Statements that share round trips, each as if `execute_query` had run it by itself, in this order."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self._collected: list[Handle[Any]] = []
        self._unasked: list[Handle[Any]] = []
        self._over = False

    def execute_query(
        self,
        query: str,
        args: Any = None,
        *,
        dictcursor: bool = False,
        return_one: bool = False,
        idempotent: bool | None = None,
    ) -> Handle[Any]:
        """Collect a statement; it is sent at the end of the block, or when a result is asked for.

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
        handle: Handle[Any] = Handle(
            self, query, args, dict_rows=dictcursor, return_one=return_one, idempotent=idempotent
        )
        self._collected.append(handle)
        if len(self._collected) >= COLLECTED:
            self.flush()
        return handle

    def flush(self) -> None:
        """Send what was collected, and read the answers; errors wait for those who ask for results.

        Raises:
            PoolError: The pool lends no connection; all that was collected has this error.
        """
        collected, self._collected = self._collected, []
        if not collected:
            return
        self._unasked = [handle for handle in self._unasked if handle.unasked_error is not None] + collected
        run_each(self._executor, collected)

    def finish(self) -> None:
        """Send what is left, and raise the first error that was not asked for; the block's to call.

        Raises:
            pymysql.err.MySQLError: What the server or the driver said of a statement.
        """
        self._over = True
        self.flush()
        for handle in self._unasked:
            if handle.unasked_error is not None:
                raise handle.unasked_error

    def abandon(self) -> None:
        """Drop what was not sent, because an exception ended the block."""
        self._over = True
        for handle in self._collected:
            handle.settle(error=StatementError("not sent: an exception ended the block of its pipeline"))
        self._collected = []


@contextlib.contextmanager
def pipelined(executor: Executor) -> Iterator[Pipeline]:
    """Lend a pipeline for a block; see `ImprovedDb.pipeline`."""
    pipeline = Pipeline(executor)
    try:
        yield pipeline
    except BaseException:
        pipeline.abandon()
        raise
    pipeline.finish()


def execute_each(
    executor: Executor, query: str, args_iterable: Iterable[Any], *, row_type: type[Any], batch_size: int
) -> Iterator[Any]:
    """Run *query* for each of many arguments and yield the rows of each; see `ImprovedDb.execute_each`."""
    if row_type not in (tuple, dict):
        raise StatementError(f"row_type must be tuple or dict, not {row_type!r}")
    if batch_size < 1:
        raise StatementError(f"batch_size must be at least 1, not {batch_size!r}")
    return _each(executor, query, callers_rows(args_iterable), row_type is dict, batch_size)


def _each(executor: Executor, query: str, source: Iterator[Any], dict_rows: bool, batch_size: int) -> Iterator[Any]:
    while True:
        pipeline = Pipeline(executor)
        handles: list[Handle[Any]] = []
        failure: BaseException | None = None
        try:
            handles.extend(
                pipeline.execute_query(query, args, dictcursor=dict_rows) for args in islice(source, batch_size)
            )
        except CallersOwn as own:  # what came before it has its results all the same
            failure = own.error
        for handle in handles:
            yield handle.result()
        if failure is not None:
            raise failure from failure.__cause__
        if not handles:
            return


# --- running them ----------------------------------------------------------------------------------------------------


def run_each(executor: Executor, handles: list[Handle[Any]]) -> None:
    """Run the statements of *handles* in their order, and settle each handle.

    Raises:
        BaseException: An interrupt, or the pool's own error; every handle is settled then, too.
    """
    left = deque(handles)
    deadline = executor.deadline()
    try:
        while left:
            _run_some(executor, left, deadline)
    except BaseException as error:
        for handle in handles:
            if not handle.done:
                handle.settle(error=error if isinstance(error, Exception) else _interrupted(handle))
        raise


def _run_some(executor: Executor, left: deque[Handle[Any]], deadline: float | None) -> None:
    """Run the next statements that may share a connection, or the next one alone."""
    loan = executor.persist(lambda: executor.borrow(deadline), deadline)
    connection = loan.connection
    sharing: deque[Handle[Any]] = deque()
    try:
        if executor.may_share(connection):
            while left and _bound(connection, left[0]):
                sharing.append(left.popleft())
    except BaseException:
        executor.pool.release(loan)
        raise
    if not sharing:
        executor.pool.release(loan)
        if left:
            _run_alone(executor, left.popleft(), None, deadline)
        return
    if len(sharing) == 1 and not sharing[0].done:
        executor.pool.release(loan)
        _run_alone(executor, sharing[0], None, deadline)
        return
    exchange = _Exchange(executor, loan, deque(handle for handle in sharing if not handle.done))
    retried, unsent = exchange.run(deadline)
    for handle, failed in retried:
        _run_alone(executor, handle, failed, deadline)
    left.extendleft(reversed(unsent))


def _bound(connection: Connection, handle: Handle[Any]) -> bool:
    """Put a statement's arguments in; False if it has to go alone. One that cannot be sent is settled here."""
    try:
        handle.sql = sql = connection._bind(handle.query, handle.args)
    except CallersOwn as own:
        handle.settle(error=own.error)
        return True
    except StatementError as error:
        handle.settle(error=error)
        return True
    if sql[:3].lower() not in SHARING or len(sql) > IN_FLIGHT:
        return False
    return not touches(sql, connection.encoding)


def _run_alone(executor: Executor, handle: Handle[Any], failed: Failed | None, deadline: float | None) -> None:
    """Run one statement, as `execute_query` does; *failed*: its first attempt was in a pipeline."""
    try:
        result = executor.run_by(deadline, handle.query, handle.args, handle.dict_rows, handle.idempotent, failed)
    except Exception as error:
        handle.settle(error=error)
    else:
        handle.settle(result)


def _interrupted(handle: Handle[Any]) -> BaseException:
    text = "an interrupt came before its answer"
    if is_read_only(handle.query) or not handle.sql:
        return StatementError(f"not finished: {text}")
    return error_for(decide(Verdict.UNKNOWN, Unit.WRITE, idempotent=False).finally_, DriverError(0, text))


class _Exchange:
    """Statements on one connection: some written, their answers outstanding, the others waiting for room."""

    def __init__(self, executor: Executor, loan: Loan[Connection], waiting: deque[Handle[Any]]) -> None:
        self._executor = executor
        self._loan = loan
        self._waiting = waiting
        self._sent: deque[Handle[Any]] = deque()
        self._bytes = 0
        self._worst: Judgement | None = None
        self._retried: list[tuple[Handle[Any], Failed]] = []

    def run(self, deadline: float | None) -> tuple[list[tuple[Handle[Any], Failed]], deque[Handle[Any]]]:
        """Run them; return those that may be retried alone, with how they failed, and those that were not sent."""
        executor, loan = self._executor, self._loan
        try:
            executor.bounded(loan.connection, deadline, self._go_on)
        except BaseException as error:
            self._lost(error)
            if not isinstance(error, Exception):
                raise
        else:
            if self._worst is None:
                executor.pool.release(loan)
            else:
                executor.give_back(loan, self._worst)
        return self._retried, self._waiting

    def _go_on(self) -> None:
        connection = self._loan.connection
        while self._waiting or self._sent:
            if self._waiting and self._bytes <= IN_FLIGHT // 2:
                batch = self._next_batch()
                self._sent.extend(batch)
                connection._send_each([handle.sql for handle in batch])
            handle = self._sent[0]
            answer = connection._read_answer(handle.dict_rows, more=len(self._sent) > 1)
            self._sent.popleft()
            self._bytes -= len(handle.sql)
            if isinstance(answer, DriverError):
                self._refused(handle, answer)
            else:
                handle.settle(answer)

    def _next_batch(self) -> list[Handle[Any]]:
        batch: list[Handle[Any]] = []
        while self._waiting and (self._bytes == 0 or self._bytes + len(self._waiting[0].sql) <= IN_FLIGHT):
            handle = self._waiting.popleft()
            self._bytes += len(handle.sql)
            batch.append(handle)
        return batch

    def _refused(self, handle: Handle[Any], error: BaseException) -> None:
        """Settle a statement to which the server answered with an error; those after it have run all the same."""
        judgement = self._executor.judge(self._loan.connection, error, Standing())
        if self._worst is None or judgement.fate.value > self._worst.fate.value:
            self._worst = judgement if judgement.fate is not Fate.KEEP else self._worst
        self._settle(handle, error, judgement, judgement.verdict)

    def _lost(self, error: BaseException) -> None:
        """Settle what was sent and has no answer, and discard the connection."""
        connection = self._loan.connection
        told = error.made_of if isinstance(error, CallersOwn) else error
        if told is None:  # the caller's own decoder: the statement ran, and the answers after it are unread
            told = DriverError(0, "the answers of this pipeline were not read to their end")
        judgement = self._executor.judge(connection, told, Standing())
        # Several statements were written at once: how many of them the server has whole is not known.
        verdict = Verdict.UNKNOWN if connection._phase is not None else judgement.verdict
        self._executor.end_if_given_up(connection, told)
        self._executor.give_back(self._loan, judgement._replace(fate=max(judgement.fate, Fate.DISCARD, key=_severity)))
        for handle in self._sent:
            if not isinstance(error, Exception):
                handle.settle(error=_interrupted(handle))
            elif isinstance(error, CallersOwn) and handle is self._sent[0]:
                handle.settle(error=error.error)
            else:
                self._settle(handle, told, judgement, verdict)

    def _settle(self, handle: Handle[Any], error: BaseException, judgement: Judgement, verdict: Verdict) -> None:
        unit = Unit.READ if is_read_only(handle.query) else Unit.WRITE
        decision = decide(verdict, unit, idempotent=handle.idempotent)
        final = error_for(decision.finally_, error)
        if decision.again and (unit is Unit.READ or handle.idempotent or verdict in _SAFE_LATER):
            judged = judgement._replace(verdict=verdict)
            self._retried.append((handle, Failed.judged(final, judged, again=True, statement=handle.query)))
        else:
            handle.settle(error=final)


def _severity(fate: Fate) -> int:
    return fate.value
