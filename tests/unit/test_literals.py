"""Literals written by the column, against PyMySQL's cursors writing them one by one."""

from __future__ import annotations

import datetime as dt
import enum
import time
from collections import UserDict, UserList
from decimal import Decimal
from typing import Any

import pymysql.connections
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pymysql import converters
from pymysql.constants import SERVER_STATUS

from improved_db.errors import StatementError
from improved_db.wire.literals import rows_to_sql


class Text(str):
    """A str that is not one."""

    __slots__ = ()


class Level(enum.IntEnum):
    """An int that is not one."""

    LOW = 1


class Moment(dt.datetime):
    """A datetime that is not one."""


class Unescaped(pymysql.connections.Connection):
    """A connection that escapes in a way of its own."""

    def escape(self, obj: object, mapping: Any = None) -> str:
        """Return what no other encoder would."""
        return f"<{super().escape(obj, mapping)}>"


def connection(status: int = 0, family: type[Any] = pymysql.connections.Connection, **options: Any) -> Any:
    """Return a connection that never was connected: escaping needs no more."""
    made: Any = family(defer_connect=True, ssl_disabled=True, **options)
    made.server_status = status
    return made


PLAIN = connection()
NO_BACKSLASHES = connection(SERVER_STATUS.SERVER_STATUS_NO_BACKSLASH_ESCAPES)


def one_by_one(values: str, rows: Any, escaping: Any) -> str:
    """Write the same with PyMySQL's cursor."""
    cursor = escaping.cursor()
    return ",".join([cursor.mogrify(values, row) for row in rows])


def outcome(function: Any, *arguments: Any) -> Any:
    """Return a result, or the type and text of an exception."""
    try:
        return function(*arguments)
    except Exception as error:
        return type(error), str(error)


TEXT = st.text(st.sampled_from("ab'\"\\\0\n\r\x1a\x1f%ü日\N{SNOWMAN}\ud800"), max_size=6) | st.text(max_size=20)
ZONE = dt.timezone(dt.timedelta(hours=5, minutes=30))

CELLS: list[st.SearchStrategy[Any]] = [
    TEXT,
    st.binary(max_size=8),
    st.binary(max_size=4).map(bytearray),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.floats(),
    st.decimals(allow_nan=False, allow_infinity=False),
    st.decimals(),
    st.datetimes(),
    st.datetimes(timezones=st.just(ZONE)),
    st.dates(),
    st.times(),
    st.times(timezones=st.just(ZONE)),
    st.timedeltas(),
    st.none(),
    st.lists(st.integers() | TEXT, max_size=3),
    st.tuples(st.integers(), st.none()),
    st.sets(st.integers(), max_size=2),
    st.just({"a": 1}),
    TEXT.map(Text),
    st.just(Level.LOW),
    st.just(Moment(2020, 1, 2, 3, 4, 5)),
    st.just(time.gmtime(0)),
    st.just(memoryview(b"ab")),
    st.just(object),
]


@st.composite
def tables(draw: st.DrawFn) -> list[tuple[Any, ...]]:
    """Rows whose columns hold one type, one type and NULL, or anything."""
    height = draw(st.integers(1, 6))
    columns = []
    for _ in range(draw(st.integers(1, 4))):
        cells = draw(st.sampled_from(CELLS))
        cells = draw(st.sampled_from([cells, cells, cells | st.none(), st.one_of(CELLS)]))
        columns.append(draw(st.lists(cells, min_size=height, max_size=height)))
    return list(zip(*columns, strict=True))


