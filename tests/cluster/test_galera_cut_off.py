"""A node of a real Galera is cut off from the others, in the middle of reads that wait and of commits."""

from __future__ import annotations

import itertools
import threading
from typing import TYPE_CHECKING

import pytest

from improved_db import ImprovedDb
from tests.cluster.nodes import ask
from tests.fakes import Caller, eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from improved_db import Transaction
    from improved_db.testing import TemporaryCluster, TemporaryServer

pytestmark = pytest.mark.soak

ISOLATE = "SET GLOBAL wsrep_provider_options = 'gmcast.isolate=1'"
REJOIN = "SET GLOBAL wsrep_provider_options = 'gmcast.isolate=0'"


@pytest.fixture
def cut_off(galera: TemporaryCluster) -> Iterator[Callable[[TemporaryServer], None]]:
    """Cut a node off from the others; it joins them again after the test."""
    gone: list[TemporaryServer] = []

    def cut(node: TemporaryServer) -> None:
        gone.append(node)
        ask(node, ISOLATE)

    yield cut
    for node in gone:
        ask(node, REJOIN)
    galera.settle()


def role(db: ImprovedDb, node: TemporaryServer) -> str:
    """Return the role of a node, as the program sees it."""
    return next(host.role for host in db.hosts() if host.host == f"127.0.0.1:{node.port}")


def test_reads_on_a_node_that_is_cut_off_are_answered_by_another_one(
    galera: TemporaryCluster, cut_off: Callable[[TemporaryServer], None]
) -> None:
    """Scenario 29: 1047 and 1205 of a wait are no errors of the statement, and no read is stale."""
    written, reads, stopped = [0], itertools.count(1), threading.Event()
    with ImprovedDb(galera.url, max_size=8, monitor_interval=0.3, deadline=30, causal_timeout=0.5) as db:
        db.execute_query("create table t (id int primary key)")
        db.wait(20, role="replica")

        def write() -> None:
            while not stopped.is_set():
                db.execute_query("insert into t values (%s)", written[-1] + 1)
                written.append(written[-1] + 1)

        def read() -> int:
            stale = 0
            while not stopped.is_set():
                least = written[-1]
                stale += (db.reader.fetch_value("select max(id) from t") or 0) < least
                seen.append(next(reads))
            return stale

        seen: list[int] = []
        writing, reading = Caller(write), [Caller(read) for _ in range(4)]
        eventually(lambda: len(seen) > 100)
        cut_off(galera.nodes[1])
        eventually(lambda: role(db, galera.nodes[1]) == "unfit")
        enough = len(seen) + 200
        eventually(lambda: len(seen) > enough)
        stopped.set()
        writing.result()
        assert [reader.result() for reader in reading] == [0, 0, 0, 0]


def test_commits_on_a_node_that_is_cut_off_are_known_on_the_others_and_done_once(
    galera: TemporaryCluster, cut_off: Callable[[TemporaryServer], None]
) -> None:
    """Scenario 71: the node cannot tell the outcome (1180, 1213, 1047), and the token can."""
    first, *others = galera.nodes
    names, acked, stopped = itertools.count(), [], threading.Event()
    with ImprovedDb(galera.url, max_size=8, monitor_interval=0.3, deadline=60) as db:
        db.execute_query("create table t (id int primary key auto_increment, name int)")
        db.wait(20, role="replica")

        def add(tx: Transaction, name: int) -> None:
            tx.execute_query("insert into t (name) values (%s)", name)

        def go_on() -> None:
            while not stopped.is_set():
                name = next(names)
                db.run_transaction(add, name, exactly_once=True)
                acked.append(name)

        adding = [Caller(go_on) for _ in range(8)]
        eventually(lambda: len(acked) > 100)
        cut_off(first)
        eventually(lambda: role(db, first) == "unfit" and "primary" in {role(db, node) for node in others})
        enough = len(acked) + 100
        eventually(lambda: len(acked) > enough)
        stopped.set()
        for caller in adding:
            caller.result()
        there = sorted(db.fetch_column("select name from t"))
    assert there == sorted(acked)
    assert [ask(node, "select count(*) from test.t")[0][0] for node in others] == [len(acked)] * 2
