"""What has happened in one cluster so far: how its reads were answered, and how long it was in each state.

Knows numbers and states. Does not know who counts, or what follows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from improved_db.cluster.views import ClusterState


class Reads:
    """How reads of the reader lane were answered; counted without a lock, as the shares of the servers are.

    Attributes:
        causal_free: Reads whose replica was known to have what they had to see.
        causal_waited: Reads that were sent with a wait in front of them.
        causal_fallback: Reads that the primary answered, because no replica had what they had to see in time.
        fallback_reads: Reads that the primary answered, because no replica could, for this or any other reason.
        schema_lag: Reads that named what a replica did not have yet, and were answered by the primary.
    """

    __slots__ = ("causal_fallback", "causal_free", "causal_waited", "fallback_reads", "schema_lag")

    def __init__(self) -> None:
        self.causal_free: int = 0
        self.causal_waited: int = 0
        self.causal_fallback: int = 0
        self.fallback_reads: int = 0
        self.schema_lag: int = 0


class Spells:
    """How long a cluster was in each state since its servers were first asked; written by one thread.

    What is known is replaced as a whole, so that no reader sees a time that falls.
    """

    def __init__(self) -> None:
        #: The state now, since when, and the seconds of the spells that are over, by state.
        self._known: tuple[ClusterState | None, float, dict[ClusterState, float]] = (None, 0.0, {})

    def enter(self, state: ClusterState, now: float) -> None:
        """Note that the cluster is in *state* from *now* on."""
        before, since, over = self._known
        if before is not state:
            if before is not None:
                over = {**over, before: over.get(before, 0.0) + now - since}
            self._known = (state, now, over)

    def seconds(self, state: ClusterState, now: float) -> float:
        """Return for how long it was in *state*, until *now*."""
        current, since, over = self._known
        return over.get(state, 0.0) + (max(now - since, 0.0) if current is state else 0.0)