@given(rows=tables(), escaping=st.sampled_from([PLAIN, NO_BACKSLASHES]))
@example(rows=[("",), ("",)], escaping=PLAIN)
@example(rows=[("a\x1fb",), ("c",)], escaping=PLAIN)
@example(rows=[(0.0,), (-0.0,), (1e300,)], escaping=PLAIN)
@example(rows=[(float("nan"),)], escaping=PLAIN)
@example(rows=[(Decimal("1E+5"),), (Decimal("-0E-7"),)], escaping=PLAIN)
@example(rows=[(True,), (2,)], escaping=PLAIN)
def test_any_rows_are_written_as_pymysql_writes_them(rows: list[Any], escaping: Any) -> None:
    """Faster, and not one character different; where PyMySQL refuses a value, the error is the same."""
    values = f"({', '.join(['%s'] * len(rows[0]))})"
    written = outcome(rows_to_sql, values, rows, escaping)
    if isinstance(written, str):
        assert written == one_by_one(values, rows, escaping)
    else:  # of several values that cannot be written, the first by columns is another than the first by rows
        assert written in [outcome(one_by_one, "%s", [(cell,)], escaping) for row in rows for cell in row]


@pytest.mark.parametrize("values", ["(%s, upper(%s), 5, '%%')", "(%s,%s)", "(now(), %s + %s)", "((%s), (select '%s'))"])
def test_what_stands_around_the_values_is_kept(values: str) -> None:
    """Functions and constants are as good as plain placeholders, for which alone PyMySQL folds rows together."""
    rows = [(1, "a"), (2, "it's"), (3, "100%s")]
    assert rows_to_sql(values, rows, PLAIN) == one_by_one(values, rows, PLAIN)


def test_named_values_are_taken_from_mappings() -> None:
    """A name may come twice, and a row may hold more than is asked for."""
    values = "(%(a)s, lower(%(b)s), %(a)s, '%%')"
    rows: list[dict[str, Any]] = [{"a": 1, "b": "x", "c": None}, {"a": None, "b": "y"}]
    assert rows_to_sql(values, rows, PLAIN) == one_by_one(values, rows, PLAIN)
    assert rows_to_sql(values, [UserDict(row) for row in rows], PLAIN) == one_by_one(values, rows, PLAIN)


def test_rows_may_be_any_sequences_or_lone_values() -> None:
    """What a program has at hand: lists, rows of another library, a column of numbers."""
    assert rows_to_sql("(%s,%s)", [[1, 2], (3, 4), UserList([5, 6])], PLAIN) == "(1,2),(3,4),(5,6)"
    assert rows_to_sql("(%s)", [1, "ab", b"c"], PLAIN) == "(1),('ab'),(X'63')"
    assert rows_to_sql("(now())", [(), ()], PLAIN) == "(now()),(now())"


@pytest.mark.parametrize(
    ("values", "rows", "complaint"),
    [
        ("(%s,%s)", [(1, 2), (1, 2, 3)], "row 1 .* has 3 values; the statement has 2"),
        ("(%s,%s)", [(1,)], "row 0 .* has 1 values"),
        ("(%s)", [{"a": 1}], "no names"),
        ("(%(a)s)", [(1,)], "must be a mapping"),
        ("(%(a)s)", [{"a": 1}, {"b": 1}], "row 1 .* has no key 'a'"),
        ("(%s, %(a)s)", [(1,)], "either %s or"),
        ("(%d)", [(1,)], "invalid placeholders"),
    ],
)
def test_a_row_that_does_not_fit_is_named(values: str, rows: list[Any], complaint: str) -> None:
    """In a million rows the position is what one needs to know."""
    with pytest.raises(StatementError, match=complaint):
        rows_to_sql(values, rows, PLAIN)


def test_encoders_of_users_are_used() -> None:
    """`conv=` and a replaced `escape` decide how values are written, as in PyMySQL."""
    rows = [(1, Decimal(2), None, 1.5, "x", b"y"), (2, Decimal(3), None, 2.5, "z", b"w")]
    values = "(%s,%s,%s,%s,%s,%s)"
    mine: dict[Any, Any] = {Decimal: lambda value, _: f"d{value}", type(None): lambda _, __: "nothing"}
    mine[int] = lambda value, _: hex(value)
    for escaping in (
        connection(conv={**converters.conversions, **mine}),
        connection(conv={str: converters.escape_str}),
        connection(family=Unescaped),
    ):
        assert rows_to_sql(values, rows, escaping) == one_by_one(values, rows, escaping)
        assert rows_to_sql(values, [*rows, (None,) * 6], escaping) == one_by_one(values, [*rows, (None,) * 6], escaping)
