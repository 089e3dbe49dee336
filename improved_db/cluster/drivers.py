"""The drivers of several servers as one: what is about a connection or a session goes to the driver of its server.

Knows which driver opened what. Does not know pools, lanes or roles.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from improved_db.cluster.server import PRIMARY
from improved_db.wire.pymysql_driver import END_TIMEOUT

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from improved_db.cluster.server import Server
    from improved_db.wire.connection import Connection
    from improved_db.wire.ending import SessionMark
    from improved_db.wire.pymysql_driver import PyMySQLDriver


class Drivers:
    """One driver for several servers."""

    def __init__(self, servers: Mapping[str, Server], primary: Callable[[float | None], str]) -> None:
        """Stand for the drivers of *servers*; *primary* waits for the primary's address, for so many seconds."""
        self._servers = servers
        self._primary = primary

    def _any(self) -> PyMySQLDriver:
        """Return the driver that knows most of its server: the first one that has connected."""
        drivers = [server.driver() for server in self._servers.values()]
        return next((driver for driver in drivers if driver.idle_limit is not None), drivers[0])

    @property
    def restores_if_needed(self) -> bool:
        """Whether a returned session is left as it is where nothing in it has changed."""
        return self._any().restores_if_needed

    @property
    def rollback_on_timeout(self) -> bool:
        """Whether a server rolls the whole transaction back after a lock wait timeout."""
        return self._any().rollback_on_timeout

    @property
    def name(self) -> str:
        """The driver and its version."""
        return self._any().name

    @property
    def server_version(self) -> str:
        """What a server calls its version; empty before the first connection."""
        return self._any().server_version

    def comment_statements(self, comment: Callable[[bytes], bytes] | None) -> None:
        """Let *comment* append a comment to each statement of connections opened from now on."""
        for server in self._servers.values():
            for driver in server.drivers.values():
                driver.comment_statements(comment)

    def max_packet(self) -> int:
        """Return the ``max_allowed_packet`` in bytes that every server accepts of which it is known."""
        drivers = [server.driver() for server in self._servers.values()]
        sizes = [driver.max_packet() for driver in drivers if driver.idle_limit is not None]
        return min(sizes, default=drivers[0].max_packet())

    def connect(self) -> Connection:
        """Open a session on the primary."""
        return self._of_primary(None).connect()

    def connect_for_load(self, seconds: float | None = None) -> Connection:
        """Open a session on the primary that may LOAD DATA LOCAL."""
        return self._of_primary(seconds).connect_for_load(seconds)

    def _of_primary(self, seconds: float | None) -> PyMySQLDriver:
        return self._servers[self._primary(seconds)].drivers[PRIMARY]

    def is_clean(self, connection: Connection) -> bool:
        """Say at once whether nothing is left to be restored."""
        return self._any().is_clean(connection)

    def restore(self, connection: Connection) -> bool:
        """Make the session as good as new."""
        return self._any().restore(connection)

    def close(self, connection: Connection) -> None:
        """Say goodbye and close the socket."""
        self._any().close(connection)

    def cut(self, connection: Connection) -> None:
        """Shut the socket down, so that a thread that is blocked on it gets an error."""
        self._any().cut(connection)

    def end(
        self,
        ghost: SessionMark,
        *,
        query_only: bool = False,
        through: Connection | None = None,
        patience: float = END_TIMEOUT,
    ) -> bool:
        """Have its own server end a session, or only its statement.

        Returns:
            Whether it was ended. False also where *through* is a connection to another server.
        """
        server = self._servers.get(ghost.address)
        if server is None or (through is not None and through._address != ghost.address):
            return False
        return server.driver().end(ghost, query_only=query_only, through=through, patience=patience)
