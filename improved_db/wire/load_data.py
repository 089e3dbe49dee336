r"""LOAD DATA LOCAL from an iterable: the client opens no file, whichever name the server asks for.

Rows become lines in the server's default format: tabs between values, ``\N`` for NULL, backslash escapes. The statement
names this format, because sql_mode may change the default. Bytes are sent as hexadecimal digits, so that no charset can
change them. A datetime that the server has to convert to the session's time zone is sent as seconds since 1970. Each
statement says which columns have these forms; the first row with other forms begins another statement.

Knows rows, lines and the LOAD DATA statement. Does not know pools or the protocol.
"""

from __future__ import annotations

import datetime as dt
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from itertools import islice
from math import isfinite
from typing import Any, Final

from pymysql import converters

from improved_db.errors import StatementError
from improved_db.wire.lines import ESCAPES, lines_by_column
from improved_db.wire.values import DATETIMES, is_aware, naive_or_in_session, naive_time, plain_value, unix_time

#: About how many bytes go into one packet.
PACKET: Final = 1_000_000
#: How many rows are read before a statement says which columns have bytes, and how many are written at a time.
BATCH: Final = 2_000

#: Makes a value that does not fit its column an error; without it, LOAD DATA and INSERT change such values differently.
STRICT: Final = "SET sql_mode = CONCAT_WS(',', 'STRICT_ALL_TABLES', NULLIF(@@sql_mode, ''))"

_ESCAPES: Final = str.maketrans(dict(ESCAPES))
_FORMAT: Final = "CHARACTER SET utf8mb4 FIELDS TERMINATED BY x'09' ESCAPED BY x'5C' LINES TERMINATED BY x'0A'"
_BYTES: Final = (bytes, bytearray, memoryview)
#: The forms of a field: the expression by which the server gets the value; empty if the field is the value itself.
_HEX, _INSTANT, _PLAIN = "UNHEX({})", "FROM_UNIXTIME(CAST({} AS DECIMAL(16, 6)))", ""
_END: Final = object()


def quoted(name: str) -> str:
    """Quote an identifier; a dot separates a database from its table."""
    return ".".join(f"`{part.replace('`', '``')}`" for part in name.split("."))


