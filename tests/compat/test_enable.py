"""`enable` and `disable`: programs that say `pymysql.connect` or `MySQLdb.connect` get pooled connections, and back."""

from __future__ import annotations

import gc
import os
import sys
import threading
from typing import TYPE_CHECKING, Any

import pymysql
import pytest

import improved_db
from improved_db import AlreadyEnabled, ConfigError, LoanSpent
from improved_db.testing import TemporaryServer
from tests.compat.test_queuepool import CANARY, Watch, ask, import_mysqlclient, our_locals, session_of, tell
from tests.fakes import Caller, eventually, run_alone
from tests.unit.test_pool_fork import OPTIONS, in_child

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from improved_db import Enabled


@pytest.fixture
def watch(database: dict[str, Any]) -> Watch:
    """An eye on the test's sessions."""
    return Watch(database)


@pytest.fixture
def options(database: dict[str, Any]) -> dict[str, Any]:
    """What a program gives to `connect`."""
    return database


@pytest.fixture
def enabled(watch: Watch) -> Iterator[Enabled]:
    """Pooling, while the test runs; `watch` keeps a `connect` of its own."""
    with improved_db.enable() as handle:
        yield handle


# --- what is replaced, and the way back ------------------------------------------------------------------------------


def test_connect_lends_and_close_gives_back(enabled: Enabled, options: dict[str, Any]) -> None:
    """The whole point, under both of the names that PyMySQL has."""
    connection = pymysql.connect(**options)
    number = session_of(connection)
    connection.close()
    for name in ("connect", "Connect"):
        again = getattr(pymysql, name)(**options)
        assert session_of(again) == number
        again.close()


def test_connections_are_pymysqls_for_isinstance(enabled: Enabled, options: dict[str, Any]) -> None:
    """And `pymysql.Connection` is a class as before, whose objects are nobody's pool's."""
    with pymysql.connect(**options) as pooled:
        assert isinstance(pooled, pymysql.connections.Connection)
        assert isinstance(pooled, improved_db.Connection)
    assert isinstance(pymysql.Connection, type)
    own: Any = pymysql.Connection(**options, ssl_disabled=True)
    assert type(own) is pymysql.connections.Connection
    own.close()


def test_disable_puts_the_very_same_functions_back(options: dict[str, Any]) -> None:
    """Other libraries compare and wrap them."""
    before = pymysql.connect, pymysql.Connect, pymysql.Connection
    handle = improved_db.enable()
    assert pymysql.connect is not before[0]
    assert pymysql.Connect is not before[1]
    assert pymysql.Connection is before[2]
    handle.disable()
    assert (pymysql.connect, pymysql.Connect, pymysql.Connection) == before


def test_disable_can_be_called_again(options: dict[str, Any]) -> None:
    """In a ``finally`` as well as at the end; a later `enable` is not undone by an old handle."""
    before = pymysql.connect
    with improved_db.enable() as first:
        first.disable()
        first.disable()
        assert pymysql.connect is before
        with improved_db.enable() as second:
            first.disable()
            assert pymysql.connect is not before
            assert second is not first
    assert pymysql.connect is before


def test_second_enable_is_refused_and_changes_nothing(options: dict[str, Any]) -> None:
    """Two of them undone in the wrong order would leave the pool for ever."""
    before = pymysql.connect
    with improved_db.enable():
        pooled = pymysql.connect
        for _ in range(2):
            with pytest.raises(AlreadyEnabled):
                improved_db.enable()
        assert pymysql.connect is pooled
    assert pymysql.connect is before
    improved_db.enable().disable()


@pytest.mark.parametrize(
    "arguments", [{"pool_size": 0}, {"pool_size": "8"}, {"recycle": 0}, {"recycle": "30"}], ids=repr
)
def test_size_that_cannot_be_meant_is_refused_and_nothing_is_replaced(arguments: dict[str, Any]) -> None:
    """A program that goes on after the error goes on as it was, and may enable pooling with better ones."""
    before = pymysql.connect, pymysql.Connect
    with pytest.raises(ConfigError):
        improved_db.enable(**arguments)
    assert (pymysql.connect, pymysql.Connect) == before
    improved_db.enable().disable()


