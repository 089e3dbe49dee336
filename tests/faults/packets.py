"""MySQL's packets, as far as a proxy and a fake server need them.

Only what PyMySQL speaks: no TLS, no compression, no CLIENT_DEPRECATE_EOF, no prepared statements.

Knows bytes. Does not know sockets or threads.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

COM_QUIT: Final = 0x01
COM_INIT_DB: Final = 0x02
COM_QUERY: Final = 0x03
COM_PING: Final = 0x0E
COM_RESET_CONNECTION: Final = 0x1F

#: Commands the server says nothing to: QUIT, STMT_SEND_LONG_DATA, STMT_CLOSE.
UNANSWERED: Final = frozenset({COM_QUIT, 0x18, 0x19})

IN_TRANSACTION: Final = 0x0001
AUTOCOMMIT: Final = 0x0002
MORE_RESULTS: Final = 0x0008

#: A packet of this many bytes is continued in the next one.
FULL: Final = 0xFFFFFF

#: LONG_PASSWORD, LONG_FLAG, CONNECT_WITH_DB, PROTOCOL_41, TRANSACTIONS, SECURE_CONNECTION, MULTI_STATEMENTS,
#: MULTI_RESULTS and PLUGIN_AUTH.
_CAPABILITIES: Final = 0x1 | 0x4 | 0x8 | 0x200 | 0x2000 | 0x8000 | 0x10000 | 0x20000 | 0x80000
_VARCHAR: Final = 0xFD
_UTF8MB4: Final = 45


def frame(sequence: int, payload: bytes) -> bytes:
    """One packet on the wire: three bytes of length, the sequence number, the payload."""
    return struct.pack("<I", len(payload) | (sequence % 256) << 24) + payload


def lenenc(number: int) -> bytes:
    """A length-encoded integer."""
    if number < 0xFB:
        return bytes([number])
    if number < 1 << 16:
        return b"\xfc" + struct.pack("<H", number)
    if number < 1 << 24:
        return b"\xfd" + struct.pack("<I", number)[:3]
    return b"\xfe" + struct.pack("<Q", number)


def text(value: str) -> bytes:
    """A length-encoded string."""
    data = value.encode()
    return lenenc(len(data)) + data


def ok(affected: int = 0, insert_id: int = 0, status: int = AUTOCOMMIT) -> bytes:
    """The payload of an OK packet."""
    return b"\x00" + lenenc(affected) + lenenc(insert_id) + struct.pack("<HH", status, 0)


def eof(status: int = AUTOCOMMIT) -> bytes:
    """The payload of an EOF packet."""
    return b"\xfe" + struct.pack("<HH", 0, status)


def err(code: int, message: str = "", sqlstate: str | None = "HY000") -> bytes:
    """The payload of an ERR packet; *sqlstate* None leaves it out, as servers do before the handshake."""
    state = b"" if sqlstate is None else b"#" + sqlstate.encode()
    return b"\xff" + struct.pack("<H", code) + state + message.encode()


def rows(columns: Sequence[str], values: Sequence[Sequence[str | None]], status: int = AUTOCOMMIT) -> list[bytes]:
    """The payloads of a result set of text columns."""
    heads = [
        text("def")
        + text("") * 3
        + text(name)
        + text("")
        + struct.pack("<BHIBHBH", 12, _UTF8MB4, 1024, _VARCHAR, 0, 0, 0)
        for name in columns
    ]
    body = [b"".join(b"\xfb" if value is None else text(value) for value in row) for row in values]
    return [lenenc(len(columns)), *heads, eof(status), *body, eof(status)]


def greeting(version: str, session: int, status: int = AUTOCOMMIT, *, more: int = 0) -> bytes:
    """The payload of a server's first packet, protocol 10, mysql_native_password, and *more* capabilities."""
    capabilities = _CAPABILITIES | more
    return b"".join(
        (
            b"\x0a" + version.encode() + b"\x00",
            struct.pack("<I", session) + b"saltsalt\x00",
            struct.pack("<HBHH", capabilities & 0xFFFF, _UTF8MB4, status, capabilities >> 16),
            bytes([21]) + bytes(10) + b"saltsaltsalt\x00",
            b"mysql_native_password\x00",
        )
    )


class Framer:
    """Cuts a stream of bytes into packets."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Take *data*; yield every packet that is complete now, header included."""
        self._buffer += data
        while len(self._buffer) >= 4:
            end = 4 + int.from_bytes(self._buffer[:3], "little")
            if len(self._buffer) < end:
                return
            packet = bytes(self._buffer[:end])
            del self._buffer[:end]
            yield packet

    def rest(self) -> bytes:
        """Return what has come of an incomplete packet, and forget it."""
        rest = bytes(self._buffer)
        self._buffer.clear()
        return rest


class Answer:
    """Follows the packets of one answer, to know when it is complete."""

    def __init__(self) -> None:
        self._in_rows = self._in_columns = self._continued = False

    def feed(self, packet: bytes) -> bool:
        """Take the next packet, header included; True if it was the last one of this answer."""
        payload = packet[4:]
        continuation, self._continued = self._continued, len(payload) == FULL
        if continuation:
            return False
        kind = payload[:1]
        if kind == b"\xff":
            return True
        if self._in_columns or self._in_rows:
            return self._feed_result(payload)
        if kind == b"\x00":
            return not _status_of_ok(payload) & MORE_RESULTS
        # 0xFB asks for a local file and is followed by an OK; anything else is the number of columns.
        self._in_columns = kind != b"\xfb"
        return False

    def _feed_result(self, payload: bytes) -> bool:
        if payload[:1] != b"\xfe" or len(payload) >= 9:
            return False
        self._in_columns, self._in_rows = False, self._in_columns
        return not self._in_rows and not struct.unpack_from("<H", payload, 3)[0] & MORE_RESULTS


def _status_of_ok(payload: bytes) -> int:
    position = 1
    for _ in range(2):  # affected rows, insert id
        position += {0xFC: 3, 0xFD: 4, 0xFE: 9}.get(payload[position], 1)
    return int.from_bytes(payload[position : position + 2], "little")
