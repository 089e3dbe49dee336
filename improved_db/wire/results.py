"""The answer to a statement: read whole, or streamed.

`read_query_result` does the same as PyMySQL's method of that name, over a `Buffer`, with the same values and several
times as fast. Afterwards the connection is either ready for the next statement or closed:

- If the answer was read to its end, the connection is ready, also if the answer is an error.
- After anything else (a lost connection, invalid bytes, a converter that raises, Ctrl-C), where the next answer begins
  is unknown; so `read_query_result` closes the connection.

Knows answers, rows and the connection they come from. Does not know pools, retries or cursors.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import pymysql.connections
from pymysql import err
from pymysql.constants import ER, SERVER_STATUS

from improved_db.wire.buffer import Buffer
from improved_db.wire.columns import keys
from improved_db.wire.decoders import SKIP
from improved_db.wire.packets import (
    EOF,
    HEADER,
    LOCAL_INFILE,
    OK,
    ErrPacket,
    await_answer,
    column_count,
    eof_status,
    next_packet,
    ok_fields,
    want,
)
from improved_db.wire.row_packets import FIVE, SHORT_EOF, known_shape, read_row_packets, read_shape, remember_shape

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from improved_db.wire.columns import Shape
    from improved_db.wire.decoders import Column, Decoder
    from improved_db.wire.packets import Session

#: The number of rows that MySQLdb, and so PyMySQL, gives for a result that is being streamed.
UNKNOWN_ROWS: Final = 2**64 - 1

#: If the caller does not want the rest of a result, it may end with one of these without an exception.
_TIMED_OUT: Final = (ER.QUERY_TIMEOUT, ER.STATEMENT_TIMEOUT)


class Result:
    """An answer that was read to its end, with the attributes of PyMySQL's `MySQLResult`.

    Attributes:
        affected_rows: Rows changed, or number of rows in `rows`.
        insert_id: The first new AUTO_INCREMENT value, 0 if there is none; None if the answer has rows.
        server_status: The flags of `pymysql.constants.SERVER_STATUS` after the statement.
        warning_count: How many warnings the statement left on the server.
        message: The server's text about the statement, mostly empty.
        description: The seven items of DB-API 2.0 for each column; None if the answer has no rows.
        rows: A tuple of tuples, a list of dicts, or None if the answer has no rows.
        has_next: Whether another answer follows (0 or the flag).
        unbuffered_active: Whether the server is still sending rows.
        connection: The connection, while the server is still sending rows.
    """

    affected_rows: int | None = None
    insert_id: int | None = None
    server_status: int | None = None
    warning_count: int = 0
    message: bytes | None = None
    description: tuple[tuple[Any, ...], ...] | None = None
    rows: Sequence[Any] | None = None
    has_next: int | None = None
    unbuffered_active: bool = False
    connection: Session = None
    _shape: Shape | None = None

    @property
    def field_count(self) -> int:
        """Number of columns; 0 if the answer has no rows."""
        return len(self.fields)

    @property
    def fields(self) -> Sequence[Any]:
        """PyMySQL's `FieldDescriptorPacket` of each column."""
        return () if self._shape is None else self._shape.fields

    @property
    def converters(self) -> Sequence[Column]:
        """Encoding and converter of each column."""
        return () if self._shape is None else self._shape.columns

    def _end(self, session: Session, eof: bytes) -> None:
        """Take status and warnings from the EOF packet; unlike PyMySQL, pass the status to the connection."""
        status, self.warning_count = eof_status(eof)
        self.server_status = session.server_status = status
        self.has_next = status & SERVER_STATUS.SERVER_MORE_RESULTS_EXISTS

    def _read_rowdata_packet_unbuffered(self) -> Any:
        """Return the next row, None after the last one; `SSCursor` calls it on any result."""
        return None

    def _finish_unbuffered_query(self) -> None:
        """Skip the other rows; `SSCursor` calls it on any result."""


