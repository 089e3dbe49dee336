"""A fork below the interpreter over warm pools, as uWSGI's master does it: no process reads another one's answers."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import traceback
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING, Any

import pymysql
import pytest

import improved_db
from improved_db import ImprovedDb
from improved_db.compat.pymysqlpool import ConnectionPool
from improved_db.compat.queuepool import QueuePool
from improved_db.testing import TemporaryServer
from tests.fakes import run_alone

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")

ROUNDS = 200


def ask(connection: Any, value: int) -> tuple[int, int]:
    """Return the session's number, and the value, as the server has them."""
    with connection.cursor() as cursor:
        cursor.execute("select connection_id(), %s", (value,))
        number, told = cursor.fetchone()
    return number, told


def make_doors(options: dict[str, Any], opened: ExitStack) -> dict[str, Callable[[], Any]]:
    """Return, by name, what lends a connection whose `close` gives it back."""
    db = opened.enter_context(ImprovedDb(options, max_size=2))
    pool = ConnectionPool(size=2, name="bare", **options)
    opened.callback(pool.close)
    queue = QueuePool(lambda: pymysql.connect(**options), pool_size=2)
    opened.enter_context(improved_db.enable())

    class Lent:
        """A block that is left by `close`."""

        def __init__(self) -> None:
            self._block = db.connection()
            self._connection = self._block.__enter__()

        def cursor(self) -> Any:
            """Make a cursor of the connection that is lent."""
            return self._connection.cursor()

        def close(self) -> None:
            """Give it back."""
            self._block.__exit__(None, None, None)

    return {
        "ImprovedDb": Lent,
        "pymysqlpool": pool.get_connection,
        "queuepool": queue.connect,
        "enable": lambda: pymysql.connect(**options),
    }


def talk(doors: dict[str, Callable[[], Any]], first: int) -> dict[str, set[int]]:
    """Ask through every door again and again, and compare what comes; return the sessions' numbers."""
    sessions: dict[str, set[int]] = {name: set() for name in doors}
    for value in range(first, first + ROUNDS):
        for name, door in doors.items():
            with closing(door()) as connection:
                number, told = ask(connection, value)
            assert told == value, f"{name}: asked for {value}, was told {told}"
            sessions[name].add(number)
    return sessions


def two_processes() -> None:
    """Warm the doors, fork below the interpreter, and talk in both processes."""
    with TemporaryServer(tcp=True) as server, ExitStack() as opened:
        doors = make_doors({**server.connect_options, "ssl_disabled": True}, opened)
        before = talk(doors, 0)
        ready, told = os.pipe()
        child = ctypes.PyDLL(None).fork()
        if child == 0:
            signal.alarm(30)
            try:
                os.write(told, json.dumps({name: sorted(mine) for name, mine in talk(doors, 10_000).items()}).encode())
            except BaseException:
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        after = talk(doors, 1_000)
        assert os.waitpid(child, 0)[1] == 0
        os.close(told)
        theirs = json.loads(os.read(ready, 10_000))
        os.close(ready)
        for name in doors:
            assert set(theirs[name]).isdisjoint(before[name] | after[name]), name
            assert after[name] == before[name], name


def test_a_fork_without_hooks_shares_no_session_through_any_door() -> None:
    """Another process's row came, and no error with it."""
    run_alone(two_processes, "-W", "ignore:.*multi-threaded:DeprecationWarning")
