"""One log line for each change, with its evidence."""

from __future__ import annotations

from typing import TYPE_CHECKING

from improved_db.cluster.changes import changes
from tests.cluster.scenes import Scene, gone, replica, server, writer
from tests.cluster.test_rules_of_votes import node

if TYPE_CHECKING:
    from improved_db.cluster.topology import HostFacts


def lines(scene: Scene, *facts: HostFacts) -> list[str]:
    """Let the servers speak, and return what is logged, with the first letter of its level."""
    before = scene.topology
    after = scene.round(*facts)
    return [f"{'IW'[level > 20]} {line}" for level, line in changes(before, after)]


def test_a_failover_is_told_step_by_step() -> None:
    """Who reads the log afterwards sees what was decided, when, and why; nothing is logged while nothing changes."""
    scene = Scene()
    all_well = (writer("a", replicas=2), replica("b", "a"), replica("c", "a"))
    assert lines(scene, *all_well) == [
        "I term 1: a is the primary: a takes writes",
        "I b is replica: follows a",
        "I c is replica: follows a",
    ]
    assert lines(scene, *all_well) == []
    assert lines(scene, gone("a"), *all_well[1:]) == ["I a is suspect: a: refused"]
    assert lines(scene, gone("a"), *all_well[1:]) == [
        "W term 1: the cluster is seeking: a is down: a: refused; no other server takes writes",
        "W a is down: a: refused",
    ]
    promoted = (writer("b", "0-1-9,0-2-10", replicas=1), replica("c", "b", "0-1-9,0-2-10"))
    assert lines(scene, gone("a"), *promoted) == [
        (
            "W term 2: b is the primary in place of a: "
            "a is down: a: refused; b takes writes, and its history goes on from a"
        ),
    ]
    assert lines(scene, writer("a"), *promoted) == [
        "I a is up",
        "W a is unfit: was superseded by b; it still takes writes",
    ]
    assert lines(scene, writer("a"), server("b", "0-1-9,0-2-10"), promoted[1])[0] == (
        "W term 2: the cluster is seeking: b says it is read-only; no other server takes writes"
    )
    assert lines(scene, writer("a"), *promoted)[0] == "I term 2: b is the primary again: b takes writes"


def test_members_that_are_not_in_the_list_are_named_once() -> None:
    """A node that was added to the group gets nothing before it is added to the settings, and someone has to know."""
    scene = Scene("a")
    facts = node("a", peers=("a:3306", "db4:3306"))
    assert lines(scene, facts)[-1] == "I named by other servers, but not by that name in the list of servers: db4:3306"
    assert lines(scene, facts) == []
