"""The door of pymysql-pool 0.5.0: each of its promises, in its own words."""

from __future__ import annotations

import gc
import inspect
import logging
import sys
import threading
import traceback
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pymysql
import pytest
from pymysql.cursors import DictCursor, SSCursor

from improved_db import ConfigError, ImprovedDb, ImprovedDbError
from improved_db.compat import pymysqlpool
from improved_db.compat.pymysqlpool import (
    Connection,
    ConnectionPool,
    ConnectionPoolSingleton,
    GetConnectionFromPoolError,
    ReturnConnectionToPoolError,
)
from tests.fakes import PATIENCE, Caller, eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Make = Callable[..., ConnectionPool]

CANARY = "s3cret-canary"


@pytest.fixture
def outside(database: dict[str, Any]) -> Iterator[ImprovedDb]:
    """An eye on the server that is none of the pool's, and a table for the tests."""
    with ImprovedDb(database) as db:
        db.execute_query("create table user (uid int primary key auto_increment, name varchar(20))")
        yield db


@pytest.fixture
def make(database: dict[str, Any], outside: ImprovedDb) -> Iterator[Make]:
    """Make pools on the test's database; they are closed after the test."""
    made = []

    def make_pool(*args: Any, **options: Any) -> ConnectionPool:
        pool = ConnectionPool(*args, **{**database, **options})
        made.append(pool)
        return pool

    yield make_pool
    for pool in made:
        pool.close()


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """Return what the door has logged since the last look, as ``level: text``."""
    caplog.set_level(logging.DEBUG, logger=pymysqlpool.logger.name)

    def since() -> list[str]:
        found = [f"{record.levelname}: {record.message}" for record in caplog.records if record.name == logger_name]
        caplog.clear()
        return found

    logger_name = pymysqlpool.logger.name
    return since


def session(connection: Any) -> int:
    """Ask the server which session this is."""
    with connection.cursor() as cursor:
        cursor.execute("select connection_id()")
        return int(cursor.fetchone()[0])


def kill(outside: ImprovedDb, number: int) -> None:
    """End a session from outside, and wait until the server has forgotten it."""
    outside.execute_query(f"kill {number}")
    eventually(lambda: not outside.execute_query("select 1 from information_schema.processlist where id = %s", number))


def names(outside: ImprovedDb) -> list[str]:
    """Return what is in the table, as another session sees it."""
    return [name for (name,) in outside.execute_query("select name from user order by uid")]


def wait_in_line(caller: Caller[Any]) -> None:
    """Wait until the thread sleeps on a signal of the pool's."""

    def sleeps() -> bool:
        frame = sys._current_frames().get(caller.ident or 0)
        stack = traceback.extract_stack(frame) if frame is not None else []
        return bool(stack) and (stack[-1].name, stack[-1].filename.endswith("clock.py")) == ("wait", True)

    eventually(sleeps)


# --- the pool itself -------------------------------------------------------------------------------------------------


def test_arguments_by_position_are_those_of_0_5_0(make: Make) -> None:
    """``ConnectionPool(2, 3, "mypool", 1, 60, False)`` is how some programs call it."""
    pool = make(2, 3, "mypool", 1, 60, False)
    assert (pool.size(), pool.maxsize, pool.name, pool.total_num) == (2, 3, "mypool", 1)
    with pool.get_connection() as connection:
        assert connection.get_autocommit() is False


def test_defaults_are_those_of_0_5_0(make: Make) -> None:
    """A program that names only the server gets what it got."""
    given = {name: one.default for name, one in inspect.signature(ConnectionPool).parameters.items()}
    del given["kwargs"]
    assert list(given.items()) == [
        ("size", 10), ("maxsize", 100), ("name", None), ("pre_create_num", 0), ("con_lifetime", 3600),
        ("autocommit", True),
    ]  # fmt: skip
    pool = make()
    assert (pool.size(), pool.maxsize, pool.total_num) == (10, 100, 0)
    with pool.get_connection() as connection:
        assert connection.get_autocommit() is True


def test_default_name_says_where_the_pool_leads(make: Make, database: dict[str, Any]) -> None:
    """Log lines of several pools can be told apart without a name given."""
    expected = "{host}-{port}-{user}-{database}".format(**database)
    assert make().name == expected
    assert make(name="").name == expected
    assert make(name="mypool").name == "mypool"


