"""Rows from bytes, by functions compiled for each list of column kinds.

PyMySQL reads a row by one method call for each length, one for each value and two for each packet. A decoder for, say,
(int, text, datetime) does the same with index arithmetic in one loop. Nothing from the server gets into the source of a
decoder: encodings, converters and column names are bound as objects.

Instead of PyMySQL's standard converters, a decoder calls equivalents, which return the same value and type for every
input; they pass an input of an unusual form to PyMySQL's own converter. A decoder calls the user's converters as
PyMySQL does.

If the extension `_rows.c` was built, it reads the usual types instead of the generated code, with the same results.

Knows the layout of a row packet and PyMySQL's converters. Does not know sockets or results.
"""

from __future__ import annotations

import functools
import sys
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from pymysql import converters

from improved_db.wire import compiled
from improved_db.wire.packets import EOF, ERR, FULL, HEADER, malformed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import CodeType

BAD_ROW: Final = "a row does not fill its packet"

#: How many bytes one run reads: less than a packet of full length, which the next packet continues; `run` stops there.
LIMIT: Final = HEADER + FULL - 1

#: How PyMySQL reads a column: it decodes with this encoding (None: keeps bytes), then calls this (None: keeps that).
Column: TypeAlias = "tuple[str | None, Callable[[Any], Any] | None]"


#: Converts the bytes of a value that is not NULL.
Reader: TypeAlias = "Callable[[bytes], Any]"

#: To compile takes 0.1 ms for each column, once for each list of column kinds. Longer lists than this are not compiled.
WIDEST: Final = 100


class Decoder(NamedTuple):
    """Two functions for the rows of one result.

    Attributes:
        run: ``run(data, position, sequence, rows) -> (position, sequence)``: appends to *rows* the rows of the plain
            row packets from *position* on, and stops before the first packet that has not come whole, is not the next
            in sequence, is not a row, or is part of a row of several packets.
        one: ``one(payload) -> row``: the row of several packets, whose payloads are joined.
    """

    run: Callable[[bytes, int, int, list[Any]], tuple[int, int]]
    one: Callable[[bytes], Any]


# --- values -----------------------------------------------------------------------------------------------------------

_TWO_DIGITS: Final = {b"%02d" % number: number for number in range(100)}


def _strict_from_iso(text: str) -> datetime:
    """Refuse hour 24: for PyMySQL it is invalid, for Python since 3.14 it is midnight of the next day."""
    if text[11:13] == "24":
        raise ValueError("hour 24")
    return datetime.fromisoformat(text)


from_iso: Final = datetime.fromisoformat if sys.version_info < (3, 14) else _strict_from_iso


def read_datetime(raw: bytes) -> object:
    """Convert like `pymysql.converters.convert_datetime`.

    `datetime.fromisoformat` accepts more forms (weeks, basic format, time zones), but none of them has a separator at
    each of these places. All other characters must be digits, which it checks itself.
    """
    size = len(raw)
    if (size == 19 and raw[4::3] == b"-- ::") or (20 < size <= 26 and raw[4:20:3] == b"-- ::." and raw[20:].isdigit()):
        try:
            return from_iso(raw.decode())
        except ValueError:  # a zero date, or a fraction of a length that Python 3.10 does not accept
            pass
    return converters.convert_datetime(raw)


def read_date(raw: bytes) -> object:
    """Convert like `pymysql.converters.convert_date`."""
    if len(raw) == 10 and raw[4::3] == b"--":
        try:
            return date.fromisoformat(raw.decode())
        except ValueError:
            pass
    return converters.convert_date(raw)


def read_time(raw: bytes) -> object:
    """Convert like `pymysql.converters.convert_timedelta`."""
    if len(raw) == 8 and raw[2::3] == b"::":
        try:
            seconds = _TWO_DIGITS[raw[:2]] * 3600 + _TWO_DIGITS[raw[3:5]] * 60 + _TWO_DIGITS[raw[6:]]
        except KeyError:
            pass
        else:
            return timedelta(0, seconds)
    return converters.convert_timedelta(raw)


def read_decimal(raw: bytes) -> Decimal:
    """Convert like `Decimal`, but only ASCII: `Decimal` itself accepts digits of other scripts."""
    return Decimal(raw.decode("ascii"))


#: PyMySQL's converters for columns that it decodes as ASCII, and functions that convert the bytes to the same value.
_SAME_FROM_BYTES: Final[tuple[tuple[object, Reader], ...]] = (
    (int, int),
    (float, float),
    (Decimal, read_decimal),
    (converters.convert_datetime, read_datetime),
    (converters.convert_date, read_date),
    (converters.convert_timedelta, read_time),
)


