"""How long a cluster was in each state."""

from __future__ import annotations

from improved_db.cluster.counts import Spells
from improved_db.cluster.views import ClusterState

SEEKING, STABLE, CONFLICT = ClusterState.SEEKING, ClusterState.STABLE, ClusterState.CONFLICT


def test_the_times_of_each_state_add_up_to_all_the_time_since_the_first_question() -> None:
    """The state that goes on counts, too; to enter it again begins nothing anew."""
    spells = Spells()
    assert [spells.seconds(state, 5.0) for state in ClusterState] == [0.0, 0.0, 0.0]
    for state, at in ((SEEKING, 10.0), (SEEKING, 11.0), (STABLE, 12.0), (CONFLICT, 20.0), (SEEKING, 23.0)):
        spells.enter(state, at)
    spells.enter(STABLE, 24.5)
    found = {state: spells.seconds(state, 30.0) for state in ClusterState}
    assert found == {SEEKING: 3.5, STABLE: 13.5, CONFLICT: 3.0}