class StreamedResult(Result):
    """An answer whose rows are read as the caller asks for them, in batches of what one recv brought.

    Its finalizer does no input or output. If `unbuffered_active` is still true, the owner of the connection has to
    close it, or to call `_finish_unbuffered_query`, which skips the other rows.
    """

    def __init__(self, session: Session, shape: Shape, row_kind: type) -> None:
        """Start before the first row."""
        self.connection: Any = session
        self.description: Any = shape.description
        self.affected_rows: int = UNKNOWN_ROWS
        self.rows: Any = None
        self.unbuffered_active: bool = True
        self._shape: Shape = shape
        self._buffer: Buffer = session._rfile
        self._decoder = shape.decoder(row_kind)
        self._ready: Iterator[Any] = iter(())

    def take(self, max_rows: int) -> list[Any]:
        """Return the next rows, as `read_rows` does."""
        rows = list(islice(self._ready, max_rows))
        if not rows and self.unbuffered_active:
            self._ready = iter(self._next_batch(self._decoder))
            rows = list(islice(self._ready, max_rows))
        return rows

    def _read_rowdata_packet_unbuffered(self) -> Any:
        row = next(self._ready, None)
        if row is None:
            if not self.unbuffered_active:
                return None
            self._ready = iter(self._next_batch(self._decoder))
            row = next(self._ready, None)
            if row is None:
                return None
        self.affected_rows = 1
        self.rows = (row,)
        return row

    def _finish_unbuffered_query(self) -> None:
        self._ready = iter(())
        if self.unbuffered_active and not self._is_connected():
            self._leave()
        try:
            while self.unbuffered_active:
                self._next_batch(SKIP)
        except err.OperationalError as error:
            if error.args[0] not in _TIMED_OUT:
                raise

    def _next_batch(self, decoder: Decoder) -> list[Any]:
        """Wait for at least one row, and return all that have come; an empty list at the end of the result."""
        session, buffer = self.connection, self._buffer
        if not self._is_connected():
            self._leave()
            raise err.InterfaceError(0, "the connection of this result is closed")
        rows: list[Any] = []
        try:
            await_answer(session)
            eof = read_row_packets(session, buffer, self._shape, decoder, rows, whole=False)
            if eof is not None:
                self._leave()
                self._end(session, eof)
                buffer.trim()
        except ErrPacket as said:
            self._leave()
            error = said.error
        except BaseException:
            self._leave()
            session._force_close()
            raise
        else:
            return rows
        try:
            raise error
        finally:
            del error  # otherwise its traceback would hold this frame, and this frame the error

    def _is_connected(self) -> bool:
        return self.connection._rfile is self._buffer

    def _leave(self) -> None:
        self.unbuffered_active = False
        self.connection = None
        self.rows = None


def read_query_result(session: Session, unbuffered: bool = False, row_kind: type = tuple) -> int | None:
    """Read the next answer into ``session._result``; replaces PyMySQL's `Connection._read_query_result`.

    Args:
        session: The connection. If its ``_rfile`` is not a `Buffer`, PyMySQL does the reading.
        unbuffered: Stop before the first row; the result reads the rows.
        row_kind: `tuple`, or `dict` for rows such as PyMySQL's `DictCursor` gives.

    Returns:
        Rows changed, or rows read, or `UNKNOWN_ROWS` if they are still to come.

    Raises:
        Unsolicited: The server had said goodbye before; the connection is closed.
        pymysql.err.OperationalError: 2013, the connection was lost; it is closed.
        pymysql.err.InternalError: The server sent invalid bytes; the connection is closed.
        pymysql.err.MySQLError: The server's error; the connection is ready for the next statement.
    """
    session._result = None
    if type(session._rfile) is not Buffer:
        return _read_as_pymysql(session, unbuffered, row_kind)
    try:
        if await_answer(session) == LOCAL_INFILE:
            return _serve_local_file(session)
        session._result = result = _read_answer(session, session._rfile, unbuffered, row_kind)
        if result.server_status is not None:
            session.server_status = result.server_status
        return result.affected_rows
    except ErrPacket as said:
        error = said.error
    except BaseException:
        session._force_close()
        raise
    try:
        raise error
    finally:
        del error  # otherwise its traceback would hold this frame, and this frame the error


def read_at_once(session: Session, row_kind: type) -> Result | None:
    """Read the next answer in one step if it has come whole, and begins like the last one on this connection.

    If it does not, the buffer stays as it is, and `read_query_result` has to read; it calls the converters again.

    Args:
        session: The connection; its ``_next_seq_id`` is that of the answer's first packet.
        row_kind: As for `read_query_result`.

    Returns:
        The result, or None.
    """
    buffer, known = session._rfile, session._known
    if known is None or type(buffer) is not Buffer:
        return None
    prefix, sequence, shape, encoding, use_unicode = known
    data, start = buffer.data, buffer.position
    if (
        not data.startswith(prefix, start)
        or prefix[HEADER - 1] != session._next_seq_id
        or session.encoding != encoding
        or session.use_unicode != use_unicode
        or not shape.fits(session.decoders)
    ):
        return None
    rows: list[Any] = []
    try:
        place, sequence = shape.decoder(row_kind).run(data, start + len(prefix), sequence, rows)
    except Exception:
        return None
    eof = data[place : place + SHORT_EOF]
    if len(eof) < SHORT_EOF or eof[HEADER] != EOF or not eof.startswith(FIVE) or eof[HEADER - 1] != sequence:
        return None
    result = _of_rows(shape, rows, row_kind)
    result._end(session, eof[HEADER:])
    if result.has_next:
        return None
    buffer.position = place + SHORT_EOF
    buffer.trim()
    return result


