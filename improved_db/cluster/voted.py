"""Which server is the primary where a vote, or the settings, decide: Galera, Group Replication, Aurora, lists, static.

Servers with a vote know the truth, if they are in the quorum by their own word and their vote is not older than the
greatest one seen. A server that comes back is not the first in the list again before it has been fit for some seconds.

Knows the rules. Does not know how servers are asked, or what becomes of pools and statements.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from improved_db.cluster.evidence import Choice, Ground, facts_of
from improved_db.cluster.replication import conflict
from improved_db.cluster.views import ClusterState, HostState

if TYPE_CHECKING:
    from improved_db.cluster.views import HostView

SEEKING, STABLE = ClusterState.SEEKING, ClusterState.STABLE

#: Seconds for which a server that comes back has to be fit before it is the first of the list again.
HOLD: Final = 10.0


def by_vote(ground: Ground) -> Choice:
    """Return the primary of a group, or of Aurora: the server that says it is, with the greatest vote."""
    if ground.accepted is None and ground.unasked():
        return Choice(SEEKING, None, "the first round is not over")
    claims = [view for view in current(ground) if leads(view)]
    best = max((_counter(view) for view in claims), default=0)
    claims = [view for view in claims if _counter(view) == best]
    mine = _mine(ground)
    if not claims:
        if mine is not None and _is_merely_silent(ground, mine):
            return Choice(STABLE, mine.address, ground.previous.why)
        return Choice(SEEKING, None, f"no server says that it leads{ground.silent()}")
    if mine is not None and mine in claims and (len(claims) == 1 or best):
        return Choice(STABLE, mine.address, f"{mine.address} leads{_vote(mine)}")  # several: a multi-primary group
    if len(claims) > 1 and not best:
        return conflict(claims)
    return Choice(STABLE, claims[0].address, f"{claims[0].address} leads{_vote(claims[0])}")


def by_order(ground: Ground) -> Choice:
    """Return the first fit server of the list: of Galera, whose nodes are alike, and of a list of proxies."""
    fit = current(ground)
    mine = _mine(ground)
    sticky = ground.previous.kind == "equal"
    if ground.accepted is None and ground.unasked() and not (fit and fit[0] is next(iter(ground.views.values()))):
        return Choice(SEEKING, None, "the first round is not over")
    if mine is not None and mine not in fit and _is_merely_silent(ground, mine) and not _outvoted(mine, fit):
        return Choice(STABLE, mine.address, ground.previous.why)
    if not fit:
        return Choice(SEEKING, None, f"no server is fit{ground.silent()}")
    if mine not in fit or mine is None:
        steady = [view for view in fit if _has_held(ground, view)] or fit
        return Choice(STABLE, steady[0].address, f"{steady[0].address} is the first fit server of the list")
    for view in fit:
        if view is mine or sticky:
            break
        if _has_held(ground, view):
            return Choice(STABLE, view.address, f"{view.address} is fit again, and comes before {mine.address}")
    return Choice(STABLE, mine.address, f"{mine.address} is fit")


def by_settings(ground: Ground) -> Choice:
    """Return the primary that the settings name, while it can be reached."""
    primary = next(view for view in ground.views.values() if view.assigned == "primary")
    if primary.state is HostState.UNKNOWN:
        return Choice(SEEKING, None, f"{primary.address} was not asked yet")
    if primary.state is HostState.DOWN:
        return Choice(SEEKING, None, f"{primary.address} is down: {primary.error}")
    return Choice(STABLE, primary.address, f"{primary.address} is the primary by the settings")


def current(ground: Ground) -> list[HostView]:
    """Return the fit servers whose vote is not older than the greatest one that was seen before."""
    return [view for view in ground.fit() if not is_outdated(ground, view)]


def is_outdated(ground: Ground, view: HostView) -> bool:
    """Say whether *view* has an older vote than the greatest one seen: it was away, and does not know it yet."""
    seen, own = ground.previous.view, facts_of(view).view
    if seen is None or own is None:
        return False
    if own[0] == seen[0]:
        return own[1] < seen[1]
    if ground.previous.kind == "group":  # their names begin with the time of their bootstrap
        return own[0] < seen[0]
    # Galera's names are random. A node of another cluster is none of ours while one of ours is fit.
    votes = [facts_of(other).view for other in ground.fit()]
    return any(vote is not None and vote[0] == seen[0] for vote in votes)


def leads(view: HostView) -> bool:
    """Say whether a server says that it leads; without the right to see the votes, that it takes writes."""
    facts = facts_of(view)
    return (facts.read_only is False) if facts.leads is None else facts.leads and facts.read_only is not True


def _counter(view: HostView) -> int:
    facts = facts_of(view)
    return 0 if facts.view is None else facts.view[1]


def _mine(ground: Ground) -> HostView | None:
    accepted = ground.accepted
    return None if accepted is None else ground.views.get(accepted.address)


def _is_merely_silent(ground: Ground, mine: HostView) -> bool:
    """Say whether the primary has said nothing to the contrary, and is not DOWN yet."""
    waits = ground.previous.state is STABLE and mine.state is not HostState.DOWN
    return waits and not ground.previous.is_fresh(mine, ground.now)


def _outvoted(mine: HostView, fit: list[HostView]) -> bool:
    """Say whether the others have voted without *mine* since it last answered."""
    own = mine.facts.view if mine.facts is not None else None
    return own is not None and any(
        vote is not None and vote[0] == own[0] and vote[1] > own[1] for vote in (facts_of(view).view for view in fit)
    )


def _has_held(ground: Ground, view: HostView) -> bool:
    return view.fit_since is not None and ground.now - view.fit_since >= HOLD


def _vote(view: HostView) -> str:
    vote = facts_of(view).view
    return "" if vote is None else f", by the vote {vote[0]}:{vote[1]}"
