"""P1 and P4: what one small query costs on one thread, and what borrowing, giving back and the statistics cost.

Each contender runs ``select 1+1``, fetches the row, and does it again: a driver on one bare connection, a pool with
borrowing and giving back each time, ours with that and with its protection by retries.

Knows these questions. Does not know how a contender is called.
"""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Any

import pooled
import sessions
from harness import Bench, main, timed

from improved_db import ImprovedDb
from improved_db.pool.pool import Pool
from improved_db.settings.settings import PoolSettings
from improved_db.wire.pymysql_driver import PyMySQLDriver

if TYPE_CHECKING:
    from collections.abc import Callable

    from pooled import Pooled

MICROSECONDS = 1e-6
QUERY = "select 1+1"
POINT = "one small query, one thread"
BORROW = "borrow and give back, one thread, warm"
STATISTICS = "statistics of statements, processor time"
EXECUTOR = "improved_db, as execute_query does"


def measure(bench: Bench) -> None:
    with bench.server() as options:
        _point_query(bench, options)
        _borrowing(bench, options)
        _statistics(bench, options)


def _point_query(bench: Bench, options: dict[str, Any]) -> None:
    times = bench.pick(2_000, 20)
    alone = {
        "improved_db": sessions.ours,
        **sessions.DRIVERS,
        "PyMySQL, one cursor": sessions.one_cursor("pymysql"),
        "mysqlclient, one cursor": sessions.one_cursor("MySQLdb"),
    }
    with (
        bench.all_open({name: partial(opener, options) for name, opener in alone.items()}) as bare,
        bench.all_open({name: partial(opener, options, 1) for name, opener in pooled.POOLS.items()}) as pools,
    ):
        work: dict[str, Callable[[], object]] = {
            name: partial(session.repeat, QUERY, times) for name, session in bare.items()
        }
        work |= {name: partial(_repeat, pool.run, times) for name, pool in pools.items()}
        bench.race(
            POINT,
            "us a query",
            {name: timed(each, per=times * MICROSECONDS) for name, each in work.items()},
            rounds=bench.pick(7, 2),
        )
    ratio = partial(bench.report.ratio, POINT, "improved_db")
    bench.target("P1", "a small query, against PyMySQL on one bare connection", ratio("PyMySQL"), 0.85)
    limit = 1.25 if bench.one_core else 1.05
    bench.target("P1", "a small query, against mysqlclient on one bare connection", ratio("mysqlclient"), limit)


def _repeat(run: Callable[[str], object], times: int) -> None:
    for _ in range(times):
        run(QUERY)


def _borrowing(bench: Bench, options: dict[str, Any]) -> None:
    times = bench.pick(20_000, 20)
    fewer = bench.pick(1_000, 20)
    openers = {name: partial(opener, options, 1) for name, opener in pooled.POOLS.items()}
    executors_pool = Pool(PyMySQLDriver(lambda: options), PoolSettings())
    executors_pool.wait()
    try:
        with pooled.ours(options, 1) as mine, bench.all_open(openers) as pools:
            work = {EXECUTOR: timed(partial(_through, executors_pool, times), per=times * MICROSECONDS)}
            all_pools = {"improved_db, as its users do": mine, **pools}
            work |= {
                name: timed(partial(_lend, pool, fewer), per=fewer * MICROSECONDS) for name, pool in all_pools.items()
            }
            bench.race(BORROW, "us", work, rounds=bench.pick(7, 2))
        bench.target(
            "P4", "borrow and give back, as execute_query does", bench.report.value(BORROW, EXECUTOR), 2.75, unit="us"
        )
        said = _bytes_said(options, partial(_through, executors_pool, times))
        bench.record("what the server hears of that", "improved_db", "bytes", said)
        value = bench.report.value("what the server hears of that", "improved_db")
        bench.target("P4", f"what the server hears of {times:,} times that", value, 0.0, unit="bytes")
    finally:
        executors_pool.close()


def _through(pool: Pool[Any], times: int) -> None:
    for _ in range(times):
        pool.release(pool.acquire())


def _lend(pool: Pooled, times: int) -> None:
    for _ in range(times):
        pool.give_back(pool.borrow())


def _bytes_said(options: dict[str, Any], work: Callable[[], object]) -> float:
    """Return how many bytes the server received while *work* was done, by its own count."""
    with ImprovedDb(options) as db:

        def received() -> int:
            return int(db.execute_query("show global status like 'Bytes_received'")[0][1])

        received()
        before, asking = received(), received()
        asking -= before  # what the question itself adds
        before = received()
        work()
        return float(received() - before - asking)


def _statistics(bench: Bench, options: dict[str, Any]) -> None:
    """Run the same query with and without statistics, in short turns, and compare the processor time of this thread."""
    times, turns = bench.pick(200, 5), bench.pick(60, 2)
    with ImprovedDb(options, statements=0, slow_query_threshold=None) as without, ImprovedDb(options) as having:

        def difference() -> float:
            spent: dict[ImprovedDb, list[float]] = {without: [], having: []}
            for _ in range(turns):
                for db, turn in spent.items():
                    began = time.thread_time()
                    for _ in range(times):
                        db.execute_query(QUERY)
                    turn.append((time.thread_time() - began) / times)
            least = {db: min(turn) for db, turn in spent.items()}
            return (least[having] - least[without]) / MICROSECONDS

        bench.race(STATISTICS, "us", {"improved_db": difference}, rounds=bench.pick(7, 2))
    value = bench.report.value(STATISTICS, "improved_db")
    if bench.one_core:  # free-running, the difference of two such times is noise
        bench.target("P16", "what statistics of statements add to a query", value, 0.5, unit="us")


if __name__ == "__main__":
    main(measure)
