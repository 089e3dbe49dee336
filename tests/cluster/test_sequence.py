"""Two servers of which the first that works takes the writes: topology="sequential"."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from pymysql.err import OperationalError

from improved_db import Host, ImprovedDb
from tests.fakes import eventually

if TYPE_CHECKING:
    from tests.cluster.conftest import Trio

WHO = "select name from who"


def test_next_server_of_the_list_takes_over_until_the_first_is_back(trio: Trio) -> None:
    """Two proxies in front of one cluster: the order is the truth, and a lost connect costs a retry, not an error."""
    with ImprovedDb([trio.url("a"), trio.url("b")], topology="sequential") as db:
        assert db.fetch_value(WHO) == "a"
        trio.servers["a"].kill()
        assert db.fetch_value(WHO) == "b"
        db.execute_query("insert into written values (1)")
        assert [(host.role, host.term) for host in db.hosts()] == [("unknown", 2), ("primary", 2)]
        trio.servers["a"].restart()
        eventually(lambda: db.fetch_value(WHO) == "a")
        db.execute_query("insert into written values (2)")
        assert [host.role for host in db.hosts()] == ["primary", "unknown"]
    assert trio.written() == {"a": 1, "b": 1, "c": 0}


def test_transaction_of_the_first_server_is_lost_and_the_next_one_goes_to_the_second(trio: Trio) -> None:
    """An open transaction does not move; run_transaction is done again where the writes go now."""
    with ImprovedDb([trio.url("a"), trio.url("b")], topology="sequential") as db:
        seen: list[str] = []

        def work(tx: object) -> None:
            seen.append(str(tx.fetch_value(WHO)))  # type: ignore[attr-defined]
            if seen == ["a"]:
                trio.servers["a"].kill()
            tx.execute_query("insert into written values (1)")  # type: ignore[attr-defined]

        db.run_transaction(work)
        assert (seen[0], seen[-1]) == ("a", "b")
    trio.servers["a"].restart()
    assert trio.written() == {"a": 0, "b": 1, "c": 0}


def test_reader_of_a_sequence_reads_from_the_replicas_that_are_named(trio: Trio) -> None:
    """A candidate that waits for its turn is no replica: what it has is not known."""
    hosts: list[str | Host] = [trio.url("a"), trio.url("b"), Host(trio.url("c"), role="replica")]
    with ImprovedDb(hosts, topology="sequential") as db:
        assert {db.reader.fetch_value(WHO) for _ in range(6)} == {"c"}
        assert db.fetch_value(WHO) == "a"
    with ImprovedDb(hosts[:2], topology="sequential") as db:
        assert db.reader.fetch_value(WHO) == "a"


def test_if_no_server_of_the_list_answers_the_error_names_one(trio: Trio) -> None:
    """Nothing hangs, and the first connect error is told."""
    with ImprovedDb([trio.url("a"), trio.url("b")], topology="sequential", retry=None) as db:
        for name in ("a", "b"):
            trio.servers[name].kill()
        for _ in range(3):
            with pytest.raises(OperationalError, match="2002"):
                db.fetch_value(WHO)
