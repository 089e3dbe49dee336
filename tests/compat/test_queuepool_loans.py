"""The door of the MySQLdb QueuePool snippet: what its pool lends, and what is left of it afterwards."""

from __future__ import annotations

import gc
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from improved_db import LoanSpent
from improved_db.compat.queuepool import QueuePool
from tests.compat.drivers import CannotConnect
from tests.compat.sessions import Watch, ask, session_of, share_sessions, tell
from tests.fakes import Caller, eventually

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.compat.drivers import Kind, MakeQueue


def test_borrowed_connection_is_one_of_its_driver_for_isinstance(kind: Kind, make_queue: MakeQueue) -> None:
    """Libraries ask, and take another way for what they do not know."""
    connection = make_queue(kind.creator).connect()
    with closing(connection.cursor()) as cursor, closing(kind.creator()) as plain:
        kinds = (kind.connection_class, type(plain.cursor()))
        assert [isinstance(lent, each) for lent, each in zip((connection, cursor), kinds, strict=True)] == [True, True]
    connection.close()
    assert [isinstance(connection, each) for each in kinds] == [True, False]


def test_attributes_are_read_and_set_on_the_connection_itself(make_queue: MakeQueue) -> None:
    """`row_factory`, `autocommit` and the like are how drivers are told things."""
    connection = make_queue(lambda: sqlite3.connect(":memory:")).connect()
    connection.row_factory = sqlite3.Row
    assert connection.row_factory is sqlite3.Row
    assert connection.execute("SELECT 1 AS one").fetchone()["one"] == 1
    with pytest.raises(AttributeError):
        connection.no_such_thing  # noqa: B018  # reading it is the test
    connection.row_factory = None
    connection.close()


def test_cursor_iterates_and_is_a_context(kind: Kind, make_queue: MakeQueue) -> None:
    """A cursor through the door does what a cursor does."""
    connection = make_queue(kind.creator).connect()
    with closing(connection.cursor()) as cursor:
        cursor.execute("SELECT 1 UNION ALL SELECT 2")
        assert [next(cursor)[0], *(row[0] for row in cursor)] == [1, 2]
        assert cursor.description[0][0] == "1"
    if kind.has_server:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 3")
            assert cursor.fetchall()[0][0] == 3
    connection.close()


def test_spent_connection_and_its_cursors_refuse_everything(kind: Kind, make_queue: MakeQueue) -> None:
    """Even, and above all, after another caller has borrowed the same session."""
    pool = make_queue(kind.creator)
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


def test_no_cursor_of_sqlite3_gets_round_the_return(make_queue: MakeQueue) -> None:
    """Its shortcut `connection.execute` makes a cursor as well, and `cursor.execute` returns one."""
    pool = make_queue(lambda: sqlite3.connect(":memory:"))
    connection = pool.connect()
    shortcut = connection.execute("SELECT 1 UNION ALL SELECT 2")
    returned = connection.cursor().execute("SELECT 1 UNION ALL SELECT 2")
    pool.return_conn(connection)
    for cursor in (shortcut, returned):
        with pytest.raises(LoanSpent):
            cursor.fetchall()


def test_connection_of_a_cursor_is_the_borrowed_one(kind: Kind, make_queue: MakeQueue) -> None:
    """PEP 249's `cursor.connection`: who closes that must not end a session that the pool lends on."""
    pool = make_queue(kind.creator)
    connection = pool.connect()
    connection.cursor().connection.close()
    assert len(pool) == 1
    assert ask(pool.connect(), "SELECT 1") == 1


def test_block_of_sqlite3_commits_and_goes_on(make_queue: MakeQueue) -> None:
    """`with` means what it means to the driver: here a transaction."""
    pool = make_queue(lambda: sqlite3.connect(":memory:"))
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


