"""Columns out of a real server: each value is what the reader of rows gives, whatever its type."""

from __future__ import annotations

import datetime as dt
import sys
from decimal import Decimal
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pymysql.constants import FIELD_TYPE
from pymysql.err import InternalError, OperationalError

from improved_db import ImprovedDb, StatementError
from improved_db.frames.table import Columns

if TYPE_CHECKING:
    from collections.abc import Iterator

pa = pytest.importorskip("pyarrow")
pytest.importorskip("numpy")

pytestmark = pytest.mark.usefixtures("row_reader")

TYPES = {
    "ti": "tinyint",
    "tu": "tinyint unsigned",
    "si": "smallint",
    "mi": "mediumint",
    "mu": "mediumint unsigned",
    "i": "int",
    "iz": "int(10) zerofill",
    "bi": "bigint",
    "bu": "bigint unsigned",
    "d": "decimal(10, 2)",
    "du": "decimal(20, 0) unsigned",
    "dw": "decimal(65, 30)",
    "f": "float",
    "r": "double",
    "day": "date",
    "at": "datetime",
    "atu": "datetime(6)",
    "span": "time",
    "spanu": "time(6)",
    "y": "year",
    "b": "bit(1)",
    "bb": "bit(64)",
    "c": "char(5)",
    "v": "varchar(400)",
    "t": "longtext",
    "bin": "mediumblob",
    "e": "enum('a', 'é')",
    "s": "set('x', 'y')",
}

_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=300)
_TIME = st.timedeltas(dt.timedelta(hours=-838, minutes=-59), dt.timedelta(hours=838, minutes=59))
_AT = st.datetimes()


#: What a reader needs to know of a column.
VARCHAR = SimpleNamespace(name="v", type_code=FIELD_TYPE.VAR_STRING)


def _ints(low: int, high: int) -> st.SearchStrategy[int]:
    return st.integers(low, high)


VALUES: dict[str, st.SearchStrategy[Any]] = {
    "ti": _ints(-128, 127),
    "tu": _ints(0, 255),
    "si": _ints(-(2**15), 2**15 - 1),
    "mi": _ints(-(2**23), 2**23 - 1),
    "mu": _ints(0, 2**24 - 1),
    "i": _ints(-(2**31), 2**31 - 1),
    "iz": _ints(0, 2**32 - 1),
    "bi": _ints(-(2**63), 2**63 - 1),
    "bu": _ints(0, 2**64 - 1),
    "d": st.decimals(Decimal("-99999999.99"), Decimal("99999999.99"), places=2),
    "du": _ints(0, 10**20 - 1).map(Decimal),
    "dw": st.decimals(-(10**34), 10**34, places=30),
    "f": st.floats(width=32, allow_nan=False, allow_infinity=False).map(lambda x: 0.0 if abs(x) < 1e-37 else x),
    "r": st.floats(allow_nan=False, allow_infinity=False).map(lambda x: 0.0 if abs(x) < 1e-300 else x),
    "day": st.dates(dt.date(1, 1, 1)),
    "at": _AT.map(lambda at: at.replace(microsecond=0)),
    "atu": _AT,
    "span": _TIME.map(lambda span: dt.timedelta(span.days, span.seconds)),
    "spanu": _TIME,
    "y": _ints(1901, 2155),
    "b": st.sampled_from([b"\0", b"\1"]),
    "bb": st.binary(min_size=8, max_size=8),
    "c": st.text("aé€😀", max_size=5),
    "v": _TEXT,
    "t": _TEXT | st.integers(200, 70_000).map(lambda size: "ä" * size),
    "bin": st.binary(max_size=300) | st.sampled_from([65_535, 65_536, 70_000]).map(bytes),
    "e": st.sampled_from(["a", "é"]),
    "s": st.sampled_from(["", "x", "x,y"]),
}