def _reader(encoding: str | None, converter: Callable[[Any], Any] | None) -> Reader:
    """Return the function that converts a column's bytes as PyMySQL does."""
    if encoding == "ascii" or (encoding is None and converter is not Decimal):  # Decimal refuses bytes, as in PyMySQL
        for standard, reader in _SAME_FROM_BYTES:
            if converter is standard:
                return reader
    if converter is None:
        return bytes if encoding is None else bytes.decode if encoding == "utf8" else lambda raw: raw.decode(encoding)
    return converter if encoding is None else lambda raw: converter(raw.decode(encoding))


# --- rows -------------------------------------------------------------------------------------------------------------


def _read_one(readers: Sequence[Reader], names: Sequence[str] | None, payload: bytes) -> Any:
    """Return the row in *payload*."""
    values: list[Any] = []
    position = 0
    for read in readers:
        first = payload[position]
        start = position = position + 1
        if first < 251:
            position = start + first
            values.append(read(payload[start:position]))
        elif first == 251:
            values.append(None)
        else:
            value, position = _read_long(payload, start - 1, read)
            values.append(value)
    if position != len(payload):
        raise malformed(BAD_ROW)
    return tuple(values) if names is None else dict(zip(names, values, strict=True))


def _read_long(data: bytes, position: int, read: Reader) -> tuple[Any, int]:
    """Return the value at *position*, whose length has more than one byte, and the position of the next."""
    start = position + 1 + (2, 3, 8)[data[position] - 252]
    end = start + int.from_bytes(data[position + 1 : start], "little")
    return read(data[start:end]), end


def _walk(
    one: Callable[[bytes], Any] | None, data: bytes, position: int, sequence: int, rows: list[Any]
) -> tuple[int, int]:
    """Read like `Decoder.run`, one packet at a time; without *one*, only skip the rows."""
    limit = min(len(data), position + LIMIT)
    while position + HEADER < limit:
        start = position + HEADER
        end = start + (data[position] | data[position + 1] << 8 | data[position + 2] << 16)
        if end > limit or data[position + 3] != sequence or data[start] >= EOF:
            break
        if one is not None:
            rows.append(one(data[start:end]))
        position = end
        sequence = (sequence + 1) & 255
    return position, sequence


def _read_nothing(_: bytes) -> None:
    return None


#: Skips rows.
SKIP: Final = Decoder(functools.partial(_walk, None), _read_nothing)


def make_packets_decoder() -> Decoder:
    """Make the decoder that returns rows as the payloads of their packets, for `improved_db.frames`."""
    if compiled.ROWS is not None:
        return Decoder(compiled.ROWS(b"p", (bytes,), None, _bad_row).run, bytes)
    return Decoder(functools.partial(_walk, bytes), bytes)


def make_splitter(columns: int) -> Callable[[Sequence[bytes]], list[bytes]] | None:
    """Return the compiled `Rows.split` for rows of so many columns; None if there is no compiled code."""
    if compiled.ROWS is None:
        return None
    return compiled.ROWS(b"b" * columns, (bytes,) * columns, None, _bad_row).split


# --- source -----------------------------------------------------------------------------------------------------------

#: Source that replaces a call of the reader, for values of at most 250 bytes.
_WRITTEN_OUT: Final[dict[Reader, str]] = {
    int: "VALUE = int(data[s:p])",
    float: "VALUE = float(data[s:p])",
    bytes: "VALUE = data[s:p]",
    bytes.decode: "VALUE = data[s:p].decode()",
    read_decimal: "VALUE = Decimal(data[s:p].decode('ascii'))",
    read_datetime: """\
raw = data[s:p]
try:
    VALUE = from_iso(raw.decode()) if c == 19 and raw[4::3] == b'-- ::' else read_datetime(raw)
except ValueError:
    VALUE = read_datetime(raw)""",
}

_NAMES: Final = {
    "BAD_ROW": BAD_ROW,
    "Decimal": Decimal,
    "from_iso": from_iso,
    "malformed": malformed,
    "read_datetime": read_datetime,
    "read_long": _read_long,
}


def _read_column(index: int, statements: str) -> list[str]:
    """Return the lines that read column *index* at ``p``, where byte ``c`` is, into ``v0`` ..., and move ``p``."""
    lines = [
        "c = data[p]",
        "if c < 251:",
        "    s = p + 1",
        "    p = s + c",
        *_indent(statements.replace("VALUE", f"v{index}").split("\n"), 1),
        "elif c == 251:",
        "    p += 1",
        f"    v{index} = None",
        "else:",
        f"    v{index}, p = read_long(data, p, read{index})",
    ]
    return lines if index else lines[1:]


