"""Writers and readers through failovers of real servers: what they were told, and what is true on the last primary."""

from __future__ import annotations

import contextlib
import logging
import random
import threading
from collections.abc import Callable, Iterator
from time import monotonic
from typing import TYPE_CHECKING, Any

import pytest

from improved_db import FailoverReport, ImprovedDb
from tests.cluster.nodes import ask
from tests.fakes import Caller, eventually
from tests.faults.ledger import Claim, Ledger

if TYPE_CHECKING:
    from collections import Counter

    from improved_db.testing import TemporaryCluster, TemporaryServer

WRITERS = 6
#: Seconds a call may take, and seconds that ending what it left behind may take besides.
DEADLINE, GRACE = 20.0, 10.0
#: Seconds after which writes have to go on; one is the aim, the rest is for a machine with other things to do.
RESUMED = 10.0

never = threading.Event()
logger = logging.getLogger(__name__)


class Truth:
    """The rows of one server."""

    def __init__(self, node: Callable[[], TemporaryServer]) -> None:
        self._node = node

    def ask(self, query: str) -> tuple[tuple[Any, ...], ...]:
        """Run one statement as root."""
        return ask(self._node(), query)


class Load:
    """Writers with a ledger, and readers that read what they have written, until `end`."""

    def __init__(self, db: ImprovedDb, books: Truth, pause: float = 0.0) -> None:
        self.db = db
        self.ledger = Ledger(db, pause)
        self.ledger.make_tables(books)
        self._writers = [self._start(number) for number in range(WRITERS)]

    def _start(self, number: int) -> Caller[None]:
        write = self.ledger.write_transactions if number % 2 else self.ledger.write_rows
        return Caller(lambda: write(number), name=f"writer {number}")

    def wait_for_writes(self) -> float:
        """Wait until each writer may have been acknowledged a new write; return the seconds until the first was."""
        began, before = monotonic(), self.ledger.claims()[Claim.ACKNOWLEDGED]
        eventually(lambda: self.ledger.claims()[Claim.ACKNOWLEDGED] > before)
        seconds = monotonic() - began
        eventually(lambda: self.ledger.claims()[Claim.ACKNOWLEDGED] > before + 30)
        return seconds

    def end(self) -> Counter[Claim]:
        """Let all end, and return what they were told."""
        self.ledger.stop()
        for writer in self._writers:
            writer.result()
        return self.ledger.claims()


@contextlib.contextmanager
def running(db: ImprovedDb, books: Truth, pause: float = 0.0) -> Iterator[Load]:
    """Start a load; it ends with the block, also if that fails, so that it takes no time from later tests."""
    load = Load(db, books, pause)
    try:
        yield load
    finally:
        load.ledger.stop()


#: Makes another server the primary.
Failover = Callable[["TemporaryCluster"], None]


def kill(cluster: TemporaryCluster) -> None:
    """The primary dies; a replica applies what it has received, and is promoted."""
    old = cluster.primary
    old.kill()
    cluster.promote()


def switch(cluster: TemporaryCluster) -> None:
    """A planned switch."""
    cluster.promote()


def freeze(cluster: TemporaryCluster) -> None:
    """The primary stands still, and wakes up with statements to run when another one is the primary."""
    old = cluster.primary
    old.pause()
    never.wait(0.3)
    cluster.promote()


def freeze_until_noticed(cluster: TemporaryCluster) -> None:
    """The primary stands still for so long that every program knows it before another one is promoted."""
    cluster.primary.pause()
    never.wait(5.0)
    cluster.promote()


def name_of(failover: Failover) -> str:
    """Return the name of a function."""
    return str(getattr(failover, "__name__", failover))


def bring_back(cluster: TemporaryCluster, old: TemporaryServer) -> None:
    """Let the old primary take writes for a moment, if it thinks that it may, and then follow the new one."""
    if old.paused:
        old.resume()
    else:
        old.start()
    never.wait(0.3)
    if ask(old, "SELECT @@global.read_only") == ((0,),):
        cluster.rebuild(old)


@pytest.mark.parametrize(
    "kinds",
    [
        pytest.param([kill, switch, freeze], id="one of each"),
        pytest.param([kill, switch, freeze, freeze_until_noticed] * 5, id="twenty", marks=pytest.mark.soak),
    ],
)
def test_ledger_is_true_after_failovers_of_a_primary_with_replicas(
    cluster: TemporaryCluster, kinds: list[Failover]
) -> None:
    """Acknowledged writes are there once but for those that the reports name; nothing is there twice; nothing hangs."""
    seed = random.SystemRandom().randrange(1_000_000)
    failovers = random.Random(seed).sample(kinds, len(kinds))
    reports: list[FailoverReport] = []
    resumed: dict[str, float] = {}
    books = Truth(lambda: cluster.primary)
    pause = 0.05 if len(kinds) > 3 else 0.0  # a server that is rebuilt applies all of them
    with (
        ImprovedDb(
            cluster.url, max_size=WRITERS, deadline=DEADLINE, monitor_interval=0.5, on_failover=reports.append
        ) as db,
        running(db, books, pause) as load,
    ):
        load.wait_for_writes()
        for number, failover in enumerate(failovers, 1):
            old = cluster.primary
            failover(cluster)
            seconds = load.wait_for_writes()
            resumed[name_of(failover)] = max(resumed.get(name_of(failover), 0.0), seconds)
            bring_back(cluster, old)
            eventually(lambda number=number: len(reports) == number)  # type: ignore[misc]
            load.wait_for_writes()
        claims = load.end()
        lost = sum(len(report.lost) for report in reports)
        logger.info("resumed after %s s; %s; %d lost, as the reports say", resumed, dict(claims), lost)
        assert load.ledger.lies(books, lost)[:20] == [], f"seed {seed}"
        assert db.stats().failovers == len(failovers)
    assert load.ledger.longest < DEADLINE + GRACE, f"seed {seed}"
    assert max(resumed.values()) < RESUMED, f"seed {seed}"
    assert claims[Claim.ACKNOWLEDGED] > 10 * claims[Claim.UNKNOWN], f"seed {seed}: {claims}"


@pytest.mark.soak
def test_ledger_is_true_after_failovers_of_a_galera(galera: TemporaryCluster) -> None:
    """The group has every acknowledged write: none is lost, whichever node dies or stands still."""
    resumed: dict[str, float] = {}
    books = Truth(lambda: next(node for node in galera.nodes if node.running and not node.paused))
    with (
        ImprovedDb(galera.url, max_size=WRITERS, deadline=DEADLINE, monitor_interval=0.5) as db,
        running(db, books) as load,
    ):
        load.wait_for_writes()
        for number in range(20):
            first = next(at for at, host in enumerate(db.hosts()) if host.role == "primary")
            node = galera.nodes[first]
            stop, go_on = (node.pause, node.resume) if number % 2 else (node.kill, node.start)
            stop()
            galera.settle()  # the group's new view
            resumed[stop.__name__] = max(resumed.get(stop.__name__, 0.0), load.wait_for_writes())
            go_on()
            galera.settle()
            load.wait_for_writes()
        claims = load.end()
        logger.info("resumed after %s s; %s", resumed, dict(claims))
        galera.settle()
        assert load.ledger.lies(books)[:20] == []
    assert load.ledger.longest < DEADLINE + GRACE
    assert max(resumed.values()) < RESUMED
    assert claims[Claim.ACKNOWLEDGED] > 10 * claims[Claim.UNKNOWN], claims
