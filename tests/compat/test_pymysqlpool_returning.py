"""The door of pymysql-pool 0.5.0: how a connection is returned, and that its old handle cannot be used afterwards."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pymysql
import pytest
from pymysql.cursors import DictCursor, SSCursor

from improved_db.compat.pymysqlpool import Connection, ReturnConnectionToPoolError
from tests.compat.pools import names
from tests.compat.sessions import session_of
from tests.fakes import PATIENCE, Caller

if TYPE_CHECKING:
    from collections.abc import Callable

    from improved_db import ImprovedDb
    from tests.compat.pools import Make


def test_close_returns_the_connection(make_pool: Make, lines: Callable[[], list[str]]) -> None:
    """A session is worth more than the object around it."""
    pool = make_pool(size=1, name="mypool")
    connection = pool.get_connection()
    number = session_of(connection)
    lines()
    connection.close()
    assert lines() == ["DEBUG: Put connection back to pool(mypool)"]
    with pool.get_connection() as connection:
        assert session_of(connection) == number


def test_a_with_block_commits_and_returns_the_connection(make_pool: Make, outside: ImprovedDb) -> None:
    """Its users expect of ``with`` what PyMySQL's had taught them, and theirs rolled back."""
    pool = make_pool(size=1, autocommit=False)
    with pool.get_connection() as connection, connection.cursor() as cursor:
        cursor.execute("insert into user values (1, 'a')")
    assert pool.available_num == 1
    assert names(outside) == ["a"]


class OddError(Exception):
    """None that anything here knows."""


@pytest.mark.parametrize("error", [OddError(), KeyError("x"), KeyboardInterrupt(), pymysql.err.DataError(1, "x")])
@pytest.mark.parametrize("autocommit", [True, False])
def test_a_with_block_that_fails_rolls_back_and_returns_the_connection(
    make_pool: Make, outside: ImprovedDb, error: BaseException, autocommit: bool
) -> None:
    """Whatever went wrong: nothing by halves, and nothing lost."""
    pool = make_pool(size=1, maxsize=1, autocommit=autocommit)

    def fail() -> None:
        with pool.get_connection(retry_num=0) as connection:
            connection.begin()
            connection.execute("insert into user values (1, 'a')")
            raise error

    for _ in range(3):
        with pytest.raises(type(error)) as caught:
            fail()
        assert caught.value is error
    assert (pool.total_num, pool.available_num) == (1, 1)
    assert names(outside) == []


def test_a_statement_that_fails_takes_the_ones_before_it_along(make_pool: Make, outside: ImprovedDb) -> None:
    """Theirs committed the half of a transaction that had worked."""
    pool = make_pool(size=1, maxsize=1)

    def book() -> None:
        with pool.get_connection() as connection:
            connection.begin()
            connection.execute("insert into user values (1, 'a')")
            connection.execute("insert into user values (1, 'again')")

    with pytest.raises(pymysql.err.IntegrityError):
        book()
    assert names(outside) == []
    assert pool.available_num == 1


def test_close_within_the_block_is_enough(make_pool: Make) -> None:
    """Careful programs do both; the end of the block then has nothing left to do."""
    pool = make_pool(size=1)
    with pool.get_connection() as connection:
        connection.close()
        assert pool.available_num == 1
    assert (pool.total_num, pool.available_num) == (1, 1)


def test_no_more_than_one_is_returned_by_two_threads_that_close_at_once(make_pool: Make) -> None:
    """Who closes second has to hear of it, and the pool must not count it twice."""
    pool = make_pool(size=1, maxsize=1)
    for _ in range(20):
        connection = pool.get_connection()
        together = threading.Barrier(2)

        def close(connection: Connection = connection, together: threading.Barrier = together) -> bool:
            together.wait(PATIENCE)
            try:
                connection.close()
            except ReturnConnectionToPoolError:
                return False
            return True

        callers = [Caller(close), Caller(close)]
        assert sorted(caller.result() for caller in callers) == [False, True]
        assert (pool.total_num, pool.available_num) == (1, 1)


#: Every public method that PyMySQL's connection has without being on its way out, and arguments for it; ``insert_id``
#: is a memory and no use.
USES: dict[str, tuple[Any, ...]] = {
    "affected_rows": (), "autocommit": (True,), "begin": (), "character_set_name": (), "close": (), "commit": (),
    "cursor": (), "escape": ("x",), "get_autocommit": (), "get_host_info": (), "get_proto_info": (),
    "get_server_info": (), "kill": (1,), "next_result": (), "ping": (), "query": ("select 1",),
    "rollback": (), "select_db": ("mysql",), "set_character_set": ("utf8mb4",), "show_warnings": (), "thread_id": (),
    "write_packet": (b"",), "execute": ("select 1",), "executemany": ("select %s", [(1,)]), "fetchone": (),
    "fetchmany": (2,), "fetchall": (),
}  # fmt: skip


@pytest.mark.parametrize("leave", ["close", "with"])
@pytest.mark.parametrize("use", USES)
def test_a_returned_connection_refuses_everything(make_pool: Make, use: str, leave: str) -> None:
    """Another caller may have its session by now."""
    pool = make_pool(size=1, name="mypool")
    connection = pool.get_connection()
    if leave == "close":
        connection.close()
    else:
        with connection:
            connection.execute("select 1")
    with pytest.raises(ReturnConnectionToPoolError, match=r"already returned to the pool\(mypool\)"):
        getattr(connection, use)(*USES[use])
    assert (pool.total_num, pool.available_num) == (1, 1)


def test_a_stale_reference_cannot_touch_a_session_that_another_caller_has_borrowed(make_pool: Make) -> None:
    """Otherwise one thread's COMMIT ends another's transaction."""
    pool = make_pool(size=1, maxsize=1)
    stale = pool.get_connection()
    number = session_of(stale)
    stale.close()
    lent, over = threading.Event(), threading.Event()

    def borrow() -> tuple[int, int, list[Any]]:
        with pool.get_connection() as connection:
            connection.begin()
            before = session_of(connection)
            lent.set()
            assert over.wait(PATIENCE)
            return before, session_of(connection), [connection.get_autocommit(), connection._in_transaction()]

    other = Caller(borrow)
    assert lent.wait(PATIENCE)
    for use in ("close", "commit", "rollback", "cursor", "ping"):
        with pytest.raises(ReturnConnectionToPoolError):
            getattr(stale, use)(*USES[use])
    assert (pool.total_num, pool.available_num) == (1, 0)
    over.set()
    assert other.result() == (number, number, [True, True])


@pytest.mark.parametrize("kind", [None, DictCursor, SSCursor])
def test_a_stale_cursor_is_refused_too(make_pool: Make, kind: type[Any] | None) -> None:
    """It is one more way to a session that is no longer one's own."""
    pool = make_pool(size=1, maxsize=1)
    connection = pool.get_connection()
    cursor = connection.cursor(kind)
    connection.close()
    with pool.get_connection():
        with pytest.raises(ReturnConnectionToPoolError):
            cursor.execute("select 1")
        with pytest.raises(ReturnConnectionToPoolError):
            cursor.executemany("select %s", [(1,), (2,)])


def test_rows_that_were_fetched_outlive_their_connection(make_pool: Make) -> None:
    """They are in the cursor; PyMySQL hands them out after a close as well."""
    pool = make_pool(size=1)
    connection = pool.get_connection()
    cursor = connection.cursor()
    cursor.execute("select 1 union select 2")
    connection.close()
    assert cursor.fetchall() == ((1,), (2,))
