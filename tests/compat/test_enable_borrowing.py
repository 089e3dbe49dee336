"""`enable`: what a program that says `pymysql.connect` sees of its pooled connections."""

from __future__ import annotations

import gc
import threading
from typing import TYPE_CHECKING, Any

import pymysql
import pytest

import improved_db
from improved_db import LoanSpent
from tests.compat.sessions import Watch, ask, session_of, share_sessions
from tests.fakes import Caller, eventually

if TYPE_CHECKING:
    from collections.abc import Callable

    from improved_db import Enabled
    from tests.capabilities import Capabilities


def test_closing_twice_raises_as_pymysql_does(enabled: Enabled, database: dict[str, Any]) -> None:
    """`pymysql.err.Error` both; and the session has one user."""
    connection = pymysql.connect(**database)
    number = session_of(connection)
    connection.close()
    with pytest.raises(pymysql.err.Error):
        connection.close()
    first, second = pymysql.connect(**database), pymysql.connect(**database)
    assert session_of(first) == number != session_of(second)
    first.close()
    second.close()


def test_stale_handle_is_refused_after_its_session_was_lent_again(enabled: Enabled, database: dict[str, Any]) -> None:
    """A global that holds a closed connection must not read another caller's answers."""
    stale: Any = pymysql.connect(**database)
    number, cursor = session_of(stale), stale.cursor()
    stale.close()
    current = pymysql.connect(**database)
    attempts: list[Callable[[], object]] = [
        stale.ping, stale.commit, stale.rollback, stale.begin, stale.close, stale.show_warnings,
        lambda: stale.ping(reconnect=True), lambda: stale.cursor().execute("SELECT 1"),
        lambda: cursor.execute("SELECT 1"), lambda: stale.autocommit(True), lambda: stale.kill(number),
    ]  # fmt: skip
    for attempt in attempts:
        with pytest.raises(LoanSpent):
            attempt()
    assert not stale.open
    assert session_of(current) == number
    current.close()


def test_stale_handle_cannot_be_connected_into_the_pools_session(
    enabled: Enabled, database: dict[str, Any], watch: Watch
) -> None:
    """`connect()` on a closed connection opens a session in PyMySQL; here, no other caller may notice it."""
    stale: Any = pymysql.connect(**database)
    stale.close()
    current = pymysql.connect(**database)
    number = session_of(current)
    try:
        stale.connect()
    except pymysql.err.Error:
        assert watch.sessions() == {number}
    else:
        assert session_of(stale) != number
        stale.drop()
    assert session_of(current) == number
    current.close()


def test_more_connections_than_the_size_are_had_without_waiting(database: dict[str, Any], watch: Watch) -> None:
    """A program that opens ten at once did so before; afterwards two are kept."""
    with improved_db.enable(pool_size=2):
        connections = [pymysql.connect(**database) for _ in range(10)]
        assert len({session_of(connection) for connection in connections}) == 10
        for connection in connections:
            connection.close()
        eventually(lambda: len(watch.sessions()) == 2)
    eventually(lambda: watch.sessions() == set())


def test_deferred_connection_is_not_pooled(enabled: Enabled, database: dict[str, Any]) -> None:
    """Who wants to connect by hand wants an object that is not connected."""
    connection: Any = pymysql.connect(**database, defer_connect=True, ssl_disabled=True)
    assert type(connection) is pymysql.connections.Connection
    assert not connection.open
    connection.connect()
    assert ask(connection, "SELECT 1") == 1
    connection.close()


def test_unknown_option_is_the_type_error_that_it_was(database: dict[str, Any]) -> None:
    """Word for word, but for where the class lives."""
    texts = []
    for pooled in (False, True):
        handle = improved_db.enable() if pooled else None
        with pytest.raises(TypeError, match="unexpected keyword argument 'antocomit'") as caught:
            pymysql.connect(**{**database, "antocomit": True})
        texts.append(str(caught.value))
        if handle is not None:
            handle.disable()
    assert texts[0] == texts[1]


def test_positional_arguments_are_refused_as_they_were(enabled: Enabled) -> None:
    """PyMySQL takes none since 1.0."""
    connect: Any = pymysql.connect
    with pytest.raises(TypeError):
        connect("localhost", "root", "")


def test_refusal_of_the_server_arrives_as_it_is(enabled: Enabled, database: dict[str, Any], watch: Watch) -> None:
    """1045 and its text are what administrators search for."""
    for _ in range(3):
        with pytest.raises(pymysql.err.OperationalError) as caught:
            pymysql.connect(**{**database, "user": "nobody", "password": "wrong"})
        assert caught.value.args[0] == 1045
        assert type(caught.value) is pymysql.err.OperationalError
    assert watch.sessions() == set()


def test_unreachable_server_is_2003(enabled: Enabled) -> None:
    """At once, and the same each time: nothing is remembered."""
    for _ in range(2):
        with pytest.raises(pymysql.err.OperationalError) as caught:
            pymysql.connect(host="127.0.0.1", port=1, user="root")
        assert caught.value.args[0] == 2003


