"""Columns and rows of one result set, from the bytes in the buffer; more are received only if they are needed.

Knows in which order the packets of a result set come. Does not know what becomes of the rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from improved_db.wire.columns import KEPT_SIZE, shape_of
from improved_db.wire.decoders import check_row
from improved_db.wire.packets import (
    EOF,
    EOF_LIMIT,
    ERR,
    FULL,
    HEADER,
    is_eof,
    malformed,
    next_packet,
    want,
    want_beginning,
)

if TYPE_CHECKING:
    from improved_db.wire.buffer import Buffer
    from improved_db.wire.columns import Shape
    from improved_db.wire.decoders import Decoder
    from improved_db.wire.packets import Session


#: The length of the usual EOF packet, as its header has it, and its size with the header.
FIVE: Final = b"\5\0\0"
SHORT_EOF: Final = HEADER + 5

#: No server has more than 4,096 in a result. One that announces more could send definitions for ever.
MOST_COLUMNS: Final = 0xFFFF


def known_shape(session: Session, buffer: Buffer) -> Shape | None:
    """If this result begins, byte for byte, like the session's last one, consume all packets before the rows."""
    known = getattr(session, "_known", None)  # PyMySQL's own connection has none
    if known is None or not buffer.data.startswith(known[0], buffer.position):
        return None
    prefix, sequence, shape, encoding, use_unicode = known
    if (
        prefix[HEADER - 1] != session._next_seq_id
        or session.encoding != encoding
        or session.use_unicode != use_unicode
        or not shape.fits(session.decoders)
    ):
        return None
    buffer.position += len(prefix)
    session._next_seq_id = sequence
    found: Shape = shape
    return found


def remember_shape(session: Session, prefix: bytes, shape: Shape) -> None:
    """Keep the packets before the rows, for the next result of this session."""
    if len(prefix) <= KEPT_SIZE:
        session._known = (prefix, session._next_seq_id, shape, session.encoding, session.use_unicode)


def read_shape(session: Session, buffer: Buffer, count: int) -> Shape:
    """Consume *count* column definitions and the EOF after them; raises as `next_packet` does."""
    if count > MOST_COLUMNS:
        raise malformed("more columns than any server has")
    size, eof_size = _definitions(session, buffer, count)
    start = buffer.position
    end = start + size
    if buffer.data[end + HEADER] != EOF or eof_size >= HEADER + EOF_LIMIT:
        raise malformed("no EOF packet after the column definitions")
    buffer.position = end + eof_size
    session._next_seq_id = (session._next_seq_id + count + 1) & 255
    return shape_of(buffer.data[start:end], session)


def _definitions(session: Session, buffer: Buffer, count: int) -> tuple[int, int]:
    """Receive *count* column definitions and the packet after them, consume nothing, and return the sizes of both."""
    first = session._next_seq_id
    while True:
        data, start = buffer.data, buffer.position
        position = end = start
        last = len(data) - HEADER - 1
        for number in range(first, first + count + 1):
            position = end
            if position > last:
                break
            if data[position + 3] != number & 255 or data[position + HEADER] == ERR:
                buffer.position, session._next_seq_id = position, number & 255
                next_packet(session, buffer)  # raises the error
            end = position + HEADER + (data[position] | data[position + 1] << 8 | data[position + 2] << 16)
        else:
            if end <= len(data):
                return position - start, end - position
        want_beginning(buffer, end - start)  # another packet follows in any case


def read_row_packets(
    session: Session, buffer: Buffer, shape: Shape, decoder: Decoder, rows: list[Any], *, whole: bool
) -> bytes | None:
    """Append rows to *rows*: with *whole* up to the end of the result, otherwise until there is at least one.

    Returns:
        The EOF packet that ends the result; None if there is more to come.

    Raises:
        ErrPacket: The server ended the result with an error.
        Exception: As `next_packet`, and what a converter raises.
    """
    while True:
        data, start, before = buffer.data, buffer.position, len(rows)
        try:
            buffer.position, session._next_seq_id = decoder.run(data, start, session._next_seq_id, rows)
        except Exception:
            _check_failed_row(data, start, len(rows) - before, shape)
            raise
        if rows and not whole:
            return None
        eof = _short_eof(session, buffer)
        if eof is not None:
            return eof
        if not _is_plain_row(session, buffer):
            payload = next_packet(session, buffer)
            if is_eof(payload):
                return payload
            rows.append(_long_row(payload, shape, decoder))


def _short_eof(session: Session, buffer: Buffer) -> bytes | None:
    """If the next packet is a usual EOF packet and has come whole, consume and return it; otherwise return None."""
    data, start = buffer.data, buffer.position
    if len(data) < start + SHORT_EOF or data[start + HEADER] != EOF or data[start : start + 3] != FIVE:
        return None
    if data[start + 3] != session._next_seq_id:
        return None
    buffer.position = start + SHORT_EOF
    session._next_seq_id = (session._next_seq_id + 1) & 255
    return data[start + HEADER : start + SHORT_EOF]


def _is_plain_row(session: Session, buffer: Buffer) -> bool:
    """Say whether the decoder can read the next packet; if so, wait until it has come whole."""
    data, start = buffer.data, buffer.position
    if len(data) - start <= HEADER:
        want_beginning(buffer)
        data, start = buffer.data, buffer.position
    if data[start + HEADER] >= EOF or data[start + 3] != session._next_seq_id:
        return False
    size = data[start] | data[start + 1] << 8 | data[start + 2] << 16
    if not 0 < size < FULL:
        return False
    want(buffer, HEADER + size)
    return True


def _long_row(payload: bytes, shape: Shape, decoder: Decoder) -> Any:
    try:
        return decoder.one(payload)
    except Exception:
        check_row(payload, 0, len(payload), len(shape.fields))
        raise


def _check_failed_row(data: bytes, position: int, good: int, shape: Shape) -> None:
    """Find the row after *good* ones from *position* on; if it is malformed, raise that, not a converter's error."""
    for _ in range(good):
        position += HEADER + int.from_bytes(data[position : position + 3], "little")
    start = position + HEADER
    check_row(data, start, start + int.from_bytes(data[position : position + 3], "little"), len(shape.fields))
