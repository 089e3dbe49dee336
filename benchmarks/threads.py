"""P2 and P9: how many small queries many threads get done on 8 connections.

Knows these questions. Does not know how a contender is called.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import pooled
from crowd import crowd
from harness import Bench, main

if TYPE_CHECKING:
    from collections.abc import Iterable

    from harness import Runner
    from pooled import Pooled

QUERY = "select 1+1"
CONNECTIONS = 8
EIGHT = "small queries, 8 threads on 8 connections"
GROWTH = "small queries on 8 connections, by threads"
PEERS_THAT_GROW = ("pymysql-pool", "SQLAlchemy QueuePool", "QueuePool, mysqlclient")


def measure(bench: Bench) -> None:
    openers = {"improved_db": pooled.ours, **pooled.POOLS}
    with (
        bench.server() as options,
        bench.all_open({name: partial(opener, options, CONNECTIONS) for name, opener in openers.items()}) as pools,
    ):
        seconds = bench.pick(0.6, 0.02)
        bench.race(
            EIGHT,
            "queries/s",
            _runners(pools, pools, CONNECTIONS, seconds),
            more_is_better=True,
            rounds=bench.pick(5, 2),
        )
        _growth(bench, pools)
    for driver, peers, least in (("PyMySQL", pooled.POOLS.keys() - pooled.ON_C, 2.2), ("a C driver", pooled.ON_C, 1.2)):
        claim = f"queries/s of 8 threads on 8 connections, against the best pool on {driver}"
        bench.target("P2", claim, bench.report.ratio(EIGHT, "improved_db", *peers), least, at_most=False)
    for threads, who in ((8, "no thread waits"), (16, "all wait in line")):
        flat = bench.report.spread(GROWTH, "improved_db", at_least=threads)
        claim = f"queries/s from {threads} threads ({who}) to 256 on 8 connections, highest / lowest"
        bench.target("G2", claim, flat, 1.25)


def _growth(bench: Bench, pools: dict[str, Pooled]) -> None:
    those = [name for name in ("improved_db", *PEERS_THAT_GROW) if name in pools]
    for threads in bench.pick((1, 2, 4, 8, 16, 32, 64, 128, 256), (1, 16)):
        runners = _runners(pools, those, threads, bench.pick(0.4, 0.02))
        bench.race(GROWTH, "queries/s", runners, more_is_better=True, x=threads, rounds=bench.pick(3, 1))


def _runners(pools: dict[str, Pooled], names: Iterable[str], threads: int, seconds: float) -> dict[str, Runner]:
    return {name: partial(_rate, pools[name].run, threads, seconds) for name in names}


def _rate(run: Any, threads: int, seconds: float) -> float:
    return crowd(partial(run, QUERY), threads, seconds=seconds).rate


if __name__ == "__main__":
    main(measure)
