"""What `TemporaryCluster` promises of a primary with replicas."""

from __future__ import annotations

import shutil
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pymysql
import pytest

from improved_db.errors import ConfigError
from improved_db.testing import TemporaryCluster, TemporaryServer
from tests.cluster.nodes import ask
from tests.fakes import PATIENCE, Caller, eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

TABLE = "CREATE TABLE t (id INT PRIMARY KEY)"
WRITABLE = "SELECT NOT @@global.read_only"


@pytest.fixture
def own_folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A temporary folder of the test's own, with a path short enough for a socket."""
    path = Path(tempfile.mkdtemp(dir="/tmp"))
    monkeypatch.setattr(tempfile, "tempdir", str(path))
    yield path
    shutil.rmtree(path)


def rows(node: TemporaryServer) -> list[int]:
    return [number for (number,) in ask(node, "SELECT id FROM t ORDER BY id")]


def until_rows(node: TemporaryServer, wanted: list[int]) -> None:
    """Wait until *node* has these rows."""
    deadline = time.monotonic() + PATIENCE
    while rows(node) != wanted:
        assert time.monotonic() < deadline, f"{node!r} has {rows(node)}"


def writable(cluster: TemporaryCluster) -> list[int]:
    return [ask(node, WRITABLE)[0][0] for node in cluster.nodes]


def test_new_cluster_is_one_primary_and_replicas_that_refuse_writes(cluster: TemporaryCluster) -> None:
    """The first thing a test does with it is to write on one server and read on another."""
    first, second, third = cluster.nodes
    assert (cluster.primary, cluster.replicas) == (first, (second, third))
    assert writable(cluster) == [1, 0, 0]
    ask(first, TABLE, "INSERT INTO t VALUES (1)")
    cluster.settle()
    assert [rows(node) for node in cluster.nodes] == [[1], [1], [1]]


def test_urls_name_each_server_and_url_names_all(cluster: TemporaryCluster) -> None:
    """A program gets the addresses as a list or with commas between them."""
    ports = [node.port for node in cluster.nodes]
    assert cluster.urls == [f"mysql://app@127.0.0.1:{port}/test" for port in ports]
    assert cluster.url == "mysql://app@{},{},{}/test".format(*(f"127.0.0.1:{port}" for port in ports))


def test_account_of_the_urls_cannot_write_on_a_replica(cluster: TemporaryCluster) -> None:
    """Root can: a test that uses root would not see that a program writes to the wrong server."""
    options = {**cluster.nodes[1].connect_options, "user": "app", "ssl_disabled": True}
    with (
        pymysql.connect(**options) as connection,
        connection.cursor() as cursor,
        pytest.raises(pymysql.err.OperationalError, match=r"read[-_]only"),
    ):
        cursor.execute(TABLE)


def test_every_server_has_an_identity_of_its_own(cluster: TemporaryCluster) -> None:
    """Two servers that are copies of one folder would count as one, and MySQL would not replicate between them."""
    assert [ask(node, "SELECT @@server_id")[0][0] for node in cluster.nodes] == [1, 2, 3]
    column = "@@server_uid" if "MariaDB" in cluster.primary.version else "@@server_uuid"
    try:
        identities = {ask(node, f"SELECT {column}")[0][0] for node in cluster.nodes}
    except pymysql.err.OperationalError:
        pytest.skip("the server has no identity but its server_id")
    assert len(identities) == len(cluster.nodes)


def test_planned_switch_loses_nothing_and_the_old_primary_follows(cluster: TemporaryCluster) -> None:
    """A switch for maintenance is the most common change of roles."""
    first, second, _ = cluster.nodes
    ask(first, TABLE, "INSERT INTO t VALUES (1), (2)")
    cluster.promote(second)
    assert cluster.primary is second
    assert writable(cluster) == [0, 1, 0]
    ask(second, "INSERT INTO t VALUES (3)")
    cluster.settle()
    assert [rows(node) for node in cluster.nodes] == [[1, 2, 3]] * 3


