"""The door of pymysql-pool 0.3.3, the same class as 0.5.0's: its size and its name, and who gets a connection."""

from __future__ import annotations

import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from improved_db.compat import pymysqlpool
from improved_db.compat.pymysqlpool import ConnectionPool, GetConnectionFromPoolError
from tests.compat.pools import is_whole, wait_in_line
from tests.compat.sessions import session_of
from tests.fakes import PATIENCE, Caller

if TYPE_CHECKING:
    from tests.compat.pools import Make

pytestmark = pytest.mark.usefixtures("three_users")


# --- the pool itself -------------------------------------------------------------------------------------------------


def test_size_and_name_by_position(make_pool: Make) -> None:
    """``ConnectionPool(2, "pool1", **config)`` was right then: the second word is a name if it is a str."""
    pool = make_pool(2, "pool1")
    assert (pool.name, pool.size()) == ("pool1", 2)
    assert pool.total_num == 0


def test_default_name_says_where_the_pool_leads(make_pool: Make, database: dict[str, Any]) -> None:
    """The same text as the package made."""
    assert make_pool(2).name == "{host}-{port}-{user}-{database}".format(**database)


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


def test_size_is_never_negative(make_pool: Make) -> None:
    """A pool that has grown past it has nothing more to give, and not less than nothing."""
    pool = make_pool(size=1, maxsize=2)
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
    """The text is the package's, word for word; users' monitoring looks for it."""
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
def test_timeout_never_grows_the_pool_past_size(make_pool: Make, timeout: float) -> None:
    """In 0.3.3 the size was the limit, and its users counted on it."""
    pool = make_pool(size=1, maxsize=50)
    with pool.get_connection(timeout=timeout):
        for _ in range(3):
            with pytest.raises(GetConnectionFromPoolError):
                pool.get_connection(timeout=timeout, retry_num=2)
        assert pool.total_num == 1


def test_a_waiter_is_served_by_the_first_return(make_pool: Make) -> None:
    """A timeout is the longest wait, not the shortest."""
    pool = make_pool(size=1)
    connection = pool.get_connection()

    def borrow() -> int:
        with pool.get_connection(timeout=100 * PATIENCE, retry_num=0) as lent:
            return session_of(lent)

    with connection:
        number = session_of(connection)
        waiter = Caller(borrow)
        wait_in_line(waiter)
    assert waiter.result() == number
    assert is_whole(pool, 1)


def test_threads_never_have_more_than_size_at_once(make_pool: Make) -> None:
    """``size`` connections are all that the server has to expect."""
    pool = make_pool(size=3, maxsize=50)
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
