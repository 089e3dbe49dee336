"""The door of pymysql-pool 0.5.0: who gets a connection, when one is opened, and that what is lent is fit."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pymysql
import pytest

from improved_db import ImprovedDb, ImprovedDbError
from improved_db.compat.pymysqlpool import Connection, GetConnectionFromPoolError
from tests.compat.pools import names, wait_in_line
from tests.compat.sessions import Watch, session_of
from tests.fakes import PATIENCE, Caller, eventually

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.compat.pools import Make


# --- borrowing -------------------------------------------------------------------------------------------------------


def test_connections_up_to_size_are_opened_on_demand(make_pool: Make, lines: Callable[[], list[str]]) -> None:
    """An idle program holds no connections that it did not ask for."""
    pool = make_pool(size=2, maxsize=3, name="mypool")
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


def test_an_idle_connection_is_lent_before_another_is_opened(make_pool: Make) -> None:
    """That is what a pool is for."""
    pool = make_pool(size=5)
    numbers = set()
    for _ in range(20):
        with pool.get_connection() as connection:
            numbers.add(session_of(connection))
    assert (len(numbers), pool.total_num) == (1, 1)


def test_between_size_and_maxsize_a_connection_is_opened_only_after_the_waits(
    make_pool: Make, lines: Callable[[], list[str]]
) -> None:
    """A short peak is waited out; a long one is served all the same."""
    pool = make_pool(size=1, maxsize=2, name="mypool")
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


def test_past_maxsize_no_caller_gets_one(make_pool: Make, lines: Callable[[], list[str]]) -> None:
    """The server's own limit is shared with others."""
    pool = make_pool(size=1, maxsize=2, name="pool1")
    with pool.get_connection(), pool.get_connection(retry_num=0):
        lines()
        with pytest.raises(GetConnectionFromPoolError) as caught:
            pool.get_connection()
        assert str(caught.value) == "can't get connection from pool(pool1), retry_interval=0.1(s)"
        assert lines() == ["DEBUG: Retry to get connection from pool(pool1)"] * 3
        assert pool.total_num == 2
    with pool.get_connection():
        assert pool.total_num == 2


def test_no_connection_is_an_error_that_old_and_new_programs_catch(make_pool: Make) -> None:
    """New code looks for a timeout, code for PyMySQL for its OperationalError; the cause shows the pool."""
    pool = make_pool(size=1, maxsize=1)
    with pool.get_connection(), pytest.raises(GetConnectionFromPoolError) as caught:
        pool.get_connection(retry_num=0)
    assert isinstance(caught.value, TimeoutError)
    assert isinstance(caught.value, pymysql.err.OperationalError)
    assert isinstance(caught.value, ImprovedDbError)
    assert isinstance(caught.value.__cause__, TimeoutError)


def test_retry_num_0_does_not_wait_before_it_grows(make_pool: Make, lines: Callable[[], list[str]]) -> None:
    """Who does not want to wait gets one of those in reserve at once, however long an interval is."""
    pool = make_pool(size=1, maxsize=2, name="mypool")
    with pool.get_connection():
        lines()
        with pool.get_connection(retry_num=0, retry_interval=1e6):
            assert lines() == ["DEBUG: Create new connection in pool(mypool)"]


def test_retry_num_and_retry_interval_and_pre_ping_go_by_position_too(make_pool: Make) -> None:
    """``get_connection(2, 0.01, True)`` is how some programs call it."""
    pool = make_pool(size=1, maxsize=1, name="pool1")
    with pool.get_connection(0, 0.01, True), pytest.raises(GetConnectionFromPoolError) as caught:
        pool.get_connection(2, 0.01, True)
    assert str(caught.value) == "can't get connection from pool(pool1), retry_interval=0.01(s)"


def test_more_than_ten_retries_are_ten(make_pool: Make, lines: Callable[[], list[str]]) -> None:
    """The limit was in the first place so that a mistyped number does not hang the program."""
    pool = make_pool(size=1, maxsize=1, name="mypool")
    with pool.get_connection():
        lines()
        with pytest.raises(GetConnectionFromPoolError):
            pool.get_connection(retry_num=1_000_000, retry_interval=0.001)
        assert lines() == ["DEBUG: Retry to get connection from pool(mypool)"] * 10


def test_a_waiter_is_served_by_the_first_return(make_pool: Make) -> None:
    """They slept through whole intervals; here a connection that comes back goes to who waits, at once."""
    pool = make_pool(size=1, maxsize=1)
    connection = pool.get_connection()
    number = session_of(connection)

    def borrow() -> int:
        with pool.get_connection(retry_num=1, retry_interval=100 * PATIENCE) as lent:
            return session_of(lent)

    waiter = Caller(borrow)
    wait_in_line(waiter)
    connection.close()
    assert waiter.result() == number
    assert pool.total_num == 1


def test_maxsize_is_the_limit_for_forty_threads_at_once(make_pool: Make, outside: ImprovedDb) -> None:
    """A limit that a burst of threads can pass is none."""
    pool = make_pool(size=2, maxsize=5)
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


