"""Days without a disaster: restarts one after the other, replicas that lag, statements that are wrong."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Literal

import pytest
from pymysql.err import MySQLError, ProgrammingError

from improved_db import ImprovedDb, ServerRefused
from tests.cluster.nodes import ask
from tests.cluster.replicas import eventually
from tests.cluster.shop import INSERT
from tests.faults.proxy import Proxy

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Self

    from improved_db.testing import TemporaryCluster
    from tests.cluster.shop import Shop

COUNT = "select count(*) from pets"


class Load:
    """Two threads, one that reads and one that writes, until the block ends.

    Attributes:
        reads: How many reads were answered.
        writes: How many writes were.
        errors: What was raised instead.
    """

    def __init__(self, db: ImprovedDb) -> None:
        self.reads = 0
        self.writes = 0
        self.errors: list[MySQLError] = []
        self._db = db
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._work, args=(one,)) for one in (self._read, self._write)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _work(self, statement: Callable[[], object]) -> None:
        while not self._over.wait(0.005):
            try:
                statement()
            except MySQLError as error:
                self.errors.append(error)

    def _read(self) -> None:
        self._db.reader.fetch_value(COUNT)
        self.reads += 1

    def _write(self) -> None:
        self._db.execute_query(INSERT)
        self.writes += 1


def test_servers_that_are_restarted_one_after_the_other_cost_no_error(cluster: TemporaryCluster) -> None:
    """Scenario 94: an update of the servers, with the program under load: reads go elsewhere, writes wait."""
    ask(cluster.primary, "create table test.pets (id int auto_increment primary key)")
    cluster.settle()
    with ImprovedDb(cluster.urls, deadline=20.0, monitor_interval=0.3) as db:
        db.wait(20, role="replica")
        with Load(db) as load:
            for node in cluster.replicas:
                node.restart()
                cluster.settle()
            old = cluster.primary
            cluster.promote(cluster.replicas[0])
            assert eventually(lambda: db.stats().failovers == 1)
            old.restart()
            reads, writes = load.reads, load.writes
            assert eventually(lambda: load.reads > reads + 20 and load.writes > writes + 20)
        assert load.errors == []
        assert db.fetch_value(COUNT) == load.writes


def test_replicas_that_are_too_far_behind_are_not_read_from(cluster: TemporaryCluster) -> None:
    """Scenario 34: the primary answers; who wants only replicas hears how far behind they are."""
    ask(cluster.primary, "create table test.pets (id int auto_increment primary key)")
    cluster.settle()

    def program(preference: Literal["primary", "replica"]) -> ImprovedDb:
        return ImprovedDb(
            cluster.urls,
            read_preference=preference,
            max_replication_lag=0.5,
            monitor_interval=0.2,
            causal_reads=False,
        )

    with program("primary") as db, program("replica") as strict:
        assert strict.reader.fetch_value(COUNT) == 0
        for node in cluster.replicas:
            cluster.delay(node, 60)
        db.execute_query(INSERT)
        for one in (db, strict):
            assert eventually(lambda: all((host.lag or 0.0) > 0.5 for host in one.hosts()[1:]))  # noqa: B023  # at once
        assert db.reader.fetch_value(COUNT) == 1
        with pytest.raises(ServerRefused, match="lag"):
            strict.reader.fetch_value(COUNT)
        for node in cluster.replicas:
            cluster.delay(node, 0)
        assert eventually(lambda: all(host.lag == 0.0 for host in strict.hosts()[1:]))
        assert strict.reader.fetch_value(COUNT) == 1


def test_a_name_that_moves_to_another_server_takes_its_readers_along(cluster: TemporaryCluster) -> None:
    """Scenario 87: connections that are open go on to the old server, whose data nobody looks after any more."""
    ask(cluster.primary, "create table test.pets (id int auto_increment primary key)")
    cluster.settle()
    primary, old, new = cluster.nodes
    which = "select @@port"
    with Proxy(("127.0.0.1", int(old.port or 0))) as name:
        urls = [cluster.urls[0], cluster.urls[1].replace(str(old.port), str(name.port))]
        with ImprovedDb(urls, monitor_interval=0.2, read_preference="replica") as db:
            assert db.reader.fetch_value(which) == old.port
            name.target = ("127.0.0.1", int(new.port or 0))
            mine = db.reader.fetch_value("select connection_id()")
            others = ask(old, f"select id from information_schema.processlist where user = 'app' and id != {mine}")
            for (session,) in others:  # the monitor's, which then looks the name up
                ask(old, f"kill {session}")
            assert eventually(lambda: db.reader.fetch_value(which) == new.port)
            assert primary.port not in {old.port, new.port}


def test_statements_that_are_wrong_eject_no_server(shop: Shop) -> None:
    """Scenario 42: their errors say nothing about the server."""
    for _ in range(20):
        with pytest.raises(ProgrammingError):
            shop.db.reader.fetch_value("selec 1")
    assert [(host.failures, host.ejected_for) for host in shop.db.hosts()] == [(0, 0.0)] * 3
