"""The door of pymysql-pool 0.3.3, the same class as 0.5.0's: how a connection is given back, and what ``with`` does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pymysql
import pytest
from pymysql.cursors import DictCursor

from improved_db.compat.pymysqlpool import ConnectionPool, ReturnConnectionToPoolError
from tests.compat.pools import is_whole, names

if TYPE_CHECKING:
    from improved_db import ImprovedDb
    from tests.compat.pools import Make
    from tests.compat.sessions import Watch

pytestmark = pytest.mark.usefixtures("three_users")


# --- giving back -----------------------------------------------------------------------------------------------------


def test_close_returns_the_connection(pool: ConnectionPool) -> None:
    """The object ends, the session stays."""
    connection = pool.get_connection()
    with connection.cursor() as cursor:
        cursor.execute("select connection_id()")
        number = cursor.fetchone()
    connection.close()
    assert pool.available_num == 1
    with pool.get_connection() as cur:
        cur.execute("select connection_id()")
        assert cur.fetchone() == number


def test_put_connection_returns_the_connection(pool: ConnectionPool) -> None:
    """The pool's side of ``close`` had a public name in 0.3.3."""
    connection = pool.get_connection()
    assert pool.size() == 1
    pool.put_connection(connection)
    assert pool.size() == 2
    with pytest.raises(ReturnConnectionToPoolError):
        connection.cursor()


def test_bug_closing_twice_does_not_lend_one_session_to_two(pool: ConnectionPool) -> None:
    """In 0.3.3 the pool then had it twice; here the second close is told."""
    connection = pool.get_connection()
    connection.close()
    with pytest.raises(ReturnConnectionToPoolError):
        connection.close()
    assert (pool.total_num, pool.available_num, pool.size()) == (1, 1, 2)
    assert is_whole(pool)


# --- with ------------------------------------------------------------------------------------------------------------


def test_the_blocks_name_answers_a_cursors_words(pool: ConnectionPool, outside: ImprovedDb) -> None:
    """``with con as cur`` gave a cursor, as PyMySQL's ``with`` did at that time."""
    with pool.get_connection() as cur:
        assert cur.execute("select uid from user where uid > %s order by uid", (0,)) == 3
        assert cur.fetchone() == (1,)
        assert cur.fetchmany(1) == ((2,),)
        assert cur.fetchall() == ((3,),)
        assert cur.execute("select name from user where uid = 99") == 0
        assert (cur.fetchone(), cur.fetchall()) == (None, ())
        assert cur.execute("insert into user values (%(uid)s, 'd')", {"uid": 4}) == 1
        assert (cur.rowcount, cur.lastrowid) == (1, 0)
    assert names(outside) == ["a", "b", "c", "d"]
    assert is_whole(pool)


def test_executemany_on_the_blocks_name(pool: ConnectionPool, outside: ImprovedDb) -> None:
    """Many rows at once, and one by one where PyMySQL cannot put them together."""
    with pool.get_connection() as cur:
        assert cur.executemany("insert into user values (%s, %s)", [(4, "d"), (5, "e")]) == 2
        assert cur.executemany("update user set name = %s where uid = %s", [("x", 4), ("y", 5)]) == 2
    assert names(outside) == ["a", "b", "c", "x", "y"]


def test_the_blocks_name_is_the_connection_too(pool: ConnectionPool) -> None:
    """0.5.0's form of the block: both are one object here."""
    connection = pool.get_connection()
    with connection as entered:
        assert entered is connection
        with entered.cursor(DictCursor) as cursor:
            cursor.execute("select uid from user where uid = 1")
            assert cursor.fetchall() == [{"uid": 1}]
    assert is_whole(pool)


def test_two_cursors_of_one_block_do_not_mix(pool: ConnectionPool) -> None:
    """What the block's name has read is not lost when another cursor reads."""
    with pool.get_connection() as cur:
        cur.execute("select uid from user order by uid")
        assert cur.fetchone() == (1,)
        with cur.cursor() as other:
            other.execute("select 'other'")
            assert other.fetchall() == (("other",),)
        assert cur.fetchall() == ((2,), (3,))


def test_the_next_block_begins_with_a_cursor_of_its_own(pool: ConnectionPool) -> None:
    """Rows of the last block must not be found in the next."""
    connection = pool.get_connection()
    with connection as cur:
        cur.execute("select uid from user order by uid")
    with connection as cur, pytest.raises(pymysql.err.ProgrammingError, match="execute"):
        cur.fetchone()


def test_a_closed_connections_block_borrows_anew(pool: ConnectionPool, outside: ImprovedDb) -> None:
    """The package's text does just that: ``con1.close()``, then ``with con1 as cur``."""
    con1 = pool.get_connection()
    con1.close()
    assert pool.size() == 2
    with con1 as cur:
        assert pool.size() == 1
        assert cur.execute("select 1+1") == 1
        assert cur.fetchall() == ((2,),)
    assert pool.size() == 2
    with pytest.raises(ReturnConnectionToPoolError):
        con1.cursor()
    with con1 as cur:
        cur.execute("insert into user values (4, 'd')")
    assert names(outside) == ["a", "b", "c", "d"]
    assert is_whole(pool)


def test_a_closed_connections_block_gets_no_session_of_another_borrower(make_pool: Make) -> None:
    """In 0.3.3 the closed one went on with a session that the next borrower had, too."""
    pool = make_pool(size=1, maxsize=1)
    con1 = pool.get_connection()
    con1.close()
    with pool.get_connection():
        with pytest.raises(pymysql.err.OperationalError), con1 as cur:
            cur.execute("select 1")
        assert pool.total_num == 1
    with con1 as cur:
        assert cur.execute("select 1") == 1
    assert is_whole(pool, 1)


def test_nested_blocks_return_once_at_the_end_of_the_outer(make_pool: Make, outside: ImprovedDb) -> None:
    """Functions that each begin with ``with con`` may call each other."""
    pool = make_pool(size=1, autocommit=False)
    with pool.get_connection() as connection:
        with connection as cur:
            cur.execute("insert into user values (4, 'd')")
        assert pool.size() == 0
        assert names(outside) == ["a", "b", "c"]
        connection.execute("insert into user values (5, 'e')")
    assert names(outside) == ["a", "b", "c", "d", "e"]
    assert is_whole(pool, 1)


def test_a_block_that_fails_is_rolled_back_and_the_connection_goes_back(make_pool: Make, outside: ImprovedDb) -> None:
    """The package's own text: exceptions that leave the session whole give it back."""
    pool = make_pool(size=2, autocommit=False)

    def fail() -> None:
        with pool.get_connection(timeout=0) as cur:
            cur.execute("insert into user values (4, 'd')")
            cur.execute("insert into user values (1, 'again')")

    for _ in range(3):
        with pytest.raises(pymysql.err.IntegrityError):
            fail()
    assert names(outside) == ["a", "b", "c"]
    assert (pool.total_num, is_whole(pool)) == (1, True)


def test_a_connection_that_breaks_in_its_block_is_replaced(pool: ConnectionPool, watch: Watch) -> None:
    """The pool has as many afterwards as before."""

    def lose_it() -> None:
        with pool.get_connection() as cur:
            cur.execute("select connection_id()")
            watch.kill(cur.fetchone()[0])
            cur.execute("select 1")

    for _ in range(3):
        with pytest.raises(pymysql.err.OperationalError):
            lose_it()
        assert pool.size() == 2
    assert is_whole(pool)
