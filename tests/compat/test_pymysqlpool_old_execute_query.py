"""The door of pymysql-pool 0.3.3, the same class as 0.5.0's: ``execute_query``, and the connection that it parks."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pymysql
import pytest

from improved_db.compat import pymysqlpool
from improved_db.compat.pymysqlpool import ConnectionPool, ReturnConnectionToPoolError
from tests.compat.pools import is_whole, names
from tests.fakes import PATIENCE

if TYPE_CHECKING:
    from improved_db import ImprovedDb
    from tests.compat.pools import Make
    from tests.compat.sessions import Watch

pytestmark = pytest.mark.usefixtures("three_users")


def session(connection: Any) -> int:
    """Ask the server which session this is, by the short cut that parks the connection afterwards."""
    return int(connection.execute_query("select connection_id()", return_one=True)[0])


def test_execute_query_returns_all_rows_and_the_connection(pool: ConnectionPool) -> None:
    """One call for a connection that is needed for one statement."""
    connection = pool.get_connection()
    assert connection.execute_query("select * from user order by uid") == ((1, "a"), (2, "b"), (3, "c"))
    assert (pool.size(), pool.available_num) == (2, 1)


@pytest.mark.parametrize("args", [(2,), [2], {"uid": 2}, 2])
def test_execute_query_takes_args_as_pymysql_does(pool: ConnectionPool, args: object) -> None:
    """A sequence, a mapping, or one value."""
    query = f"select name from user where uid = {'%(uid)s' if isinstance(args, dict) else '%s'}"
    assert pool.get_connection().execute_query(query, args) == (("b",),)


def test_execute_query_options_by_name_and_by_position(pool: ConnectionPool) -> None:
    """``execute_query(query, args, dictcursor, return_one, exec_many)``."""
    query = "select name from user where uid < %s order by uid"
    connection = pool.get_connection()
    assert list(connection.execute_query(query, (3,), dictcursor=True)) == [{"name": "a"}, {"name": "b"}]
    assert connection.execute_query(query, (3,), return_one=True) == ("a",)
    assert connection.execute_query(query, (3,), dictcursor=True, return_one=True) == {"name": "a"}
    assert connection.execute_query(query, (3,), True, True) == {"name": "a"}
    assert connection.execute_query("select '100%'") == (("100%",),)


@pytest.mark.parametrize("dictcursor", [False, True])
def test_execute_query_without_a_match_is_an_empty_tuple_or_none(pool: ConnectionPool, dictcursor: bool) -> None:
    """As the package's comment has it."""
    connection = pool.get_connection()
    assert connection.execute_query("select * from user where uid = 99", dictcursor=dictcursor) == ()
    assert connection.execute_query("select * from user where uid = 99", (), dictcursor, return_one=True) is None
    assert connection.execute_query("update user set name = 'z' where uid = 99") == ()


def test_execute_query_with_exec_many(pool: ConnectionPool, outside: ImprovedDb) -> None:
    """Many rows in one call."""
    connection = pool.get_connection()
    assert connection.execute_query("insert into user values (%s, %s)", [(4, "d"), (5, "e")], exec_many=True) == ()
    connection.execute_query("update user set name = %s where uid = %s", [("x", 4), ("y", 5)], exec_many=True)
    assert names(outside) == ["a", "b", "c", "x", "y"]


@pytest.mark.parametrize("autocommit", [True, False])
def test_execute_query_commits(make_pool: Make, outside: ImprovedDb, autocommit: bool) -> None:
    """It was a block of its own in 0.3.3, and such a block commits."""
    make_pool(size=1, autocommit=autocommit).get_connection().execute_query("insert into user values (4, 'd')")
    assert names(outside) == ["a", "b", "c", "d"]


def test_execute_query_again_and_again(make_pool: Make) -> None:
    """The connection is parked in the pool in between, where others may have it."""
    pool = make_pool(size=1)
    one, other = pool.get_connection(), None
    for _ in range(3):
        assert one.execute_query("select 1") == ((1,),)
        other = other or pool.get_connection(timeout=0)
        assert other.execute_query("select 2") == ((2,),)
    assert is_whole(pool, 1)


def test_after_execute_query_any_use_borrows_again(pool: ConnectionPool) -> None:
    """In 0.3.3 the object went on working, on a session that was in the pool; here on one of its own."""
    connection = pool.get_connection()
    connection.execute_query("select 1")
    assert pool.size() == 2
    with connection.cursor() as cursor:
        assert pool.size() == 1
        assert cursor.execute("select 2") == 1
    connection.close()
    assert is_whole(pool)
    with pytest.raises(ReturnConnectionToPoolError):
        connection.cursor()


@pytest.mark.parametrize("use", ["ping", "commit", "begin", "rollback"])
def test_after_execute_query_what_needs_the_server_borrows_again(pool: ConnectionPool, use: str) -> None:
    """Not only the cursor's."""
    connection = pool.get_connection()
    connection.execute_query("select 1")
    getattr(connection, use)()
    assert pool.size() == 1
    connection.close()
    assert is_whole(pool)


