"""Galera, Group Replication, Aurora, lists of proxies and static roles: where a vote or the settings decide."""

from __future__ import annotations

from typing import Any

from improved_db.cluster.topology import HostFacts
from tests.cluster.scenes import Scene, gone, writer


def node(name: str, vote: int = 3, **more: Any) -> HostFacts:
    """Return what a fit Galera node says."""
    known: dict[str, Any] = {"kind": "galera", "read_only": False, "view": ("state", vote)}
    return HostFacts(name, 0.0, **{**known, **more})


def member(name: str, vote: int = 3, *, leads: bool = False, group: str = "17", **more: Any) -> HostFacts:
    """Return what a member of a group says."""
    known: dict[str, Any] = {"kind": "group", "read_only": not leads, "leads": leads, "view": (group, vote)}
    return HostFacts(name, 0.0, **{**known, **more})


OUT = "is not in the cluster"
GALERA = (node("a"), node("b"), node("c"))


def test_all_processes_write_to_the_first_fit_node() -> None:
    """Writes on two nodes conflict with each other, so the order of the list decides, the same in each process."""
    scene = Scene()
    scene.round(*GALERA)
    assert scene.said() == ("stable", "a", 1)
    assert scene.roles == {"a": "primary", "b": "replica", "c": "replica"}


def test_the_next_node_takes_over_and_the_first_waits_before_it_returns() -> None:
    """A bouncing node must not draw the writes back each time it is up for a moment."""
    scene = Scene()
    scene.round(*GALERA, times=2)
    scene.round(gone("a"), node("b", 4), node("c", 4), times=2)
    assert scene.said() == ("stable", "b", 2)
    scene.round(node("a", 5), node("b", 5), node("c", 5), times=9)
    assert scene.said() == ("stable", "b", 2)
    scene.round(node("a", 5), node("b", 5), node("c", 5), times=2)
    assert scene.said() == ("stable", "a", 3)


def test_a_silent_node_that_was_voted_out_is_left_at_once() -> None:
    """The others' view has moved on without it."""
    scene = Scene()
    scene.round(*GALERA)
    scene.round(gone("a", "silent"), node("b"), node("c"))
    assert scene.said() == ("stable", "a", 1)
    scene.round(gone("a", "silent"), node("b", 4), node("c", 4))
    assert scene.said() == ("stable", "b", 2)


def test_a_node_outside_the_cluster_is_no_primary_whatever_its_number_says() -> None:
    """Such a node answers SELECT 1, and its conf_id is 2^64-1."""
    scene = Scene()
    scene.round(*GALERA)
    scene.round(node("a", 2**64 - 1, unfit=OUT), node("b", 4), node("c", 4))
    assert scene.said() == ("stable", "b", 2)
    assert scene.why("a") == OUT
    scene.round(node("a", unfit=OUT), node("b", unfit=OUT), gone("c"), times=2)
    assert scene.said() == ("seeking", None, 2)
    scene.round(node("b", 6))
    assert scene.said() == ("stable", "b", 2)


def test_a_node_with_an_old_view_has_to_catch_up() -> None:
    """A thawed node may still say Primary, of the view before it froze."""
    scene = Scene()
    scene.round(*GALERA)
    scene.round(node("a", 4), node("b", 4), node("c", 3))
    scene.round(node("a", 4), node("b", 4), node("c", 3))
    assert (scene.roles["c"], scene.why("c")) == ("unfit", "has an older vote than the others: it was away")


def test_a_node_of_another_cluster_is_unfit() -> None:
    """Its state has another name."""
    scene = Scene()
    scene.round(*GALERA)
    scene.round(node("a"), node("b"), node("c", view=("other", 99)), times=2)
    assert scene.said() == ("stable", "a", 1)
    assert scene.roles["c"] == "unfit"


GROUP = (member("a", leads=True), member("b"), member("c"))


def test_the_group_names_its_primary() -> None:
    """We elect nothing."""
    scene = Scene()
    scene.round(*GROUP)
    assert scene.said() == ("stable", "a", 1)
    scene.round(gone("a", "silent"), *GROUP[1:])
    assert scene.said() == ("stable", "a", 1)
    scene.round(gone("a", "silent"), member("b", 4, leads=True), member("c", 4))
    assert scene.said() == ("stable", "b", 2)


