"""What is known of several servers: the answer of each (`HostFacts`), what follows for each (`HostView`), and for all.

All of them are frozen: a change makes new ones, so readers take no lock. Times are instants of the pool's clock.

Knows the words of a topology. Does not know the rules by which it changes, nor how servers are asked.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from improved_db.cluster.gtid import Dialect, GtidSet

#: What keeps the servers in step; "auto" until the first answer has told.
Kind = Literal["auto", "replication", "galera", "group", "aurora", "equal", "sequential", "static"]
Role = Literal["primary", "replica", "unfit", "unknown"]

#: Why a server did not answer: no process listens there; no answer in time; the connection was lost; the server does
#: not let us in; it has too many connections.
Problem = Literal["refused", "silent", "lost", "rejected", "overloaded"]

#: Seconds between two rounds of questions.
INTERVAL: Final = 2.0


class HostState(enum.Enum):
    """Whether a server can be reached."""

    UNKNOWN = "unknown"  #: it was not asked yet
    UP = "up"  #: it answered the last question
    SUSPECT = "suspect"  #: it did not answer the last one
    DOWN = "down"  #: it did not answer the last ones


class ClusterState(enum.Enum):
    """Whether there is one primary."""

    SEEKING = "seeking"  #: there is none, or it is not known yet
    STABLE = "stable"  #: there is one
    CONFLICT = "conflict"  #: several servers take writes, and it is not known which of them is right


@dataclass(frozen=True)
class HostFacts:
    """What one server said of itself, or that it did not answer.

    What a server does not tell is None; that is never read as a yes or a no.

    Attributes:
        address: Which server.
        at: When it answered, or when its time was over.
        asked_at: When the round began in which it was asked; None: at the same instant.
        reachable: Whether it answered.
        problem: Why it did not.
        error: That, in words.
        kind: What keeps it in step with the others, by its own settings.
        dialect: Which GTIDs it has.
        version: As its greeting says.
        identity: What no two servers share.
        server_id: The number, or of MySQL the UUID, under which its own transactions are written.
        read_only: Whether it refuses writes.
        history: The transactions that it has.
        replicating: Whether it applies what another server writes.
        source: Which server that is, in any of the words of `names`; the last transaction's ``origin:``, if no more is
            known.
        drained: Whether it has applied everything it had received, as far as it goes on applying.
        replicas: How many servers read its binary log.
        lag: Seconds by which it is behind the primary.
        rtt: Seconds that the answer took.
        unfit: Why it can serve nothing now, by its own word: a Galera node that is not in the cluster.
        leads: Whether it is the primary by the vote of its group.
        view: The vote by which it belongs to its group: the group, and a number that grows.
        peers: The servers that it names as members of its group, or as its replicas, as ``host:port``. They are only
            reported, unless ``discover=True``: the list of the settings says which servers there are.
        unordered: Whether it may commit what it replicates in another order than its source did, so that one
            transaction there says nothing of those before it.
    """

    address: str
    at: float
    asked_at: float | None = None
    reachable: bool = True
    problem: Problem | None = None
    error: str = ""
    kind: Kind | None = None
    dialect: Dialect | None = None
    version: str = ""
    identity: str | None = None
    server_id: str | None = None
    read_only: bool | None = None
    history: GtidSet | None = None
    replicating: bool | None = None
    source: tuple[str, ...] = ()
    drained: bool | None = None
    replicas: int | None = None
    lag: float | None = None
    rtt: float | None = None
    unfit: str = ""
    leads: bool | None = None
    view: tuple[str, int] | None = None
    peers: tuple[str, ...] = ()
    unordered: bool | None = None

    @property
    def round(self) -> float:
        """When the round began in which it was asked."""
        return self.at if self.asked_at is None else self.asked_at

    @property
    def names(self) -> tuple[str, ...]:
        """How replicas of this server may name it in their `source`."""
        return (f"id:{self.server_id}", f"at:{with_port(self.address)}", f"origin:{self.server_id}")


def with_port(address: str) -> str:
    """Return ``host:port`` of an address that may be without its port."""
    return address if re.search(r":\d+$", address) or address.startswith("/") else f"{address}:3306"


def absent(address: str, at: float, problem: Problem, error: str) -> HostFacts:
    """Return the facts of a server that did not answer."""
    return HostFacts(address, at, reachable=False, problem=problem, error=error)


@dataclass(frozen=True)
class HostView:
    """What is known of one server.

    Attributes:
        address: Which one.
        role: "primary"; "replica": it may answer reads; "unfit": it may answer nothing, for the reason in `why`.
        state: Whether it can be reached.
        why: What led to the role, in words.
        error: Why it did not answer the last question; nothing if it did.
        problem: The same, as a kind; None if it did.
        lag: Seconds by which it is behind the primary; None: not known.
        facts: Its last answer, which may be old; None: there was none.
        missed: Questions in a row without an answer.
        refused: Of these, those where no process listened.
        quarantined: It was the primary, and another one took its place: it is not accepted again by itself.
        stray: It took writes while another server was the primary, and follows that one.
        fit_since: Since when it could serve without a break.
        moved_at: When its history last grew.
        assigned: The role that the settings give it, where they do.
    """

    address: str
    role: Role = "unknown"
    state: HostState = HostState.UNKNOWN
    why: str = ""
    error: str = ""
    problem: Problem | None = None
    lag: float | None = None
    facts: HostFacts | None = None
    missed: int = 0
    refused: int = 0
    quarantined: bool = False
    stray: bool = False
    fit_since: float | None = None
    moved_at: float | None = None
    assigned: Role | None = None

    @property
    def readable(self) -> bool:
        """Whether reads may be sent there, as far as its role and state go."""
        return self.role in {"primary", "replica"} and self.state in {HostState.UP, HostState.SUSPECT}


@dataclass(frozen=True)
class Accepted:
    """The server that was accepted as primary last; it stays noted while it cannot be reached.

    Attributes:
        address: Which one.
        identity: What it said it is.
        server_id: As in `HostFacts`.
        history: What it had when it last answered.
        view: The vote it had then.
    """

    address: str
    identity: str | None = None
    server_id: str | None = None
    history: GtidSet | None = None
    view: tuple[str, int] | None = None


@dataclass(frozen=True)
class Topology:
    """What is known of all servers.

    Attributes:
        kind: What keeps them in step.
        state: Whether there is one primary.
        primary: Its address; None unless `state` is STABLE.
        term: Grows by one whenever another server is accepted as primary; 0 before the first.
        hosts: What is known of each, by address, in the order of the settings.
        why: What led to the last change, with its evidence.
        accepted: Which server was accepted last.
        view: The greatest vote seen.
        interval: Seconds between two rounds; answers older than three of these decide nothing.
        discovered: Whether the servers said what keeps them in step, and not the settings.
    """

    kind: Kind
    hosts: Mapping[str, HostView]
    state: ClusterState = ClusterState.SEEKING
    primary: str | None = None
    term: int = 0
    why: str = "no server was asked yet"
    accepted: Accepted | None = None
    view: tuple[str, int] | None = None
    interval: float = field(default=INTERVAL, repr=False)
    discovered: bool = field(default=False, repr=False)

    @property
    def replicas(self) -> tuple[str, ...]:
        """The addresses of the servers that may answer reads and are not the primary."""
        return tuple(host.address for host in self.hosts.values() if host.role == "replica" and host.readable)

    def is_fresh(self, host: HostView, now: float) -> bool:
        """Say whether the last answer of *host* may decide something."""
        return host.facts is not None and host.state is HostState.UP and now - host.facts.at <= 3 * self.interval


def begin(
    addresses: tuple[str, ...],
    kind: Kind = "auto",
    *,
    roles: Mapping[str, Role] | None = None,
    interval: float = INTERVAL,
) -> Topology:
    """Return the topology before any server was asked.

    Args:
        addresses: The servers, in the order of the settings.
        kind: What keeps them in step.
        roles: What the settings say of them, for "static".
        interval: As in `Topology`.
    """
    given = roles or {}
    views = {address: HostView(address, assigned=given.get(address)) for address in addresses}
    return Topology(kind, MappingProxyType(views), interval=interval, discovered=kind == "auto")
