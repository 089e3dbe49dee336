"""Drivers with one connection and no pool, ours among them, behind three verbs.

Each is used as its documentation shows, with its defaults, autocommit on as ours has it.

Knows how each driver is called. Does not know what is measured.
"""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from functools import partial
from typing import Any, Final, Protocol

from improved_db import ImprovedDb

Options = dict[str, Any]
Opener = Callable[[Options], AbstractContextManager["Session"]]


class Session(Protocol):
    """One connection, by whatever driver."""

    def repeat(self, sql: str, times: int) -> None:
        """Run a small query so many times, each with a cursor of its own, and fetch its rows."""

    def fetch(self, sql: str) -> Sequence[Any]:
        """Return all rows of a query."""

    def load(self, sql: str, rows: Sequence[Sequence[Any]]) -> None:
        """Run a statement for all rows in one transaction."""


class Ours:
    """`ImprovedDb`, with its pool and its protection."""

    def __init__(self, db: ImprovedDb, *, dicts: bool = False) -> None:
        self._db = db
        self._dicts = dicts

    def repeat(self, sql: str, times: int) -> None:
        """Run a small query so many times."""
        run = self._db.execute_query
        for _ in range(times):
            run(sql)

    def fetch(self, sql: str) -> Sequence[Any]:
        """Return all rows of a query."""
        rows: Sequence[Any] = self._db.execute_query(sql, dictcursor=self._dicts)
        return rows

    def load(self, sql: str, rows: Sequence[Sequence[Any]]) -> None:
        """Run a statement for all rows in one transaction."""
        self._db.exec_many(sql, rows)


class DbApi:
    """Any driver with the interface of PEP 249."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def repeat(self, sql: str, times: int) -> None:
        """Run a small query so many times, each with a cursor of its own."""
        connection = self._connection
        for _ in range(times):
            cursor = connection.cursor()
            cursor.execute(sql)
            cursor.fetchall()
            cursor.close()

    def fetch(self, sql: str) -> Sequence[Any]:
        """Return all rows of a query."""
        with closing(self._connection.cursor()) as cursor:
            cursor.execute(sql)
            rows: Sequence[Any] = cursor.fetchall()
            return rows

    def load(self, sql: str, rows: Sequence[Sequence[Any]]) -> None:
        """Run a statement for all rows in one transaction."""
        with closing(self._connection.cursor()) as cursor:
            cursor.execute("start transaction")
            cursor.executemany(sql, rows)
            cursor.execute("commit")


class OneCursor(DbApi):
    """The same with one cursor for all small queries."""

    def repeat(self, sql: str, times: int) -> None:
        """Run a small query so many times."""
        with closing(self._connection.cursor()) as cursor:
            for _ in range(times):
                cursor.execute(sql)
                cursor.fetchall()


class Asyncio:
    """asyncmy, whose loop runs only while something is measured."""

    def __init__(self, loop: asyncio.AbstractEventLoop, connection: Any) -> None:
        self._loop = loop
        self._connection = connection

    def repeat(self, sql: str, times: int) -> None:
        """Run a small query so many times, each with a cursor of its own."""
        self._loop.run_until_complete(self._repeat(sql, times))

    async def _repeat(self, sql: str, times: int) -> None:
        for _ in range(times):
            async with self._connection.cursor() as cursor:
                await cursor.execute(sql)
                await cursor.fetchall()

    def fetch(self, sql: str) -> Sequence[Any]:
        """Return all rows of a query."""
        return self._loop.run_until_complete(self._fetch(sql))

    async def _fetch(self, sql: str) -> Sequence[Any]:
        async with self._connection.cursor() as cursor:
            await cursor.execute(sql)
            rows: Sequence[Any] = await cursor.fetchall()
            return rows

    def load(self, sql: str, rows: Sequence[Sequence[Any]]) -> None:
        """Run a statement for all rows in one transaction."""
        self._loop.run_until_complete(self._load(sql, rows))

    async def _load(self, sql: str, rows: Sequence[Sequence[Any]]) -> None:
        async with self._connection.cursor() as cursor:
            await cursor.execute("start transaction")
            await cursor.executemany(sql, rows)
            await cursor.execute("commit")


@contextmanager
def ours(options: Options, *, dicts: bool = False) -> Iterator[Session]:
    """Open ours."""
    with ImprovedDb(options) as db:
        yield Ours(db, dicts=dicts)


def connect(module: str, options: Options, **more: Any) -> Any:
    """Connect by the driver in *module*."""
    return importlib.import_module(module).connect(**options, autocommit=True, **more)


@contextmanager
def _db_api(options: Options, *, module: str, kind: type[DbApi] = DbApi, **more: Any) -> Iterator[Session]:
    with closing(connect(module, options, **more)) as connection:
        yield kind(connection)


@contextmanager
def pymysql_dicts(options: Options) -> Iterator[Session]:
    """Open PyMySQL's with rows as dicts."""
    cursors = importlib.import_module("pymysql.cursors")
    with closing(connect("pymysql", options, cursorclass=cursors.DictCursor)) as connection:
        yield DbApi(connection)


@contextmanager
def _cymysql(options: Options) -> Iterator[Session]:
    older = {"passwd": options["password"], "db": options["database"]}
    others = {name: value for name, value in options.items() if name not in ("password", "database")}
    with closing(importlib.import_module("cymysql").connect(**older, **others)) as connection:
        connection.autocommit(True)
        yield DbApi(connection)


def one_cursor(module: str) -> Opener:
    """Return what opens a driver to be used with one cursor for all small queries."""
    return partial(_db_api, module=module, kind=OneCursor)


@contextmanager
def _asyncmy(options: Options) -> Iterator[Session]:
    module = importlib.import_module("asyncmy")
    with closing(asyncio.new_event_loop()) as loop:
        connection = loop.run_until_complete(module.connect(**options, autocommit=True))
        try:
            yield Asyncio(loop, connection)
        finally:
            loop.run_until_complete(connection.ensure_closed())


#: MySQL Connector asks a server for a collation of MySQL 8, which MariaDB does not know.
CONNECTOR_CHARSET: Final[Options] = {"charset": "utf8mb4", "collation": "utf8mb4_general_ci"}

DRIVERS: Final[dict[str, Opener]] = {
    "PyMySQL": partial(_db_api, module="pymysql"),
    "mysqlclient": partial(_db_api, module="MySQLdb"),
    "MariaDB Connector": partial(_db_api, module="mariadb"),
    "MySQL Connector": partial(_db_api, module="mysql.connector", **CONNECTOR_CHARSET),
    "MySQL Connector, pure": partial(_db_api, module="mysql.connector", use_pure=True, **CONNECTOR_CHARSET),
    "CyMySQL": _cymysql,
    "asyncmy": _asyncmy,
}