def _indent(lines: Sequence[str], levels: int) -> list[str]:
    return ["    " * levels + line for line in lines]


@functools.lru_cache(maxsize=512)
def _compile(columns: tuple[str | None, ...], *, dicts: bool) -> CodeType:
    """Compile ``run`` for columns that these statements read; for None, the column's reader is called."""
    numbers = range(len(columns))
    row = f"{{{', '.join(f'name{i}: v{i}' for i in numbers)}}}" if dicts else f"({' '.join(f'v{i},' for i in numbers)})"
    reading = [_read_column(i, columns[i] or f"VALUE = read{i}(data[s:p])") for i in numbers]
    lines = [
        "def run(data, position, sequence, rows):",
        "    append = rows.append",
        f"    limit = min(len(data), position + {LIMIT})",
        f"    last = limit - {HEADER + 1}",
        "    while position <= last:",
        f"        p = position + {HEADER}",
        "        end = p + (data[position] | data[position + 1] << 8 | data[position + 2] << 16)",
        "        if end > limit or data[position + 3] != sequence:",
        "            break",
        "        c = data[p]",
        f"        if c >= {EOF}:",
        "            break",
        *_indent([line for lines in reading for line in lines], 2),
        # If a value runs over the end of its packet, p stays behind the end, so this one check is enough.
        "        if p != end:",
        "            raise malformed(BAD_ROW)",
        f"        append({row})",
        "        position = end",
        "        sequence = sequence + 1 & 255",
        "    return position, sequence",
    ]
    return compile("\n".join(lines), "<row decoder>", "exec")


def make_decoder(columns: Sequence[Column], names: Sequence[str] | None = None) -> Decoder:
    """Make the decoder for *columns*.

    Args:
        columns: How PyMySQL would read each column.
        names: The keys, for rows as dicts; None for rows as tuples.
    """
    readers = [_reader(*column) for column in columns]
    one = functools.partial(_read_one, readers, names)
    if compiled.ROWS is not None:
        kinds = b"".join(map(_kind, columns, readers))
        if len(kinds) == len(columns):  # otherwise a column has no kind
            calls = tuple(Decimal if reader is read_decimal else reader for reader in readers)
            made = compiled.ROWS(kinds, calls, None if names is None else tuple(names), _bad_row)
            return Decoder(made.run, one)
    if len(columns) > WIDEST:
        return Decoder(functools.partial(_walk, one), one)
    space: dict[str, Any] = dict(_NAMES)
    space.update((f"read{index}", reader) for index, reader in enumerate(readers))
    space.update((f"name{index}", name) for index, name in enumerate(names or ()))
    code = _compile(tuple(map(_written_out, readers)), dicts=names is not None)
    exec(code, space)  # noqa: S102 -- made from the constants above alone
    return Decoder(space["run"], one)


#: PyMySQL's names of encodings whose first 128 characters are ASCII's.
_LIKE_ASCII: Final = frozenset({"ascii", "cp1252", "latin1"})

#: The compiled reader's kinds of columns, see `read_value` in `_rows.c`.
_KINDS: Final[tuple[tuple[Reader, bytes], ...]] = (
    (int, b"i"),
    (float, b"f"),
    (bytes, b"b"),
    (bytes.decode, b"u"),
    (read_decimal, b"n"),
    (read_datetime, b"s"),
    (read_date, b"d"),
    (read_time, b"t"),
)


def _kind(column: Column, reader: Reader) -> bytes:
    """Return the compiled reader's kind for a column; nothing if only Python code can read it."""
    encoding, converter = column
    if converter is None and encoding in _LIKE_ASCII:
        return b"a"
    return next((kind for known, kind in _KINDS if known is reader), b"")


def _bad_row() -> Exception:
    return malformed(BAD_ROW)


def _written_out(reader: Reader) -> str | None:
    return next((source for known, source in _WRITTEN_OUT.items() if known is reader), None)


def check_row(data: bytes, position: int, end: int, columns: int) -> None:
    """Check a row on which a decoder failed: was the row malformed, or did a converter fail?

    Args:
        data: The bytes that contain the row.
        position: Where its first value begins.
        end: Where it ends.
        columns: How many values it should have.

    Raises:
        pymysql.err.InternalError: The row is malformed.
    """
    for _ in range(columns):
        first = data[position] if position < end else ERR
        if first == ERR:
            raise malformed(BAD_ROW)
        start = position + 1 + ((2, 3, 8)[first - 252] if first > 251 else 0)
        position = start + (first if first < 251 else int.from_bytes(data[position + 1 : start], "little"))
    if position != end:
        raise malformed(BAD_ROW)
