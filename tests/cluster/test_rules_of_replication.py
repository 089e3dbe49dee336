"""F1 to F5 and the quarantine: which server is the primary of plain replication."""

from __future__ import annotations

from dataclasses import replace

import pytest

from improved_db.cluster.topology import decide
from tests.cluster.scenes import Scene, gone, modest, replica, server, writer

A_LEADS = (writer("a", replicas=2), replica("b", "a"), replica("c", "a"))


def led_by_a() -> Scene:
    """Return a scene in which `a` is the primary of term 1."""
    scene = Scene()
    scene.round(*A_LEADS, times=2)
    assert scene.said() == ("stable", "a", 1)
    return scene


def test_nothing_is_decided_before_every_server_was_asked() -> None:
    """F1: an old primary that answers first must not be taken for the primary."""
    scene = Scene()
    assert scene.round(writer("a")).why == "the first round is not over"
    scene.round(writer("a"), replica("b", "a"))
    assert scene.said() == ("seeking", None, 0)
    scene.round(gone("c", "silent"))
    assert scene.said() == ("stable", "a", 1)
    assert scene.topology.why == "a takes writes; c did not answer"


@pytest.mark.parametrize("order", ["abc", "bca", "cab"])
def test_the_order_of_the_list_does_not_decide(order: str) -> None:
    """The server that takes writes is the primary, wherever it stands."""
    scene = Scene(order)
    scene.round(*A_LEADS, times=2)
    assert scene.said() == ("stable", "a", 1)
    assert scene.roles == {"a": "primary", "b": "replica", "c": "replica"}


def test_without_a_writer_there_is_no_primary_until_one_comes() -> None:
    """A read-only primary, as during maintenance, is no primary."""
    scene = Scene()
    scene.round(server("a", "0-1-9"), replica("b", "a"), replica("c", "a"))
    assert scene.said() == ("seeking", None, 0)
    scene.round(writer("a"))
    assert scene.said() == ("stable", "a", 1)


def test_a_blip_changes_nothing_and_a_return_is_no_failover() -> None:
    """F3: while no other server takes writes, the primary stays the accepted one, and its term stays."""
    scene = led_by_a()
    scene.round(gone("a", "silent"), *A_LEADS[1:])
    assert scene.said() == ("stable", "a", 1)
    scene.round(gone("a", "silent"), *A_LEADS[1:], times=2)
    assert scene.said() == ("seeking", None, 1)
    assert scene.topology.why == "a is down: a: silent; no other server takes writes"
    assert scene.topology.replicas == ("b", "c")
    scene.round(*A_LEADS)
    assert scene.said() == ("stable", "a", 1)


def test_a_promoted_replica_is_accepted_once_the_primary_is_down() -> None:
    """F4: the operator's tool has decided, and we follow; what is lost, the audit says."""
    scene = led_by_a()
    promoted = (writer("b", "0-1-7,0-2-8", replicas=1), replica("c", "b", "0-1-7,0-2-8"))
    scene.round(gone("a"), *promoted)
    assert scene.said() == ("stable", "a", 1)
    scene.round(gone("a"), *promoted)
    assert scene.said() == ("stable", "b", 2)
    assert scene.topology.why == "a is down: a: refused; b takes writes, and its history goes on from a"
    assert scene.roles == {"a": "unknown", "b": "primary", "c": "replica"}


def test_a_planned_switch_is_followed_at_once() -> None:
    """F2: a primary that says it is read-only is none, without a second opinion; the descendant is accepted."""
    scene = led_by_a()
    scene.round(server("a", "0-1-9"), *A_LEADS[1:])
    assert scene.said() == ("seeking", None, 1)
    scene.round(server("a", "0-1-9"), writer("b"), replica("c", "b"))
    assert scene.said() == ("stable", "b", 2)