@pytest.mark.parametrize(("asked", "opened"), [(0, 0), (2, 2), (3, 3), (9, 3)])
def test_pre_create_num_opens_that_many_but_not_past_maxsize(make: Make, asked: int, opened: int) -> None:
    """The first requests after a start should not wait for connects."""
    pool = make(size=2, maxsize=3, pre_create_num=asked)
    assert (pool.total_num, pool.available_num) == (opened, opened)


def test_a_pool_opens_nothing_before_it_is_asked(make: Make) -> None:
    """A program may make its pool before its server is up."""
    pool = make(size=2, host="127.0.0.1", port=1)
    assert pool.total_num == 0
    with pytest.raises(pymysql.err.OperationalError) as caught:
        pool.get_connection()
    assert caught.value.args[0] == 2003
    assert (pool.total_num, pool.size()) == (0, 2)


def test_several_pools_live_side_by_side_under_their_names(
    make: Make, lines: Callable[[], list[str]], outside: ImprovedDb, database: dict[str, Any]
) -> None:
    """One program, two databases."""
    here, there = make(size=1, name="here"), make(size=1, name="there", database="mysql")
    with here.get_connection() as a, there.get_connection() as b:
        a.execute("select database()")
        b.execute("select database()")
        assert (a.fetchone(), b.fetchone()) == ((database["database"],), ("mysql",))
    assert [line.partition("pool")[2] for line in lines()] == [
        "(here)", "(here)", "(there)", "(there)", "(there)", "(here)",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"size": 0}, "size"), ({"size": "2"}, "size"), ({"size": True}, "size"), ({"size": 2.0}, "size"),
        ({"maxsize": 0}, "maxsize"), ({"maxsize": -1}, "maxsize"),
        ({"pre_create_num": -1}, "pre_create_num"), ({"pre_create_num": "1"}, "pre_create_num"),
        ({"con_lifetime": "an hour"}, "max_lifetime|con_lifetime"),
        ({"autocommit": "yes please"}, "autocommit"),
        ({"pasword": CANARY}, "did you mean"), ({"port": "none"}, "port"),
    ],
)  # fmt: skip
def test_an_argument_that_cannot_be_meant_is_a_config_error_without_the_password(
    make: Make, wrong: dict[str, Any], said: str
) -> None:
    """The mistake is named where it was made, not at the first connect."""
    with pytest.raises(ConfigError, match=said) as caught:
        make(**{"password": CANARY, **wrong})
    assert CANARY not in f"{caught.value} {caught.value!r}"


def test_singleton_is_one_pool_whoever_asks(database: dict[str, Any]) -> None:
    """Each module of a program asks for it, and only the first call's arguments count."""

    class Own(ConnectionPoolSingleton):
        """This test's."""

    first, second = Own(size=2, name="first", **database), Own(size=5, name="second", **database)
    assert second is first
    assert isinstance(first, ConnectionPool)
    assert (second.name, second.size()) == ("first", 2)
    with second.get_connection():
        assert first.size() == 1
    first.close()


def test_singleton_is_one_pool_for_threads_that_ask_at_once(database: dict[str, Any]) -> None:
    """The first requests of a web server arrive together."""

    class Own(ConnectionPoolSingleton):
        """This test's."""

    together = threading.Barrier(8)

    def ask(number: int) -> ConnectionPool:
        together.wait(PATIENCE)
        return Own(size=2, name=f"from {number}", pre_create_num=1, **database)

    with ThreadPoolExecutor(8) as threads:
        got = list(threads.map(ask, range(8)))
    assert len(set(map(id, got))) == 1
    assert got[0].total_num == 1
    got[0].close()


# --- borrowing -------------------------------------------------------------------------------------------------------


