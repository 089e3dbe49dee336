"""Results read from a real server, against PyMySQL reading the same."""

from __future__ import annotations

import datetime as dt
from contextlib import closing
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pymysql.connections
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pymysql.constants import FIELD_TYPE
from pymysql.cursors import Cursor, DictCursor, SSCursor, SSDictCursor

from improved_db.wire.connection import Connection
from improved_db.wire.results import read_rows
from tests.server.wired import PyMySQLConnection, Wired, typed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from improved_db.testing import TemporaryServer
    from tests.capabilities import Capabilities

pytestmark = pytest.mark.usefixtures("row_reader")

#: A type, and values of it as SQL; NULL is added to each.
COLUMNS = {
    "tinyint": "-128, 0, 127",
    "tinyint(1)": "0, 1",
    "bool": "true, false",
    "smallint unsigned zerofill": "0, 65535",
    "mediumint": "-8388608, 8388607",
    "int(10) zerofill": "42",
    "bigint": "-9223372036854775808, 9223372036854775807",
    "bigint unsigned": "18446744073709551615",
    "decimal(65,30)": "0, -0.000000000000000000000000000001, 12345678901234567890123456789012345.5",
    "decimal(65,0)": "99999999999999999999999999999999999999999999999999999999999999999",
    "float": "1.1, -3.4e38, 1e-38",
    "double": "0.1, -1.7976931348623157e308, 2.2250738585072014e-308, 1e22",
    "bit(1)": "b'0', b'1'",
    "bit(64)": "b'1000000000000000000000000000000000000000000000000000000000100111'",
    "year": "1901, 2155, 0",
    "date": "'0000-00-00', '2020-00-00', '2020-02-29', '1000-01-01', '9999-12-31'",
    "datetime": "'0000-00-00 00:00:00', '2020-00-01 00:00:00', '1000-01-01 00:00:00', '9999-12-31 23:59:59'",
    "datetime(1)": "'0000-00-00 00:00:00.0', '2020-01-02 03:04:05.6'",
    "datetime(3)": "'2020-01-02 03:04:05.678'",
    "datetime(6)": "'0000-00-00 00:00:00.000000', '2020-01-02 03:04:05.000001', '9999-12-31 23:59:59.999999'",
    "timestamp": "'0000-00-00 00:00:00', '1970-01-02 00:00:01', '2038-01-18 03:14:07'",
    "timestamp(6)": "'2020-01-02 03:04:05.999999'",
    "time": "'00:00:00', '-838:59:59', '838:59:59', '-00:00:01', '99:59:59', '100:00:00'",
    "time(4)": "'-00:00:00.0001', '12:34:56.7891'",
    "char(10)": "'', 'abc', 'ünï'",
    "varchar(100)": "'', 'it''s', 'grüße', 'a\\0b', '\\\\', '日本', '\N{SMILING FACE WITH SMILING EYES}'",
    "varchar(50) character set latin1": "'grüße', '€'",
    "binary(4)": "'', x'00ff'",
    "varbinary(300)": "'', x'00ff0a', repeat('y', 300)",
    "tinytext": "'x'",
    "text": "repeat('ä', 250), repeat('x', 251), repeat('x', 65535)",
    "mediumtext": "repeat('z', 65536)",
    "longtext": "''",
    "blob": "x'fffe', repeat(x'00', 70)",
    "longblob": "repeat(x'ff', 65536)",
    "json": "'{\"a\": [1, \"é\"]}', 'null'",
    "enum('a','ü')": "'a', 'ü'",
    "set('a','b','ü')": "'', 'a,ü'",
    "geometry": "point(1, -2.5)",
}
OF_MARIADB = {"inet6": "'::1'", "uuid": "'123e4567-e89b-12d3-a456-426655440000'"}


@pytest.fixture
def every_type(database: dict[str, Any], capabilities: Capabilities) -> dict[str, Any]:
    """Connect options of a database with a table ``t0``, ``t1`` ... for each type."""
    with Connection(**database, charset="utf8mb4", autocommit=True) as connection:
        connection._run("set sql_mode = ''")
        known = {**COLUMNS, **(OF_MARIADB if capabilities.has("inet6 and uuid") else {})}
        for number, (kind, values) in enumerate(known.items()):
            connection._run(f"create table t{number} (v {kind} null) charset utf8mb4")
            rows = ", ".join(f"({value})" for value in [*split(values), "null"])
            connection._run(f"insert into t{number} values {rows}")
    return database


def split(values: str) -> list[str]:
    """Split at the commas that stand between values."""
    parts, depth, quoted = [""], 0, False
    for character in values:
        quoted ^= character == "'"
        depth += (character == "(") - (character == ")")
        if character == "," and not depth and not quoted:
            parts.append("")
        else:
            parts[-1] += character
    return parts


def upper(value: Any) -> Any:
    """A converter of a user."""
    return ("mine", value)


