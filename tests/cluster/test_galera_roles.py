"""A real Galera, as a program sees it: all nodes take writes, and all programs write to the same one."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from improved_db import ImprovedDb
from tests.cluster.replicas import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from improved_db.testing import TemporaryCluster

INSERT = "insert into pets () values ()"


@pytest.fixture
def db(galera: TemporaryCluster) -> Iterator[ImprovedDb]:
    """A program that has found the node for its writes."""
    with closing(ImprovedDb(galera.urls, deadline=30.0, monitor_interval=0.3)) as found:
        found.execute_query("create table pets (id int auto_increment primary key)")
        yield found


def roles(db: ImprovedDb) -> list[str]:
    """Return the roles of the nodes, in the order of the list."""
    return [host.role for host in db.hosts()]


def test_the_first_node_of_the_list_gets_the_writes_of_every_program(galera: TemporaryCluster, db: ImprovedDb) -> None:
    """Scenarios 72, 73: three hosts, though all have one server_id; a second program chooses the same one."""
    assert eventually(lambda: roles(db) == ["primary", "replica", "replica"])
    assert len({host.identity for host in db.hosts()}) == 3
    with ImprovedDb(galera.urls, monitor_interval=0.3) as other:
        other.execute_query(INSERT)
        assert eventually(lambda: roles(other) == roles(db))


@pytest.mark.soak
def test_a_killed_node_is_left_and_does_not_return_at_once(galera: TemporaryCluster, db: ImprovedDb) -> None:
    """Scenario 67: the next node of the list; one that comes back is a replica before it is the first again."""
    db.execute_query(INSERT)
    galera.nodes[0].kill()
    db.execute_query(INSERT)
    assert roles(db)[1] == "primary"
    assert db.hosts()[1].term == 2
    galera.nodes[0].restart()
    assert eventually(lambda: roles(db) == ["replica", "primary", "replica"], 60.0)
    db.execute_query(INSERT)
    assert db.fetch_value("select count(*) from pets") == 3


@pytest.mark.soak
def test_a_frozen_node_is_left_when_the_others_have_voted(galera: TemporaryCluster, db: ImprovedDb) -> None:
    """Scenario 68: the thawed node is not in the cluster before it has caught up."""
    db.execute_query(INSERT)
    galera.nodes[0].pause()
    assert eventually(lambda: roles(db)[1] == "primary", 60.0)
    db.execute_query(INSERT)
    galera.nodes[0].resume()
    assert eventually(lambda: roles(db) == ["replica", "primary", "replica"], 60.0)
    db.execute_query(INSERT)
    assert db.fetch_value("select count(*) from pets") == 3