def test_forty_threads_share_few_connections_and_lose_none(make_pool: Make) -> None:
    """Each thread's query and each count add up afterwards."""
    pool = make_pool(size=3, maxsize=4)

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
def test_a_session_that_was_killed_while_idle_is_not_lent(make_pool: Make, watch: Watch, pre_ping: bool) -> None:
    """The server's ``wait_timeout`` does the same every night."""
    pool = make_pool(size=1, maxsize=1)
    with pool.get_connection() as connection:
        number = session_of(connection)
    watch.kill(number)
    with pool.get_connection(pre_ping=pre_ping) as connection:
        assert session_of(connection) != number
    assert pool.total_num == 1


def test_pre_ping_asks_the_server_and_nothing_else_does(make_pool: Make) -> None:
    """Some breaks in the network are seen only by a round trip; it is for callers who want it."""
    pool = make_pool(size=1)

    def pings(connection: Connection) -> int:
        connection.execute("show session status like 'Com_admin_commands'")
        return int(connection.fetchone()[1])

    with pool.get_connection() as connection:
        before = pings(connection)
    with pool.get_connection() as connection:
        assert pings(connection) == before
    with pool.get_connection(pre_ping=True) as connection:
        assert pings(connection) == before + 1


def test_a_broken_connection_is_replaced_not_returned(make_pool: Make, watch: Watch) -> None:
    """It would fail the next borrower, for nothing he did."""
    pool = make_pool(size=1, maxsize=1)
    connection = pool.get_connection()
    number = session_of(connection)
    watch.kill(number)
    with pytest.raises(pymysql.err.OperationalError), connection.cursor() as cursor:
        cursor.execute("select 1")
    connection.close()
    assert (pool.total_num, pool.size()) == (0, 1)
    with pool.get_connection(retry_num=0) as connection:
        assert session_of(connection) != number


def test_a_connection_that_broke_in_its_block_is_replaced_and_its_error_raised(make_pool: Make, watch: Watch) -> None:
    """The user's error is about his statement, not about the pool's housekeeping."""
    pool = make_pool(size=1, maxsize=1)

    def lose_it() -> None:
        with pool.get_connection() as connection:
            watch.kill(session_of(connection))
            connection.execute("select 1")

    with pytest.raises(pymysql.err.OperationalError):
        lose_it()
    assert (pool.total_num, pool.size()) == (0, 1)
    with pool.get_connection(retry_num=0) as connection:
        assert session_of(connection)


def test_a_connection_is_replaced_after_con_lifetime(make_pool: Make) -> None:
    """Behind a load balancer old connections never reach the new server."""
    pool = make_pool(size=1, maxsize=1, con_lifetime=0.05)
    numbers = set()

    def two_sessions() -> bool:
        with pool.get_connection() as connection:
            numbers.add(session_of(connection))
        return len(numbers) == 2

    eventually(two_sessions)
    assert pool.total_num <= 1


@pytest.mark.parametrize("con_lifetime", [0, -1])
def test_con_lifetime_0_or_less_is_none(make_pool: Make, con_lifetime: int) -> None:
    """Taken at its word it would replace each connection after each use."""
    pool = make_pool(size=1, con_lifetime=con_lifetime)
    numbers = set()
    for _ in range(5):
        with pool.get_connection() as connection:
            numbers.add(session_of(connection))
    assert len(numbers) == 1


@pytest.mark.parametrize("autocommit", [True, False])
def test_autocommit_is_restored(make_pool: Make, autocommit: bool) -> None:
    """What one borrower switched is no surprise for the next."""
    pool = make_pool(size=1, autocommit=autocommit)
    for _ in range(2):
        with pool.get_connection() as connection:
            assert connection.get_autocommit() is autocommit
            connection.autocommit(not autocommit)
            assert connection.get_autocommit() is not autocommit


def test_an_unfinished_transaction_does_not_reach_the_next_borrower(make_pool: Make, outside: ImprovedDb) -> None:
    """What was closed and never committed was not meant to stay."""
    pool = make_pool(size=1, autocommit=False)
    connection = pool.get_connection()
    connection.execute("insert into user values (1, 'a')")
    connection.close()
    with pool.get_connection() as connection:
        connection.execute("select count(*) from user")
        assert connection.fetchone() == (0,)
    assert names(outside) == []


def test_a_refusal_says_where_the_others_were_borrowed(make_pool: Make) -> None:
    """Not in the door's own file: the line that forgot to close is the user's."""
    pool = make_pool(size=1, maxsize=1)
    held = pool.get_connection()
    with pytest.raises(GetConnectionFromPoolError) as refused:
        pool.get_connection(retry_num=0)
    assert __file__ in str(refused.value.__cause__)
    held.close()


def test_borrowing_anew_at_the_limit_is_refused_like_any_other(make_pool: Make) -> None:
    """A new block on a returned connection stands in the same line, and its user has one ``except`` for both."""
    pool = make_pool(size=1, maxsize=1)
    returned = pool.get_connection()
    returned.close()
    held = pool.get_connection()
    with pytest.raises(GetConnectionFromPoolError), returned:
        pass
    with pytest.raises(GetConnectionFromPoolError):
        returned.execute_query("select 1")
    held.close()
    assert returned.execute_query("select 1") == ((1,),)
