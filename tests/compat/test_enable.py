"""`enable` and `disable`: what is replaced, the way back, forked children, and what is never shown."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import pymysql
import pytest

import improved_db
from improved_db import AlreadyEnabled, ConfigError, LoanSpent
from improved_db.testing import TemporaryServer
from tests.canary import CANARY, is_ours, leaks
from tests.compat.drivers import import_mysqlclient
from tests.compat.sessions import Watch, ask, session_of, tell
from tests.fakes import eventually, run_alone
from tests.unit.test_pool_fork import OPTIONS, in_child

if TYPE_CHECKING:
    from improved_db import Enabled


# --- what is replaced, and the way back ------------------------------------------------------------------------------


def test_connect_lends_and_close_returns(enabled: Enabled, database: dict[str, Any]) -> None:
    """The whole point, under both of the names that PyMySQL has."""
    connection = pymysql.connect(**database)
    number = session_of(connection)
    connection.close()
    for name in ("connect", "Connect"):
        again = getattr(pymysql, name)(**database)
        assert session_of(again) == number
        again.close()


def test_connections_are_pymysqls_for_isinstance(enabled: Enabled, database: dict[str, Any]) -> None:
    """And `pymysql.Connection` is a class as before, whose objects belong to no pool."""
    with pymysql.connect(**database) as pooled:
        assert isinstance(pooled, pymysql.connections.Connection)
        assert isinstance(pooled, improved_db.Connection)
    assert isinstance(pymysql.Connection, type)
    own: Any = pymysql.Connection(**database, ssl_disabled=True)
    assert type(own) is pymysql.connections.Connection
    own.close()


def test_disable_puts_the_very_same_functions_back(database: dict[str, Any]) -> None:
    """Other libraries compare and wrap them."""
    before = pymysql.connect, pymysql.Connect, pymysql.Connection
    handle = improved_db.enable()
    assert pymysql.connect is not before[0]
    assert pymysql.Connect is not before[1]
    assert pymysql.Connection is before[2]
    handle.disable()
    assert (pymysql.connect, pymysql.Connect, pymysql.Connection) == before


def test_disable_can_be_called_again(database: dict[str, Any]) -> None:
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


def test_second_enable_is_refused_and_changes_nothing(database: dict[str, Any]) -> None:
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


def test_block_that_fails_disables_too(database: dict[str, Any]) -> None:
    """A test suite that enables pooling for one test must not have it in the next."""
    before = pymysql.connect

    def fail() -> None:
        with improved_db.enable():
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert pymysql.connect is before


def test_disable_closes_what_is_idle_and_what_comes_back(database: dict[str, Any], watch: Watch) -> None:
    """Connections that are out stay good for as long as their borrowers need them."""
    with improved_db.enable():
        lent, idle = pymysql.connect(**database), pymysql.connect(**database)
        number = session_of(lent)
        idle.close()
    eventually(lambda: watch.sessions() == {number})
    assert ask(lent, "SELECT 1") == 1
    lent.close()
    eventually(lambda: watch.sessions() == set())


def test_pooled_connect_that_a_program_kept_gives_plain_connections_after_disable(database: dict[str, Any]) -> None:
    """``from pymysql import connect`` while pooling was on must not break the program afterwards."""
    with improved_db.enable():
        kept = pymysql.connect
    connection: Any = kept(**database, ssl_disabled=True)
    assert type(connection) is pymysql.connections.Connection
    connection.close()


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
                with pytest.raises(Exception, match=r"returned|2006"):  # mysqlclient's find their socket gone
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
    enabled: Enabled, database: dict[str, Any], driver: str, more: dict[str, Any]
) -> None:
    """Error reporters send the locals of all frames to a third party."""
    module: Any = pymysql if driver == "pymysql" else import_mysqlclient()
    with pytest.raises(Exception) as caught:  # noqa: PT011  # each fails in another way
        module.connect(**{**database, "user": "nobody", "password": CANARY, **more})
    assert list(leaks(caught.value, is_ours)) == []


def test_no_frame_of_ours_shows_the_password_while_a_borrower_is_refused(
    enabled: Enabled, secret_account: dict[str, Any]
) -> None:
    """Nor in the pool's own errors."""
    connection = pymysql.connect(**secret_account)
    connection.close()
    with pytest.raises(LoanSpent) as caught:
        tell(connection, "SELECT 1")
    assert list(leaks(caught.value, is_ours)) == []
    assert CANARY not in repr(connection)
