"""The door of pymysql-pool 0.3.3: each of its promises, in its own words, at the same class as 0.5.0's."""

from __future__ import annotations

import logging
import sys
import threading
import traceback
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pymysql
import pytest
from pymysql.cursors import DictCursor

from improved_db import ImprovedDb
from improved_db.compat import pymysqlpool
from improved_db.compat.pymysqlpool import ConnectionPool, GetConnectionFromPoolError, ReturnConnectionToPoolError
from tests.fakes import PATIENCE, Caller, eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Make = Callable[..., ConnectionPool]


@pytest.fixture
def outside(database: dict[str, Any]) -> Iterator[ImprovedDb]:
    """An eye on the server that is none of the pool's, and a table with users 1 to 3."""
    with ImprovedDb(database) as db:
        db.execute_query("create table user (uid int primary key, name varchar(20))")
        db.execute_query("insert into user values (1, 'a'), (2, 'b'), (3, 'c')")
        yield db


@pytest.fixture
def make(database: dict[str, Any], outside: ImprovedDb) -> Iterator[Make]:
    """Make pools on the test's database; they are closed after the test."""
    made = []

    def make_pool(*args: Any, **options: Any) -> ConnectionPool:
        pool = ConnectionPool(*args, **{**database, "autocommit": True, **options})
        made.append(pool)
        return pool

    yield make_pool
    for pool in made:
        pool.close()


@pytest.fixture
def pool(make: Make) -> ConnectionPool:
    """What most tests talk to: two connections, made as the package's own text does."""
    return make(size=2, name="pool1")


def session(connection: Any) -> int:
    """Ask the server which session this is."""
    return int(connection.execute_query("select connection_id()", return_one=True)[0])


def kill(outside: ImprovedDb, number: int) -> None:
    """End a session from outside, and wait until the server has forgotten it."""
    outside.execute_query(f"kill {number}")
    eventually(lambda: not outside.execute_query("select 1 from information_schema.processlist where id = %s", number))


def names(outside: ImprovedDb) -> list[str]:
    """Return what is in the table, as another session sees it."""
    return [name for (name,) in outside.execute_query("select name from user order by uid")]


def is_whole(pool: ConnectionPool, size: int = 2) -> bool:
    """Whether all of the pool's connections can be had at once, and none is out now."""
    if pool.size() != size:
        return False
    taken = [pool.get_connection(timeout=0, retry_num=0) for _ in range(size)]
    with pytest.raises(GetConnectionFromPoolError):
        pool.get_connection(timeout=0, retry_num=0)
    for connection in taken:
        connection.close()
    return pool.size() == size


# --- the pool itself -------------------------------------------------------------------------------------------------


def test_size_and_name_by_position(make: Make) -> None:
    """``ConnectionPool(2, "pool1", **config)`` was right then: the second word is a name if it is a str."""
    pool = make(2, "pool1")
    assert (pool.name, pool.size()) == ("pool1", 2)
    assert pool.total_num == 0


def test_default_name_says_where_the_pool_leads(make: Make, database: dict[str, Any]) -> None:
    """The same text as the package made."""
    assert make(2).name == "{host}-{port}-{user}-{database}".format(**database)


def test_size_is_how_many_can_be_had(pool: ConnectionPool) -> None:
    """``pool.size()`` is 2, then 1, then 0, whether they have been opened yet or not."""
    seen = [pool.size()]
    first = pool.get_connection()
    seen.append(pool.size())
    second = pool.get_connection()
    seen.append(pool.size())
    first.close()
    seen.append(pool.size())
    second.close()
    assert [*seen, pool.size()] == [2, 1, 0, 1, 2]


def test_size_is_never_negative(make: Make) -> None:
    """A pool that has grown past it has nothing more to give, and not less than nothing."""
    pool = make(size=1, maxsize=2)
    with pool.get_connection(), pool.get_connection(retry_num=0):
        assert (pool.size(), pool.total_num) == (0, 2)