def test_block_that_fails_disables_too(options: dict[str, Any]) -> None:
    """A test suite that enables pooling for one test must not have it in the next."""
    before = pymysql.connect

    def fail() -> None:
        with improved_db.enable():
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert pymysql.connect is before


def test_disable_closes_what_is_idle_and_what_comes_back(options: dict[str, Any], watch: Watch) -> None:
    """Connections that are out stay good for as long as their borrowers need them."""
    with improved_db.enable():
        lent, idle = pymysql.connect(**options), pymysql.connect(**options)
        number = session_of(lent)
        idle.close()
    eventually(lambda: watch.sessions() == {number})
    assert ask(lent, "SELECT 1") == 1
    lent.close()
    eventually(lambda: watch.sessions() == set())


def test_pooled_connect_that_somebody_kept_gives_plain_connections_after_disable(options: dict[str, Any]) -> None:
    """``from pymysql import connect`` while pooling was on must not break the program afterwards."""
    with improved_db.enable():
        kept = pymysql.connect
    connection: Any = kept(**options, ssl_disabled=True)
    assert type(connection) is pymysql.connections.Connection
    connection.close()


# --- what a borrower sees --------------------------------------------------------------------------------------------


def test_closing_twice_raises_as_pymysql_does(enabled: Enabled, options: dict[str, Any]) -> None:
    """`pymysql.err.Error` both; and the session has one user."""
    connection = pymysql.connect(**options)
    number = session_of(connection)
    connection.close()
    with pytest.raises(pymysql.err.Error):
        connection.close()
    first, second = pymysql.connect(**options), pymysql.connect(**options)
    assert session_of(first) == number != session_of(second)
    first.close()
    second.close()


def test_stale_handle_is_refused_after_its_session_was_lent_again(enabled: Enabled, options: dict[str, Any]) -> None:
    """A global that holds a closed connection must not read somebody else's answers."""
    stale: Any = pymysql.connect(**options)
    number, cursor = session_of(stale), stale.cursor()
    stale.close()
    current = pymysql.connect(**options)
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
    enabled: Enabled, options: dict[str, Any], watch: Watch
) -> None:
    """`connect()` on a closed connection opens a session in PyMySQL; whatever it does here, nobody else may notice."""
    stale: Any = pymysql.connect(**options)
    stale.close()
    current = pymysql.connect(**options)
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


def test_more_connections_than_the_size_are_had_without_waiting(options: dict[str, Any], watch: Watch) -> None:
    """A program that opens ten at once did so before; afterwards two are kept."""
    with improved_db.enable(pool_size=2):
        connections = [pymysql.connect(**options) for _ in range(10)]
        assert len({session_of(connection) for connection in connections}) == 10
        for connection in connections:
            connection.close()
        eventually(lambda: len(watch.sessions()) == 2)
    eventually(lambda: watch.sessions() == set())


def test_deferred_connection_is_not_pooled(enabled: Enabled, options: dict[str, Any]) -> None:
    """Who wants to connect by hand wants an object that is not connected."""
    connection: Any = pymysql.connect(**options, defer_connect=True, ssl_disabled=True)
    assert type(connection) is pymysql.connections.Connection
    assert not connection.open
    connection.connect()
    assert ask(connection, "SELECT 1") == 1
    connection.close()


def test_unknown_option_is_the_type_error_that_it_was(options: dict[str, Any]) -> None:
    """Word for word, but for where the class lives."""
    texts = []
    for pooled in (False, True):
        handle = improved_db.enable() if pooled else None
        with pytest.raises(TypeError, match="unexpected keyword argument 'antocomit'") as caught:
            pymysql.connect(**{**options, "antocomit": True})
        texts.append(str(caught.value))
        if handle is not None:
            handle.disable()
    assert texts[0] == texts[1]


def test_positional_arguments_are_refused_as_they_were(enabled: Enabled) -> None:
    """PyMySQL takes none since 1.0."""
    connect: Any = pymysql.connect
    with pytest.raises(TypeError):
        connect("localhost", "root", "")


def test_refusal_of_the_server_arrives_as_it_is(enabled: Enabled, options: dict[str, Any], watch: Watch) -> None:
    """1045 and its text are what administrators search for."""
    for _ in range(3):
        with pytest.raises(pymysql.err.OperationalError) as caught:
            pymysql.connect(**{**options, "user": "nobody", "password": "wrong"})
        assert caught.value.args[0] == 1045
        assert type(caught.value) is pymysql.err.OperationalError
    assert watch.sessions() == set()


