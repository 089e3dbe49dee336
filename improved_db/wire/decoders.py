"""Rows from bytes, by functions compiled for each list of column kinds.

PyMySQL reads a row by one method call for each length, one for each value and two for each packet. A decoder written
for, say, (int, text, datetime) does the same with index arithmetic in one loop. Nothing the server sent gets into the
source of a decoder: encodings, converters and column names are bound as objects.

Where PyMySQL would call one of its standard converters, an equivalent stands in the source. It gives the same value
and type for every input; what it cannot decide by shape goes to PyMySQL's own converter. The converters of users are
called as PyMySQL calls them.

Knows the layout of a row packet and PyMySQL's converters. Does not know sockets or results.
"""

from __future__ import annotations

import functools
import sys
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from pymysql import converters

from improved_db.wire.packets import EOF, ERR, FULL, HEADER, malformed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import CodeType

#: How PyMySQL reads a column: decode with this encoding (None: leave it bytes), then call this (None: leave it).
Column: TypeAlias = "tuple[str | None, Callable[[Any], Any] | None]"


class Decoder(NamedTuple):
    """Two functions made from the same source.

    Attributes:
        run: ``run(data, position, sequence, rows) -> (position, sequence)``: appends to *rows* the rows of the plain
            row packets from *position* on, and stops in front of the first packet that is not whole, not the next in
            sequence, not a row, or part of a row of several packets.
        one: ``one(payload) -> row``: a row of several packets, joined.
    """

    run: Callable[[bytes, int, int, list[Any]], tuple[int, int]]
    one: Callable[[bytes], Any]


# --- values -----------------------------------------------------------------------------------------------------------

_TWO_DIGITS: Final = {b"%02d" % number: number for number in range(100)}


def _strict_from_iso(text: str) -> datetime:
    """Refuse hour 24, which to PyMySQL is no time, and to Python since 3.14 is midnight of the next day."""
    if text[11:13] == "24":
        raise ValueError("hour 24")
    return datetime.fromisoformat(text)


_from_iso: Final = datetime.fromisoformat if sys.version_info < (3, 14) else _strict_from_iso


def read_datetime(raw: bytes) -> object:
    """Do as `pymysql.converters.convert_datetime`; values without a fraction get here only if they are odd."""
    if 20 < len(raw) <= 26 and raw[4:20:3] == b"-- ::." and raw[20:].isdigit():
        try:
            return _from_iso(raw.decode())
        except ValueError:  # a zero date, or a fraction of a length that Python 3.10 does not take
            pass
    return converters.convert_datetime(raw)


def read_date(raw: bytes) -> object:
    """Do as `pymysql.converters.convert_date`."""
    if len(raw) == 10 and raw[4::3] == b"--":
        try:
            return date.fromisoformat(raw.decode())
        except ValueError:
            pass
    return converters.convert_date(raw)


def read_time(raw: bytes) -> object:
    """Do as `pymysql.converters.convert_timedelta`."""
    if len(raw) == 8 and raw[2::3] == b"::":
        try:
            seconds = _TWO_DIGITS[raw[:2]] * 3600 + _TWO_DIGITS[raw[3:5]] * 60 + _TWO_DIGITS[raw[6:]]
        except KeyError:
            pass
        else:
            return timedelta(0, seconds)
    return converters.convert_timedelta(raw)


# --- source -----------------------------------------------------------------------------------------------------------

#: `datetime.fromisoformat` takes more than PyMySQL does (weeks, basic format, time zones), but not with a separator in
#: each of these places: they leave only digits, which it checks itself, for the rest.
_DATETIME: Final = """\
raw = data[s:p]
try:
    VALUE = from_iso(raw.decode()) if c == 19 and raw[4::3] == b'-- ::' else read_datetime(raw)
except ValueError:
    VALUE = read_datetime(raw)"""

#: PyMySQL's converters for columns it decodes as ASCII, and what does the same from bytes. `Decimal` takes text only,
#: and digits of other scripts too, which is why it alone needs the stricter decoding.
_SAME_FROM_BYTES: Final[tuple[tuple[object, str], ...]] = (
    (int, "VALUE = int(data[s:p])"),
    (float, "VALUE = float(data[s:p])"),
    (Decimal, "VALUE = Decimal(data[s:p].decode('ascii'))"),
    (converters.convert_datetime, _DATETIME),
    (converters.convert_date, "VALUE = read_date(data[s:p])"),
    (converters.convert_timedelta, "VALUE = read_time(data[s:p])"),
)

_NAMES: Final = {
    "Decimal": Decimal,
    "from_iso": _from_iso,
    "malformed": malformed,
    "read_date": read_date,
    "read_datetime": read_datetime,
    "read_time": read_time,
}