def test_connections_up_to_size_are_opened_on_demand(make: Make, lines: Callable[[], list[str]]) -> None:
    """An idle program holds no connections that nobody asked for."""
    pool = make(size=2, maxsize=3, name="mypool")
    assert lines() == []
    with pool.get_connection():
        assert (pool.total_num, pool.available_num, pool.size()) == (1, 0, 1)
        with pool.get_connection():
            assert (pool.total_num, pool.available_num, pool.size()) == (2, 0, 0)
        assert (pool.total_num, pool.available_num, pool.size()) == (2, 1, 1)
    assert (pool.total_num, pool.available_num, pool.size()) == (2, 2, 2)
    create, get, put = (
        "DEBUG: Create new connection in pool(mypool)",
        "DEBUG: Get connection from pool(mypool)",
        "DEBUG: Put connection back to pool(mypool)",
    )
    assert lines() == [create, get, create, get, put, put]


def test_an_idle_connection_is_lent_before_another_is_opened(make: Make) -> None:
    """That is what a pool is for."""
    pool = make(size=5)
    numbers = set()
    for _ in range(20):
        with pool.get_connection() as connection:
            numbers.add(session(connection))
    assert (len(numbers), pool.total_num) == (1, 1)


def test_between_size_and_maxsize_a_connection_is_opened_only_after_the_waits(
    make: Make, lines: Callable[[], list[str]]
) -> None:
    """A short peak is waited out; a long one is served all the same."""
    pool = make(size=1, maxsize=2, name="mypool")
    with pool.get_connection():
        lines()
        with pool.get_connection(retry_num=3, retry_interval=0.01):
            assert (pool.total_num, pool.available_num) == (2, 0)
            retry, create = (
                "DEBUG: Retry to get connection from pool(mypool)",
                "DEBUG: Create new connection in pool(mypool)",
            )
            assert lines() == [retry, retry, retry, create]
    assert (pool.total_num, pool.available_num) == (2, 2)


def test_past_maxsize_nobody_gets_one(make: Make, lines: Callable[[], list[str]]) -> None:
    """The server's own limit is shared with others."""
    pool = make(size=1, maxsize=2, name="pool1")
    with pool.get_connection(), pool.get_connection(retry_num=0):
        lines()
        with pytest.raises(GetConnectionFromPoolError) as caught:
            pool.get_connection()
        assert str(caught.value) == "can't get connection from pool(pool1), retry_interval=0.1(s)"
        assert lines() == ["DEBUG: Retry to get connection from pool(pool1)"] * 3
        assert pool.total_num == 2
    with pool.get_connection():
        assert pool.total_num == 2


def test_no_connection_is_an_error_that_old_and_new_programs_catch(make: Make) -> None:
    """New code looks for a timeout, code for PyMySQL for its OperationalError; the cause shows the pool."""
    pool = make(size=1, maxsize=1)
    with pool.get_connection(), pytest.raises(GetConnectionFromPoolError) as caught:
        pool.get_connection(retry_num=0)
    assert isinstance(caught.value, TimeoutError)
    assert isinstance(caught.value, pymysql.err.OperationalError)
    assert isinstance(caught.value, ImprovedDbError)
    assert isinstance(caught.value.__cause__, TimeoutError)


def test_retry_num_0_does_not_wait_before_it_grows(make: Make, lines: Callable[[], list[str]]) -> None:
    """Who does not want to wait gets one of those in reserve at once, however long an interval is."""
    pool = make(size=1, maxsize=2, name="mypool")
    with pool.get_connection():
        lines()
        with pool.get_connection(retry_num=0, retry_interval=1e6):
            assert lines() == ["DEBUG: Create new connection in pool(mypool)"]


def test_retry_num_and_retry_interval_and_pre_ping_go_by_position_too(make: Make) -> None:
    """``get_connection(2, 0.01, True)`` is how some programs call it."""
    pool = make(size=1, maxsize=1, name="pool1")
    with pool.get_connection(0, 0.01, True), pytest.raises(GetConnectionFromPoolError) as caught:
        pool.get_connection(2, 0.01, True)
    assert str(caught.value) == "can't get connection from pool(pool1), retry_interval=0.01(s)"


def test_more_than_ten_retries_are_ten(make: Make, lines: Callable[[], list[str]]) -> None:
    """The limit was in the first place so that a mistyped number does not hang the program."""
    pool = make(size=1, maxsize=1, name="mypool")
    with pool.get_connection():
        lines()
        with pytest.raises(GetConnectionFromPoolError):
            pool.get_connection(retry_num=1_000_000, retry_interval=0.001)
        assert lines() == ["DEBUG: Retry to get connection from pool(mypool)"] * 10


