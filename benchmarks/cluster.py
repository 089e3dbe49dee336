"""C1, C2 and C3: several servers: what a causal read costs, what the choice of a server costs, reads with replicas.

All servers and the program share one machine, so the ratios count; more replicas do not make more cores.

Knows these questions. Does not know how replication is set up.
"""

from __future__ import annotations

import time
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Final

from crowd import crowd
from harness import SERVER_OPTIONS, Bench, main, timed
from measurements import OURS, Pair

from improved_db import ImprovedDb
from improved_db.testing import TemporaryCluster

if TYPE_CHECKING:
    from harness import Runner

LOOK_UP: Final = "select name from pets where id = %s"
ROWS: Final = 1_000
THREADS: Final = 16
CONNECTIONS: Final = 8
REPLICAS: Final = 2

READS: Final = f"look-ups by the reader, {THREADS} threads, by replicas"
CAUSAL: Final = "a read on a replica, at once after a write"
CHOICE: Final = "100 look-ups on the primary, one thread"
WAITS, PLAIN = "improved_db", "improved_db, causal_reads=False"
SEVERAL, ONE = "improved_db, several addresses", "improved_db, one address"


def measure(bench: Bench) -> None:
    options = [option for option in SERVER_OPTIONS if "buffer-pool" not in option]
    with TemporaryCluster(replicas=REPLICAS, options=options) as cluster:
        bench.report.notes.append(f"servers: {1 + REPLICAS} x {cluster.primary.version}, TCP loopback, without TLS")
        with ImprovedDb(cluster.urls[0]) as db:
            db.execute_query("create table pets (id int primary key, name varchar(30))")
            db.exec_many("insert into pets values (%s, %s)", [(number, f"pet {number}") for number in range(ROWS)])
        cluster.settle()
        _reads(bench, cluster)
        _causal(bench, cluster)
        _choice(bench, cluster)


def _reads(bench: Bench, cluster: TemporaryCluster) -> None:
    seconds = bench.pick(1.0, 0.05)
    for replicas in range(REPLICAS + 1):
        with _ready(cluster, replicas) as db:

            def rate(db: ImprovedDb = db) -> float:
                numbers = count()
                look_up = partial(_look_up, db, numbers)
                return crowd(look_up, THREADS, seconds=seconds).rate

            rate()
            rounds = bench.pick(5, 1)
            bench.race(READS, "look-ups/s", {OURS: rate}, more_is_better=True, x=replicas, rounds=rounds)
    with_all, alone = (bench.report.value(READS, OURS, replicas) for replicas in (REPLICAS, 0))
    ratio = None if with_all is None or alone is None else Pair(*(a / b for a, b in zip(with_all, alone, strict=True)))
    claim = f"look-ups/s with {REPLICAS} replicas, against the primary alone"
    bench.target("C3", claim, ratio, 0.9, at_most=False)


def _look_up(db: ImprovedDb, numbers: count[int]) -> object:
    return db.reader.execute_query(LOOK_UP, next(numbers) * 7919 % ROWS)


def _ready(cluster: TemporaryCluster, replicas: int, *, causal: bool = True) -> ImprovedDb:
    """Return a program that uses the primary and so many replicas, and has found them."""
    urls = cluster.urls[: 1 + replicas]
    db = ImprovedDb(urls, topology="replication", max_size=CONNECTIONS, causal_reads=causal)
    db.wait(30, role="replica" if replicas else "primary")
    return db


def _causal(bench: Bench, cluster: TemporaryCluster) -> None:
    pairs = bench.pick(500, 20)
    numbers = count(ROWS)

    def seconds(db: ImprovedDb) -> float:
        """Return the time of a read in microseconds; that of the write before it does not count."""
        spent = 0.0
        for _ in range(pairs):
            number = next(numbers)
            db.execute_query("insert into pets values (%s, 'new')", number)
            began = time.perf_counter()
            db.reader.execute_query(LOOK_UP, number)
            spent += time.perf_counter() - began
        return spent / pairs * 1e6

    with _ready(cluster, REPLICAS) as waits, _ready(cluster, REPLICAS, causal=False) as plain:
        runners: dict[str, Runner] = {WAITS: partial(seconds, waits), PLAIN: partial(seconds, plain)}
        bench.race(CAUSAL, "us", runners, rounds=bench.pick(7, 2))
    bench.target("C1", f"{CAUSAL}, against causal_reads=False", bench.report.ratio(CAUSAL, WAITS, PLAIN), 1.75)


def _choice(bench: Bench, cluster: TemporaryCluster) -> None:
    with _ready(cluster, REPLICAS) as several, ImprovedDb(cluster.urls[0], max_size=CONNECTIONS) as one:
        runners = {name: timed(partial(_hundred, db), per=1e-3) for name, db in {SEVERAL: several, ONE: one}.items()}
        bench.race(CHOICE, "ms", runners, rounds=bench.pick(15, 2))
    claim = f"{CHOICE}: several addresses, against one"
    bench.target("C2", claim, bench.report.ratio(CHOICE, SEVERAL, ONE), 1.15)


def _hundred(db: ImprovedDb) -> object:
    return [db.execute_query(LOOK_UP, number) for number in range(100)]


if __name__ == "__main__":
    main(measure)
