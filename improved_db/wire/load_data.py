r"""LOAD DATA LOCAL fed from an iterable: no file is ever opened, whatever name the server asks for.

Rows become lines as the server's default format has them, which the statement spells out, since sql_mode may change the
default: values between tabs, ``\N`` for NULL, backslash escapes. Bytes travel as hexadecimal digits, so that no charset
can touch them; which columns are read so, a statement says once, and where that changes another statement begins.

Knows rows, lines and the LOAD DATA statement. Does not know pools or the protocol.
"""

from __future__ import annotations

import datetime as dt
import re
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from itertools import islice
from math import isfinite
from typing import Any, Final

from pymysql import converters

from improved_db.errors import StatementError
from improved_db.wire.values import DATETIMES, naive_time, plain_value

#: About how many bytes go into one packet.
PACKET: Final = 1_000_000
#: So many rows are looked at before a statement says which columns hold bytes.
BATCH: Final = 2_000

#: Makes errors of what LOAD DATA and INSERT would change to fit, so that both put the same into the table.
STRICT: Final = "SET sql_mode = CONCAT_WS(',', 'STRICT_ALL_TABLES', NULLIF(@@sql_mode, ''))"

_ESCAPES: Final = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r", "\0": "\\0"})
_FORMAT: Final = "CHARACTER SET utf8mb4 FIELDS TERMINATED BY x'09' ESCAPED BY x'5C' LINES TERMINATED BY x'0A'"
_BYTES: Final = (bytes, bytearray, memoryview)
_END: Final = object()
_LONE: Final = re.compile("[\ud800-\udfff]")


def quoted(name: str) -> str:
    """Quote an identifier; a dot separates a database from its table."""
    return ".".join(f"`{part.replace('`', '``')}`" for part in name.split("."))


