"""What programmers write by mistake, and the sentence each of them gets: what is wrong, and what to write instead."""

from __future__ import annotations

import pickle
import socket
from typing import TYPE_CHECKING, Any

import pymysql.err
import pytest

from improved_db import ConfigError, ImprovedDb, PoolError, StatementError
from improved_db.settings.sources import VARIABLES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

INSERT = "insert into pets (id, name, weight) values (%s, %s, %s)"


@pytest.fixture(name="db")
def _db(database: dict[str, Any]) -> Iterator[ImprovedDb]:
    with ImprovedDb(database, max_size=3, retry=None) as db:
        db.execute_query("create table pets (id int primary key, name varchar(5), weight double)")
        db.execute_query(INSERT, (100, "Rex", 12.5))
        yield db


async def _async_work(tx: object) -> None:
    """Do nothing, later."""


class _Thing:
    """A class without a literal."""


#: A mistake; what is run; words of the error. All of these are found before anything is sent.
UNSENT: list[tuple[str, Callable[[Any], object], str]] = [
    ("None as a statement", lambda db: db.execute_query(None), "not a NoneType"),
    ("bytes as a statement", lambda db: db.execute_query(b"select 1"), "not a bytes"),
    ("no statement", lambda db: db.execute_query(), "takes a statement"),
    (
        "bytes for fetch_all",
        lambda db: db.fetch_all(b"select 1"),
        "the statement must be a str, SQL or a t-string, not a bytes",
    ),
    (
        "None for exec_many",
        lambda db: db.exec_many(None, [(1,)]),
        "the statement must be a str, SQL or a t-string, not a NoneType",
    ),
    (
        "a mapping for %s",
        lambda db: db.execute_query("select * from pets where id = %s", {"id": 1}),
        "has %s, and args is a mapping: write %(name)s",
    ),
    (
        "question marks",
        lambda db: db.execute_query("select * from pets where id = ?", (1,)),
        "no %s, and args has 1 value: placeholders are %s or %(name)s, not ?",
    ),
    (
        "colons",
        lambda db: db.execute_query("select * from pets where id = :id", {"id": 1}),
        "placeholders are %(name)s, not :name",
    ),
    (
        "too few values",
        lambda db: db.execute_query("select %s, %s", (1,)),
        "the statement has 2 places (%s), and args has 1 value",
    ),
    (
        "too many values",
        lambda db: db.execute_query("select %s", (1, 2)),
        "the statement has 1 place (%s), and args has 2 values",
    ),
    (
        "a list for IN that is not in a tuple",
        lambda db: db.execute_query("select * from pets where id in %s", [1, 2, 3]),
        "for IN %s put the list into a tuple: (ids,)",
    ),
    (
        "an empty list for IN",
        lambda db: db.execute_query("select * from pets where id in %s", ([],)),
        "an empty list (parameter 1); IN () is no SQL",
    ),
    (
        "a missing key",
        lambda db: db.execute_query("select %(a)s", {"b": 1}),
        "args has no 'a'; it has 'b'",
    ),
    (
        "a percent sign with args",
        lambda db: db.execute_query("select * from pets where name like 'R%' and id = %s", (1,)),
        "a percent sign of the statement itself is written %%",
    ),
    (
        "a dict as a value",
        lambda db: db.execute_query("select %s", ({"a": 1},)),
        "a dict is no value of SQL (parameter 1); for a JSON column pass json.dumps(value)",
    ),
    ("nan", lambda db: db.execute_query("select %s", (float("nan"),)), "nan is no value of SQL (parameter 1)"),
    ("infinity", lambda db: db.execute_query("select %s", float("inf")), "inf is no value of SQL (parameter 1)"),
    (
        "nan in a row",
        lambda db: db.exec_many(INSERT, [(1, "a", 1.0), (2, "b", float("nan"))]),
        "row 2: nan is no value of SQL (parameter 3); pass None for NULL",
    ),
    (
        "a value without a literal",
        lambda db: db.execute_query("select %s", (_Thing(),)),
        "no literal for a value of type _Thing (parameter 1); convert the value, or add the type to conv=",
    ),
    (
        "rows without exec_many",
        lambda db: db.execute_query(INSERT, [(1, "a", 1.0), (2, "b", 2.0)]),
        "args is a list of rows: use exec_many",
    ),
    (
        "one row without exec_many",
        lambda db: db.execute_query(INSERT, [(1, "a", 1.0)]),
        "args is a list of rows: use exec_many",
    ),
    ("exec_many of a SELECT", lambda db: db.exec_many("select %s", [(1,)]), "exec_many discards results"),
    ("exec_many of a SHOW", lambda db: db.exec_many("show tables like %s", [("a",)]), "exec_many discards results"),
    (
        "a short row",
        lambda db: db.exec_many(INSERT, [(1, "a", 1.0), (2, "b")]),
        "row 2 has 2 values, and the statement has 3 places",
    ),
    (
        "dict rows for %s",
        lambda db: db.exec_many(INSERT, [{"id": 1, "name": "a", "weight": 1.0}]),
        "row 1 is a mapping, and the places in the statement have no names: write %(name)s",
    ),
    (
        "tuple rows for %(name)s",
        lambda db: db.exec_many("insert into pets (id) values (%(id)s)", [(1,)]),
        "each row must be a mapping",
    ),
    ("one row as rows", lambda db: db.exec_many(INSERT, {"id": 1}), "for one row write [row]"),
    ("a coroutine function", lambda db: db.run_transaction(_async_work), "fn is a coroutine function"),
    ("a called function", lambda db: db.run_transaction(None), "fn must be callable: pass work, not work()"),
    ("a text as a limit", lambda db: db.execute_query("select 1", timeout="3"), "timeout must be a positive number"),
    ("no time at all", lambda db: db.fetch_all("select 1", timeout=0), "timeout must be a positive number"),
    ("a negative limit", lambda db: db.stream("select 1", timeout=-1).__enter__(), "timeout must be a positive"),
]


