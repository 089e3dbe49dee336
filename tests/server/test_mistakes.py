"""What programmers write by mistake, and the sentence each of them gets: what is wrong, and what to write instead."""

from __future__ import annotations

import asyncio
import datetime as dt
import enum
import pickle
import socket
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pymysql.err
import pytest

from improved_db import (
    SQL,
    ConfigError,
    Identifier,
    ImprovedDb,
    LoanSpent,
    PoolClosed,
    PoolError,
    PoolTimeout,
    RetryPolicy,
    RowNotFound,
    StatementError,
    TransactionEnded,
)
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


def _yielding(tx: object) -> Iterator[object]:
    yield tx


class _Color(enum.Enum):
    """Constants of a program."""

    RED = 1


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
    (
        "rows by name without exec_many",
        lambda db: db.execute_query("insert into pets (id) values (%(id)s)", [{"id": 1}]),
        "args is a list of rows: use exec_many",
    ),
    (
        "a list for a JSON column",
        lambda db: db.execute_query("insert into pets (id, name) values (%s, %s)", (1, ["a"])),
        "a list is for IN alone (parameter 2); for a JSON column pass json.dumps(value)",
    ),
    (
        "a list for a JSON column, by name",
        lambda db: db.execute_query("update pets set name = %(name)s", {"name": ["a"]}),
        "a list is for IN alone (parameter 'name')",
    ),
    (
        "a list for a JSON column in a row",
        lambda db: db.exec_many(INSERT, [(1, "a", 1.0), (2, ["b"], 1.0)]),
        "row 2: a list is for IN alone (parameter 2)",
    ),
    (
        "quotes around a text",
        lambda db: db.execute_query("select * from pets where name = '%s'", ("Rex",)),
        "write no quotes around a placeholder (parameter 1)",
    ),
    (
        "quotes around a text, by name",
        lambda db: db.execute_query('select * from pets where name = "%(n)s"', {"n": "Rex"}),
        "write no quotes around a placeholder (parameter 'n')",
    ),
    (
        "quotes around a single value",
        lambda db: db.execute_query("select * from pets where name = '%s'", " or 1=1 -- "),
        "write no quotes around a placeholder (parameter 1)",
    ),
    (
        "quotes around the second value",
        lambda db: db.execute_query("select * from pets where id = '%s' and name = '%s'", (100, "Rex")),
        "write no quotes around a placeholder (parameter 2)",
    ),
    (
        "quotes around NULL",
        lambda db: db.execute_query("select * from pets where name = '%s'", (None,)),
        "write no quotes around a placeholder (parameter 1)",
    ),
    (
        "percent signs of LIKE in the statement",
        lambda db: db.execute_query("select * from pets where name like '%%%s%%'", ("Rex",)),
        "the signs of LIKE belong to the value",
    ),
    (
        "a column as a value of ORDER BY",
        lambda db: db.execute_query("select id from pets order by name, %s desc limit 1", ("weight",)),
        "a text is a constant to ORDER BY and GROUP BY (parameter 1): SQL(...).format(Identifier(name))",
    ),
    (
        "a column as a value of GROUP BY, by name",
        lambda db: db.execute_query("select count(*) from pets group by %(c)s", {"c": "name"}),
        "a text is a constant to ORDER BY and GROUP BY (parameter 'c')",
    ),
    (
        "a text in a comment",
        lambda db: db.execute_query("select 1 /* %s */", ("*/ from pets /*",)),
        "write no quotes around a placeholder (parameter 1), and put none into a comment",
    ),
    (
        "quotes in exec_many",
        lambda db: db.exec_many("insert into pets (id, name) values (%s, '%s')", [(1, "a")]),
        "row 1: write no quotes around a placeholder (parameter 2)",
    ),
    (
        "question marks in exec_many",
        lambda db: db.exec_many("insert into pets (id, name) values (?, ?)", [(1, "a")]),
        "row 1 has 2 values, and the statement has 0 places; placeholders are %s or %(name)s",
    ),
    (
        "rows that are generators",
        lambda db: db.exec_many(INSERT, [iter((1, "a", 1.0))]),
        "row 1 is a tuple_iterator, and no sequence of values",
    ),
    (
        "exec_many of a WITH",
        lambda db: db.exec_many("with a as (select 1) select * from a where 1 = %s", [(1,)]),
        "exec_many discards results",
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
    ("an Enum", lambda db: db.execute_query("select %s", (_Color.RED,)), "no literal for a value of type _Color"),
    ("pandas' NaT", lambda db: db.execute_query("select %s", (pd.NaT,)), "no literal for a value of type NaTType"),
    ("pandas' NA", lambda db: db.execute_query("select %s", (pd.NA,)), "no literal for a value of type NAType"),
    ("numpy's nan", lambda db: db.execute_query("select %s", (np.float64("nan"),)), "pass None for NULL"),
    ("a generator", lambda db: db.execute_query("select %s", (iter([1]),)), "no literal for a value of type"),
    ("an array", lambda db: db.execute_query("select %s", (np.array([1]),)), "no literal for a value of type ndarray"),
    ("a function", lambda db: db.execute_query("select %s", (len,)), "no literal for a value of type builtin_function"),
    ("a class", lambda db: db.execute_query("select %s", (int,)), "no literal for a value of type type"),
    (
        "an aware datetime",
        lambda db: db.execute_query("select %s", (dt.datetime.now(dt.timezone.utc),)),
        "set the option aware_datetimes='utc' or 'session'",
    ),
    ("rows of an array", lambda db: db.exec_many(INSERT, np.ones((2, 3))), "row 1 is a ndarray: pass rows.tolist()"),
    ("a frame without the columns", lambda db: db.exec_many(INSERT, pd.DataFrame({"a": [1]})), "row 1 has 1 value"),
    ("a text as rows", lambda db: db.exec_many(INSERT, "abc"), "rows must be an iterable of rows"),
    ("None as rows", lambda db: db.exec_many(INSERT, None), "not a NoneType"),
    ("single values as rows", lambda db: db.exec_many(INSERT, [1, 2]), "row 1 has 1 value, and the statement has 3"),
    ("tokens for chunks", lambda db: db.exec_many(INSERT, [], atomic=False, exactly_once=True), "needs atomic=True"),
    ("a text as progress", lambda db: db.exec_many(INSERT, [(1, "a", 1.0)], progress="yes"), "progress must be True"),
    ("no total", lambda db: db.exec_many(INSERT, [(1, "a", 1.0)], total=-1), "total must be a number of rows"),
    ("one row for load_rows", lambda db: db.load_rows("pets", (1, "a", 1.0)), "for one row write [row]"),
    ("a dict for load_rows", lambda db: db.load_rows("pets", {"id": 1}), "for one row write [row]"),
    ("a short row for load_rows", lambda db: db.load_rows("pets", [(1,)], ["id", "name"]), "a sequence of 2 values"),
    ("a generator function", lambda db: db.run_transaction(_yielding), "fn is a generator function"),
    ("a level", lambda db: db.transaction(isolation="chaos").__enter__(), "isolation must be one of"),
    (
        "a name as row_type",
        lambda db: db.fetch_all("select 1", row_type="dict"),
        "row_type must be tuple, dict, a class",
    ),
    (
        "another library's connection",
        lambda db: db.execute_query(pymysql.connections.Connection(defer_connect=True), "select 1"),
        "a connection of improved_db and a statement",
    ),
    ("args before the statement", lambda db: db.execute_query((1,), "select %s"), "takes a statement"),
    ("an empty batch", lambda db: db.stream("select 1", batch_size=0).__enter__(), "batch_size must be at least 1"),
    ("no batches", lambda db: db.execute_each("select %s", [1], batch_size="9"), "batch_size must be at least 1"),
    ("no name", lambda _: Identifier(""), "an identifier must have characters"),
    ("a text as a limit", lambda db: db.execute_query("select 1", timeout="3"), "timeout must be a positive number"),
    ("no time at all", lambda db: db.fetch_all("select 1", timeout=0), "timeout must be a positive number"),
    ("a negative limit", lambda db: db.stream("select 1", timeout=-1).__enter__(), "timeout must be a positive"),
]


