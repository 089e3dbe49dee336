"""Which server is the primary where no vote decides: the rules F1 to F5 of plain replication.

- F1, at the start: after one round, the one server that takes writes is accepted.
- F2: if the accepted server says it is read-only, it is not the primary any more, without a second opinion.
- F3: if it cannot be reached, and no other server takes writes, it stays the accepted one.
- F4: if it cannot be reached or is read-only, a server that takes writes and descends from it is accepted.
- F5: if both take writes, the replicas testify. Without testimony there is a conflict, and no server gets writes.

A server that was superseded is quarantined: it is accepted again by itself only if its successor is down or read-only,
and it has all of that one's history. Histories settle ties, never clocks.

Knows the rules. Does not know how servers are asked, or what becomes of pools and statements.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from improved_db.cluster.evidence import Choice, Ground, Standing, descends, facts_of, followed_by_all, same_server
from improved_db.cluster.views import ClusterState, HostState

if TYPE_CHECKING:
    from improved_db.cluster.gtid import GtidSet
    from improved_db.cluster.views import Accepted, HostView

SEEKING, STABLE, CONFLICT = ClusterState.SEEKING, ClusterState.STABLE, ClusterState.CONFLICT


def choose(ground: Ground) -> Choice:
    """Return the primary by the rules F1 to F5."""
    accepted = ground.accepted
    if accepted is None:
        return _first(ground)
    standing, evidence = ground.standing()
    previous = ground.previous
    if standing is Standing.GOOD:
        return _against_rivals(ground, accepted)
    if standing is Standing.SILENT and previous.state is not SEEKING:  # F3: a silence alone decides nothing
        return _unchanged(ground)
    return _successor(ground, accepted, standing, evidence)


def _first(ground: Ground) -> Choice:
    """F1: no server was accepted before."""
    if ground.unasked():
        return Choice(SEEKING, None, "the first round is not over")
    writers = ground.writers()
    leaders = [view for view in writers if not facts_of(view).replicating] or writers
    if not leaders:
        return Choice(SEEKING, None, f"no server takes writes{ground.silent()}")
    if len(leaders) == 1:
        return Choice(STABLE, leaders[0].address, f"{leaders[0].address} takes writes{ground.silent()}")
    leader = followed_by_all(ground, leaders)
    if leader is not None:
        return Choice(STABLE, leader.address, f"all replicas follow {leader.address}")
    return conflict(leaders)


def _against_rivals(ground: Ground, accepted: Accepted) -> Choice:
    """F5: the accepted server takes writes, and perhaps others do."""
    mine = ground.views[accepted.address]
    rivals = [*_free(ground, accepted), *_silent_rivals(ground, accepted)]
    if not facts_of(mine).replicating:  # a replica that takes writes is a replica
        rivals = [view for view in rivals if not facts_of(view).replicating]
    if any(facts_of(view).round > facts_of(mine).round for view in rivals):
        # In this round it was not heard yet: what it said in an earlier one is no evidence against a rival's new word.
        return _unchanged(ground)
    if rivals:
        leader = followed_by_all(ground, [mine, *rivals])
        if leader is None:
            return conflict([mine, *rivals])
        if leader is not mine:
            silent = not ground.previous.is_fresh(leader, ground.now)
            if silent or not descends(facts_of(leader).history, accepted):
                return conflict([mine, *rivals])
            return Choice(STABLE, leader.address, f"all replicas follow {leader.address}, none follows {mine.address}")
    return Choice(STABLE, mine.address, f"{mine.address} takes writes")


def _successor(ground: Ground, accepted: Accepted, standing: Standing, evidence: str) -> Choice:
    """F3 and F4: the accepted server cannot be reached, or is read-only."""
    candidates = [
        view
        for view in _free(ground, accepted) + _pardoned(ground, accepted, standing)
        # A follower that was writable before its primary vanished was not promoted.
        if not (view.stray and facts_of(view).replicating and standing is not Standing.DEMOTED)
    ]
    if not candidates:
        return Choice(SEEKING, None, f"{evidence}; no other server takes writes")
    heirs = [view for view in candidates if descends(facts_of(view).history, accepted)]
    if len(candidates) > 1:
        leader = followed_by_all(ground, candidates)
        heirs = [leader] if leader in heirs and leader is not None else heirs
    if len(heirs) == 1:
        heir = heirs[0].address
        return Choice(STABLE, heir, f"{evidence}; {heir} takes writes, and its history goes on from {accepted.address}")
    if not heirs:
        names = ", ".join(view.address for view in candidates)
        why = f"{evidence}; {names} takes writes, but its history is not that of {accepted.address}"
        return Choice(CONFLICT, None, why, tuple(view.address for view in candidates))
    return conflict(heirs)


def _free(ground: Ground, accepted: Accepted) -> list[HostView]:
    """Return the servers that take writes, but for the accepted one and the quarantined."""
    return [view for view in ground.writers() if not view.quarantined and not same_server(view, accepted)]


def _pardoned(ground: Ground, accepted: Accepted, standing: Standing) -> list[HostView]:
    """Return the quarantined servers that take writes, if their successor does not and they have all of its history.

    An operator has switched back to a repaired server, and may have done so between two looks. If the successor says
    that it is read-only, its own answer of the same round tells what it has: then it takes no more.
    """
    if standing is Standing.LOST:
        return [view for view in _quarantined(ground, accepted) if _has_all(view, accepted.history)]
    told = facts_of(ground.views[accepted.address]) if standing is Standing.DEMOTED else None
    if told is None or not told.read_only:
        return []
    return [
        view
        for view in _quarantined(ground, accepted)
        if facts_of(view).round == told.round and _has_all(view, told.history)
    ]


def _quarantined(ground: Ground, accepted: Accepted) -> list[HostView]:
    return [view for view in ground.writers() if view.quarantined and not same_server(view, accepted)]


def _has_all(view: HostView, wanted: GtidSet | None) -> bool:
    """Say whether a server has a history of another one; without GTIDs nothing proves it."""
    history = facts_of(view).history
    return bool(wanted) and wanted is not None and history is not None and history.contains(wanted)


def _silent_rivals(ground: Ground, accepted: Accepted) -> list[HostView]:
    """Return the rivals of a conflict that have only become silent: that alone does not end it."""
    if ground.previous.state is not CONFLICT:
        return []
    heard = {view.address for view in ground.answered()}
    return [
        view
        for view in ground.views.values()
        if view.address not in heard
        and view.state is not HostState.DOWN
        and view.facts is not None
        and view.facts.read_only is False
        and view.address not in ground.barred
        and not view.quarantined
        and not same_server(view, accepted)
    ]


def _unchanged(ground: Ground) -> Choice:
    """Return what was chosen before."""
    previous = ground.previous
    writers = [view.address for view in ground.views.values() if view.facts and view.facts.read_only is False]
    rivals = tuple(writers) if previous.state is CONFLICT else ()
    return Choice(previous.state, previous.primary, previous.why, rivals)


def conflict(rivals: list[HostView]) -> Choice:
    """Return what several servers that take writes amount to, with their positions."""
    names = " and ".join(f"{view.address} (has {facts_of(view).history or 'no GTIDs'})" for view in rivals)
    why = (
        f"{names} all take writes, and no replica tells which of them is right; set read_only=ON on all but one, or, "
        "if the order of the list is the truth, write topology='sequential'"
    )
    return Choice(CONFLICT, None, why, tuple(view.address for view in rivals))
