r"""Values as SQL text, a whole column at a time.

`rows_to_sql` writes the same text as PyMySQL's cursors write for each row: ``(1,'a'),(2,'b')``. It turns a chunk of
rows into columns, escapes a column of one type by one or two calls instead of one for each value, and makes the text by
a single join. The result is the same as PyMySQL's: if a column has several types, a type not listed here, or one whose
encoder the user has replaced, ``connection.escape`` writes each value.

Knows how PyMySQL escapes values. Does not know statements or packets.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from decimal import Decimal
from itertools import repeat
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias

import pymysql.connections
from pymysql import converters
from pymysql.constants import SERVER_STATUS

from improved_db.errors import StatementError
from improved_db.sql.insert import split_insert
from improved_db.sql.template import parse_template
from improved_db.wire.values import DATETIMES, escape_text, naive_time

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["Escaping", "escape_column", "rows_to_sql", "split_insert"]

#: Makes the literals of a column of one type; None if it has a value that needs another form.
ColumnEncoder: TypeAlias = "Callable[[Sequence[Any]], list[str] | None]"


class Escaping(Protocol):
    """What this module uses of a connection; a connected one of PyMySQL has it."""

    server_status: int
    encoders: dict[type[Any], Callable[[Any], str]]

    def escape(self, obj: object) -> str:
        """Return *obj* as an SQL literal."""


def rows_to_sql(values: str, rows: Sequence[Any], connection: Escaping, *, lone_lists: bool = True) -> str:
    """Return rows as SQL, with commas between them: ``(1,'a'),(2,'b')``.

    Args:
        values: How to write a row, as in ``"(%s, upper(%s), 5)"`` or ``"(%(id)s, now())"``; ``%%`` is a percent sign.
        rows: At least one. Mappings if *values* has names; else sequences, or lone values for a single ``%s``. Up to
            some thousand rows at a time are fastest.
        connection: Decides the escaping: by its ``encoders``, and by whether a backslash escapes on its server.
        lone_lists: Whether to write a list of one value, in parentheses, which the server takes for the value.

    Returns:
        Text, to be encoded with the connection's encoding.

    Raises:
        StatementError: A row does not fit *values*, or has a lone list.
        pymysql.err.ProgrammingError: A value has no literal: nan, infinity.
        TypeError: A value has no literal: a dict.
    """
    template = parse_template(values)
    if template is None:
        raise StatementError(
            f"invalid placeholders: use either %s or %(name)s, and write a literal percent sign as %%: {values!r}"
        )
    if template.names is None:
        columns = [escape_column(column, connection, lone_lists) for column in _positional(rows, template.width)]
    else:
        named = {name: escape_column(column, connection, lone_lists) for name, column in _named(rows, template.names)}
        columns = [named[name] for name in template.names]
    return _join(template.pieces, columns, len(rows))


def _positional(rows: Sequence[Any], width: int) -> Iterable[Sequence[Any]]:
    """Return the columns of rows that are sequences."""
    if not set(map(type, rows)) <= {tuple, list}:
        rows = [_as_sequence(row) for row in rows]
    if set(map(len, rows)) != {width}:
        number, size = next((number, len(row)) for number, row in enumerate(rows) if len(row) != width)
        raise StatementError(f"row {number} (counted from 0) has {size} values; the statement has {width} placeholders")
    return zip(*rows, strict=True)


def _as_sequence(row: Any) -> Sequence[Any]:
    if isinstance(row, (tuple, list)):
        return row
    if isinstance(row, Mapping):
        raise StatementError("a row is a mapping, but the placeholders have no names; write %(name)s instead of %s")
    if isinstance(row, Sequence) and not isinstance(row, (str, bytes, bytearray, memoryview)):
        return tuple(row)
    return (row,)


def _named(rows: Sequence[Any], names: Iterable[str]) -> Iterable[tuple[str, Sequence[Any]]]:
    """Return the columns of rows that are mappings, each once."""
    if not all(isinstance(row, Mapping) for row in rows):
        raise StatementError("the placeholders have names, so each row must be a mapping")
    for name in dict.fromkeys(names):
        try:
            yield name, [row[name] for row in rows]
        except KeyError:
            number = next(number for number, row in enumerate(rows) if name not in row)
            raise StatementError(f"row {number} (counted from 0) has no key {name!r}") from None


def _join(pieces: tuple[str, ...], columns: Sequence[list[str]], count: int) -> str:
    """Return *count* rows as text: make a list of all pieces and values in order, and fill it a column at a time."""
    if not columns:
        return ",".join([pieces[0]] * count)
    row = [pieces[-1] + "," + pieces[0], ""]
    for piece in pieces[1:-1]:
        row += piece, ""
    text = row * count
    for index, column in enumerate(columns):
        text[2 * index + 1 :: len(row)] = column
    text[0] = pieces[0]
    text.append(pieces[-1])
    return "".join(text)


def escape_column(column: Sequence[Any], connection: Escaping, lone_lists: bool = True) -> list[str]:
    """Return the literals of *column*, each the same as ``connection.escape`` returns; raise as that does."""
    kinds = set(map(type, column)) if _escapes_as_pymysql(connection) else set()
    if list in kinds and not lone_lists and any(type(value) is list and len(value) == 1 for value in column):
        raise StatementError("a list is for IN alone; for a JSON column pass json.dumps(value)")
    if len(kinds) == 2 and type(None) in kinds and connection.encoders.get(type(None)) is converters.escape_None:
        others = iter(escape_column([value for value in column if value is not None], connection))
        return ["NULL" if value is None else next(others) for value in column]
    encode = _column_encoder(kinds.pop(), connection) if len(kinds) == 1 else None
    literals = None if encode is None else encode(column)
    return list(map(connection.escape, column)) if literals is None else literals


def _escapes_as_pymysql(connection: Escaping) -> bool:
    """Say whether the connection's class uses PyMySQL's escaping, or ours, unchanged."""
    family: Any = type(connection)
    standard: Any = pymysql.connections.Connection
    of_texts = getattr(family, "_escape_string", None)
    return family.escape is standard.escape and of_texts in (standard._escape_string, escape_text)


def _column_encoder(kind: type, connection: Escaping) -> ColumnEncoder | None:
    """Return the function that writes a column as the connection writes each value of *kind*; None if unsure."""
    if kind is str:
        without_backslashes = connection.server_status & SERVER_STATUS.SERVER_STATUS_NO_BACKSLASH_ESCAPES
        return _quoted_texts if without_backslashes else _escaped_texts
    encoder, encode = _STANDARD.get(kind, (None, None))
    own = connection.encoders.get(kind)
    # Our encoders differ only for values with a time zone; for those, `_datetimes` and `_times` return None.
    ours = own in DATETIMES.values() if kind is dt.datetime else own is naive_time
    return encode if encoder is None or own is encoder or ours else None


#: Stands between the values of a joined column. If a value contains it, the column is escaped value by value.
SEPARATOR: Final = "\x1f"

#: PyMySQL's escapes. The backslash comes first, because the others add backslashes; none adds what a later one escapes.
_ESCAPES: Final = (
    ("\\", "\\\\"),
    ("\0", "\\0"),
    ("\n", "\\n"),
    ("\r", "\\r"),
    ("\x1a", "\\Z"),
    ('"', '\\"'),
    ("'", "\\'"),
)


def _escaped_texts(column: Sequence[str]) -> list[str] | None:
    return _texts(column, _ESCAPES)


def _quoted_texts(column: Sequence[str]) -> list[str] | None:
    return _texts(column, (("'", "''"),))


def _texts(column: Sequence[str], escapes: Sequence[tuple[str, str]]) -> list[str] | None:
    joined = escape_joined(column, escapes)
    return None if joined is None else ("'" + joined.replace(SEPARATOR, f"'{SEPARATOR}'") + "'").split(SEPARATOR)


def escape_joined(column: Sequence[str], escapes: Sequence[tuple[str, str]]) -> str | None:
    """Escape all texts of *column* at once.

    Args:
        column: At least one text.
        escapes: Pairs of a text and its replacement, applied one after the other.

    Returns:
        The texts with `SEPARATOR` between them; None if one of them contains it.
    """
    joined = SEPARATOR.join(column)
    if joined.count(SEPARATOR) != len(column) - 1:
        return None
    for special, escaped in escapes:
        if special in joined:
            joined = joined.replace(special, escaped)
    return joined


def _numbers(column: Sequence[int]) -> list[str]:
    return list(map(str, column))


def _booleans(column: Sequence[bool]) -> list[str]:
    return ["1" if value else "0" for value in column]


def _floats(column: Sequence[float]) -> list[str] | None:
    texts = list(map(repr, column))
    joined = ",".join(texts)
    if "n" in joined:  # nan and inf: PyMySQL raises its own error for them
        return None
    if "e" in joined:
        return [text if "e" in text else text + "e0" for text in texts]
    return (joined.replace(",", "e0,") + "e0").split(",")


def _decimals(column: Sequence[Decimal]) -> list[str] | None:
    return list(map(format, column, repeat("f"))) if all(map(Decimal.is_finite, column)) else None


def _bytes(column: Sequence[bytes]) -> list[str]:
    return [f"X'{value.hex()}'" for value in column]


def _datetimes(column: Sequence[dt.datetime]) -> list[str] | None:
    return _quoted(list(map(dt.datetime.isoformat, column, repeat(" "))), {19, 26})


def _times(column: Sequence[dt.time]) -> list[str] | None:
    return _quoted(list(map(dt.time.isoformat, column)), {8, 15})


def _quoted(texts: list[str], sizes: set[int]) -> list[str] | None:
    """Put quotes around ISO texts; None if one has another size, and so a time zone, which PyMySQL drops."""
    return [f"'{text}'" for text in texts] if set(map(len, texts)) <= sizes else None


def _dates(column: Sequence[dt.date]) -> list[str]:
    return [f"'{value.isoformat()}'" for value in column]


def _timedeltas(column: Sequence[dt.timedelta]) -> list[str]:
    return list(map(converters.escape_timedelta, column))


def _nulls(column: Sequence[None]) -> list[str]:
    return ["NULL"] * len(column)


#: PyMySQL's encoder of a type, and our function that does the same for a column. PyMySQL has no encoder of bytes.
_STANDARD: Final[dict[type, tuple[Callable[..., str] | None, ColumnEncoder]]] = {
    bool: (converters.escape_bool, _booleans),
    int: (converters.escape_int, _numbers),
    float: (converters.escape_float, _floats),
    Decimal: (converters.Decimal2Literal, _decimals),
    bytes: (None, _bytes),
    bytearray: (None, _bytes),
    dt.datetime: (converters.escape_datetime, _datetimes),
    dt.date: (converters.escape_date, _dates),
    dt.time: (converters.escape_time, _times),
    dt.timedelta: (converters.escape_timedelta, _timedeltas),
    type(None): (converters.escape_None, _nulls),
}
