"""What the doors' real users need: an account with a limit that the server itself keeps, and engines over each door."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pymysql
import pymysql.connections
from sqlalchemy import NullPool, create_engine

import improved_db
from improved_db.compat.pymysqlpool import ConnectionPool
from improved_db.compat.queuepool import PoolManager, QueuePool
from tests.compat.drivers import import_mysqlclient
from tests.compat.sessions import plain
from tests.fakes import PATIENCE, eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parents[2]
PROGRAMS = Path(__file__).parent / "programs_users"

#: Sessions that an account may have at once; the server refuses one more with error 1226.
MOST = 4


class Account:
    """An account of which the server refuses a session beyond `MOST`, watched from a session of another account.

    Attributes:
        options: What ``pymysql.connect`` takes.
    """

    def __init__(self, database: dict[str, Any]) -> None:
        self.name = f"user_of_{database['database']}"
        self.options = {**database, "user": self.name}
        self._watcher = plain(database)
        self.ask(f"CREATE USER {self.name}@'%' WITH MAX_USER_CONNECTIONS {MOST}")
        self.ask(f"GRANT ALL ON {database['database']}.* TO {self.name}@'%'")

    def ask(self, query: str) -> Any:
        """Return the rows of a statement that is nothing of the account's."""
        with self._watcher.cursor() as cursor:
            cursor.execute(query)
            return cursor.fetchall()

    def sessions(self) -> set[int]:
        """Return the numbers of the sessions that the account has now."""
        found = self.ask(f"SELECT ID FROM information_schema.PROCESSLIST WHERE USER = '{self.name}'")
        return {number for (number,) in found}

    def kill_sessions(self) -> set[int]:
        """End every session of the account, as an administrator or a restart does; return their numbers."""
        found = self.sessions()
        for number in found:
            self.ask(f"KILL {number}")
        eventually(lambda: not found & self.sessions())
        return found

    def close(self) -> None:
        """Drop the account; its user has to have left nothing behind."""
        try:
            eventually(lambda: not self.sessions())
        finally:
            self.ask(f"DROP USER {self.name}@'%'")
            self._watcher.close()


@contextlib.contextmanager
def account_on(database: dict[str, Any]) -> Iterator[Account]:
    """Make an account for *database*; at a good end it must have no session left."""
    with contextlib.closing(Account(database)) as account:
        yield account


def run_program(name: str, *options: str, **environment: Any) -> Any:
    """Run one of the programs with what it needs as JSON in its environment; return the JSON that it printed.

    Raises:
        AssertionError: It failed, or had anything to say on stderr.
    """
    ended = subprocess.run(
        [sys.executable, "-X", "dev", *options, str(PROGRAMS / f"{name}.py")],
        cwd=ROOT, capture_output=True, text=True, timeout=2 * PATIENCE, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT), **{key: json.dumps(value) for key, value in environment.items()}},
    )  # fmt: skip
    assert (ended.returncode, ended.stderr) == (0, ""), f"it ended with {ended.returncode}: {ended.stderr}"
    return json.loads(ended.stdout)


# --- SQLAlchemy's engines --------------------------------------------------------------------------------------------


@contextlib.contextmanager
def through_connection_pool(options: dict[str, Any]) -> Iterator[Callable[[], Any]]:
    """Borrow from pymysql-pool's class, in words that never let it grow."""
    pool = ConnectionPool(size=MOST, autocommit=False, **options)
    yield partial(pool.get_connection, timeout=PATIENCE)
    assert pool.size() == MOST, "something was not given back"
    pool.close()


@contextlib.contextmanager
def through_queue_pool(options: dict[str, Any], creator: Callable[..., Any]) -> Iterator[Callable[[], Any]]:
    """Borrow from the snippet's pool."""
    pool = QueuePool(partial(creator, **options), pool_size=MOST)
    yield pool.connect
    pool.dispose()


@contextlib.contextmanager
def through_pool_manager(options: dict[str, Any]) -> Iterator[Callable[[], Any]]:
    """Borrow from the snippet's manager."""
    manager = PoolManager(pool_size=MOST)
    yield partial(manager.connect, **options)
    manager.dispose()


@contextlib.contextmanager
def through_queue_pool_of_mysqlclient(options: dict[str, Any]) -> Iterator[Callable[[], Any]]:
    """Borrow from the snippet's pool what the driver written in C opens, or skip the test."""
    with through_queue_pool(options, import_mysqlclient().connect) as borrow:
        yield borrow


@contextlib.contextmanager
def through_improved_db(options: dict[str, Any]) -> Iterator[Callable[[], Any]]:
    """Borrow from the pool of an `ImprovedDb`, which may have other statements to run."""
    with improved_db.ImprovedDb(options, max_size=MOST) as db:
        yield db.dbapi_connection
        assert db.stats().used == 0, "something was not given back"


CREATORS: dict[str, Callable[[dict[str, Any]], contextlib.AbstractContextManager[Callable[[], Any]]]] = {
    "ConnectionPool": through_connection_pool,
    "QueuePool of pymysql": partial(through_queue_pool, creator=pymysql.connect),
    "QueuePool of improved_db": partial(through_queue_pool, creator=improved_db.Connection),
    "QueuePool of mysqlclient": through_queue_pool_of_mysqlclient,
    "PoolManager": through_pool_manager,
    "ImprovedDb": through_improved_db,
}
ENABLED = "enabled pymysql.connect"
ENGINES = (*CREATORS, ENABLED)


@contextlib.contextmanager
def engine_through(door: str, account: Account) -> Iterator[Any]:
    """Make an engine that connects through *door*."""
    with contextlib.ExitStack() as stack:
        if door == ENABLED:
            stack.enter_context(improved_db.enable(pool_size=MOST))
            url = "mysql+pymysql://{user}:{password}@{host}:{port}/{database}".format(**account.options)
            engine = create_engine(url, pool_size=MOST, max_overflow=0, pool_pre_ping=True)
        else:
            borrow = stack.enter_context(CREATORS[door](account.options))
            dialect = "mysqldb" if door.endswith("mysqlclient") else "pymysql"
            engine = create_engine(f"mysql+{dialect}://", creator=borrow, poolclass=NullPool, pool_pre_ping=True)
        stack.callback(engine.dispose)
        yield engine