def test_unreachable_server_is_2003(enabled: Enabled) -> None:
    """At once, and the same each time: nothing is remembered."""
    for _ in range(2):
        with pytest.raises(pymysql.err.OperationalError) as caught:
            pymysql.connect(host="127.0.0.1", port=1, user="root")
        assert caught.value.args[0] == 2003


def test_no_state_of_one_borrower_reaches_the_next(enabled: Enabled, options: dict[str, Any], watch: Watch) -> None:
    """SET, USE, autocommit, a cursor class, an open transaction, a lock: each finds a connection as new."""
    watch.ask(f"CREATE TABLE {options['database']}.t (i INT) ENGINE=InnoDB")
    first: Any = pymysql.connect(**options)
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

    second: Any = pymysql.connect(**options)
    assert session_of(second) == number
    assert second.get_autocommit() is False
    assert second.cursorclass is pymysql.cursors.Cursor
    plain: Any = pymysql.Connection(**options, ssl_disabled=True)
    for expression in (
        "@mine", "@@sql_mode", "@@character_set_client", "@@collation_connection", "@@autocommit", "DATABASE()",
        "IS_FREE_LOCK('mine')", "@@in_transaction",
    ):  # fmt: skip
        assert ask(second, f"SELECT {expression}") == ask(plain, f"SELECT {expression}"), expression
    assert ask(second, "SELECT COUNT(*) FROM t") == 0
    plain.close()
    second.close()


def test_charset_and_autocommit_are_each_callers_own(enabled: Enabled, options: dict[str, Any]) -> None:
    """Two parts of a program with different wishes share nothing."""
    numbers = set()
    for more in ({}, {"charset": "latin1"}, {"autocommit": True}, {"cursorclass": pymysql.cursors.DictCursor}):
        connection: Any = pymysql.connect(**{**options, **more})
        assert connection.cursorclass is more.get("cursorclass", pymysql.cursors.Cursor)
        assert connection.get_autocommit() is more.get("autocommit", False)
        with connection.cursor(pymysql.cursors.Cursor) as cursor:
            cursor.execute("SELECT CONNECTION_ID(), @@character_set_client")
            number, charset = cursor.fetchone()
        assert charset == more.get("charset", "utf8mb4")
        numbers.add(number)
        connection.close()
    assert len(numbers) == 4


def test_block_gives_back_after_an_error_and_the_session_goes_on(enabled: Enabled, options: dict[str, Any]) -> None:
    """``with pymysql.connect(...) as connection`` is how most programs are written."""
    numbers = set()

    def fail() -> None:
        with pymysql.connect(**options) as connection, connection.cursor() as cursor:
            numbers.add(session_of(connection))
            cursor.execute("SELECT * FROM no_such_table")

    for _ in range(3):
        with pytest.raises(pymysql.err.ProgrammingError):
            fail()
    with pymysql.connect(**options) as connection:
        numbers.add(session_of(connection))
    assert len(numbers) == 1


def test_forgotten_connection_ends_its_session_as_before(
    enabled: Enabled, options: dict[str, Any], watch: Watch
) -> None:
    """PyMySQL closes what is collected; scripts rely on it."""
    connection = pymysql.connect(**options)
    number = session_of(connection)
    del connection
    gc.collect()
    assert session_of(pymysql.connect(**options)) != number
    eventually(lambda: number not in watch.sessions())


def test_idle_session_that_was_killed_is_not_lent(enabled: Enabled, options: dict[str, Any], watch: Watch) -> None:
    """With pooling a program must not see errors that it never saw."""
    for connection in [pymysql.connect(**options) for _ in range(3)]:
        connection.close()
    for number in watch.sessions():
        watch.kill(number)
    for _ in range(5):
        with pymysql.connect(**options) as connection:
            assert ask(connection, "SELECT 1") == 1


def test_recycle_is_how_long_a_session_may_be_idle(options: dict[str, Any]) -> None:
    """And None is for ever."""
    for recycle, same in ((1e-6, False), (3600, True), (None, True)):
        with improved_db.enable(recycle=recycle):
            numbers = []
            for _ in range(2):
                with pymysql.connect(**options) as connection:
                    numbers.append(session_of(connection))
            assert (numbers[0] == numbers[1]) is same


