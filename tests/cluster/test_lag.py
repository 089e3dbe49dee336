"""How far replicas are behind, by their positions."""

from __future__ import annotations

from improved_db.cluster.lag import Lags
from tests.cluster.scenes import Scene, gone, modest, writer


class Measured(Scene):
    """A scene whose lag is measured after each round, as the monitor does."""

    def __init__(self) -> None:
        super().__init__("ab")
        self.lags = Lags()

    def lag(self, primary: str | None, follower: str) -> float | None:
        """Let both speak, a second after they did last; return the replica's lag."""
        self.round(gone("a", "silent") if primary is None else writer("a", primary), modest("b", follower))
        self.topology = self.lags.measured(self.topology, self.now)
        return self.topology.hosts["b"].lag


def test_an_idle_primary_makes_no_lag() -> None:
    """A minute without a write is not a minute behind."""
    scene = Measured()
    assert [scene.lag("0-1-9", "0-1-9") for _ in range(60)] == [0.0] * 60


def test_lag_is_the_age_of_the_newest_position_that_was_reached() -> None:
    """The resolution is a round; what is reached later counts from when the primary was last there."""
    scene = Measured()
    assert scene.lag("0-1-9", "0-1-9") == 0.0
    assert [scene.lag(f"0-1-{number}", "0-1-9") for number in (10, 11, 12)] == [1.0, 2.0, 3.0]
    assert scene.lag("0-1-13", "0-1-11") == 2.0
    assert scene.lag("0-1-13", "0-1-13") == 0.0


def test_without_the_primary_lag_counts_from_its_last_word() -> None:
    """What it has written since is not known."""
    scene = Measured()
    assert scene.lag("0-1-9", "0-1-9") == 0.0
    assert [scene.lag(None, "0-1-9") for _ in range(4)] == [1.0, 2.0, 3.0, 4.0]
    assert scene.lag("0-1-9", "0-1-9") == 0.0
