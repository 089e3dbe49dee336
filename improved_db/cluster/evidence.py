"""What the answers prove: which servers may decide, which take writes, who follows whom, who descends from whom.

Knows answers and histories. Does not know which server is chosen because of them.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from improved_db.cluster.views import ClusterState, HostState

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from improved_db.cluster.gtid import GtidSet
    from improved_db.cluster.views import Accepted, HostFacts, HostView, Topology


class Choice(NamedTuple):
    """What a rule says.

    Attributes:
        state: Whether there is one primary.
        primary: Its address, if there is.
        why: The evidence, in words.
        rivals: In a conflict, the servers that take writes.
    """

    state: ClusterState
    primary: str | None
    why: str
    rivals: tuple[str, ...] = ()


class Standing(enum.Enum):
    """What the accepted primary says now."""

    GOOD = "good"  #: it takes writes
    SILENT = "silent"  #: it says nothing, yet
    LOST = "lost"  #: it is DOWN, or another server answers in its place
    DEMOTED = "demoted"  #: it says that it takes no writes


@dataclass(frozen=True)
class Ground:
    """What a rule decides upon.

    Attributes:
        previous: The topology before.
        views: The servers, with the newest answers.
        barred: Servers that can be nothing now, with the reason.
        now: The time.
    """

    previous: Topology
    views: Mapping[str, HostView]
    barred: Mapping[str, str]
    now: float

    @property
    def accepted(self) -> Accepted | None:
        """The server that was accepted as primary last."""
        return self.previous.accepted

    def answered(self) -> list[HostView]:
        """Return the servers whose last answer may decide something, in the order of the settings."""
        return [view for view in self.views.values() if self.previous.is_fresh(view, self.now)]

    def fit(self) -> list[HostView]:
        """Return those of them that are not barred."""
        return [view for view in self.answered() if view.address not in self.barred]

    def writers(self) -> list[HostView]:
        """Return those of them that take writes."""
        return [view for view in self.fit() if facts_of(view).read_only is False]

    def unasked(self) -> list[HostView]:
        """Return the servers of which nothing is known yet."""
        return [view for view in self.views.values() if view.state is HostState.UNKNOWN]

    def silent(self) -> str:
        """Return, in words, which servers did not answer; nothing if all did."""
        names = [view.address for view in self.views.values() if view.state is not HostState.UP]
        return f"; {', '.join(names)} did not answer" if names else ""

    def standing(self) -> tuple[Standing, str]:
        """Return what the accepted primary says now, and the evidence."""
        accepted = self.accepted
        view = self.views.get(accepted.address) if accepted is not None else None
        if accepted is None or view is None:
            return Standing.LOST, "the primary is not in the list of servers any more"
        name = accepted.address
        if view.state is HostState.DOWN:
            return Standing.LOST, f"{name} is down: {view.error}"
        if not self.previous.is_fresh(view, self.now):
            return Standing.SILENT, f"{name} did not answer: {view.error}"
        if not same_server(view, accepted):
            return Standing.LOST, f"another server answers as {name}"
        if facts_of(view).read_only is None:
            return Standing.SILENT, f"{name} does not say whether it takes writes"
        if name in self.barred:
            return Standing.DEMOTED, f"{name} {self.barred[name]}"
        if facts_of(view).read_only:
            return Standing.DEMOTED, f"{name} says it is read-only"
        return Standing.GOOD, f"{name} takes writes"


def facts_of(view: HostView) -> HostFacts:
    """Return the answer of a server that has answered."""
    assert view.facts is not None
    return view.facts


def same_server(view: HostView, accepted: Accepted) -> bool:
    """Say whether *view* is the accepted server; without an identity, the address says it."""
    if view.address != accepted.address:
        return False
    identity = None if view.facts is None else view.facts.identity
    return identity is None or accepted.identity is None or identity == accepted.identity


def follows(follower: HostView, leader: HostView) -> bool:
    """Say whether *follower* applies what *leader* writes.

    Where only the origin of the last transaction is known, that is no proof if *leader* says it has no replica.
    """
    facts, other = follower.facts, leader.facts
    if facts is None or other is None or not facts.replicating:
        return False
    common = set(facts.source) & set(other.names)
    return any(not name.startswith("origin:") or other.replicas != 0 for name in common)


def followed_by_all(ground: Ground, contenders: Sequence[HostView]) -> HostView | None:
    """Return the contender that the other servers testify for: all replicas follow it, and none follows another one.

    A contender that itself follows another one is a witness for that one. A server that says it has replicas which we
    do not see is not outvoted.
    """
    names = {view.address for view in contenders}
    found: set[str] = set()
    for witness in ground.fit():
        if not facts_of(witness).replicating:
            continue
        followed = _leader_of(witness, contenders)
        if followed is not None:
            found.add(followed)
        elif witness.address not in names and not any(
            follows(witness, other) for other in ground.fit() if other is not witness
        ):
            return None  # it follows a server that we do not know
    if len(found) != 1:
        return None
    leader = next(view for view in contenders if view.address in found)
    if facts_of(leader).replicating:
        return None
    others = [view for view in contenders if view is not leader]
    return None if any(facts_of(view).replicas and not facts_of(view).replicating for view in others) else leader


def _leader_of(witness: HostView, contenders: Sequence[HostView]) -> str | None:
    """Return which contender a replica follows.

    If it may not tell, the contenders do: one of them has replicas, and the others have none.
    """
    others = [one for one in contenders if one is not witness]
    if all(name.startswith("origin:") for name in facts_of(witness).source):
        counts = {one.address: facts_of(one).replicas for one in others}
        with_replicas = [address for address, count in counts.items() if count]
        if len(with_replicas) == 1 and list(counts.values()).count(0) == len(counts) - 1:
            return with_replicas[0]
    return next((one.address for one in others if follows(witness, one)), None)


def descends(history: GtidSet | None, accepted: Accepted) -> bool:
    """Say whether a server's history goes on from the accepted primary's: it has something which that one wrote.

    A primary that has written nothing yet is known by what it had: the server must have something of each origin. What
    no history tells cannot be disproved.
    """
    if history is None or not accepted.history:
        return True
    own = accepted.history.written_by(accepted.server_id) if accepted.server_id else None
    if own:
        return any(origin in history.parts for origin in own.parts)
    return all(origin in history.parts for origin in accepted.history.parts)