def test_the_logger_is_the_modules(pool: ConnectionPool, caplog: pytest.LogCaptureFixture) -> None:
    """``pymysqlpool.logger.setLevel('DEBUG')`` is how its users look inside; before that it says nothing."""
    assert pymysqlpool.logger.name == "improved_db.compat.pymysqlpool"
    before = pymysqlpool.logger.level
    try:
        pymysqlpool.logger.setLevel("WARNING")
        pool.get_connection().close()
        assert caplog.records == []
        pymysqlpool.logger.setLevel("DEBUG")
        pool.get_connection().close()
    finally:
        pymysqlpool.logger.setLevel(before)
    assert [(record.levelno, record.message) for record in caplog.records] == [
        (logging.DEBUG, "Get connection from pool(pool1)"),
        (logging.DEBUG, "Put connection back to pool(pool1)"),
    ]


# --- borrowing -------------------------------------------------------------------------------------------------------


def test_timeout_0_without_retries_raises_at_once(pool: ConnectionPool) -> None:
    """The text is the package's, word for word; somebody's monitoring looks for it."""
    with pool.get_connection(), pool.get_connection():
        with pytest.raises(GetConnectionFromPoolError) as caught:
            pool.get_connection(timeout=0, retry_num=0)
        assert str(caught.value) == "can't get connection from pool(pool1) within 0*1 second(s)"
    assert is_whole(pool)


def test_timeout_is_waited_once_and_for_each_retry(pool: ConnectionPool, caplog: pytest.LogCaptureFixture) -> None:
    """The text says how often, and so do the log's lines."""
    with pool.get_connection(), pool.get_connection():
        caplog.set_level(logging.DEBUG, logger=pymysqlpool.logger.name)
        for retries in (0, 1, 2):
            caplog.clear()
            with pytest.raises(GetConnectionFromPoolError) as caught:
                pool.get_connection(timeout=0.01, retry_num=retries)
            said = f"can't get connection from pool(pool1) within 0.01*{retries + 1} second(s)"
            assert str(caught.value) == said
            assert caplog.messages == ["Retry to get connection from pool(pool1)"] * retries


def test_retry_num_is_1_with_a_timeout(pool: ConnectionPool) -> None:
    """0.3.3's default; 0.5.0's is 3."""
    too_late = pytest.raises(GetConnectionFromPoolError, match=r"within 0.01\*2 second")
    with pool.get_connection(), pool.get_connection(), too_late:
        pool.get_connection(timeout=0.01)


def test_more_than_ten_retries_are_as_many_as_asked_for(pool: ConnectionPool) -> None:
    """The limit of ten is 0.5.0's."""
    too_late = pytest.raises(GetConnectionFromPoolError, match=r"within 0.001\*13 second")
    with pool.get_connection(), pool.get_connection(), too_late:
        pool.get_connection(timeout=0.001, retry_num=12)


@pytest.mark.parametrize("timeout", [0, 0.01])
def test_timeout_never_grows_the_pool_past_size(make: Make, timeout: float) -> None:
    """In 0.3.3 the size was the limit, and its users counted on it."""
    pool = make(size=1, maxsize=50)
    with pool.get_connection(timeout=timeout):
        for _ in range(3):
            with pytest.raises(GetConnectionFromPoolError):
                pool.get_connection(timeout=timeout, retry_num=2)
        assert pool.total_num == 1


def test_a_waiter_is_served_by_whoever_returns_first(make: Make) -> None:
    """A timeout is the longest wait, not the shortest."""
    pool = make(size=1)
    connection = pool.get_connection()

    def borrow() -> int:
        with pool.get_connection(timeout=100 * PATIENCE, retry_num=0) as lent:
            return session(lent)

    with connection:
        number = session(connection)
        waiter = Caller(borrow)
        eventually(lambda: "wait in clock" in stack(waiter))
    assert waiter.result() == number
    assert is_whole(pool, 1)


def stack(caller: Caller[Any]) -> str:
    """Return where the thread stands, as ``function in module``."""
    frame = sys._current_frames().get(caller.ident or 0)
    last = traceback.extract_stack(frame)[-1:] if frame is not None else []
    return "".join(f"{step.name} in {step.filename.rpartition('/')[2].removesuffix('.py')}" for step in last)


