"""From one answer, or its absence, to whether a server can be reached.

UNKNOWN, then UP with the first answer; SUSPECT after one question without an answer; DOWN after three, or after two
where no process listened. Knows no role: that follows from all servers together.

Knows one server at a time. Does not know the rules of a topology, or connections.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from improved_db.cluster.views import HostState

if TYPE_CHECKING:
    from collections.abc import Mapping

    from improved_db.cluster.views import HostFacts, HostView

#: Questions without an answer after which a server is DOWN, and connects that were refused.
MISSES: Final = 3
REFUSALS: Final = 2


def seen(views: Mapping[str, HostView], facts: Mapping[str, HostFacts]) -> dict[str, HostView]:
    """Return the views with what is new in *facts*; answers older than what is known change nothing."""
    return {
        address: view if (news := facts.get(address)) is None or _is_old(view, news) else _updated(view, news)
        for address, view in views.items()
    }


def _is_old(view: HostView, news: HostFacts) -> bool:
    return view.facts is not None and news.at < view.facts.at


def _updated(view: HostView, news: HostFacts) -> HostView:
    if not news.reachable:
        return _missed(view, news)
    before = view.facts.history if view.facts is not None else None
    grew = news.history is not None and (before is None or news.history != before)
    return replace(
        view,
        state=HostState.UP,
        facts=news,
        error="",
        problem=None,
        missed=0,
        refused=0,
        moved_at=news.at if grew else view.moved_at,
        fit_since=None if news.unfit else news.at if view.fit_since is None else view.fit_since,
    )


def _missed(view: HostView, news: HostFacts) -> HostView:
    if news.problem == "overloaded":  # it lives
        return replace(
            view, state=HostState.SUSPECT if view.state is HostState.UNKNOWN else view.state, error=news.error
        )
    missed = view.missed + 1
    refused = view.refused + (news.problem == "refused")
    down = missed >= MISSES or refused >= REFUSALS or news.problem == "rejected" or view.state is HostState.DOWN
    return replace(
        view,
        state=HostState.DOWN if down else HostState.SUSPECT,
        error=news.error,
        problem=news.problem,
        missed=missed,
        refused=refused,
        fit_since=None if down else view.fit_since,
    )
