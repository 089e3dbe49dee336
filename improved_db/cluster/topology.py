"""`decide`: from the topology before, and the newest answers, to the topology now. Pure; every rule is below here.

Knows the order in which the rules are asked, and the roles that follow. Does not know connections, pools or threads.
"""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from improved_db.cluster import replication, voted
from improved_db.cluster.evidence import Choice, Ground, facts_of, same_server
from improved_db.cluster.roles import assign
from improved_db.cluster.sightings import seen
from improved_db.cluster.views import (
    Accepted,
    ClusterState,
    HostFacts,
    HostState,
    HostView,
    Kind,
    Role,
    Topology,
    absent,
    begin,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = [
    "Accepted",
    "ClusterState",
    "HostFacts",
    "HostState",
    "HostView",
    "Kind",
    "Role",
    "Topology",
    "absent",
    "begin",
    "decide",
]

RULES: Final[Mapping[str, Callable[[Ground], Choice]]] = {
    "replication": replication.choose,
    "group": voted.by_vote,
    "aurora": voted.by_vote,
    "galera": voted.by_order,
    "equal": voted.by_order,
    "sequential": voted.by_order,
    "static": voted.by_settings,
}


def decide(previous: Topology, facts: Mapping[str, HostFacts], now: float) -> Topology:
    """Return the topology that follows.

    Args:
        previous: The topology before, or `begin`.
        facts: What is new, by address; a server that is not in it said nothing new.
        now: The time, of the clock that `HostFacts.at` has.

    Returns:
        A topology whose term is the one before, or one more if another server is the primary now.
    """
    views = seen(previous.hosts, facts)
    previous = replace(previous, kind=_kind_of(previous, views))
    if previous.kind == "auto":
        return replace(previous, hosts=MappingProxyType(views), why="no server has answered yet")
    ground = Ground(previous, views, _barred(previous, views), now)
    choice = RULES[previous.kind](ground)
    before = previous.accepted
    accepted, term = before, previous.term
    if choice.primary is not None:
        view = views[choice.primary]
        if before is None or not same_server(view, before):
            term += 1
            views[view.address] = replace(view, quarantined=False)
            if before is not None and before.address != view.address and previous.kind == "replication":
                views[before.address] = replace(views[before.address], quarantined=True)
        accepted = _accepted(views[choice.primary], before)
    return replace(
        previous,
        hosts=MappingProxyType(assign(replace(ground, views=views), choice, accepted)),
        state=choice.state,
        primary=choice.primary,
        term=term,
        why=choice.why,
        accepted=accepted,
        view=_greatest(ground),
    )


def _kind_of(previous: Topology, views: Mapping[str, HostView]) -> Kind:
    """Return what keeps the servers in step: what the settings say, or the first server that answers."""
    if previous.kind != "auto":
        return previous.kind
    found = [view.facts.kind for view in views.values() if view.facts is not None and view.facts.kind is not None]
    return found[0] if found else "auto"


def _barred(previous: Topology, views: Mapping[str, HostView]) -> dict[str, str]:
    """Return the servers that can be nothing now, with the reason."""
    barred: dict[str, str] = {}
    up = [view for view in views.values() if view.state is HostState.UP and view.facts is not None]
    first = previous.accepted.address if previous.accepted is not None else None
    names: dict[str, str] = {}
    for view in sorted(up, key=lambda view: view.address != first):
        facts = facts_of(view)
        if facts.unfit:
            barred[view.address] = facts.unfit
        elif _is_of_another_kind(previous, facts):
            barred[view.address] = f"answers as a server of topology={facts.kind!r}, the others of {previous.kind!r}"
        elif facts.identity and previous.kind not in {"equal", "sequential"}:
            other = names.setdefault(facts.identity, view.address)
            if other != view.address:
                barred[view.address] = f"is the same server as {other}; keep one of them in the list"
    return barred


def _is_of_another_kind(previous: Topology, facts: HostFacts) -> bool:
    """Say whether a server is none of these; settings that say "replication" may be about any kind of server."""
    strict = previous.discovered or previous.kind in {"galera", "group", "aurora"}
    return strict and facts.kind is not None and facts.kind != previous.kind


def _accepted(view: HostView, before: Accepted | None) -> Accepted:
    """Return what is noted of the primary; what it does not tell any more is still known if it is the same server."""
    facts = view.facts
    old = before if before is not None and same_server(view, before) else Accepted(view.address)
    if facts is None:
        return old
    return Accepted(
        view.address,
        facts.identity or old.identity,
        facts.server_id or old.server_id,
        old.history if facts.history is None else facts.history,
        facts.view or old.view,
    )


def _greatest(ground: Ground) -> tuple[str, int] | None:
    """Return the greatest vote seen so far, among servers that are in their quorum."""
    greatest = ground.previous.view
    for view in voted.current(ground):
        vote = facts_of(view).view
        if vote is not None and (greatest is None or vote[0] != greatest[0] or vote[1] > greatest[1]):
            greatest = vote
    return greatest
