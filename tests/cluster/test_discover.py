"""Servers that the list does not name, and other servers do (``discover=True``)."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from improved_db import ImprovedDb
from improved_db.cluster.newcomers import MOST, Newcomers, strangers
from improved_db.cluster.topology import HostFacts, begin, decide
from tests.cluster.replicas import MODEST, eventually

if TYPE_CHECKING:
    from improved_db.testing import TemporaryCluster
    from tests.cluster.replicas import Replicas


def roles(db: ImprovedDb) -> dict[str, str]:
    """Return the role of each server, by address."""
    return {host.host: host.role for host in db.hosts()}


def finder(address: str) -> ImprovedDb:
    """Return a program whose list has one server."""
    return ImprovedDb(f"mysql://root@{address}/test", discover=True, monitor_interval=0.3)


@pytest.mark.parametrize("listed", [0, 1])
def test_one_address_of_a_primary_or_a_replica_leads_to_all_servers(listed: int, replicas: Replicas) -> None:
    """A primary names its replicas, and a replica its primary."""
    first, *others = replicas.addresses
    with finder(replicas.address(listed)) as db:
        assert eventually(lambda: roles(db) == {first: "primary", **dict.fromkeys(others, "replica")})
        db.execute_query("insert into pets () values ()")
        for _ in range(4):
            assert db.reader.fetch_value("select count(*) from pets") == 1
        served = db.stats().by_host
        assert [served[address].acquired > 0 for address in replicas.addresses] == [True, True, True]


def test_listeners_and_owner_verbs_reach_a_server_that_joined(replicas: Replicas) -> None:
    """It is used as the servers of the list are; its pool is suspended, resized and closed with the others."""
    with finder(replicas.address(0)) as db:
        db.resize(3)
        assert eventually(lambda: len(db.hosts()) == 3)
        assert [stats.max_size for stats in db.stats().by_host.values()] == [3, 3, 3]
        db.suspend()
        db.resume()
        db.drain()
        assert db.reader.fetch_value("select 1") == 1
    assert all(stats.closed for stats in db.stats().by_host.values())


def test_another_name_of_a_listed_server_is_no_other_server(replicas: Replicas) -> None:
    """The replicas name their primary by its number, and the list by its name."""
    port = replicas.servers[0].port
    url = f"mysql://root@localhost:{port},{replicas.address(1)}/test"
    with ImprovedDb(url, discover=True, monitor_interval=0.1) as db:
        assert eventually(lambda: replicas.address(2) in roles(db))
        assert sorted(roles(db)) == sorted([f"localhost:{port}", *replicas.addresses[1:]])


def test_without_the_right_to_ask_a_warning_names_what_to_grant(
    replicas: Replicas, caplog: pytest.LogCaptureFixture
) -> None:
    """Otherwise a list of one would stay one, and nothing would say why."""
    with ImprovedDb(f"mysql://{MODEST}@{replicas.address(0)}/test", discover=True) as db:
        db.execute_query("insert into pets () values ()")
        assert list(roles(db).values()) == ["primary"]
    warned = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert ["GRANT REPLICATION MASTER ADMIN" in text for text in warned] == [True]


def test_one_node_of_a_galera_names_the_others(galera: TemporaryCluster) -> None:
    """The node of the list keeps its place: it gets the writes."""
    addresses = [f"127.0.0.1:{node.port}" for node in galera.nodes]
    with finder(addresses[2]) as db:
        assert eventually(lambda: sorted(roles(db)) == sorted(addresses))
        assert eventually(lambda: roles(db) == {**dict.fromkeys(addresses, "replica"), addresses[2]: "primary"})
        assert next(iter(roles(db))) == addresses[2]


def answer(address: str, identity: str, *peers: str, at: float = 1.0) -> HostFacts:
    """Return what a node of a Galera says."""
    return HostFacts(address, at, kind="galera", identity=identity, view=("group", 1), read_only=False, peers=peers)


def test_newcomers_stand_behind_the_list_in_an_order_that_every_program_has() -> None:
    """Where the first fit server gets the writes, two programs must not disagree on who that is."""
    newcomers = Newcomers(["b:3306", "a:3306"], lambda address: pytest.fail(f"{address} is not asked here"))
    topology = begin(("b:3306", "a:3306"), "galera")
    topology = decide(topology, {"a:3306": answer("a:3306", "A", "d", "a", "c:3306")}, 1.0)
    assert strangers(topology) == newcomers.named(topology) == {"c:3306", "d:3306"}
    for address in ("d:3306", "c:3306"):
        topology = newcomers.with_one(topology, address)
    assert list(topology.hosts) == ["b:3306", "a:3306", "c:3306", "d:3306"]
    assert newcomers.named(topology) == set()


def test_an_address_that_leads_elsewhere_from_here_is_not_asked() -> None:
    """A replica beside its primary follows "localhost"; on this machine that is another server, or none."""
    newcomers = Newcomers(["db1:3306"], lambda address: pytest.fail(f"{address} is not asked here"))
    peers = ("localhost", "127.0.0.1:3307", "[::1]:3306", ":3306", "db2")
    topology = decide(begin(("db1:3306",), "galera"), {"db1:3306": answer("db1:3306", "A", *peers)}, 1.0)
    assert newcomers.named(topology) == {"db2:3306"}
    source = replace(answer("db1:3306", "A"), source=("at:127.0.0.1:3306", "at:db3:3306"))
    topology = decide(begin(("db1:3306",), "galera"), {"db1:3306": source}, 1.0)
    assert newcomers.named(topology) == {"db3:3306"}


def test_a_server_that_names_thousands_of_others_is_not_believed_without_a_limit() -> None:
    """Each of them would get a connect, and with it the account's name."""
    newcomers = Newcomers(["a:3306"], lambda address: pytest.fail(f"{address} is not asked here"))
    many = answer("a:3306", "A", *(f"10.0.0.1:{port}" for port in range(1000, 5000)))
    topology = decide(begin(("a:3306",), "galera"), {"a:3306": many}, 1.0)
    assert len(newcomers.named(topology)) == MOST


def test_an_address_of_a_known_server_is_asked_once() -> None:
    """It is known by another name."""
    newcomers = Newcomers(["a:3306"], lambda address: pytest.fail(f"{address} is not asked here"))
    topology = decide(begin(("a:3306",), "galera"), {"a:3306": answer("a:3306", "A", "10.0.0.1:3306")}, 1.0)
    assert newcomers.named(topology) == {"10.0.0.1:3306"}
    assert not newcomers.is_new(topology, answer("10.0.0.1:3306", "A"))
    assert newcomers.named(topology) == set()
    assert newcomers.is_new(topology, answer("10.0.0.2:3306", "B"))
