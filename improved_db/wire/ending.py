"""Which session KILL is for: its number and its server, because another server uses the same number for another one.

Knows what a server says about itself and its sessions. Does not know pools, or why a session is ended.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from improved_db.clock import MonotonicClock

if TYPE_CHECKING:
    from collections.abc import Container

#: Variables that no two servers share; MySQL has the first one, MariaDB from 10.5.26 and 11.4.3 on the second one.
UNIQUE: Final = ("server_uuid", "server_uid")

#: Variables that every server has, and that together differ between servers of one machine or one group.
USUAL: Final = ("hostname", "port", "server_id", "datadir", "pid_file")


class SessionMark(NamedTuple):
    """A session, as its server knows it.

    Attributes:
        number: Its number in the server's list.
        server: Which server that is, as `identity_query` has it; empty: unknown.
        local_port: Our end's TCP port; 0 on a unix socket.
        opened_at: When it began, by the monotonic clock.
        address: Where the server is, as the settings name it.
    """

    number: int
    server: str
    local_port: int
    opened_at: float
    address: str = ""


def mark(connection: Any) -> SessionMark:
    """Return the mark of *connection*'s session; the session can then be ended without that connection."""
    return SessionMark(
        connection.thread_id(),
        connection._server_identity,
        connection._local_port,
        connection._opened_at,
        connection._address,
    )


def identity_query(known: Container[Any]) -> str:
    """Return the statement that asks a server for its identity.

    Args:
        known: Which of `UNIQUE` it has.
    """
    names = [*USUAL, *(name for name in UNIQUE if name in known)]
    return f"SELECT CONCAT_WS('/', {', '.join(f'@@{name}' for name in names)})"


def end_through(connection: Any, lost_session: SessionMark, query_only: bool) -> bool:
    """Have *connection*'s server KILL *lost_session*, if that is a session of this server.

    Behind a load balancer, the connection may be on another server; after a restart, on a younger one. There the number
    belongs to another session. So the server must be the same, must have started before the session, and must list the
    session with our port. If the server does not tell its identity, nothing is ended.

    Returns:
        Whether the server was told to end it.
    """
    if not lost_session.server or connection._server_identity != lost_session.server:
        return False
    listed = connection._ask("SELECT HOST FROM information_schema.PROCESSLIST WHERE ID = %s", lost_session.number)
    if not listed or (lost_session.local_port and not str(listed[0][0]).endswith(f":{lost_session.local_port}")):
        return False
    uptime = connection._ask("SHOW GLOBAL STATUS LIKE 'Uptime'")
    if not uptime or float(uptime[0][1] or 0) + 1.0 < MonotonicClock.now() - lost_session.opened_at:
        return False
    connection._run(f"KILL {'QUERY ' if query_only else ''}{lost_session.number:d}")
    return True
