"""No argument becomes SQL, whatever the charset makes of it."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any

import pymysql.cursors
import pytest

import improved_db
from improved_db import ImprovedDb, StatementError

if TYPE_CHECKING:
    from collections.abc import Iterator

CURSORS = [
    pymysql.cursors.Cursor,
    pymysql.cursors.DictCursor,
    pymysql.cursors.SSCursor,
    pymysql.cursors.SSDictCursor,
]
YEN = "\N{YEN SIGN}' union select 31337 -- "


@pytest.mark.parametrize("kind", CURSORS)
def test_half_a_character_from_a_surrogate_is_not_sent(database: dict[str, Any], kind: type[Any]) -> None:
    """In gbk it would take the backslash along that escapes the quote behind it."""
    evil = b"\xbf' or 1=1 -- ".decode("utf-8", "surrogateescape")
    with closing(improved_db.Connection(**database, charset="gbk")) as connection:
        cursor = connection.cursor(kind)
        with pytest.raises(UnicodeEncodeError):
            cursor.execute("select 1 from (select 'x' n union select 'y') t where n = %s", (evil,))
        cursor.execute("select 1 as one")
        assert len(cursor.fetchall()) == 1


@pytest.fixture(name="db", params=["sjis", "ujis"])
def _db(database: dict[str, Any], request: pytest.FixtureRequest) -> Iterator[ImprovedDb]:
    with ImprovedDb(database, charset=request.param, max_size=1, retry=None) as db:
        db.execute_query("create table v (s varchar(200) character set utf8mb4)")
        yield db


@pytest.mark.parametrize("args", [(YEN,), {"a": YEN}, YEN])
def test_a_character_that_becomes_a_backslash_is_refused(db: ImprovedDb, args: Any) -> None:
    """Nothing is sent, and the session goes on."""
    session = db.execute_query("select connection_id()")
    with pytest.raises(StatementError, match="parameter"):
        db.execute_query("select %(a)s" if isinstance(args, dict) else "select %s", args)
    with pytest.raises(StatementError, match="charset"):
        db.execute_query(f"select '{YEN}'")
    assert db.execute_query("select connection_id()") == session


def test_a_character_that_becomes_a_backslash_is_refused_in_many_rows(db: ImprovedDb) -> None:
    """The error names the row."""
    evil = "\N{YEN SIGN}'),(31337) -- "
    with pytest.raises(StatementError, match=r"row 2.*parameter 1"):
        db.exec_many("insert into v values (%s)", [("b",), (evil,)])
    with pytest.raises(StatementError, match=r"row 2.*parameter 1"):
        db.exec_many("update v set s = %s", [("b",), (evil,)])
    assert db.execute_query("select count(*) from v") == ((0,),)


@pytest.mark.parametrize("kind", CURSORS)
def test_a_character_that_becomes_a_backslash_is_refused_in_cursors(db: ImprovedDb, kind: type[Any]) -> None:
    """`execute` and `executemany` of each kind, and a statement without arguments."""
    with db.connection() as connection:
        cursor = connection.cursor(kind)
        with pytest.raises(StatementError):
            cursor.execute("select %s", (YEN,))
        with pytest.raises(StatementError):
            cursor.executemany("insert into v values (%s)", [(YEN,), ("b",)])
    assert db.execute_query("select count(*) from v") == ((0,),)


def test_other_characters_whose_bytes_look_like_a_backslash_come_back(db: ImprovedDb) -> None:
    """Half of a character may be any byte: the server knows which characters there are."""
    texts = ["\u8868\u5341\u80fd' or 1=1 -- ", "\u30bd"]
    db.exec_many("insert into v values (%s)", [(text,) for text in texts])
    assert [row[0] for row in db.execute_query("select s from v")] == texts
    assert db.execute_query("select %s", (texts[0],)) == ((texts[0],),)