class LocalLoad:
    """The LOAD DATA statements for a table, and their lines."""

    def __init__(self, table: str, columns: Sequence[str] | None, rows: Iterator[Any]) -> None:
        """Read the first row.

        Args:
            table: The table to load, ``database.table`` or ``table``.
            columns: The columns of the rows; None for all columns, or for the keys of rows that are mappings.
            rows: The rows, at least one.

        Raises:
            StatementError: The first row does not fit *columns*.
        """
        self._ahead: deque[Any] = deque(islice(rows, 1))
        self._rows = rows
        self._taken = 0
        row = self._ahead[0]
        self._keys: Sequence[str] | None = (columns or list(row)) if isinstance(row, Mapping) else None
        if isinstance(row, (str, bytes, bytearray)) or not hasattr(row, "__len__"):
            raise StatementError(f"row 1 is a {type(row).__name__}, and no sequence of values: for one row write [row]")
        self.columns: list[str] = list(columns or self._keys or [])
        self._table = quoted(table)
        self._width = len(self.columns) or len(row)
        self._in_session = False
        self._values(row, 1)

    def insert(self) -> str:
        """Return the INSERT statement that inserts one such row."""
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
        """Return LOAD DATA statements, each with its lines, in packets.

        Args:
            tell: Called with the number of rows written so far.
            encoders: The connection's; they decide how a datetime with a time zone is written.
        """
        own = encoders.get(dt.datetime)
        at = own if own is not None and own in DATETIMES.values() else DATETIMES["refuse"]
        plain = DATETIMES["refuse"] if at is naive_or_in_session else at  # with a time zone they have their own form
        writers: dict[type, Callable[[Any], str]] = {**_WRITERS, dt.datetime: lambda value: plain(value).strip("'")}
        self._in_session = at is naive_or_in_session
        while self._look_ahead():
            forms = self._find_forms()
            yield self._statement(forms), self._packets(forms, writers, tell)

    def _take(self) -> Any:
        row = self._ahead.popleft() if self._ahead else next(self._rows, _END)
        self._taken += 1
        return row

    def _look_ahead(self) -> bool:
        self._ahead.extend(islice(self._rows, BATCH - len(self._ahead)))
        return bool(self._ahead)

    def _form(self, value: Any) -> str:
        """Return the form of a value that is not None."""
        if isinstance(value, _BYTES):
            return _HEX
        return _INSTANT if self._in_session and isinstance(value, dt.datetime) and is_aware(value) else _PLAIN

    def _find_forms(self) -> list[str]:
        """Return the form of each column in the rows ahead, up to the first row with another form."""
        found: list[str | None] = [None] * self._width
        for number, row in enumerate(self._ahead, self._taken + 1):
            for index, value in enumerate(self._values(row, number)):
                form = None if value is None else self._form(value)
                if form is not None and found[index] not in (None, form):
                    return [form or _PLAIN for form in found]
                found[index] = found[index] if form is None else form
        return [form or _PLAIN for form in found]

    def _statement(self, forms: Sequence[str]) -> str:
        if any(forms) and not self.columns:
            what = "bytes" if _HEX in forms else "datetimes in the session's time zone"
            raise StatementError(f"rows with {what} need columns=[...], because the server decodes them by column")
        names = list(zip(self.columns, forms, strict=False))
        fields = [f"@{number}" if form else quoted(name) for number, (name, form) in enumerate(names)]
        decode = [f"{quoted(name)} = {form.format(f'@{number}')}" for number, (name, form) in enumerate(names) if form]
        return (
            f"LOAD DATA LOCAL INFILE 'rows' INTO TABLE {self._table} {_FORMAT}"
            + (f" ({', '.join(fields)})" if fields else "")
            + (f" SET {', '.join(decode)}" if decode else "")
        )

    def _packets(
        self, forms: Sequence[str], writers: Mapping[type, Callable[[Any], str]], tell: Callable[[int], object]
    ) -> Iterator[bytes]:
        """Return lines, up to the first row that needs other forms than *forms*."""
        held: list[str] = []
        size, goes_on = 0, True
        while goes_on and self._look_ahead():
            text = self._lines_by_column(forms)
            if text is None:
                text, goes_on = self._lines_by_row(forms, writers)
            held.append(text)
            size += len(text)
            if size >= PACKET:
                yield self._encoded("".join(held))
                held, size = [], 0
            tell(self._taken)
        if size:
            yield self._encoded("".join(held))

    def _lines_by_column(self, forms: Sequence[str]) -> str | None:
        """Return the lines of all rows ahead; None if they must be written row by row."""
        rows: Sequence[Any] = self._ahead
        if self._keys is not None:
            keys = self._keys
            try:
                rows = [[row[key] for key in keys] for row in rows]
            except (KeyError, TypeError):
                return None
        elif not set(map(type, rows)) <= {tuple, list} or set(map(len, rows)) != {self._width}:
            return None
        if self._in_session and any(isinstance(value, dt.datetime) for row in rows for value in row):
            return None  # one may have a time zone, and so another form
        text = lines_by_column(rows, [form == _HEX for form in forms])
        if text is not None:
            self._taken += len(rows)
            self._ahead.clear()
        return text

    def _lines_by_row(self, forms: Sequence[str], writers: Mapping[type, Callable[[Any], str]]) -> tuple[str, bool]:
        """Return the lines of the rows ahead up to one with other forms, and True if there was no such row."""
        lines: list[str] = []
        while self._ahead:
            row = self._take()
            line = self._line(row, forms, writers)
            if line is None:
                self._ahead.appendleft(row)
                self._taken -= 1
                return "".join(lines), False
            lines.append(line + "\n")
        return "".join(lines), True

    def _line(self, row: Any, forms: Sequence[str], writers: Mapping[type, Callable[[Any], str]]) -> str | None:
        """Return the line of one row; None if it has values in other forms."""
        values = self._values(row, self._taken)
        if not any(forms):
            try:
                return "\t".join([writers[type(value)](value) for value in values])
            except (KeyError, StatementError):
                pass  # the loop below writes the rarer types, and says which value is invalid
        fields = []
        for index, value in enumerate(values):
            if value is not None and self._form(value) != forms[index]:
                return None
            try:
                fields.append(_write(value, forms[index], writers))
            except StatementError as error:
                place = repr(self.columns[index]) if self.columns else index + 1
                raise StatementError(f"row {self._taken}, column {place}: {error}") from None
        return "\t".join(fields)

    def _encoded(self, text: str) -> bytes:
        try:
            return text.encode()
        except UnicodeEncodeError as error:  # not kept, because it holds the whole text
            place = error.start
        number = self._taken - text.count("\n", place)
        raise StatementError(f"row {number + 1}: a text has a lone surrogate, which UTF-8 cannot encode")

    def _values(self, row: Any, number: int) -> Sequence[Any]:
        if self._keys is not None:
            try:
                return [row[key] for key in self._keys]
            except (KeyError, TypeError) as error:
                raise StatementError(f"row {number} has no {error}; every row needs {list(self._keys)}") from None
        if isinstance(row, (str, *_BYTES)) or not isinstance(row, Sequence) or len(row) != self._width:
            raise StatementError(f"row {number} must be a sequence of {self._width} values")
        return row


def _write(value: Any, form: str, writers: Mapping[type, Callable[[Any], str]]) -> str:
    if value is not None and form:
        return str(value.hex()) if form == _HEX else unix_time(value)
    if type(value) not in writers:
        value = plain_value(value)
    return writers[type(value)](value)


def _write_number(value: float | Decimal) -> str:
    if not isfinite(value):
        raise StatementError(f"{value} can not be used with MySQL")
    return str(value)


#: By type, how a value is written. The connection decides how to write a datetime; bytes have a form of their own.
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
