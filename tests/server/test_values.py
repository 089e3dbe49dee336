"""What a value becomes in a literal, or why there is none."""

from __future__ import annotations

import datetime as dt
import enum
from typing import TYPE_CHECKING, Any

import pytest
from pymysql import converters

from improved_db import ConfigError, ImprovedDb, StatementError

if TYPE_CHECKING:
    from collections.abc import Iterator

ZONE = dt.timezone(dt.timedelta(hours=5, minutes=30))
AT = dt.datetime(2020, 1, 2, 3, 4, 5, 678)  # noqa: DTZ001  # DATETIME has no zone


class Level(enum.IntEnum):
    """An int."""

    LOW = 1


class Word(str, enum.Enum):
    """A str, which is what `StrEnum` makes."""

    HELLO = "hel'lo"


class Colour(enum.Enum):
    """No value of SQL's."""

    RED = 1


class Whole(int):
    """An int whose text is another."""

    def __str__(self) -> str:
        return "0 or 1=1"


class Real(float):
    """A float whose text is another, as numpy's."""

    def __repr__(self) -> str:
        return f"Real({float(self)})"


class Moment(dt.datetime):
    """A datetime, as pandas' Timestamp."""


class Never(dt.datetime):
    """A datetime that is none, as pandas' NaT."""

    def __eq__(self, other: object) -> bool:
        return False

    __hash__ = dt.datetime.__hash__


class Text(str):
    """A str."""

    __slots__ = ()


MOMENT = Moment(2020, 1, 2, 3, 4, 5)
UNKNOWN = [object(), Colour.RED, Never(2020, 1, 1), (one for one in [1]), len, Colour, 1j, range(3)]
KNOWN: list[tuple[Any, Any]] = [
    (Level.LOW, 1),
    (Word.HELLO, "hel'lo"),
    (Whole(7), 7),
    (Real(1.5), 1.5),
    (MOMENT, "2020-01-02 03:04:05"),
    (Text("it's"), "it's"),
    (True, 1),
    (memoryview(b"a\xff"), b"a\xff"),
    (bytearray(b"a\xff"), b"a\xff"),
]


@pytest.fixture(name="db")
def _db(database: dict[str, Any]) -> Iterator[ImprovedDb]:
    with ImprovedDb(database, max_size=1, retry=None) as db:
        db.execute_query("create table t (n int, d datetime(6), f double, b varbinary(20), s varchar(50))")
        yield db


@pytest.mark.parametrize("value", UNKNOWN, ids=lambda value: type(value).__name__)
def test_a_value_without_a_literal_is_refused_by_type_and_place(db: ImprovedDb, value: Any) -> None:
    """Its `str()` would be stored for it, and read back as something else."""
    name = type(value).__name__
    reason = f"no literal for a value of type {name} \\(parameter %s\\); convert the value, or add the type to conv="
    with pytest.raises(StatementError, match=reason % 2):
        db.execute_query("select %s, %s", (1, value))
    with pytest.raises(StatementError, match=reason % "'b'"):
        db.execute_query("select %(b)s", {"b": value})
    with pytest.raises(StatementError, match="row 2: " + reason % 2):
        db.exec_many("insert into t (n, s) values (%s, %s)", [(1, "a"), (2, value)])
    with db.connection() as connection, pytest.raises(StatementError, match=f"type {name};"):
        connection.cursor().execute("select %s", (value,))
    assert db.execute_query("select count(*) from t") == ((0,),)


@pytest.mark.parametrize(("value", "plain"), KNOWN, ids=lambda value: type(value).__name__)
def test_a_value_of_a_subclass_is_its_value(db: ImprovedDb, value: Any, plain: Any) -> None:
    """Alone, in a column of its type, and in a cursor."""
    assert db.execute_query("select %s", (value,)) == ((plain,),)
    with db.connection() as connection, connection.cursor() as cursor:
        cursor.execute("select %s", (value,))
        assert cursor.fetchall() == ((plain,),)
    column = {float: "f", int: "n", bytes: "b"}.get(type(plain), "s")
    db.exec_many(f"insert into t ({column}) values (%s)", [(value,), (value,)])
    db.exec_many(f"insert into t ({column}) values (%s)", [value])
    assert db.execute_query(f"select {column} from t") == ((plain,),) * 3


def test_numpys_scalars_are_their_values(db: ImprovedDb) -> None:
    """A missing one, NaN and NaT, has no literal."""
    numpy = pytest.importorskip("numpy")
    values = (numpy.int64(5), numpy.float64(1.5), numpy.bool_(True), numpy.str_("it's"), numpy.datetime64(AT, "ns"))
    got = db.execute_query("select %s, %s, %s, %s, cast(%s as datetime(6))", values, return_one=True)
    assert got == (5, 1.5, 1, "it's", AT)
    for value in (numpy.float64("nan"), numpy.datetime64("NaT", "us"), numpy.float32("inf"), numpy.array([1, 2])):
        with pytest.raises(StatementError, match="parameter 1"):
            db.execute_query("select %s", (value,))


def test_an_aware_datetime_is_refused_unless_asked_for(db: ImprovedDb) -> None:
    """Its time zone would be lost in silence; the error has the choices."""
    aware = AT.replace(tzinfo=ZONE)
    with pytest.raises(StatementError, match=r"parameter 1.*naive.*aware_datetimes='utc'"):
        db.execute_query("select %s", (aware,))
    with pytest.raises(StatementError, match=r"row 2: .*parameter 1"):
        db.exec_many("insert into t (d) values (%s)", [(AT,), (aware,)])
    with pytest.raises(StatementError, match="parameter 1"):
        db.execute_query("select %s", (Moment(2020, 1, 1, tzinfo=ZONE),))
    assert db.execute_query("select count(*) from t") == ((0,),)