def told(attempt: Callable[[], object], kind: type[BaseException]) -> BaseException | str:
    """Return the error of a mistake, or what came instead."""
    try:
        return f"no error, but {attempt()!r}"
    except kind as error:
        return error
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def test_a_mistake_is_named_before_anything_is_sent(db: ImprovedDb) -> None:
    before = db.fetch_column("select id from pets")
    wrong = []
    for name, mistake, says in UNSENT:
        answer = told(partial(mistake, db), StatementError)
        if isinstance(answer, str) or says not in str(answer):
            wrong.append((name, str(answer)))
    assert wrong == []
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
        "one value for IN",
        lambda db: db.execute_query("select * from pets where id in %s", [1]),
        1064,
        "for IN %s put the list into a tuple: (ids,)",
    ),
    (
        "a table as a value",
        lambda db: db.execute_query("select * from %s", ("pets",)),
        1064,
        "a name of a table is no value: SQL(...).format(Identifier(name))",
    ),
    (
        "a text as a limit",
        lambda db: db.execute_query("select * from pets limit %s", ("1",)),
        1064,
        "LIMIT and OFFSET take an int, not a str",
    ),
    ("a list as a value", lambda db: db.execute_query("select %s", ([1, 2],)), 1241, "it is for IN %s alone"),
    ("places of SQL left open", lambda db: db.execute_query(SQL("select * from {}")), 1064, "filled by format()"),
    ("question marks without args", lambda db: db.execute_query("select ? from pets"), 1064, "placeholders are %s"),
]


