"""`enable` for programs that say `MySQLdb.connect`: with mysqlclient, with PyMySQL in its place, with neither."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pymysql
import pytest

import improved_db
from improved_db import LoanSpent
from improved_db.testing import TemporaryServer
from tests.compat.drivers import import_mysqlclient
from tests.compat.sessions import Watch, session_of
from tests.fakes import eventually, run_alone

if TYPE_CHECKING:
    from improved_db import Enabled


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


def test_mysqlclient_is_pooled_where_it_is_installed(database: dict[str, Any], watch: Watch) -> None:
    """The snippet's own driver."""
    mysqldb = import_mysqlclient()
    before = mysqldb.connect, mysqldb.Connect
    with improved_db.enable():
        connection = mysqldb.connect(**database)
        number = session_of(connection)
        connection.close()
        for spelling in ({"passwd": database["password"], "db": database["database"]}, {}):
            named = {**database, **spelling}
            for name in ("password", "database") if spelling else ():
                del named[name]
            with mysqldb.Connect(**named) as again:
                assert session_of(again) == number
        with pytest.raises(LoanSpent):
            connection.cursor()
    assert (mysqldb.connect, mysqldb.Connect) == before
    eventually(lambda: watch.sessions() == set())


def test_mysqlclients_errors_are_its_own(enabled: Enabled, database: dict[str, Any]) -> None:
    """``except MySQLdb.OperationalError`` goes on catching 1045."""
    mysqldb = import_mysqlclient()
    with pytest.raises(mysqldb.OperationalError) as caught:
        mysqldb.connect(**{**database, "user": "nobody", "password": "wrong"})
    assert caught.value.args[0] == 1045


def test_the_two_drivers_share_no_sessions(enabled: Enabled, database: dict[str, Any]) -> None:
    """The same arguments mean another connection."""
    mysqldb = import_mysqlclient()
    for _ in range(2):
        with pymysql.connect(**database) as one, mysqldb.connect(**database) as other:
            assert isinstance(one, pymysql.connections.Connection)
            assert not isinstance(other, pymysql.connections.Connection)
            assert session_of(one) != session_of(other)