def test_a_waiter_is_served_by_whoever_returns_first(make: Make) -> None:
    """They slept through whole intervals; here a connection that comes back goes to who waits, at once."""
    pool = make(size=1, maxsize=1)
    connection = pool.get_connection()
    number = session(connection)

    def borrow() -> int:
        with pool.get_connection(retry_num=1, retry_interval=100 * PATIENCE) as lent:
            return session(lent)

    waiter = Caller(borrow)
    wait_in_line(waiter)
    connection.close()
    assert waiter.result() == number
    assert pool.total_num == 1


def test_maxsize_is_the_limit_for_forty_threads_at_once(make: Make, outside: ImprovedDb) -> None:
    """A limit that a burst of threads can pass is none."""
    pool = make(size=2, maxsize=5)
    together, over = threading.Barrier(40), threading.Barrier(40)

    def borrow(_: int) -> bool:
        together.wait(PATIENCE)
        try:
            connection = pool.get_connection(retry_num=1, retry_interval=0.01)
        except GetConnectionFromPoolError:
            over.wait(PATIENCE)
            return False
        connection.execute("set @mine = 1")
        over.wait(PATIENCE)
        assert pool.total_num == 5
        connection.close()
        return True

    with ThreadPoolExecutor(40) as threads:
        got = list(threads.map(borrow, range(40)))
    assert got.count(True) == 5
    assert (pool.total_num, pool.available_num) == (5, 5)


def test_forty_threads_share_few_connections_and_lose_none(make: Make) -> None:
    """Each thread's query and each count add up afterwards."""
    pool = make(size=3, maxsize=4)

    def work(number: int) -> int:
        with pool.get_connection(retry_num=10, retry_interval=PATIENCE) as connection, connection.cursor() as cursor:
            cursor.execute("select %s", (number,))
            return int(cursor.fetchone()[0])

    with ThreadPoolExecutor(40) as threads:
        assert list(threads.map(work, range(800))) == list(range(800))
    assert pool.total_num <= 4
    assert pool.available_num == pool.total_num


# --- a connection that is fit ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("pre_ping", [False, True])
def test_a_session_that_was_killed_while_idle_is_not_lent(make: Make, outside: ImprovedDb, pre_ping: bool) -> None:
    """The server's ``wait_timeout`` does the same every night."""
    pool = make(size=1, maxsize=1)
    with pool.get_connection() as connection:
        number = session(connection)
    kill(outside, number)
    with pool.get_connection(pre_ping=pre_ping) as connection:
        assert session(connection) != number
    assert pool.total_num == 1


def test_pre_ping_asks_the_server_and_nothing_else_does(make: Make) -> None:
    """Some break in the network shows itself to nobody who does not ask; a round trip is for those who want it."""
    pool = make(size=1)

    def pings(connection: Connection) -> int:
        connection.execute("show session status like 'Com_admin_commands'")
        return int(connection.fetchone()[1])

    with pool.get_connection() as connection:
        before = pings(connection)
    with pool.get_connection() as connection:
        assert pings(connection) == before
    with pool.get_connection(pre_ping=True) as connection:
        assert pings(connection) == before + 1


def test_a_broken_connection_is_replaced_not_returned(make: Make, outside: ImprovedDb) -> None:
    """It would fail the next borrower, for nothing he did."""
    pool = make(size=1, maxsize=1)
    connection = pool.get_connection()
    number = session(connection)
    kill(outside, number)
    with pytest.raises(pymysql.err.OperationalError), connection.cursor() as cursor:
        cursor.execute("select 1")
    connection.close()
    assert (pool.total_num, pool.size()) == (0, 1)
    with pool.get_connection(retry_num=0) as connection:
        assert session(connection) != number


def test_a_connection_that_broke_in_its_block_is_replaced_and_its_error_raised(make: Make, outside: ImprovedDb) -> None:
    """The user's error is about his statement, not about the pool's housekeeping."""
    pool = make(size=1, maxsize=1)

    def lose_it() -> None:
        with pool.get_connection() as connection:
            kill(outside, session(connection))
            connection.execute("select 1")

    with pytest.raises(pymysql.err.OperationalError):
        lose_it()
    assert (pool.total_num, pool.size()) == (0, 1)
    with pool.get_connection(retry_num=0) as connection:
        assert session(connection)