@pytest.mark.parametrize(("mistake", "says"), [pytest.param(*row[1:], id=row[0]) for row in UNSENT])
def test_a_mistake_is_named_before_anything_is_sent(
    db: ImprovedDb, mistake: Callable[[Any], object], says: str
) -> None:
    before = db.fetch_column("select id from pets")
    with pytest.raises(StatementError) as caught:
        mistake(db)
    assert says in str(caught.value)
    assert db.fetch_column("select id from pets") == before


#: What only the server can find: its error, and a hint behind its words.
SENT: list[tuple[str, Callable[[Any], object], int, str]] = [
    ("args forgotten", lambda db: db.execute_query("select * from pets where id = %s"), 1064, "args was not given"),
    (
        "args forgotten, by name",
        lambda db: db.execute_query("select * from pets where id = %(id)s"),
        1064,
        "args was not given",
    ),
    ("None as args", lambda db: db.execute_query("select %s", None), 1064, "args was not given; for NULL pass (None,)"),
    (
        "two statements",
        lambda db: db.execute_query("select 1; select 2"),
        1064,
        "one statement at a time",
    ),
    (
        "quotes around a placeholder",
        lambda db: db.execute_query("select * from pets where name = '%s'", ("Rex",)),
        1064,
        "no quotes around %s",
    ),
    ("question marks without args", lambda db: db.execute_query("select ? from pets"), 1064, "placeholders are %s"),
]


@pytest.mark.parametrize(("mistake", "code", "says"), [pytest.param(*row[1:], id=row[0]) for row in SENT])
@pytest.mark.parametrize("where", ["pool", "transaction"])
def test_a_hint_stands_behind_the_words_of_the_server(
    db: ImprovedDb, mistake: Callable[[Any], object], code: int, says: str, where: str
) -> None:
    with pytest.raises(pymysql.err.ProgrammingError) as caught:  # noqa: PT012
        if where == "pool":
            mistake(db)
        else:
            with db.transaction() as tx:
                mistake(tx)
    assert caught.value.args[0] == code
    assert says in str(caught.value.args[1])


#: The names of other libraries, and what to write here.
NAMES: list[tuple[str, Callable[[Any], object], str]] = [
    ("cursor", lambda db: db.cursor(), "execute_query"),
    ("execute", lambda db: db.execute("select 1"), "execute_query"),
    ("executemany", lambda db: db.executemany("select 1", []), "exec_many"),
    ("query", lambda db: db.query("select 1"), "execute_query"),
    ("commit", lambda db: db.commit(), "transaction()"),
    ("rollback", lambda db: db.rollback(), "transaction()"),
    ("begin", lambda db: db.begin(), "transaction()"),
    ("fetchall", lambda db: db.execute_query("select 1").fetchall(), "list"),
    ("fetchone", lambda db: db.execute_query("select 1").fetchone(), "return_one=True"),
    (
        "a transaction without with",
        lambda db: db.transaction().execute_query("select 1"),
        "with db.transaction() as tx",
    ),
    ("a connection without with", lambda db: db.connection().cursor(), "with db.connection() as connection"),
    ("a pipeline without with", lambda db: db.pipeline().execute_query("select 1"), "with db.pipeline() as pipeline"),
]


