"""Where a loan goes: to the primary, or to the replica that is least busy.

Knows roles, lag and preferences. Does not know how a connection is borrowed, or what is done with it.
"""

from __future__ import annotations

import random
import threading
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from improved_db.cluster.balance import choose
from improved_db.cluster.causal import NOTHING, can_be_waited_for, wait_for
from improved_db.cluster.counts import Reads
from improved_db.cluster.symptoms import problem_of
from improved_db.cluster.views import ClusterState, HostState
from improved_db.errors import PoolClosed, PoolError, ServerRefused
from improved_db.pool.loan import DISMISSED, current_errand
from improved_db.wire.exchange import DriverError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Protocol

    from improved_db.clock import Clock
    from improved_db.cluster.balance import Share
    from improved_db.cluster.causal import Written
    from improved_db.cluster.server import Server
    from improved_db.cluster.views import HostView, Topology
    from improved_db.pool.loan import Loan
    from improved_db.pool.pool import Pool
    from improved_db.settings.settings import ClusterSettings
    from improved_db.wire.connection import Connection

    class Roles(Protocol):
        """What says who is what: roles that were said, or a monitor that discovers them."""

        on_change: list[Callable[[Topology, Topology], object]]
        on_gone: list[Callable[[str], object]]
        on_join: list[Callable[[str], object]]

        @property
        def late(self) -> int:
            """How often the servers were asked too late, by this process's own fault."""

        @property
        def topology(self) -> Topology:
            """Who is what now."""

        def wait_for(self, predicate: Callable[[], bool], deadline: float) -> bool:
            """Wait until *predicate* holds, which is asked after each change; False if *deadline* comes first."""

        def ask_now(self, address: str, error: BaseException | None) -> None:
            """Look at the servers now, because one of them gave an error."""

        def has_left(self, address: str, deadline: float, over: Callable[[], bool]) -> bool:
            """Say whether a server that could not be connected to is not the primary any more, once that is known.

            *over* says whether the caller waits no longer for that.
            """

        def seconds(self, state: ClusterState) -> float:
            """Return for how long the cluster was in *state*, since its servers were first asked."""

        def wake(self) -> None:
            """Let the threads that wait look again."""

        def close(self) -> None:
            """End; wake every thread that waits."""


#: A route that is closed says so in these words, as a pool does.
CLOSED: Final = "the pools are closed"

#: How a connect fails to a server that may not be the primary for long.
LEAVING: Final = frozenset({"refused", "silent", "lost"})

#: Seconds more than a replica was told to wait, in which its answer has to come.
GRACE: Final = 0.25

#: Why the primary has to answer a read: no replica has what it has to see, or what it names.
CAUSAL: Final = "causal"
SCHEMA: Final = "schema"


class ToPrimary:
    """The route of everything that may write."""

    def __init__(
        self,
        servers: Mapping[str, Server],
        roles: Roles,
        is_closed: Callable[[], bool],
        used: Callable[[], object],
    ) -> None:
        """Direct writes; *used* is called when a connection is returned."""
        self._servers = servers
        self._roles = roles
        self._is_closed = is_closed
        self._used = used
        self._held = False  # a connection, ever

    def pool(self, deadline: float, tried: set[str]) -> tuple[str, Pool[Connection]]:
        """Return the primary's address and its pool; while there is no primary, wait until *deadline*.

        Raises:
            ServerRefused: There is none by then, or two servers claim to be it.
            PoolClosed: The pools were closed meanwhile.
        """
        del tried  # another server is none
        address = self.primary(deadline)
        return address, self._servers[address].primary()

    def primary(self, deadline: float) -> str:
        """Return the address of the primary; while there is none, wait until *deadline*."""
        address = self._roles.topology.primary
        if address is None or self._is_closed():
            self._roles.wait_for(self._is_decided, deadline)
            if self._is_closed():
                raise PoolClosed(CLOSED)
            if dismissed():
                raise PoolError(DISMISSED)
            topology = self._roles.topology
            address = topology.primary
            if address is None:
                if not self._is_hopeless(topology):
                    raise refusal(topology)
                address = next(iter(topology.hosts))  # its own error says best what is wrong
        return address

    def _is_hopeless(self, topology: Topology) -> bool:
        """Say whether waiting is in vain: no server lets this program in, or none was ever there."""
        views = topology.hosts.values()
        rejected = all(view.problem == "rejected" for view in views)
        return rejected or (not self._held and all(view.state is HostState.DOWN for view in views))

    def _is_decided(self) -> bool:
        topology = self._roles.topology
        decided = topology.primary is not None or topology.state is ClusterState.CONFLICT
        return decided or self._is_over() or self._is_hopeless(topology)

    def _is_over(self) -> bool:
        return self._is_closed() or dismissed()

    def holds(self, address: str, loan: Loan[Connection]) -> bool:
        """Say whether the server is still the primary."""
        del loan
        self._held = True
        return self._roles.topology.primary == address

    def returned(self, loan: Loan[Connection]) -> None:
        """Note that the primary was used."""
        del loan
        self._used()

    def failed(self, address: str, error: BaseException, tried: set[str], deadline: float) -> bool:
        """Have the servers looked at; say whether there is another primary, or none, so that the caller waits for one.

        To wait is no retry: nothing was sent. So it costs none of the budget that a crowd of callers would spend.
        """
        del tried
        self._roles.ask_now(address, error)
        left = problem_of(error) in LEAVING and self._roles.has_left(address, deadline, self._is_over)
        return left and not self._is_hopeless(self._roles.topology)

    def current(self) -> list[Pool[Connection]]:
        """Return the primary's pool, if there is a primary."""
        address = self._roles.topology.primary
        return [] if address is None else [self._servers[address].primary()]