def test_threads_never_have_more_than_size_at_once(make: Make) -> None:
    """``size`` connections are all that the server has to expect."""
    pool = make(size=3, maxsize=50)
    together = threading.Barrier(24)

    def work(number: int) -> int:
        if number < 24:
            together.wait(PATIENCE)
        with pool.get_connection(timeout=PATIENCE) as cur:
            cur.execute("select %s", (number,))
            return int(cur.fetchone()[0])

    with ThreadPoolExecutor(24) as threads:
        assert list(threads.map(work, range(240))) == list(range(240))
    assert pool.total_num <= 3
    assert is_whole(pool, 3)


# --- giving back -----------------------------------------------------------------------------------------------------


def test_close_gives_back(pool: ConnectionPool) -> None:
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


def test_put_connection_gives_back(pool: ConnectionPool) -> None:
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


def test_a_closed_connections_block_gets_no_session_that_is_somebody_elses(make: Make) -> None:
    """In 0.3.3 the closed one went on with a session that the next borrower had, too."""
    pool = make(size=1, maxsize=1)
    con1 = pool.get_connection()
    con1.close()
    with pool.get_connection():
        with pytest.raises(pymysql.err.OperationalError), con1 as cur:
            cur.execute("select 1")
        assert pool.total_num == 1
    with con1 as cur:
        assert cur.execute("select 1") == 1
    assert is_whole(pool, 1)


def test_nested_blocks_give_back_once_at_the_end_of_the_outer(make: Make, outside: ImprovedDb) -> None:
    """Functions that each begin with ``with con`` may call each other."""
    pool = make(size=1, autocommit=False)
    with pool.get_connection() as connection:
        with connection as cur:
            cur.execute("insert into user values (4, 'd')")
        assert pool.size() == 0
        assert names(outside) == ["a", "b", "c"]
        connection.execute("insert into user values (5, 'e')")
    assert names(outside) == ["a", "b", "c", "d", "e"]
    assert is_whole(pool, 1)


def test_a_block_that_fails_is_rolled_back_and_the_connection_goes_back(make: Make, outside: ImprovedDb) -> None:
    """The package's own text: exceptions that leave the session whole give it back."""
    pool = make(size=2, autocommit=False)

    def fail() -> None:
        with pool.get_connection(timeout=0) as cur:
            cur.execute("insert into user values (4, 'd')")
            cur.execute("insert into user values (1, 'again')")

    for _ in range(3):
        with pytest.raises(pymysql.err.IntegrityError):
            fail()
    assert names(outside) == ["a", "b", "c"]
    assert (pool.total_num, is_whole(pool)) == (1, True)


def test_a_connection_that_breaks_in_its_block_is_replaced(pool: ConnectionPool, outside: ImprovedDb) -> None:
    """The pool has as many afterwards as before."""

    def lose_it() -> None:
        with pool.get_connection() as cur:
            cur.execute("select connection_id()")
            kill(outside, cur.fetchone()[0])
            cur.execute("select 1")

    for _ in range(3):
        with pytest.raises(pymysql.err.OperationalError):
            lose_it()
        assert pool.size() == 2
    assert is_whole(pool)


# --- execute_query ---------------------------------------------------------------------------------------------------


def test_execute_query_returns_all_rows_and_gives_back(pool: ConnectionPool) -> None:
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
def test_execute_query_commits(make: Make, outside: ImprovedDb, autocommit: bool) -> None:
    """It was a block of its own in 0.3.3, and such a block commits."""
    make(size=1, autocommit=autocommit).get_connection().execute_query("insert into user values (4, 'd')")
    assert names(outside) == ["a", "b", "c", "d"]


def test_execute_query_again_and_again(make: Make) -> None:
    """The connection is parked in the pool in between, where others may have it."""
    pool = make(size=1)
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
    """``hasattr`` is a question; a debugger or a mock asks many, and nobody closes afterwards."""
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


def test_execute_query_in_a_block_keeps_the_connection(make: Make, outside: ImprovedDb) -> None:
    """The statements of a block are one unit, on one session."""
    pool = make(size=1, autocommit=False)

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
    pool: ConnectionPool, outside: ImprovedDb
) -> None:
    """Parked connections are looked at before they are used again."""
    connection = pool.get_connection()
    number = session(connection)
    kill(outside, number)
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
