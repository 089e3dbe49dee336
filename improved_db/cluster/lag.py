"""How many seconds a replica is behind, from positions alone: no right, no clock and no word of a server is needed.

After each round the primary's position is noted with the time. A replica's lag is the age of the newest position that
it has reached. So a primary that is frozen makes its replicas lag from the last time it was seen, although they say 0;
and a primary that writes nothing makes none. The resolution is one round.

Knows positions and times. Does not know servers, roles or rounds.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from improved_db.cluster.gtid import GtidSet
    from improved_db.cluster.views import HostView, Topology

#: Positions that are kept: of five minutes, with four rounds in a second.
KEPT: Final = 1200


@dataclass
class Sample:
    """One position of the primary, and when it was last seen to be at it."""

    history: GtidSet
    seen_at: float


class Lags:
    """The positions of one primary."""

    def __init__(self) -> None:
        self._term = 0
        self._samples: deque[Sample] = deque(maxlen=KEPT)

    def measured(self, topology: Topology, now: float) -> Topology:
        """Return the topology with the lag of each replica; call it when a round is over."""
        if topology.term != self._term:
            self._term, self._samples = topology.term, deque(maxlen=KEPT)
        leader = topology.hosts.get(topology.accepted.address) if topology.accepted is not None else None
        if leader is not None and leader.facts is not None and leader.facts.history is not None:
            self._note(leader.facts.history, leader.facts.at)
        hosts = {
            address: replace(view, lag=0.0 if view.role == "primary" else self._lag(view, leader, now))
            for address, view in topology.hosts.items()
        }
        return replace(topology, hosts=MappingProxyType(hosts))

    def _note(self, history: GtidSet, at: float) -> None:
        if self._samples and self._samples[-1].history == history:
            self._samples[-1].seen_at = max(at, self._samples[-1].seen_at)
        else:
            self._samples.append(Sample(history, at))

    def _lag(self, view: HostView, leader: HostView | None, now: float) -> float | None:
        facts = view.facts
        if facts is None or view.role != "replica":
            return None
        told = facts.lag or 0.0
        if facts.history is None or not self._samples:
            return facts.lag
        # A primary that answered in this round is compared as it was then; one that did not is as old as its answer.
        heard = leader is not None and leader.facts is not None and leader.facts.round >= facts.round
        reached = next((one for one in reversed(self._samples) if facts.history.contains(one.history)), None)
        if reached is None:
            return max(told, now - self._samples[0].seen_at)
        if reached is self._samples[-1] and heard:
            return told
        return max(told, now - reached.seen_at)