@pytest.fixture
def db(database: dict[str, Any]) -> Iterator[ImprovedDb]:
    with ImprovedDb(database, charset="utf8mb4") as made:
        yield made


@pytest.fixture
def typed(db: ImprovedDb) -> ImprovedDb:
    """An empty table with a column of each type."""
    columns = ", ".join(f"`{name}` {kind}" for name, kind in TYPES.items())
    db.execute_query(f"create table t (id int primary key auto_increment, {columns}) charset utf8mb4")
    return db


def _plain(name: str, value: Any) -> Any:
    """What Arrow has where the reader of rows has *value*."""
    if value is None:
        return None
    if name in {"b", "bb"}:
        return int.from_bytes(value, "big")
    if name == "f":
        return pytest.approx(value, rel=1e-6)
    return value


_ROWS = st.lists(st.tuples(*(st.none() | VALUES[name] for name in TYPES)), max_size=4)


@given(rows=_ROWS)
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
def test_every_value_is_that_of_the_row_reader(typed: ImprovedDb, rows: list[tuple[Any, ...]]) -> None:
    names = ", ".join(f"`{name}`" for name in TYPES)
    typed.execute_query("truncate table t")
    typed.exec_many(f"insert into t ({names}) values ({', '.join(['%s'] * len(TYPES))})", rows)
    query = f"select {names} from t order by id"
    expected = typed.execute_query(query)
    table = typed.fetch_arrow(query)
    table.validate(full=True)
    assert table.column_names == list(TYPES)
    for name, column, values in zip(TYPES, table.columns, zip(*expected, strict=True), strict=False):
        assert column.to_pylist() == [_plain(name, value) for value in values], name


def test_types_follow_the_columns(typed: ImprovedDb) -> None:
    """Widths, signs and scales are those of the table, rows or no rows."""
    schema = typed.fetch_arrow("select * from t").schema
    assert {name: str(schema.field(name).type) for name in TYPES} == {
        "ti": "int8",
        "tu": "uint8",
        "si": "int16",
        "mi": "int32",
        "mu": "uint32",
        "i": "int32",
        "iz": "uint32",
        "bi": "int64",
        "bu": "uint64",
        "d": "decimal128(10, 2)",
        "du": "decimal128(20, 0)",
        "dw": "decimal256(65, 30)",
        "f": "float",
        "r": "double",
        "day": "date32[day]",
        "at": "timestamp[us]",
        "atu": "timestamp[us]",
        "span": "duration[us]",
        "spanu": "duration[us]",
        "y": "int16",
        "b": "uint64",
        "bb": "uint64",
        "c": "string",
        "v": "string",
        "t": "string",
        "bin": "binary",
        "e": "string",
        "s": "string",
    }


def test_the_longest_times(db: ImprovedDb) -> None:
    longest = dt.timedelta(hours=838, minutes=59, seconds=59)
    table = db.fetch_arrow(
        "select cast('-838:59:59' as time) a, cast('838:59:59' as time) b, cast('-00:00:01' as time) c"
    )
    assert table.to_pylist() == [{"a": -longest, "b": longest, "c": dt.timedelta(seconds=-1)}]


def test_a_null_literal_json_and_an_aggregate(db: ImprovedDb) -> None:
    db.execute_query("create table j (n bigint unsigned, doc json)")
    db.execute_query("insert into j values (18446744073709551615, '[1]'), (1, null)")
    table = db.fetch_arrow("select null as nothing, sum(n) as s, max(doc) as m from j")
    assert table.to_pylist() == [{"nothing": None, "s": Decimal(2**64), "m": "[1]"}]


@pytest.mark.parametrize("charset", ["latin1", "utf8mb4", "sjis", "gbk", "cp1251"])
def test_text_in_every_charset(database: dict[str, Any], charset: str) -> None:
    with ImprovedDb(database, charset=charset) as db:
        query = "select 'abc' as a, convert(unhex('e38182') using utf8mb4) as b, convert(unhex('d0b6') using utf8mb4) c"
        assert list(map(tuple, (row.values() for row in db.fetch_arrow(query).to_pylist()))) == list(
            db.execute_query(query)
        )


