"""Several private servers with the same data: a primary with replicas, or a Galera.

Knows which server has which part. Does not know the statements that give it that part.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

from improved_db.errors import ConfigError
from improved_db.testing.asking import ask
from improved_db.testing.binary import find_server
from improved_db.testing.cleaning import APP, clean
from improved_db.testing.galera import Galera
from improved_db.testing.replication import OtherHistory, Replication, words_of
from improved_db.testing.server import TemporaryServer

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from typing_extensions import Self

    from improved_db.testing.binary import Flavour

_MOST = 9


class TemporaryCluster:
    """A private primary with replicas (by GTID), or a Galera; all run when the constructor returns.

    Each server is a `TemporaryServer` on a port of 127.0.0.1, and is killed, paused, resumed and restarted as one.
    `close` removes them, as everything does that removes a `TemporaryServer`.

    In replication nothing happens by itself: after a kill, no server takes the primary's part until `promote`. A server
    that is restarted has the part that it had last, so a killed primary returns as a second writable server if another
    one was promoted meanwhile, as it would from its own my.cnf. A Galera puts out a node that is dead at once, and one
    that is paused after two seconds; a node that comes back may take two seconds to join (`settle` waits for it).

    Attributes:
        nodes: The servers, in the order of `urls`. The first begins as the primary.
        primary: The server that was made the primary last, whether it runs or not; the first node of a Galera.
    """

    def __init__(
        self,
        *,
        replicas: int | None = None,
        galera: int | None = None,
        options: Sequence[str] = (),
        flavour: Flavour | None = None,
    ) -> None:
        """Start the servers, and wait until each has its part: a primary with two replicas 0.7 s, a Galera 4 s.

        Args:
            replicas: How many replicas the primary has, 0 to 8; without *galera*, None means 2.
            galera: A Galera of so many nodes instead, 1 to 9: MariaDB with the library of the package galera-4.
            options: Further arguments of each server, as of `TemporaryServer`.
            flavour: Which server to run; None takes what is installed.

        Raises:
            ServerNotFound: No server, or no Galera library, is installed; the text says what to install.
            ConfigError: The numbers are invalid, or ``IMPROVED_DB_SERVER`` names a file that is not a server.
            RuntimeError: A server did not start (the text has the end of its log), or does not replicate.
        """
        _check_sizes(replicas, galera, flavour)
        self._galera: Galera | None = None
        if galera is not None:
            self._galera = Galera(galera, options)
            self.nodes: tuple[TemporaryServer, ...] = tuple(self._galera.nodes)
            self.primary: TemporaryServer = self.nodes[0]
            self.reset()
            return
        binary = find_server(flavour)
        self._flavour: Flavour = binary.flavour
        words = words_of(binary)
        self._replication = Replication(words)
        with ExitStack() as started:
            self.nodes = tuple(
                started.enter_context(
                    TemporaryServer(
                        tcp=True, options=[f"--server-id={number}", *words.options, *options], flavour=flavour
                    )
                )
                for number in range(1, (2 if replicas is None else replicas) + 2)
            )
            self._form()
            started.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<TemporaryCluster of {len(self.nodes)}, primary {self.primary!r}>"

    @property
    def replicas(self) -> tuple[TemporaryServer, ...]:
        """All servers but the primary, in the order of `urls`."""
        return tuple(node for node in self.nodes if node is not self.primary)

    @property
    def urls(self) -> list[str]:
        """A URL of each server, for `ImprovedDb`. Their account, unlike root, cannot write on a read-only server."""
        return [f"mysql://{APP}@127.0.0.1:{node.port}/test" for node in self.nodes]

    @property
    def url(self) -> str:
        """One URL with the addresses of all servers, with commas between them."""
        addresses = ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)
        return f"mysql://{APP}@{addresses}/test"

    def promote(
        self, node: TemporaryServer | None = None, *, apply_received: bool = True, demote: bool = True
    ) -> TemporaryServer:
        """Make *node* the primary; the other servers that answer become its replicas.

        If the old primary answers, this is a planned switch: it refuses writes first, *node* applies all that it has,
        and it becomes a replica. If it is dead or paused, what *node* had not received is lost, and the old primary
        knows nothing of the promotion when it returns; `rebuild` makes it a replica then. Replication that was stopped
        is started. A replica that has more than *node* is rebuilt.

        Args:
            node: One of `nodes`; it has to run. None takes the replica that has received most.
            apply_received: Wait until *node* has applied what it received. Without, this is lost, too.
            demote: False leaves an old primary that answers as it is, as if the two could not see each other: both
                take writes then. What *node* has not received of the old primary's is not in its history.

        Returns:
            The new primary.

        Raises:
            RuntimeError: *node* does not run, or could not apply all; or another server could not follow it.
        """
        self._check(self.primary if node is None else node)
        if node is None:
            node = max(filter(_answers, self.replicas), key=self._replication.received, default=self.primary)
        if not _answers(node):
            raise RuntimeError(f"{node!r} cannot become the primary: it does not answer")
        old, others = self.primary, [other for other in self.nodes if other is not node and _answers(other)]
        if old is not node:
            if demote and old in others:
                self._replication.start(node)
                self._replication.refuse_writes(old)
                self._replication.settle(node, old)
            elif apply_received:
                self._replication.apply_received(node)
        self._replication.lead(node)
        self.primary = node
        for other in others:
            if demote or other is not old:
                self._follow_or_rebuild(other)
        return node

    def follow(self, node: TemporaryServer) -> None:
        """Make *node* a read-only replica of `primary`; it keeps what it has.

        Raises:
            RuntimeError: It does not replicate: the primary does not answer; or *node* has transactions that the
                primary has not, which MariaDB refuses, and MySQL keeps.
        """
        self._check(node)
        self._replication.follow(node, self.primary)

    def rebuild(self, node: TemporaryServer) -> None:
        """Make *node* a replica of `primary` from nothing, as one does with an old primary that has other rows.

        What *node* had is removed; it applies the whole history of the primary. A node that does not run is started.
        """
        self._check(node)
        if not _answers(node):  # it must not begin as a second primary
            node.kill()
            self._replication.remember(node, read_only=True)
        self._empty(node)
        self._replication.replay(node, self.primary)

    def stop_replication(self, node: TemporaryServer, *, applying_only: bool = False) -> None:
        """Let a replica stand still: it receives nothing, or with *applying_only* receives and does not apply."""
        self._check(node)
        self._replication.stop(node, applying_only=applying_only)

    def start_replication(self, node: TemporaryServer) -> None:
        """Continue replication that `stop_replication` stopped."""
        self._check(node)
        self._replication.start(node)

    def delay(self, node: TemporaryServer, seconds: int) -> None:
        """Let a replica apply each transaction *seconds* after the primary did; 0 ends the delay."""
        self._check(node)
        self._replication.delay(node, seconds)

    def settle(self) -> None:
        """Wait until every replica, or node of a Galera, that answers has all that was written, and is ready.

        Raises:
            RuntimeError: One of them has not after half a minute; the text has what the server says about it.
        """
        if self._galera is not None:
            self._galera.settle()
            return
        for node in self.replicas:
            if _answers(node):
                self._replication.settle(node, self.primary)

    def reset(self) -> None:
        """Begin anew, for the next test: all servers run, the first is the primary, and only ``test`` is there, empty.

        It ends every connection, and drops all databases and accounts; replication begins a new history. What
        ``SET GLOBAL`` changed stays until a restart. About 0.1 s if all servers run.
        """
        if self._galera is None:
            self._form()
            return
        self._galera.gather()
        first, *others = self.nodes
        for node in others:
            clean(node, "mariadb")
        ask(first.socket, *clean(first, "mariadb"))
        self._galera.settle()

    def close(self) -> None:
        """Kill the servers and remove their folders. A second call does nothing; nor does a call in a forked child."""
        if self._galera is not None:
            self._galera.close()
        for node in self.nodes:
            node.close()

    def _form(self) -> None:
        for node in self.nodes:
            self._empty(node)
        self.primary = self.nodes[0]
        self._replication.lead(self.primary)
        for node in self.replicas:
            self._replication.follow(node, self.primary)

    def _follow_or_rebuild(self, node: TemporaryServer) -> None:
        try:
            self._replication.follow(node, self.primary)
        except OtherHistory:
            self.rebuild(node)

    def _empty(self, node: TemporaryServer) -> None:
        node.resume()
        node.start()
        self._replication.empty(node, clean(node, self._flavour))

    def _check(self, node: TemporaryServer) -> None:
        if self._galera is not None:
            raise ConfigError("a Galera has no primary and no replicas; kill, pause and restart its nodes")
        if node not in self.nodes:
            raise ConfigError(f"{node!r} is none of this cluster's nodes; name one of them")


def _check_sizes(replicas: int | None, galera: int | None, flavour: Flavour | None) -> None:
    """Raise ConfigError unless the two numbers name a cluster."""
    if replicas is not None and (type(replicas) is not int or not 0 <= replicas < _MOST):
        raise ConfigError(f"replicas={replicas!r}: write how many replicas the primary has, 0 to {_MOST - 1}")
    if galera is None:
        return
    if type(galera) is not int or not 1 <= galera <= _MOST:
        raise ConfigError(f"galera={galera!r}: write how many nodes the Galera has, 1 to {_MOST}; 3 is usual")
    if replicas is not None:
        raise ConfigError("write either replicas= or galera=; each node of a Galera has all data")
    if flavour == "mysql":
        raise ConfigError("galera= runs MariaDB; leave flavour= out")


def _answers(node: TemporaryServer) -> bool:
    return node.running and not node.paused
