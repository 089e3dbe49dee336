"""The door of the MySQLdb QueuePool snippet: its manager of pools, and what that never shows."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any

import pymysql
import pymysql.connections
import pytest

from improved_db import Connection, LoanSpent
from improved_db.compat.queuepool import PoolManager
from tests.canary import CANARY, is_ours, leaks
from tests.compat.drivers import CannotConnect, import_mysqlclient
from tests.compat.sessions import Watch, ask, session_of, tell
from tests.fakes import eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture(params=["ours", "pymysql", "mysqlclient"])
def manager(request: pytest.FixtureRequest, database: dict[str, Any]) -> Iterator[PoolManager]:
    """A manager over each driver."""
    creators: dict[str, Any] = {"ours": None, "pymysql": pymysql.connections.Connection}
    if request.param == "mysqlclient":
        mysqldb = import_mysqlclient()
        creators["mysqlclient"] = mysqldb.connect
    made = PoolManager(creator=creators[request.param])
    yield made
    made.dispose()


# --- PoolManager -----------------------------------------------------------------------------------------------------


def test_manager_lends_again_what_was_opened_with_the_same_arguments(
    manager: PoolManager, database: dict[str, Any]
) -> None:
    """In whatever order they are written."""
    first = manager.connect(**database)
    number = session_of(first)
    first.close()
    second = manager.connect(**dict(reversed(database.items())))
    assert session_of(second) == number
    manager.close_connection(second)
    assert session_of(manager.connect(**database)) == number


def test_manager_knows_the_short_names_of_options(manager: PoolManager, secret_account: dict[str, Any]) -> None:
    """``passwd`` and ``db`` are ``password`` and ``database``: one pool, and no deprecation warning."""
    short = {name: value for name, value in secret_account.items() if name not in {"password", "database"}}
    connection = manager.connect(**secret_account)
    number = session_of(connection)
    connection.close()
    connection = manager.connect(**short, passwd=secret_account["password"], db=secret_account["database"])
    assert session_of(connection) == number
    assert ask(connection, "SELECT DATABASE()") == secret_account["database"]
    connection.close()


DISTINCT: list[dict[str, Any]] = [
    {"charset": "latin1"},
    {"charset": "utf8mb4"},
    {"autocommit": True},
    {"autocommit": False},
    {"autocommit": None},
    {"database": "test"},
    {"user": "root"},
    {"connect_timeout": 9},
    {"init_command": "SET @a = 1"},
    {"conv": dict(pymysql.converters.conversions)},
    {"sql_mode": "ANSI"},
]


def test_bug_pools_are_told_apart_by_everything_that_was_asked_for(
    manager: PoolManager, secret_account: dict[str, Any]
) -> None:
    """The snippet looked at host and user alone, and gave one caller another's charset, database or autocommit."""
    numbers = set()
    for more in [{}, *DISTINCT]:
        options = {**secret_account, **more}
        if options["user"] == "root":
            options["password"] = ""
        connection = manager.connect(**options)
        numbers.add(session_of(connection))
        connection.close()
    assert len(numbers) == len(DISTINCT) + 1


def test_bug_no_setting_of_one_caller_reaches_another(manager: PoolManager, database: dict[str, Any]) -> None:
    """Each finds what it asked for, whichever caller came before."""
    for _ in range(2):
        for autocommit in (True, False):
            for charset in ("latin1", "utf8mb4"):
                connection = manager.connect(**database, autocommit=autocommit, charset=charset)
                assert ask(connection, "SELECT @@autocommit") == int(autocommit)
                assert ask(connection, "SELECT @@character_set_client") == charset
                connection.close()


def test_bug_a_wrong_password_gets_no_connection_of_who_knew_the_right_one(
    manager: PoolManager, secret_account: dict[str, Any]
) -> None:
    """The snippet's key was without the password: the caller that came second was let in."""
    manager.connect(**secret_account).close()
    for wrong in ("", "wrong"):
        with pytest.raises(Exception, match="1045"):
            manager.connect(**{**secret_account, "password": wrong})


def test_sessions_settings_are_undone_before_the_next_borrower(database: dict[str, Any]) -> None:
    """Of our own connections, which can: SET, USE, and what is temporary."""
    manager = PoolManager()
    first = manager.connect(**database)
    number = session_of(first)
    tell(first, "CREATE TEMPORARY TABLE t (i INT)")
    tell(first, "SET @mine = 1, SESSION time_zone = '+05:00', autocommit = 1")
    tell(first, "USE mysql")
    first.close()
    second = manager.connect(**database)
    assert session_of(second) == number
    assert ask(second, "SELECT DATABASE()") == database["database"]
    assert ask(second, "SELECT @mine") is None
    assert ask(second, "SELECT @@time_zone") == "SYSTEM"
    assert ask(second, "SELECT @@autocommit") == 0
    with pytest.raises(pymysql.err.ProgrammingError):
        tell(second, "SELECT * FROM t")
    second.close()
    manager.dispose()