def test_a_connection_is_replaced_after_con_lifetime(make: Make) -> None:
    """Behind a load balancer old connections never reach the new server."""
    pool = make(size=1, maxsize=1, con_lifetime=0.05)
    numbers = set()

    def two_sessions() -> bool:
        with pool.get_connection() as connection:
            numbers.add(session(connection))
        return len(numbers) == 2

    eventually(two_sessions)
    assert pool.total_num <= 1


@pytest.mark.parametrize("con_lifetime", [0, -1])
def test_con_lifetime_0_or_less_is_none(make: Make, con_lifetime: int) -> None:
    """Taken at its word it would replace each connection after each use."""
    pool = make(size=1, con_lifetime=con_lifetime)
    numbers = set()
    for _ in range(5):
        with pool.get_connection() as connection:
            numbers.add(session(connection))
    assert len(numbers) == 1


@pytest.mark.parametrize("autocommit", [True, False])
def test_autocommit_is_restored(make: Make, autocommit: bool) -> None:
    """What one borrower switched is no surprise for the next."""
    pool = make(size=1, autocommit=autocommit)
    for _ in range(2):
        with pool.get_connection() as connection:
            assert connection.get_autocommit() is autocommit
            connection.autocommit(not autocommit)
            assert connection.get_autocommit() is not autocommit


def test_an_unfinished_transaction_does_not_reach_the_next_borrower(make: Make, outside: ImprovedDb) -> None:
    """What was closed and never committed was not meant to stay."""
    pool = make(size=1, autocommit=False)
    connection = pool.get_connection()
    connection.execute("insert into user values (1, 'a')")
    connection.close()
    with pool.get_connection() as connection:
        connection.execute("select count(*) from user")
        assert connection.fetchone() == (0,)
    assert names(outside) == []


# --- giving back -----------------------------------------------------------------------------------------------------


def test_close_gives_back(make: Make, lines: Callable[[], list[str]]) -> None:
    """A session is worth more than the object around it."""
    pool = make(size=1, name="mypool")
    connection = pool.get_connection()
    number = session(connection)
    lines()
    connection.close()
    assert lines() == ["DEBUG: Put connection back to pool(mypool)"]
    with pool.get_connection() as connection:
        assert session(connection) == number


def test_a_with_block_commits_and_gives_back(make: Make, outside: ImprovedDb) -> None:
    """Its users expect of ``with`` what PyMySQL's had taught them, and theirs rolled back."""
    pool = make(size=1, autocommit=False)
    with pool.get_connection() as connection, connection.cursor() as cursor:
        cursor.execute("insert into user values (1, 'a')")
    assert pool.available_num == 1
    assert names(outside) == ["a"]


class OddError(Exception):
    """None that anything here knows."""


@pytest.mark.parametrize("error", [OddError(), KeyError("x"), KeyboardInterrupt(), pymysql.err.DataError(1, "x")])
@pytest.mark.parametrize("autocommit", [True, False])
def test_a_with_block_that_fails_rolls_back_and_gives_back(
    make: Make, outside: ImprovedDb, error: BaseException, autocommit: bool
) -> None:
    """Whatever went wrong: nothing by halves, and nothing lost."""
    pool = make(size=1, maxsize=1, autocommit=autocommit)

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


def test_a_statement_that_fails_takes_the_ones_before_it_along(make: Make, outside: ImprovedDb) -> None:
    """Theirs committed the half of a transaction that had worked."""
    pool = make(size=1, maxsize=1)

    def book() -> None:
        with pool.get_connection() as connection:
            connection.begin()
            connection.execute("insert into user values (1, 'a')")
            connection.execute("insert into user values (1, 'again')")

    with pytest.raises(pymysql.err.IntegrityError):
        book()
    assert names(outside) == []
    assert pool.available_num == 1