def test_no_state_of_one_borrower_reaches_the_next(
    enabled: Enabled, database: dict[str, Any], watch: Watch, capabilities: Capabilities
) -> None:
    """SET, USE, autocommit, a cursor class, an open transaction, a lock: each finds a connection as new."""
    watch.ask(f"CREATE TABLE {database['database']}.t (i INT) ENGINE=InnoDB")
    first: Any = pymysql.connect(**database)
    number = session_of(first)
    first.autocommit(True)
    first.cursorclass = pymysql.cursors.DictCursor
    for statement in (
        "SET @mine = 1, sql_mode = 'ANSI', NAMES latin1", "SELECT GET_LOCK('mine', 0)", "LOCK TABLES t WRITE",
        "UNLOCK TABLES", "BEGIN", "INSERT INTO t VALUES (1)",
    ):  # fmt: skip
        with first.cursor() as cursor:
            cursor.execute(statement)
    first.select_db("mysql")
    first.close()

    second: Any = pymysql.connect(**database)
    assert session_of(second) == number
    assert second.get_autocommit() is False
    assert second.cursorclass is pymysql.cursors.Cursor
    plain: Any = pymysql.Connection(**database, ssl_disabled=True)
    for expression in (
        "@mine", "@@sql_mode", "@@character_set_client", "@@collation_connection", "@@autocommit", "DATABASE()",
        "IS_FREE_LOCK('mine')", *(["@@in_transaction"] if capabilities.has("@@in_transaction") else []),
    ):  # fmt: skip
        assert ask(second, f"SELECT {expression}") == ask(plain, f"SELECT {expression}"), expression
    assert ask(second, "SELECT COUNT(*) FROM t") == 0
    plain.close()
    second.close()


def test_charset_and_autocommit_are_each_callers_own(enabled: Enabled, database: dict[str, Any]) -> None:
    """Two parts of a program with different wishes share nothing."""
    numbers = set()
    for more in ({}, {"charset": "latin1"}, {"autocommit": True}, {"cursorclass": pymysql.cursors.DictCursor}):
        connection: Any = pymysql.connect(**{**database, **more})
        assert connection.cursorclass is more.get("cursorclass", pymysql.cursors.Cursor)
        assert connection.get_autocommit() is more.get("autocommit", False)
        with connection.cursor(pymysql.cursors.Cursor) as cursor:
            cursor.execute("SELECT CONNECTION_ID(), @@character_set_client")
            number, charset = cursor.fetchone()
        assert charset == more.get("charset", "utf8mb4")
        numbers.add(number)
        connection.close()
    assert len(numbers) == 4


def test_block_returns_the_connection_after_an_error_and_the_session_goes_on(
    enabled: Enabled, database: dict[str, Any]
) -> None:
    """``with pymysql.connect(...) as connection`` is how most programs are written."""
    numbers = set()

    def fail() -> None:
        with pymysql.connect(**database) as connection, connection.cursor() as cursor:
            numbers.add(session_of(connection))
            cursor.execute("SELECT * FROM no_such_table")

    for _ in range(3):
        with pytest.raises(pymysql.err.ProgrammingError):
            fail()
    with pymysql.connect(**database) as connection:
        numbers.add(session_of(connection))
    assert len(numbers) == 1


def test_forgotten_connection_ends_its_session_as_before(
    enabled: Enabled, database: dict[str, Any], watch: Watch
) -> None:
    """PyMySQL closes what is collected; scripts rely on it."""
    connection = pymysql.connect(**database)
    number = session_of(connection)
    del connection
    gc.collect()
    assert session_of(pymysql.connect(**database)) != number
    eventually(lambda: number not in watch.sessions())


def test_idle_session_that_was_killed_is_not_lent(enabled: Enabled, database: dict[str, Any], watch: Watch) -> None:
    """With pooling a program must not see errors that it never saw."""
    for connection in [pymysql.connect(**database) for _ in range(3)]:
        connection.close()
    for number in watch.sessions():
        watch.kill(number)
    for _ in range(5):
        with pymysql.connect(**database) as connection:
            assert ask(connection, "SELECT 1") == 1


def test_recycle_is_how_long_a_session_may_be_idle(database: dict[str, Any]) -> None:
    """And None is for ever."""
    for recycle, same in ((1e-6, False), (3600, True), (None, True)):
        with improved_db.enable(recycle=recycle):
            numbers = []
            for _ in range(2):
                with pymysql.connect(**database) as connection:
                    numbers.append(session_of(connection))
            assert (numbers[0] == numbers[1]) is same


def test_threads_share_sessions_but_never_at_the_same_time(database: dict[str, Any], watch: Watch) -> None:
    """16 threads that know nothing of a pool."""
    with improved_db.enable(pool_size=4):
        share_sessions(lambda: pymysql.connect(**database), turns=20)
        eventually(lambda: 1 <= len(watch.sessions()) <= 4)
    eventually(lambda: watch.sessions() == set())


def test_disable_while_threads_connect_breaks_none_of_them(database: dict[str, Any], watch: Watch) -> None:
    """A caller about to connect gets a connection, pooled or plain."""
    for _ in range(5):
        handle = improved_db.enable()
        kept, over = pymysql.connect, threading.Event()

        def work() -> None:
            while not over.is_set():  # noqa: B023  # joined in this round
                with kept(**database, ssl_disabled=True) as connection:  # noqa: B023
                    assert ask(connection, "SELECT 1") == 1

        callers = [Caller(work) for _ in range(4)]
        eventually(lambda: len(watch.sessions()) >= 2)
        handle.disable()
        over.set()
        for caller in callers:
            caller.result()
    eventually(lambda: watch.sessions() == set())