def test_an_aware_datetime_is_sent_in_utc_where_that_is_asked_for(db: ImprovedDb, database: dict[str, Any]) -> None:
    """Naive ones stay as they are."""
    aware = AT.replace(tzinfo=ZONE)
    with ImprovedDb(database, aware_datetimes="utc") as other:
        other.execute_query("insert into t (n, d) values (1, %s), (2, %s)", (aware, AT))
        other.exec_many("insert into t (n, d) values (%s, %s)", [(3, aware), (4, AT)])
        with pytest.raises(StatementError, match="parameter 1"):
            other.execute_query("select %s", (dt.datetime.min.replace(tzinfo=ZONE),))
    utc = AT - dt.timedelta(hours=5, minutes=30)
    assert list(db.execute_query("select n, d from t order by n")) == [(1, utc), (2, AT), (3, utc), (4, AT)]


@pytest.mark.parametrize("zone", ["+03:00", "-09:30", "SYSTEM"])
def test_an_aware_datetime_is_the_time_of_the_session_where_that_is_asked_for(
    db: ImprovedDb, database: dict[str, Any], zone: str
) -> None:
    """Whatever its time zone is at that moment: a TIMESTAMP is the same instant, and naive ones stay as they are."""
    db.execute_query("create table at (n int, d datetime(6), t timestamp(6) null)")
    aware = AT.replace(tzinfo=ZONE)
    insert = "insert into at (n, d, t) values (%s, %s, %s)"
    with ImprovedDb(database, aware_datetimes="session", init_command=f"set time_zone = '{zone}'") as other:
        other.execute_query(insert, (1, aware, aware))
        other.exec_many(insert, [(2, aware, aware), (3, None, aware), (4, AT, AT)])
        with other.connection() as connection, connection.cursor() as cursor:
            cursor.execute("set time_zone = '+00:00'")
            cursor.execute(insert, (5, aware, aware))
            utc = AT - dt.timedelta(hours=5, minutes=30)
            cursor.execute("select t from at where n in (1, 2, 3, 5)")
            assert cursor.fetchall() == ((utc,),) * 4
            cursor.execute("select d from at where n = 5")
            assert cursor.fetchall() == ((utc,),)
        local = other.execute_query("select t from at where n = 1")
        assert other.execute_query("select d from at where n = 1 or n = 2") == local * 2
        assert other.execute_query("select d, t from at where n = 4") == ((AT, AT),)
        assert other.execute_query("select n from at where d = %s and n < 5 order by n", (aware,)) == ((1,), (2,))


@pytest.mark.parametrize(
    ("instant", "fits"),
    [
        ("1970-01-01 00:00:00.000001", True),
        ("1970-01-01", False),  # NULL on MariaDB 11
        ("1969-12-31 23:59:59.999999", False),
        ("2038-01-19 03:14:06.999999", True),
        ("2038-01-19 03:14:07", False),
        ("0001-01-01", False),
        ("9999-12-31 23:59:59.999999", False),
    ],
)
def test_an_aware_datetime_that_the_server_cannot_turn_is_refused(
    database: dict[str, Any], instant: str, fits: bool
) -> None:
    """It would be NULL."""
    aware = dt.datetime.fromisoformat(instant).replace(tzinfo=dt.timezone.utc)
    with ImprovedDb(database, aware_datetimes="session", init_command="set time_zone = '+00:00'") as db:
        if fits:
            assert db.execute_query("select %s", (aware,)) == ((aware.replace(tzinfo=None),),)
        else:
            with pytest.raises(StatementError, match=r"1970.*parameter 1.*'utc'"):
                db.execute_query("select %s", (aware,))


def test_an_unknown_word_for_aware_datetimes_is_refused() -> None:
    """The error has the known ones."""
    with pytest.raises(ConfigError, match="'refuse', 'session' or 'utc'"):
        ImprovedDb({}, aware_datetimes="local")  # type: ignore[arg-type]  # refused


def test_encoders_of_the_users_come_first(database: dict[str, Any]) -> None:
    """`conv=` may give any type a literal, datetimes with a zone and unknown types alike."""
    mine: dict[Any, Any] = {
        Colour: lambda colour, _: f"'{colour.name}'",
        dt.datetime: lambda at, _: f"'{at.isoformat()}'",
    }
    with ImprovedDb(database, conv={**converters.conversions, **mine}) as db:
        aware = AT.replace(tzinfo=ZONE)
        assert db.execute_query("select %s, %s", (Colour.RED, aware)) == (("RED", aware.isoformat()),)


def test_an_aware_time_is_refused(db: ImprovedDb) -> None:
    """A time of day has no date that would say what it is in UTC."""
    aware = dt.time(1, 2, 3, tzinfo=ZONE)
    with pytest.raises(StatementError, match="parameter 1"):
        db.execute_query("select %s", (aware,))
    with pytest.raises(StatementError, match=r"row 2: .*parameter 1"):
        db.exec_many("insert into t (s) values (%s)", [(dt.time(1, 2),), (aware,)])
    with pytest.raises(StatementError, match="row 2"):
        db.load_rows("t", [(dt.time(1, 2),), (aware,)], columns=["s"])
    db.exec_many("insert into t (s) values (%s)", [(dt.time(1, 2),), (dt.time(1, 2, 3, 4),)])
    assert list(db.execute_query("select s from t order by s")) == [("01:02:00",), ("01:02:03.000004",)]
