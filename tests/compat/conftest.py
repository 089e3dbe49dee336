"""What the tests of more than one door begin with: pools that are closed afterwards, and eyes on the server."""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

import improved_db
from improved_db import ImprovedDb
from improved_db.compat import pymysqlpool
from improved_db.compat.pymysqlpool import ConnectionPool
from improved_db.compat.queuepool import QueuePool
from tests.canary import CANARY
from tests.compat import users
from tests.compat.drivers import Kind, make_kind
from tests.compat.sessions import Watch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from improved_db import Enabled
    from tests.compat.drivers import MakeQueue
    from tests.compat.pools import Make
    from tests.compat.users import Account


@pytest.fixture
def watch(database: dict[str, Any]) -> Watch:
    """An eye on the test's sessions."""
    return Watch(database)


@pytest.fixture
def secret_account(database: dict[str, Any], watch: Watch) -> Iterator[dict[str, Any]]:
    """Connect options with a password that must be seen nowhere."""
    watch.ask("CREATE USER canary@'%%' IDENTIFIED BY %s", CANARY)
    watch.ask("GRANT ALL ON *.* TO canary@'%'")
    yield {**database, "user": "canary", "password": CANARY}
    watch.ask("DROP USER canary@'%'")


# --- pymysql-pool's door ---------------------------------------------------------------------------------------------


@pytest.fixture
def outside(database: dict[str, Any]) -> Iterator[ImprovedDb]:
    """An eye on the server that is none of the pool's, and a table for the tests."""
    with ImprovedDb(database) as db:
        db.execute_query("create table user (uid int primary key auto_increment, name varchar(20))")
        yield db


@pytest.fixture
def three_users(outside: ImprovedDb) -> None:
    """Users 1 to 3 in the table, which gives no numbers by itself: as in the programs of 0.3.3."""
    outside.execute_query("alter table user modify uid int")
    outside.execute_query("insert into user values (1, 'a'), (2, 'b'), (3, 'c')")


@pytest.fixture
def make_pool(database: dict[str, Any], outside: ImprovedDb) -> Iterator[Make]:
    """Make pools on the test's database; they are closed after the test."""
    pools = []

    def made(*args: Any, **options: Any) -> ConnectionPool:
        pools.append(ConnectionPool(*args, **{**database, **options}))
        return pools[-1]

    yield made
    for pool in pools:
        pool.close()


@pytest.fixture
def pool(make_pool: Make) -> ConnectionPool:
    """What most tests of 0.3.3 talk to: two connections, made as the package's own text does."""
    return make_pool(size=2, name="pool1")


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """Return what the door has logged since the last look, as ``level: text``."""
    caplog.set_level(logging.DEBUG, logger=pymysqlpool.logger.name)

    def since() -> list[str]:
        found = [f"{record.levelname}: {record.message}" for record in caplog.records if record.name == logger_name]
        caplog.clear()
        return found

    logger_name = pymysqlpool.logger.name
    return since


# --- the snippet's door ----------------------------------------------------------------------------------------------


@pytest.fixture(params=["sqlite3", "pymysql", "improved_db", "mysqlclient"])
def kind(request: pytest.FixtureRequest, database: dict[str, Any]) -> Kind:
    """Each driver in turn."""
    return make_kind(request.param, database)


@pytest.fixture(params=["pymysql", "improved_db", "mysqlclient"])
def server_kind(request: pytest.FixtureRequest, database: dict[str, Any]) -> Kind:
    """Each driver that has a server."""
    return make_kind(request.param, database)


@pytest.fixture
def make_queue() -> Iterator[MakeQueue]:
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


@pytest.fixture
def enabled(database: dict[str, Any]) -> Iterator[Enabled]:
    """Pooling, while the test runs; it is over before the database is dropped."""
    with improved_db.enable() as handle:
        yield handle


# --- real users of the doors -----------------------------------------------------------------------------------------


@pytest.fixture
def account(database: dict[str, Any]) -> Iterator[Account]:
    """An account to which the server gives `MOST` sessions at once."""
    with users.account_on(database) as made:
        yield made


@pytest.fixture(params=users.ENGINES)
def engine(request: pytest.FixtureRequest, account: Account) -> Iterator[Any]:
    """An engine of SQLAlchemy through each door."""
    with users.engine_through(request.param, account) as made:
        yield made