@pytest.fixture
def zeros(db: ImprovedDb) -> ImprovedDb:
    """A table with dates that are none."""
    db.execute_query("create table z (id int, day date, at datetime)")
    with db.connection() as connection, connection.cursor() as cursor:
        cursor.execute("set sql_mode = 'ALLOW_INVALID_DATES'")
        cursor.execute(
            "insert into z values (1, '2024-01-02', '2024-01-02 03:04:05'), (2, '0000-00-00', '0000-00-00 00:00:00'),"
            " (3, '2024-00-00', '2024-05-00 01:00:00'), (4, null, null), (5, '2024-02-31', '2024-02-31 00:00:00')"
        )
    return db


@pytest.mark.parametrize("column", ["day", "at"])
@pytest.mark.parametrize("row", [2, 3, 5])
def test_a_date_that_is_none_is_an_error_that_names_its_column(zeros: ImprovedDb, column: str, row: int) -> None:
    with pytest.raises(StatementError, match=f"column '{column}'"):
        zeros.fetch_arrow(f"select {column} from z where id = %s", row)


def test_a_date_that_is_none_becomes_null(zeros: ImprovedDb) -> None:
    table = zeros.fetch_arrow("select day, at from z order by id", zero_dates="null")
    assert table.column("day").to_pylist() == [dt.date(2024, 1, 2), None, None, None, None]
    assert table.column("at").to_pylist() == [dt.datetime.fromisoformat("2024-01-02 03:04:05"), None, None, None, None]


def test_a_row_of_several_packets(db: ImprovedDb, database: dict[str, Any]) -> None:
    """Such a value has a length of eight bytes, and its row is joined."""
    before = db.execute_query("select @@global.max_allowed_packet", return_one=True)
    db.execute_query("set global max_allowed_packet = 67108864")
    size = 17_000_000
    try:
        with ImprovedDb(database) as other:
            table = other.fetch_arrow("select 1 as a, repeat('x', %s) as b, 2 as c", size)
    finally:
        db.execute_query("set global max_allowed_packet = %s", before)
    assert (table["a"][0].as_py(), len(table["b"][0].as_py()), table["c"][0].as_py()) == (1, size, 2)


def test_a_statement_without_a_result_has_no_columns(db: ImprovedDb) -> None:
    table = db.fetch_arrow("do 1")
    assert (table.num_columns, table.num_rows) == (0, 0)


@pytest.fixture
def numbers(db: ImprovedDb) -> ImprovedDb:
    """50,000 rows in the table ``n``."""
    db.execute_query("create table n (i int primary key, s varchar(20))")
    db.exec_many("insert into n values (%s, %s)", ((i, "x" * 20) for i in range(1, 50_001)))
    return db


def test_a_stream_gives_batches_of_the_size_asked_for(numbers: ImprovedDb) -> None:
    with numbers.stream_arrow("select i, s from n order by i", batch_size=20_000) as reader:
        batches = list(reader)
    assert [batch.num_rows for batch in batches] == [20_000, 20_000, 10_000]
    assert pa.Table.from_batches(batches).column("i").to_pylist() == list(range(1, 50_001))


def test_a_stream_that_was_left_early_does_not_look_like_its_end(numbers: ImprovedDb) -> None:
    with numbers.stream_arrow("select i, s from n", batch_size=100) as reader:
        assert reader.read_next_batch().num_rows == 100
    with pytest.raises(Exception, match="block of this stream was left"):
        reader.read_all()
    assert numbers.execute_query("select 1") == ((1,),)


def test_a_transaction_sees_its_own_rows_as_columns(db: ImprovedDb) -> None:
    db.execute_query("create table w (a int)")
    with db.transaction() as tx:
        tx.execute_query("insert into w values (7)")
        assert tx.fetch_arrow("select a from w").to_pydict() == {"a": [7]}
        assert db.fetch_arrow("select a from w").to_pydict() == {"a": []}


