"""P5, P5c where the extension was built, and G1: what a large result costs.

Each contender fetches all rows of ``select *``: int, varchar, decimal, datetime, double, nullable varchar.

Knows this question. Does not know how a contender is called.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import sessions
from harness import Bench, main, timed

from improved_db import ImprovedDb, compiled

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sessions import Session

MILLISECONDS, MICROSECONDS = 1e-3, 1e-6
FETCH = "fetch 100,000 rows x 6 columns"
GROWTH = "fetch, by rows"

TABLE = """create table big (id int primary key, name varchar(40), amount decimal(12,2), at datetime, share double,
    note varchar(40) null) engine=InnoDB"""
FILL = """insert into big
    select n, concat('customer ', n), n * 137 % 10000000 / 100, '2020-01-01' + interval n * 61 second, n / 7e0,
        if(n % 3 = 0, null, concat('note ', n % 1000))
    from ({numbers}) as numbers order by n"""


def measure(bench: Bench) -> None:
    digits = bench.pick(6, 3)
    with bench.server() as options:
        fill(options, digits)
        rows = bench.pick(100_000, 100)
        openers: dict[str, sessions.Opener] = {
            "improved_db": sessions.ours,
            "improved_db, dicts": partial(sessions.ours, dicts=True),
            "PyMySQL, dicts": sessions.pymysql_dicts,
            **sessions.DRIVERS,
        }
        with bench.all_open({name: partial(opener, options) for name, opener in openers.items()}) as there:
            _check(there)
            work = {name: partial(session.fetch, _query(rows)) for name, session in there.items()}
            runners = {name: timed(each, per=MILLISECONDS) for name, each in work.items()}
            bench.race(FETCH, "ms", runners, rounds=bench.pick(5, 2))
            _growth(bench, {name: there[name] for name in ("improved_db", "PyMySQL", "mysqlclient") if name in there})
    ratio = bench.report.ratio
    bench.target("P5", "100,000 rows as tuples, against PyMySQL", ratio(FETCH, "improved_db", "PyMySQL"), 0.33)
    bench.target("P5", "100,000 rows as tuples, against mysqlclient", ratio(FETCH, "improved_db", "mysqlclient"), 0.75)
    bench.target(
        "P5", "100,000 rows as dicts, against PyMySQL", ratio(FETCH, "improved_db, dicts", "PyMySQL, dicts"), 0.33
    )
    if compiled:
        to_mariadb, to_asyncmy = (ratio(FETCH, "improved_db", peer) for peer in ("MariaDB Connector", "asyncmy"))
        bench.target("P5c", "100,000 rows as tuples, compiled, against MariaDB Connector", to_mariadb, 0.75)
        bench.target("P5c", "100,000 rows as tuples, compiled, against asyncmy", to_asyncmy, 1.15)
    flat = bench.report.spread(GROWTH, "improved_db", at_least=0)
    bench.target("G1", "time a row from 1,000 to 1,000,000 rows, highest / lowest", flat, 1.25)


def _growth(bench: Bench, there: dict[str, Session]) -> None:
    for rows in bench.pick((1_000, 10_000, 100_000, 1_000_000), (100, 1_000)):
        times = max(1, bench.pick(20_000, 0) // rows)
        work = {name: partial(_fetch_repeatedly, session, rows, times) for name, session in there.items()}
        runners = {name: timed(each, per=rows * times * MICROSECONDS) for name, each in work.items()}
        bench.race(GROWTH, "us a row", runners, x=rows, rounds=bench.pick(3 if rows < 1_000_000 else 2, 1))


def _fetch_repeatedly(session: Session, rows: int, times: int) -> Sequence[Any]:
    for _ in range(times - 1):
        session.fetch(_query(rows))
    return session.fetch(_query(rows))


def _query(rows: int) -> str:
    return f"select * from big where id < {rows}"


def fill(options: dict[str, Any], digits: int) -> None:
    """Make the table, with 10 to the power of *digits* rows."""
    parts = " + ".join(f"d{place}.n * {10**place}" for place in range(digits))
    numbers = f"select {parts} as n from " + ", ".join(f"digits d{place}" for place in range(digits))
    with ImprovedDb(options) as db:
        db.execute_query("create table digits (n int primary key)")
        db.execute_query("insert into digits values (%s)", [(n,) for n in range(10)], exec_many=True)
        db.execute_query(TABLE)
        db.execute_query(FILL.format(numbers=numbers))
        db.execute_query("analyze table big")


def _check(there: dict[str, Session]) -> None:
    """See that all that are compared read the same values."""
    expected = there["PyMySQL"].fetch(_query(100))
    for name in ("improved_db", "mysqlclient"):
        if name in there and [tuple(row) for row in there[name].fetch(_query(100))] != list(expected):
            raise AssertionError(f"{name} reads other values than PyMySQL")


if __name__ == "__main__":
    main(measure)
