"""D1 and D2: pymysql-pool's own benchmark, through our door for its users, through theirs, and without a pool.

50,000 times: borrow a connection, make a cursor, run ``select 1+1``, close the cursor, give the connection back.
PyMySQL does the same on one connection that is never given back. The 50,000 are spread over rounds, and each round is
on new connections: two sessions of one server differ by where its threads happen to run.

Knows this question. Does not know how the pools work.
"""

from __future__ import annotations

import importlib
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import pymysql
from harness import Bench, main, timed

from improved_db.compat import pymysqlpool

if TYPE_CHECKING:
    from collections.abc import Callable

QUERY: Final = "select 1+1"
TASK: Final = "pymysql-pool's benchmark, one thread"
OURS: Final = "improved_db.compat.pymysqlpool"
ROUNDS: Final = 10
SIZE: Final = 10
MICROSECONDS: Final = 1e-6


def measure(bench: Bench) -> None:
    times = bench.pick(50_000 // ROUNDS, 20)
    rounds: dict[str, Callable[[dict[str, Any], int], float]] = {
        OURS: partial(_pooled, lambda: pymysqlpool),
        "pymysql-pool": partial(_pooled, lambda: importlib.import_module("pymysqlpool")),
        "PyMySQL": _bare,
    }
    with bench.server() as options:
        runners = {name: partial(one, options, times) for name, one in rounds.items()}
        bench.race(TASK, "us a query", runners, rounds=bench.pick(ROUNDS, 2))
    ratio = partial(bench.report.ratio, TASK, OURS)
    bench.target("D1", "the door for pymysql-pool's users, against PyMySQL on one connection", ratio("PyMySQL"), 1.0)
    bench.target("D2", "the same, against pymysql-pool", ratio("pymysql-pool"), 1.0)


def _pooled(load: Callable[[], Any], options: dict[str, Any], times: int) -> float:
    pool = load().ConnectionPool(size=SIZE, maxsize=SIZE, pre_create_num=SIZE, name="pool", **options)

    def work() -> None:
        for _ in range(times):
            connection = pool.get_connection()
            cursor = connection.cursor()
            cursor.execute(QUERY)
            cursor.close()
            connection.close()

    try:
        return timed(work, per=times * MICROSECONDS)()
    finally:
        for connection in [pool.get_connection() for _ in range(SIZE)]:
            connection._force_close()  # theirs has no other way of ending a session


def _bare(options: dict[str, Any], times: int) -> float:
    connection = pymysql.connect(**options)

    def work() -> None:
        for _ in range(times):
            cursor = connection.cursor()
            cursor.execute(QUERY)
            cursor.close()

    with connection:
        return timed(work, per=times * MICROSECONDS)()


if __name__ == "__main__":
    main(measure)
