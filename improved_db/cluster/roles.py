"""Which role each server has, once the primary is known.

Knows what makes a replica one that may answer reads. Does not know how a primary is chosen.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from improved_db.cluster import voted
from improved_db.cluster.evidence import facts_of, follows
from improved_db.cluster.views import HostState

if TYPE_CHECKING:
    from improved_db.cluster.evidence import Choice, Ground
    from improved_db.cluster.gtid import GtidSet
    from improved_db.cluster.views import Accepted, HostFacts, HostView, Role

#: Seconds for which a replica counts as running after its history grew, where it does not say whether it runs.
MOVING: Final = 30.0


def assign(ground: Ground, choice: Choice, accepted: Accepted | None) -> dict[str, HostView]:
    """Return the views, each with its role, why it has it, and what is remembered of it."""
    return {address: _assigned(ground, view, choice, accepted) for address, view in ground.views.items()}


def _assigned(ground: Ground, view: HostView, choice: Choice, accepted: Accepted | None) -> HostView:
    address, kind = view.address, ground.previous.kind
    if kind == "static":
        role: Role = "unfit" if address in ground.barred else view.assigned or "unknown"
        return _with(view, role, ground.barred.get(address, view.why))
    if address == choice.primary:
        return _with(view, "primary", choice.why, stray=False)
    if view.state is HostState.DOWN or view.facts is None:
        return _with(view, "unknown", view.error)
    if accepted is None and ground.unasked():
        return _with(view, "unknown", choice.why)
    if not ground.previous.is_fresh(view, ground.now):
        return _with(view, "unknown" if view.role == "primary" else view.role, view.why)
    if address in ground.barred:
        return _with(view, "unfit", ground.barred[address])
    if kind == "replication":
        return _replicating(ground, view, choice, accepted)
    return _with(view, *_of_group(ground, view))


def _with(
    view: HostView, role: Role, why: str, *, quarantined: bool | None = None, stray: bool | None = None
) -> HostView:
    """Return the view with a role; the same object if nothing in it is new."""
    quarantined = view.quarantined if quarantined is None else quarantined
    stray = view.stray if stray is None else stray
    if (view.role, view.why, view.quarantined, view.stray) == (role, why, quarantined, stray):
        return view
    return replace(view, role=role, why=why, quarantined=quarantined, stray=stray)


def _of_group(ground: Ground, view: HostView) -> tuple[Role, str]:
    kind = ground.previous.kind
    if kind in {"equal", "sequential"}:
        return "unknown", f"stands by, as topology={kind!r} has it"
    if voted.is_outdated(ground, view):
        return "unfit", "has an older vote than the others: it was away"
    if kind == "aurora" and facts_of(view).read_only is not True:
        return "unfit", "says it is a writer, but it is not the primary"
    return "replica", "is in step with its group"


def _replicating(ground: Ground, view: HostView, choice: Choice, accepted: Accepted | None) -> HostView:
    facts = facts_of(view)
    primary = ground.views.get(choice.primary) if choice.primary is not None else None
    if view.address in choice.rivals:
        return _with(view, "unfit", "takes writes, as another server does")
    errant = _errant(ground, view, primary)
    if view.quarantined and not _is_repaired(ground, view, primary, errant):
        name = "another server" if accepted is None else accepted.address
        writes = "it still takes writes" if facts.read_only is False else "it has not followed that one yet"
        return _with(view, "unfit", f"was superseded by {name}; {writes}", stray=False)
    stray = facts.read_only is False and (view.stray or _follows_by_mistake(ground, view, primary))
    return _with(view, *_role(ground, view, primary, errant), quarantined=False, stray=stray)


def _follows_by_mistake(ground: Ground, view: HostView, primary: HostView | None) -> bool:
    """Say whether a server takes writes and replicates while the primary, in the same round, is well."""
    if primary is None or not facts_of(view).replicating or not ground.previous.is_fresh(primary, ground.now):
        return False
    return facts_of(primary).round >= facts_of(view).round


def _role(ground: Ground, view: HostView, primary: HostView | None, errant: GtidSet | None) -> tuple[Role, str]:
    facts = facts_of(view)
    if errant:
        name = primary.address if primary is not None else "the primary"
        return "unfit", f"has {errant.size} transactions that {name} lacks: {_short(errant)}"
    if facts.read_only is False and not facts.replicating:
        return "unfit", "takes writes, and is not followed"
    if facts.replicating is False:
        return "unfit", "does not replicate"
    if facts.replicating is None and not _moves(ground, view, primary):
        return "unfit", "does not move, and is behind: it seems not to replicate"
    if facts.read_only is False:
        return "replica", "follows, but takes writes: set read_only=ON on it"
    is_known = primary is not None and follows(view, primary)
    return "replica", f"follows {primary.address}" if is_known and primary is not None else "replicates"


def _errant(ground: Ground, view: HostView, primary: HostView | None) -> GtidSet | None:
    """Return what a replica had at its answer before this one, and the primary lacks in its newest.

    The answers of one round are not of one instant: a replica may be asked later, and have more.
    """
    before = ground.previous.hosts.get(view.address)
    mine = before.facts if before is not None else None
    if primary is None or primary.facts is None or mine is None or mine.history is None:
        return None
    if primary.facts.history is None or mine.at >= primary.facts.at or mine.identity != facts_of(view).identity:
        return None
    return mine.history.minus(primary.facts.history) or None


def _is_repaired(ground: Ground, view: HostView, primary: HostView | None, errant: GtidSet | None) -> bool:
    """Say whether a superseded server has become a replica of its successor.

    Its answer before this one is compared, as in `_errant`: it has to have been a replica by then.
    """
    facts, before = facts_of(view), ground.previous.hosts[view.address].facts
    if errant or primary is None or primary.facts is None or not _only_follows(facts):
        return False
    if before is None or not _only_follows(before) or before.at >= primary.facts.at:
        return False
    mine, theirs = before.history, primary.facts.history
    if mine is None or theirs is None:
        return follows(view, primary)
    return theirs.contains(mine) and (follows(view, primary) or mine.contains(theirs))


def _only_follows(facts: HostFacts) -> bool:
    return facts.read_only is True and facts.replicating is not False


def _moves(ground: Ground, view: HostView, primary: HostView | None) -> bool:
    """Say whether a server that does not tell seems to replicate: its history grows, or it has all of the primary's."""
    before = None if primary is None else ground.previous.hosts[primary.address].facts
    mine = facts_of(view).history
    if mine is None or before is None or before.history is None:
        return True  # nothing tells
    return mine.contains(before.history) or (view.moved_at is not None and ground.now - view.moved_at <= MOVING)


def _short(errant: GtidSet, most: int = 200) -> str:
    text = str(errant)
    return text if len(text) <= most else f"{text[:most]}..."