CUSTOM: dict[Any, Any] = {
    **pymysql.converters.conversions,
    FIELD_TYPE.LONG: float,
    FIELD_TYPE.NEWDECIMAL: upper,
    FIELD_TYPE.VAR_STRING: upper,
    FIELD_TYPE.JSON: upper,
    FIELD_TYPE.BLOB: pymysql.converters.through,
    FIELD_TYPE.TIME: pymysql.converters.convert_time,
}

SETTINGS: dict[str, dict[str, Any]] = {
    "utf8mb4": {},
    "utf8mb3": {"charset": "utf8mb3"},
    "latin1": {"charset": "latin1"},
    "gbk": {"charset": "gbk"},
    "raw bytes": {"use_unicode": False, "conv": pymysql.converters.encoders},
    "bytes": {
        "use_unicode": False,
        "conv": {k: v for k, v in pymysql.converters.conversions.items() if v is not Decimal},
    },
    "text": {"conv": pymysql.converters.encoders},
    "custom": {"conv": CUSTOM},
    "custom bytes": {"use_unicode": False, "conv": {**CUSTOM, FIELD_TYPE.NEWDECIMAL: upper}},
}


@pytest.mark.parametrize("cursor", [Cursor, DictCursor, SSCursor, SSDictCursor])
def test_every_column_type_reads_as_pymysql_reads_it(
    every_type: dict[str, Any], cursor: type[Cursor], capabilities: Capabilities
) -> None:
    """The promise of the whole reader: the same values, of the same types, in less time."""
    for options in SETTINGS.values():
        plain = PyMySQLConnection(**every_type, **options)
        wired = Wired(**every_type, **options)
        with closing(plain), closing(wired), plain.cursor(cursor) as expected, wired.cursor(cursor) as actual:
            for number in range(len(COLUMNS) + len(OF_MARIADB) * capabilities.has("inet6 and uuid")):
                for query in (f"select v, v as w from t{number}", f"select v from t{number} where v is null"):
                    expected.execute(query)
                    actual.execute(query)
                    assert actual.description == expected.description
                    assert actual.rowcount == expected.rowcount
                    assert typed(actual.fetchall()) == typed(expected.fetchall())
                    assert actual.warning_count == expected.warning_count
                    assert actual.fetchone() is None


def test_what_pymysql_cannot_read_is_an_error_here_too(every_type: dict[str, Any]) -> None:
    """`Decimal` takes no bytes; a connection that stopped in the middle of a result must not be used again."""
    with closing(PyMySQLConnection(**every_type, use_unicode=False)) as plain, pytest.raises(TypeError):
        plain.query("select 1.5")
    wired = Wired(**every_type, use_unicode=False)
    with pytest.raises(TypeError):
        wired.query("select 1.5")
    assert not wired.open


def test_dict_rows_are_those_of_dict_cursor(every_type: dict[str, Any]) -> None:
    """A repeated name gets its table's in front, and the third of that name wins over the second."""
    queries = [
        "select a.v, b.v, a.v as c, b.v from t0 a, t1 b",
        "select 1 as `a.v`, v, v from t0 a",
        "select v from t0 where v = 1000",
    ]
    with closing(PyMySQLConnection(**every_type)) as plain, closing(Wired(**every_type)) as wired:
        wired.row_kind = dict
        for query in queries:
            with plain.cursor(DictCursor) as expected:
                expected.execute(query)
                wired.query(query)
                assert typed(wired.result.rows) == typed(expected.fetchall())
                assert type(wired.result.rows) is type(expected.fetchall())
            wired.query(query, unbuffered=True)
            with plain.cursor(DictCursor) as expected:
                expected.execute(query)
                assert typed(read_rows(wired.result, 100)) == typed(expected.fetchall())
            assert read_rows(wired.result, 100) == []


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
CELLS: dict[str, st.SearchStrategy[Any]] = {
    "bigint": st.integers(-(2**63), 2**63 - 1),
    "varchar(30) character set utf8mb4": TEXTS,
    "varbinary(300)": st.binary(max_size=300),
    "double": st.floats(allow_nan=False, allow_infinity=False),
    "decimal(30,10)": st.decimals(-(10**19), 10**19, places=10),
    "datetime(6)": st.datetimes(dt.datetime(1000, 1, 1)),  # noqa: DTZ001  # DATETIME has no zone
    "date": st.dates(dt.date(1000, 1, 1)),
    "time(6)": st.timedeltas(dt.timedelta(hours=-838), dt.timedelta(hours=838)),
}
ROWS = st.lists(st.tuples(*(st.none() | cells for cells in CELLS.values())), min_size=1, max_size=8)


