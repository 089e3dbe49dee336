"""Several servers as one: two lanes for the executors, and the verbs of a pool's owner, for all pools together.

Knows the servers, the lanes and who tells the roles. Does not know SQL, retries or how roles are found out.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import random
from functools import partial
from typing import TYPE_CHECKING, Final

from improved_db.clock import MonotonicClock
from improved_db.cluster.drivers import Drivers
from improved_db.cluster.failover import Failovers
from improved_db.cluster.lane import Lane
from improved_db.cluster.looking import newcomer, roles_of
from improved_db.cluster.monitor import Monitor
from improved_db.cluster.needs import Needs
from improved_db.cluster.routes import CLOSED, ToPrimary, ToReplica, dismissed
from improved_db.cluster.server import PRIMARY, READER, Server
from improved_db.cluster.servers import Servers
from improved_db.cluster.status import statuses
from improved_db.cluster.views import ClusterState, HostState
from improved_db.critical import Reentered
from improved_db.errors import PoolClosed, PoolError, PoolTimeout
from improved_db.failures.error_table import WE_ARE_READ_ONLY
from improved_db.failures.raising import causes
from improved_db.failures.verdict import Backoff, Fate, Judgement, Verdict
from improved_db.logs import warn
from improved_db.pool.loan import DISMISSED
from improved_db.pool.snapshot import summed
from improved_db.settings.settings import ClusterSettings, HostSettings
from improved_db.wire.causal import NotReached

if TYPE_CHECKING:
    from collections.abc import Callable

    from improved_db.clock import Clock
    from improved_db.cluster.routes import Roles
    from improved_db.cluster.status import HostStatus
    from improved_db.cluster.views import Topology
    from improved_db.pool.loan import Loan
    from improved_db.pool.pool import Pool
    from improved_db.pool.snapshot import PoolStats
    from improved_db.pool.stats import Borrowed, Listener
    from improved_db.settings.settings import PoolSettings, Settings
    from improved_db.wire.connection import Connection

logger: logging.Logger = logging.getLogger("improved_db.cluster")


#: What a server says of a table, column, function or database that it does not have: of a replica that may change.
NOT_THERE_YET: Final = frozenset({1049, 1054, 1146, 1305})
NOT_YET: Final = Judgement(Verdict.REFUSED, Fate.KEEP, Backoff.OTHER, "not on the replica yet", at_once=True)


class Cluster:
    """Several servers.

    Attributes:
        settings: Those of each server's pools.
        clock: The time.
        primary: The lane of everything that may write.
        reader: The lane of reads that a replica may answer; its sessions are READ ONLY.
        driver: The drivers of all servers as one.
        needs: What reads have to see.
    """

    def __init__(
        self, settings: Settings, *, clock: Clock | None = None, adopted: Pool[Connection] | None = None
    ) -> None:
        """Describe the servers of *settings*; nothing connects yet.

        Args:
            settings: All of them.
            clock: The time.
            adopted: For one server: its pool, which is there already.
        """
        self.settings: PoolSettings = settings.pool
        self.clock: Clock = MonotonicClock() if clock is None else clock
        self._closed = False
        self._hear: Callable[..., object] | None = None
        cluster = settings.cluster or _of_one(settings)
        self._of_cluster = cluster
        self._servers = Servers(cluster.hosts, lambda host: Server(host, settings, self._acked, self._in_step))
        if adopted is not None:
            self._servers.first().adopt(adopted)
        self._roles: Roles = roles_of(settings, cluster, self.clock, self._borrowings)
        self._roles.on_change.append(self._changed)
        self._roles.on_gone.append(self._is_gone)
        self._roles.on_join.append(self._joined)
        self._failovers = Failovers(self._roles, self.clock, cluster.on_failover)
        self.needs: Needs = Needs(self._roles, causal_reads=cluster.causal_reads)
        self._failovers.on_settled.append(self.needs.keep)
        self._to_primary = ToPrimary(self._servers, self._roles, self._is_closed, self.needs.note_use)
        self._to_replica = ToReplica(
            self._servers,
            self._roles,
            self._is_closed,
            cluster,
            self.clock,
            self._could_not_connect,
            self.needs.now,
        )
        self.primary: Lane = self._lane(self._to_primary)
        self.reader: Lane = self._lane(self._to_replica)
        self.driver: Drivers = Drivers(self._servers, self._address_of_primary)

    def _lane(self, route: ToPrimary | ToReplica) -> Lane:
        return Lane(
            route,
            self.settings,
            self.clock,
            pause=self.pause,
            stats=self.stats,
            is_closed=self._is_closed,
            every=lambda: [pool for server in self._servers.values() for pool in server.every()],
            wake=self._roles.wake,
        )

    def _address_of_primary(self, seconds: float | None) -> str:
        return self._to_primary.primary(self._until(self.settings.acquire_timeout if seconds is None else seconds))

    def _is_closed(self) -> bool:
        return self._closed

    def _until(self, seconds: float) -> float:
        return self.clock.now() + seconds

    def _in_step(self) -> bool:
        return self._roles.topology.kind == "galera"

    def _acked(self, address: str, text: str) -> None:
        """Note the GTID of a commit.

        Raises:
            LateAnswer: Another server is the primary now, and does not have it.
        """
        self._failovers.acked(address, text)
        if self._roles.topology.primary == address:
            self.needs.note(text)

    # --- what happens ----------------------------------------------------------------------------------------------

    def heard(self, connection: Connection, error: BaseException, judgement: Judgement, in_block: bool) -> Judgement:
        """Note what a failure on a connection says about its server.

        Args:
            connection: Where it was.
            error: What was raised.
            judgement: How one server's failure is judged.
            in_block: Whether it was in a transaction, which cannot go elsewhere.

        Returns:
            How it is judged where there are others.
        """
        server = self._servers.get(connection._address)
        if server is None:
            return judgement
        if isinstance(error, NotReached):
            self._to_replica.missed(server)
        elif connection._read_only and judgement.reason == WE_ARE_READ_ONLY:
            _add_hint(error)
        elif judgement.fate is Fate.RETIRE_ALL:
            self._roles.ask_now(server.address, error)
        elif judgement.backoff is Backoff.OVERLOAD:
            server.share.overloaded(self.clock.now())
        elif _is_about_the_connection(error, judgement):
            self._could_not_connect(server.address, error)
        elif not in_block and self._may_be_there_soon(connection, error):
            return NOT_YET
        return judgement

    def _may_be_there_soon(self, connection: Connection, error: BaseException) -> bool:
        """Say whether a read named what its replica lacks; if so, the primary answers this thread's next read."""
        if not connection._read_only or not error.args or error.args[0] not in NOT_THERE_YET:
            return False
        return self._to_replica.primary_next(connection._address)

    def _could_not_connect(self, address: str, error: BaseException) -> None:
        seconds = self._servers[address].share.failed(self.clock.now(), random.random())  # noqa: S311  # no secret
        if seconds is not None:
            warn(logger, "%s gets no reads for %.1f s: %s", address, seconds, error)
        self._roles.ask_now(address, error)

    def _changed(self, before: Topology, after: Topology) -> None:
        """Close the pool of the server that is not the primary any more: its borrowers go to the new one.

        A server that answers, and says it is read-only, ends by itself what is under way. From any other one no answer
        can come that would be true in the new term.
        """
        for server in self._servers.values():
            server.reach.forget()
        if before.primary is not None:
            view = after.hosts[before.primary]
            ends = view.state is HostState.UP and view.facts is not None and view.facts.read_only is True
            self._servers[before.primary].retire(PRIMARY, force=not ends and isinstance(self._roles, Monitor))

    def _is_gone(self, address: str) -> None:
        """Cut the reads on a server that is down, or is not the one that has this name now: another one answers them.

        Writes go on waiting for their own answer: they may have been applied, and no other server may repeat them yet.
        """
        self._servers[address].retire(READER, force=True)

    def _joined(self, address: str) -> None:
        """Use a server that was not in the list, as the first one of the list is used."""
        first, server = self._servers.first(), self._servers.add(newcomer(self._of_cluster, address))
        server.listeners, server.suspended, server.look = list(first.listeners), first.suspended, first.look
        server.tell = None if self._hear is None else partial(self._hear, host=address)
        server.resize(self.settings.max_size)

    def term(self) -> int:
        """Return how many primaries there have been."""
        return self._roles.topology.term

    def settle(self, deadline: float) -> None:
        """Wait until a new primary has applied what it had received; see `Failovers.settle`."""
        self._failovers.settle(deadline)

    def _borrowings(self) -> int:
        return sum(pool.stats().acquired for pool in self._pools())

    def pause(self, seconds: float) -> None:
        """Sleep, as a retry does, unless another server becomes the primary, or the pools are closed first.

        Raises:
            PoolClosed: They are.
        """
        term = self._roles.topology.term

        def over() -> bool:
            return self._closed or dismissed() or self._roles.topology.term != term

        self._roles.wait_for(over, self._until(seconds))
        if self._closed:
            raise PoolClosed(CLOSED)
        if dismissed():
            raise PoolError(DISMISSED)

    # --- the owner's verbs -----------------------------------------------------------------------------------------

    def wait(self, timeout: float = 30.0, *, at_least: int = 1, patient: bool = True, role: str | None = None) -> None:
        """Wait until connections to the primary, or with *role* "replica" to one replica, are up.

        Args:
            timeout: Seconds.
            at_least: How many have to be up.
            patient: Retry while the server does not answer; otherwise raise the first connect error.
            role: "primary", "replica", or None, which means the primary.

        Raises:
            PoolTimeout: They were not up in time.
            ServerRefused: There was no primary by then.
            PoolClosed: The pools are closed.
        """
        deadline = self._until(timeout)
        if role != "replica":
            self._wait_for_primary(deadline, at_least, patient)
            return
        if not self._roles.wait_for(lambda: self._closed or bool(self._replicas()), deadline):
            raise PoolTimeout(f"no server was a replica in {timeout:g} s: {self._roles.topology.why}")
        if self._closed:
            raise PoolClosed(CLOSED)
        self._replicas()[0].reader().wait(deadline - self.clock.now(), patient=patient)

    def _wait_for_primary(self, deadline: float, at_least: int, patient: bool) -> None:
        while True:
            pool = self._to_primary.pool(deadline, set())[1]
            try:
                pool.wait(deadline - self.clock.now(), at_least=at_least, patient=patient)
            except PoolClosed:
                if self._closed:
                    raise
            else:
                return

    def _replicas(self) -> list[Server]:
        return self._to_replica.replicas(self._roles.topology)

    def replenish(self) -> None:
        """Start opening what is missing to ``min_size``, on the primary and on each replica."""
        topology = self._roles.topology
        if topology.primary is not None:
            self._servers[topology.primary].primary().replenish()
        for server in self._replicas():
            server.reader().replenish()

    def resize(self, max_size: int, min_size: int | None = None) -> None:
        """Change how many connections there may be to each server."""
        for server in self._servers.values():
            server.resize(max_size, min_size)
        self.settings = self.primary.settings = self.reader.settings = dataclasses.replace(
            self.settings, max_size=max_size
        )

    def drain(self) -> None:
        """Replace every connection: idle ones now, those in use when they are returned."""
        for pool in self._pools():
            pool.drain()

    def suspend(self) -> None:
        """Let every borrower wait until `resume`, each until its own deadline."""
        for server in self._servers.values():
            server.suspended = True
        for pool in self._pools():
            pool.suspend()

    def resume(self) -> None:
        """Serve the borrowers who wait, in their order."""
        for server in self._servers.values():
            server.suspended = False
        for pool in self._pools():
            pool.resume()

    def tell_events(
        self, hear: Callable[..., object], look: Callable[[Pool[Connection]], object] | None = None
    ) -> None:
        """Let *hear* be called with the kind of each event, its server included, and *look* with each pool."""
        self._hear = hear
        for server in self._servers.values():
            server.tell, server.look = partial(hear, host=server.address), look
            for pool in server.pools():
                pool.tell_events(server.tell, look)

    def add_listener(self, listener: Listener) -> None:
        """Let *listener* hear how long each wait, use and opening of a connection takes."""
        for server in self._servers.values():
            server.listeners.append(listener)
        for pool in self._pools():
            pool.add_listener(listener)

    def remove_listener(self, listener: Listener) -> None:
        """Let *listener* hear no more."""
        for server in self._servers.values():
            if listener in server.listeners:
                server.listeners.remove(listener)
        for pool in self._pools():
            pool.remove_listener(listener)

    def close(self, timeout: float = 5.0, *, force: bool = False) -> list[Borrowed]:
        """Close for good, as `Pool.close` does: every pool of every server."""
        self._closed = True
        self._roles.close()
        deadline = self._until(timeout)
        pools = [pool for server in self._servers.values() for pool in server.close()]
        for pool in pools:
            with contextlib.suppress(Reentered):  # `close` comes back to it
                pool.shut()
        left = [one for pool in pools for one in pool.close(max(deadline - self.clock.now(), 0.0), force=force)]
        return sorted(left, key=lambda one: -one.seconds)

    def _pools(self) -> list[Pool[Connection]]:
        return [pool for server in self._servers.values() for pool in server.pools()]

    # --- looking ---------------------------------------------------------------------------------------------------

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    def stats(self) -> PoolStats:
        """Return every gauge and counter of all pools, and the same for each server."""
        by_host = {address: server.stats() for address, server in self._servers.items()}
        found = summed(self.settings.name, by_host.values())
        reads, roles, failovers = self._to_replica.reads, self._roles, self._failovers
        found = dataclasses.replace(
            found,
            failovers=failovers.count,
            lost_writes=failovers.lost,
            seeking_seconds=roles.seconds(ClusterState.SEEKING),
            conflict_seconds=roles.seconds(ClusterState.CONFLICT),
            monitor_late=roles.late,
            **{name: getattr(reads, name) for name in reads.__slots__},
        )
        return dataclasses.replace(found, closed=self._closed, by_host=by_host)

    def borrowed(self) -> list[Borrowed]:
        """Return the loans that are out, the oldest first."""
        return [borrowed for _, borrowed in self.loans_out()]

    def loans_out(self) -> list[tuple[Loan[Connection], Borrowed]]:
        """Return the same, each with its loan."""
        out = [pair for pool in self.members() for pair in pool.loans_out()]
        return sorted(out, key=lambda pair: -pair[1].seconds)

    def members(self) -> list[Pool[Connection]]:
        """Return the pools of all servers, also those that are closed and may have connections in use."""
        return [pool for server in self._servers.values() for pool in server.every()]

    def hosts(self) -> list[HostStatus]:
        """Return what is known of each server, in the order of the settings."""
        return statuses(self._roles.topology, list(self._servers.values()), self.clock.now())

    def summary(self) -> str:
        """Return the primary, the term and the replicas in a few words."""
        if self._closed:
            return "closed"
        stats = self.stats()
        pool = f"{stats.size}/{stats.max_size} connections, {stats.waiting} waiting"
        if len(self._servers) == 1:
            return pool
        topology = self._roles.topology
        primary = topology.primary or topology.state.value
        able, others = len(self._replicas()), len(self._servers) - (topology.primary is not None)
        return f"primary={primary} term={topology.term} replicas={able}/{others}, {pool}"


def _is_about_the_connection(error: BaseException, judgement: Judgement) -> bool:
    """Say whether the connection itself failed, and not by a time limit of ours: slow is not down."""
    if judgement.backoff is not Backoff.CONNECTION or judgement.verdict not in _OF_CONNECTIONS:
        return False
    return isinstance(error, Exception) and not any(isinstance(link, TimeoutError) for link in causes(error))


def _add_hint(error: BaseException) -> None:
    """Say where the statement belongs, where Python has notes (3.11)."""
    add_note = getattr(error, "add_note", None)
    if add_note is not None and not getattr(error, "__notes__", None):
        add_note("the server refuses writes of a reader, also those of a function: run this statement on db itself")


_OF_CONNECTIONS = frozenset({Verdict.NOT_CONNECTED, Verdict.NOT_SENT, Verdict.UNKNOWN})


def _of_one(settings: Settings) -> ClusterSettings:
    """Return what a list of one primary would be, for the reader of one server."""
    host = HostSettings(address=settings.connect.server, connect=settings.connect, role="primary")
    return ClusterSettings(hosts=(host,), topology="static")
