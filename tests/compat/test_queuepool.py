"""The door of the MySQLdb QueuePool snippet: each of its calls, over four drivers, and its bugs, not copied."""

from __future__ import annotations

import dataclasses
import gc
import logging
import sqlite3
import threading
from contextlib import closing, suppress
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pymysql
import pymysql.connections
import pytest

import improved_db
from improved_db import ConfigError, Connection, LoanSpent
from improved_db.compat.queuepool import PoolManager, QueuePool
from improved_db.errors import PoolClosed
from tests.fakes import Caller, eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CANARY = "c4n4ry-bird"
PACKAGE = str(Path(improved_db.__file__).parent)


@dataclasses.dataclass
class Kind:
    """A driver: how it connects, and what its connections are."""

    name: str
    creator: Callable[[], Any]
    connection_class: type

    @property
    def has_server(self) -> bool:
        """Whether there is a server at the other end."""
        return self.name != "sqlite3"


class Watch:
    """A look at the sessions from outside, and a hand that ends them."""

    def __init__(self, options: dict[str, Any]) -> None:
        self._options = {**options, "database": None, "ssl_disabled": True, "autocommit": True}
        self._database = options["database"]

    def ask(self, query: str, *args: object) -> tuple[Any, ...]:
        """Run a statement on a session of its own."""
        with pymysql.connect(**self._options) as connection, connection.cursor() as cursor:
            cursor.execute(query, args or None)
            return tuple(cursor.fetchall())

    def sessions(self) -> set[int]:
        """Return the numbers of the sessions on the database of the test."""
        query = "SELECT id FROM information_schema.processlist WHERE db = %s"
        return {int(number) for (number,) in self.ask(query, self._database)}

    def kill(self, number: int) -> None:
        """End a session, and wait until it is gone."""
        self.ask("KILL %s", number)
        eventually(lambda: number not in self.sessions())


def ask(connection: Any, query: str) -> Any:
    """Return the first value of the first row."""
    with closing(connection.cursor()) as cursor:
        cursor.execute(query)
        return cursor.fetchone()[0]


def session_of(connection: Any) -> int:
    """Return the number of its session."""
    return int(ask(connection, "SELECT CONNECTION_ID()"))


def tell(connection: Any, statement: str) -> None:
    """Run a statement that has no rows."""
    with closing(connection.cursor()) as cursor:
        cursor.execute(statement)


def our_locals(error: BaseException) -> Iterator[str]:
    """Find the canary in the text of an error, and in the locals of every frame of ours that it passed."""
    seen: BaseException | None = error
    while seen is not None:
        if CANARY in f"{seen} {seen!r}":
            yield f"text of {type(seen).__name__}"
        step = seen.__traceback__
        while step is not None:
            if step.tb_frame.f_code.co_filename.startswith(PACKAGE):
                for name, value in step.tb_frame.f_locals.items():
                    if CANARY in repr(value):
                        yield f"{step.tb_frame.f_code.co_filename}, {step.tb_frame.f_code.co_name}: {name}"
            step = step.tb_next
        seen = seen.__cause__ or seen.__context__


@pytest.fixture
def watch(database: dict[str, Any]) -> Watch:
    """An eye on the test's sessions."""
    return Watch(database)


def import_mysqlclient() -> Any:
    """Return the module MySQLdb; skip the test where it is not installed."""
    return pytest.importorskip("MySQLdb", reason="mysqlclient is a C extension and not installed everywhere")


def make_kind(name: str, database: dict[str, Any]) -> Kind:
    """Return a driver; skip the test where it is not installed."""
    if name == "sqlite3":
        return Kind(name, lambda: sqlite3.connect(":memory:"), sqlite3.Connection)
    if name == "pymysql":
        return Kind(
            name, lambda: pymysql.connections.Connection(**database, ssl_disabled=True), pymysql.connections.Connection
        )
    if name == "improved_db":
        return Kind(name, lambda: Connection(**database, ssl_disabled=True), Connection)
    mysqldb = import_mysqlclient()
    return Kind(name, lambda: mysqldb.connect(**database), import_module("MySQLdb.connections").Connection)


