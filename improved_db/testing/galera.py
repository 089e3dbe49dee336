"""A Galera of private servers: its library, its options, and whether its nodes are one group.

Knows what Galera has to be told and what it says. Does not know replication by GTID.
"""

from __future__ import annotations

import os
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from pymysql.err import MySQLError

from improved_db.errors import ServerNotFound
from improved_db.testing.asking import PATIENCE, ask
from improved_db.testing.server import TemporaryServer, free_port
from improved_db.testing.transfer import METHOD, Transfer

if TYPE_CHECKING:
    from collections.abc import Sequence

_POLL = 0.01
_LIBRARY = "libgalera_smm.so"
_FOLDERS = ("/usr/lib/galera", "/usr/lib64/galera-4", "/usr/lib64/galera", "/usr/lib/galera-4", "/usr/lib")
#: The environment variable with the path of the Galera library; it comes before the usual places.
LIBRARY_VARIABLE = "IMPROVED_DB_GALERA"

# A node that answers nothing for two seconds is put out of the group; by default it would be five.
_PROVIDER_OPTIONS = (
    "gcache.size=4M",
    "pc.recovery=false",
    "evs.keepalive_period=PT0.5S",
    "evs.inactive_check_period=PT0.5S",
    "evs.suspect_timeout=PT2S",
    "evs.inactive_timeout=PT4S",
    "evs.install_timeout=PT4S",
)
_NEW = "--wsrep-new-cluster"


def find_galera() -> Path:
    """Find the Galera library; the file that ``IMPROVED_DB_GALERA`` names comes first.

    Raises:
        ServerNotFound: It is not installed; the text says what to install.
    """
    named = os.environ.get(LIBRARY_VARIABLE)
    for path in [Path(named)] if named else [Path(folder, _LIBRARY) for folder in _FOLDERS]:
        if path.is_file():
            return path
    raise ServerNotFound(
        f"the Galera library {named or _LIBRARY} is missing: install galera-4 (apt-get install -y galera-4), "
        f"or name the file in {LIBRARY_VARIABLE}"
    )


class Galera:
    """The nodes of one group; each takes writes, and each has all data.

    Attributes:
        nodes: The servers, in the order in which they began.
    """

    def __init__(self, size: int, options: Sequence[str]) -> None:
        """Start a group of one, and let the others join, one after the other.

        Raises:
            ServerNotFound: The Galera library or MariaDB is not installed.
            RuntimeError: A server did not start, or is not in the group.
        """
        library = find_galera()
        ports = [free_port() for _ in range(size)]
        peers = ",".join(f"127.0.0.1:{port}" for port in ports)
        self._transfer = Transfer()
        self.nodes: list[TemporaryServer] = []
        with ExitStack() as started:
            started.callback(self._transfer.close)
            for number, port in enumerate(ports, 1):
                own = [
                    f"--server-id={number}",
                    "--wsrep-on=1",
                    f"--wsrep-provider={library}",
                    f"--wsrep-provider-options={_provider_options(port)}",
                    "--wsrep-cluster-name=improved_db",
                    f"--wsrep-cluster-address=gcomm://{peers}",
                    f"--wsrep-node-name=node{number}",
                    "--wsrep-node-address=127.0.0.1",
                    "--wsrep-node-incoming-address=127.0.0.1:{port}",
                    f"--wsrep-sst-method={METHOD}",
                    "--binlog-format=ROW",
                    "--innodb-autoinc-lock-mode=2",
                    *options,
                    *([] if self.nodes else [_NEW]),
                ]
                node = TemporaryServer(tcp=True, options=own, flavour="mariadb", environment=self._transfer.environment)
                self.nodes.append(started.enter_context(node))
                self.settle()
            self.nodes[0].options.remove(_NEW)
            started.pop_all()

    def settle(self) -> None:
        """Wait until every node that runs is ready, in a group of all that run, and has all that was written before."""
        deadline = time.monotonic() + PATIENCE
        running = [node for node in self.nodes if node.running and not node.paused]
        for node in running:
            while not _is_ready(node, len(running)):
                if time.monotonic() > deadline:
                    raise RuntimeError(f"{node!r} is not ready, or not in a group of {len(running)}")
                time.sleep(_POLL)
            ask(node.socket, "SET SESSION wsrep_sync_wait = 1", "SELECT COUNT(*) FROM mysql.user")

    def gather(self) -> None:
        """Let all nodes run in one group, with the data of one that is in the group now, or else of the first."""
        for node in self.nodes:
            node.resume()
        running = [node for node in self.nodes if node.running]
        if 2 * len(running) <= len(self.nodes) or all(_is_cut_off(node) for node in running):
            self._begin_again()
        for node in self.nodes:
            node.start()
        for node in self.nodes:
            ask(
                node.socket,
                "SET GLOBAL wsrep_reject_queries = NONE",
                "SET GLOBAL wsrep_desync = OFF",
                "SET GLOBAL read_only = 0",
            )
        self.settle()

    def close(self) -> None:
        """Kill the servers and remove their folders."""
        for node in self.nodes:
            node.close()
        self._transfer.close()

    def _begin_again(self) -> None:
        for node in self.nodes:
            node.kill()
        first = self.nodes[0]
        state = Path(first.socket).parent / "data" / "grastate.dat"
        state.write_text(state.read_text().replace("safe_to_bootstrap: 0", "safe_to_bootstrap: 1"))
        first.options.append(_NEW)
        first.start()
        first.options.remove(_NEW)


def _provider_options(port: int) -> str:
    addresses = (f"gmcast.listen_addr=tcp://127.0.0.1:{port}", f"ist.recv_addr=127.0.0.1:{free_port()}")
    return ";".join([*addresses, *_PROVIDER_OPTIONS])


def _status(node: TemporaryServer) -> dict[str, str]:
    return dict(ask(node.socket, "SHOW GLOBAL STATUS LIKE 'wsrep\\_%'"))


def _is_cut_off(node: TemporaryServer) -> bool:
    return _status(node).get("wsrep_cluster_status") != "Primary"


def _is_ready(node: TemporaryServer, size: int) -> bool:
    try:
        status = _status(node)
    except (OSError, MySQLError) as error:  # a node that joins may begin once more
        if not node.running:
            raise RuntimeError(f"{node!r} ended while it joined its group") from error
        return False
    return status["wsrep_ready"] == "ON" and status["wsrep_cluster_size"] == str(size)
