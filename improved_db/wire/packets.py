"""Packets: how to read the next one whole and in sequence, and what OK, EOF and ERR packets say.

No function here closes a connection. The reader of the whole answer does that, at one place for every failure.

Knows the framing of the MySQL protocol. Does not know rows or columns.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeAlias

from pymysql import err
from pymysql.constants import CR

if TYPE_CHECKING:
    from improved_db.wire.buffer import Buffer

#: A PyMySQL connection whose ``_rfile`` is a `Buffer`. Its private names, which the type stubs leave out, are listed
#: with a reason each in `improved_db.wire.support`.
Session: TypeAlias = Any

HEADER: Final = 4  # bytes: three of length, one of sequence number
FULL: Final = 0xFFFFFF  # a packet of this length is continued in the next one
OK, LOCAL_INFILE, EOF, ERR = 0x00, 0xFB, 0xFE, 0xFF  # first byte of an answer
SHORTEST_ANSWER: Final = HEADER + 7  # an OK packet; the server's errors and results are longer
LONGEST_DOZE: Final = 1_024  # bytes; after a longer sleep than these take, a second core was of no use (measured)
EOF_LIMIT: Final = 9  # from this length on, a first byte of 0xFE is the length of a long value

_STATUS_AND_WARNINGS = struct.Struct("<HH")


class Unsolicited(err.OperationalError):
    """While we waited for an answer, the server ended the session (shut down, idle too long, killed) and said so.

    MariaDB and MySQL send this error with sequence number 0, which no answer has.
    """

    unsolicited: Final = True


class ErrPacket(Exception):
    """Carries an error of the server's from where it was read to the reader of the whole answer."""

    def __init__(self, error: err.MySQLError) -> None:
        """Keep *error*, which the reader of the answer raises instead of this."""
        super().__init__(error)
        self.error = error


def malformed(what: str) -> err.InternalError:
    """Return the error for bytes that no MySQL server sends."""
    return err.InternalError(f"malformed answer from the server: {what}")


def want(buffer: Buffer, size: int) -> None:
    """Wait until *size* bytes are pending.

    Raises:
        pymysql.err.OperationalError: 2013, the connection was lost, or nothing came within its read timeout.
    """
    try:
        buffer.need(size)
    except (EOFError, OSError) as error:
        raise _lost(error) from None if isinstance(error, EOFError) else error


def _lost(error: EOFError | OSError) -> err.OperationalError:
    why = "" if isinstance(error, EOFError) else f" ({error})"
    return err.OperationalError(CR.CR_SERVER_LOST, f"Lost connection to MySQL server during query{why}")


def want_beginning(buffer: Buffer, skip: int = 0) -> None:
    """Wait for the header and the first byte of the packet after *skip* bytes.

    Raises:
        pymysql.err.InternalError: The packet is empty, so its first byte would never come.
        pymysql.err.OperationalError: 2013, as `want`.
    """
    want(buffer, skip + HEADER)
    start = buffer.position + skip
    if len(buffer.data) == start + HEADER and not any(buffer.data[start : start + 3]):
        raise malformed("an empty packet")
    want(buffer, skip + HEADER + 1)


def await_answer(session: Session) -> int:
    """Wait for the next answer to begin, for as long as the session's read timeout, and return its first byte.

    Raises:
        Unsolicited: It is a goodbye, not an answer.
        pymysql.err.InternalError: The packet is empty, or out of sequence.
        pymysql.err.OperationalError: 2013, as `want`.
    """
    buffer: Buffer = session._rfile
    timeout = session._read_timeout
    if session._current_timeout != timeout:  # settimeout is a system call, and PyMySQL set another one for writing
        session._sock.settimeout(timeout)
        session._current_timeout = timeout
    if len(buffer.data) - buffer.position <= HEADER:
        want_beginning(buffer)
    position = buffer.position
    if buffer.data[position + 3] != session._next_seq_id:
        _out_of_sequence(session, buffer)
    return buffer.data[position + HEADER]


def await_several(session: Session, number: int) -> None:
    """Wait until some of the answers to *number* statements have come, as many at once as possible.

    Raises:
        pymysql.err.OperationalError: 2013, as `want`.
    """
    timeout = session._read_timeout
    if session._current_timeout != timeout:
        session._sock.settimeout(timeout)
        session._current_timeout = timeout
    try:
        session._rfile.doze(min(number * SHORTEST_ANSWER, LONGEST_DOZE))
    except (EOFError, OSError) as error:
        raise _lost(error) from None if isinstance(error, EOFError) else error