def test_a_writer_that_does_not_descend_is_refused() -> None:
    """F4: a server with another history is no successor, though it takes writes."""
    scene = led_by_a()
    scene.round(gone("a"), writer("b", "0-7-3"), replica("c", "a"), times=2)
    assert scene.said() == ("conflict", None, 1)
    assert "its history is not that of a" in scene.topology.why


def test_of_two_promoted_replicas_the_followed_one_is_accepted() -> None:
    """F4: with two candidates the replicas testify; without testimony there is a conflict."""
    scene = Scene("abcd")
    scene.round(writer("a", replicas=3), *(replica(name, "a") for name in "bcd"))
    scene.round(gone("a"), writer("b"), writer("c"), replica("d", "c"), times=2)
    assert scene.said() == ("stable", "c", 2)
    other = led_by_a()
    other.round(gone("a"), writer("b"), writer("c"), times=2)
    assert other.said() == ("conflict", None, 1)


def test_the_replicas_testify_against_a_primary_that_was_cut_off() -> None:
    """F5: `b` was promoted while only `a` was cut off from the replicas; we see both, and all follow `b`."""
    scene = led_by_a()
    scene.round(writer("a", "0-1-12"), writer("b", "0-1-9,0-2-10", replicas=1), replica("c", "b", "0-1-9,0-2-10"))
    assert scene.said() == ("stable", "b", 2)
    assert scene.roles["a"] == "unfit"
    assert scene.why("a") == "was superseded by b; it still takes writes"


def test_a_client_on_the_old_primarys_side_goes_over_when_the_network_heals() -> None:
    """It cannot know more than it sees: it goes on with `a` until it sees the others again."""
    scene = led_by_a()
    scene.round(A_LEADS[0], gone("b", "silent"), gone("c", "silent"), times=4)
    assert scene.said() == ("stable", "a", 1)
    scene.round(writer("a", "0-1-14"), writer("b", "0-1-9,0-2-12", replicas=1), replica("c", "b", "0-1-9,0-2-12"))
    assert scene.said() == ("stable", "b", 2)
    assert scene.roles["a"] == "unfit"


def test_replicas_that_may_not_tell_are_counted_by_those_they_follow() -> None:
    """F5 for an account without rights: nothing was written since, so the last origin is `a`; but `b` has replicas."""
    scene = Scene()
    scene.round(writer("a", replicas=2), modest("b", "0-1-9"), modest("c", "0-1-9"), times=2)
    scene.round(writer("a", replicas=1), writer("b", replicas=1), modest("c", "0-1-9"))
    assert scene.said() == ("conflict", None, 1)
    scene.round(writer("a", replicas=0), writer("b", replicas=1), modest("c", "0-1-9"))
    assert scene.said() == ("stable", "b", 2)


def test_a_primary_that_still_has_replicas_is_not_outvoted() -> None:
    """F5: a replica that we cannot see follows `a`, so both may be right."""
    scene = led_by_a()
    scene.round(writer("a", replicas=1), writer("b", replicas=1), replica("c", "b"))
    assert scene.said() == ("conflict", None, 1)


def test_a_replica_made_writable_by_mistake_stays_a_replica() -> None:
    """F5: `b` runs as a replica of `a`; it serves reads, and its `why` says what to do."""
    scene = led_by_a()
    scene.round(A_LEADS[0], replica("b", "a", read_only=False), A_LEADS[2])
    assert scene.said() == ("stable", "a", 1)
    assert (scene.roles["b"], scene.why("b")) == ("replica", "follows, but takes writes: set read_only=ON on it")
    scene.round(gone("a"), replica("b", "a", read_only=False), A_LEADS[2], times=3)
    assert scene.said() == ("seeking", None, 1), "it was not promoted: it took writes before, too"
    scene.round(gone("a"), writer("b"), A_LEADS[2])
    assert scene.said() == ("stable", "b", 2), "now it does not follow any more"


