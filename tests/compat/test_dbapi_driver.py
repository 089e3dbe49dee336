"""The verbs of the seam over drivers that are not ours: PyMySQL, mysqlclient, sqlite3."""

from __future__ import annotations

import gc
import os
import signal
import sqlite3
from importlib import import_module
from typing import TYPE_CHECKING, Any

import pymysql
import pymysql.connections
import pytest

from improved_db import Connection
from improved_db.compat._dbapi_driver import DBAPIDriver
from tests.compat.drivers import import_mysqlclient
from tests.compat.sessions import Watch, ask, session_of, tell
from tests.fakes import Caller, eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture(params=["pymysql", "improved_db", "mysqlclient"])
def driver(request: pytest.FixtureRequest, database: dict[str, Any]) -> DBAPIDriver:
    """The seam over each driver that has a server."""
    creators: dict[str, Callable[[], Any]] = {
        "pymysql": lambda: pymysql.connections.Connection(**database, ssl_disabled=True),
        "improved_db": lambda: Connection(**database, ssl_disabled=True),
    }
    if request.param == "mysqlclient":
        mysqldb = import_mysqlclient()
        creators["mysqlclient"] = lambda: mysqldb.connect(**database)
    return DBAPIDriver(creators[request.param])


@pytest.fixture
def connection(driver: DBAPIDriver) -> Iterator[Any]:
    """One connection, closed after the test."""
    made = driver.connect()
    yield made
    driver.close(made)


@pytest.fixture
def lite() -> Iterator[tuple[DBAPIDriver, sqlite3.Connection]]:
    """The seam over a driver without sockets, and a connection."""
    seam = DBAPIDriver(lambda: sqlite3.connect(":memory:"))
    made = seam.connect()
    yield seam, made
    made.close()


# --- connect, is_alive, ping -----------------------------------------------------------------------------------------