@pytest.fixture(params=["sqlite3", "pymysql", "improved_db", "mysqlclient"])
def kind(request: pytest.FixtureRequest, database: dict[str, Any]) -> Kind:
    """Each driver in turn."""
    return make_kind(request.param, database)


@pytest.fixture(params=["pymysql", "improved_db", "mysqlclient"])
def server_kind(request: pytest.FixtureRequest, database: dict[str, Any]) -> Kind:
    """Each driver that has a server."""
    return make_kind(request.param, database)


@pytest.fixture
def make() -> Iterator[Callable[..., QueuePool]]:
    """Return a function that makes a pool; it is closed after the test, and so is all that its creator made."""
    pools: list[QueuePool] = []
    opened: list[Any] = []

    def made(creator: Callable[[], Any], *args: Any, **options: Any) -> QueuePool:
        def noted() -> Any:
            opened.append(creator())
            return opened[-1]

        pools.append(QueuePool(noted, *args, **options))
        return pools[-1]

    yield made
    for pool in pools:
        pool.dispose()
    for connection in opened:
        with suppress(Exception):
            connection.close()


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


# --- QueuePool, call by call -----------------------------------------------------------------------------------------


def test_returned_connection_is_lent_again(kind: Kind, make: Callable[..., QueuePool]) -> None:
    """That is what the pool is for; with sqlite3's `:memory:` one sees it by what is in the database."""
    pool = make(kind.creator)
    first = pool.connect()
    tell(first, "CREATE TABLE t (i INTEGER)")
    first.commit()
    pool.return_conn(first)
    second = pool.connect()
    assert ask(second, "SELECT COUNT(*) FROM t") == 0
    assert second is not first
    pool.return_conn(second)


def test_numbers_tell_capacity_and_idle_connections(kind: Kind, make: Callable[..., QueuePool]) -> None:
    """`size()` is what may be kept, `len()` what is idle now; nothing connects before somebody asks."""
    pool = make(kind.creator, 3)
    assert (pool.size(), len(pool), pool.len(), bool(pool)) == (3, 0, 0, True)
    connections = [pool.connect() for _ in range(2)]
    assert (pool.size(), len(pool), pool.len()) == (3, 0, 0)
    for connection in connections:
        pool.return_conn(connection)
    assert (pool.size(), len(pool), pool.len()) == (3, 2, 2)


def test_sizes_are_the_snippets() -> None:
    """Programs that said nothing get what they had."""
    pool = QueuePool(lambda: sqlite3.connect(":memory:"))
    assert pool.size() == 5
    pool.dispose()


def test_close_of_a_borrowed_connection_gives_it_back(kind: Kind, make: Callable[..., QueuePool]) -> None:
    """A program need not know that its connection is pooled."""
    pool = make(kind.creator)
    pool.connect().close()
    assert len(pool) == 1


def test_closing_one_through_the_pool_ends_its_session(
    server_kind: Kind, make: Callable[..., QueuePool], watch: Watch
) -> None:
    """The one call that means it."""
    pool = make(server_kind.creator)
    connection = pool.connect()
    number = session_of(connection)
    pool.close(connection)
    assert len(pool) == 0
    eventually(lambda: number not in watch.sessions())


def test_clear_closes_the_idle_ones_and_leaves_the_borrowed_ones(
    server_kind: Kind, make: Callable[..., QueuePool], watch: Watch
) -> None:
    """The pool goes on afterwards."""
    pool = make(server_kind.creator)
    lent, idle = pool.connect(), pool.connect()
    number = session_of(lent)
    idle.close()
    pool.clear()
    assert len(pool) == 0
    eventually(lambda: watch.sessions() == {number})
    lent.close()
    assert session_of(pool.connect()) == number