@pytest.mark.parametrize("use", ["get_autocommit", "thread_id"])
def test_after_execute_query_what_only_looks_keeps_nothing(pool: ConnectionPool, use: str) -> None:
    """It is answered by a connection that is borrowed for the answer alone."""
    connection = pool.get_connection()
    connection.execute_query("select 1")
    assert getattr(connection, use)()
    assert is_whole(pool)


def test_asking_a_parked_connection_for_a_word_it_does_not_have_borrows_nothing(pool: ConnectionPool) -> None:
    """``hasattr`` is a question; a debugger or a mock asks many, and closes nothing afterwards."""
    connection = pool.get_connection()
    connection.execute_query("select 1")
    assert not hasattr(connection, "nonsense")
    assert pool.size() == 2


def test_close_after_execute_query_is_accepted_once(pool: ConnectionPool) -> None:
    """Programs that close what they borrowed are right to do so."""
    connection = pool.get_connection()
    connection.execute_query("select 1")
    connection.close()
    assert pool.available_num == 1
    with pytest.raises(ReturnConnectionToPoolError):
        connection.close()
    assert is_whole(pool)


def test_execute_query_in_a_block_keeps_the_connection(make_pool: Make, outside: ImprovedDb) -> None:
    """The statements of a block are one unit, on one session."""
    pool = make_pool(size=1, autocommit=False)

    def fail() -> None:
        with pool.get_connection() as connection:
            number = session(connection)
            connection.execute_query("insert into user values (4, 'd')")
            assert (pool.size(), session(connection)) == (0, number)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert names(outside) == ["a", "b", "c"]
    with pool.get_connection() as connection:
        connection.execute_query("insert into user values (4, 'd')")
        assert names(outside) == ["a", "b", "c"]
    assert names(outside) == ["a", "b", "c", "d"]
    assert is_whole(pool, 1)


def test_execute_query_after_close_borrows_anew(pool: ConnectionPool) -> None:
    """As a block does."""
    connection = pool.get_connection()
    connection.close()
    assert connection.execute_query("select 1") == ((1,),)
    assert is_whole(pool)


@pytest.mark.parametrize(
    ("query", "kind", "code"),
    [
        ("select * form user", pymysql.err.ProgrammingError, 1064),
        ("insert into user values (1, 'again')", pymysql.err.IntegrityError, 1062),
        ("select nothing from user", pymysql.err.OperationalError, 1054),
        ("signal sqlstate '0A000' set mysql_errno = 1235", pymysql.err.NotSupportedError, 1235),
    ],
)
def test_errors_of_execute_query_are_the_servers_and_cost_nothing(
    pool: ConnectionPool, query: str, kind: type[Exception], code: int
) -> None:
    """Programs look at the class and the number; the connection is as good as before."""
    connection = pool.get_connection()
    for _ in range(3):
        with pytest.raises(kind) as caught:
            connection.execute_query(query)
        assert (type(caught.value), caught.value.args[0]) == (kind, code)
    assert connection.execute_query("select 1") == ((1,),)
    assert (pool.total_num, is_whole(pool)) == (1, True)


def test_execute_query_on_a_session_that_was_killed_in_the_pool_gets_another(
    pool: ConnectionPool, watch: Watch
) -> None:
    """Parked connections are looked at before they are used again."""
    connection = pool.get_connection()
    number = session(connection)
    watch.kill(number)
    assert session(connection) != number
    assert is_whole(pool)


def test_multiplexing_program_of_many_threads(pool: ConnectionPool) -> None:
    """What 0.3.3 was made for: many threads, one statement at a time, few connections."""

    def task(uid: int) -> Any:
        return pool.get_connection(timeout=PATIENCE).execute_query(
            "select * from user where uid=%s", (uid,), dictcursor=True, return_one=True
        )

    users = [{"uid": 1, "name": "a"}, {"uid": 2, "name": "b"}, {"uid": 3, "name": "c"}]
    with ThreadPoolExecutor(16) as threads:
        assert list(threads.map(task, [1, 2, 3, 4] * 50)) == [*users, None] * 50
    assert pool.total_num <= 2
    assert is_whole(pool)


@pytest.mark.parametrize("autocommit", [True, False])
def test_execute_query_without_a_pool_commits_and_keeps_the_session(
    database: dict[str, Any], outside: ImprovedDb, autocommit: bool
) -> None:
    """``Connection(**config)`` has the same short cut, and its session is its own."""
    connection = pymysqlpool.Connection(**database, autocommit=autocommit)
    connection.execute_query("insert into user values (4, 'd')")
    assert names(outside) == ["a", "b", "c", "d"]
    assert connection.execute_query("select uid from user where name = %s", ("d",), True, True) == {"uid": 4}
    assert connection.open
    connection.close()