def test_a_replica_promoted_before_the_dead_primary_is_known_to_be_dead_is_accepted() -> None:
    """It still applies what it had received, and the primary was only silent yet: that is no mistake of before."""
    scene = led_by_a()
    promoted = modest("b", "0-1-9", read_only=False)
    scene.round(gone("a", "lost"), promoted, A_LEADS[2])
    assert scene.said() == ("stable", "a", 1)
    scene.round(gone("a"), promoted, A_LEADS[2], times=2)
    assert scene.said() == ("stable", "b", 2)


def test_a_writer_that_no_replica_follows_is_unfit() -> None:
    """F5: all replicas follow `a`; `b` serves nothing."""
    scene = led_by_a()
    scene.round(writer("a", replicas=1), writer("b"), A_LEADS[2])
    assert scene.said() == ("stable", "a", 1)
    assert (scene.roles["b"], scene.why("b")) == ("unfit", "takes writes, and is not followed")


def test_two_writers_without_a_witness_are_a_conflict_until_one_is_read_only() -> None:
    """Writing to either of them could be the wrong one; the text says what to do."""
    scene = Scene("ab")
    scene.round(writer("a", "0-1-9"), writer("b", "0-2-9"))
    assert scene.said() == ("conflict", None, 0)
    assert "a (has 0-1-9) and b (has 0-2-9) all take writes" in scene.topology.why
    assert "topology='sequential'" in scene.topology.why
    assert scene.roles == {"a": "unfit", "b": "unfit"}
    scene.round(writer("a"), server("b", "0-1-9"))
    assert scene.said() == ("stable", "a", 1)


def test_a_conflict_does_not_end_because_a_rival_is_silent() -> None:
    """A rival that only missed a question is still there."""
    scene = Scene("ab")
    scene.round(writer("a"), replica("b", "a"))
    scene.round(writer("a"), writer("b"))
    assert scene.said() == ("conflict", None, 1)
    scene.round(writer("a"), gone("b", "silent"), times=2)
    assert scene.said() == ("conflict", None, 1)
    scene.round(writer("a"), gone("b", "silent"))
    assert scene.said() == ("stable", "a", 1)


def test_a_circular_pair_has_the_writer_as_primary() -> None:
    """Both are replicas of each other; the one that takes writes leads, also after it was switched."""
    scene = Scene("ab")
    scene.round(replica("a", "b", read_only=False, replicas=1), replica("b", "a", replicas=1))
    assert scene.said() == ("stable", "a", 1)
    scene.round(replica("a", "b", replicas=1), replica("b", "a", replicas=1))
    scene.round(replica("a", "b", replicas=1), replica("b", "a", read_only=False, replicas=1))
    assert scene.said() == ("stable", "b", 2)
    assert scene.roles == {"a": "replica", "b": "primary"}
    scene.round(replica("a", "b", read_only=False, replicas=1), replica("b", "a", read_only=False, replicas=1))
    assert scene.said() == ("conflict", None, 2)


def failed_over() -> Scene:
    """Return a scene in which `b` has superseded `a`."""
    scene = led_by_a()
    scene.round(gone("a"), writer("b", "0-1-7,0-2-8", replicas=1), replica("c", "b", "0-1-7,0-2-8"), times=2)
    return scene


B_LEADS = (writer("b", "0-1-7,0-2-8", replicas=1), replica("c", "b", "0-1-7,0-2-8"))


def test_an_old_primary_that_returns_writable_gets_no_write() -> None:
    """It has its old my.cnf, and does not know what happened; also where no witness is left."""
    scene = failed_over()
    scene.round(writer("a", "0-1-10"), *B_LEADS)
    assert scene.said() == ("stable", "b", 2)
    scene.round(writer("a", "0-1-10"), B_LEADS[0], gone("c"), times=3)
    assert scene.said() == ("stable", "b", 2)
    assert scene.roles["a"] == "unfit"


def test_a_quarantined_server_does_not_come_back_because_its_successor_is_silent() -> None:
    """It lacks what its successor wrote, so accepting it would lose that."""
    scene = failed_over()
    scene.round(writer("a", "0-1-10"), gone("b"), gone("c"), times=5)
    assert scene.said() == ("seeking", None, 2)