class ToReplica:
    """The route of reads that may be answered by a replica.

    Attributes:
        reads: How they were answered.
    """

    def __init__(
        self,
        servers: Mapping[str, Server],
        roles: Roles,
        is_closed: Callable[[], bool],
        settings: ClusterSettings,
        clock: Clock,
        failed: Callable[[str, BaseException], object],
        needs: Callable[[], Written | None],
    ) -> None:
        """Direct reads.

        Args:
            servers: The servers, by address.
            roles: Who is what.
            is_closed: Whether the pools are closed.
            settings: Preference, zone and limits.
            clock: The time.
            failed: Called with the address of a server that could not be connected to.
            needs: Returns the writes that a read of this thread has to see; None: it is not known which.
        """
        self._servers = servers
        self._roles = roles
        self._is_closed = is_closed
        self._settings = settings
        self._now = clock.now
        self._failed = failed
        self._needs = needs
        self.reads: Reads = Reads()
        self._here = threading.local()  # why the primary has to answer the next read of this thread
        self._seen: Topology | None = None
        self._replicas: list[Server] = []

    # --- which server ----------------------------------------------------------------------------------------------

    def pool(self, deadline: float, tried: set[str]) -> tuple[str, Pool[Connection]]:
        """Return the address of the server that answers the next read, and its pool.

        Raises:
            ServerRefused: None may.
            PoolClosed: The pools were closed meanwhile.
        """
        found = self._choose(tried)
        if found is None and self._roles.topology.state is ClusterState.SEEKING:
            self._roles.wait_for(lambda: self._is_closed() or self._has_any(tried), deadline)
            found = self._choose(tried)
        if self._is_closed():
            raise PoolClosed(CLOSED)
        if found is None:
            raise refusal(self._roles.topology, "no replica may answer", self._settings.max_replication_lag)
        server, pool = found
        return server.address, pool

    def _choose(self, tried: set[str]) -> tuple[Server, Pool[Connection]] | None:
        topology = self._roles.topology
        preference = self._settings.read_preference
        primary = self._primary(topology, tried)
        if preference == "primary_preferred" and primary is not None:
            return primary, primary.reader()
        replicas = [server for server in self.replicas(topology) if server.address not in tried]
        why = self._here.__dict__.pop("why", None)
        able = self._able(replicas, topology) if why is None else []
        eligible = [*able, primary] if preference == "nearest" and primary is not None else able
        alone = preference == "replica" or primary is None
        dice, zone = random.random, self._settings.zone  # no secret
        chosen = choose(eligible, _share, _load, self._now(), dice, zone, last_resort=alone)
        if chosen is not None:
            return chosen, chosen.reader()
        if alone or primary is None:
            return None
        self.reads.fallback_reads += 1
        self.reads.causal_fallback += bool(replicas) and not able and why != SCHEMA
        return primary, primary.reader(primary.half())

    def _able(self, replicas: list[Server], topology: Topology) -> list[Server]:
        """Return the replicas that have what this thread has to see, or can be waited for."""
        needed = self._needs()
        if needed is None:
            return []
        if not needed:
            return replicas
        if not can_be_waited_for(needed, topology):
            return []
        now = self._now()
        return [
            server
            for server in replicas
            if server.reach.has(needed, topology.hosts[server.address])
            or (now >= server.reach.late_until and len(server.reach.waits) < server.half())
        ]

    def _has_any(self, tried: set[str]) -> bool:
        topology = self._roles.topology
        if topology.state is ClusterState.CONFLICT:
            return True
        allowed = self._settings.read_preference != "replica" and self._primary(topology, tried) is not None
        return allowed or any(server.address not in tried for server in self.replicas(topology))

    def _primary(self, topology: Topology, tried: set[str]) -> Server | None:
        address = topology.primary
        return None if address is None or address in tried else self._servers[address]

    def replicas(self, topology: Topology) -> list[Server]:
        """Return the servers that role and lag allow."""
        if topology is not self._seen:
            now = self._now()
            found = [server for server in self._servers.values() if self._may(topology.hosts.get(server.address))]
            for server in found if self._replicas else ():  # the first ones have the same way before them
                if server not in self._replicas:
                    server.share.came(now)
            self._seen, self._replicas = topology, found
        return self._replicas

    def _may(self, view: HostView | None) -> bool:
        most = self._settings.max_replication_lag
        if view is None or view.role != "replica" or view.state is HostState.DOWN:
            return False
        return most is None or (view.lag is not None and view.lag <= most)

    def current(self) -> list[Pool[Connection]]:
        """Return the pools of the replicas, or the primary's if there is none."""
        topology = self._roles.topology
        primary = self._primary(topology, set())
        servers = self.replicas(topology) or ([] if primary is None else [primary])
        return [server.reader(None if server is not primary else server.half()) for server in servers]

    # --- what becomes of the loan ----------------------------------------------------------------------------------

    def holds(self, address: str, loan: Loan[Connection]) -> bool:
        """Note that a connection works; if its server may lack what the read has to see, let it wait for that.

        Returns:
            False if the read is not to wait there.
        """
        server = self._servers[address]
        server.share.succeeded()
        topology = self._roles.topology
        needed = NOTHING if address == topology.primary else self._needs()
        if not needed:
            return True
        if server.reach.has(needed, topology.hosts[address]):
            self.reads.causal_free += 1
            return True
        if self._now() < server.reach.late_until or len(server.reach.waits) >= server.half():
            self._here.why = CAUSAL  # so it has become while this thread waited for the connection
            return False
        self.reads.causal_waited += 1
        seconds = min(self._settings.causal_timeout, max(loan.deadline - self._now(), 0.001))
        facts = topology.hosts[address].facts
        statement = wait_for(needed, seconds, unordered=facts is not None and facts.unordered is True)
        connection: Any = loan.connection
        connection._wait_limit = seconds + GRACE
        if not connection._pipelines:
            return self._has_waited(server, needed, loan, statement)
        server.reach.waits.add(loan)
        connection._on_reached = partial(server.reach.got, needed, loan)
        connection._wait = statement.encode()
        return True

    def _has_waited(self, server: Server, needed: Written, loan: Loan[Connection], statement: str) -> bool:
        """Wait with a round trip of its own, where the server takes one command at a time."""
        connection: Any = loan.connection
        try:
            rows = connection._within(connection._wait_limit, partial(connection._ask, statement))
        except DriverError:  # nothing of the read was sent yet, and another server may answer it
            rows = None
        if rows and rows[0][0] == "0":
            server.reach.got(needed, loan)
            return True
        self.missed(server)
        return False

    def missed(self, server: Server) -> None:
        """Note that a replica was not there in time: this thread's next read is answered by the primary."""
        server.reach.missed(self._now())
        self._here.why = CAUSAL

    def primary_next(self, address: str) -> bool:
        """Let this thread's next read be answered by the primary, if that is another server; say whether it is."""
        topology = self._roles.topology
        if topology.primary in {None, address} or self._settings.read_preference == "replica":
            return False
        self.reads.schema_lag += 1
        self._here.why = SCHEMA
        return True

    def returned(self, loan: Loan[Connection]) -> None:
        """Forget a loan that waited, or was to wait."""
        connection: Any = loan.connection
        connection._wait = None
        server = self._servers.get(connection._address)
        if server is not None:
            server.reach.waits.discard(loan)

    def failed(self, address: str, error: BaseException, tried: set[str], deadline: float) -> bool:
        """Note that a server could not be connected to; say whether another one may answer."""
        del deadline
        self._failed(address, error)
        tried.add(address)
        return self._has_any(tried)


def _share(server: Server) -> Share:
    return server.share


def _load(server: Server) -> int:
    return server.load()


def dismissed() -> bool:
    """Say whether the coroutine for which this thread works was cancelled."""
    errand = current_errand()
    return errand is not None and errand.dismissed


def refusal(topology: Topology, why: str = "no server takes writes", lag: float | None = None) -> ServerRefused:
    """Return the error for a call that no server may answer; it names each of them."""
    told = topology.why or topology.state.value
    servers = "; ".join(f"{address}: {_described(view)}" for address, view in topology.hosts.items())
    limit = f" (max_replication_lag={lag:g})" if lag is not None else ""
    return ServerRefused(0, f"{why}{limit}: {told}; {servers}")


def _described(view: HostView) -> str:
    words: list[str] = [view.role]
    if view.lag is not None:
        words.append(f"{view.lag:.1f} s behind")
    if view.why:
        words.append(view.why)
    return ", ".join(words)
