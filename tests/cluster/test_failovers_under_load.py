"""A ledger of unique writes through many failovers: none lost, none twice, none that hangs."""

from __future__ import annotations

import threading
from collections import Counter
from time import monotonic
from typing import TYPE_CHECKING

import pytest
from pymysql.err import MySQLError

from improved_db import FailoverReport, ImprovedDb, OutcomeUnknown
from improved_db.cluster.gtid import history
from improved_db.testing import TemporaryCluster
from tests.cluster.nodes import ask
from tests.cluster.replicas import eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from improved_db.testing import TemporaryServer

#: A commit is acknowledged when one replica has it, so the one with most has all that was acknowledged.
SEMI_SYNC = [
    "--rpl-semi-sync-master-enabled=ON",
    "--rpl-semi-sync-slave-enabled=ON",
    "--rpl-semi-sync-master-timeout=10000",
    "--rpl-semi-sync-master-wait-point=AFTER_SYNC",
]
DEADLINE = 20.0


@pytest.fixture
def safe_cluster() -> Iterator[TemporaryCluster]:
    """A primary with two replicas that loses no acknowledged commit."""
    with TemporaryCluster(replicas=2, options=SEMI_SYNC, flavour="mariadb") as running:
        yield running


class Ledger:
    """Writers, each of which notes what it was told of each of its rows."""

    def __init__(self, db: ImprovedDb) -> None:
        self.acknowledged: list[int] = []
        self.unknown: list[int] = []
        self.longest = 0.0
        self._db = db
        self._over = threading.Event()
        self._threads = [
            threading.Thread(target=self._write, args=(number, write))
            for number, write in enumerate((self._alone, self._alone, self._exactly_once, self._exactly_once), 1)
        ]

    def start(self) -> None:
        """Let them write."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Let each end with the write that it is at."""
        self._over.set()
        for thread in self._threads:
            thread.join(DEADLINE + 10)
        assert not any(thread.is_alive() for thread in self._threads), "a write hangs"

    def _write(self, writer: int, write: Callable[[int], object]) -> None:
        number = writer * 1_000_000
        while not self._over.is_set():
            number += 1
            began_at = monotonic()
            try:
                write(number)
                self.acknowledged.append(number)
            except OutcomeUnknown:
                self.unknown.append(number)
            except MySQLError:
                pass  # it says that nothing was applied
            self.longest = max(self.longest, monotonic() - began_at)

    def _alone(self, number: int) -> None:
        self._db.execute_query("insert into ledger values (%s)", number)

    def _exactly_once(self, number: int) -> None:
        self._db.run_transaction(
            lambda tx: tx.execute_query("insert into ledger values (%s)", number), exactly_once=True
        )


def most_advanced(cluster: TemporaryCluster) -> TemporaryServer:
    """Return the replica that has received most."""

    def received(node: TemporaryServer) -> int:
        ask(node, "stop slave io_thread")
        (row,) = ask(node, "show all slaves status")
        positions = [history(str(text), "mariadb") for text in row if str(text).count("-") >= 2 and str(text)[0] == "0"]
        return max(last for position in positions for _, last in position.newest().values())

    return max(cluster.replicas, key=received)


@pytest.mark.soak
def test_twenty_failovers_under_load_keep_the_ledger(safe_cluster: TemporaryCluster) -> None:
    """Scenario 66: killed, switched, frozen in turn; each acknowledged row is there once, no report names a loss."""
    cluster = safe_cluster
    reports: list[FailoverReport] = []
    ask(cluster.primary, "create table test.ledger (number bigint not null, key (number))")
    cluster.settle()
    with ImprovedDb(cluster.urls, deadline=DEADLINE, monitor_interval=0.5, on_failover=reports.append) as db:
        db.wait(20)
        ledger = Ledger(db)
        ledger.start()
        try:
            for number in range(20):
                fail_over(cluster, number)
                assert eventually(lambda: db.stats().failovers == number + 1, 30.0)  # noqa: B023  # asked at once
                written = len(ledger.acknowledged)
                assert eventually(lambda: len(ledger.acknowledged) > written + 20, 30.0)  # noqa: B023  # as above
        finally:
            ledger.stop()
        assert eventually(lambda: len(reports) == 20, 30.0)
        found = Counter(int(row[0]) for row in ask(cluster.primary, "select number from test.ledger"))
    assert [report.lost for report in reports] == [()] * 20
    assert [number for number in ledger.acknowledged if number not in found] == []
    assert [number for number, times in found.items() if times > 1] == []
    assert ledger.longest < DEADLINE + 5


def fail_over(cluster: TemporaryCluster, number: int) -> None:
    """Let another server be the primary: after a kill, by a planned switch, or after a freeze."""
    old = cluster.primary
    kind = ("kill", "switch", "freeze")[number % 3]
    if kind == "kill":
        old.kill()
    elif kind == "freeze":
        old.pause()
    node = next(node for node in cluster.replicas) if kind == "switch" else most_advanced(cluster)
    cluster.promote(node)
    if kind != "switch":
        old.resume()
        cluster.rebuild(old)
    cluster.settle()