def _statements(index: int, column: Column) -> str:
    """Return the source that makes ``VALUE`` of a value that is not NULL, whose bytes are ``data[s:p]``."""
    encoding, converter = column
    if encoding == "ascii" or (encoding is None and converter is not Decimal):  # Decimal refuses bytes: let it
        for standard, source in _SAME_FROM_BYTES:
            if converter is standard:
                return source
    value = "data[s:p]"
    if encoding is not None:
        value += ".decode()" if encoding == "utf8" else f".decode(encoding{index})"
    return f"VALUE = {value}" if converter is None else f"VALUE = converter{index}({value})"


def _read_columns(columns: Sequence[str]) -> list[str]:
    """Return the lines that read ``v0``, ``v1`` ... from ``data`` at ``p``, where byte ``c`` stands, up to ``end``."""
    lines: list[str] = []
    for index, statements in enumerate(columns):
        value = _indent(statements.replace("VALUE", f"v{index}").split("\n"), 1)
        if index:
            lines.append("c = data[p]")
        lines += [
            "if c < 251:",
            "    s = p + 1",
            "    p = s + c",
            *value,
            "elif c == 251:",
            "    p += 1",
            f"    v{index} = None",
            "else:",
            "    s = p + 1 + (2, 3, 8)[c - 252]",
            "    p = s + int.from_bytes(data[p + 1:s], 'little')",
            *value,
        ]
    # A value that runs over the end of its packet leaves p behind the end for good, so this one look suffices.
    return [*lines, "if p != end: raise malformed('a row does not fill its packet')"]


def _indent(lines: Sequence[str], levels: int) -> list[str]:
    return ["    " * levels + line for line in lines]


@functools.lru_cache(maxsize=512)
def _compile(columns: tuple[str, ...], *, dicts: bool) -> CodeType:
    """Compile ``run`` and ``one`` for columns that are read by these statements."""
    reading = _read_columns(columns)
    numbers = range(len(columns))
    row = f"{{{', '.join(f'name{i}: v{i}' for i in numbers)}}}" if dicts else f"({' '.join(f'v{i},' for i in numbers)})"
    lines = [
        "def run(data, position, sequence, rows):",
        "    append = rows.append",
        # Short enough that a packet of full length, which another one continues, never fits: it is not for us.
        f"    limit = min(len(data), position + {HEADER + FULL - 1})",
        f"    last = limit - {HEADER + 1}",
        "    while position <= last:",
        f"        p = position + {HEADER}",
        "        end = p + (data[position] | data[position + 1] << 8 | data[position + 2] << 16)",
        "        if end > limit or data[position + 3] != sequence:",
        "            break",
        "        c = data[p]",
        f"        if c >= {EOF}:",
        "            break",
        *_indent(reading, 2),
        f"        append({row})",
        "        position = end",
        "        sequence = sequence + 1 & 255",
        "    return position, sequence",
        "def one(data):",
        "    c, p, end = data[0], 0, len(data)",
        *_indent(reading, 1),
        f"    return {row}",
    ]
    return compile("\n".join(lines), "<row decoder>", "exec")


def make_decoder(columns: Sequence[Column], names: Sequence[str] | None = None) -> Decoder:
    """Make the decoder for *columns*.

    Args:
        columns: How PyMySQL would read each column.
        names: Keys of the rows, for dicts; None for tuples.
    """
    space: dict[str, Any] = dict(_NAMES)
    for index, (encoding, converter) in enumerate(columns):
        space[f"encoding{index}"] = encoding
        space[f"converter{index}"] = converter
    for index, name in enumerate(names or ()):
        space[f"name{index}"] = name
    statements = tuple(_statements(index, column) for index, column in enumerate(columns))
    exec(_compile(statements, dicts=names is not None), space)  # noqa: S102 -- made from the constants above alone
    return Decoder(space["run"], space["one"])


def _skip_run(data: bytes, position: int, sequence: int, rows: list[Any]) -> tuple[int, int]:  # noqa: ARG001
    limit = min(len(data), position + HEADER + FULL - 1)
    while position + HEADER < limit:
        end = position + HEADER + (data[position] | data[position + 1] << 8 | data[position + 2] << 16)
        if end > limit or data[position + 3] != sequence or data[position + HEADER] >= EOF:
            break
        position = end
        sequence = (sequence + 1) & 255
    return position, sequence


#: Reads past rows without looking into them.
SKIP: Final = Decoder(_skip_run, lambda payload: payload[:0])


def check_row(data: bytes, position: int, end: int, columns: int) -> None:
    """Look again at a row on which a decoder failed: was it the row, or a converter?

    Args:
        data: What holds the row.
        position: Where its first value begins.
        end: Where it ends.
        columns: How many values it should have.

    Raises:
        pymysql.err.InternalError: It is not made of so many values.
    """
    for _ in range(columns):
        first = data[position] if position < end else ERR
        if first == ERR:
            raise malformed("a row does not fill its packet")
        start = position + 1 + ((2, 3, 8)[first - 252] if first > 251 else 0)
        position = start + (first if first < 251 else int.from_bytes(data[position + 1 : start], "little"))
    if position != end:
        raise malformed("a row does not fill its packet")
