"""P13, P14 and P15: columns out of a query, and rows and frames into a table.

Out: 100,000 rows of six columns as a DataFrame of pandas and as an Arrow table. In: 1,000,000 rows of five columns by
`load_rows` and by `exec_many`; the same as a frame, by `exec_many` of the frame, of its rows, and by pandas' `to_sql`.

Knows these questions. Does not know how rows are fetched or written.
"""

from __future__ import annotations

import importlib
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from bulk import INSERT, TABLE, some_rows
from fetch import fill
from harness import Bench, main, timed

from improved_db import ImprovedDb

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

OUT: Final = "a query of 100,000 rows x 6 columns as a frame"
ROWS_IN: Final = "1,000,000 rows x 5 columns, one transaction"
FRAME_IN: Final = "a frame of 1,000,000 rows x 5 columns, one transaction"
OURS_PANDAS, OURS_ARROW = "improved_db.fetch_pandas", "improved_db.fetch_arrow"
EXEC_MANY, LOAD_ROWS = "improved_db.exec_many", "improved_db.load_rows"
OF_FRAME, OF_ROWS = "improved_db.exec_many of the frame", "improved_db.exec_many of its rows"
TO_SQL: Final = "DataFrame.to_sql(method='multi')"
READ_SQL: Final = "pandas.read_sql, PyMySQL"
CONNECTORX: Final = "connectorx, Arrow"
#: What one statement of `to_sql` may hold at the most, with five values a row.
ROWS_OF_TO_SQL: Final = 10_000


def measure(bench: Bench) -> None:
    with bench.server() as options, ImprovedDb(options) as db:
        fill(options, bench.pick(5, 3))
        _out(bench, db, options)
        db.execute_query(TABLE)
        rows = some_rows(bench.pick(1_000_000, 500))
        _rows_in(bench, db, rows)
        _frame_in(bench, db, options, rows)
    ratio = bench.report.ratio
    bench.target("P13", "100,000 rows into pandas, against pandas.read_sql", ratio(OUT, OURS_PANDAS, READ_SQL), 0.2)
    bench.target("P13", "100,000 rows into Arrow, against connectorx", ratio(OUT, OURS_ARROW, CONNECTORX), 1.2)
    bench.target("P14", "load_rows, against exec_many", ratio(ROWS_IN, LOAD_ROWS, EXEC_MANY), 0.9)
    bench.target("P15", "a frame in, against to_sql", ratio(FRAME_IN, OF_FRAME, TO_SQL), 0.2)
    bench.target("P15", "a frame in, against exec_many of its rows", ratio(FRAME_IN, OF_FRAME, OF_ROWS), 0.8)


def _out(bench: Bench, db: ImprovedDb, options: dict[str, Any]) -> None:
    query = "select * from big"
    url = "mysql+pymysql://{user}:{password}@{host}:{port}/{database}".format(**{"password": "", **options})

    def read_sql() -> object:
        return importlib.import_module("pandas").read_sql(query, engine)

    def connectorx() -> object:
        plain = url.replace("mysql+pymysql", "mysql")
        return importlib.import_module("connectorx").read_sql(plain, query, return_type="arrow")

    engine = importlib.import_module("sqlalchemy").create_engine(url)
    work: dict[str, Callable[[], object]] = {
        OURS_PANDAS: partial(db.fetch_pandas, query),
        OURS_ARROW: partial(db.fetch_arrow, query),
        READ_SQL: read_sql,
        CONNECTORX: connectorx,
    }
    with closing(_Disposed(engine)):
        bench.race(OUT, "ms", {name: timed(each, per=1e-3) for name, each in work.items()}, rounds=bench.pick(5, 2))


class _Disposed:
    """An engine as something to close."""

    def __init__(self, engine: Any) -> None:
        self.close = engine.dispose


def _rows_in(bench: Bench, db: ImprovedDb, rows: list[tuple[Any, ...]]) -> None:
    work = {EXEC_MANY: partial(db.exec_many, INSERT, rows), LOAD_ROWS: partial(db.load_rows, "load_test", rows)}
    _race_in(bench, db, ROWS_IN, work, len(rows))


def _frame_in(bench: Bench, db: ImprovedDb, options: dict[str, Any], rows: list[tuple[Any, ...]]) -> None:
    pandas = importlib.import_module("pandas")
    frame = pandas.DataFrame(rows, columns=["id", "name", "amount", "at", "share"])
    url = "mysql+pymysql://{user}:{password}@{host}:{port}/{database}".format(**{"password": "", **options})
    engine = importlib.import_module("sqlalchemy").create_engine(url)

    def to_sql() -> object:
        with engine.begin() as connection:
            return frame.to_sql(
                "load_test", connection, if_exists="append", index=False, method="multi", chunksize=ROWS_OF_TO_SQL
            )

    work: dict[str, Callable[[], object]] = {
        OF_FRAME: lambda: db.exec_many(INSERT, frame),
        OF_ROWS: lambda: db.exec_many(INSERT, frame.itertuples(index=False, name=None)),
        TO_SQL: to_sql,
    }
    with closing(_Disposed(engine)):
        _race_in(bench, db, FRAME_IN, work, len(rows))


def _race_in(bench: Bench, db: ImprovedDb, task: str, work: Mapping[str, Callable[[], object]], rows: int) -> None:
    def checked(run: Callable[[], float]) -> float:
        seconds = run()
        if db.fetch_value("select count(*) from load_test") != rows:
            raise AssertionError("not every row is there")
        return seconds

    runners = {
        name: partial(checked, timed(each, before=partial(db.execute_query, "truncate table load_test")))
        for name, each in work.items()
    }
    bench.race(task, "s", runners, rounds=bench.pick(3, 2))


if __name__ == "__main__":
    main(measure)