def test_a_quarantined_server_with_all_of_its_successors_history_may_take_over() -> None:
    """It can lose nothing then."""
    scene = failed_over()
    scene.round(writer("a", "0-1-10,0-2-8"), gone("b"), gone("c"), times=2)
    assert scene.said() == ("stable", "a", 3)


def test_a_switch_back_to_a_repaired_primary_is_followed_although_its_repair_was_not_seen() -> None:
    """It became a replica and was promoted between two looks, or while this program did nothing for an hour."""
    scene = failed_over()
    scene.round(writer("a", "0-1-10"), *B_LEADS)
    back = writer("a", "0-1-7,0-2-8", replicas=2)
    scene.round(back, replica("b", "a", "0-1-7,0-2-8"), replica("c", "a", "0-1-7,0-2-8"))
    assert scene.said() == ("stable", "a", 3)


def test_a_quarantined_server_that_lacks_something_stays_out_while_its_successor_is_read_only() -> None:
    """Its successor's own answer of the same round says what it must have; the error of a statement does not."""
    scene = failed_over()
    scene.round(writer("a", "0-1-10"), *B_LEADS)
    scene.round(writer("a", "0-1-10,0-2-8"), server("b", "0-1-7,0-2-9"), gone("c"), times=3)
    assert scene.said() == ("seeking", None, 2)
    scene = failed_over()
    scene.round(writer("a", "0-1-10,0-2-8"), *B_LEADS)
    told = replace(B_LEADS[0], read_only=True, at=scene.now + 0.1, asked_at=scene.now + 0.1)
    scene.topology = decide(scene.topology, {"b": told}, scene.now + 0.1)
    assert scene.said() == ("seeking", None, 2)


def test_a_repaired_old_primary_is_a_replica_and_may_be_promoted_again() -> None:
    """Terms 1, 2, 3. The quarantine ends when it follows its successor, and has no transaction too many."""
    scene = failed_over()
    scene.round(replica("a", "b", "0-1-9"), *B_LEADS, times=2)
    assert scene.roles["a"] == "unfit", "it has 0-1-8 and 0-1-9, which b never had"
    scene.round(replica("a", "b", "0-1-7,0-2-8"), *B_LEADS, times=3)
    assert scene.roles["a"] == "replica"
    scene.round(writer("a", "0-1-7,0-2-8", replicas=1), gone("b"), replica("c", "a", "0-1-7,0-2-8"), times=2)
    assert scene.said() == ("stable", "a", 3)
    scene.round(writer("a", "0-1-9,0-2-8"), writer("b", "0-1-7,0-2-9"), replica("c", "a", "0-1-9,0-2-8"))
    assert scene.said() == ("stable", "a", 3)
    assert scene.why("b") == "was superseded by a; it still takes writes"


def test_a_repaired_old_primary_is_known_under_load_too() -> None:
    """The answers of a round are not of one instant: a replica that is asked later always has a little more."""
    scene = failed_over()
    for number in range(8, 14):
        leader = writer("b", f"0-1-7,0-2-{number}", replicas=2)
        scene.round(leader, replica("a", "b", f"0-1-7,0-2-{number + 1}"), replica("c", "b", f"0-1-7,0-2-{number}"))
    assert scene.roles["a"] == "replica"


def test_another_server_under_the_primarys_name_is_another_primary() -> None:
    """A name that moved to another machine: its sessions, its term and its history are new."""
    scene = led_by_a()
    scene.round(writer("a", identity="a new one"), *A_LEADS[1:])
    assert scene.said() == ("stable", "a", 2)
    scene.round(writer("a", "0-9-1", identity="a third one"), *A_LEADS[1:])
    assert scene.said() == ("conflict", None, 2)


def test_two_names_of_one_server_are_one_server() -> None:
    """A second name is no replica, and no second writer."""
    scene = Scene("ab")
    scene.round(writer("a"), writer("b", identity="identity of a"))
    assert scene.said() == ("stable", "a", 1)
    assert scene.why("b") == "is the same server as a; keep one of them in the list"


