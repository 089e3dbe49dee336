"""Pools of connections to the private server, ours among them, behind three verbs.

Each is used as its documentation shows, with its defaults but for its size and autocommit, which ours has on. Two of
them raise when they are exhausted instead of waiting: here their borrower comes back a millisecond later, as its
program would have to.

Knows how each pool is called. Does not know what is measured.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from itertools import count
from typing import Any, Final, NamedTuple

from improved_db import ImprovedDb

Options = dict[str, Any]

#: Seconds after which a borrower comes back to a pool that does not wait, and after which it is given up.
COME_BACK: Final = 0.001
PATIENCE: Final = 60.0

_names = count(1)


class Pooled(NamedTuple):
    """A pool.

    Attributes:
        run: Borrows a connection, runs a query, fetches its rows and returns the connection; SQLAlchemy Core's takes
            the query alone, all others the arguments after it.
        borrow: Returns a connection.
        give_back: Takes it.
    """

    run: Callable[..., object]
    borrow: Callable[[], Any]
    give_back: Callable[[Any], object]


Opener = Callable[[Options, int], AbstractContextManager[Pooled]]


def _by_cursor(borrow: Callable[[], Any]) -> Pooled:
    """Make a pool of one whose connections have cursors, and go home when they are closed."""

    def run(sql: str, *args: object) -> object:
        connection = borrow()
        try:
            cursor = connection.cursor()
            cursor.execute(sql, *([args] if args else []))
            rows: object = cursor.fetchall()
            cursor.close()
            return rows
        finally:
            connection.close()

    return Pooled(run, borrow, lambda connection: connection.close())


def _insistent(borrow: Callable[[], Any], exhausted: type[Exception]) -> Callable[[], Any]:
    """Make a *borrow* that raises when it should wait come back until it succeeds."""

    def insist() -> Any:
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                return borrow()
            except exhausted:
                if time.monotonic() > deadline:
                    raise
                time.sleep(COME_BACK)

    return insist


def _open_all(borrow: Callable[[], Any], size: int) -> None:
    """Have a pool open its connections, which it would do one by one as they are needed."""
    with ExitStack() as stack:
        for _ in range(size):
            stack.callback(borrow().close)


@contextmanager
def ours(options: Options, size: int, *, multiplex: Any = "auto") -> Iterator[Pooled]:
    """Open ours."""
    with ImprovedDb(options, max_size=size, multiplex=multiplex) as db:
        db.create_pool(size)
        yield Pooled(db.execute_query, db.pool_get_connection, db.pool_put_connection)


@contextmanager
def _pymysql_pool(options: Options, size: int) -> Iterator[Pooled]:
    module = importlib.import_module("pymysqlpool")
    pool = module.ConnectionPool(size=size, maxsize=size, pre_create_num=size, **options)
    borrow = _insistent(partial(pool.get_connection, retry_num=0), module.GetConnectionFromPoolError)
    yield _by_cursor(borrow)
    for _ in range(pool.available_num):
        connection = pool.get_connection(retry_num=0)
        connection._pool = None  # it has no way of closing
        connection.close()


@contextmanager
def _dbutils(options: Options, size: int) -> Iterator[Pooled]:
    module = importlib.import_module("dbutils.pooled_db")
    pymysql = importlib.import_module("pymysql")
    pool = module.PooledDB(pymysql, mincached=size, maxconnections=size, blocking=True, autocommit=True, **options)
    yield _by_cursor(pool.connection)
    pool.close()


@contextmanager
def _queue_pool(options: Options, size: int, *, driver: str) -> Iterator[Pooled]:
    pools = importlib.import_module("sqlalchemy.pool")
    connect = importlib.import_module(driver).connect
    pool = pools.QueuePool(lambda: connect(**options, autocommit=True), pool_size=size, max_overflow=0)
    _open_all(pool.connect, size)
    yield _by_cursor(pool.connect)
    pool.dispose()


@contextmanager
def _core(options: Options, size: int) -> Iterator[Pooled]:
    module = importlib.import_module("sqlalchemy")
    url = module.URL.create(
        "mysql+pymysql", options["user"], options["password"], options["host"], options["port"], options["database"]
    )
    engine = module.create_engine(url, pool_size=size, max_overflow=0)
    texts: dict[str, Any] = {}

    def run(sql: str) -> object:
        with engine.connect() as connection:
            rows: object = connection.execute(texts.setdefault(sql, module.text(sql))).all()
            return rows

    _open_all(engine.connect, size)
    yield Pooled(run, engine.connect, lambda connection: connection.close())
    engine.dispose()


@contextmanager
def _mysql_connector(options: Options, size: int) -> Iterator[Pooled]:
    pooling = importlib.import_module("mysql.connector.pooling")
    errors = importlib.import_module("mysql.connector.errors")
    pool = pooling.MySQLConnectionPool(
        pool_name=f"pool{next(_names)}",
        pool_size=size,
        autocommit=True,
        charset="utf8mb4",
        collation="utf8mb4_general_ci",  # by default it asks for one of MySQL 8, which MariaDB does not know
        **options,
    )
    yield _by_cursor(_insistent(pool.get_connection, errors.PoolError))
    for _ in range(size):
        pool.get_connection()._cnx.disconnect()  # it has no way of closing


@contextmanager
def _mariadb(options: Options, size: int) -> Iterator[Pooled]:
    module = importlib.import_module("mariadb")
    pool = module.ConnectionPool(pool_name=f"pool{next(_names)}", pool_size=size, autocommit=True, **options)
    yield _by_cursor(_insistent(pool.get_connection, module.PoolError))
    pool.close()


POOLS: Final[dict[str, Opener]] = {
    "pymysql-pool": _pymysql_pool,
    "SQLAlchemy QueuePool": partial(_queue_pool, driver="pymysql"),
    "QueuePool, mysqlclient": partial(_queue_pool, driver="MySQLdb"),
    "SQLAlchemy Core": _core,
    "DBUtils PooledDB": _dbutils,
    "MySQL Connector pool": _mysql_connector,
    "MariaDB Connector pool": _mariadb,
}
#: Those whose driver is written in C.
ON_C: Final = frozenset({"QueuePool, mysqlclient", "MySQL Connector pool", "MariaDB Connector pool"})