class LocalLoad:
    """One LOAD DATA statement and the lines that go with it."""

    def __init__(self, table: str, columns: Sequence[str] | None, rows: Iterator[Any]) -> None:
        """Look at the first row.

        Args:
            table: Where the rows go, ``database.table`` or ``table``.
            columns: Of which columns the rows are; None for all of them, or for the keys of rows that are mappings.
            rows: At least one.

        Raises:
            StatementError: *columns* do not fit the first row.
        """
        self._ahead: deque[Any] = deque(islice(rows, 1))
        self._rows = rows
        self._taken = 0
        row = self._ahead[0]
        self._keys: Sequence[str] | None = (columns or list(row)) if isinstance(row, Mapping) else None
        self.columns = list(columns or self._keys or [])
        self._table = quoted(table)
        self._width = len(self.columns) or len(row)
        self._values(row, 1)

    def insert(self) -> str:
        """Return the INSERT statement that does the same row by row."""
        names = f" ({', '.join(map(quoted, self.columns))})" if self.columns else ""
        into = f"INSERT INTO {self._table}{names}".replace("%", "%%")
        return f"{into} VALUES ({', '.join(['%s'] * self._width)})"

    def sequences(self) -> Iterator[Sequence[Any]]:
        """Return the rows as sequences of values in the order of the columns."""
        while (row := self._take()) is not _END:
            yield self._values(row, self._taken)

    def parts(
        self, tell: Callable[[int], object], encoders: Mapping[Any, Any]
    ) -> Iterator[tuple[str, Iterator[bytes]]]:
        """Return LOAD DATA statements, and the lines that go with each, in packets.

        Args:
            tell: Hears how many rows have been made.
            encoders: The connection's, which know what becomes of a datetime with a time zone.
        """
        own = encoders.get(dt.datetime)
        at = own if own is not None and own in DATETIMES.values() else DATETIMES["refuse"]
        writers: dict[type, Callable[[Any], str]] = {**_WRITERS, dt.datetime: lambda value: at(value).strip("'")}
        while self._look_ahead():
            binary = self._find_bytes()
            yield self._statement(binary), self._packets(binary, writers, tell)

    def _take(self) -> Any:
        row = self._ahead.popleft() if self._ahead else next(self._rows, _END)
        self._taken += 1
        return row

    def _look_ahead(self) -> bool:
        self._ahead.extend(islice(self._rows, BATCH - len(self._ahead)))
        return bool(self._ahead)

    def _find_bytes(self) -> list[bool]:
        """Say which columns hold bytes in the rows ahead, up to the first that has something else there."""
        found: list[bool | None] = [None] * self._width
        for number, row in enumerate(self._ahead, self._taken + 1):
            for index, value in enumerate(self._values(row, number)):
                is_bytes = None if value is None else isinstance(value, _BYTES)
                if is_bytes is not None and found[index] not in (None, is_bytes):
                    return list(map(bool, found))
                found[index] = found[index] if is_bytes is None else is_bytes
        return list(map(bool, found))

    def _statement(self, binary: Sequence[bool]) -> str:
        if any(binary) and not self.columns:
            raise StatementError("rows with bytes need columns=[...]: they are decoded column by column")
        names = list(zip(self.columns, binary, strict=False))
        fields = [f"@{number}" if is_bytes else quoted(name) for number, (name, is_bytes) in enumerate(names)]
        decode = [f"{quoted(name)} = UNHEX(@{number})" for number, (name, is_bytes) in enumerate(names) if is_bytes]
        return (
            f"LOAD DATA LOCAL INFILE 'rows' INTO TABLE {self._table} {_FORMAT}"
            + (f" ({', '.join(fields)})" if fields else "")
            + (f" SET {', '.join(decode)}" if decode else "")
        )

    def _packets(
        self, binary: Sequence[bool], writers: Mapping[type, Callable[[Any], str]], tell: Callable[[int], object]
    ) -> Iterator[bytes]:
        """Return lines up to the first row that has bytes in other columns than *binary* says."""
        lines: list[str] = []
        size = 0
        while (row := self._take()) is not _END:
            line = self._line(row, binary, writers)
            if line is None:
                self._ahead.appendleft(row)
                break
            lines.append(line)
            size += len(line) + 1
            if size >= PACKET:
                yield self._encoded(lines)
                lines, size = [], 0
            if self._taken % BATCH == 0:
                tell(self._taken)
        self._taken -= 1  # the one that ended it
        if lines:
            yield self._encoded(lines)
        tell(self._taken)

    def _line(self, row: Any, binary: Sequence[bool], writers: Mapping[type, Callable[[Any], str]]) -> str | None:
        """Return one row as LOAD DATA reads it; None if it has bytes in other columns."""
        values = self._values(row, self._taken)
        if not any(binary):
            try:
                return "\t".join([writers[type(value)](value) for value in values])
            except (KeyError, StatementError):
                pass  # a type that takes longer, or the slow way says what is wrong with which value
        fields = []
        for index, value in enumerate(values):
            write = writers.get(type(value))
            if isinstance(value, _BYTES):
                if not binary[index]:
                    return None
                fields.append(value.hex())
                continue
            if binary[index] and value is not None:
                return None
            try:
                fields.append(write(value) if write else _write_other(value, writers))
            except StatementError as error:
                place = repr(self.columns[index]) if self.columns else index + 1
                raise StatementError(f"row {self._taken}, column {place}: {error}") from None
        return "\t".join(fields)

    def _encoded(self, lines: Sequence[str]) -> bytes:
        text = "\n".join(lines) + "\n"
        if not text.isascii() and _LONE.search(text):  # the codec's own error would carry all of it
            number = next(number for number, line in enumerate(lines) if _LONE.search(line))
            raise StatementError(f"row {self._taken - len(lines) + number + 1}: it has a lone surrogate")
        return text.encode()

    def _values(self, row: Any, number: int) -> Sequence[Any]:
        if self._keys is not None:
            try:
                return [row[key] for key in self._keys]
            except (KeyError, TypeError) as error:
                raise StatementError(f"row {number}: it has no {error}; every row needs {list(self._keys)}") from None
        if isinstance(row, (str, *_BYTES)) or not isinstance(row, Sequence) or len(row) != self._width:
            raise StatementError(f"row {number}: it must be a sequence of {self._width} values")
        return row


def _write_other(value: Any, writers: Mapping[type, Callable[[Any], str]]) -> str:
    plain = plain_value(value)
    return writers[type(plain)](plain)


def _write_number(value: float | Decimal) -> str:
    if not isfinite(value):
        raise StatementError(f"{value} can not be used with MySQL")
    return str(value)


#: By type, how a value is written; a datetime's writer comes with the connection, bytes go another way.
_WRITERS: Final[dict[type, Callable[[Any], str]]] = {
    type(None): lambda _: "\\N",
    str: lambda text: text.translate(_ESCAPES),
    bool: lambda value: "1" if value else "0",
    int: str,
    float: _write_number,
    Decimal: _write_number,
    dt.date: dt.date.isoformat,
    dt.time: lambda value: naive_time(value).strip("'"),
    dt.timedelta: lambda value: converters.escape_timedelta(value).strip("'"),
}
