"""Many rows over one connection: a chunk is encoded while the server works on the one before.

Knows chunks, the executor and what is in after a failure. Does not know how rows become statements (`bulk`), or bytes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sized
from functools import partial
from typing import TYPE_CHECKING, Any

from improved_db.bulk import Backlog, Encoder, Spooled, Unacked, rows_of
from improved_db.matrix import Unit
from improved_db.progress import Progress, shown
from improved_db.retry import Failed
from improved_db.rows import Rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from improved_db.bulk import Chunk
    from improved_db.executor import Executor
    from improved_db.wire.connection import Connection

__all__ = ["Loading", "Progress"]


class Loading:
    """Runs one statement for many rows."""

    def __init__(self, executor: Executor, max_packet: Callable[[], int]) -> None:
        """Work with *executor*; *max_packet* tells the server's ``max_allowed_packet`` once a connection has asked."""
        self._executor = executor
        self._max_packet = max_packet

    def run(self, query: str, rows: Iterable[Any], *, atomic: bool, progress: bool | Progress | None) -> Rows:
        """Run *query* for every row on a connection of the pool; see `ImprovedDb.exec_many`."""
        source = rows_of(rows)
        if source is None:
            return Rows.counted(0)
        deadline = self._executor.deadline()
        total = len(rows) if isinstance(rows, Sized) else None
        backlog = Spooled() if atomic else Unacked()
        with backlog, shown(progress, total) as tell:
            load = _Load(Encoder(query, source, in_one=atomic), backlog, tell)
            attempt = partial(self._attempt, load, deadline, atomic)
            try:
                return attempt()
            except Failed as failed:
                first = failed
            return self._executor.retrier.again(first, attempt, deadline)

    def run_on(self, connection: Connection, query: str, rows: Iterable[Any]) -> Rows:
        """Run *query* for every row on a connection of the caller's; outside a transaction they become one."""
        source = rows_of(rows)
        if source is None:
            return Rows.counted(0)
        load = _Load(Encoder(query, source, in_one=True), Unacked(), _nothing)
        if connection.in_transaction() or not connection.get_autocommit():
            return load.send(connection, self._max_packet())
        connection.begin()
        try:
            done = load.send(connection, self._max_packet())
            connection.commit()
        except Exception:
            if connection.open and connection.phase is None:
                connection.rollback()
            raise
        return done

    def _attempt(self, load: _Load, deadline: float | None, atomic: bool) -> Rows:
        loan = self._executor.borrow(deadline)
        connection = loan.connection
        at_commit = False
        try:
            if atomic:
                connection.begin()
            done = load.send(connection, self._max_packet())
            if atomic:
                at_commit = True
                connection.commit()
        except BaseException as error:
            unit = Unit.BULK_ATOMIC if atomic else Unit.BULK_CHUNKS
            if not atomic:
                load.mark(error)
            failed = self._executor.failed(loan, error, unit, at_commit=at_commit, in_transaction=atomic)
            if not atomic:
                load.mark(failed.error)
            raise failed from error
        self._executor.pool.release(loan)
        return done


class _Load:
    """The rows of one call, and how far they are."""

    def __init__(self, encoder: Encoder, backlog: Backlog, tell: Callable[[int], object]) -> None:
        self._encoder = encoder
        self._backlog = backlog
        self._tell = tell

    def send(self, connection: Connection, max_packet: int) -> Rows:
        """Send what is not in yet: write a chunk, make the next one, then read the answer to the first."""
        done = last_id = 0
        rowcount = self._backlog.begin()
        waiting: Chunk | None = None
        try:
            for chunk in self._chunks(connection, max_packet):
                if waiting is not None:
                    rowcount, last_id, done = self._finish(connection, waiting, rowcount, done)
                connection.send_all(chunk.commands)
                waiting = chunk
            if waiting is not None:
                rowcount, last_id, done = self._finish(connection, waiting, rowcount, done)
        except Exception:
            if waiting is not None and connection.open and connection.phase is not None:
                with contextlib.suppress(Exception):  # the error that stopped us is the one to tell
                    self._finish(connection, waiting, rowcount, done)
            raise
        return Rows.counted(rowcount, last_id)

    def _finish(self, connection: Connection, chunk: Chunk, rowcount: int, done: int) -> tuple[int, int, int]:
        affected, last_id = connection.read_all(len(chunk.commands))
        self._backlog.acknowledge(chunk, rowcount + affected)
        done += chunk.rows
        self._tell(self._backlog.before + done)
        return rowcount + affected, last_id, done

    def _chunks(self, connection: Connection, max_packet: int) -> Iterator[Chunk]:
        yield from self._backlog
        while (chunk := self._encoder.chunk(connection, max_packet)) is not None:
            self._backlog.add(chunk)
            yield chunk

    def mark(self, error: BaseException) -> None:
        """Note on *error* how many rows are in, and, on an unknown outcome, which ones are in doubt."""
        acked = self._backlog.acked
        error.acked_rows = acked  # type: ignore[attr-defined]  # the driver's errors carry it too
        error.unknown_rows = range(acked, acked + self._backlog.in_doubt)  # type: ignore[attr-defined]  # as above


def _nothing(_: int) -> None:
    """Tell nobody."""