def test_close_within_the_block_is_enough(make: Make) -> None:
    """Careful programs do both; the end of the block then has nothing left to do."""
    pool = make(size=1)
    with pool.get_connection() as connection:
        connection.close()
        assert pool.available_num == 1
    assert (pool.total_num, pool.available_num) == (1, 1)


def test_no_more_than_one_is_given_back_by_two_threads_that_close_at_once(make: Make) -> None:
    """Who closes second has to hear of it, and the pool must not count it twice."""
    pool = make(size=1, maxsize=1)
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
def test_a_returned_connection_refuses_everything(make: Make, use: str, leave: str) -> None:
    """Its session may be somebody else's by now."""
    pool = make(size=1, name="mypool")
    connection = pool.get_connection()
    if leave == "close":
        connection.close()
    else:
        with connection:
            connection.execute("select 1")
    with pytest.raises(ReturnConnectionToPoolError, match=r"already returned to the pool\(mypool\)"):
        getattr(connection, use)(*USES[use])
    assert (pool.total_num, pool.available_num) == (1, 1)


def test_a_stale_reference_cannot_touch_a_session_that_somebody_else_has_borrowed(make: Make) -> None:
    """Otherwise one thread's COMMIT ends another's transaction."""
    pool = make(size=1, maxsize=1)
    stale = pool.get_connection()
    number = session(stale)
    stale.close()
    lent, over = threading.Event(), threading.Event()

    def borrow() -> tuple[int, int, list[Any]]:
        with pool.get_connection() as connection:
            connection.begin()
            before = session(connection)
            lent.set()
            assert over.wait(PATIENCE)
            return before, session(connection), [connection.get_autocommit(), connection.in_transaction()]

    other = Caller(borrow)
    assert lent.wait(PATIENCE)
    for use in ("close", "commit", "rollback", "cursor", "ping"):
        with pytest.raises(ReturnConnectionToPoolError):
            getattr(stale, use)(*USES[use])
    assert (pool.total_num, pool.available_num) == (1, 0)
    over.set()
    assert other.result() == (number, number, [True, True])


@pytest.mark.parametrize("kind", [None, DictCursor, SSCursor])
def test_a_stale_cursor_is_refused_too(make: Make, kind: type[Any] | None) -> None:
    """It is one more way to a session that is no longer one's own."""
    pool = make(size=1, maxsize=1)
    connection = pool.get_connection()
    cursor = connection.cursor(kind)
    connection.close()
    with pool.get_connection():
        with pytest.raises(ReturnConnectionToPoolError):
            cursor.execute("select 1")
        with pytest.raises(ReturnConnectionToPoolError):
            cursor.executemany("select %s", [(1,), (2,)])


def test_rows_that_were_fetched_outlive_their_connection(make: Make) -> None:
    """They are in the cursor; PyMySQL hands them out after a close as well."""
    pool = make(size=1)
    connection = pool.get_connection()
    cursor = connection.cursor()
    cursor.execute("select 1 union select 2")
    connection.close()
    assert cursor.fetchall() == ((1,), (2,))


# --- cursors ---------------------------------------------------------------------------------------------------------


def test_db_query_returns_all_rows(make: Make) -> None:
    """One call instead of two."""
    with make(size=1).get_connection() as connection, connection.cursor() as cursor:
        assert cursor.db_query("select 1 union select 2") == ((1,), (2,))
        assert cursor.db_query("select %s + %s", (1, 2)) == ((3,),)
        assert cursor.db_query("select * from user") == ()
        assert cursor.db_query("select '100%'") == (("100%",),)


def test_db_modify_returns_rowcount_and_lastrowid(make: Make, outside: ImprovedDb) -> None:
    """What an INSERT is asked for."""
    with make(size=1).get_connection() as connection, connection.cursor() as cursor:
        assert cursor.db_modify("insert into user (name) values ('a')") == {"rowcount": 1, "lastrowid": 1}
        assert cursor.db_modify("insert into user (name) values (%s)", ("b",)) == {"rowcount": 1, "lastrowid": 2}
        more = cursor.db_modify("insert into user (name) values (%s)", [("c",), ("d",)], exec_many=True)
        assert more == {"rowcount": 2, "lastrowid": 3}
        assert cursor.db_modify("update user set name = 'z' where uid > %s", (2,))["rowcount"] == 2
    assert names(outside) == ["a", "b", "z", "z"]