def next_packet(session: Session, buffer: Buffer) -> bytes:
    """Consume the next packet and return its payload, joined if it came in several.

    Raises:
        ErrPacket: The server sent an error, which ends this answer.
        Unsolicited: The server said goodbye instead.
        pymysql.err.InternalError: The packet is out of sequence, or empty.
        pymysql.err.OperationalError: 2013, as `want`.
    """
    data, start = buffer.data, buffer.position + HEADER
    if start < len(data):
        size = data[start - 4] | data[start - 3] << 8 | data[start - 2] << 16
        end, number = start + size, data[start - 1]
        if end <= len(data) and 0 < size < FULL and number == session._next_seq_id and data[start] != ERR:
            buffer.position = end
            session._next_seq_id = (number + 1) & 255
            return data[start:end]
    return _next_packet_slowly(session, buffer)


def _next_packet_slowly(session: Session, buffer: Buffer) -> bytes:
    """Do as `next_packet` in the rare cases: the packet has not come yet, is one of several, or is an error."""
    parts: list[bytes] = []
    size = FULL
    while size == FULL:
        if parts:  # the last part of a long packet may be empty
            want(buffer, HEADER)
        else:
            want_beginning(buffer)
        data, start = buffer.data, buffer.position
        size = data[start] | data[start + 1] << 8 | data[start + 2] << 16
        if data[start + 3] != session._next_seq_id:
            _out_of_sequence(session, buffer)
        want(buffer, HEADER + size)
        start = buffer.position + HEADER
        buffer.position = start + size
        parts.append(buffer.data[start : buffer.position])
        session._next_seq_id = (session._next_seq_id + 1) & 255
    payload = b"".join(parts)
    if not payload:
        raise malformed("an empty packet")
    if payload[0] == ERR:
        raise ErrPacket(_server_error(payload))
    return payload


def _out_of_sequence(session: Session, buffer: Buffer) -> NoReturn:
    """Raise the error for the next packet, of which the header has come, and the first byte if it has one."""
    data, start = buffer.data, buffer.position
    if data[start + 3] == 0 and data[start + HEADER : start + HEADER + 1] == b"\xff":
        session._next_seq_id = 0
        try:
            next_packet(session, buffer)
        except ErrPacket as goodbye:
            raise Unsolicited(*goodbye.error.args, sqlstate=getattr(goodbye.error, "sqlstate", None)) from None
    raise err.InternalError(f"Packet sequence number wrong - got {data[start + 3]:d} expected {session._next_seq_id:d}")


def is_eof(payload: bytes) -> bool:
    """Say whether a packet ends a list of columns or rows."""
    return payload[0] == EOF and len(payload) < EOF_LIMIT


def eof_status(payload: bytes) -> tuple[int, int]:
    """Return the server's status flags and the number of warnings from an EOF packet."""
    if len(payload) < 5:
        raise malformed("an EOF packet without status")
    return payload[3] | payload[4] << 8, payload[1] | payload[2] << 8


def column_count(payload: bytes) -> int:
    """Return the number of columns from the first packet of a result set."""
    try:
        count, _ = length_encoded(payload, 0)
    except IndexError:
        count = None
    if not count:
        raise malformed("neither OK nor ERR nor a number of columns")
    return count


def ok_fields(payload: bytes) -> tuple[int | None, int | None, int, int, bytes]:
    """Return affected rows, insert id, status flags, number of warnings and message from an OK packet."""
    try:
        affected, position = length_encoded(payload, 1)
        insert_id, position = length_encoded(payload, position)
        status, warnings = _STATUS_AND_WARNINGS.unpack_from(payload, position)
    except (IndexError, struct.error) as error:
        raise malformed("a short OK packet") from error
    return affected, insert_id, status, warnings, payload[position + 4 :]


def length_encoded(payload: bytes, position: int) -> tuple[int | None, int]:
    """Return the length-encoded integer at *position* (None for NULL), and where the next field begins.

    Raises:
        IndexError: The payload ends before.
    """
    first = payload[position]
    if first < 0xFB:
        return first, position + 1
    if first == 0xFB:
        return None, position + 1
    end = position + 1 + (2, 3, 8)[first - 0xFC]
    if end > len(payload):
        raise IndexError("a length-encoded integer runs over the end of its packet")
    return int.from_bytes(payload[position + 1 : end], "little"), end


def _server_error(payload: bytes) -> err.MySQLError:
    """Return the error in an ERR packet, in PyMySQL's class for its code."""
    try:
        err.raise_mysql_exception(payload)
    except err.MySQLError as error:
        return error.with_traceback(None)
    except (IndexError, struct.error, UnicodeDecodeError) as error:
        raise malformed("an ERR packet without a code") from error