def test_manager_keeps_a_pool_of_the_size_for_each(manager: PoolManager, database: dict[str, Any]) -> None:
    """Eight by default, as in the snippet, for each set of options and not in all."""
    connections = [manager.connect(**database, autocommit=on) for _ in range(10) for on in (True, False)]
    numbers = {session_of(connection) for connection in connections}
    for connection in connections:
        connection.close()
    again = [manager.connect(**database, autocommit=on) for _ in range(8) for on in (True, False)]
    assert {session_of(connection) for connection in again} <= numbers
    assert session_of(manager.connect(**database, autocommit=True)) not in numbers
    assert len(numbers) == 20


def test_closing_a_connection_that_is_no_pools_does_nothing(manager: PoolManager, database: dict[str, Any]) -> None:
    """Nor one that is back already: `close_connection` is what stands in a ``finally``."""
    connection = manager.connect(**database)
    manager.close_connection(connection)
    manager.close_connection(connection)
    manager.close_connection(None)
    with closing(pymysql.connections.Connection(**database, ssl_disabled=True)) as own:
        manager.close_connection(own)
        assert ask(own, "SELECT 1") == 1


def test_query_on_a_lost_session_destroys_its_connection(
    manager: PoolManager, database: dict[str, Any], watch: Watch
) -> None:
    """2006 and 2013, and whatever a newer server says instead; the next borrower gets a new session."""
    connection = manager.connect(**database)
    number = session_of(connection)
    watch.kill(number)
    with pytest.raises(Exception, match=r"2006|2013|1927|4031"):
        ask(connection, "SELECT 1")
    manager.close_connection(connection)
    assert session_of(manager.connect(**database)) != number


def test_managers_connections_are_a_subclass_of_the_drivers(database: dict[str, Any]) -> None:
    """Without a creator they are `improved_db.Connection`, with all that it can."""
    manager = PoolManager()
    connection = manager.connect(**database)
    assert isinstance(connection, Connection)
    assert isinstance(connection, pymysql.connections.Connection)
    stale, cursor = connection, connection.cursor()
    connection.close()
    current = manager.connect(**database)
    attempts: list[Callable[[], object]] = [
        stale.ping, stale.commit, stale.close, lambda: stale.cursor().execute("SELECT 1"),
        lambda: cursor.execute("SELECT 1"), lambda: stale.select_db("mysql"), lambda: stale.query("SELECT 1"),
    ]  # fmt: skip
    for attempt in attempts:
        with pytest.raises(LoanSpent):
            attempt()
    assert not stale.open
    assert ask(current, "SELECT 1") == 1
    current.close()
    manager.dispose()


def test_options_are_given_by_name_where_the_driver_is_ours() -> None:
    """PyMySQL says the same, in its own words."""
    with pytest.raises(TypeError, match="by name"):
        PoolManager().connect("localhost", "root")


def test_positional_arguments_reach_the_creator_and_the_key(database: dict[str, Any]) -> None:
    """With mysqlclient: host, user, password and database, in that order."""
    mysqldb = import_mysqlclient()
    manager = PoolManager(creator=mysqldb.connect)
    positional = [database[name] for name in ("host", "user", "password", "database")]
    connection = manager.connect(*positional, port=database["port"])
    number = session_of(connection)
    connection.close()
    assert session_of(manager.connect(*positional, port=database["port"])) == number
    assert session_of(manager.connect(*positional[:3], "test", port=database["port"])) != number
    manager.dispose()


def test_disposed_manager_closes_every_pool(manager: PoolManager, database: dict[str, Any], watch: Watch) -> None:
    """Idle sessions end at once, borrowed ones when they come back."""
    lent = manager.connect(**database)
    manager.connect(**database, charset="latin1").close()
    manager.dispose()
    eventually(lambda: len(watch.sessions()) == 1)
    lent.close()
    eventually(lambda: watch.sessions() == set())


# --- secrets ---------------------------------------------------------------------------------------------------------


def test_nothing_that_is_printed_shows_the_password(manager: PoolManager, secret_account: dict[str, Any]) -> None:
    """Managers and connections are printed by debuggers and error reporters."""
    connection = manager.connect(**secret_account)
    for shown in (manager, connection, vars(manager)):
        assert CANARY not in repr(shown)
        assert CANARY not in f"{shown}"
    connection.close()


def refusing(**_: Any) -> Any:
    """Stand for a driver that fails."""
    raise CannotConnect


@pytest.mark.parametrize(
    "more",
    [{}, {"antocomit": True}, {"port": "x"}, {"connect_timeout": -1}, {"charset": "no-such"}, {"host": "256.0.0.1"}],
    ids=repr,
)
@pytest.mark.parametrize("creator", [None, refusing, pymysql.connections.Connection])
def test_no_frame_of_ours_shows_the_password_of_a_connect_that_fails(
    database: dict[str, Any], creator: Callable[..., Any] | None, more: dict[str, Any]
) -> None:
    """Error reporters send the locals of all frames to a third party."""
    manager = PoolManager(creator=creator)
    with pytest.raises(Exception) as caught:  # noqa: PT011  # each fails in another way
        manager.connect(**{**database, "user": "nobody", "password": CANARY, **more})
    assert list(leaks(caught.value, is_ours)) == []
