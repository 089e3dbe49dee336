"""P6: what it costs to get 100,000 rows x 5 columns into InnoDB, in one transaction.

The bound is "statements built beforehand": PyMySQL sends ready bytes, 4,000 rows a statement, so that nothing is left
but the server.

Knows this question. Does not know how a contender is called.
"""

from __future__ import annotations

import datetime as dt
from contextlib import closing
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any

import sessions
from harness import Bench, main, timed

from improved_db import ImprovedDb

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

MILLISECONDS = 1e-3
INSERT_TASK = "insert 100,000 rows x 5 columns, one transaction"
UPSERT_TASK = "upsert 100,000 rows that are there already"
NULLS_TASK = "insert 100,000 rows x 5 columns with NULLs in two of them"
READY = "statements built beforehand"
ROWS_A_STATEMENT = 4_000

TABLE = """create table load_test (id int primary key, name varchar(40), amount decimal(12,2) null, at datetime null,
    share double) engine=InnoDB"""
INSERT = "insert into load_test (id, name, amount, at, share) values (%s, %s, %s, %s, %s)"
UPSERT = (
    INSERT
    + " on duplicate key update name = values(name), amount = values(amount), at = values(at), share = values(share)"
)

DRIVERS = {name: opener for name, opener in sessions.DRIVERS.items() if name != "CyMySQL"}

Rows = list[tuple[Any, ...]]


def measure(bench: Bench) -> None:
    rows = some_rows(bench.pick(100_000, 200))
    openers = {"improved_db": sessions.ours, **DRIVERS}
    bench.report.notes.append("CyMySQL sends one statement a row and was left out")
    with (
        bench.server() as options,
        ImprovedDb(options) as db,
        bench.all_open({name: partial(opener, options) for name, opener in openers.items()}) as there,
        closing(sessions.connect("pymysql", options)) as raw,
    ):
        db.execute_query(TABLE)
        inserting: dict[str, Callable[[], object]] = {
            name: partial(session.load, INSERT, rows) for name, session in there.items()
        }
        inserting[READY] = partial(_send, raw, _statements(raw, rows))
        inserting["improved_db.load_rows"] = partial(db.load_rows, "load_test", rows)
        _race(bench, db, INSERT_TASK, inserting)

        few: dict[str, sessions.Session] = {
            name: there[name] for name in ("improved_db", "PyMySQL", "mysqlclient") if name in there
        }
        upserting = {name: partial(session.load, UPSERT, rows) for name, session in few.items()}
        _race(bench, db, UPSERT_TASK, upserting, onto=len(rows))

        sparse = [(i, name, None if i % 3 else sum_, at if i % 5 else None, part) for i, name, sum_, at, part in rows]
        _race(bench, db, NULLS_TASK, {name: partial(session.load, INSERT, sparse) for name, session in few.items()})
    ratio = bench.report.ratio
    limits = {"PyMySQL": 0.5, "mysqlclient": 0.5} if bench.one_core else {"PyMySQL": 0.38, "mysqlclient": 0.36}
    for peer, limit in limits.items():
        to_peer = ratio(INSERT_TASK, "improved_db", peer)
        bench.target("P6", f"100,000 rows, against {peer}'s executemany", to_peer, limit)
    if not bench.one_core:  # there the encoding cannot hide behind the server
        built = ratio(INSERT_TASK, "improved_db", READY)
        bench.target("P6", "100,000 rows, against statements built beforehand", built, 1.1)


def _race(bench: Bench, db: ImprovedDb, task: str, work: Mapping[str, Callable[[], object]], *, onto: int = 0) -> None:
    """Let every competitor load, into an empty table or *onto* that many rows, and see that all rows are there."""

    def prepare() -> None:
        if not onto:
            db.execute_query("truncate table load_test")

    def checked(run: Callable[[], float]) -> float:
        milliseconds = run()
        ((found, expected),) = db.execute_query("select count(*), max(id) + 1 from load_test")
        if found != expected or (onto and found != onto):
            raise AssertionError(f"{found} rows instead of {expected}")
        return milliseconds

    runners = {name: partial(checked, timed(each, per=MILLISECONDS, before=prepare)) for name, each in work.items()}
    bench.race(task, "ms", runners, rounds=bench.pick(5, 2))


def some_rows(number: int) -> Rows:
    """Return that many rows: int, str, Decimal, datetime, float."""
    start = dt.datetime(2020, 1, 1)  # noqa: DTZ001  # a DATETIME has no zone
    return [
        (i, f"customer number {i}", Decimal(i * 137 % 10_000_000) / 100, start + dt.timedelta(seconds=i * 61), i / 7)
        for i in range(number)
    ]


def _statements(connection: Any, rows: Rows) -> list[bytes]:
    head, values = INSERT.rsplit("(", 1)
    with closing(connection.cursor()) as cursor:
        texts = [cursor.mogrify(f"({values}", row) for row in rows]
    parts = [texts[start : start + ROWS_A_STATEMENT] for start in range(0, len(texts), ROWS_A_STATEMENT)]
    return [f"{head}{','.join(part)}".encode() for part in parts]


def _send(connection: Any, statements: Sequence[bytes]) -> None:
    connection.begin()
    for statement in statements:
        connection.query(statement)
    connection.commit()


if __name__ == "__main__":
    main(measure)
