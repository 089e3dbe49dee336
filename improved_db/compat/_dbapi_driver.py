"""Any PEP 249 driver as a driver of the pool; where a driver cannot answer, the pool assumes that all is well.

Knows the methods that every DB-API connection has, and its socket if it shows one. Does not know SQL or pools.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
from typing import TYPE_CHECKING, Any

from improved_db.wire.connection import Connection
from improved_db.wire.handshake import COM_RESET_CONNECTION
from improved_db.wire.streaming import forget_stream

if TYPE_CHECKING:
    from collections.abc import Callable


class DBAPIDriver:
    """Opens connections by a callable, and uses only what PEP 249 promises of them."""

    idle_limit = None

    def __init__(self, creator: Callable[[], Any]) -> None:
        """Take the callable that returns a new connection."""
        self.connect = creator

    def is_alive(self, connection: Any) -> bool:
        """Say whether it is open and, if it shows its socket, the socket has nothing to read."""
        number = _fileno(connection)
        if not getattr(connection, "open", True):
            return False
        if number is None:
            return True
        if not hasattr(select, "poll"):  # on Windows, and under eventlet
            return not any(select.select([number], [], [number], 0))
        poller = select.poll()
        poller.register(number, select.POLLIN | select.POLLPRI)
        return not poller.poll(0)

    def ping(self, connection: Any, timeout: float) -> bool:  # noqa: ARG002  # PEP 249 has no time limit for it
        """Say whether it is alive, as far as that can be told without a round trip."""
        return self.is_alive(connection)

    def is_clean(self, connection: Any) -> bool:
        """Say whether it needs no ROLLBACK; only our own connections can tell, so for all others the answer is no."""
        return isinstance(connection, Connection) and connection._is_clean()

    def restore(self, connection: Any) -> bool:
        """Roll back, and say whether that worked; if it did not, the connection is lost."""
        if isinstance(connection, Connection):
            return connection._restore()
        if getattr(getattr(connection, "_result", None), "unbuffered_active", False):
            return False  # PyMySQL would first read the stream to its end, and it may be endless
        try:
            connection.rollback()
        except Exception:
            return False
        return bool(getattr(connection, "open", True))

    def close(self, connection: Any) -> None:
        """Close it."""
        with contextlib.suppress(Exception):
            connection.close()

    def abandon(self, connection: Any) -> None:
        """Close it in a forked child, without ending the session, which is the parent's.

        Its descriptor is replaced by /dev/null first, so that the driver's COM_QUIT does not reach the server. If the
        driver does not show its socket, COM_QUIT is sent.
        """
        with contextlib.suppress(Exception):
            forget_stream(connection)
            number = _fileno(connection)
            if number is not None:
                nowhere = os.open(os.devnull, os.O_RDWR)
                os.dup2(nowhere, number, inheritable=False)
                os.close(nowhere)
            connection.close()

    def cut(self, connection: Any) -> None:
        """Shut down its socket while another thread uses it, if the driver shows which socket that is."""
        number = _fileno(connection)
        if number is not None:
            with contextlib.suppress(OSError), socket.socket(fileno=os.dup(number)) as copy:
                copy.shutdown(socket.SHUT_RDWR)


class WrappedDriver(DBAPIDriver):
    """Opens PyMySQL's own connections inside the wrapper of a tracer, which has to see what runs on them.

    They do not note what a borrower changes, so each session is reset when it is returned.
    """

    _as_new: dict[str, Any]  # options of the session; the same for all connections of a pool

    def __init__(self, creator: Callable[[], Any]) -> None:
        """Take the callable that returns a new connection."""

        def connect() -> Any:
            made = creator()
            names = "db", "charset", "collation", "sql_mode", "init_command", "autocommit_mode"
            self._as_new = {name: getattr(made, name, None) for name in names}
            return made

        super().__init__(connect)

    def restore(self, connection: Any) -> bool:
        """Roll back, reset the session and set it up as PyMySQL does when it connects."""
        if not super().restore(connection):
            return False
        new = self._as_new
        try:
            connection._execute_command(COM_RESET_CONNECTION, b"")
            connection._read_ok_packet()
            if new["db"]:
                connection.select_db(new["db"])
            connection.set_character_set(new["charset"], new["collation"])
            if new["sql_mode"] is not None:
                connection.query(f"SET sql_mode={connection.escape(new['sql_mode'])}")
            if new["init_command"] is not None:
                connection.query(new["init_command"])
            if new["autocommit_mode"] is not None:
                connection.autocommit(new["autocommit_mode"])
        except Exception:
            return False
        return True


def _fileno(connection: Any) -> int | None:
    """Return the descriptor of a connection's socket; None if the connection has none or does not show it."""
    try:
        number = connection.fileno() if hasattr(connection, "fileno") else connection._sock.fileno()
    except Exception:
        return None
    return number if isinstance(number, int) and number >= 0 else None