def test_full_queue_closes_the_one_too_many_and_says_so(
    kind: Kind, make: Callable[..., QueuePool], caplog: pytest.LogCaptureFixture
) -> None:
    """A pool that is always too small costs a connect each time, and should be heard of."""
    pool = make(kind.creator, 2, name="shop")
    connections = [pool.connect() for _ in range(3)]
    with caplog.at_level(logging.WARNING):
        for connection in connections:
            assert caplog.records == []
            pool.return_conn(connection)
    (record,) = caplog.records
    assert (record.levelname, "shop" in record.getMessage(), "full" in record.getMessage()) == ("WARNING", True, True)
    assert record.name.startswith("improved_db")
    assert len(pool) == 2


def test_more_than_the_size_can_be_out_at_once(server_kind: Kind, make: Callable[..., QueuePool], watch: Watch) -> None:
    """Nobody waits; afterwards no more than the size are kept."""
    pool = make(server_kind.creator, 2)
    connections = [pool.connect() for _ in range(6)]
    assert {session_of(connection) for connection in connections} == watch.sessions()
    for connection in connections:
        connection.close()
    eventually(lambda: len(watch.sessions()) == 2)


def test_second_return_is_ignored_and_nothing_is_in_the_queue_twice(kind: Kind, make: Callable[..., QueuePool]) -> None:
    """Two users of one connection read each other's answers."""
    pool = make(kind.creator)
    connection = pool.connect()
    for _ in range(3):
        pool.return_conn(connection)
    pool.close(connection)
    assert len(pool) == 1
    first, second = pool.connect(), pool.connect()
    pool.return_conn(connection)  # its session is somebody else's by now
    assert len(pool) == 0
    tell(first, "CREATE TABLE mine (i INTEGER)")
    pool.return_conn(first)
    pool.return_conn(second)


def test_second_close_changes_nothing(kind: Kind, make: Callable[..., QueuePool]) -> None:
    """A ``finally`` closes what a block has closed; its session may be somebody else's by then."""
    pool = make(kind.creator)
    connection = pool.connect()
    connection.close()
    connection.close()
    assert len(pool) == 1
    current = pool.connect()
    connection.close()
    assert len(pool) == 0
    assert ask(current, "SELECT 1") == 1
    current.close()
    assert len(pool) == 1


def test_foreign_connections_are_refused_and_left_as_they_are(kind: Kind, make: Callable[..., QueuePool]) -> None:
    """Of another pool, of none, or no connection at all: the queue holds what this pool has opened."""
    pool, other = make(kind.creator), make(kind.creator)
    theirs = other.connect()
    with closing(kind.creator()) as own:
        for foreign in (theirs, own, object(), None):
            for verb in (pool.return_conn, pool.close):
                with pytest.raises(LoanSpent):
                    verb(foreign)
        assert ask(own, "SELECT 7") == 7
    assert ask(theirs, "SELECT 8") == 8
    assert len(pool) == 0
    theirs.close()


def test_disposed_pool_lends_nothing_and_closes_what_comes_back(
    server_kind: Kind, make: Callable[..., QueuePool], watch: Watch
) -> None:
    """No session outlives the pool's end for longer than its borrower."""
    pool = make(server_kind.creator)
    lent, idle = pool.connect(), pool.connect()
    idle.close()
    pool.dispose()
    with pytest.raises(PoolClosed):
        pool.connect()
    assert ask(lent, "SELECT 9") == 9
    lent.close()
    eventually(lambda: watch.sessions() == set())


@pytest.mark.parametrize("pool_size", [0, -1, 1.5, "5", None, True])
def test_pool_size_that_cannot_be_meant_is_refused(pool_size: Any) -> None:
    """When it is written, not when the tenth connection is needed."""
    with pytest.raises(ConfigError):
        QueuePool(lambda: sqlite3.connect(":memory:"), pool_size)
    with pytest.raises(ConfigError):
        PoolManager(pool_size)


