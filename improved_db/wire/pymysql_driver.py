"""PyMySQL behind the pool's seam.

Knows how to open, check, restore and close a `Connection`. Does not know pools or retries.
"""

from __future__ import annotations

import contextlib
import inspect
import logging
from typing import TYPE_CHECKING, Any, Final

import pymysql.connections

from improved_db.wire.connection import Connection

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Mapping

logger = logging.getLogger("improved_db.wire")

#: The options of the driver, as the installed PyMySQL takes them.
OPTIONS: Final = frozenset(inspect.signature(pymysql.connections.Connection).parameters) - {"defer_connect"}

#: Options that ask for TLS. Without any of them a unix socket, which nobody can listen on, is not encrypted.
TLS_OPTIONS: Final = frozenset(name for name in OPTIONS if name.startswith("ssl"))

#: Seconds a polite goodbye may take.
QUIT_TIMEOUT: Final = 0.2


class PyMySQLDriver:
    """Opens connections with one set of options and one TLS context for all of them."""

    def __init__(
        self,
        options: Callable[[], Mapping[str, Any]],
        *,
        reset: str | Callable[[Connection], object] = "rollback",
    ) -> None:
        """Be ready to connect.

        Args:
            options: Asked at each connect for what `Connection` takes, so that passwords may change.
            reset: What a returned connection gets: "rollback" (where something may be open, or changed), "session"
                (made new by the server each time), or a callable that gets the connection and may raise.
        """
        self._options = options
        self._reset = reset
        self._tls_contexts: dict[object, ssl.SSLContext] = {}
        self._idle_limit: float | None = None
        self._max_packet = 1_000_000  # less than any server's default, until one has told

    @property
    def idle_limit(self) -> float | None:
        """The server's ``@@wait_timeout`` in seconds, once a connection has told."""
        return self._idle_limit

    def max_packet(self) -> int:
        """Return the server's ``max_allowed_packet`` in bytes, once a connection has told."""
        return self._max_packet

    def connect(self) -> Connection:
        """Open a session, and ask the first one for the server's limits."""
        connection = self._prepare()
        connection.connect()
        if self._idle_limit is None:
            for idle_limit, max_packet in connection.run("SELECT @@wait_timeout, @@max_allowed_packet").rows:
                self._idle_limit, self._max_packet = float(idle_limit), int(max_packet)
        return connection

    def _prepare(self) -> Connection:
        """Build the object in a frame of its own: a traceback of a failed connect must not hold the password."""
        options = dict(self._options())
        if options.get("unix_socket") and not any(options.get(name) for name in TLS_OPTIONS):
            options["ssl_disabled"] = True
        return Connection(tls_contexts=self._tls_contexts, defer_connect=True, **options)

    def is_alive(self, connection: Connection) -> bool:
        """Look at the socket: an idle one that is readable has hung up."""
        try:
            return connection.is_alive()
        except Exception:
            return False

    def ping(self, connection: Connection, timeout: float) -> bool:
        """Ask the server for a sign of life within *timeout* seconds."""
        return connection.answers(timeout)

    def restore(self, connection: Connection) -> bool:
        """Make the session as good as new, with no round trip where it is."""
        try:
            if callable(self._reset):
                self._reset(connection)
            return connection.restore(reset=self._reset == "session")
        except Exception as error:
            logger.warning("a returned connection could not be reset: %s", error)
            return False

    def close(self, connection: Connection) -> None:
        """Say goodbye and close the socket; a goodbye that would block is not said."""
        with contextlib.suppress(Exception):
            connection.quit_within(QUIT_TIMEOUT)

    def abandon(self, connection: Connection) -> None:
        """Close our end of the socket; in a forked child the parent's session does not notice."""
        with contextlib.suppress(Exception):
            connection.drop()

    def cut(self, connection: Connection) -> None:
        """Shut the socket down, so that a thread blocked on it gets an error."""
        connection.shut_down()
