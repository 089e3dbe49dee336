"""A connection that was given back under a library's feet: SQLAlchemy and DBUtils replace it, as a lost one."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from dbutils.steady_db import SteadyDBConnection
from sqlalchemy import create_engine, text
from sqlalchemy.engine import URL

from improved_db import LoanSpent
from improved_db.compat.queuepool import QueuePool
from tests.compat.drivers import import_mysqlclient, make_kind
from tests.compat.sessions import ask

if TYPE_CHECKING:
    from improved_db import Enabled


@pytest.mark.parametrize("driver", ["pymysql", "mysqldb"])
def test_pre_ping_of_sqlalchemy_replaces_a_connection_that_was_returned(
    enabled: Enabled, database: dict[str, Any], driver: str
) -> None:
    """Its pool keeps what ours has lent; a program that closes that underneath must cost no request."""
    if driver == "mysqldb":
        import_mysqlclient()
    asked = {"unix_socket": database["unix_socket"]} if "unix_socket" in database else {}
    url = URL.create(
        f"mysql+{driver}",
        database["user"],
        database.get("password") or None,
        database.get("host"),
        database.get("port"),
        database["database"],
        asked,
    )
    engine = create_engine(url, pool_size=1, max_overflow=0, pool_pre_ping=True)
    with engine.connect() as connection:
        below = connection.connection.driver_connection
    assert below is not None
    below.close()
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT 1")) == 1
        assert connection.connection.driver_connection is not below
    engine.dispose()


@pytest.mark.parametrize("name", ["sqlite3", "pymysql", "improved_db", "mysqlclient"])
def test_steady_connection_of_dbutils_replaces_one_that_was_returned(name: str, database: dict[str, Any]) -> None:
    """It knows the errors of the driver alone."""
    pool = QueuePool(make_kind(name, database).creator)
    lent: list[Any] = []

    def borrow() -> Any:
        lent.append(pool.connect())
        return lent[-1]

    with closing(SteadyDBConnection(borrow, ping=0)) as steady:
        assert ask(steady, "SELECT 1") == 1
        lent[0].close()
        assert ask(steady, "SELECT 1") == 1
        assert len(lent) == 2
    pool.dispose()


def test_spent_connection_raises_an_error_of_its_driver_and_ours() -> None:
    """Either ``except`` clause catches it, and so it is for a cursor that was kept."""
    pool = QueuePool(lambda: sqlite3.connect(":memory:"))
    connection = pool.connect()
    cursor = connection.cursor()
    connection.close()
    for kept in (connection, cursor):
        with pytest.raises(LoanSpent, match="already closed") as caught:
            kept.execute("SELECT 1")
        assert isinstance(caught.value, sqlite3.OperationalError)
    pool.dispose()
