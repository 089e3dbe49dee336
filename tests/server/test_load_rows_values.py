"""What LOAD DATA and the INSERT that stands in for it put into a table: the same, and what was given."""

from __future__ import annotations

import datetime as dt
import enum
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pymysql.err
import pytest

from improved_db import ImprovedDb, StatementError
from improved_db.testing import TemporaryServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

COLUMNS = ("id", "b", "s")
TABLE = "create table t (id int, b varbinary(50), s varchar(10) character set utf8mb4, d datetime(6))"
UNFIT: list[Any] = ["not a number", 2**40]
AT = dt.datetime(2020, 1, 2, 3, 4, 5, 678)  # noqa: DTZ001  # DATETIME has no zone


class Level(enum.IntEnum):
    """An int."""

    LOW = 1


@pytest.fixture(scope="module")
def urls() -> Iterator[dict[str, str]]:
    """A server that allows LOAD DATA LOCAL, and one that refuses."""
    with ExitStack() as servers:
        yield {
            option: servers.enter_context(TemporaryServer(options=[f"--local-infile={option}"])).url
            for option in ("1", "0")
        }


@pytest.fixture(name="opened", params=["1", "0"], ids=["load", "insert"])
def _opened(request: pytest.FixtureRequest, urls: dict[str, str]) -> Iterator[Callable[..., ImprovedDb]]:
    with ExitStack() as opened:

        def open_one(**options: Any) -> ImprovedDb:
            db = opened.enter_context(ImprovedDb(urls[request.param], max_size=1, **options))
            db.execute_query("drop table if exists t")
            db.execute_query(TABLE)
            return db

        yield open_one


@pytest.mark.parametrize("mode", ["", "NO_BACKSLASH_ESCAPES", "STRICT_ALL_TABLES,NO_BACKSLASH_ESCAPES"])
def test_every_text_comes_back_whatever_the_sql_mode(opened: Callable[..., ImprovedDb], mode: str) -> None:
    """NO_BACKSLASH_ESCAPES changes the default format of LOAD DATA, which the statement therefore spells out."""
    rows = [(1, None, None), (2, b"\x00\xff\t\\", "a\tb\\c\n\r"), (3, b"", "\\N"), (4, None, "c:\\dir\0")]
    db = opened(sql_mode=mode)
    assert db.load_rows("t", rows, columns=COLUMNS).warning_count == 0
    assert list(db.execute_query("select id, b, s from t order by id")) == rows


@pytest.mark.parametrize(
    "rows",
    [
        [(1, None, "a"), (2, b"\x00\xff", "b")],
        [(1, b"ab", "a"), (2, "plain", "b")],
        [(1, "plain", "a"), (2, b"\x00\xff", b"b"), (3, "more", "c"), (4, None, None)],
        [(number, None if number < 5000 else b"\xff", "x") for number in range(5003)],
        [(1, bytearray(b"\xff"), "a"), (2, memoryview(b"\xfe"), "b")],
    ],
    ids=["first is null", "bytes then text", "both ways", "late", "other bytes"],
)
def test_bytes_are_bytes_in_whatever_row_they_come(opened: Callable[..., ImprovedDb], rows: list[Any]) -> None:
    """The first row says nothing about the others."""
    db = opened()
    told: list[Any] = []
    loaded = db.load_rows("t", iter(rows), columns=COLUMNS, progress=lambda *numbers: told.append(numbers))
    assert (loaded.rowcount, loaded.warning_count) == (len(rows), 0)

    def stored(value: Any) -> Any:
        return value.encode() if isinstance(value, str) else None if value is None else bytes(value)

    wanted = [(number, stored(b), stored(s)) for number, b, s in rows]
    assert list(db.execute_query("select id, b, cast(s as binary) from t order by id")) == wanted
    assert told[-1][0] == len(rows)


@pytest.mark.parametrize("mode", ["", "STRICT_TRANS_TABLES"])
@pytest.mark.parametrize("row", [(UNFIT[0], b"a", "a"), (UNFIT[1], None, "b"), (2, None, "x" * 11), (2, b"y" * 51, "")])
def test_a_value_that_does_not_fit_is_an_error(opened: Callable[..., ImprovedDb], mode: str, row: Any) -> None:
    """Nothing is loaded, whatever the sql_mode, and the next borrower has the sql_mode that it wants."""
    db = opened(sql_mode=mode)
    with pytest.raises(pymysql.err.MySQLError):
        db.load_rows("t", [(1, b"a", "a"), row], columns=COLUMNS)
    assert db.execute_query("select count(*), @@sql_mode from t") == ((0, mode),)