def read_rows(result: Any, max_rows: int) -> list[Any]:
    """Return the next rows of a result that is being streamed.

    Args:
        result: ``_result`` of a connection after an unbuffered query.
        max_rows: The most rows to return, at least 1.

    Returns:
        The rows that have come, at least one; an empty list at the end of the result.

    Raises:
        pymysql.err.MySQLError: As `read_query_result`.
    """
    if isinstance(result, StreamedResult):
        return result.take(max_rows)
    return list(islice(iter(result._read_rowdata_packet_unbuffered, None), max_rows))


def _read_answer(session: Session, buffer: Buffer, unbuffered: bool, row_kind: type) -> Result:
    data, start = buffer.data, buffer.position
    shape = known_shape(session, buffer)
    if shape is None:
        payload = next_packet(session, buffer)
        if payload[0] == OK:
            return _counts(buffer, payload)
        shape = read_shape(session, buffer, column_count(payload))
        if buffer.data is data:
            remember_shape(session, data[start : buffer.position], shape)
    if unbuffered:
        return StreamedResult(session, shape, row_kind)
    rows: list[Any] = []
    eof = read_row_packets(session, buffer, shape, shape.decoder(row_kind), rows, whole=True)
    assert eof is not None  # because of whole=True
    buffer.trim()
    result = _of_rows(shape, rows, row_kind)
    result._end(session, eof)
    return result


def _of_rows(shape: Shape, rows: list[Any], row_kind: type) -> Result:
    result = Result()
    result._shape = shape
    result.description = shape.description
    result.affected_rows = len(rows)
    result.rows = rows if row_kind is dict and rows else tuple(rows)  # what fetchall of the cursors gives
    return result


def _counts(buffer: Buffer, payload: bytes) -> Result:
    """Return the result that an OK packet describes."""
    buffer.trim()
    result = Result()
    affected, insert_id, status, warnings, message = ok_fields(payload)
    result.affected_rows, result.insert_id, result.server_status = affected, insert_id, status
    result.warning_count, result.message = warnings, message
    result.has_next = status & SERVER_STATUS.SERVER_MORE_RESULTS_EXISTS
    return result


def _serve_local_file(session: Session) -> int | None:
    """If the caller's own LOAD DATA LOCAL names the file, let PyMySQL send it; otherwise refuse.

    If the connection is lost, PyMySQL closes it. Before any other error, PyMySQL has told the server that the file ends
    here, and has read the answer.
    """
    statement, wanted = session._loading, _peek(session._rfile)[1:]
    if statement is None or not session._local_infile or wanted not in statement.replace(b"\\\\", b"\\"):
        raise err.InternalError(
            "the server asked for a file that your statement does not name, or local_infile is off; nothing was sent"
        )
    try:
        return _read_as_pymysql(session, unbuffered=False, row_kind=tuple)
    except err.MySQLError as error:
        raise ErrPacket(error) from None


def _peek(buffer: Buffer) -> bytes:
    """Return the next packet's payload, and do not consume it."""
    size = int.from_bytes(buffer.data[buffer.position : buffer.position + 3], "little")
    want(buffer, HEADER + size)
    start = buffer.position + HEADER
    return buffer.data[start : start + size]


def _read_as_pymysql(session: Session, unbuffered: bool, row_kind: type) -> int | None:
    """Let PyMySQL read the answer; then, if wanted, turn the rows into dicts."""
    pymysql_connection: Any = pymysql.connections.Connection  # the stubs leave the method out
    affected: int | None = pymysql_connection._read_query_result(session, unbuffered)
    result = session._result
    if row_kind is dict and result.description:
        names = keys(result.fields)
        if result.unbuffered_active:
            read_row = result._read_row_from_packet
            result._read_row_from_packet = lambda packet: dict(zip(names, read_row(packet), strict=False))
        elif result.rows:
            result.rows = [dict(zip(names, row, strict=False)) for row in result.rows]
    return affected
