"""What has changed between two topologies, in one line each, with the evidence.

Knows topologies. Does not know who reads the lines.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from improved_db.cluster.newcomers import strangers
from improved_db.cluster.views import ClusterState, HostState

if TYPE_CHECKING:
    from collections.abc import Iterator

    from improved_db.cluster.views import HostView, Topology


def changes(before: Topology, after: Topology) -> Iterator[tuple[int, str]]:
    """Yield a level of `logging` and a line for each change."""
    if after.term != before.term:
        old = before.accepted
        instead = f" in place of {old.address}" if old is not None and old.address != after.primary else ""
        level = logging.INFO if before.term == 0 else logging.WARNING
        yield level, f"term {after.term}: {after.primary} is the primary{instead}: {after.why}"
    elif after.state is not before.state:
        level = logging.INFO if after.state is ClusterState.STABLE else logging.WARNING
        state = (
            f"{after.primary} is the primary again"
            if after.primary is not None
            else f"the cluster is {after.state.value}"
        )
        yield level, f"term {after.term}: {state}: {after.why}"
    for address, view in after.hosts.items():
        yield from _of_host(before.hosts[address], view, after)
    new = strangers(after) - strangers(before)
    if new:
        names = ", ".join(sorted(new))
        yield logging.INFO, f"named by other servers, but not by that name in the list of servers: {names}"


def _of_host(before: HostView, after: HostView, topology: Topology) -> Iterator[tuple[int, str]]:
    if after.state is not before.state and HostState.UNKNOWN not in {before.state, after.state}:
        level = logging.WARNING if after.state is HostState.DOWN else logging.INFO
        why = f": {after.error}" if after.error else ""
        yield level, f"{after.address} is {after.state.value}{why}"
    if after.role != before.role and after.address != topology.primary and after.role in {"unfit", "replica"}:
        level = logging.WARNING if after.role == "unfit" else logging.INFO
        yield level, f"{after.address} is {after.role}: {after.why}"
    elif after.role == "replica" and after.stray and not before.stray:
        yield logging.WARNING, f"{after.address}: {after.why}"
