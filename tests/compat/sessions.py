"""Sessions on the server: whose a connection's is, a look at all of them from outside, and a rush for few of them."""

from __future__ import annotations

import threading
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pymysql.connections

from tests.fakes import Caller, eventually

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager


def plain(options: dict[str, Any]) -> Any:
    """Open a session that has nothing to do with us, whatever ``pymysql.connect`` means now."""
    return pymysql.connections.Connection(**options, ssl_disabled=True, autocommit=True)


class Watch:
    """A look at the sessions from outside, and a hand that ends them."""

    def __init__(self, options: dict[str, Any]) -> None:
        self._options = {**options, "database": None}
        self._database = options["database"]

    def ask(self, query: str, *args: object) -> tuple[Any, ...]:
        """Run a statement on a session of its own."""
        with plain(self._options) as connection, connection.cursor() as cursor:
            cursor.execute(query, args or None)
            return tuple(cursor.fetchall())

    def sessions(self) -> set[int]:
        """Return the numbers of the sessions on the database of the test."""
        query = "SELECT id FROM information_schema.processlist WHERE db = %s"
        return {int(number) for (number,) in self.ask(query, self._database)}

    def kill(self, number: int) -> None:
        """End a session, and wait until the server has forgotten it."""
        self.ask("KILL %s", number)
        eventually(lambda: not self.ask("SELECT 1 FROM information_schema.processlist WHERE id = %s", number))


def ask(connection: Any, query: str) -> Any:
    """Return the first value of the first row."""
    with closing(connection.cursor()) as cursor:
        cursor.execute(query)
        return cursor.fetchone()[0]


def session_of(connection: Any) -> int:
    """Return the number of its session."""
    return int(ask(connection, "SELECT CONNECTION_ID()"))


def tell(connection: Any, statement: str) -> None:
    """Run a statement that has no rows."""
    with closing(connection.cursor()) as cursor:
        cursor.execute(statement)


def share_sessions(borrow: Callable[[], AbstractContextManager[Any]], turns: int) -> None:
    """Let 16 threads borrow so many times; each has its session to itself, and reads its own answers."""
    in_use: set[int] = set()
    lock = threading.Lock()

    def work(seed: int) -> None:
        for turn in range(turns):
            with borrow() as connection:
                number = session_of(connection)
                with lock:
                    assert number not in in_use
                    in_use.add(number)
                assert ask(connection, f"SELECT {seed * 100 + turn}") == seed * 100 + turn
                with lock:
                    in_use.remove(number)

    for caller in [Caller(lambda seed=seed: work(seed)) for seed in range(16)]:  # type: ignore[misc]
        caller.result()
