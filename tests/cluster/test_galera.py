"""A program on a real Galera of three: which node gets the writes, and what its reads see."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pymysql
import pytest

from improved_db import ImprovedDb
from tests.cluster.nodes import ask
from tests.fakes import Caller, eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from improved_db.testing import TemporaryCluster

TABLE = "create table t (id int primary key)"
NEWEST = "select max(id) from t"
INSERT = "insert into t values (%s)"


@pytest.fixture
def db(galera: TemporaryCluster) -> Iterator[ImprovedDb]:
    """A program that has found its primary."""
    with ImprovedDb(galera.url, max_size=4, monitor_interval=0.3, deadline=20) as made:
        made.execute_query(TABLE)
        made.wait(20, role="replica")
        yield made


def roles(db: ImprovedDb) -> list[str]:
    return [host.role for host in db.hosts()]


@pytest.mark.parametrize("pairs", [200, pytest.param(2000, marks=pytest.mark.soak)])
def test_what_was_written_on_one_node_is_read_on_the_others_at_once(db: ImprovedDb, pairs: int) -> None:
    """Scenario 19: without the wait nearly half of these are stale; a session that was changed is replaced."""
    db.execute_query(INSERT, -1)
    stale = 0
    for number in range(pairs):
        db.execute_query(INSERT, number)
        if number % 50 == 0:
            db.reader.execute_query("set @a = 1")
        stale += db.reader.fetch_value(NEWEST) != number
    assert stale == 0
    assert [stats.acquired > pairs // 4 for stats in db.stats().by_host.values()] == [True] * 3


def test_token_of_a_galera_stands_for_what_is_committed(db: ImprovedDb, galera: TemporaryCluster) -> None:
    """Another program reads what this one has written, on any node; what is no token is answered by the writer."""
    with ImprovedDb(galera.url, monitor_interval=0.3, deadline=20) as other:
        other.wait(20, role="replica")
        for number in range(20):
            db.execute_query(INSERT, number)
            assert other.execute_query(NEWEST, after=db.causal_token()) == ((number,),)
            with other.reader.transaction(after=db.causal_token()) as tx:
                assert tx.fetch_value(NEWEST) == number
        served = [stats.acquired for stats in other.stats().by_host.values()]
        assert other.execute_query(NEWEST, after=b"garbage") == ((19,),)
        assert [stats.acquired for stats in other.stats().by_host.values()] == [served[0] + 1, *served[1:]]
        assert sum(served[1:]) == 40


def test_answer_to_a_wait_is_never_taken_for_that_to_a_statement(db: ImprovedDb) -> None:
    """They may look the same, byte for byte: a node is waited for by SELECT 0."""
    for _ in range(4):
        assert db.reader.fetch_value("SELECT 0") == 0
    for number in range(1, 9):
        db.execute_query(INSERT, number)
        with db.reader.pipeline() as pipe:
            handles = [pipe.execute_query(query) for query in ("SELECT 0", NEWEST) * 8]
        assert [handle.result() for handle in handles] == [((0,),), ((number,),)] * 8
        assert db.reader.fetch_value("SELECT 0") == 0


def test_node_that_cannot_keep_up_is_waited_for_no_longer_than_asked(galera: TemporaryCluster) -> None:
    """The node itself would wait for 30 s, whatever it is told: neither max_statement_time nor KILL ends that."""
    first, second, _ = galera.nodes
    urls = [f"mysql://app@127.0.0.1:{node.port}/test" for node in (first, second)]
    with (
        ImprovedDb(urls, monitor_interval=0.3, deadline=10, causal_timeout=0.3) as db,
        pymysql.connect(**second.connect_options) as stopper,
        stopper.cursor() as cursor,
    ):
        db.execute_query(TABLE)
        db.wait(20, role="replica")
        assert db.reader.fetch_value(NEWEST) is None
        cursor.execute("flush tables with read lock")  # it applies nothing any more
        db.execute_query(INSERT, 1)
        assert db.reader.fetch_value(NEWEST) == 1
        with db.reader.transaction() as tx:
            assert tx.fetch_value(NEWEST) == 1
        assert db.stats().causal_fallback == 2


def test_node_that_rejects_queries_answers_nothing(db: ImprovedDb, galera: TemporaryCluster) -> None:
    """Scenario 70: it says that it is ready, and refuses every table; a writer is left, a reader is not asked."""
    db.execute_query(INSERT, 1)
    ask(galera.nodes[1], "SET GLOBAL wsrep_reject_queries = ALL")
    eventually(lambda: roles(db)[1] == "unfit")
    assert [db.reader.fetch_value(NEWEST) for _ in range(20)] == [1] * 20
    ask(galera.nodes[0], "SET GLOBAL wsrep_reject_queries = ALL")
    db.execute_query(INSERT, 2)
    eventually(lambda: roles(db)[2] == "primary")
    assert ask(galera.nodes[2], "select count(*) from t") == ((2,),)


@pytest.mark.soak
def test_node_without_a_majority_gets_nothing_until_the_group_is_back(db: ImprovedDb, galera: TemporaryCluster) -> None:
    """Scenario 69: it answers SELECT 1, and refuses every table; the write waits."""
    first, second, third = galera.nodes
    second.kill()
    third.kill()
    eventually(lambda: "primary" not in roles(db))
    assert ask(first, "SELECT 1") == ((1,),)
    write = Caller(lambda: db.execute_query(INSERT, 1))
    ask(first, "SET GLOBAL wsrep_provider_options = 'pc.bootstrap=true'")
    write.result()
    assert ask(first, "select id from t") == ((1,),)
    assert db.hosts()[0].role == "primary"
