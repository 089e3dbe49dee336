"""P9, P11 and P12: point look-ups by primary key of a crowd, in a pipeline, and by `execute_each`.

Knows these questions. Does not know how a pool is called.
"""

from __future__ import annotations

from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Final

import pooled
from crowd import crowd
from harness import Bench, main, timed
from measurements import Pair

from improved_db import ImprovedDb

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

LOOK_UP: Final = "select name from pets where id = %s"
ROWS: Final = 10_000
CONNECTIONS: Final = 8
THREADS: Final = 32
IN_A_PIPELINE: Final = 100

CROWD: Final = "look-ups by primary key on 8 connections, by threads"
UNFAIR: Final = "most / least look-ups of a thread"
PIPELINE: Final = "100 look-ups on one thread"
EACH: Final = "20,000 look-ups"
AUTO, ALONE = "improved_db", "improved_db, multiplex=False"
PEERS: Final = ("pymysql-pool", "SQLAlchemy QueuePool", "QueuePool, mysqlclient")


def measure(bench: Bench) -> None:
    with bench.server() as options:
        with ImprovedDb(options, max_size=1) as db:
            db.execute_query("create table pets (id int primary key, name varchar(30))")
            db.exec_many("insert into pets values (%s, %s)", [(number, f"pet {number}") for number in range(ROWS)])
        openers: dict[str, Callable[[], AbstractContextManager[pooled.Pooled]]] = {
            AUTO: partial(pooled.ours, options, CONNECTIONS),
            ALONE: partial(pooled.ours, options, CONNECTIONS, multiplex=False),
            **{name: partial(pooled.POOLS[name], options, CONNECTIONS) for name in PEERS},
        }
        with bench.all_open(openers) as pools:
            _crowds(bench, pools)
        with ImprovedDb(options, max_size=CONNECTIONS) as db:
            db.create_pool(CONNECTIONS)
            _pipeline(bench, db)
            _each(bench, db)


def _crowds(bench: Bench, pools: dict[str, pooled.Pooled]) -> None:
    seconds = bench.pick(1.0, 0.05)
    unfair: dict[int, list[float]] = {}

    def rate(name: str, threads: int) -> float:
        numbers = count()
        run = pools[name].run
        done = crowd(lambda: run(LOOK_UP, next(numbers) * 7919 % ROWS), threads, seconds=seconds)
        if name == AUTO:
            unfair.setdefault(threads, []).append(done.unfairness)
        return done.rate

    sizes = bench.pick((8, 9, 16, THREADS, 64), (8, THREADS))
    for threads in sizes:
        runners = {name: partial(rate, name, threads) for name in pools}
        bench.race(CROWD, "look-ups/s", runners, more_is_better=True, x=threads, rounds=bench.pick(3, 1))
        bench.record(UNFAIR, AUTO, "x", *unfair[threads], x=threads)
    report = bench.report
    eight = report.value(CROWD, AUTO, 8)
    for threads in sizes[1:]:
        ours = report.value(CROWD, AUTO, threads)
        bench.target("P9", f"look-ups/s of {threads} threads against 8", _over(ours, eight), 1.0, at_most=False)
    peers = [found for name in PEERS if (found := report.value(CROWD, name, THREADS)) is not None]
    best = Pair(*map(max, zip(*peers, strict=True))) if peers else None
    claim = f"look-ups/s of {THREADS} threads against the best pooled peer"
    bench.target("P9", claim, _over(report.value(CROWD, AUTO, THREADS), best), 2.2, at_most=False)
    bench.target("P9", f"most / least served of {THREADS} threads", report.value(UNFAIR, AUTO, THREADS), 1.2)


def _over(one: Pair | None, other: Pair | None) -> Pair | None:
    return None if one is None or other is None else Pair(one.best / other.best, one.median / other.median)


def _pipeline(bench: Bench, db: ImprovedDb) -> None:
    def one_by_one() -> object:
        return [db.execute_query(LOOK_UP, number) for number in range(IN_A_PIPELINE)]

    def together() -> object:
        with db.pipeline() as pipeline:
            handles = [pipeline.execute_query(LOOK_UP, number) for number in range(IN_A_PIPELINE)]
        return [handle.result() for handle in handles]

    assert together() == one_by_one()
    runners = {"improved_db, pipeline": together, "improved_db, one by one": one_by_one}
    timers = {name: timed(work, per=1e-3) for name, work in runners.items()}
    bench.race(PIPELINE, "ms", timers, rounds=bench.pick(15, 2))
    ratio = bench.report.ratio(PIPELINE, *runners)
    bench.target("P11", f"{IN_A_PIPELINE} look-ups in a pipeline, against one by one", ratio, 0.15)


def _each(bench: Bench, db: ImprovedDb) -> None:
    number = bench.pick(20_000, 640)

    def by_threads() -> object:
        numbers = count()
        turns = number // THREADS
        return crowd(lambda: db.execute_query(LOOK_UP, next(numbers) % ROWS), THREADS, turns=turns)

    def by_each() -> object:
        return sum(len(rows) for rows in db.execute_each(LOOK_UP, (n % ROWS for n in range(number))))

    runners = {"improved_db, execute_each": by_each, f"improved_db, {THREADS} threads": by_threads}
    bench.race(EACH, "s", {name: timed(work) for name, work in runners.items()}, rounds=bench.pick(3, 2))
    claim = f"{EACH} by execute_each, against {THREADS} threads with execute_query"
    bench.target("P12", claim, bench.report.ratio(EACH, *runners), 0.25)


if __name__ == "__main__":
    main(measure)