def test_a_frozen_primary_that_wakes_up_is_refused_by_its_view() -> None:
    """For 3 seconds it says that it is the primary, online and writable; its group has gone on."""
    scene = Scene()
    scene.round(*GROUP)
    scene.round(gone("a", "silent"), member("b", 4, leads=True), member("c", 4))
    thawed = member("a", 3, leads=True)
    scene.round(thawed, member("b", 4, leads=True), member("c", 4))
    assert scene.said() == ("stable", "b", 2)
    assert scene.roles["a"] == "unfit"
    scene.round(thawed, gone("b"), member("c", 4), times=3)
    assert scene.said() == ("seeking", None, 2)
    restarted = Scene()
    restarted.round(thawed, member("b", 4, leads=True), member("c", 4))
    assert restarted.said() == ("stable", "b", 1)


def test_a_group_that_was_bootstrapped_anew_has_a_new_name() -> None:
    """Its counter begins at 1 again."""
    scene = Scene()
    scene.round(*GROUP)
    scene.round(*(member(name, unfit="is not online") for name in "abc"))
    assert scene.said() == ("seeking", None, 1)
    scene.round(member("a", unfit="is not online"), member("b", 1, leads=True, group="18"), member("c", 1, group="18"))
    assert scene.said() == ("stable", "b", 2)
    scene.round(member("a", 9, leads=True))
    assert scene.said() == ("stable", "b", 2)


def test_of_a_multi_primary_group_one_member_gets_the_writes() -> None:
    """It keeps them while it is fit."""
    scene = Scene()
    scene.round(*(member(name, leads=True) for name in "abc"))
    assert scene.said() == ("stable", "a", 1)
    scene.round(member("a", 4, unfit="is RECOVERING"), member("b", 4, leads=True), member("c", 4, leads=True))
    assert scene.said() == ("stable", "b", 2)
    scene.round(*(member(name, 5, leads=True) for name in "abc"))
    assert scene.said() == ("stable", "b", 2)


def test_without_the_right_to_see_the_votes_the_writable_member_leads() -> None:
    """An account without SELECT on performance_schema sees super_read_only only."""
    scene = Scene()

    def modest(name: str, *, writes: bool) -> HostFacts:
        return HostFacts(name, 0.0, kind="group", read_only=not writes)

    scene.round(modest("a", writes=True), modest("b", writes=False), modest("c", writes=False))
    assert scene.said() == ("stable", "a", 1)
    scene.round(modest("a", writes=True), modest("b", writes=True), modest("c", writes=False))
    assert scene.said() == ("conflict", None, 1), "no vote is seen that would tell which of them is right"


def test_of_aurora_only_the_servers_own_word_counts() -> None:
    """The list that a reader has of the others may be old."""
    scene = Scene()

    def aurora(name: str, *, writes: bool) -> HostFacts:
        return HostFacts(name, 0.0, kind="aurora", read_only=not writes)

    scene.round(aurora("a", writes=True), aurora("b", writes=False), aurora("c", writes=False))
    assert scene.said() == ("stable", "a", 1)
    scene.round(aurora("a", writes=False), aurora("b", writes=True), aurora("c", writes=False))
    assert scene.said() == ("stable", "b", 2)
    scene.round(aurora("a", writes=True), aurora("b", writes=True), aurora("c", writes=False))
    assert scene.said() == ("conflict", None, 2)


def test_proxies_are_used_in_order_and_equals_are_kept() -> None:
    """A list of proxies has a first one; servers that are alike need no change back."""
    for kind, afterwards in (("sequential", "a"), ("equal", "b")):
        scene = Scene(kind=kind)  # type: ignore[arg-type]  # both are kinds
        scene.round(*(writer(name, identity=None) for name in "abc"))
        assert scene.said() == ("stable", "a", 1)
        scene.round(gone("a"), writer("b"), writer("c"), times=2)
        assert scene.said() == ("stable", "b", 2)
        scene.round(writer("a"), writer("b"), writer("c"), times=12)
        assert scene.topology.primary == afterwards


def test_static_roles_are_believed() -> None:
    """The settings say who is the primary; if it is down there is none."""
    scene = Scene("ab", "static", roles={"a": "primary", "b": "replica"})
    scene.round(writer("a"), writer("b"))
    assert scene.said() == ("stable", "a", 1)
    assert scene.roles == {"a": "primary", "b": "replica"}
    scene.round(gone("a"), writer("b"), times=2)
    assert scene.said() == ("seeking", None, 1)
    scene.round(writer("a"), writer("b"))
    assert scene.said() == ("stable", "a", 1)
