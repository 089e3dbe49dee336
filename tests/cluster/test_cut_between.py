"""Connections of a cluster that are cut: between a wait and its rows, and at each step of a write in a failover."""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from improved_db import Host, ImprovedDb, OutcomeUnknown
from tests.cluster.nodes import ask
from tests.fakes import Caller, eventually
from tests.faults.faults import CUT_BEFORE, CUT_WITHIN, SWALLOW_ANSWER_FIN, SWALLOW_ANSWER_RST, cut_answer, delay
from tests.faults.proxy import Cut, Proxy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from improved_db import Transaction
    from improved_db.testing import TemporaryCluster
    from tests.faults.proxy import Fault, Session

NEWEST = "select max(id) from t"


@pytest.fixture
def proxies(cluster: TemporaryCluster) -> Iterator[list[Proxy]]:
    """A proxy in front of each server, and an empty table."""
    ask(cluster.primary, "create table t (id int primary key)", "create table pairs (id int, half int)")
    cluster.settle()
    with ExitStack() as stack:
        yield [stack.enter_context(Proxy(("127.0.0.1", int(node.port or 0)))) for node in cluster.nodes]


def urls(cluster: TemporaryCluster, proxies: list[Proxy]) -> list[str]:
    """Return the URLs that lead through the proxies."""
    return [
        url.replace(f":{urlsplit(url).port}/", f":{proxy.port}/") + "?ssl_disabled=1"
        for url, proxy in zip(cluster.urls, proxies, strict=True)
    ]


def listed(cluster: TemporaryCluster, proxies: list[Proxy]) -> list[str | Host]:
    """Return the same with roles that are said."""
    first, *others = urls(cluster, proxies)
    return [first, *(Host(url, role="replica") for url in others)]


@pytest.mark.parametrize(
    "fault",
    [
        CUT_BEFORE,
        *(
            pytest.param(fault, marks=pytest.mark.soak)
            for fault in (CUT_WITHIN, SWALLOW_ANSWER_RST, SWALLOW_ANSWER_FIN, cut_answer(3))
        ),
    ],
)
def test_read_that_is_cut_off_after_its_wait_is_answered_by_another_server(
    cluster: TemporaryCluster, proxies: list[Proxy], fault: Fault
) -> None:
    """Scenario 31: the replica had the write, and its connection is lost before the rows."""
    with ImprovedDb(listed(cluster, proxies)) as db:
        for number in range(4):
            db.execute_query("insert into t values (%s)", number)
            for proxy in proxies[1:]:
                proxy.clear()
                proxy.on_query(b"^select max", fault)
            assert db.reader.fetch_value(NEWEST) == number
    assert sum(proxy.forwarded(b"^SELECT MASTER_GTID_WAIT|^SELECT WAIT_FOR") for proxy in proxies[1:]) > 0


def test_slow_replica_loses_its_share_and_fails_nothing(cluster: TemporaryCluster, proxies: list[Proxy]) -> None:
    """Scenario 39: eight threads read; one replica needs 0.3 s for each answer."""
    proxies[1].on_query(b"^select max", delay(0.3), times=None)
    with ImprovedDb(listed(cluster, proxies), max_size=8, causal_reads=False) as db:

        def read() -> Counter[str]:
            return Counter("read" for _ in range(15) if db.reader.fetch_value(NEWEST) is None)

        readers = [Caller(read) for _ in range(8)]
        assert sum((reader.result() for reader in readers), Counter[str]()) == {"read": 120}
        slow, quick = (stats.acquired for stats in list(db.stats().by_host.values())[1:])
    assert slow * 3 < quick


@pytest.mark.parametrize(
    "at",
    [
        *(pytest.param(at, marks=pytest.mark.soak) for at in ("^begin|^start", "insert into pairs", "update pairs")),
        "^commit",
    ],
)
@pytest.mark.parametrize("exactly_once", [False, True])
def test_transaction_that_is_cut_while_another_server_is_promoted_is_there_whole_and_once(
    cluster: TemporaryCluster, proxies: list[Proxy], at: str, exactly_once: bool
) -> None:
    """Scenario 65: its primary is gone with the answer; what is told of the outcome is true on the next primary."""
    with ImprovedDb(urls(cluster, proxies), deadline=20, monitor_interval=0.3) as db:
        db.run_transaction(lambda tx: tx.execute_query("insert into pairs values (0, 1)"), exactly_once=True)
        cluster.settle()

        def send_and_kill(session: Session, packet: bytes) -> None:
            session.forward(packet)
            session.swallow_answers()
            cluster.primary.kill()
            raise Cut(reset=True)

        def work(tx: Transaction) -> None:
            tx.execute_query("insert into pairs values (1, 1)")
            tx.execute_query("update pairs set half = 2 where id = 1")

        proxies[0].on_query(b"(?i)" + at.encode(), send_and_kill)
        write = Caller(lambda: db.run_transaction(work, exactly_once=exactly_once))
        eventually(lambda: not cluster.primary.running)
        cluster.promote()
        try:
            write.result()
            told = {(1,)}
        except OutcomeUnknown:
            told = {(0,), (1,)}
        assert not exactly_once or told == {(1,)}
        assert ask(cluster.primary, "select count(*) from pairs where id = 1 and half = 2")[0] in told
        assert ask(cluster.primary, "select count(*) from pairs where id = 1 and half = 1") == ((0,),)
