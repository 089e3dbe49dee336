"""What `TemporaryCluster(galera=3)` promises."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from improved_db.errors import ConfigError, ServerNotFound
from improved_db.testing import TemporaryCluster
from tests.cluster.nodes import ask

if TYPE_CHECKING:
    from pathlib import Path

    from improved_db.testing import TemporaryServer

TABLE = "CREATE TABLE t (id INT PRIMARY KEY)"


def status(node: TemporaryServer, name: str) -> str:
    return str(dict(ask(node, f"SHOW GLOBAL STATUS LIKE '{name}'"))[name])


def rows(node: TemporaryServer) -> list[int]:
    return [number for (number,) in ask(node, "SET SESSION wsrep_sync_wait = 1", "SELECT id FROM t ORDER BY id")]


def test_every_node_takes_writes_and_has_what_the_others_wrote(galera: TemporaryCluster) -> None:
    """That is what a Galera is for."""
    first, second, third = galera.nodes
    ask(first, TABLE, "INSERT INTO t VALUES (1)")
    galera.settle()
    ask(second, "INSERT INTO t VALUES (2)")
    assert [rows(node) for node in galera.nodes] == [[1, 2]] * 3
    assert (galera.primary, galera.replicas) == (first, (second, third))


@pytest.mark.soak
def test_killed_node_joins_again_with_all_data(galera: TemporaryCluster) -> None:
    """A node that died gets the data of another; the group goes on meanwhile."""
    first, second, _ = galera.nodes
    ask(first, TABLE, "INSERT INTO t VALUES (1)")
    first.kill()
    galera.settle()
    ask(second, "INSERT INTO t VALUES (2)")
    first.start()
    galera.settle()
    assert rows(first) == [1, 2]


@pytest.mark.soak  # nine seconds of waiting
def test_paused_node_is_put_out_and_comes_back(galera: TemporaryCluster) -> None:
    """A node that stands still would hold up every write of the group."""
    first, second, _ = galera.nodes
    ask(first, TABLE)
    first.pause()
    galera.settle()
    assert status(second, "wsrep_cluster_size") == "2"
    ask(second, "INSERT INTO t VALUES (1)")
    first.resume()
    galera.settle()
    assert rows(first) == [1]


@pytest.mark.soak
def test_reset_brings_back_a_group_that_lost_its_majority(galera: TemporaryCluster) -> None:
    """The next test must find three nodes, whatever this one left."""
    first, second, third = galera.nodes
    ask(first, TABLE, "CREATE USER guest@localhost")
    second.kill()
    third.kill()
    galera.reset()
    for node in galera.nodes:
        assert status(node, "wsrep_cluster_size") == "3"
        assert ask(node, "SHOW TABLES") == ()
        assert ask(node, "SELECT COUNT(*) FROM mysql.user WHERE user = 'guest'") == ((0,),)


def test_verbs_of_replication_are_refused(galera: TemporaryCluster) -> None:
    """A Galera has no primary to promote."""
    with pytest.raises(ConfigError, match="no primary"):
        galera.promote(galera.nodes[1])


@pytest.mark.parametrize(
    ("options", "text"),
    [({"galera": 0}, "1 to 9"), ({"galera": 3, "replicas": 2}, "either"), ({"galera": 3, "flavour": "mysql"}, "leave")],
)
def test_invalid_galera_is_refused(options: dict[str, object], text: str) -> None:
    """The text says what to write."""
    with pytest.raises(ConfigError, match=text):
        TemporaryCluster(**options)  # type: ignore[arg-type]  # what users type


def test_missing_library_is_an_error_that_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The package of the server does not bring the library of Galera."""
    monkeypatch.setenv("IMPROVED_DB_GALERA", str(tmp_path / "none"))
    with pytest.raises(ServerNotFound, match="galera-4"):
        TemporaryCluster(galera=3)
