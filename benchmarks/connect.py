"""P7: what it costs to open 50 connections. Closing them is not part of it.

Knows this question. Does not know how a contender connects.
"""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Any

import sessions
from harness import Bench, main

from improved_db import ImprovedDb

if TYPE_CHECKING:
    from collections.abc import Callable

CONNECTIONS = 50
OPEN = f"open {CONNECTIONS} connections"


def measure(bench: Bench) -> None:
    number = bench.pick(CONNECTIONS, 3)
    with bench.server() as options:
        connectors = {
            "PyMySQL": partial(sessions.connect, "pymysql", options),
            "PyMySQL, ssl_disabled": partial(sessions.connect, "pymysql", options, ssl_disabled=True),
            "mysqlclient": partial(sessions.connect, "MySQLdb", options),
            "MariaDB Connector": partial(sessions.connect, "mariadb", options),
            "MySQL Connector": partial(sessions.connect, "mysql.connector", options, **sessions.CONNECTOR_CHARSET),
        }
        runners = {
            "improved_db": partial(_one_by_one_of_ours, options, number),
            "improved_db, pool of 50": partial(_a_pool, options, number),
            **{name: partial(_one_by_one, connect, number) for name, connect in connectors.items()},
        }
        bench.race(OPEN, "ms", runners, rounds=bench.pick(5, 2))
    ratio = partial(bench.report.ratio, OPEN)
    bench.target("P7", "50 connections one by one, against PyMySQL's defaults", ratio("improved_db", "PyMySQL"), 0.05)
    bench.target(
        "P7", "50 connections of a pool, against PyMySQL's defaults", ratio("improved_db, pool of 50", "PyMySQL"), 0.05
    )


def _one_by_one(connect: Callable[[], Any], number: int) -> float:
    connections = []
    try:
        began = time.perf_counter()
        for _ in range(number):
            connections.append(connect())  # noqa: PERF401  # those that were opened are closed, whatever happens
        return (time.perf_counter() - began) * 1000
    finally:
        for connection in connections:
            connection.close()


def _one_by_one_of_ours(options: dict[str, Any], number: int) -> float:
    with ImprovedDb(options) as db:
        return _one_by_one(db.connect, number)


def _a_pool(options: dict[str, Any], number: int) -> float:
    began = time.perf_counter()
    with ImprovedDb(options, max_size=number) as db:
        db.create_pool(number)
        return (time.perf_counter() - began) * 1000


if __name__ == "__main__":
    main(measure)