@pytest.mark.parametrize("recycle", [0, -1, "30", True, float("nan")])
def test_recycle_that_cannot_be_meant_is_refused(recycle: Any) -> None:
    """None is how to say never; -1, as in other libraries, is not."""
    with pytest.raises(ConfigError):
        QueuePool(lambda: sqlite3.connect(":memory:"), 5, recycle)
    with pytest.raises(ConfigError):
        PoolManager(5, recycle)


# --- recycle ---------------------------------------------------------------------------------------------------------


def test_idle_connection_older_than_recycle_is_closed_and_replaced(
    server_kind: Kind, make: Callable[..., QueuePool], watch: Watch
) -> None:
    """The server would end it anyway, under a query."""
    pool = make(server_kind.creator, 5, 1e-6)
    connection = pool.connect()
    number = session_of(connection)
    pool.return_conn(connection)
    assert session_of(pool.connect()) != number
    eventually(lambda: number not in watch.sessions())


def test_idle_connection_younger_than_recycle_is_lent(server_kind: Kind, make: Callable[..., QueuePool]) -> None:
    """Else there would be no pool."""
    pool = make(server_kind.creator, 5, 3600)
    connection = pool.connect()
    number = session_of(connection)
    pool.return_conn(connection)
    assert session_of(pool.connect()) == number


def test_bug_a_pool_without_recycle_takes_connections_back(kind: Kind, make: Callable[..., QueuePool]) -> None:
    """The snippet compared a time with None as soon as one was returned, and failed."""
    pool = make(kind.creator, 5, None)
    pool.return_conn(pool.connect())
    assert len(pool) == 1
    pool.connect().close()
    assert len(pool) == 1


# --- what is lent, and what is left of it afterwards -----------------------------------------------------------------


def test_borrowed_connection_is_one_of_its_driver_for_isinstance(kind: Kind, make: Callable[..., QueuePool]) -> None:
    """Libraries ask, and take another way for what they do not know."""
    connection = make(kind.creator).connect()
    with closing(connection.cursor()) as cursor, closing(kind.creator()) as plain:
        kinds = (kind.connection_class, type(plain.cursor()))
        assert [isinstance(lent, each) for lent, each in zip((connection, cursor), kinds, strict=True)] == [True, True]
    connection.close()
    assert [isinstance(connection, each) for each in kinds] == [True, False]


def test_attributes_are_read_and_set_on_the_connection_itself(make: Callable[..., QueuePool]) -> None:
    """`row_factory`, `autocommit` and the like are how drivers are told things."""
    connection = make(lambda: sqlite3.connect(":memory:")).connect()
    connection.row_factory = sqlite3.Row
    assert connection.row_factory is sqlite3.Row
    assert connection.execute("SELECT 1 AS one").fetchone()["one"] == 1
    with pytest.raises(AttributeError):
        connection.no_such_thing  # noqa: B018  # reading it is the test
    connection.row_factory = None
    connection.close()


def test_cursor_iterates_and_is_a_context(kind: Kind, make: Callable[..., QueuePool]) -> None:
    """A cursor through the door does what a cursor does."""
    connection = make(kind.creator).connect()
    with closing(connection.cursor()) as cursor:
        cursor.execute("SELECT 1 UNION ALL SELECT 2")
        assert [next(cursor)[0], *(row[0] for row in cursor)] == [1, 2]
        assert cursor.description[0][0] == "1"
    if kind.has_server:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 3")
            assert cursor.fetchall()[0][0] == 3
    connection.close()