@pytest.mark.parametrize(
    ("verb", "arguments", "text"),
    [
        ("resize", ("5",), "resize: max_size must be an int"),
        ("resize", (0,), "resize: max_size must be an int"),
        ("resize", (5, -1), "resize: min_size must be an int"),
        ("wait", ("soon",), "wait: timeout must be seconds"),
        ("wait", (-1,), "wait: timeout must be seconds"),
        ("ping", (None,), "ping: timeout must be seconds"),
        ("close", ("5",), "close: timeout must be seconds"),
        ("pool_get_connection", ("3",), "connection: timeout must be seconds"),
    ],
)
def test_a_size_or_a_time_that_is_none_is_named(
    db: ImprovedDb, verb: str, arguments: tuple[Any, ...], text: str
) -> None:
    """Before anything changes: the pool goes on as it was."""
    before = db.stats().max_size
    with pytest.raises(ConfigError, match=text):
        getattr(db, verb)(*arguments)
    assert (db.stats().max_size, db.closed) == (before, False)
    with pytest.raises(ConfigError, match="wait: role must be 'primary' or 'replica'"):
        db.wait(role="slave")  # type: ignore[arg-type]  # the mistake


@pytest.mark.parametrize("where", ["pool", "transaction"])
def test_a_hint_stands_behind_the_words_of_the_server(db: ImprovedDb, where: str) -> None:
    wrong = []
    for name, mistake, code, says in SENT:
        answer = told(
            partial(mistake if where == "pool" else partial(_in, mistake=mistake), db), pymysql.err.MySQLError
        )
        if isinstance(answer, str) or answer.args[0] != code or says not in str(answer.args[1]):
            wrong.append((name, str(answer)))
    assert wrong == []


def _in(db: Any, mistake: Callable[[Any], object]) -> object:
    with db.transaction() as tx:
        return mistake(tx)


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
    ("insert", lambda db: db.insert("pets", {}), "exec_many() one for many rows"),
    ("dispose", lambda db: db.dispose(), "close() closes the pool"),
    ("session", lambda db: db.session(), "connection() lends one"),
    ("release", lambda db: db.release(None), "pool_put_connection()"),
    ("a cursor of a transaction", lambda db: _in(db, lambda tx: tx.cursor()), "execute_query() runs a statement"),
    ("execute of a transaction", lambda db: _in(db, lambda tx: tx.execute("x")), "execute_query() runs a statement"),
    ("begin in a transaction", lambda db: _in(db, lambda tx: tx.begin()), "a part of it is a savepoint()"),
    ("a savepoint without with", lambda db: _in(db, lambda tx: tx.savepoint().commit()), "with tx.savepoint()"),
    ("a connection without with", lambda db: db.connection().cursor(), "with db.connection() as connection"),
    (
        "a stream of Arrow without with",
        lambda db: db.stream_arrow("select 1").read_all(),
        "with db.stream_arrow(...) as reader",
    ),
    ("a watch without with", lambda db: db.watch().check(), "with db.watch() as seen"),
    ("a pipeline without with", lambda db: db.pipeline().execute_query("select 1"), "with db.pipeline() as pipeline"),
]


