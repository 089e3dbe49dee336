"""Ends a statement or a session on the server, and lets the caller wait for that only a short while.

If the server is busy or far away, a second connection and KILL take long. The caller's deadline leaves no time for
that. So a thread does it: the caller waits for the thread a little, and the thread ends when it is done.

Knows the driver and how to start a thread. Does not know why something has to end, or what is known afterwards.
"""

from __future__ import annotations

from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

from improved_db.pool.openers import start_thread
from improved_db.wire.ending import mark

if TYPE_CHECKING:
    from improved_db.execution.lane import LaneDriver
    from improved_db.wire.connection import Connection


def end(driver: LaneDriver, connection: Connection, patience: float, *, query_only: bool = False) -> bool | None:
    """Have the server end the session of *connection*, or only its statement.

    Args:
        driver: Opens the second connection.
        connection: Whose session it is; the caller may close it as soon as this returns.
        patience: Seconds to wait for the thread.
        query_only: End only the statement; the session goes on.

    Returns:
        Whether the server ended it; None if the thread is still busy: then the session must not be used any more,
        because KILL may still come.
    """
    session = mark(connection)
    outcome: SimpleQueue[bool] = SimpleQueue()  # unlike an Event, no interrupt leaves it locked

    def work() -> None:
        outcome.put(driver.end(session, query_only=query_only))

    try:
        start_thread(work)
    except RuntimeError:  # the system has no more threads: do it here, within *patience*
        return driver.end(session, query_only=query_only, patience=patience)
    try:
        return outcome.get(timeout=patience)
    except Empty:
        return None
