"""Many rows over one connection: while the server works on one chunk, the next one is encoded.

Knows chunks, the executor and which rows the server has after a failure. Does not know how rows become statements
(`chunks`), or bytes.
"""

from __future__ import annotations

import contextlib
import logging
import re
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol

from improved_db.errors import OutcomeUnknown, StatementError
from improved_db.execution.chunks import Backlog, Encoder, Spooled, Unacked, rows_of
from improved_db.execution.progress import Progress, number_of, shown
from improved_db.execution.stage import Stage
from improved_db.failures.decide import Unit, decide
from improved_db.failures.raising import CallersOwn, error_for
from improved_db.frames.rows import is_frame, names_of
from improved_db.rows import Rows, TupleRow, rows_counted, rows_from
from improved_db.sql.composed import compose
from improved_db.wire.connection import Connection
from improved_db.wire.exchange import DriverError
from improved_db.wire.load_data import STRICT, LocalLoad, quoted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from improved_db.execution.chunks import Chunk
    from improved_db.execution.executor import Executor

__all__ = ["BulkLoader", "Progress"]

logger: logging.Logger = logging.getLogger("improved_db.bulk")

#: The largest value of ``max_allowed_packet``.
LARGEST_PACKET: Final = 1 << 30

#: Error numbers of servers that refuse LOAD DATA LOCAL; they come before the first of the caller's rows is taken.
REFUSALS: Final = frozenset({1148, 1235, 3948, 3950, 4166})


class Borrower(Protocol):
    """A transaction, as far as this module needs it: it lends its connection for one exchange."""

    def _exchange(self, query: str, exchange: Callable[[Connection], Rows[TupleRow]]) -> Rows[TupleRow]:
        """Run *exchange*, which sends *query*, on the connection."""