def test_spent_connection_and_its_cursors_refuse_everything(kind: Kind, make: Callable[..., QueuePool]) -> None:
    """Even, and above all, after somebody else has borrowed the same session."""
    pool = make(kind.creator)
    connection = pool.connect()
    cursor = connection.cursor()
    cursor.execute("SELECT 1")
    pool.return_conn(connection)
    attempts: list[Callable[[], object]] = [
        lambda: connection.cursor(),  # noqa: PLW0108  # looking it up is refused
        lambda: connection.commit(),  # noqa: PLW0108  # looking it up is refused
        lambda: connection.rollback(),  # noqa: PLW0108  # looking it up is refused
        lambda: setattr(connection, "row_factory", None),
        lambda: connection.__enter__(),  # noqa: PLW0108  # looking it up is refused
        lambda: cursor.execute("SELECT 2"),
        lambda: cursor.fetchall(),  # noqa: PLW0108  # looking it up is refused
        lambda: next(cursor),
        lambda: list(cursor),
    ]
    for somebody_elses in (False, True):
        current = pool.connect() if somebody_elses else None
        for attempt in attempts:
            with pytest.raises(LoanSpent):
                attempt()
        assert not connection.open
        if current is not None:
            assert ask(current, "SELECT 3") == 3
            current.close()


def test_no_cursor_of_sqlite3_gets_round_the_return(make: Callable[..., QueuePool]) -> None:
    """Its shortcut `connection.execute` makes a cursor as well, and `cursor.execute` returns one."""
    pool = make(lambda: sqlite3.connect(":memory:"))
    connection = pool.connect()
    shortcut = connection.execute("SELECT 1 UNION ALL SELECT 2")
    returned = connection.cursor().execute("SELECT 1 UNION ALL SELECT 2")
    pool.return_conn(connection)
    for cursor in (shortcut, returned):
        with pytest.raises(LoanSpent):
            cursor.fetchall()


def test_connection_of_a_cursor_is_the_borrowed_one(kind: Kind, make: Callable[..., QueuePool]) -> None:
    """PEP 249's `cursor.connection`: who closes that must not end a session that the pool lends on."""
    pool = make(kind.creator)
    connection = pool.connect()
    connection.cursor().connection.close()
    assert len(pool) == 1
    assert ask(pool.connect(), "SELECT 1") == 1


def test_block_of_sqlite3_commits_and_goes_on(make: Callable[..., QueuePool]) -> None:
    """`with` means what it means to the driver: here a transaction."""
    pool = make(lambda: sqlite3.connect(":memory:"))
    connection = pool.connect()
    connection.execute("CREATE TABLE t (i INTEGER)")
    with connection as same:
        same.execute("INSERT INTO t VALUES (1)")
    assert same is connection

    def fail() -> None:
        with connection:
            connection.execute("INSERT INTO t VALUES (2)")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert len(pool) == 0
    assert connection.execute("SELECT i FROM t").fetchall() == [(1,)]
    connection.close()
    assert len(pool) == 1


def test_block_of_mysql_drivers_gives_back(server_kind: Kind, make: Callable[..., QueuePool]) -> None:
    """There it closes, which means to give back; also after an error."""
    pool = make(server_kind.creator)
    with pool.connect() as connection:
        number = session_of(connection)
    assert len(pool) == 1
    with pytest.raises(ZeroDivisionError), pool.connect():
        raise ZeroDivisionError
    assert len(pool) == 1
    assert session_of(pool.connect()) == number
    with pytest.raises(LoanSpent):
        connection.cursor()


def test_transaction_left_open_is_rolled_back_on_return(
    server_kind: Kind, make: Callable[..., QueuePool], watch: Watch, database: dict[str, Any]
) -> None:
    """The next borrower's commit must not commit it, and nobody shall wait for its locks."""
    table = f"{database['database']}.t"
    watch.ask(f"CREATE TABLE {table} (i INT PRIMARY KEY) ENGINE=InnoDB")
    pool = make(server_kind.creator)
    connection = pool.connect()
    number = session_of(connection)
    tell(connection, "INSERT INTO t VALUES (1)")
    pool.return_conn(connection)
    watch.ask(f"INSERT INTO {table} VALUES (1)")  # would wait for the lock
    watch.ask(f"DELETE FROM {table}")
    connection = pool.connect()
    assert session_of(connection) == number
    connection.commit()
    assert watch.ask(f"SELECT * FROM {table}") == ()