def test_a_server_of_another_kind_is_unfit() -> None:
    """A Galera node between replicas is a mistake in the list."""
    scene = Scene("ab")
    scene.round(writer("a"), writer("b", kind="galera"))
    assert scene.said() == ("stable", "a", 1)
    assert scene.why("b") == "answers as a server of topology='galera', the others of 'replication'"


def test_replicas_that_cannot_answer_reads_are_unfit() -> None:
    """A read-only server that does not replicate is stale for ever; an errant transaction is a wrong answer."""
    scene = Scene("abcd")
    facts = (writer("a", "0-1-9"), server("b", "0-1-5"), replica("c", "a", "0-1-9,0-3-2"), modest("d", "0-1-8"))
    scene.round(*facts, times=2)
    assert scene.roles == {"a": "primary", "b": "unfit", "c": "unfit", "d": "replica"}
    assert scene.why("b") == "does not replicate"
    assert scene.why("c") == "has 2 transactions that a lacks: 0-3-2"


def test_a_replica_asked_later_than_its_primary_is_not_errant() -> None:
    """The answers of one round are not of one instant."""
    scene = Scene("ab")
    for number in range(9, 15):
        scene.round(writer("a", f"0-1-{number}"), replica("b", "a", f"0-1-{number + 1}"))
        assert scene.roles["b"] == "replica"


def test_a_server_that_does_not_tell_is_a_replica_while_it_moves() -> None:
    """MySQL tells an account without rights nothing but its transactions."""
    scene = Scene("ab")
    silent = {"replicating": None, "source": ()}
    scene.round(writer("a", "0-1-9"), server("b", "0-1-9", **silent), times=2)
    assert scene.roles["b"] == "replica"
    for number in range(10, 15):
        scene.round(writer("a", f"0-1-{number}"), server("b", "0-1-9", **silent), after=6.0)
    assert scene.roles["b"] == "unfit"
    scene.round(writer("a", "0-1-20"), server("b", "0-1-12", **silent))
    assert scene.roles["b"] == "replica"


def test_a_server_that_does_not_let_us_in_is_down_and_the_others_serve() -> None:
    """A wrong password on one host is that host's."""
    scene = led_by_a()
    scene.round(A_LEADS[0], gone("b", "rejected"), A_LEADS[2])
    assert scene.said() == ("stable", "a", 1)
    assert (scene.roles["b"], scene.topology.hosts["b"].state.value) == ("unknown", "down")


def test_too_many_connections_are_no_outage() -> None:
    """A full server lives; its load must not move to the others."""
    scene = led_by_a()
    scene.round(gone("a", "overloaded"), gone("b", "overloaded"), A_LEADS[2], times=9)
    assert scene.said() == ("stable", "a", 1)
    assert scene.roles["b"] == "replica"


def test_answers_of_long_ago_decide_nothing() -> None:
    """After an idle hour the old answers are no evidence, whatever they said."""
    scene = led_by_a()
    scene.round(gone("c", "silent"), after=3600.0)
    assert scene.said() == ("stable", "a", 1)
    scene.round(writer("b", "0-1-9,0-2-12", replicas=1), replica("c", "b", "0-1-9,0-2-12"), writer("a"))
    assert scene.said() == ("stable", "b", 2)


def test_a_late_answer_of_the_past_changes_nothing() -> None:
    """What was said before a newer answer is out of date."""
    scene = led_by_a()
    before = scene.topology
    scene.now -= 10.0
    assert scene.round(server("a", "0-1-9")).hosts["a"].facts == before.hosts["a"].facts
    assert scene.said() == ("stable", "a", 1)


def test_the_primarys_goodbye_after_its_successor_was_accepted_is_ignored() -> None:
    """The dead one's last word must not remove the new one."""
    scene = failed_over()
    scene.round(gone("a", "lost"))
    assert scene.said() == ("stable", "b", 2)
