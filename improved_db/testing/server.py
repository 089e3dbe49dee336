"""A private throw-away server, started from the installed binary.

Knows how a server is run and when it is ready, for which it asks PyMySQL. Does not know pools or `ImprovedDb`.
"""

from __future__ import annotations

import os
import secrets
import socket as sockets
import tempfile
import time
import weakref
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from pymysql.connections import Connection
from pymysql.err import OperationalError

from improved_db.testing.binary import find_server
from improved_db.testing.claim import PREFIX, Claim, reap
from improved_db.testing.daemon import Daemon
from improved_db.testing.template import common_options, furnish

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from typing_extensions import Self

    from improved_db.testing.binary import Flavour

_START_TIMEOUT = 30.0
_POLL = 0.005
_SOCKET_PATH_MAX = 100  # bytes; systems allow 103 to 107

# Below the ports that systems hand out to connecting sockets: a client that keeps trying a stopped server on one of
# those meets itself sooner or later, and another program may have taken it by the time of a restart.
_PORTS = range(15000, 32000)

# flush-log-at-trx-commit=2 survives the end of the process, not of the machine: what kill() needs, without an fsync.
_OPTIONS = [
    "--skip-name-resolve",
    "--character-set-server=utf8mb4",
    "--performance-schema=OFF",
    "--innodb-flush-log-at-trx-commit=2",
    "--innodb-buffer-pool-size=16M",
    "--key-buffer-size=1M",
    "--skip-log-bin",
]
# MariaDB makes a new key at each start since 11.4, in up to a second; MySQL's packages name a folder for imports
# and exports that may be missing.
_OPTIONS_OF = {
    "mariadb": ["--aria-pagecache-buffer-size=8M", "--skip-ssl"],
    "mysql": ["--loose-mysqlx=OFF", "--secure-file-priv="],
}