@pytest.mark.parametrize(("mistake", "says"), [pytest.param(*row[1:], id=row[0]) for row in NAMES])
def test_the_names_of_other_libraries_lead_to_ours(db: ImprovedDb, mistake: Callable[[Any], object], says: str) -> None:
    with pytest.raises(AttributeError) as caught:
        mistake(db)
    assert says in str(caught.value)
    assert db.stats().used == 0


def test_an_unknown_name_is_an_ordinary_attribute_error(db: ImprovedDb) -> None:
    with pytest.raises(AttributeError, match="'ImprovedDb' object has no attribute 'nonsense'"):
        db.nonsense  # type: ignore[attr-defined]  # noqa: B018


def test_a_stream_without_with_says_so(db: ImprovedDb) -> None:
    with pytest.raises(TypeError, match=r"with db\.stream"):
        list(db.stream("select 1"))  # type: ignore[call-overload]
    assert db.stats().used == 0


def test_a_database_object_does_not_travel_to_another_process(db: ImprovedDb) -> None:
    with pytest.raises(TypeError, match="make an ImprovedDb in each process"):
        pickle.dumps(db)


#: Options that other pools have, or values that do not fit.
OPTIONS: list[tuple[dict[str, Any], str]] = [
    ({"pool_size": 3}, "max_size"),
    ({"maxsize": 3}, "max_size"),
    ({"maxconnections": 3}, "max_size"),
    ({"max_connections": 3}, "max_size"),
    ({"pool_recycle": 3}, "max_lifetime"),
    ({"pool_timeout": 3}, "acquire_timeout"),
    ({"pool_pre_ping": True}, "ping"),
    ({"max_size": "3"}, "max_size must be an int of at least 1, not a value of type str"),
    ({"ssl_mode": "REQIRED"}, "REQUIRED"),
    ({"ssl_ca": "/no/such/file.pem"}, "ssl_ca must be the path of a file that exists"),
    ({"ssl_cert": "/no/such/file.pem"}, "ssl_cert must be the path of a file that exists"),
]


@pytest.mark.parametrize(("options", "says"), OPTIONS)
def test_an_option_of_another_library_leads_to_ours(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        ImprovedDb(host="db.invalid", **options)
    assert says in str(caught.value)


def test_a_row_that_the_server_refuses_is_narrowed_down(db: ImprovedDb) -> None:
    rows = [(1, "a", 1.0), (2, "b", 2.0), (100, "c", 3.0)]
    with pytest.raises(pymysql.err.IntegrityError) as caught:
        db.exec_many(INSERT, rows)
    assert caught.value.args[0] == 1062
    assert "rows 1 to 3" in str(caught.value.args[1])


def test_rows_left_uncommitted_are_told_of(database: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="improved_db")
    with ImprovedDb(database, autocommit=False) as db:
        db.execute_query("create table kept (a int)")
        with db.connection() as connection:
            connection.query("insert into kept values (1)")
        assert db.fetch_value("select count(*) from kept") == 0
    assert "rolled back" in caplog.text


def test_a_wait_for_a_lock_of_the_own_thread_is_named(db: ImprovedDb) -> None:
    with db.transaction() as tx:
        tx.execute_query("update pets set weight = 1 where id = 100")
        with pytest.raises(pymysql.err.MySQLError) as caught:
            db.execute_query("update pets set weight = 2 where id = 100", timeout=0.3)
        assert "this thread holds another connection" in str(caught.value)
        assert not isinstance(caught.value, PoolError)


def test_a_server_that_no_source_has_named_is_told_of(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A refused connection to localhost is a riddle to those who have set a variable with another name."""
    for name in ("IMPROVED_DB_URL", "DATABASE_URL", *VARIABLES):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with ImprovedDb(port=port, retry=None) as db, pytest.raises(pymysql.err.OperationalError) as caught:
        db.execute_query("select 1")
    assert caught.value.args[0] == 2003
    assert "no config and no host was given, IMPROVED_DB_URL, DATABASE_URL and MYSQL_HOST are not set" in str(
        caught.value
    )
    with (
        ImprovedDb(host="127.0.0.1", port=port, retry=None) as db,
        pytest.raises(pymysql.err.OperationalError) as caught,
    ):
        db.execute_query("select 1")
    assert "no config" not in str(caught.value)
