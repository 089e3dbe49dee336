"""Rows as the server sends them: read in batches, never kept as a whole; a stream that ends early is not read out.

Knows the executor and a result that is still being sent. Does not know bytes, or what is done with the rows.
"""

from __future__ import annotations

import contextlib
from functools import partial
from typing import TYPE_CHECKING, Any, Generic

from improved_db.clock import MonotonicClock
from improved_db.errors import StatementError, StatementTimeout
from improved_db.execution.executor import check_batch_size, check_timeout
from improved_db.execution.stage import Stage
from improved_db.failures.decide import Unit
from improved_db.failures.raising import explained, note_passed
from improved_db.failures.verdict import Verdict
from improved_db.rows import R_co
from improved_db.sql.statement import is_read_only
from improved_db.wire.exchange import DriverError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from improved_db.execution.executor import Executor
    from improved_db.pool.loan import Loan
    from improved_db.wire.connection import Connection


class Stream(Generic[R_co]):
    """The rows of one statement, once, in the order the server sends them: tuples, or dicts with ``dictcursor=True``.

    Attributes:
        columns: The names of the columns; empty if the statement has no result.
        error: The error that ended the stream early, if any.
        rows: How many rows have come so far.
        seconds: How long the caller waited for them, in sum.
    """

    def __init__(
        self,
        connection: Connection,
        batch_size: int,
        timeout: float | None = None,
        now: Callable[[], float] = MonotonicClock.now,
    ) -> None:
        """Begin before the first row."""
        self.columns: tuple[str, ...] = connection._streamed_columns()
        self.error: BaseException | None = None
        self.rows: int = 0
        self.seconds: float = 0.0
        self._now = now
        self._connection = connection
        self._batch_size = batch_size
        self._timeout = timeout
        self._over = False

    def __iter__(self) -> Iterator[R_co]:
        while batch := self.batch():
            yield from batch

    def batch(self) -> list[R_co]:
        """Return the next rows, up to ``batch_size`` of them, as soon as some have come; an empty list at the end.

        The call waits no longer than the stream's ``timeout``, or the connection's ``read_timeout``, even if bytes come
        meanwhile.

        Raises:
            StatementError: The block of the stream has ended, and its connection may be another caller's.
            StatementTimeout: The ``timeout`` has passed.
            pymysql.err.MySQLError: What the server or the driver said; rows may be missing, and nothing is retried.
        """
        if self._over:
            raise StatementError("the block of the stream has ended: read its rows inside the block")
        try:
            return self._read()
        except DriverError as error:
            late = explained(error, error, "", Verdict.UNKNOWN)
            if late is error:
                raise
            raise late from error

    def _read(self) -> list[R_co]:
        began_at = self._now()
        try:
            batch: list[R_co] = self._connection._next_rows(self._batch_size, self._timeout)
        except BaseException as error:
            self.error = error
            if self._timeout is not None:
                note_passed(error, self._timeout, None)
            raise
        finally:
            self.seconds += self._now() - began_at
        self.rows += len(batch)
        return batch

    def _end(self) -> None:
        """Read no more: the connection is returned, or the transaction goes on."""
        self._over = True


@contextlib.contextmanager
def streamed(
    executor: Executor,
    query: str,
    args: object,
    *,
    dict_rows: bool | type,
    batch_size: int,
    timeout: float | None = None,
) -> Iterator[Stream[Any]]:
    """Run one statement and lend its rows; see `ImprovedDb.stream`."""
    check_batch_size(batch_size)
    deadline = executor.deadline()
    call = executor.call(query, args, "stream")
    begin = partial(_begin, executor, query, args, dict_rows, timeout, deadline)
    try:
        loan = executor.persist(begin, deadline, call)
    except BaseException as error:
        executor.ended(call, error)
        raise
    now = executor.pool.clock.now
    stream: Stream[Any] = Stream(loan.connection, batch_size, timeout, now)
    stream.seconds = now() - loan.taken_at
    try:
        yield stream
    except (Exception, GeneratorExit):
        raise
    except BaseException as interrupt:  # of the block: the server may be at the statement for long
        if loan.connection._is_streaming():
            stream.error = stream.error or interrupt
        raise
    finally:
        stream._end()
        if call is not None:
            call.streamed(loan.taken_at - loan.started_at, stream.seconds, stream.rows)
            executor.ended(call, stream.error)
        _return(executor, loan, stream.error)


def _return(executor: Executor, loan: Loan[Connection], error: BaseException | None) -> None:
    if error is None:
        executor.pool.release(loan, "unread" if loan.connection._is_streaming() else None)
    else:
        executor.loans.end_if_given_up(loan.connection, error, streaming=True)
        executor.loans.return_judged(loan, executor.loans.judge(loan.connection, error, Stage()))


def _begin(
    executor: Executor, query: str, args: object, dict_rows: bool | type, timeout: float | None, deadline: float | None
) -> Loan[Connection]:
    loan = executor.loans.borrow(deadline, note_place=True)
    loan.outlive_thread()
    try:
        start_in_time(loan.connection, query, args, dict_rows, timeout, executor.loans.left(deadline))
    except BaseException as error:
        unit = Unit.READ if is_read_only(query) else Unit.WRITE
        message = executor.loans.failed(loan, error, unit, Stage(), deadline=deadline)
        if isinstance(message.error, StatementTimeout):
            message.again = False  # it would take as long again
        raise message from error
    return loan


def start_in_time(
    connection: Connection, query: str, args: object, row_kind: bool | type, timeout: float | None, left: float | None
) -> None:
    """Start a stream within its *timeout* and the *left* seconds of its call; the error says which had passed."""
    if timeout is not None:
        check_timeout(timeout)
    limits = [seconds for seconds in (timeout, left) if seconds is not None]
    try:
        connection._start_stream(query, args, row_kind, seconds=min(limits, default=None))
    except DriverError as error:
        if limits:
            note_passed(error, timeout, left)
        raise