def test_threads_share_sessions_but_never_at_the_same_time(options: dict[str, Any], watch: Watch) -> None:
    """16 threads that know nothing of a pool."""
    in_use: set[int] = set()
    lock = threading.Lock()

    def work(seed: int) -> None:
        for turn in range(20):
            with pymysql.connect(**options) as connection:
                number = session_of(connection)
                with lock:
                    assert number not in in_use
                    in_use.add(number)
                assert ask(connection, f"SELECT {seed * 100 + turn}") == seed * 100 + turn
                with lock:
                    in_use.remove(number)

    with improved_db.enable(pool_size=4):
        for caller in [Caller(lambda seed=seed: work(seed)) for seed in range(16)]:  # type: ignore[misc]
            caller.result()
        eventually(lambda: 1 <= len(watch.sessions()) <= 4)
    eventually(lambda: watch.sessions() == set())


def test_disable_while_threads_connect_breaks_none_of_them(options: dict[str, Any], watch: Watch) -> None:
    """Whoever is about to connect gets a connection, pooled or plain."""
    for _ in range(5):
        handle = improved_db.enable()
        kept, over = pymysql.connect, threading.Event()

        def work() -> None:
            while not over.is_set():  # noqa: B023  # joined in this round
                with kept(**options, ssl_disabled=True) as connection:  # noqa: B023
                    assert ask(connection, "SELECT 1") == 1

        callers = [Caller(work) for _ in range(4)]
        eventually(lambda: len(watch.sessions()) >= 2)
        handle.disable()
        over.set()
        for caller in callers:
            caller.result()
    eventually(lambda: watch.sessions() == set())


# --- MySQLdb ---------------------------------------------------------------------------------------------------------


def pymysql_stands_in_for_mysqldb() -> None:
    """Install before, enable, use, disable; then install after."""
    pymysql.install_as_MySQLdb()
    import MySQLdb  # noqa: PLC0415  # PyMySQL by now

    assert MySQLdb is pymysql
    with TemporaryServer(tcp=True) as server:
        plain = pymysql.connect
        handle = improved_db.enable()
        connection = MySQLdb.connect(**server.connect_options)
        number = session_of(connection)
        connection.close()
        with pymysql.connect(**server.connect_options) as same:
            assert session_of(same) == number
            assert isinstance(same, improved_db.Connection)
        handle.disable()
        assert MySQLdb.connect is pymysql.connect is plain


def test_pymysql_in_mysqldbs_place_is_reached_under_both_names() -> None:
    """Django programs call `install_as_MySQLdb` in their first line."""
    run_alone(pymysql_stands_in_for_mysqldb)


def pymysql_stands_in_for_mysqldb_later() -> None:
    """Enable, then install."""
    handle = improved_db.enable()
    pymysql.install_as_MySQLdb()
    import MySQLdb  # noqa: PLC0415  # PyMySQL by now

    with TemporaryServer(tcp=True) as server:
        with MySQLdb.connect(**server.connect_options) as connection:
            assert isinstance(connection, improved_db.Connection)
        handle.disable()


def test_pymysql_that_takes_mysqldbs_place_after_enable_is_reached_as_well() -> None:
    """The order of two lines at the top of a program should not matter."""
    run_alone(pymysql_stands_in_for_mysqldb_later)


def without_mysqldb() -> None:
    """Enable where there is no MySQLdb of any kind."""
    modules: dict[str, Any] = dict.fromkeys(["MySQLdb"])  # None is how Python notes that there is none
    sys.modules.update(modules)
    handle = improved_db.enable()
    assert pymysql.connect.__module__.startswith("improved_db")
    handle.disable()


def test_nothing_but_pymysql_is_needed() -> None:
    """Most who pool PyMySQL have no mysqlclient."""
    run_alone(without_mysqldb)


