r"""Rows as lines of LOAD DATA, a whole column at a time.

One or two calls write a column of one type, with or without NULLs, instead of one call for each value. If a column has
several types, or a value that needs a form of its own, the caller of this module writes row by row.

Knows how LOAD DATA reads its default format. Does not know statements, forms of columns or packets.
"""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from math import isfinite
from typing import TYPE_CHECKING, Any, Final

from pymysql import converters

from improved_db.wire.literals import SEPARATOR, escape_joined

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

#: The backslash comes first, because the others add backslashes.
ESCAPES: Final = (("\\", "\\\\"), ("\t", "\\t"), ("\n", "\\n"), ("\r", "\\r"), ("\0", "\\0"))
NULL: Final = "\\N"


def lines_by_column(rows: Sequence[Sequence[Any]], hexadecimal: Sequence[bool]) -> str | None:
    """Return the lines of *rows*.

    Args:
        rows: At least one; all of one width.
        hexadecimal: For each column, whether its values are bytes, written as hexadecimal digits.

    Returns:
        Text that ends with a newline; None if a column must be written value by value.
    """
    columns = []
    for column, in_hex in zip(zip(*rows, strict=True), hexadecimal, strict=True):
        fields = _fields(column, in_hex)
        if fields is None:
            return None
        columns.append(fields)
    return "\n".join(map("\t".join, zip(*columns, strict=True))) + "\n"


def _fields(column: Sequence[Any], in_hex: bool) -> Sequence[str] | None:
    kinds = set(map(type, column))
    if type(None) in kinds:
        if len(kinds) == 1:
            return [NULL] * len(column)
        others = _fields([value for value in column if value is not None], in_hex)
        if others is None:
            return None
        following = iter(others)
        return [NULL if value is None else next(following) for value in column]
    write = _WRITERS.get(kinds.pop()) if len(kinds) == 1 else None
    if write is None or in_hex is not (write is _hex):
        return None
    return write(column)


def _texts(column: Sequence[str]) -> list[str] | None:
    joined = escape_joined(column, ESCAPES)
    return None if joined is None else joined.split(SEPARATOR)


def _numbers(column: Sequence[int]) -> list[str]:
    return list(map(str, column))


def _finite(column: Sequence[float | Decimal]) -> list[str] | None:
    return list(map(str, column)) if all(map(isfinite, column)) else None


def _hex(column: Sequence[bytes]) -> list[str]:
    return [value.hex() for value in column]


def _datetimes(column: Sequence[dt.datetime]) -> list[str] | None:
    return _sized([value.isoformat(" ") for value in column], {19, 26})


def _times(column: Sequence[dt.time]) -> list[str] | None:
    return _sized(list(map(dt.time.isoformat, column)), {8, 15})


def _sized(texts: list[str], sizes: set[int]) -> list[str] | None:
    """Return *texts*; None if one has another size, and so a time zone."""
    return texts if set(map(len, texts)) <= sizes else None


_WRITERS: Final[dict[type, Callable[[Sequence[Any]], list[str] | None]]] = {
    str: _texts,
    int: _numbers,
    bool: lambda column: ["1" if value else "0" for value in column],
    float: _finite,
    Decimal: _finite,
    bytes: _hex,
    dt.datetime: _datetimes,
    dt.date: lambda column: list(map(dt.date.isoformat, column)),
    dt.time: _times,
    dt.timedelta: lambda column: [converters.escape_timedelta(value).strip("'") for value in column],
}
