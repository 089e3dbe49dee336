"""Ends a statement or a session on the server, while the caller waits for no longer than it has to.

A second connection and KILL may take a while just then, on a server that is far away or busy. The caller's deadline is
not for that: it waits a little, and a thread of its own, which ends afterwards, does the rest.

Knows the driver and how a thread is started. Does not know why something is ended, or what is known afterwards.
"""

from __future__ import annotations

from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

from improved_db.pool.openers import start_thread
from improved_db.wire.ending import mark

if TYPE_CHECKING:
    from improved_db.wire.connection import Connection
    from improved_db.wire.pymysql_driver import PyMySQLDriver


def end(driver: PyMySQLDriver, connection: Connection, patience: float, *, query_only: bool = False) -> bool | None:
    """Have the server end the session of *connection*, or only its statement.

    Args:
        driver: Opens the second connection.
        connection: Whose session it is; the caller may close it as soon as this returns.
        patience: Seconds to wait for that.
        query_only: End the statement; the session goes on.

    Returns:
        Whether it was ended; None if that is still being tried: then the session must not be used any more, because
        KILL may still come.
    """
    session = mark(connection)
    outcome: SimpleQueue[bool] = SimpleQueue()  # unlike an Event, no interrupt leaves it locked

    def work() -> None:
        outcome.put(driver.end(session, query_only=query_only))

    try:
        start_thread(work)
    except RuntimeError:  # no thread to be had: here, then, and quickly
        return driver.end(session, query_only=query_only, patience=patience)
    try:
        return outcome.get(timeout=patience)
    except Empty:
        return None