def test_block_of_mysql_drivers_returns_the_connection(server_kind: Kind, make_queue: MakeQueue) -> None:
    """There it closes, which means to give back; also after an error."""
    pool = make_queue(server_kind.creator)
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
    server_kind: Kind, make_queue: MakeQueue, watch: Watch, database: dict[str, Any]
) -> None:
    """The next borrower's commit must not commit it, and no session shall wait for its locks."""
    table = f"{database['database']}.t"
    watch.ask(f"CREATE TABLE {table} (i INT PRIMARY KEY) ENGINE=InnoDB")
    pool = make_queue(server_kind.creator)
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


def test_transaction_of_sqlite3_left_open_is_rolled_back_on_return(make_queue: MakeQueue) -> None:
    """The same without a server."""
    pool = make_queue(lambda: sqlite3.connect(":memory:"))
    connection = pool.connect()
    connection.execute("CREATE TABLE t (i INTEGER)")
    connection.execute("INSERT INTO t VALUES (1)")
    assert connection.in_transaction
    connection.close()
    assert ask(pool.connect(), "SELECT COUNT(*) FROM t") == 0


def test_connection_that_was_lost_is_destroyed_on_return(
    server_kind: Kind, make_queue: MakeQueue, watch: Watch
) -> None:
    """After 2006 and 2013 there is nothing left to give back."""
    pool = make_queue(server_kind.creator)
    connection = pool.connect()
    number = session_of(connection)
    watch.kill(number)
    with pytest.raises(Exception, match=r"2006|2013|1927|gone away|Lost connection|killed"):
        ask(connection, "SELECT 1")
    pool.return_conn(connection)
    assert len(pool) == 0
    assert session_of(pool.connect()) != number


def test_connection_that_was_lost_unnoticed_is_not_lent_again(
    server_kind: Kind, make_queue: MakeQueue, watch: Watch
) -> None:
    """Killed while it was idle: the look at the socket finds it, without a round trip."""
    pool = make_queue(server_kind.creator)
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
    server_kind: Kind, make_queue: MakeQueue, watch: Watch
) -> None:
    """Scripts end functions without `close`; the server must not run full of such sessions."""
    pool = make_queue(server_kind.creator)
    for _ in range(5):
        forgotten = pool.connect()
        assert ask(forgotten, "SELECT 1") == 1
        del forgotten
        gc.collect()
    kept = pool.connect()
    eventually(lambda: watch.sessions() == {session_of(kept)})


def test_cursor_keeps_its_connection_from_being_collected(server_kind: Kind, make_queue: MakeQueue) -> None:
    """`pool.connect().cursor()` in one line is common."""
    pool = make_queue(server_kind.creator)
    cursor = pool.connect().cursor()
    gc.collect()
    others = [pool.connect() for _ in range(2)]
    cursor.execute("SELECT 5")
    assert cursor.fetchone()[0] == 5
    assert len(others) == 2


def test_error_of_the_creator_arrives_as_it_is_and_leaks_nothing(kind: Kind, make_queue: MakeQueue) -> None:
    """Its type and code decide what the program does next."""
    errors: list[BaseException] = [CannotConnect(f"{number}") for number in range(10)]
    errors.append(KeyboardInterrupt())

    def creator() -> Any:
        if errors:
            raise errors[0]
        return kind.creator()

    pool = make_queue(creator, 2)
    while errors:
        with pytest.raises((CannotConnect, KeyboardInterrupt)) as caught:
            pool.connect()
        assert caught.value is errors.pop(0)
    connections = [pool.connect() for _ in range(2)]
    for connection in connections:
        connection.close()
    assert len(pool) == 2


def test_no_session_has_two_users_under_load(server_kind: Kind, make_queue: MakeQueue, watch: Watch) -> None:
    """16 threads on a pool of 4: each reads its own answer, and no more than 4 are kept."""
    pool = make_queue(server_kind.creator, 4)
    share_sessions(lambda: closing(pool.connect()), turns=15)
    assert 1 <= len(pool) <= 4
    eventually(lambda: len(watch.sessions()) == len(pool))