def test_pandas_keeps_integers_exact_where_there_are_nulls(db: ImprovedDb) -> None:
    pytest.importorskip("pandas")
    frame = db.fetch_pandas("select 9007199254740993 as a, 'x' as b union all select null, null order by a desc")
    assert str(frame["a"].dtype) == "Int64"
    assert frame["a"][0] == 9007199254740993
    assert frame["a"].isna().tolist() == [False, True]


def test_polars_gets_the_same_values(db: ImprovedDb) -> None:
    pytest.importorskip("polars")
    frame = db.fetch_polars("select 1 as a, cast(1.50 as decimal(5, 2)) as d, timestamp'2024-01-02 03:04:05' as at")
    assert frame.rows() == [(1, Decimal("1.50"), dt.datetime.fromisoformat("2024-01-02 03:04:05"))]


def test_polars_gets_sums_of_bigint_and_is_not_given_what_it_cannot_hold(db: ImprovedDb) -> None:
    """A sum of BIGINT has 41 digits by its type; polars panics over any type of more than 38."""
    pytest.importorskip("polars")
    query = "select sum(n) as total from (select cast(9223372036854775807 as signed) as n union all select 1) as t"
    assert db.fetch_arrow(query).schema.field("total").type.bit_width == 256
    assert db.fetch_polars(query).rows() == [(Decimal(2**63),)]
    with pytest.raises(StatementError, match="column 'wide'"):
        db.fetch_polars(f"select cast({'1' * 45} as decimal(50, 0)) as wide")


def test_a_connection_lost_in_a_stream_is_no_end(database: dict[str, Any], numbers: ImprovedDb) -> None:
    """Rows that are missing must not go unnoticed."""
    numbers.execute_query("update n set s = repeat('y', 20)")
    with numbers.stream_arrow("select a.i, b.s from n a join n b on b.i < 2000", batch_size=10) as reader:
        reader.read_next_batch()
        query = "select id from information_schema.processlist where db = %s and id <> connection_id()"
        for (number,) in numbers.execute_query(query, database["database"]):
            numbers.execute_query("kill %s", number)
        with pytest.raises(OperationalError):
            reader.read_all()


def test_a_missing_library_is_an_import_error_that_says_what_to_type(
    db: ImprovedDb, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ImportError, match=r"pip install improved-db\[arrow\]"):
        db.fetch_arrow("select 1")


def test_decimals_wider_than_128_bits_reach_pandas(db: ImprovedDb) -> None:
    pytest.importorskip("pandas")
    wide = "1" * 40
    assert db.fetch_pandas(f"select cast({wide} as decimal(50, 2)) as d")["d"].tolist() == [Decimal(f"{wide}.00")]


def test_the_time_limit_of_a_statement_holds(db: ImprovedDb) -> None:
    db.execute_query("create table k (a int)")
    db.execute_query("insert into k values (1)")
    with pytest.raises(OperationalError):
        db.fetch_arrow("select a, sleep(30) from k", timeout=0.1)
    assert db.fetch_arrow("select a from k", timeout=20).to_pydict() == {"a": [1]}


@pytest.mark.parametrize(
    "packet", [b"\x05abc", b"\x01a", b"\x01a\xff", b"\x01a\x01bc", b"\x01a\xfc\x01", b"\x01a\xfe" + b"\xff" * 8]
)
def test_a_row_that_does_not_fill_its_packet_is_an_error(packet: bytes) -> None:
    """Of two columns; the good row before it does not hide it."""
    columns = Columns(SimpleNamespace(fields=[VARCHAR, VARCHAR], converters=[("utf8", None)] * 2), "raise")
    with pytest.raises(InternalError):
        columns.batch([b"\x01a\x01b", packet, b"\x01a\x01b"])
