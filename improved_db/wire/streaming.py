"""One statement whose rows are read batch by batch, as the caller asks for them.

The functions are methods of `Connection`; they stand here by themselves, because only streams need them.

Knows the connection's time limits and how to read rows of its last result. Does not know pools.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from improved_db.wire.columns import row_kind
from improved_db.wire.exchange import QUERY, DriverError
from improved_db.wire.results import read_rows

if TYPE_CHECKING:
    from collections.abc import Callable

    from improved_db.wire.packets import Session


def start_stream(
    connection: Session,
    query: str,
    args: object = None,
    dict_rows: bool | type = False,
    *,
    seconds: float | None = None,
) -> None:
    """Run one statement and stop in front of the first row; `next_rows` reads on.

    Args:
        connection: Where to run it.
        query: As `Connection._run` takes it.
        args: As `Connection._run` takes them.
        dict_rows: As `Connection._run` takes it.
        seconds: How long all of that may take; None: the read timeout limits the answer up to the first row.
    """
    sql = connection._bind(query, args)
    connection._row_kind = row_kind(dict_rows)
    try:
        _limited(connection, seconds, lambda: connection._execute_command(QUERY, sql))
        limit = connection._read_timeout if seconds is None else seconds
        connection._affected_rows = _limited(connection, limit, lambda: connection._read_query_result(unbuffered=True))
    finally:
        connection._row_kind = tuple


def next_rows(connection: Session, most: int, seconds: float | None = None) -> list[Any]:
    """Return the next rows of the stream; an empty list at its end.

    Args:
        connection: Where the stream was started.
        most: At most so many rows.
        seconds: How long the first of them may take, from now to its last byte; None: the read timeout.
    """
    if connection._result is None:
        return []
    try:
        rows: list[Any] = _limited(
            connection,
            connection._read_timeout if seconds is None else seconds,
            lambda: read_rows(connection._result, most),
        )
    except DriverError:
        connection._note_error()
        raise
    return rows


def _limited(connection: Session, seconds: float | None, exchange: Callable[[], Any]) -> Any:
    return exchange() if seconds is None else connection._within(seconds, exchange)


def is_streaming(connection: Session) -> bool:
    """Say whether the server is still sending rows."""
    return connection._result is not None and bool(connection._result.unbuffered_active)


def streamed_columns(connection: Session) -> tuple[str, ...]:
    """Return the names of the columns of the stream."""
    return tuple(column[0] for column in connection._result.description or ())


def forget_stream(connection: Session) -> None:
    """Mark an unread rest of a result as not wanted; otherwise PyMySQL's finalizer would read it, and warn."""
    if getattr(getattr(connection, "_result", None), "unbuffered_active", False):
        connection._result.unbuffered_active = False