class BulkLoader:
    """Runs one statement for many rows on connections of the pool."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    def run(
        self,
        query: str,
        rows: Iterable[Any],
        *,
        atomic: bool,
        progress: bool | Progress | None,
        total: int | None = None,
        run_transaction: Callable[[Callable[[Borrower], Rows[TupleRow]]], Rows[TupleRow]] | None = None,
        strict: bool = False,
        deadline: float | None = None,
    ) -> Rows[TupleRow]:
        """Run *query* for every row; see `ImprovedDb.exec_many`.

        Args:
            query: The statement.
            rows: The rows.
            atomic: Send all rows in one transaction.
            progress: As for `ImprovedDb.exec_many`.
            total: As for `ImprovedDb.exec_many`.
            run_transaction: Runs that transaction, with ``exactly_once``; None for a plain one, which is made here.
            strict: Make the server refuse values that do not fit, whatever its sql_mode; only with *atomic*.
            deadline: When the call has to be over; None for the deadline of a call that begins now.
        """
        try:
            number = number_of(rows, progress, total)
            source = rows_of(rows, query)
        except BaseException as error:
            if not atomic:
                _note(error, 0, 0)
            raise
        if source is None:
            return rows_counted(0)
        backlog = Spooled() if atomic else Unacked()
        with backlog, shown(progress, number) as tell:
            load = _Load(Encoder(query, source, in_one=atomic), backlog, tell, self._executor.driver.max_packet)
            if run_transaction is not None:
                return run_transaction(lambda tx: tx._exchange(query, load.send))
            if deadline is None:
                deadline = self._executor.deadline()
            call = self._executor.call(query, kind="batch")
            if atomic:
                work = load.strictly if strict else load.in_one
                return self._executor.repeat(Unit.BULK_ATOMIC, work, deadline, call)
            try:
                return self._executor.repeat(Unit.BULK_CHUNKS, load.by_chunks, deadline, call)
            except BaseException as error:
                load.mark(error)
                raise

    def load_rows(
        self,
        table: str,
        rows: Iterable[Any],
        columns: Sequence[str] | None,
        progress: bool | Progress | None,
        strict: bool,
        total: int | None,
    ) -> Rows[TupleRow]:
        """Send *rows* into *table* by LOAD DATA LOCAL; see `ImprovedDb.load_rows`."""
        number = number_of(rows, progress, total)
        if columns is None and is_frame(rows):
            columns = names_of(rows)
        source = rows_of(rows)
        if source is None:
            return rows_counted(0)
        load = LocalLoad(table, columns, source)
        deadline = self._executor.deadline()
        call = self._executor.call(f"LOAD DATA LOCAL INFILE '' INTO TABLE {quoted(table)}", kind="batch")
        connection = self._executor.driver.connect_for_load(self._executor.loans.left(deadline))
        if call is not None:
            call.connected(self._executor.pool.clock.now())
        try:
            with shown(progress, number) as tell:
                run = partial(self._load_local, connection, load, tell, strict)
                done = self._executor.loans.bounded(connection, deadline, run)
            self._executor.ended(call, result=done)
            return done
        except CallersOwn as own:
            self._executor.ended(call, own.error)
            raise own.error from own.error.__cause__
        except DriverError as error:  # a StatementError is one
            if error.args[0] not in REFUSALS:
                self._executor.ended(call, error)
                raise
            logger.warning("the server refuses LOAD DATA LOCAL (%s), so the rows are sent by INSERT", error)
        finally:
            self._executor.driver.close(connection)
        return self.run(
            load.insert(),
            load.sequences(),
            atomic=True,
            progress=progress,
            total=number,
            strict=strict,
            deadline=deadline,
        )

    def _load_local(
        self, connection: Connection, load: LocalLoad, tell: Callable[[int], object], strict: bool
    ) -> Rows[TupleRow]:
        stage = Stage()
        affected = warned = 0
        try:
            if strict:
                connection._run(STRICT)
                connection._run("SET sql_notes = 0")  # a note refuses no row: an INSERT goes on after one, too
            connection.begin()
            stage.in_transaction = True
            for statement, packets in load.parts(tell, connection.encoders):
                done = connection._load_local(statement, packets)
                affected += int(done.affected_rows)
                warned += int(done.warning_count)
                if strict and warned:
                    raise _unfit(connection, warned)
            stage.at_commit = True
            connection.commit()
        except DriverError as error:
            judgement = self._executor.loans.judge(connection, error, stage)
            decision = decide(judgement.verdict, Unit.BULK_ATOMIC, at_commit=stage.at_commit)
            raise error_for(decision.finally_, error) from error
        return rows_counted(affected, 0, warned)


def _unfit(connection: Connection, warned: int) -> StatementError:
    """Undo a load that the server has warnings about, and return the error to raise."""
    told = connection._ask("SHOW WARNINGS LIMIT 1")
    code, text = told[0][1:] if told else ("none", "max_error_count is 0")
    kept = "nothing was loaded" if connection._undo() else "the table has no transactions and keeps the rows"
    text = re.sub(r"(value:|entry) '.*' (for)", r"\1 ... \2", str(text))  # no value of the user's
    return StatementError(f"{warned} warnings about rows that do not fit, first {code}: {text}; {kept}")


def run_on(
    connection: object = None,
    query: object = None,
    args: Any = (),
    dictcursor: bool = False,
    return_one: bool = False,
    exec_many: bool = False,
) -> Any:
    """Run one statement, or one for each of *args*, on a connection of the caller's.

    The parameters have the names of the first design.

    Returns:
        `Rows`; with *return_one* the first row, or None.

    Raises:
        StatementError: *connection* is not a `Connection` of this package, or *query* is not a str.
    """
    if not isinstance(connection, Connection):
        raise StatementError(
            f"execute_query takes a statement, or a connection of improved_db and a statement, not a "
            f"{type(connection).__name__}; get a connection from connect() or connection()"
        )
    if not isinstance(query, str):
        query, args = compose(query, args, many=exec_many)
    if exec_many:
        rows = load_on(connection, query, args, lambda: int(min(connection._statement_limit, LARGEST_PACKET)))
    else:
        try:
            rows = rows_from(connection._run(query, args, dict_rows=dictcursor))
        except CallersOwn as own:
            raise own.error from own.error.__cause__
    return (rows[0] if rows else None) if return_one else rows


run_on.__qualname__ = "execute_query"  # as a TypeError about a misspelt keyword calls it


def load_on(
    connection: Connection,
    query: str,
    rows: Iterable[Any],
    max_packet: Callable[[], int],
    progress: bool | Progress | None = None,
    total: int | None = None,
) -> Rows[TupleRow]:
    """Run *query* for every row on a connection of the caller's; if no transaction is open there, make one."""
    number = number_of(rows, progress, total)
    source = rows_of(rows, query)
    if source is None:
        return rows_counted(0)
    try:
        with shown(progress, number) as tell:
            load = _Load(Encoder(query, source, in_one=True), Unacked(), tell, max_packet)
            if connection._in_transaction() or not connection.get_autocommit():
                return load.send(connection)
            return _in_one(connection, load)
    except CallersOwn as own:
        raise own.error from own.error.__cause__


