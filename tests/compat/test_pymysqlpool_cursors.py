"""The door of pymysql-pool 0.5.0: its cursors' short cuts, and that all of it is PyMySQL's own."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING, Any

import pymysql
import pytest
from pymysql.cursors import DictCursor, SSCursor

from improved_db.compat.pymysqlpool import Connection, ConnectionPool
from tests.compat.pools import names
from tests.compat.sessions import session_of
from tests.fakes import eventually

if TYPE_CHECKING:
    from collections.abc import Callable

    from improved_db import ImprovedDb
    from tests.compat.pools import Make


# --- cursors ---------------------------------------------------------------------------------------------------------


def test_db_query_returns_all_rows(make_pool: Make) -> None:
    """One call instead of two."""
    with make_pool(size=1).get_connection() as connection, connection.cursor() as cursor:
        assert cursor.db_query("select 1 union select 2") == ((1,), (2,))
        assert cursor.db_query("select %s + %s", (1, 2)) == ((3,),)
        assert cursor.db_query("select * from user") == ()
        assert cursor.db_query("select '100%'") == (("100%",),)


def test_db_modify_returns_rowcount_and_lastrowid(make_pool: Make, outside: ImprovedDb) -> None:
    """What an INSERT is asked for."""
    with make_pool(size=1).get_connection() as connection, connection.cursor() as cursor:
        assert cursor.db_modify("insert into user (name) values ('a')") == {"rowcount": 1, "lastrowid": 1}
        assert cursor.db_modify("insert into user (name) values (%s)", ("b",)) == {"rowcount": 1, "lastrowid": 2}
        more = cursor.db_modify("insert into user (name) values (%s)", [("c",), ("d",)], exec_many=True)
        assert more == {"rowcount": 2, "lastrowid": 3}
        assert cursor.db_modify("update user set name = 'z' where uid > %s", (2,))["rowcount"] == 2
    assert names(outside) == ["a", "b", "z", "z"]


@pytest.mark.parametrize("from_options", [True, False])
def test_dict_cursors_have_both_short_cuts(make_pool: Make, from_options: bool) -> None:
    """``cursorclass`` in the options or an argument of ``cursor``: both are PyMySQL's ways to ask for dicts."""
    pool = make_pool(size=1, **({"cursorclass": DictCursor} if from_options else {}))
    with pool.get_connection() as connection, connection.cursor(*([] if from_options else [DictCursor])) as cursor:
        assert DictCursor in type(cursor).__mro__
        assert cursor.db_modify("insert into user (name) values ('a')") == {"rowcount": 1, "lastrowid": 1}
        assert list(cursor.db_query("select * from user")) == [{"uid": 1, "name": "a"}]


def test_cursors_of_another_kind_are_that_kind(make_pool: Make) -> None:
    """A user's own class has its own methods."""

    class OwnCursor(SSCursor):
        """This test's."""

    with make_pool(size=1).get_connection() as connection, connection.cursor(OwnCursor) as cursor:
        assert type(cursor) is OwnCursor
        cursor.execute("select 1")
        assert cursor.fetchall() == [(1,)]


# --- PyMySQL's own ---------------------------------------------------------------------------------------------------


def test_a_pooled_connection_is_pymysqls(make_pool: Make) -> None:
    """Libraries ask ``isinstance`` before they take one."""
    with make_pool(size=1).get_connection() as connection:
        assert isinstance(connection, pymysql.connections.Connection)
        assert isinstance(connection, Connection)
        with connection.cursor() as cursor:
            assert isinstance(cursor, pymysql.cursors.Cursor)


@pytest.mark.parametrize("kind", [pymysql.connections.Connection, Connection])
def test_a_connection_without_a_pool_behaves_as_pymysqls(
    database: dict[str, Any], outside: ImprovedDb, kind: Callable[..., Any]
) -> None:
    """The same holds for both classes: autocommit is off, and the end of a block is the end of the session."""
    connection = kind(**database)
    assert connection.get_autocommit() is False
    with connection, connection.cursor() as cursor:
        assert cursor.execute("insert into user values (1, 'a')") == 1
    assert not connection.open
    assert names(outside) == []
    with pytest.raises(pymysql.err.InterfaceError), connection.cursor() as cursor:
        cursor.execute("select 1")
    with pytest.raises(pymysql.err.Error, match="Already closed"):
        connection.close()
    again = kind(**database)
    with again.cursor() as cursor:
        cursor.execute("insert into user values (1, 'a')")
    again.commit()
    again.close()
    assert names(outside) == ["a"]


def test_a_pool_that_no_program_holds_any_more_ends_its_sessions(database: dict[str, Any], outside: ImprovedDb) -> None:
    """Theirs had no ``close``: programs let a pool go and think no more of it."""
    pool = ConnectionPool(size=2, pre_create_num=2, **database)
    with pool.get_connection() as one, pool.get_connection() as other:
        numbers = session_of(one), session_of(other)
    del pool, one, other
    gc.collect()
    query = "select 1 from information_schema.processlist where id in (%s, %s)"
    eventually(lambda: not outside.execute_query(query, numbers))
