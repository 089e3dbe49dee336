"""Reads on the other nodes of a Galera see what was written before."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from improved_db import ImprovedDb

if TYPE_CHECKING:
    from improved_db.testing import TemporaryCluster

NEWEST = "select max(id) from t"


def test_what_was_written_on_one_node_is_read_on_another_at_once(galera: TemporaryCluster) -> None:
    """Without the wait, nearly half of these reads are stale."""
    with ImprovedDb(galera.urls[0]) as db:
        db.execute_query("create table t (id int primary key)")
    galera.settle()
    with ImprovedDb(galera.urls, topology="galera") as db, ImprovedDb(galera.urls, topology="galera") as other:
        db.wait(20, role="replica")
        other.wait(20, role="replica")
        stale = 0
        for number in range(300):
            db.execute_query("insert into t values (%s)", number)
            stale += db.reader.fetch_value(NEWEST) != number
            if not number % 50:
                assert other.execute_query(NEWEST, after=db.causal_token()) == ((number,),)
                with other.reader.transaction(after=db.causal_token()) as tx:
                    assert tx.fetch_value(NEWEST) == number
        assert stale == 0
        served = {host: stats.acquired for host, stats in db.stats().by_host.items()}
        replicas = [host.host for host in db.hosts() if host.role == "replica"]
        assert sum(served[host] for host in replicas) >= 290
        with pytest.raises(Exception, match="1792"):
            db.reader.execute_query("insert into t values (-1)")
