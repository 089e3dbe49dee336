"""Rows written by the column, put into real tables and read back."""

from __future__ import annotations

import datetime as dt
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pymysql
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from improved_db.wire.literals import rows_to_sql, split_insert

if TYPE_CHECKING:
    from collections.abc import Iterator

CELLS: dict[str, st.SearchStrategy[Any]] = {
    "bigint": st.integers(-(2**63), 2**63 - 1),
    "tinyint": st.booleans(),
    "text character set utf8mb4": st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
    | st.text(st.sampled_from("'\"\\\0\n\r\x1a\x1f%ab"), max_size=8),
    "blob": st.binary(max_size=20),
    "double": st.floats(allow_nan=False, allow_infinity=False),
    "decimal(30,10)": st.decimals(-(10**19), 10**19, places=10),
    "datetime(6)": st.datetimes(dt.datetime(1000, 1, 1)),  # noqa: DTZ001  # DATETIME has no zone
    "date": st.dates(dt.date(1000, 1, 1)),
    "time(6)": st.timedeltas(dt.timedelta(hours=-838), dt.timedelta(hours=838)),
}
PLACES = f"(%s, {', '.join(['%s'] * len(CELLS))})"
ROWS = st.lists(st.tuples(*(st.none() | cells for cells in CELLS.values())), min_size=1, max_size=10)


@pytest.fixture(params=["", "NO_BACKSLASH_ESCAPES"])
def connection(request: pytest.FixtureRequest, database: dict[str, Any]) -> Iterator[Any]:
    """A connection in one of two SQL modes, to a database with an empty table of the types of `CELLS`."""
    with closing(pymysql.connect(**database, autocommit=True, sql_mode=request.param)) as connected:
        with connected.cursor() as cursor:
            columns = ", ".join(f"c{number} {kind} null" for number, kind in enumerate(CELLS))
            cursor.execute(f"create table many (n int, {columns})")
        yield connected


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=ROWS)
def test_what_is_written_is_what_is_read(connection: Any, rows: list[Any]) -> None:
    """Every value comes back as it was, whatever characters are in it and whatever escapes the server takes."""
    insert = split_insert(f"insert into many values {PLACES} on duplicate key update n = values(n)")
    assert insert is not None
    numbered = [(number, *row) for number, row in enumerate(rows)]
    with connection.cursor() as cursor:
        cursor.execute("truncate many")
        cursor.execute(insert.prefix + rows_to_sql(insert.values, numbered, connection) + insert.postfix)
        assert cursor.rowcount == len(rows)
        cursor.execute("select * from many order by n")
        assert list(cursor.fetchall()) == numbered


@pytest.mark.parametrize("charset", ["latin1", "gbk", "utf8mb3"])
def test_text_is_safe_in_other_charsets(database: dict[str, Any], charset: str) -> None:
    """In gbk a backslash may be half a character; what escapes must not become part of one."""
    texts = ["'; drop table many; --", "\\", "\\'", "a'b", "ü" if charset != "gbk" else "縗"]
    with closing(pymysql.connect(**database, charset=charset)) as connected, connected.cursor() as cursor:
        escaping: Any = connected
        cursor.execute("create table many (n int, t varchar(100) character set utf8mb4)")
        sql = "insert into many values " + rows_to_sql("(%s, %s)", list(enumerate(texts)), escaping)
        cursor.execute(sql)
        cursor.execute("select t from many order by n")
        assert [row[0] for row in cursor.fetchall()] == texts
