"""`enable` and `disable` among tracers, which wrap `pymysql.connect` too, before and after."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pymysql
import pymysql.connections
import pytest

import improved_db
from improved_db import LoanSpent
from improved_db.compat.queuepool import QueuePool
from tests.compat.sessions import ask, session_of

if TYPE_CHECKING:
    from collections.abc import Callable


class Traced:
    """A connection as a tracer hands it out: a proxy that passes for what it stands for, and counts cursors."""

    def __init__(self, wrapped: Any, tracer: Tracer) -> None:
        self.__dict__.update(__wrapped__=wrapped, tracer=tracer)

    __class__ = property(lambda self: self.__wrapped__.__class__)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["__wrapped__"], name)

    def __setattr__(self, name: str, value: object) -> None:
        setattr(self.__dict__["__wrapped__"], name, value)

    def cursor(self, *args: Any) -> Any:
        """Count."""
        self.tracer.cursors += 1
        return self.__dict__["__wrapped__"].cursor(*args)

    def __enter__(self) -> Any:
        return self.__dict__["__wrapped__"].__enter__()

    def __exit__(self, *error: object) -> Any:
        return self.__dict__["__wrapped__"].__exit__(*error)


class Tracer:
    """Wraps `pymysql.connect` until it is taken out, and counts."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.connects = self.cursors = 0
        self.before: Callable[..., Any] = pymysql.connect

        def connect(*args: Any, **options: Any) -> Any:
            self.connects += 1
            return Traced(self.before(*args, **options), self)

        self.connect = connect
        monkeypatch.setattr(pymysql, "connect", connect)

    def take_out(self) -> None:
        """Put back what was there when it came."""
        vars(pymysql)["connect"] = self.before


def test_tracer_that_was_there_before_sees_new_connections_and_every_cursor(
    database: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Programs start their tracer first; switching pooling on must not make them blind."""
    tracer = Tracer(monkeypatch)
    with improved_db.enable():
        sessions = set()
        for _ in range(3):
            connection = pymysql.connect(**database)
            assert isinstance(connection, pymysql.connections.Connection)
            sessions.add(session_of(connection))
            assert ask(connection, "SELECT 1") == 1
            connection.close()
            with pytest.raises(LoanSpent):
                ask(connection, "SELECT 1")
    assert len(sessions) == 1
    assert tracer.connects == 1
    assert tracer.cursors >= 3
    assert pymysql.connect is tracer.connect


def test_block_gives_a_traced_connection_back(database: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """``with pymysql.connect() as connection`` closes it; in a pool that must not end the session."""
    tracer = Tracer(monkeypatch)
    with improved_db.enable():
        for _ in range(2):
            connection = pymysql.connect(**database)
            with connection:
                assert ask(connection, "SELECT 1") == 1
            assert not connection.open
    assert tracer.connects == 1


def test_traced_session_is_new_for_the_next_borrower(database: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """What a borrower changed must not reach the next one, traced or not."""
    Tracer(monkeypatch)
    options = {**database, "autocommit": True, "sql_mode": "ANSI_QUOTES", "init_command": "SET @begun = 1"}
    asked = "SELECT CONCAT_WS(' ', @mine, @begun, @@autocommit, @@character_set_client, @@sql_mode, DATABASE())"
    with improved_db.enable():
        with pymysql.connect(**options) as connection:
            number, before = session_of(connection), ask(connection, asked)
            connection.autocommit(False)
            connection.set_character_set("latin1")
            connection.select_db("information_schema")
            ask(connection, "SELECT @mine := 7, @begun := 2")
            connection.cursor().execute("SET sql_mode = ''")
        with pymysql.connect(**options) as connection:
            assert session_of(connection) == number
            assert ask(connection, asked) == before


def test_tracer_that_comes_later_sees_each_borrowing_and_stays_after_disable(
    database: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`disable` takes out what `enable` put in, and nothing else."""
    with improved_db.enable():
        tracer = Tracer(monkeypatch)
        sessions = set()
        for _ in range(2):
            with pymysql.connect(**database) as connection:
                sessions.add(session_of(connection))
        assert tracer.connects == 2
        assert len(sessions) == 1
    assert pymysql.connect is tracer.connect
    assert pymysql.Connect is pymysql.connections.Connection
    own: Any = pymysql.connect(**database)
    assert type(own.__wrapped__) is pymysql.connections.Connection
    own.close()
    assert tracer.connects == 3


def test_tracer_taken_out_after_disable_leaves_nothing_in_the_way_of_enable(
    database: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It puts a pooled ``connect`` back that is out of force by then."""
    handle = improved_db.enable()
    tracer = Tracer(monkeypatch)
    handle.disable()
    tracer.take_out()
    with improved_db.enable(), pymysql.connect(**database) as connection:
        assert type(connection).__module__.startswith("improved_db")
        assert isinstance(connection, improved_db.Connection)
    assert pymysql.connect is pymysql.connections.Connection


def test_tracers_on_both_sides_see_what_is_theirs(database: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """One that was there before sees sessions, one that came later sees borrowings."""
    inner = Tracer(monkeypatch)
    with improved_db.enable():
        outer = Tracer(monkeypatch)
        for _ in range(3):
            with pymysql.connect(**database) as connection:
                assert ask(connection, "SELECT 1") == 1
    assert (inner.connects, outer.connects) == (1, 3)
    with pymysql.connect(**database) as connection:
        assert ask(connection, "SELECT 1") == 1
    assert (inner.connects, outer.connects) == (2, 4)


def test_pool_over_a_traced_connect_lends_traced_connections(
    database: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The creator of a QueuePool calls what `enable` and a tracer have made of ``connect``."""
    with improved_db.enable():
        tracer = Tracer(monkeypatch)
        pool = QueuePool(lambda: pymysql.connect(**database))
        connection = pool.connect()
        assert ask(connection, "SELECT 1") == 1
        assert tracer.cursors == 1
        connection.close()
        assert len(pool) == 1
        pool.dispose()


class Passing:
    """A wrapper that passes for the function it wraps, equal to it and with its hash: wrapt's are."""

    def __init__(self, wrapped: Callable[..., Any]) -> None:
        self.wrapped, self.calls = wrapped, 0

    def __call__(self, *args: Any, **options: Any) -> Any:
        """Count."""
        self.calls += 1
        return self.wrapped(*args, **options)

    def __eq__(self, other: object) -> bool:
        return bool(self.wrapped == other)

    def __hash__(self) -> int:
        return hash(self.wrapped)


def test_tracer_that_came_in_between_is_seen_by_the_next_enable(
    database: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stands in front of a pooled ``connect`` that is out of force, and is not that one."""
    with improved_db.enable():
        tracer = Passing(pymysql.connect)
        monkeypatch.setattr(pymysql, "connect", tracer)
    with improved_db.enable():
        for _ in range(2):
            with pymysql.connect(**database) as connection:
                assert ask(connection, "SELECT 1") == 1
    assert tracer.calls == 1
    assert pymysql.connect is tracer
