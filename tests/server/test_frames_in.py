"""Frames as rows: what pandas, polars and Arrow hold arrives in a real table as it was."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from improved_db import ImprovedDb, StatementError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pa = pytest.importorskip("pyarrow")
np = pytest.importorskip("numpy")
pd = pytest.importorskip("pandas")
pl = pytest.importorskip("polars")

#: Three rows, the second without a value in any column but the first.
DATA: dict[str, list[Any]] = {
    "id": [1, 2, 3],
    "n": [2**53 + 1, None, -1],
    "x": [1.5, None, -0.25],
    "d": [Decimal("1.10"), None, Decimal("-2.25")],
    "s": ["a%s'\\", None, "é"],
    "b": [b"\x00\xff", None, b""],
    "day": [dt.date(2024, 2, 29), None, dt.date(1, 1, 1)],
    "at": [dt.datetime.fromisoformat("2024-01-02 03:04:05.000006"), None, dt.datetime.fromisoformat("2000-01-01")],
    "span": [dt.timedelta(hours=-30), None, dt.timedelta(microseconds=5)],
}
ROWS = list(zip(*DATA.values(), strict=True))
TABLE = (
    "create table t (id int primary key, n bigint, x double, d decimal(10, 2), s varchar(20), b varbinary(9), "
    "day date, at datetime(6), span time(6))"
)


@pytest.fixture
def db(database: dict[str, Any]) -> Iterator[ImprovedDb]:
    with ImprovedDb(database) as made:
        made.execute_query(TABLE)
        yield made


def _arrow() -> Any:
    return pa.table(DATA)


def _pandas() -> Any:
    frame = pd.DataFrame(DATA)
    frame["n"] = pd.array(DATA["n"], dtype="Int64")
    return frame


KINDS: dict[str, Callable[[], Any]] = {
    "pandas": _pandas,
    "pandas of objects": lambda: pd.DataFrame(DATA, dtype=object),
    "pandas of Arrow types": lambda: _arrow().to_pandas(types_mapper=pd.ArrowDtype),
    "polars": lambda: pl.DataFrame(DATA),
    "table": _arrow,
    "batch": lambda: _arrow().to_batches()[0],
    "reader": lambda: _arrow().to_reader(max_chunksize=2),
    "dictionaries": lambda: _arrow().set_column(4, "s", _arrow()["s"].dictionary_encode()),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("way", ["order", "names", "load", "transaction"])
def test_a_frame_arrives_as_it_was(db: ImprovedDb, kind: str, way: str) -> None:
    frame = KINDS[kind]()
    if way == "load":
        done = db.load_rows("t", frame)
    elif way == "names":
        named = ", ".join(f"%({name})s" for name in reversed(DATA))
        done = db.exec_many(f"insert into t ({', '.join(reversed(DATA))}) values ({named})", frame)
    else:
        query = f"insert into t values ({', '.join(['%s'] * len(DATA))})"
        if way == "order":
            done = db.exec_many(query, frame)
        else:
            with db.transaction() as tx:
                done = tx.exec_many(query, frame)
    assert done.rowcount == 3
    assert db.execute_query("select * from t order by id") == tuple(ROWS)


def test_load_rows_takes_the_columns_from_the_names_of_the_frame(db: ImprovedDb) -> None:
    db.load_rows("t", pd.DataFrame({"s": ["a"], "id": [7]}))
    assert db.execute_query("select id, s, n from t") == ((7, "a", None),)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (lambda: pd.Series([1.5, float("nan")]), (Decimal("1.5"), None)),
        (lambda: pd.Series([1, None]), (Decimal(1), None)),
        (
            lambda: pd.Series([pd.Timestamp("2024-01-02 03:04:05.000006789"), pd.NaT]),
            ("2024-01-02 03:04:05.000006", None),
        ),
        (lambda: pd.Series([pd.Timedelta("1 day"), pd.NaT]), ("24:00:00", None)),
        (lambda: pd.Series([pd.Timestamp("2024-01-02"), pd.NaT], dtype=object), ("2024-01-02 00:00:00", None)),
        (lambda: pd.Series([pd.NA, True], dtype="boolean"), (None, "1")),
        (lambda: pd.Series(["a", None], dtype="category"), ("a", None)),
        (lambda: pd.Series([np.int64(3), np.float32(0.5)], dtype=object), ("3", "0.5")),
        (lambda: pd.Series([2**64 - 1, 0], dtype="uint64"), (str(2**64 - 1), "0")),
    ],
)
def test_what_pandas_has_for_values_and_for_none(
    db: ImprovedDb, values: Callable[[], Any], expected: tuple[Any, ...]
) -> None:
    db.execute_query("create table v (i int, v varchar(40))")
    db.exec_many("insert into v values (%s, %s)", pd.DataFrame({"i": [1, 2], "v": values()}))
    seen = db.execute_query("select v from v order by i")
    assert [None if v is None else type(e)(v) for (v,), e in zip(seen, expected, strict=True)] == list(expected)


def test_nan_is_null_from_polars_and_arrow_too(db: ImprovedDb) -> None:
    db.exec_many("insert into t (id, x) values (%s, %s)", pl.DataFrame({"id": [1], "x": [float("nan")]}))
    db.exec_many("insert into t (id, x) values (%s, %s)", pa.table({"id": [2], "x": [float("nan")]}))
    assert db.execute_query("select x from t") == ((None,), (None,))


REFUSED: dict[str, Callable[[], Any]] = {
    "arrow list": lambda: pa.table({"id": [1], "s": [[1]]}),
    "arrow struct": lambda: pa.table({"id": [1], "s": [{"a": 1}]}),
    "arrow map": lambda: pa.table({"id": [1], "s": pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int8()))}),
    "polars list": lambda: pl.DataFrame({"id": [1], "s": [[1]]}),
    "polars struct": lambda: pl.DataFrame({"id": [1], "s": [{"a": 1}]}),
    "pandas of an arrow list": lambda: pa.table({"id": [1], "s": [[1]]}).to_pandas(types_mapper=pd.ArrowDtype),
    "pandas of Python lists": lambda: pd.DataFrame({"id": [1], "s": [[1, 2]]}),
    "arrow year 31 million": lambda: pa.table({"id": [1], "s": pa.array([10**15], pa.timestamp("s"))}),
    "arrow year 33 thousand": lambda: pa.table({"id": [1], "s": pa.array([10**12], pa.timestamp("s"))}),
    "pandas year 33 thousand": lambda: pd.DataFrame({"id": [1], "s": pd.Series([10**12]).astype("datetime64[s]")}),
    "pandas period": lambda: pd.DataFrame({"id": [1], "s": pd.period_range("2024", periods=1)}),
    "arrow twice": lambda: pa.table([[1], [2]], names=["s", "s"]),
    "pandas twice": lambda: pd.DataFrame([[1, 2]], columns=["s", "s"]),
    "no rows": lambda: pa.table({"id": [], "s": pa.array([], pa.list_(pa.int8()))}),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_column_that_cannot_be_sent_is_named_before_anything_is(db: ImprovedDb, kind: str) -> None:
    before = db.stats().acquired
    with pytest.raises(StatementError, match="'s'"):
        db.exec_many("insert into t (id, s) values (%s, %s)", REFUSED[kind]())
    with pytest.raises(StatementError, match="'s'"):
        db.load_rows("t", REFUSED[kind]())
    assert db.stats().acquired == before


@pytest.mark.parametrize(
    "frame", [pd.DataFrame({"id": []}), pl.DataFrame({"id": []}), pa.table({"id": []}), pd.DataFrame(), pl.DataFrame()]
)
def test_a_frame_without_rows_is_no_statement(db: ImprovedDb, frame: Any) -> None:
    before = db.stats().acquired
    assert db.exec_many("insert into missing (id) values (%s)", frame).rowcount == 0
    assert db.load_rows("missing", frame).rowcount == 0
    assert db.stats().acquired == before


def test_a_frame_that_went_in_comes_out_the_same(db: ImprovedDb) -> None:
    """Many blocks, in order."""
    size = 25_000
    table = pa.table({"id": pa.array(range(size), pa.int32()), "s": [str(number) for number in range(size)]})
    db.load_rows("t", table)
    assert db.fetch_arrow("select id, s from t order by id").equals(table)