def test_the_names_of_other_libraries_lead_to_ours(db: ImprovedDb) -> None:
    answers = [(name, told(partial(mistake, db), AttributeError), says) for name, mistake, says in NAMES]
    assert [row for row in answers if isinstance(row[1], str) or row[2] not in str(row[1])] == []
    assert db.stats().used == 0


def test_an_unknown_name_is_an_ordinary_attribute_error(db: ImprovedDb) -> None:
    with pytest.raises(AttributeError, match="'ImprovedDb' object has no attribute 'nonsense'"):
        db.nonsense  # type: ignore[attr-defined]  # noqa: B018


def test_a_stream_without_with_says_so(db: ImprovedDb) -> None:
    with pytest.raises(TypeError, match=r"with db\.stream"):
        list(db.stream("select 1"))  # type: ignore[call-overload]
    assert db.stats().used == 0


def test_an_asynchronous_block_leads_to_the_object_for_asyncio(db: ImprovedDb) -> None:
    async def mistake(block: Any) -> None:
        async with block:
            pass

    for block in (db.transaction(), db.connection(), db.stream("select 1")):
        with pytest.raises(TypeError, match="AsyncImprovedDb"):
            asyncio.run(mistake(block))


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
    ({"antocomit": True}, "did you mean 'autocommit'?"),
    ({"min_size": 5, "max_size": 2}, "min_size must not be more than max_size, but 5 > 2"),
    ({"acquire_timeout": -1}, "at least 0 and at most a year, not -1"),
    ({"deadline": 0}, "deadline must be seconds, more than 0"),
    ({"retry": "yes"}, "retry must be a RetryPolicy, a tenacity.Retrying or None"),
    ({"password": 5}, "a callable that returns one"),
    ({"port": "3306"}, "port must be an int from 0 to 65535"),
    ({"name": ""}, "name must be a str that is not empty"),
    ({"compress": True}, "compress is not supported"),
    ({"passwd": "a", "password": "b"}, "two spellings of 'password'"),
    ({"read_default_file": "/no/such/my.cnf"}, "the option file /no/such/my.cnf cannot be read"),
    ({"ssl_mode": True}, "ssl_mode must be DISABLED, PREFERRED"),
    ({"max_size": "3"}, "max_size must be an int of at least 1, not a value of type str"),
    ({"ssl_mode": "REQIRED"}, "REQUIRED"),
    ({"ssl_ca": "/no/such/file.pem"}, "ssl_ca must be the path of a file that exists"),
    ({"ssl_cert": "/no/such/file.pem"}, "ssl_cert must be the path of a file that exists"),
]


def test_an_option_of_another_library_or_an_invalid_value_leads_to_ours() -> None:
    answers = [(told(partial(ImprovedDb, host="db.invalid", **one), ConfigError), says) for one, says in OPTIONS]
    assert [row for row in answers if isinstance(row[0], str) or row[1] not in str(row[0])] == []


#: URLs, and other configs, that cannot be read.
CONFIGS: list[tuple[Any, str]] = [
    ("localhost", "it is not a URL. Write mysql://user:password@host:3306/database"),
    ("postgres://h/d", "it does not begin with one of mysql, mariadb"),
    ("mysql://h:x/d", "port must be an int"),
    ("mysql:///d", "it names no host"),
    ("mysql://u:p/w@h/d", "percent-encode it: urllib.parse.quote(text, safe='')"),
    ("mysql://u:p#@h/d", "percent-encode it"),
    ("mysql://u:p%zz@h/d", "for the sign itself write %25"),
    ("mysql://h/d?antocomit=1", "did you mean 'autocommit'?"),
    ("mysql://h/d?max_size=0", "max_size must be an int of at least 1"),
    (b"mysql://h", "config must be a dict of options, a URL"),
    (5, "config must be a dict of options, a URL"),
    (lambda: 5, "config() must return a dict of options"),
]