class TemporaryServer:
    """A MariaDB or MySQL server of one's own, running when the constructor returns and gone after `close`.

    It listens on a unix socket in a folder of mode 0700, which is all that guards it: the account root has no password.
    There is an empty database ``test``. Process and folder are gone after `close`, an exception in a ``with`` block,
    garbage collection, or the end of the interpreter; if Python itself is killed, the next `TemporaryServer` of the
    same user removes them. A forked child can use the server and do nothing to it. A server is driven by one thread at
    a time.

    Attributes:
        socket: Path of the unix socket.
        port: TCP port on 127.0.0.1, the same after a restart; None without TCP.
        version: What the server says, as in ``"10.11.6-MariaDB-0+deb12u1"``.
    """

    def __init__(self, *, tcp: bool = False, options: Sequence[str] = (), flavour: Flavour | None = None) -> None:
        """Install, start, and wait until it answers: MariaDB 0.1 s, MySQL 0.6 s; the very first time 0.7 s and 3 s.

        Args:
            tcp: Listen on a free port of 127.0.0.1 as well.
            options: Further arguments of the server, which win over the ones chosen here: ``"--wait-timeout=2"``, or
                ``"--ssl"`` as MariaDB runs without TLS otherwise.
            flavour: The only one wanted; None takes what is installed.

        Raises:
            ServerNotFound: There is none; the text is the one command that installs it here.
            ConfigError: ``IMPROVED_DB_SERVER`` names something that is no server.
            RuntimeError: It did not start; the text holds the end of its log.
        """
        self._binary = find_server(flavour)
        self._options = tuple(options)
        folder = _temporary_folder()
        reap(folder)
        claim = Claim(folder)
        self._daemon = Daemon(claim)
        self._finalizer = weakref.finalize(self, self._daemon.destroy)
        self._folder = claim.path
        self.socket: str = str(claim.path / "socket")
        self.port: int | None = _free_port() if tcp else None
        self.version: str = ""
        try:
            furnish(self._binary, self._folder)
            self.start()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        state = f"pid {self.pid}" if self.running else "not running"
        return f"<TemporaryServer {self._binary.flavour} {self.version or self._binary.version}, {state}, {self.url}>"

    @property
    def url(self) -> str:
        """A URL that `ImprovedDb` takes: by TCP if there is TCP, by the socket otherwise."""
        if self.port is not None:
            return f"mysql://root@127.0.0.1:{self.port}/test"
        return f"mysql://root@localhost/test?unix_socket={quote(self.socket, safe='')}"

    @property
    def connect_options(self) -> dict[str, Any]:
        """Fresh keyword arguments for ``pymysql.connect``, by the same way as `url`."""
        account = {"user": "root", "password": "", "database": "test"}
        if self.port is not None:
            return {"host": "127.0.0.1", "port": self.port, **account}
        return {"unix_socket": self.socket, **account}

    @property
    def pid(self) -> int | None:
        """Number of the server's process; None if it is not running."""
        return self._daemon.pid

    @property
    def running(self) -> bool:
        """Whether there is a process; a paused one counts."""
        return self.pid is not None

    def start(self) -> None:
        """Start the server if it does not run, on the data that is there, and wait until it answers.

        Raises:
            RuntimeError: It did not start, or it was closed before; the text holds the end of its log.
        """
        self._check_owned()
        if self.running:
            return
        network = [f"--port={self.port}", "--bind-address=127.0.0.1"] if self.port else ["--skip-networking"]
        self._daemon.start(
            [
                str(self._binary.path),
                *common_options(self._binary, self._folder),
                f"--socket={self.socket}",
                *network,
                *_OPTIONS,
                *_OPTIONS_OF[self._binary.flavour],
                *self._options,
            ]
        )
        self._await_ready()

    def stop(self) -> None:
        """End the server politely; `start` brings it back with its data."""
        self._check_owned()
        self._daemon.stop()

    def restart(self) -> None:
        """Stop politely and start again: same data, same socket, same port."""
        self.stop()
        self.start()

    def kill(self) -> None:
        """End the server with SIGKILL; `start` brings it back with everything that was committed."""
        self._check_owned()
        self._daemon.kill()

    def pause(self) -> None:
        """Freeze the server (SIGSTOP): its sockets stay open and nobody answers."""
        self._check_owned()
        self._daemon.pause()

    def resume(self) -> None:
        """Let a paused server go on (SIGCONT)."""
        self._check_owned()
        self._daemon.resume()

    def close(self) -> None:
        """Kill the server and remove its folder. Idempotent; nothing in a forked child."""
        if self._daemon.owned:
            self._finalizer()

    def _check_owned(self) -> None:
        if not self._daemon.owned:
            raise RuntimeError("only the process that made a TemporaryServer starts, signals and stops it")
        if not self._finalizer.alive:
            raise RuntimeError("this TemporaryServer is closed")

    def _await_ready(self) -> None:
        """Poll until an authenticated connection succeeds; by the socket, which cannot be anybody else's."""
        deadline = time.monotonic() + _START_TIMEOUT
        while True:
            try:
                self.version = self._ask_version()
            except (OSError, OperationalError) as error:
                if not self.running or time.monotonic() > deadline:
                    raise RuntimeError(f"{self._binary.path} did not start{self._daemon.story()}") from error
                time.sleep(_POLL)
            else:
                return

    def _ask_version(self) -> str:
        connection = Connection(
            user="root", database="test", read_timeout=_START_TIMEOUT, ssl_disabled=True, defer_connect=True
        )
        with sockets.socket(sockets.AF_UNIX) as sock:  # PyMySQL leaks a unix socket of its own that cannot connect
            sock.connect(self.socket)
            connection.connect(sock)
            with connection, connection.cursor() as cursor:
                cursor.execute("SELECT VERSION()")
                return str(cursor.fetchall()[0][0])


def _temporary_folder() -> Path:
    """Return where to make folders: the user's choice, unless a socket's path would get too long for the system."""
    chosen = tempfile.gettempdir()
    longest = os.fsencode(f"{chosen}/{PREFIX}12345678/socket")
    return Path(chosen if len(longest) <= _SOCKET_PATH_MAX else "/tmp")  # noqa: S108 - the folder made there is 0700


def _free_port() -> int:
    for port in secrets.SystemRandom().sample(_PORTS, 100):
        with sockets.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise RuntimeError("no free port on 127.0.0.1")
