"""A private, temporary server, started from the installed binary.

Knows how to run a server, and by PyMySQL when it is ready. Does not know pools or `ImprovedDb`.
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

from pymysql.err import OperationalError

from improved_db.testing.asking import ask
from improved_db.testing.binary import find_server
from improved_db.testing.claim import PREFIX, Claim, reap
from improved_db.testing.daemon import Daemon
from improved_db.testing.template import common_options, furnish

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

    from typing_extensions import Self

    from improved_db.testing.binary import Flavour

_START_TIMEOUT = 30.0
_POLL = 0.005
_SOCKET_PATH_MAX = 100  # bytes; systems allow 103 to 107

# Below the ports that systems assign to connecting sockets. On one of those, a client that keeps trying a stopped
# server would at some time connect to itself, and another program may have the port at a restart.
_PORTS = range(15000, 32000)

# flush-log-at-trx-commit=2 keeps commits if the process ends, not if the machine does: enough for kill(), no fsync.
_OPTIONS = [
    "--skip-name-resolve",
    "--character-set-server=utf8mb4",
    "--performance-schema=OFF",
    "--innodb-flush-log-at-trx-commit=2",
    "--innodb-buffer-pool-size=16M",
    "--key-buffer-size=1M",
    "--skip-log-bin",
]
# Since 11.4 MariaDB makes a new TLS key at each start, in up to a second. MySQL's packages name a folder for imports
# and exports that may be missing.
_OPTIONS_OF = {
    "mariadb": ["--aria-pagecache-buffer-size=8M", "--skip-ssl"],
    "mysql": ["--loose-mysqlx=OFF", "--secure-file-priv="],
}


class TemporaryServer:
    """A private MariaDB or MySQL server; it runs when the constructor returns, and `close` removes it.

    It listens on a unix socket in a folder of mode 0700. Only that folder protects it: the account root has no
    password. There is an empty database ``test``. Process and folder are removed by `close`, the end of a ``with``
    block, garbage collection, or the end of the interpreter; if Python itself is killed, the next `TemporaryServer` of
    the same user removes them. A forked child can connect to the server, but cannot start, signal or stop it. Call the
    methods from one thread at a time.

    Attributes:
        socket: Path of the unix socket.
        port: TCP port on 127.0.0.1, the same after a restart; None without TCP.
        version: As the server tells it: ``"10.11.6-MariaDB-0+deb12u1"``.
        options: Further arguments of the server; a change holds from its next start.
    """

    def __init__(
        self,
        *,
        tcp: bool = False,
        options: Sequence[str] = (),
        flavour: Flavour | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Install, start, and wait until it answers: MariaDB 0.1 s, MySQL 0.6 s; the first time 0.7 s and 3 s.

        Args:
            tcp: Listen on a free port of 127.0.0.1 as well.
            options: Further arguments of the server, which override the ones chosen here: ``"--wait-timeout=2"``, or
                ``"--ssl"``, because MariaDB runs without TLS here. In each, ``{port}`` stands for the TCP port.
            flavour: Which of the two to run; None takes what is installed.
            environment: Environment variables of the server, besides those of this process: ``{"TZ": "Asia/Tokyo"}``.

        Raises:
            ServerNotFound: No server is installed; the text says so, and which command installs one here.
            ConfigError: ``IMPROVED_DB_SERVER`` names a file that is not a server.
            RuntimeError: It did not start; the text has the end of its log.
        """
        self._binary = find_server(flavour)
        self._environment = dict(environment or {})
        self.options: list[str] = list(options)
        folder = temporary_folder()
        reap(folder)
        claim = Claim(folder)
        self._daemon = Daemon(claim)
        self._finalizer = weakref.finalize(self, self._daemon.destroy)
        self._folder = claim.path
        self.socket: str = str(claim.path / "socket")
        self.port: int | None = free_port() if tcp else None
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
        """A URL for `ImprovedDb`: by TCP if the server listens on it, by the socket otherwise."""
        if self.port is not None:
            return f"mysql://root@127.0.0.1:{self.port}/test"
        return f"mysql://root@localhost/test?unix_socket={quote(self.socket, safe='')}"

    @property
    def connect_options(self) -> dict[str, Any]:
        """New keyword arguments for ``pymysql.connect``, by TCP or socket as `url`."""
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
        """Whether there is a process; a paused one counts as running."""
        return self.pid is not None

    @property
    def paused(self) -> bool:
        """Whether `pause` froze the server, and nothing has continued or ended it since."""
        return self.running and self._daemon.paused

    def start(self) -> None:
        """Start the server if it does not run, on its existing data, and wait until it answers.

        Raises:
            RuntimeError: It did not start (the text has the end of its log), or it is closed.
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
                *(option.replace("{port}", str(self.port)) for option in self.options),
            ],
            self._environment,
        )
        self._await_ready()

    def stop(self) -> None:
        """Ask the server to end, and wait for it; `start` starts it again with its data."""
        self._check_owned()
        self._daemon.stop()

    def restart(self) -> None:
        """`stop` and `start`: the same data, socket and port."""
        self.stop()
        self.start()

    def kill(self) -> None:
        """End the server with SIGKILL; `start` starts it again with everything that was committed."""
        self._check_owned()
        self._daemon.kill()

    def pause(self) -> None:
        """Freeze the server (SIGSTOP): its sockets stay open, and it does not answer."""
        self._check_owned()
        self._daemon.pause()

    def resume(self) -> None:
        """Continue a paused server (SIGCONT)."""
        self._check_owned()
        self._daemon.resume()

    def close(self) -> None:
        """Kill the server and remove its folder. A second call does nothing; nor does a call in a forked child."""
        if self._daemon.owned:
            self._finalizer()

    def _check_owned(self) -> None:
        if not self._daemon.owned:
            raise RuntimeError("only the process that made a TemporaryServer can start, signal or stop it")
        if not self._finalizer.alive:
            raise RuntimeError("this TemporaryServer is closed")

    def _await_ready(self) -> None:
        """Poll until a connection succeeds; use the socket, because another server may listen on the port."""
        deadline = time.monotonic() + _START_TIMEOUT
        while True:
            try:
                self.version = str(ask(self.socket, "SELECT VERSION()")[0][0])
            except (OSError, OperationalError) as error:
                if not self.running or time.monotonic() > deadline:
                    raise RuntimeError(f"{self._binary.path} did not start{self._daemon.story()}") from error
                time.sleep(_POLL)
            else:
                return


def temporary_folder() -> Path:
    """Return where to make folders: the user's choice, unless the path of a socket would be too long there."""
    chosen = tempfile.gettempdir()
    longest = os.fsencode(f"{chosen}/{PREFIX}12345678/socket")
    return Path(chosen if len(longest) <= _SOCKET_PATH_MAX else "/tmp")  # noqa: S108 - the folder made there is 0700


def free_port() -> int:
    """Return a port of 127.0.0.1 that no process has now."""
    for port in secrets.SystemRandom().sample(_PORTS, 100):
        with sockets.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise RuntimeError("no free port on 127.0.0.1")