def test_transaction_of_sqlite3_left_open_is_rolled_back_on_return(make: Callable[..., QueuePool]) -> None:
    """The same without a server."""
    pool = make(lambda: sqlite3.connect(":memory:"))
    connection = pool.connect()
    connection.execute("CREATE TABLE t (i INTEGER)")
    connection.execute("INSERT INTO t VALUES (1)")
    assert connection.in_transaction
    connection.close()
    assert ask(pool.connect(), "SELECT COUNT(*) FROM t") == 0


def test_connection_that_was_lost_is_destroyed_on_return(
    server_kind: Kind, make: Callable[..., QueuePool], watch: Watch
) -> None:
    """After 2006 and 2013 there is nothing left to give back."""
    pool = make(server_kind.creator)
    connection = pool.connect()
    number = session_of(connection)
    watch.kill(number)
    with pytest.raises(Exception, match=r"2006|2013|1927|gone away|Lost connection|killed"):
        ask(connection, "SELECT 1")
    pool.return_conn(connection)
    assert len(pool) == 0
    assert session_of(pool.connect()) != number


def test_connection_that_was_lost_unnoticed_is_not_lent_again(
    server_kind: Kind, make: Callable[..., QueuePool], watch: Watch
) -> None:
    """Killed while it was idle: the look at the socket finds it, without a round trip."""
    pool = make(server_kind.creator)
    connections = [pool.connect() for _ in range(3)]
    for connection in connections:
        connection.close()
    for number in watch.sessions():
        watch.kill(number)
    assert ask(pool.connect(), "SELECT 1") == 1
    assert len(pool) == 0


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # only its thread could close it
def test_sqlite3_connection_of_another_thread_makes_room_for_ones_own() -> None:
    """sqlite3 binds a connection to its thread: what another thread gave back cannot be used, nor stay in the queue."""
    pool = QueuePool(lambda: sqlite3.connect(":memory:"))
    caller = Caller(lambda: pool.connect().close())
    caller.result()
    connection = pool.connect()
    with pytest.raises(sqlite3.ProgrammingError, match="thread"):
        connection.cursor()
    pool.return_conn(connection)
    assert len(pool) == 0
    connection = pool.connect()
    assert ask(connection, "SELECT 1") == 1
    connection.close()
    pool.dispose()
    del connection
    gc.collect()


def test_forgotten_connection_is_recovered_when_it_is_collected(
    server_kind: Kind, make: Callable[..., QueuePool], watch: Watch
) -> None:
    """Scripts end functions without `close`; the server must not run full of such sessions."""
    pool = make(server_kind.creator)
    for _ in range(5):
        forgotten = pool.connect()
        assert ask(forgotten, "SELECT 1") == 1
        del forgotten
        gc.collect()
    kept = pool.connect()
    eventually(lambda: watch.sessions() == {session_of(kept)})


def test_cursor_keeps_its_connection_from_being_collected(server_kind: Kind, make: Callable[..., QueuePool]) -> None:
    """`pool.connect().cursor()` in one line is common."""
    pool = make(server_kind.creator)
    cursor = pool.connect().cursor()
    gc.collect()
    others = [pool.connect() for _ in range(2)]
    cursor.execute("SELECT 5")
    assert cursor.fetchone()[0] == 5
    assert len(others) == 2


class CannotConnect(Exception):
    """What a creator raises."""


def test_error_of_the_creator_arrives_as_it_is_and_leaks_nothing(kind: Kind, make: Callable[..., QueuePool]) -> None:
    """Its type and code decide what the program does next."""
    errors: list[BaseException] = [CannotConnect(f"{number}") for number in range(10)]
    errors.append(KeyboardInterrupt())

    def creator() -> Any:
        if errors:
            raise errors[0]
        return kind.creator()

    pool = make(creator, 2)
    while errors:
        with pytest.raises((CannotConnect, KeyboardInterrupt)) as caught:
            pool.connect()
        assert caught.value is errors.pop(0)
    connections = [pool.connect() for _ in range(2)]
    for connection in connections:
        connection.close()
    assert len(pool) == 2


