"""Servers for a whole test run: a primary with replicas, a Galera, and three that know nothing of each other."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from improved_db import Host, ImprovedDb
from improved_db.errors import ServerNotFound
from improved_db.testing import TemporaryCluster, TemporaryServer
from tests.cluster.replicas import Replicas
from tests.cluster.shop import INSERT, Shop

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def servers_of_the_run() -> Iterator[TemporaryCluster]:
    """The run's servers; a test asks for `cluster`."""
    with TemporaryCluster(replicas=2) as running:
        yield running


@pytest.fixture
def cluster(servers_of_the_run: TemporaryCluster) -> Iterator[TemporaryCluster]:
    """A primary with two replicas, empty; a test may kill, pause and promote, and leaves them as they are."""
    servers_of_the_run.reset()
    yield servers_of_the_run
    for node in servers_of_the_run.nodes:
        node.resume()  # what waits for a server that a test has paused would wait for ever


class Trio:
    """Three servers with the same tables, which tests share.

    ``who`` has one row, the server's name; ``written`` is empty at first; ``hidden()`` is a function that writes.
    """

    def __init__(self, servers: dict[str, TemporaryServer]) -> None:
        self.servers = servers
        for name in servers:
            with self.direct(name) as db:
                db.execute_query("create table who (name varchar(9))")
                db.execute_query("insert into who values (%s)", (name,))
                db.execute_query("create table written (id int primary key)")
                db.execute_query(
                    "create function hidden(number int) returns int modifies sql data "
                    "begin insert into written values (number); return number; end"
                )
                db.execute_query("create procedure slow() begin declare i int; select sleep(30) into i; end")

    def url(self, name: str) -> str:
        """Return the URL of one server."""
        return self.servers[name].url

    def direct(self, name: str) -> ImprovedDb:
        """Return an `ImprovedDb` on one server alone."""
        return ImprovedDb(self.url(name), max_size=2)

    def hosts(self, **weights: float) -> list[str | Host]:
        """Return the list that makes "a" the primary and the others replicas."""
        replicas = [Host(self.url(name), role="replica", weight=weights.get(name, 1.0)) for name in ("b", "c")]
        return [self.url("a"), *replicas]

    def written(self) -> dict[str, int]:
        """Return how many rows each server has in ``written``."""
        counts: dict[str, int] = {}
        for name in self.servers:
            with self.direct(name) as db:
                counts[name] = db.fetch_value("select count(*) from written")
        return counts


@pytest.fixture(scope="session")
def three_servers() -> Iterator[Trio]:
    """Three servers of the whole run."""
    with TemporaryServer() as one, TemporaryServer() as two, TemporaryServer() as three:
        yield Trio({"a": one, "b": two, "c": three})


@pytest.fixture
def trio(three_servers: Trio) -> Trio:
    """The three servers: all of them run, and nothing is written yet."""
    for name, server in three_servers.servers.items():
        if not server.running:
            server.restart()
        with three_servers.direct(name) as db:
            db.execute_query("delete from written")
    return three_servers


@pytest.fixture
def replicas(cluster: TemporaryCluster) -> Replicas:
    """A primary with two replicas, in step, and an operator's commands for them, in MariaDB's words."""
    if "MariaDB" not in cluster.primary.version:
        pytest.skip("the operator's commands of these tests are MariaDB's; the ledger of failovers runs on MySQL, too")
    return Replicas(cluster)


@pytest.fixture
def shop(replicas: Replicas) -> Iterator[Shop]:
    """A primary with two replicas, in step, and a program that has found the primary."""
    with closing(Shop(replicas)) as found:
        found.db.execute_query(INSERT)
        replicas.catch_up(1, 2, of=0)
        assert found.primary() == 0
        yield found


@pytest.fixture(scope="session")
def galera_of_the_run() -> Iterator[TemporaryCluster]:
    """The run's Galera; a test asks for `galera`."""
    try:
        running = TemporaryCluster(galera=3)
    except ServerNotFound as missing:
        pytest.skip(f"no Galera here: {missing}")
    with running:
        yield running


@pytest.fixture
def galera(galera_of_the_run: TemporaryCluster) -> Iterator[TemporaryCluster]:
    """A Galera of three nodes, empty; a test may kill and pause them, and leaves them as they are."""
    galera_of_the_run.reset()
    yield galera_of_the_run
    for node in galera_of_the_run.nodes:
        node.resume()
