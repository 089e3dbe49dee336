r"""LOAD DATA LOCAL fed from an iterable: no file is ever opened, whatever name the server asks for.

Rows become lines as the server's default format has them: values between tabs, ``\N`` for NULL, backslash escapes.
Bytes travel as hexadecimal digits, so that no charset can touch them.

Knows rows, lines and the LOAD DATA statement. Does not know pools or the protocol.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from itertools import chain, islice
from typing import Any, Final

from pymysql import converters

from improved_db.errors import StatementError

#: About how many bytes go into one packet.
PACKET: Final = 1_000_000
BATCH: Final = 2_000

_ESCAPES: Final = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r", "\0": "\\0"})


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
        first = list(islice(rows, 1))
        row = first[0]
        self._keys: Sequence[str] | None = (columns or list(row)) if isinstance(row, Mapping) else None
        self.rows = chain(first, rows)
        self.columns = list(columns or self._keys or [])
        self._table = quoted(table)
        self._width = len(self.columns) or len(row)
        binary = [isinstance(value, (bytes, bytearray)) for value in self._values(row, 1)]
        if any(binary) and not self.columns:
            raise StatementError("rows with bytes need columns=[...]: they are decoded column by column")
        self._binary = frozenset(name for name, is_binary in zip(self.columns, binary, strict=False) if is_binary)

    def statement(self) -> str:
        """Return the LOAD DATA statement."""
        fields = [f"@{number}" if name in self._binary else quoted(name) for number, name in enumerate(self.columns)]
        decode = [
            f"{quoted(name)} = UNHEX(@{number})" for number, name in enumerate(self.columns) if name in self._binary
        ]
        return (
            f"LOAD DATA LOCAL INFILE 'rows' INTO TABLE {self._table} CHARACTER SET utf8mb4"
            + (f" ({', '.join(fields)})" if fields else "")
            + (f" SET {', '.join(decode)}" if decode else "")
        )

    def insert(self) -> str:
        """Return the INSERT statement that does the same row by row."""
        names = f" ({', '.join(map(quoted, self.columns))})" if self.columns else ""
        # ruff: noqa: S608  # identifiers are quoted, values go in as arguments
        return f"INSERT INTO {self._table}{names} VALUES ({', '.join(['%s'] * self._width)})"

    def sequences(self) -> Iterator[Sequence[Any]]:
        """Return the rows as sequences of values in the order of the columns."""
        return (self._values(row, number) for number, row in enumerate(self.rows, 1))

    def packets(self, tell: Callable[[int], object]) -> Iterator[bytes]:
        """Return the lines, in packets; *tell* hears how many rows have been made."""
        lines: list[str] = []
        size = made = 0
        for row in self.sequences():
            lines.append("\t".join(map(field, row)))
            size += len(lines[-1]) + 1
            made += 1
            if size >= PACKET:
                yield ("\n".join(lines) + "\n").encode()
                lines, size = [], 0
            if made % BATCH == 0:
                tell(made)
        if lines:
            yield ("\n".join(lines) + "\n").encode()
        tell(made)

    def _values(self, row: Any, number: int) -> Sequence[Any]:
        if self._keys is not None:
            try:
                return [row[key] for key in self._keys]
            except (KeyError, TypeError) as error:
                raise StatementError(f"row {number}: it has no {error}; every row needs {list(self._keys)}") from None
        if isinstance(row, (str, bytes)) or not isinstance(row, Sequence) or len(row) != self._width:
            raise StatementError(f"row {number}: it must be a sequence of {self._width} values")
        return row


def field(value: Any) -> str:
    """Return one value as LOAD DATA reads it."""
    if value is None:
        return "\\N"
    if isinstance(value, str):
        return value.translate(_ESCAPES)
    if isinstance(value, bool):
        return "1" if value else "0"
    if isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, (bytes, bytearray)):
        return value.hex()
    if isinstance(value, timedelta):
        return converters.escape_timedelta(value).strip("'")
    return str(value).translate(_ESCAPES)