def test_no_session_has_two_users_under_load(server_kind: Kind, make: Callable[..., QueuePool], watch: Watch) -> None:
    """16 threads on a pool of 4: each reads its own answer, and no more than 4 are kept."""
    pool = make(server_kind.creator, 4)
    in_use: set[int] = set()
    lock = threading.Lock()

    def work(seed: int) -> None:
        for turn in range(15):
            connection = pool.connect()
            number = session_of(connection)
            with lock:
                assert number not in in_use
                in_use.add(number)
            assert ask(connection, f"SELECT {seed * 100 + turn}") == seed * 100 + turn
            with lock:
                in_use.remove(number)
            connection.close()

    for caller in [Caller(lambda seed=seed: work(seed)) for seed in range(16)]:  # type: ignore[misc]
        caller.result()
    assert 1 <= len(pool) <= 4
    eventually(lambda: len(watch.sessions()) == len(pool))


# --- PoolManager -----------------------------------------------------------------------------------------------------


@pytest.fixture
def account(server: Any, database: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Connect options with a password that must be seen nowhere."""
    watch = Watch(database)
    watch.ask("CREATE USER canary@'%%' IDENTIFIED BY %s", CANARY)
    watch.ask("GRANT ALL ON *.* TO canary@'%'")
    yield {**database, "user": "canary", "password": CANARY}
    watch.ask("DROP USER canary@'%'")


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


def test_manager_knows_the_short_names_of_options(manager: PoolManager, account: dict[str, Any]) -> None:
    """``passwd`` and ``db`` are ``password`` and ``database``: one pool, and no deprecation warning."""
    short = {name: value for name, value in account.items() if name not in {"password", "database"}}
    connection = manager.connect(**account)
    number = session_of(connection)
    connection.close()
    connection = manager.connect(**short, passwd=account["password"], db=account["database"])
    assert session_of(connection) == number
    assert ask(connection, "SELECT DATABASE()") == account["database"]
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
    manager: PoolManager, account: dict[str, Any]
) -> None:
    """The snippet looked at host and user alone, and gave one caller another's charset, database or autocommit."""
    numbers = set()
    for more in [{}, *DISTINCT]:
        options = {**account, **more}
        if options["user"] == "root":
            options["password"] = ""
        connection = manager.connect(**options)
        numbers.add(session_of(connection))
        connection.close()
    assert len(numbers) == len(DISTINCT) + 1


def test_bug_no_setting_of_one_caller_reaches_another(manager: PoolManager, database: dict[str, Any]) -> None:
    """Each finds what it asked for, whoever came before."""
    for _ in range(2):
        for autocommit in (True, False):
            for charset in ("latin1", "utf8mb4"):
                connection = manager.connect(**database, autocommit=autocommit, charset=charset)
                assert ask(connection, "SELECT @@autocommit") == int(autocommit)
                assert ask(connection, "SELECT @@character_set_client") == charset
                connection.close()


def test_bug_a_wrong_password_gets_no_connection_of_who_knew_the_right_one(
    manager: PoolManager, account: dict[str, Any]
) -> None:
    """The snippet's key was without the password: whoever came second was let in."""
    manager.connect(**account).close()
    for wrong in ("", "wrong"):
        with pytest.raises(Exception, match="1045"):
            manager.connect(**{**account, "password": wrong})


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


def test_nothing_that_is_printed_shows_the_password(manager: PoolManager, account: dict[str, Any]) -> None:
    """Managers and connections are printed by debuggers and error reporters."""
    connection = manager.connect(**account)
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
    assert list(our_locals(caught.value)) == []