def test_a_config_that_cannot_be_read_is_refused_at_once() -> None:
    answers = [(told(partial(ImprovedDb, config), ConfigError), says) for config, says in CONFIGS]
    assert [row for row in answers if isinstance(row[0], str) or row[1] not in str(row[0])] == []


def _twice(db: Any) -> None:
    connection = db.pool_get_connection()
    db.pool_put_connection(connection)
    db.pool_put_connection(connection)


def _afterwards(db: Any) -> None:
    connection = db.pool_get_connection()
    db.pool_put_connection(connection)
    connection.cursor()


def _over(db: Any) -> None:
    with db.transaction() as tx:
        pass
    tx.execute_query("select 1")


def _full(db: Any) -> None:
    with db.connection(), db.connection(), db.connection():
        db.connection(timeout=0.05).__enter__()


def _closed(_: Any) -> None:
    other = ImprovedDb(host="db.invalid")
    other.close()
    other.execute_query("select 1")


def _reading(db: Any) -> None:
    with db.transaction(read_only=True) as tx:
        tx.execute_query("delete from pets")


def _asked(**options: Any) -> object:
    with ImprovedDb(retry=None, **options) as db:
        return db.execute_query("select 1")


#: What is wrong with the order of calls, or with an argument that is no statement's.
OTHERS: list[tuple[str, Callable[[Any], object], type[BaseException], str]] = [
    ("a connection returned twice", _twice, LoanSpent, "this connection was returned before"),
    ("a connection used after its return", _afterwards, LoanSpent, "it was returned to its pool; borrow another"),
    ("no connection returned", lambda db: db.pool_put_connection(None), LoanSpent, "not from this pool"),
    ("a transaction used after its block", _over, TransactionEnded, "this transaction is committed; begin another"),
    ("all connections held", _full, PoolTimeout, "this thread itself holds 3 of them: return one, or raise max_size"),
    ("a closed pool", _closed, PoolClosed, "is closed"),
    ("no row", lambda db: db.fetch_one("select 1 from pets where id = 0", required=True), RowNotFound, "no row"),
    (
        "a misspelt keyword",
        lambda db: db.execute_query("select 1", dictcursr=True),
        TypeError,
        "execute_query() got an",
    ),
    ("no callable", lambda db: _in(db, lambda tx: tx.on_commit(5)), StatementError, "callback must be callable"),
    ("no attempt", lambda _: RetryPolicy(attempts=0), ConfigError, "attempts must be an int of at least 1, or None"),
    ("no size", lambda db: db.resize(0), ConfigError, "max_size must be an int of at least 1, not 0"),
    ("an unknown order", lambda db: db.statements(order="x"), ConfigError, "order must be one of run, wait"),
    ("an unknown charset", lambda _: _asked(charset="utf99"), ConfigError, "such as 'utf8mb4'"),
    ("no such socket", lambda _: _asked(unix_socket="/no/such"), pymysql.err.OperationalError, "/no/such"),
    ("no such host", lambda _: _asked(host="db.invalid"), pymysql.err.OperationalError, "'db.invalid'"),
    ("no such table", lambda db: db.load_rows("pts", [(1,)]), pymysql.err.ProgrammingError, "pts' doesn't exist"),
    ("no such column", lambda db: db.execute_query("select nme from pets"), pymysql.err.OperationalError, "'nme'"),
    ("a write that only reads", _reading, pymysql.err.OperationalError, "READ ONLY transaction"),
    ("a value that is too long", lambda db: db.load_rows("pets", [(1, "abcdef", 1.0)]), StatementError, "nothing was"),
]


def test_what_is_done_at_the_wrong_time_or_with_the_wrong_thing_is_named(db: ImprovedDb) -> None:
    answers = [(name, told(partial(mistake, db), kind), says) for name, mistake, kind, says in OTHERS]
    assert [row for row in answers if isinstance(row[1], str) or row[2] not in str(row[1])] == []
    assert db.fetch_column("select id from pets") == [100]
    assert db.stats().used == 0