def test_planned_switch_ends_sessions_that_wait_for_each_other(cluster: TemporaryCluster) -> None:
    """A server would wait for a statement that waits for a transaction that may never end."""
    ask(cluster.primary, TABLE, "INSERT INTO t VALUES (1)")
    options = {**cluster.primary.connect_options, "read_timeout": PATIENCE}
    with pymysql.connect(**options) as holder, pymysql.connect(**options) as waiter:
        holder.cursor().execute("UPDATE t SET id = 2 WHERE id = 1")
        waiting = Caller(lambda: waiter.cursor().execute("UPDATE t SET id = 3 WHERE id = 1"))
        running = "SELECT COUNT(*) FROM information_schema.processlist WHERE info LIKE 'UPDATE t SET id = 3%'"
        eventually(lambda: ask(cluster.primary, running) == ((1,),))
        old = cluster.primary
        cluster.promote()
        assert cluster.primary is not old
        with pytest.raises(pymysql.err.OperationalError):
            waiting.result()
    cluster.settle()
    assert [rows(node) for node in cluster.nodes] == [[1], [1], [1]]


def test_promotion_after_a_kill_loses_what_the_replica_had_not_received(cluster: TemporaryCluster) -> None:
    """What a failover loses is what a test has to be able to say beforehand."""
    first, second, third = cluster.nodes
    ask(first, TABLE, "INSERT INTO t VALUES (1)")
    cluster.settle()
    cluster.stop_replication(second)
    cluster.stop_replication(third)
    ask(first, "INSERT INTO t VALUES (2)")
    first.kill()
    cluster.promote(second)
    ask(second, "INSERT INTO t VALUES (3)")
    cluster.settle()
    assert [rows(node) for node in (second, third)] == [[1, 3], [1, 3]]


def test_promotion_of_no_node_takes_the_one_that_has_received_most(cluster: TemporaryCluster) -> None:
    """Any other choice loses what this one has."""
    first, second, third = cluster.nodes
    ask(first, TABLE)
    cluster.settle()
    cluster.stop_replication(second)
    ask(first, "INSERT INTO t VALUES (1)")
    until_rows(third, [1])
    first.kill()
    assert cluster.promote() is third
    cluster.settle()
    assert rows(second) == [1]


def test_promotion_without_apply_received_loses_what_was_not_applied(cluster: TemporaryCluster) -> None:
    """A tool that does not wait for the relay log loses transactions that were on the new primary's disk."""
    first, second, third = cluster.nodes
    ask(first, TABLE, "INSERT INTO t VALUES (1)")
    cluster.settle()
    cluster.stop_replication(second, applying_only=True)
    ask(first, "INSERT INTO t VALUES (2)")
    until_rows(third, [1, 2])
    first.kill()
    cluster.promote(second, apply_received=False)
    assert rows(second) == [1]
    if "MariaDB" in third.version:  # MySQL keeps the row
        until_rows(third, [1])


def test_killed_primary_returns_writable_and_is_rebuilt(cluster: TemporaryCluster) -> None:
    """Its own configuration says that it takes writes; a pool that believes it has two primaries."""
    first, second, _ = cluster.nodes
    ask(first, TABLE, "INSERT INTO t VALUES (1)")
    cluster.settle()
    first.kill()
    cluster.promote(second)
    first.start()
    assert writable(cluster) == [1, 1, 0]
    ask(first, "INSERT INTO t VALUES (10)")
    ask(second, "INSERT INTO t VALUES (20)")
    if "MariaDB" in first.version:  # MySQL keeps the row, and goes on
        with pytest.raises(RuntimeError, match="does not replicate"):
            cluster.follow(first)
    cluster.rebuild(first)
    assert rows(first) == [1, 20]
    assert ask(first, "SELECT @@server_id") == ((1,),)


def test_paused_primary_returns_writable(cluster: TemporaryCluster) -> None:
    """A machine that stood still for a minute knows nothing of what happened meanwhile."""
    first, second, _ = cluster.nodes
    first.pause()
    cluster.promote(second)
    first.resume()
    assert writable(cluster) == [1, 1, 0]


def test_promotion_beside_a_primary_that_lives_makes_two(cluster: TemporaryCluster) -> None:
    """A network that is cut between servers leaves both sides writable."""
    first, second, third = cluster.nodes
    ask(first, TABLE)
    cluster.settle()
    cluster.promote(second, demote=False)
    assert writable(cluster) == [1, 1, 0]
    ask(first, "INSERT INTO t VALUES (1)")
    ask(second, "INSERT INTO t VALUES (2)")
    until_rows(third, [2])


