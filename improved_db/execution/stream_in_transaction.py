"""A stream of rows on the connection of a transaction; when the stream ends, the transaction goes on.

Knows streams, and what a transaction has to know of them. Does not know who owns the transaction.
"""

from __future__ import annotations

import contextlib
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol

from improved_db.execution.ending import end as end_on_server
from improved_db.execution.executor import check_batch_size
from improved_db.execution.stream import Stream, start_in_time
from improved_db.wire.exchange import DriverError
from improved_db.wire.pymysql_driver import END_TIMEOUT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from improved_db.execution.executor import Executor
    from improved_db.execution.stage import Stage
    from improved_db.wire.connection import Connection

#: The error number of a statement that KILL has ended.
KILLED: Final = 1317


class Streaming(Protocol):
    """A transaction, as far as a stream needs it."""

    _connection: Connection
    _executor: Executor
    _stage: Stage
    _deadline: float | None

    def _guarded(self, exchange: Callable[[], Any], *, streaming: bool = False) -> Any:
        """Run *exchange* if the transaction is open, and note what it did to the transaction."""


@contextlib.contextmanager
def streamed_in(
    tx: Streaming, query: str, args: object, row_kind: bool | type, batch_size: int, timeout: float | None
) -> Iterator[Stream[Any]]:
    """Run one statement in *tx* and lend its rows; see `Queries.stream`."""
    check_batch_size(batch_size)
    connection = tx._connection

    def start() -> None:
        tx._stage.statement = query
        start_in_time(connection, query, args, row_kind, timeout, tx._executor.loans.left(tx._deadline))

    executor = tx._executor
    call = executor.call(query, args, "stream")
    try:
        tx._guarded(start)
    except BaseException as error:
        executor.ended(call, error)
        raise
    stream = _StreamInTransaction(tx, batch_size, timeout)
    if call is not None:
        stream.seconds = executor.pool.clock.now() - call.started_at
    try:
        yield stream
    finally:
        stream._end()
        if call is not None:
            call.streamed(0.0, stream.seconds, stream.rows)
            executor.ended(call, stream.error)
        if stream.error is None and connection._is_streaming():
            tx._guarded(partial(_end, tx), streaming=True)


class _StreamInTransaction(Stream[Any]):
    """A stream that reports its errors to the transaction."""

    def __init__(self, tx: Streaming, batch_size: int, timeout: float | None) -> None:
        super().__init__(tx._connection, batch_size, timeout)
        self._tx = tx

    def batch(self) -> list[Any]:
        if self._over:
            return super().batch()  # says so, which is no failure of the transaction
        batch: list[Any] = self._tx._guarded(self._read, streaming=True)
        return batch


def _end(tx: Streaming) -> None:
    """End the statement on the server, and read what the server has sent by then."""
    connection = tx._connection
    if not end_on_server(tx._executor.driver, connection, END_TIMEOUT, query_only=True):
        connection._force_close()  # the rest may be endless, and a late KILL would end the next statement
        raise connection.OperationalError(
            2013, "the block of a stream ended early, and its statement could not be ended in time"
        )
    try:
        while connection._next_rows(1000, END_TIMEOUT):
            pass
    except DriverError as error:
        if error.args[0] != KILLED:
            raise