def test_the_table_has_at_least_as_many_mistakes_as_the_trial_of_newcomers() -> None:
    """Each was made by someone who knows Python and another library."""
    assert len(UNSENT) + len(SENT) + len(NAMES) + len(OPTIONS) + len(CONFIGS) + len(OTHERS) >= 94


def test_values_of_a_subclass_and_bytes_in_other_clothes_are_what_they_are(db: ImprovedDb) -> None:
    """Written as their `str()` they would be wrong without a word."""
    grade = enum.IntEnum("grade", {"A": 1})
    assert db.fetch_one("select %s, %s, %s", (grade.A, memoryview(b"x"), np.int64(3))) == (1, b"x", 3)


def test_a_number_may_stand_in_quotes_and_a_list_behind_in(db: ImprovedDb) -> None:
    """What cannot go wrong is not refused."""
    assert db.fetch_value("select '$[%s]' /* %s */", (2, 3)) == "$[2]"
    assert db.fetch_value("select '100%%', %s", "a's") == "100%"
    assert db.fetch_value("select date_format(%s, '%%Y %%s')", ("2026-11-27",)) == "2026 00"
    for query in ("id in %s", "id IN(%s)", "id in\n%s", "(id) in %s"):
        assert db.fetch_column(f"select id from pets where {query}", ([100],)) == [100]
    assert db.fetch_column("select id from pets where id in %(ids)s", {"ids": [100]}) == [100]
    assert db.fetch_column("select id from pets where (id, name) in %s", ([(100, "Rex")],)) == [100]
    assert db.fetch_column("select id from pets where id in %s", ([(100,)],)) == [100]
    assert db.fetch_column(SQL("select id from pets where id in {}").format([100])) == [100]
    assert db.execute_query("insert into pets (id) values %s", ([7],)).rowcount == 1
    for order in ("%s", "%s desc", "name = %s desc", "%s = name, id", "field(name, %s)", "id limit %s"):
        value = "Rex" if "name" in order else 1
        assert db.fetch_column(f"select id from pets where id = 100 order by {order}", value) == [100]
    assert db.fetch_column("select max(id) from pets group by %s", (None,)) == [100]


def test_a_statement_that_only_changes_its_session_is_told_of(db: ImprovedDb, caplog: pytest.LogCaptureFixture) -> None:
    """The next call may run on another connection; it had no effect, and said nothing."""
    for query in ("start transaction", "BEGIN", "set time_zone = '+00:00'", "use mysql", "lock tables pets write"):
        caplog.clear()
        db.execute_query(query)
        db.execute_query(query)
        assert [query.split()[0].upper() in record.getMessage() for record in caplog.records] == [True], query
    caplog.clear()
    db.execute_query("set global long_query_time = @@global.long_query_time")
    db.execute_query("delete from pets where id = 0")
    with db.connection() as connection:
        db.execute_query(connection, "set @a = 1")
    with db.transaction() as tx:
        tx.execute_query("set @a = 1")
    assert caplog.records == []


def test_a_statement_beside_the_open_transaction_is_told_of(
    database: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """`db.` where `tx.` was meant: it commits by itself, and is not rolled back with the rest."""

    def work(tx: Any, db: ImprovedDb) -> None:
        tx.fetch_value("select 1")
        db.fetch_value("select 1")

    for begin in ("block", "function"):
        caplog.clear()
        with ImprovedDb(database) as db:
            for _ in range(2):
                if begin == "block":
                    with db.transaction() as tx:
                        work(tx, db)
                else:
                    db.run_transaction(work, db)
        assert ["outside the transaction" in record.getMessage() for record in caplog.records] == [True]
    caplog.clear()
    with ImprovedDb(database) as db:
        with db.transaction() as tx, ImprovedDb(database) as other:
            tx.on_commit(lambda: db.fetch_value("select 1"))
            other.fetch_value("select 1")
            db.run_transaction(lambda inner: inner.fetch_value("select 1"))
        with pytest.raises(ZeroDivisionError), db.transaction():
            raise ZeroDivisionError
        db.fetch_value("select 1")
    assert caplog.records == []


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
