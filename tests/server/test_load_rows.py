"""LOAD DATA LOCAL from an iterable: what goes in comes out, and nothing else is ever sent."""

from __future__ import annotations

import datetime as dt
import logging
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pymysql.err
import pytest

from improved_db import ImprovedDb, StatementError
from improved_db.testing import TemporaryServer

if TYPE_CHECKING:
    from collections.abc import Iterator

ROWS: list[tuple[Any, ...]] = [
    (1, "plain", b"\x00\xff\t\n\\", dt.datetime.fromisoformat("2020-02-29 23:59:59.123456"), Decimal("-0.05"), 1.5),
    (
        2,
        "tab\tline\nback\\\r\x00'\"\N{EURO SIGN}\N{GRINNING FACE}",
        b"",
        dt.datetime.fromisoformat("1000-01-01"),
        Decimal(0),
        -1e300,
    ),
    (3, None, None, None, None, None),
    (4, "\\N", b"\\N", dt.datetime.fromisoformat("9999-12-31"), Decimal("99999999.99"), 0.1),
    (5, "", b"'", dt.datetime.fromisoformat("2000-01-01"), Decimal("1.10"), 1e-300),
]
COLUMNS = ("id", "name", "data", "at", "price", "factor")
TABLE = (
    "create table goods (id int primary key, name varchar(100), data blob, at datetime(6), price decimal(10,2), "
    "factor double) charset utf8mb4"
)


@pytest.fixture(name="db")
def _db(database: dict[str, Any]) -> Iterator[ImprovedDb]:
    with ImprovedDb(database) as db:
        db.execute_query(TABLE)
        yield db


def test_every_value_comes_back_equal(db: ImprovedDb) -> None:
    """Tabs, newlines, backslashes, NULs, NULLs and bytes are data, not format."""
    loaded = db.load_rows("goods", iter(ROWS), columns=COLUMNS)
    assert loaded.rowcount == len(ROWS)
    assert loaded.warning_count == 0
    assert list(db.execute_query("select * from goods order by id")) == ROWS


def test_mappings_name_their_columns(db: ImprovedDb) -> None:
    """Dict rows need no list of columns, in whatever order their keys are."""
    rows = ({"name": f"n{number}", "id": number} for number in range(3000))
    assert db.load_rows("goods", rows).rowcount == 3000
    assert db.execute_query("select name from goods where id = 2999") == (("n2999",),)


def test_no_rows_are_no_statement(db: ImprovedDb) -> None:
    """An empty iterable raises no error, and opens no connection."""
    assert db.load_rows("goods", []).rowcount == 0


def test_error_in_the_iterable_leaves_nothing(db: ImprovedDb) -> None:
    """The server undoes a load of which it has only a half."""

    def rows() -> Iterator[tuple[int, str]]:
        for number in range(100_000):
            if number == 90_000:
                raise KeyError("mine")
            yield number, "x" * 50

    with pytest.raises(KeyError):
        db.load_rows("goods", rows(), columns=("id", "name"))
    assert db.execute_query("select count(*) from goods", return_one=True) == (0,)


def test_row_of_another_width_is_named(db: ImprovedDb) -> None:
    """The error says which row, and nothing is in."""
    with pytest.raises(StatementError, match="row 2"):
        db.load_rows("goods", [(1, "a"), (2,)], columns=("id", "name"))
    assert db.execute_query("select count(*) from goods", return_one=True) == (0,)


def test_unknown_table_is_the_servers_error(db: ImprovedDb) -> None:
    """An error that does not refuse LOAD DATA is raised as it is."""
    with pytest.raises(pymysql.err.ProgrammingError):
        db.load_rows("no_such_table", [(1,)], columns=("id",))


def test_pool_connections_never_allow_local_files(db: ImprovedDb) -> None:
    """A rogue server must not be able to ask an ordinary session for a file of ours."""
    db.load_rows("goods", ROWS, columns=COLUMNS)
    with pytest.raises(pymysql.err.MySQLError):
        db.execute_query("load data local infile '/etc/hostname' into table goods (name)")


def test_server_that_refuses_gets_inserts_and_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    """The rows get in all the same, and the log says how."""
    with TemporaryServer(options=["--local-infile=0"]) as server, ImprovedDb(server.url) as db:
        db.execute_query(TABLE)
        with caplog.at_level(logging.WARNING, logger="improved_db.bulk"):
            assert db.load_rows("goods", iter(ROWS), columns=COLUMNS).rowcount == len(ROWS)
        assert list(db.execute_query("select * from goods order by id")) == ROWS
        assert db.check_durability()[-1].setting == "local_infile"
    assert "LOAD DATA LOCAL" in caplog.text
