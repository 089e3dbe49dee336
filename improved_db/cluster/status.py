"""What one can see of each server: `HostStatus`.

Knows views, shares and statistics. Does not know who reads them.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from improved_db.cluster.server import Server
    from improved_db.cluster.views import Topology


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class HostStatus:
    """One server, as this program sees it now.

    Attributes:
        host: Its address.
        role: "primary", "replica", "unfit" (it may answer nothing, see *why*) or "unknown".
        state: "up", "suspect" (it did not answer the last question), "down" or "unknown".
        why: What led to its role and state, in words.
        term: How many primaries there have been, with the one that is it now.
        lag: Seconds it is behind the primary; None: unknown.
        position: What it has, as it writes that itself; empty: unknown.
        rtt: Seconds that its last answer took; None: it was not asked.
        in_use: Connections that borrowers hold.
        idle: Connections that are open and not in use.
        waiting: Borrowers who wait for a connection to it.
        served: Borrowers who got a connection to it.
        failures: Connections to it that failed, in a row.
        ejected_for: Seconds for which it gets no reads, after failures; 0.0: it is not ejected.
        identity: What it says it is; None: it was not asked.
        facts_age: Seconds since its last answer; None: it was not asked.
    """

    host: str
    role: str
    state: str
    why: str
    term: int
    lag: float | None
    position: str
    rtt: float | None
    in_use: int
    idle: int
    waiting: int
    served: int
    failures: int
    ejected_for: float
    identity: str | None
    facts_age: float | None


def statuses(topology: Topology, servers: Iterable[Server], now: float) -> list[HostStatus]:
    """Return the status of each server."""
    found: list[HostStatus] = []
    for server in servers:
        view, stats = topology.hosts.get(server.address), server.stats()
        if view is None:  # it joins just now
            continue
        facts = view.facts
        status = HostStatus(
            host=server.address,
            role=view.role,
            state=view.state.value,
            why=view.why,
            term=topology.term,
            lag=view.lag,
            position="" if facts is None or facts.history is None else str(facts.history),
            rtt=None if facts is None else facts.rtt,
            in_use=stats.used,
            idle=stats.idle,
            waiting=stats.waiting,
            served=stats.acquired,
            failures=server.share.failures,
            ejected_for=max(server.share.ejected_until - now, 0.0),
            identity=None if facts is None else facts.identity,
            facts_age=None if facts is None else now - facts.at,
        )
        found.append(status)
    return found