def test_mysqlclient_is_pooled_where_it_is_installed(options: dict[str, Any], watch: Watch) -> None:
    """The snippet's own driver."""
    mysqldb = import_mysqlclient()
    before = mysqldb.connect, mysqldb.Connect
    with improved_db.enable():
        connection = mysqldb.connect(**options)
        number = session_of(connection)
        connection.close()
        for spelling in ({"passwd": options["password"], "db": options["database"]}, {}):
            named = {**options, **spelling}
            for name in ("password", "database") if spelling else ():
                del named[name]
            with mysqldb.Connect(**named) as again:
                assert session_of(again) == number
        with pytest.raises(LoanSpent):
            connection.cursor()
    assert (mysqldb.connect, mysqldb.Connect) == before
    eventually(lambda: watch.sessions() == set())


def test_mysqlclients_errors_are_its_own(enabled: Enabled, options: dict[str, Any]) -> None:
    """``except MySQLdb.OperationalError`` goes on catching 1045."""
    mysqldb = import_mysqlclient()
    with pytest.raises(mysqldb.OperationalError) as caught:
        mysqldb.connect(**{**options, "user": "nobody", "password": "wrong"})
    assert caught.value.args[0] == 1045


def test_the_two_drivers_share_no_sessions(enabled: Enabled, options: dict[str, Any]) -> None:
    """The same arguments mean another connection."""
    mysqldb = import_mysqlclient()
    for _ in range(2):
        with pymysql.connect(**options) as one, mysqldb.connect(**options) as other:
            assert isinstance(one, pymysql.connections.Connection)
            assert not isinstance(other, pymysql.connections.Connection)
            assert session_of(one) != session_of(other)


# --- processes -------------------------------------------------------------------------------------------------------


def child_has_its_own_sessions() -> None:
    """Fork with an idle and a lent connection of each driver that there is."""
    with TemporaryServer(tcp=True) as server, improved_db.enable():
        options, watch = server.connect_options, Watch(server.connect_options)
        mysqlclient = sys.modules.get("MySQLdb")  # not installed everywhere
        names = [pymysql.connect, *([mysqlclient.connect] if mysqlclient else [])]
        lent = [connect(**options) for connect in names]
        for connect in names:
            connect(**options).close()
        numbers = {session_of(connection) for connection in lent}
        parents = watch.sessions()
        assert len(parents) == 2 * len(names)

        def check() -> None:
            for connect in names:
                for _ in range(2):
                    with connect(**options) as connection:
                        assert session_of(connection) not in parents
            for connection in lent:
                connection.close()
                with pytest.raises(Exception, match=r"given back|2006"):  # mysqlclient's find their socket gone
                    connection.cursor().execute("SELECT 1")

        in_child(check)
        eventually(lambda: watch.sessions() == parents)
        assert {session_of(connection) for connection in lent} == numbers
        for connect in names:
            with connect(**options) as connection:
                assert session_of(connection) in parents - numbers
        for connection in lent:
            connection.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_child_has_its_own_sessions_and_leaves_the_parents_alone() -> None:
    """Preforking servers enable pooling in the parent."""
    run_alone(child_has_its_own_sessions, *OPTIONS)


# --- secrets ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "more", [{}, {"antocomit": True}, {"port": "x"}, {"defer_connect": True, "port": "x"}], ids=repr
)
@pytest.mark.parametrize("driver", ["pymysql", "mysqlclient"])
def test_no_frame_of_ours_shows_the_password_of_a_connect_that_fails(
    enabled: Enabled, options: dict[str, Any], driver: str, more: dict[str, Any]
) -> None:
    """Error reporters send the locals of all frames to a third party."""
    module: Any = pymysql if driver == "pymysql" else import_mysqlclient()
    with pytest.raises(Exception) as caught:  # noqa: PT011  # each fails in another way
        module.connect(**{**options, "user": "nobody", "password": CANARY, **more})
    assert list(our_locals(caught.value)) == []


def test_no_frame_of_ours_shows_the_password_while_a_borrower_is_refused(options: dict[str, Any], watch: Watch) -> None:
    """Nor in the pool's own errors."""
    watch.ask("CREATE USER canary@'%%' IDENTIFIED BY %s", CANARY)
    try:
        with improved_db.enable():
            connection = pymysql.connect(**{**options, "user": "canary", "password": CANARY, "database": None})
            connection.close()
            with pytest.raises(LoanSpent) as caught:
                tell(connection, "SELECT 1")
            assert list(our_locals(caught.value)) == []
            assert CANARY not in repr(connection)
    finally:
        watch.ask("DROP USER canary@'%'")