def test_connect_is_the_creators(driver: DBAPIDriver) -> None:
    """What it raises reaches who asked, and what it returns is for that caller alone."""
    one, other = driver.connect(), driver.connect()
    assert session_of(one) != session_of(other)
    for made in (one, other):
        driver.close(made)
    with pytest.raises(ZeroDivisionError):
        DBAPIDriver(lambda: 1 // 0).connect()


def test_healthy_connection_is_alive(driver: DBAPIDriver, connection: Any) -> None:
    """Fresh, after a query, and in the middle of a transaction."""
    assert driver.is_alive(connection)
    tell(connection, "CREATE TABLE t (i INT) ENGINE=InnoDB")
    tell(connection, "INSERT INTO t VALUES (1)")
    assert driver.is_alive(connection)
    assert driver.ping(connection, 1.0)


def test_killed_session_is_seen_without_a_round_trip(driver: DBAPIDriver, connection: Any, watch: Watch) -> None:
    """An idle socket that has something to read has been hung up."""
    watch.kill(session_of(connection))
    eventually(lambda: not driver.is_alive(connection))
    assert not driver.ping(connection, 1.0)


def test_closed_connection_is_not_alive(driver: DBAPIDriver, connection: Any) -> None:
    """Its borrower may have closed it behind the pool's back; to look at it raises nothing."""
    connection.close()
    assert not driver.is_alive(connection)
    assert not driver.ping(connection, 1.0)


def test_connection_without_a_socket_counts_as_alive(lite: tuple[DBAPIDriver, sqlite3.Connection]) -> None:
    """What a driver cannot say must not make its connections unusable."""
    seam, connection = lite
    assert seam.is_alive(connection)
    assert seam.ping(connection, 1.0)
    assert seam.is_alive(object())


def test_driver_that_will_not_show_its_socket_counts_as_alive() -> None:
    """Some raise where others return a number."""

    class Shy:
        def fileno(self) -> int:
            raise NotImplementedError

    seam = DBAPIDriver(Shy)
    assert seam.is_alive(seam.connect())
    seam.cut(seam.connect())
    seam.abandon(seam.connect())


def test_limit_of_idleness_is_not_known(driver: DBAPIDriver) -> None:
    """No driver tells it; the pool asks none for it."""
    assert driver.idle_limit is None


# --- restore ---------------------------------------------------------------------------------------------------------


def test_restore_rolls_back(driver: DBAPIDriver, connection: Any, watch: Watch, database: dict[str, Any]) -> None:
    """And says that the connection can be lent again."""
    tell(connection, "CREATE TABLE t (i INT) ENGINE=InnoDB")
    tell(connection, "INSERT INTO t VALUES (1)")
    assert driver.restore(connection)
    connection.commit()
    assert watch.ask(f"SELECT * FROM {database['database']}.t") == ()
    assert driver.restore(connection)


def test_restore_refuses_a_session_that_is_gone(driver: DBAPIDriver, connection: Any, watch: Watch) -> None:
    """2006, 2013: noticed by its borrower or not."""
    watch.kill(session_of(connection))
    with pytest.raises(Exception, match=r"2006|2013|1927|4031"):
        ask(connection, "SELECT 1")
    assert not driver.restore(connection)


def test_restore_refuses_a_closed_connection(driver: DBAPIDriver, connection: Any) -> None:
    """A driver whose rollback does nothing when it is closed would be believed otherwise."""
    connection.close()
    assert not driver.restore(connection)


def test_restore_of_sqlite3_rolls_back(lite: tuple[DBAPIDriver, sqlite3.Connection]) -> None:
    """The same without a server."""
    seam, connection = lite
    connection.execute("CREATE TABLE t (i INTEGER)")
    connection.execute("INSERT INTO t VALUES (1)")
    assert seam.restore(connection)
    assert not connection.in_transaction
    assert ask(connection, "SELECT COUNT(*) FROM t") == 0
    connection.close()
    assert not seam.restore(connection)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # PyMySQL's, as for any stream cut off
def test_restore_never_drains_a_stream(driver: DBAPIDriver) -> None:
    """A borrower that left one in the middle must not cost the pool a minute, nor the next borrower its answers."""
    connection = driver.connect()
    cursors = import_module(type(connection.cursor()).__module__.replace("improved_db.wire", "pymysql"))
    cursor = connection.cursor(cursors.SSCursor)
    cursor.execute("SELECT seq FROM seq_1_to_100000000")
    assert cursor.fetchone() is not None
    assert not driver.restore(connection)
    driver.abandon(connection)
    assert not driver.is_alive(connection)
    del cursor, connection
    gc.collect()


# --- close, abandon, cut ---------------------------------------------------------------------------------------------


def test_close_says_goodbye(driver: DBAPIDriver, watch: Watch) -> None:
    """A session that ends without one is counted as aborted, and monitored."""
    aborted = aborted_clients(watch)
    connection = driver.connect()
    number = session_of(connection)
    driver.close(connection)
    eventually(lambda: number not in watch.sessions())
    assert aborted_clients(watch) == aborted


def aborted_clients(watch: Watch) -> int:
    """Return how many sessions ended without a goodbye."""
    return int(watch.ask("SHOW GLOBAL STATUS LIKE 'Aborted_clients'")[0][1])


def test_close_of_a_closed_connection_is_silent(driver: DBAPIDriver, connection: Any, watch: Watch) -> None:
    """Closing is the last thing done; no caller is there to hear of a failure."""
    driver.close(connection)
    driver.close(connection)
    driver.abandon(connection)
    driver.cut(connection)
    eventually(lambda: watch.sessions() == set())


def test_abandoned_session_ends_without_a_goodbye(driver: DBAPIDriver, watch: Watch) -> None:
    """In one process that is all; our end of the socket is closed, and the server sees it."""
    aborted = aborted_clients(watch)
    connection = driver.connect()
    number = session_of(connection)
    open_before = open_descriptors()
    driver.abandon(connection)
    assert open_descriptors() == open_before - 1
    eventually(lambda: number not in watch.sessions())
    eventually(lambda: aborted_clients(watch) == aborted + 1)


def open_descriptors() -> int:
    """Return how many files this process has open."""
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_session_abandoned_in_a_child_goes_on_in_the_parent(driver: DBAPIDriver, connection: Any) -> None:
    """A goodbye, or a shutdown of the socket, would end it for both."""
    tell(connection, "SET @mine = 5")
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        try:
            driver.abandon(connection)
        finally:
            os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert driver.is_alive(connection)
    assert ask(connection, "SELECT @mine") == 5


def test_cut_unblocks_who_waits_for_an_answer(driver: DBAPIDriver, connection: Any, watch: Watch) -> None:
    """How a pool is closed by force: the one thing that may be done to a connection of another thread's."""
    if not hasattr(connection, "_sock"):
        pytest.skip("mysqlclient does not show its descriptor while a statement runs")
    number = session_of(connection)
    caller = Caller(lambda: ask(connection, "SELECT SLEEP(5)"))
    query = "SELECT id FROM information_schema.processlist WHERE info LIKE 'SELECT SLEEP(%%' AND id = %s"
    eventually(lambda: watch.ask(query, number))
    driver.cut(connection)
    with pytest.raises(Exception, match=r"2006|2013|Lost connection"):
        caller.result()


def test_connection_without_a_socket_is_left_by_a_cut_and_closed_when_abandoned(
    lite: tuple[DBAPIDriver, sqlite3.Connection],
) -> None:
    """There is no thread to unblock and no session to end; an unclosed file is a warning in newer Pythons."""
    seam, connection = lite
    seam.cut(connection)
    assert ask(connection, "SELECT 1") == 1
    seam.abandon(connection)
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        ask(connection, "SELECT 1")


def test_cut_does_not_close_the_descriptor(driver: DBAPIDriver, connection: Any) -> None:
    """Its number would be given to the next file opened, and the blocked thread would read that."""
    open_before = open_descriptors()
    driver.cut(connection)
    assert open_descriptors() == open_before
    assert not driver.is_alive(connection)