def test_the_error_says_what_does_not_fit_and_shows_no_value(urls: dict[str, str]) -> None:
    """The server's own text has both."""
    with ImprovedDb(urls["1"]) as db:
        db.execute_query("drop table if exists t")
        db.execute_query("create table t (id int)")
        with pytest.raises(StatementError, match=r"row 2.*nothing was loaded") as caught:
            db.load_rows("t", [(1,), ("my secret",)], columns=["id"])
        assert "secret" not in str(caught.value)
        assert db.load_rows("t", [(1,), ("my secret",)], columns=["id"], strict=False).warning_count == 1
        assert list(db.execute_query("select id from t")) == [(1,), (0,)]


@pytest.mark.parametrize("value", [object(), float("nan"), "\ud800", AT.replace(tzinfo=dt.timezone.utc)])
def test_a_value_that_cannot_be_written_is_refused(opened: Callable[..., ImprovedDb], value: Any) -> None:
    """By its row; its `str()` is no value."""
    db = opened()
    with pytest.raises(StatementError, match="row 2"):
        db.load_rows("t", [(1, None, "a"), (2, None, value)], columns=COLUMNS)
    assert db.execute_query("select count(*) from t") == ((0,),)


def test_values_of_subclasses_and_in_utc_are_loaded(opened: Callable[..., ImprovedDb]) -> None:
    """As `exec_many` writes them."""
    db = opened(aware_datetimes="utc")
    zone = dt.timezone(dt.timedelta(hours=2))
    db.load_rows("t", [(Level.LOW, AT), (2, AT.replace(tzinfo=zone))], columns=("id", "d"))
    assert list(db.execute_query("select id, d from t order by id")) == [(1, AT), (2, AT - dt.timedelta(hours=2))]


def test_aware_datetimes_are_loaded_as_the_time_of_the_session(opened: Callable[..., ImprovedDb]) -> None:
    """In whatever rows they come, among naive ones and missing ones."""
    zone = dt.timezone(dt.timedelta(hours=2))
    db = opened(aware_datetimes="session", init_command="set time_zone = '+03:00'")
    rows = [(1, AT), (2, AT.replace(tzinfo=zone)), (3, None), (4, AT.replace(tzinfo=zone)), (5, AT)]
    assert db.load_rows("t", rows, columns=("id", "d")).rowcount == 5
    later = AT + dt.timedelta(hours=1)
    assert list(db.execute_query("select id, d from t order by id")) == [
        (1, AT), (2, later), (3, None), (4, later), (5, AT),
    ]  # fmt: skip


def test_an_aware_datetime_that_the_server_cannot_turn_is_not_loaded(opened: Callable[..., ImprovedDb]) -> None:
    """It would be NULL."""
    db = opened(aware_datetimes="session")
    at = dt.datetime(1960, 1, 1, tzinfo=dt.timezone.utc)
    with pytest.raises(StatementError, match=r"row 2.*1970"):
        db.load_rows("t", [(1, None), (2, at)], columns=("id", "d"))
    assert db.execute_query("select count(*) from t") == ((0,),)


def test_a_table_without_transactions_keeps_the_rows_and_the_error_says_so(urls: dict[str, str]) -> None:
    """There is no way back from it."""
    with ImprovedDb(urls["1"]) as db:
        db.execute_query("drop table if exists t")
        db.execute_query("create table t (id int) engine=myisam")
        with pytest.raises(StatementError, match="keeps the rows"):
            db.load_rows("t", [(1,), ("x",)], columns=["id"])
        assert db.execute_query("select count(*) from t") == ((2,),)


def test_a_note_is_no_reason_to_refuse(opened: Callable[..., ImprovedDb]) -> None:
    """Rounding a decimal is none to an INSERT either."""
    db = opened()
    db.execute_query("drop table if exists t")
    db.execute_query("create table t (n decimal(5,1))")
    db.load_rows("t", [("1.25",)], columns=["n"])
    assert db.execute_query("select cast(n as char) from t") == (("1.3",),)


def test_a_percent_sign_in_a_name_is_one(opened: Callable[..., ImprovedDb]) -> None:
    """In the statement that stands in, it must not become a placeholder."""
    db = opened()
    db.execute_query("drop table if exists `t%s`")
    db.execute_query("create table `t%s` (`100%` int, `%s` int)")
    db.load_rows("t%s", [(1, 2)], columns=["100%", "%s"])
    assert db.execute_query("select * from `t%s`") == ((1, 2),)


def test_a_server_that_keeps_no_warnings_is_asked_how_many_there_were(urls: dict[str, str]) -> None:
    """The text is lost then, the error is not."""
    with ImprovedDb(urls["1"], init_command="set max_error_count = 0") as db:
        db.execute_query("drop table if exists t")
        db.execute_query("create table t (id int)")
        with pytest.raises(StatementError, match="nothing was loaded"):
            db.load_rows("t", [("x",)], columns=["id"])
        assert db.execute_query("select count(*) from t") == ((0,),)