def _in_one(connection: Connection, load: _Load) -> Rows[TupleRow]:
    try:
        return load.in_one(connection, Stage())
    except Exception:
        if connection._is_settled():
            connection.rollback()
        raise


def _note(error: BaseException, acked: int, in_doubt: int) -> None:
    error.acked_rows = acked  # type: ignore[attr-defined]  # the driver's errors carry it too
    error.unknown_rows = range(acked, acked + in_doubt)  # type: ignore[attr-defined]  # as above


class _Load:
    """The rows of one call, and how many of them the server has."""

    def __init__(
        self, encoder: Encoder, backlog: Backlog, tell: Callable[[int], object], max_packet: Callable[[], int]
    ) -> None:
        self._encoder = encoder
        self._backlog = backlog
        self._tell = tell
        self._max_packet = max_packet
        self._commit_each = False
        # Whether an error of the caller's came while a chunk was on its way that was not acknowledged afterwards.
        self._silent = False
        self._stage = Stage()

    def in_one(self, connection: Connection, stage: Stage) -> Rows[TupleRow]:
        """Send all rows in one transaction."""
        stage.statement = self._encoder.query
        connection.begin()
        stage.in_transaction = True
        done = self.send(connection)
        stage.at_commit = True
        connection.commit()
        return done

    def strictly(self, connection: Connection, stage: Stage) -> Rows[TupleRow]:
        """Do the same in a session that refuses values that do not fit; the pool resets the session afterwards."""
        connection._run(STRICT)
        return self.in_one(connection, stage)

    def by_chunks(self, connection: Connection, stage: Stage) -> Rows[TupleRow]:
        """Send the rows that are not committed yet; if the session has no autocommit, commit each chunk here."""
        self._stage = stage
        stage.statement = self._encoder.query
        self._commit_each = not connection.get_autocommit()
        return self.send(connection)

    def send(self, connection: Connection) -> Rows[TupleRow]:
        """Send the rows that are left: write a chunk, encode the next one, then read the answer to the first."""
        done = last_id = 0
        rowcount = self._backlog.begin()
        waiting: Chunk | None = None
        try:
            for chunk in self._chunks(connection):
                if waiting is not None:
                    rowcount, last_id, done = self._finish(connection, waiting, rowcount, done)
                connection._send_all(chunk.commands)
                waiting = chunk
            if waiting is not None:
                rowcount, last_id, done = self._finish(connection, waiting, rowcount, done)
        except Exception:
            if waiting is not None and connection.open and not connection._is_settled():
                self._silent = True
                with contextlib.suppress(Exception):  # raise the error that stopped us, not a later one
                    self._finish(connection, waiting, rowcount, done)
                    self._silent = False
            raise
        return rows_counted(rowcount, last_id, batch=self._backlog.before + done)

    def _finish(self, connection: Connection, chunk: Chunk, rowcount: int, done: int) -> tuple[int, int, int]:
        try:
            affected, last_id = connection._read_all(len(chunk.commands))
        except DriverError as error:
            if len(error.args) == 2:
                first = self._backlog.before + done + 1
                error.args = (error.args[0], f"{error.args[1]} (in rows {first} to {first + chunk.rows - 1})")
            raise
        if self._commit_each:
            connection.commit()
        self._backlog.acknowledge(chunk, rowcount + affected)
        done += chunk.rows
        self._tell(self._backlog.before + done)
        return rowcount + affected, last_id, done

    def _chunks(self, connection: Connection) -> Iterator[Chunk]:
        yield from self._backlog
        while (chunk := self._encoder.chunk(connection, self._max_packet())) is not None:
            self._backlog.add(chunk)
            yield chunk

    def mark(self, error: BaseException) -> None:
        """Note on *error* how many rows are committed, and which are in doubt: a chunk that may be committed."""
        doubt = self._silent or isinstance(error, OutcomeUnknown) or not isinstance(error, Exception)
        doubt = doubt or self._stage.kept_part
        _note(error, self._backlog.acked, self._backlog.in_doubt * doubt)