@pytest.mark.parametrize("from_options", [True, False])
def test_dict_cursors_have_both_short_cuts(make: Make, from_options: bool) -> None:
    """``cursorclass`` in the options or an argument of ``cursor``: both are PyMySQL's ways to ask for dicts."""
    pool = make(size=1, **({"cursorclass": DictCursor} if from_options else {}))
    with pool.get_connection() as connection, connection.cursor(*([] if from_options else [DictCursor])) as cursor:
        assert DictCursor in type(cursor).__mro__
        assert cursor.db_modify("insert into user (name) values ('a')") == {"rowcount": 1, "lastrowid": 1}
        assert list(cursor.db_query("select * from user")) == [{"uid": 1, "name": "a"}]


def test_cursors_of_another_kind_are_that_kind(make: Make) -> None:
    """A user's own class has its own methods."""

    class OwnCursor(SSCursor):
        """This test's."""

    with make(size=1).get_connection() as connection, connection.cursor(OwnCursor) as cursor:
        assert type(cursor) is OwnCursor
        cursor.execute("select 1")
        assert cursor.fetchall() == [(1,)]


# --- PyMySQL's own ---------------------------------------------------------------------------------------------------


def test_a_pooled_connection_is_pymysqls(make: Make) -> None:
    """Libraries ask ``isinstance`` before they take one."""
    with make(size=1).get_connection() as connection:
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


def test_a_pool_that_nobody_has_any_more_ends_its_sessions(database: dict[str, Any], outside: ImprovedDb) -> None:
    """Theirs had no ``close``: programs let a pool go and think no more of it."""
    pool = ConnectionPool(size=2, pre_create_num=2, **database)
    with pool.get_connection() as one, pool.get_connection() as other:
        numbers = session(one), session(other)
    del pool, one, other
    gc.collect()
    query = "select 1 from information_schema.processlist where id in (%s, %s)"
    eventually(lambda: not outside.execute_query(query, numbers))


# --- what must not show ----------------------------------------------------------------------------------------------


def test_a_refused_connect_shows_no_password_and_costs_no_place(make: Make, outside: ImprovedDb) -> None:
    """Reports of errors with their locals end up in mails and trackers."""
    pool = make(size=1, maxsize=1, user="nobody", password=CANARY)
    for _ in range(3):
        with pytest.raises(pymysql.err.OperationalError) as caught:
            pool.get_connection(retry_num=0)
        assert caught.value.args[0] == 1045
        assert list(leaks(caught.value)) == []
    assert (pool.total_num, pool.size()) == (0, 1)


def test_no_password_in_what_can_be_printed(make: Make, lines: Callable[[], list[str]], outside: ImprovedDb) -> None:
    """Programs print their pools and connections when they look for mistakes."""
    user = f"u{outside.execute_query('select connection_id()', return_one=True)[0]}"
    outside.execute_query(f"create user {user} identified by '{CANARY}'")
    outside.execute_query(f"grant all on *.* to {user}")
    try:
        pool = make(size=1, maxsize=1, user=user, password=CANARY)
        with pool.get_connection() as connection, pytest.raises(GetConnectionFromPoolError) as caught:
            pool.get_connection(retry_num=0)
        assert list(leaks(caught.value)) == []
        printed = f"{pool} {pool!r} {pool.name} {connection} {connection!r} {lines()}"
    finally:
        outside.execute_query(f"drop user {user}")
    assert "pool" in printed
    assert CANARY not in printed


def leaks(error: BaseException) -> Iterator[str]:
    """Find the canary in an error, in what it came from, and in the locals of every frame that is not of this file."""
    seen: BaseException | None = error
    while seen is not None:
        if CANARY in f"{seen} {seen!r} {vars(seen)!r}":
            yield f"text of {type(seen).__name__}"
        step = seen.__traceback__
        while step is not None:
            if step.tb_frame.f_code.co_filename != __file__:
                for name, value in step.tb_frame.f_locals.items():
                    if CANARY in repr(value):
                        yield f"{step.tb_frame.f_code.co_name}: {name}"
            step = step.tb_next
        seen = seen.__cause__ or seen.__context__