def test_restarted_server_keeps_its_part(cluster: TemporaryCluster) -> None:
    """A replica that forgot read_only at its restart would be a second primary."""
    first, second, third = cluster.nodes
    cluster.promote(second)
    for node in cluster.nodes:
        node.restart()
    assert writable(cluster) == [0, 1, 0]
    ask(second, TABLE, "INSERT INTO t VALUES (1)")
    cluster.settle()
    assert (rows(first), rows(third)) == ([1], [1])


def test_stopped_replica_stands_still_until_it_is_started(cluster: TemporaryCluster) -> None:
    """A replica that lags for ever is the one that must not answer."""
    first, second, third = cluster.nodes
    ask(first, TABLE)
    cluster.settle()
    cluster.stop_replication(second, applying_only=True)
    cluster.stop_replication(third)
    ask(first, "INSERT INTO t VALUES (1)")
    assert (rows(second), rows(third)) == ([], [])
    cluster.start_replication(second)
    cluster.start_replication(third)
    cluster.settle()
    assert (rows(second), rows(third)) == ([1], [1])


def test_delayed_replica_applies_late(cluster: TemporaryCluster) -> None:
    """Lag that a test can choose needs no load."""
    first, second, third = cluster.nodes
    ask(first, TABLE)
    cluster.settle()
    cluster.delay(second, 600)
    ask(first, "INSERT INTO t VALUES (1)")
    until_rows(third, [1])
    assert rows(second) == []
    cluster.delay(second, 0)
    cluster.settle()
    assert rows(second) == [1]


def test_reset_leaves_nothing_of_the_test_before(cluster: TemporaryCluster) -> None:
    """Tests share the servers, and none of them may see the rows, accounts or roles of another."""
    first, second, third = cluster.nodes
    ask(first, TABLE, "CREATE DATABASE other", "CREATE USER guest@localhost")
    held = pymysql.connect(**first.connect_options, ssl_disabled=True)
    held.cursor().execute("INSERT INTO t VALUES (1)")
    first.pause()
    cluster.promote(third)
    second.kill()
    cluster.reset()
    assert cluster.primary is first
    assert writable(cluster) == [1, 0, 0]
    for node in cluster.nodes:
        assert ask(node, "SHOW TABLES") == ()
        assert ask(node, "SHOW DATABASES LIKE 'other'") == ()
        assert ask(node, "SELECT COUNT(*) FROM mysql.user WHERE user = 'guest'") == ((0,),)
    with pytest.raises(pymysql.err.OperationalError):
        held.ping(reconnect=False)
    held.close()


def test_node_of_another_cluster_is_refused_before_anything_is_done(
    cluster: TemporaryCluster, server: TemporaryServer
) -> None:
    """Two fixtures in one test are easily mixed up."""
    with pytest.raises(ConfigError, match="none of this cluster's nodes"):
        cluster.promote(server)
    cluster.nodes[1].pause()
    with pytest.raises(RuntimeError, match="does not answer"):
        cluster.promote(cluster.nodes[1])


@pytest.mark.parametrize("replicas", [-1, 9, 1.5, "2", True])
def test_invalid_number_of_replicas_is_refused(replicas: object) -> None:
    """The text says what to write."""
    with pytest.raises(ConfigError, match="0 to 8"):
        TemporaryCluster(replicas=replicas)  # type: ignore[arg-type]  # what users type


def test_server_that_cannot_start_leaves_nothing(own_folder: Path) -> None:
    """The option is wrong for all of them, and the first says so."""
    with pytest.raises(RuntimeError, match="no-such-option"):
        TemporaryCluster(options=["--no-such-option"])
    assert list(own_folder.iterdir()) == []


def test_close_leaves_nothing(own_folder: Path) -> None:
    """A second close has nothing to do."""
    with TemporaryCluster(replicas=0) as alone:
        assert alone.replicas == ()
        alone.promote(alone.primary)
    alone.close()
    assert list(own_folder.iterdir()) == []
