"""Reads that have to see writes of several origins: two domains of MariaDB, two primaries of MySQL."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from improved_db import ImprovedDb
from tests.cluster.nodes import ask
from tests.cluster.replicas import eventually

if TYPE_CHECKING:
    from collections.abc import Callable

    from improved_db.testing import TemporaryCluster

NEWEST = "select max(id) from t"


def write_in_two_domains(db: ImprovedDb, cluster: TemporaryCluster) -> None:
    """Write once in domain 0 and once in domain 7."""
    del cluster
    db.execute_query("insert into t values (1)")
    with db.connection() as connection, connection.cursor() as cursor:
        cursor.execute("set session gtid_domain_id = 7")
        cursor.execute("insert into t values (2)")


def write_on_two_primaries(db: ImprovedDb, cluster: TemporaryCluster) -> None:
    """Write once on the first primary and once on the next one."""
    db.execute_query("insert into t values (1)")
    cluster.promote()
    assert eventually(lambda: db.stats().failovers == 1)
    db.execute_query("insert into t values (2)")


@pytest.mark.parametrize("write", [write_in_two_domains, write_on_two_primaries])
def test_every_origin_of_a_token_is_waited_for(
    cluster: TemporaryCluster, write: Callable[[ImprovedDb, TemporaryCluster], None]
) -> None:
    """Scenario 26: each origin counts for itself, so the number of one says nothing of the other."""
    if write is write_in_two_domains and "MariaDB" not in cluster.primary.version:
        pytest.skip("MySQL has no domains")
    ask(cluster.primary, "create table t (id int primary key)")
    cluster.settle()
    with ImprovedDb(cluster.url, monitor_interval=0.3, causal_timeout=5.0) as db:
        db.wait(20, role="replica")
        write(db, cluster)
        db.wait(20, role="replica")
        assert [db.reader.fetch_value(NEWEST) for _ in range(10)] == [2] * 10
        with ImprovedDb(cluster.url, monitor_interval=0.3) as other:
            other.wait(20, role="replica")
            assert other.reader.execute_query(NEWEST, after=db.causal_token()) == ((2,),)
