"""Servers that lie, vanish and return at random: whatever they say, each term has one primary, and terms only grow."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Final

import pytest

from improved_db.cluster.gtid import GtidSet, history
from improved_db.cluster.topology import ClusterState, HostFacts, HostState, absent, begin, decide

if TYPE_CHECKING:
    from improved_db.cluster.topology import Kind, Topology
    from improved_db.cluster.views import Problem

NAMES: Final = ("a", "b", "c")
PROBLEMS: Final[tuple[Problem, ...]] = ("refused", "silent", "lost", "rejected", "overloaded")
HISTORIES: Final = tuple(
    history(",".join(parts), "mariadb")
    for parts in (
        (),
        *[(f"0-1-{one}",) for one in (3, 7, 9)],
        *[("0-1-7", f"0-2-{one}") for one in (8, 9, 12)],
        *[("0-1-7", "0-2-9", f"0-3-{one}") for one in (10, 11)],
        ("0-7-4",),
    )
)


class Walk:
    """One walk; its dice are loaded a little, so that there are primaries at all."""

    def __init__(self, seed: int, kind: Kind) -> None:
        self.dice = random.Random(seed)
        self.kind: Kind = kind
        self.topology = begin(NAMES, kind)
        self.now = 0.0
        self.primaries: dict[int, str] = {}
        self.leader = "a"
        self.seen: set[str] = set()

    def fact(self, name: str) -> HostFacts:
        """Return what a server says: mostly what is true while `leader` leads."""
        dice = self.dice
        if dice.random() < 0.25:
            return absent(name, self.now, dice.choice(PROBLEMS), "it is away")
        lies = dice.random() < 0.2
        leads = (name == self.leader) is not lies
        source = dice.choice(NAMES) if lies else self.leader
        return HostFacts(
            name,
            self.now,
            kind=self.kind,
            identity=f"{name} anew" if dice.random() < 0.01 else name,
            server_id=str(NAMES.index(name) + 1),
            read_only=dice.choice((True, False, None)) if lies else not leads,
            history=dice.choice((*HISTORIES, None)) if lies else HISTORIES[4 + NAMES.index(self.leader)],
            replicating=dice.choice((True, False, None)) if lies else not leads,
            source=dice.choice(((f"id:{NAMES.index(source) + 1}",), (f"origin:{NAMES.index(source) + 1}",), ())),
            replicas=dice.choice((0, 1, 2, None)) if lies else 2 * leads,
            leads=None if self.kind != "group" else leads,
            view=None if self.kind == "replication" else (dice.choice(("17", "18")), dice.randrange(6)),
            unfit="it says so" if dice.random() < 0.03 else "",
        )

    def step(self) -> None:
        """Let some of the servers speak."""
        dice = self.dice
        if dice.random() < 0.02:
            self.leader = dice.choice(NAMES)
        self.now += dice.choice((0.0, 0.25, 1.0, 2.0)) if dice.random() < 0.99 else 60.0
        spoke = [name for name in NAMES if dice.random() < 0.8]
        before = self.topology
        self.topology = decide(before, {name: self.fact(name) for name in spoke}, self.now)
        self.check(before, self.topology)

    def check(self, before: Topology, after: Topology) -> None:
        """Check what always holds."""
        assert after.term in {before.term, before.term + 1}
        assert (after.primary is not None) is (after.state is ClusterState.STABLE)
        assert [view.address for view in after.hosts.values() if view.role == "primary"] == (
            [after.primary] if after.primary is not None else []
        )
        self.seen.add(after.state.value)
        if after.primary is None:
            return
        assert after.accepted is not None
        assert self.primaries.setdefault(after.term, after.primary) == after.primary, "two primaries in one term"
        if after.term > before.term:
            self.check_accepted(before, after, after.primary)

    def check_accepted(self, before: Topology, after: Topology, name: str) -> None:
        """Check that there was evidence for a new primary."""
        view, old = after.hosts[name], before.accepted
        assert view.state is HostState.UP, "it was accepted, but it did not answer"
        assert view.facts is not None
        if self.kind == "replication":
            assert view.facts.read_only is False, "it was accepted, but it takes no writes"
        if before.hosts[name].quarantined and old is not None and old.address != name:
            self.seen.add("pardoned")
            gone = after.hosts[old.address]
            mine, theirs = view.facts.history, old.history
            if gone.state is not HostState.DOWN and gone.facts is not None and gone.facts.identity == old.identity:
                theirs = gone.facts.history
                assert gone.facts.read_only, "its successor still takes writes"
                assert gone.facts.round == view.facts.round, "its successor may have more by now"
            assert isinstance(mine, GtidSet)
            assert isinstance(theirs, GtidSet)
            assert mine.contains(theirs)
        if old is not None and old.address != name and self.kind == "replication":
            assert after.hosts[old.address].quarantined or after.hosts[old.address].role == "replica", "it is repaired"
            self.seen.add("quarantined")


@pytest.mark.parametrize("walks", [50, pytest.param(200, marks=pytest.mark.soak)])
def test_a_random_walk_has_one_primary_in_each_term(walks: int) -> None:
    """25,000 rounds, or 100,000: what no table of cases thought of."""
    seen: set[str] = set()
    terms = 0
    for seed in range(walks):
        kind: Kind = ("replication", "replication", "group", "galera")[seed % 4]
        walk = Walk(seed, kind)
        for _ in range(500):
            walk.step()
        seen |= walk.seen
        terms += walk.topology.term
    assert seen == {"stable", "seeking", "conflict", "pardoned", "quarantined"}
    assert terms > 10 * walks, "hardly anything happened"


def test_what_is_said_twice_changes_nothing() -> None:
    """A decision is a function of what is known: the same answers again give the same topology, but for counters."""
    for seed in range(50):
        walk = Walk(seed, "replication")
        for _ in range(100):
            walk.step()
            facts = {view.address: view.facts for view in walk.topology.hosts.values() if view.facts is not None}
            up = {name: fact for name, fact in facts.items() if walk.topology.hosts[name].state is HostState.UP}
            again = decide(walk.topology, up, walk.now)
            assert (again.term, again.primary) == (walk.topology.term, walk.topology.primary)
            assert again.state is walk.topology.state
