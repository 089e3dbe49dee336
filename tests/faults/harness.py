"""A pool behind a proxy, and a way past it: what every test of a fault needs.

Knows `ImprovedDb`, the proxy and PyMySQL. Does not know which faults there are.
"""

from __future__ import annotations

from contextlib import ExitStack, closing
from typing import TYPE_CHECKING, Any, TypeVar

import pymysql
import pytest

from improved_db import ImprovedDb, TransactionLost
from tests.fakes import Caller, eventually
from tests.faults.proxy import Proxy

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType

    from typing_extensions import Self

    from improved_db.testing import TemporaryServer

Error = TypeVar("Error", bound=BaseException)


class Rig:
    """One proxy in front of one database.

    Attributes:
        proxy: Passes everything on until it is told otherwise.
        options: How to connect past it.
    """

    def __init__(self, options: Mapping[str, Any]) -> None:
        self.options = {**options, "ssl_disabled": True}
        self.proxy = Proxy((options["host"], options["port"]))
        self._open = ExitStack()

    def __enter__(self) -> Self:
        self._open.enter_context(self.proxy)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    def db(self, *, direct: bool = False, **options: Any) -> ImprovedDb:
        """Return a pool through the proxy, or past it, with one connection open; it is closed with the rig."""
        port = self.options["port"] if direct else self.proxy.port
        db = self._open.enter_context(ImprovedDb({**self.options, "port": port, **options}))
        db.wait()
        return db

    def ask(self, query: str, args: Any = None) -> tuple[tuple[Any, ...], ...]:
        """Run one statement past the proxy, on a session of its own, and return its rows."""
        with closing(pymysql.connect(**self.options, autocommit=True)) as connection, connection.cursor() as cursor:
            cursor.execute(query, args)
            return tuple(cursor.fetchall())

    def value(self, query: str, args: Any = None) -> Any:
        """Return the one value that a query gives."""
        return self.ask(query, args)[0][0]

    def table(
        self, definition: str = "t (id int primary key, n int not null default 0)", engine: str = "InnoDB"
    ) -> None:
        """Make a table."""
        self.ask(f"create table {definition} engine={engine}")

    def count(self, table: str = "t") -> int:
        """Count its rows."""
        return int(self.value(f"select count(*) from {table}"))

    def running(self, text: str) -> list[int]:
        """Return the ids of the server's sessions whose statement has *text* in it."""
        query = "select id from information_schema.processlist where info like %s and id <> connection_id()"
        rows = self.ask(query, (f"%{text}%",))
        return [int(row[0]) for row in rows]

    def await_running(self, text: str) -> int:
        """Wait until the server works on a statement with *text* in it; return the id of its session."""
        eventually(lambda: self.running(text))
        return self.running(text)[0]


class Rival:
    """A transaction past the proxy, heavy enough that the server never chooses it as the victim of a deadlock."""

    def __init__(self, rig: Rig) -> None:
        self._rig = rig
        self._connection = pymysql.connect(**rig.options)
        self._crossing: Caller[object] | None = None
        rig.ask("create table if not exists ballast (id int)")
        self.run("insert into ballast select seq from seq_1_to_100")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()
        self._connection.close()

    def run(self, query: str) -> None:
        """Run one statement of the transaction."""
        with self._connection.cursor() as cursor:
            cursor.execute(query)

    def cross(self, query: str) -> None:
        """Run one that has to wait for the lock of another session, in a thread, until it does wait."""
        self._crossing = Caller(lambda: self.run(query))
        self._rig.await_running(query)

    def release(self) -> None:
        """End the transaction, and with it the locks, without a trace."""
        if self._crossing is not None:
            self._crossing.result()
        self._crossing = None
        self._connection.rollback()


def in_threads(number: int, work: Callable[[int], object]) -> None:
    """Do *work* in so many threads at once, each with a number of its own; raise what the first of them raised."""

    def start(mine: int) -> Caller[object]:
        return Caller(lambda: work(mine), name=f"worker {mine}")

    for caller in [start(mine) for mine in range(number)]:
        caller.result()


def ends_in(kind: type[Error]) -> pytest.RaisesExc[Error]:
    """Expect a whole block to end in an exception, at its end perhaps; `pytest.raises` is for single statements."""
    return pytest.raises(kind)


def resent(db: ImprovedDb) -> int:
    """How many retries there were."""
    return sum(db.stats().retries.values())


def sums(rig: Rig) -> tuple[int, ...]:
    """Return what the rows of table t hold, in the order of their ids."""
    return tuple(row[0] for row in rig.ask("select n from t order by id"))


def lose_before_commit(db: ImprovedDb, server: TemporaryServer) -> None:
    """Kill the server in a transaction, before its COMMIT: this must be `TransactionLost`, and no doubt."""
    db.execute_query("create table t (a int)")
    with ends_in(TransactionLost), db.transaction() as tx:
        tx.execute_query("insert into t values (1)")
        server.kill()