@pytest.fixture
def pair(database: dict[str, Any]) -> Iterator[tuple[Any, Wired]]:
    """Two connections, PyMySQL's and ours, to a database with an empty table of the types of `CELLS`."""
    with closing(PyMySQLConnection(**database, autocommit=True)) as plain, closing(Wired(**database)) as wired:
        columns = ", ".join(f"c{number} {kind}" for number, kind in enumerate(CELLS))
        plain.query(f"create table many ({columns}) engine=memory")
        wired.query("set autocommit = 1")
        yield plain, wired


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=ROWS)
def test_any_row_reads_as_pymysql_reads_it(pair: tuple[Any, Wired], rows: list[Any]) -> None:
    """Values that no author of a test thought of."""
    plain, wired = pair
    with plain.cursor() as expected, wired.cursor() as actual:
        expected.execute("delete from many")
        expected.executemany(f"insert into many values ({', '.join(['%s'] * len(CELLS))})", rows)
        expected.execute("select * from many")
        actual.execute("select * from many")
        assert typed(actual.fetchall()) == typed(expected.fetchall())


def test_rows_of_more_than_16_mib_are_read_whole(server: TemporaryServer, database: dict[str, Any]) -> None:
    """Such a row comes in several packets, the last of which may be empty."""
    with Connection(**database) as connection:
        before = connection._run("select @@global.max_allowed_packet").rows[0][0]
        connection._run(f"set global max_allowed_packet = {64 << 20}")
    try:
        with closing(Wired(**database)) as wired:
            for size in (0xFFFFFF - 5, 0xFFFFFF - 4, 0xFFFFFF - 3, 0xFFFFFF, 17_000_000):
                query = f"select repeat('x', {size}) as a union all select 'short'"
                wired.query(query)
                assert [len(row[0]) for row in wired.result.rows] == [size, 5]
            wired.row_kind = dict
            wired.query("select 1 as n, repeat('y', 9000000) as a, repeat('z', 9000000) as b", unbuffered=True)
            ((first, second, third),) = (row.values() for row in read_rows(wired.result, 2))
            assert (first, len(second), third[-1], len(third)) == (1, 9_000_000, "z", 9_000_000)
            assert read_rows(wired.result, 2) == []
            wired.query("select 1 as n")
            assert wired.result.rows == [{"n": 1}]
            assert wired.buffer_size() < 1000
    finally:
        with Connection(**database) as connection:
            connection._run(f"set global max_allowed_packet = {before}")


def test_ok_answers_say_what_pymysql_says(database: dict[str, Any]) -> None:
    """rowcount, lastrowid, warnings and the message come from here."""
    statements = [
        "create table t (id bigint unsigned auto_increment primary key, n int)",
        "insert into t (n) values (1), (2)",
        "insert into t values (300, 1)",
        "insert into t (n) values (5)",
        "insert into t values (70000, 1)",
        "insert into t (n) values (5)",
        "insert into t values (18446744073709551614, 1)",
        "update t set n = 7",
        "update t set n = 7",
        "insert ignore into t values (1, 1)",
        "do 1/0",
        "delete from t",
    ]
    seen: list[list[Any]] = []
    kinds: list[Any] = [PyMySQLConnection, Wired]
    for kind in kinds:
        with closing(kind(**database)) as connection, connection.cursor() as cursor:
            connection.query("drop table if exists t")
            answers: list[Any] = []
            for statement in statements:
                cursor.execute(statement)
                result = cursor._result
                answers.append(
                    (cursor.rowcount, cursor.lastrowid, cursor.warning_count, result.message, result.has_next)
                )
                answers.append(
                    (connection.server_status, connection.insert_id(), cursor.description, cursor.fetchall())
                )
            seen.append(answers)
    assert seen[0] == seen[1]


def test_settings_changed_on_the_way_count(database: dict[str, Any]) -> None:
    """What was worked out for a result is kept; a converter or charset set since must still be used."""
    with closing(Wired(**database)) as wired:
        wired.query("select 1 as n, 'ü' as t")
        assert wired.result.rows == ((1, "ü"),)
        wired.encoding = "cp1252"  # of the client alone: the server's answer is the same
        wired.query("select 1 as n, 'ü' as t".encode())
        assert wired.result.rows == ((1, "ü".encode().decode("cp1252")),)
        wired.encoding = "utf8"
        wired.decoders[FIELD_TYPE.LONG] = wired.decoders[FIELD_TYPE.LONGLONG] = upper
        wired.query("select 1 as n, 'ü' as t")
        assert wired.result.rows == ((("mine", "1"), "ü"),)
        wired.decoders = {}
        wired.set_character_set("latin1")
        wired.query("select 1 as n, 'ü' as t")
        assert wired.result.rows == (("1", "ü"),)
        wired.use_unicode = False
        wired.query("select 1 as n, 'ü' as t")
        assert wired.result.rows == ((b"1", b"\xfc"),)


def test_wide_results_are_read(database: dict[str, Any]) -> None:
    """A decoder is written out column by column, and a table can have a thousand."""
    query = "select " + ", ".join(f"{number} as c{number}" for number in range(1200))
    with closing(Wired(**database)) as wired:
        for _ in range(2):
            wired.query(query)
            assert wired.result.rows == (tuple(range(1200)),)
