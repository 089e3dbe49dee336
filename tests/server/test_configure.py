"""`configure`: what it sets belongs to a new session, and is there again after every reset."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import pytest

from improved_db import Connection, ImprovedDb

if TYPE_CHECKING:
    from collections.abc import Callable


def prepare(connection: Connection) -> None:
    connection._run("SET @mine = 5, SESSION lock_wait_timeout = 77")


def seen(db: ImprovedDb) -> tuple[Any, ...] | None:
    return db.execute_query("SELECT @mine, @@lock_wait_timeout", return_one=True)


def test_configure_sets_what_the_first_borrower_finds(database: dict[str, Any]) -> None:
    """A new session that was set up and then reset would have been set up for nothing."""
    with ImprovedDb(database, max_size=1, configure=prepare) as db:
        assert seen(db) == (5, 77)


@pytest.mark.parametrize("reset", ["rollback", "session"])
def test_what_configure_set_is_there_again_after_a_borrower_changed_it(
    database: dict[str, Any], reset: Literal["rollback", "session"]
) -> None:
    """The reset of the session takes the changes and the settings alike; the settings come back."""
    with ImprovedDb(database, max_size=1, configure=prepare, reset=reset) as db:
        with db.connection() as connection:
            number = connection.thread_id()
            connection._run("SET @mine = 6, SESSION lock_wait_timeout = 8, @other = 1")
        assert seen(db) == (5, 77)
        assert db.execute_query("SELECT @other, CONNECTION_ID()") == ((None, number),)


def test_configure_runs_once_for_a_session_that_stays_unchanged(database: dict[str, Any]) -> None:
    """It may be slow; it is no hook of every borrowing."""
    calls: list[int] = []
    with ImprovedDb(database, max_size=1, configure=lambda connection: calls.append(connection.thread_id())) as db:
        for _ in range(3):
            db.execute_query("SELECT 1")
    assert len(calls) == 1


def test_a_transaction_that_configure_leaves_open_is_rolled_back(database: dict[str, Any]) -> None:
    """Its locks would be the first borrower's."""
    with ImprovedDb(database, max_size=1) as plain:
        plain.execute_query("CREATE TABLE t (i INT) ENGINE=InnoDB")
        with ImprovedDb(database, max_size=1, configure=begin_and_insert) as db:
            assert db.execute_query("SELECT COUNT(*) FROM t") == ((0,),)


def begin_and_insert(connection: Connection) -> None:
    connection.begin()
    connection._run("INSERT INTO t VALUES (1)")


def fail(_: Connection) -> None:
    raise ValueError("no such thing")


def leave_unread(connection: Connection) -> None:
    connection._start_stream("SELECT 1 UNION ALL SELECT 2")


@pytest.mark.parametrize(("configure", "error"), [(fail, ValueError), (leave_unread, RuntimeError)])
def test_a_session_that_cannot_be_configured_is_an_error_and_leaves_no_session(
    database: dict[str, Any], configure: Callable[[Connection], None], error: type[Exception]
) -> None:
    """Lending it all the same would run a program on settings that it does not have."""
    with ImprovedDb(database, max_size=1, configure=configure) as db:
        with pytest.raises(error):
            db.execute_query("SELECT 1")
        assert db.stats().size == 0


def test_an_interrupted_configure_closes_its_connection(database: dict[str, Any]) -> None:
    """Ctrl-C in the middle of it must not leave a session open that no caller has."""
    opened: list[Connection] = []

    def configure(connection: Connection) -> None:
        opened.append(connection)
        raise KeyboardInterrupt

    with ImprovedDb(database, configure=configure) as db, pytest.raises(KeyboardInterrupt):
        db.connect()
    assert [connection.open for connection in opened] == [False]


def test_a_configure_that_raises_on_a_reset_is_logged(
    database: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """Sessions were opened over and over, and nothing said why; the error's own text may hold a value."""
    calls: list[int] = []

    def configure(_: Connection) -> None:
        calls.append(1)
        if len(calls) == 2:
            raise RuntimeError("a secret of mine")

    with ImprovedDb(database, max_size=1, configure=configure) as db:
        db.execute_query("set @a = 1")
        assert db.execute_query("select @a") == ((None,),)
    assert "configure raised RuntimeError" in caplog.text
    assert "a secret" not in caplog.text
