"""What people get wrong: each gets an error of a type of its own that says what to do, and the pool stays as large."""

from __future__ import annotations

import contextlib
import re
import socket
from typing import TYPE_CHECKING, Any

import pymysql
import pytest

from improved_db import (
    ConfigError,
    ImprovedDb,
    ImprovedDbError,
    LoanSpent,
    PoolClosed,
    StatementError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from improved_db.testing import TemporaryServer

SIZE = 3


@pytest.fixture
def db(database: dict[str, Any]) -> Iterator[ImprovedDb]:
    """A pool whose every connection can be had before the test, and after it."""
    with ImprovedDb(database, max_size=SIZE) as made:
        made.execute_query("create table pets (id int auto_increment primary key, name varchar(30), age int)")
        yield made
        stats = made.stats()
        assert (stats.used, stats.idle + stats.opening + stats.cold, stats.max_size) == (0, SIZE, SIZE)
        with contextlib.ExitStack() as loans:
            for _ in range(SIZE):
                loans.enter_context(made.connection(timeout=5))


@contextlib.contextmanager
def unused_port() -> Iterator[int]:
    """Give a port of this machine on which no process listens, now or later."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


# --- settings --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"antocomit": True}, "did you mean 'autocommit'?"),
        ({"hots": "db"}, "did you mean 'host'?"),
        ({"max_szie": 3}, "did you mean 'max_size'?"),
        ({"max_size": 0}, "max_size must be an int of at least 1, not 0"),
        ({"min_size": 4, "max_size": 3}, "min_size must not be more than max_size"),
        ({"acquire_timeout": "3"}, "acquire_timeout must be seconds"),
        ({"port": "3306"}, "port must be an int"),
        ({"retry": "yes"}, "retry must be a RetryPolicy, a tenacity.Retrying or None"),
        ({"reset": "never"}, "reset must be 'rollback', 'session' or a callable"),
        ({"host": "mysql://db/shop"}, "give a URL as the config"),
    ],
)
def test_an_invalid_option_is_refused_with_what_is_valid(options: dict[str, Any], says: str) -> None:
    """It is found where it is written, not when the first connection is opened, and the text has the right one."""
    with pytest.raises(ConfigError) as caught:
        ImprovedDb({}, **options)
    assert says in str(caught.value)
    with pytest.raises(ConfigError):
        ImprovedDb(options)


@pytest.mark.parametrize(
    "url",
    [
        "db.example.com",
        "mysql//app:topsecret@db.example.com/shop",
        "postgres://app:topsecret@db.example.com/shop",
        "mysql://app:topsecret@db.example.com:port/shop",
        "mysql://app:topsecret@db.example.com:99999/shop",
        "mysql://app:topsecret@db.example.com/shop?chraset=utf8mb4",
        "mysql://app:topsecret@db.example.com/shop?connect_timeout=soon",
        "mysql://app:topsecret@db.example.com/shop/table",
        "",
    ],
)
def test_a_malformed_url(url: str) -> None:
    """The text says what a URL looks like, or which part is wrong, and never has the password in it."""
    with pytest.raises(ConfigError) as caught:
        ImprovedDb(url)
    assert "URL" in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("config", [42, {"mysql://db/shop"}, b"mysql://db/shop", object()])
def test_a_config_of_the_wrong_type(config: Any) -> None:
    """The text has the types that can be given."""
    with pytest.raises(ConfigError, match="config must be a dict of options, a URL or a list of servers, not "):
        ImprovedDb(config)


# --- servers ---------------------------------------------------------------------------------------------------------


def refusal(db: ImprovedDb) -> pymysql.err.OperationalError:
    """Return the error of the first query, after which no place of the pool is taken."""
    with pytest.raises(pymysql.err.OperationalError) as caught:
        db.execute_query("select 1")
    stats = db.stats()
    assert (stats.used, stats.waiting, stats.cold + stats.opening) == (0, 0, SIZE)
    return caught.value


def test_no_server_listening() -> None:
    """An address that never answered is a mistake: no minute of retries before the program says so."""
    with unused_port() as port, ImprovedDb(host="127.0.0.1", port=port, max_size=SIZE) as db:
        error = refusal(db)
        assert error.args[0] == 2003
        assert "127.0.0.1" in str(error)
        assert "refused" in str(error)
        assert db.stats().retries == {}


def test_no_socket_there() -> None:
    """The same for a local server."""
    with ImprovedDb(unix_socket="/nowhere/mysqld.sock", max_size=SIZE) as db:
        error = refusal(db)
        assert error.args[0] in {2002, 2003}


def test_wrong_password(server: TemporaryServer, database: dict[str, Any]) -> None:
    """A retry cannot make it right, and some servers lock the account."""
    with ImprovedDb(database) as owner:
        owner.execute_query("create user gate identified by 'right'")
        try:
            with ImprovedDb({**database, "user": "gate", "password": "topsecret"}, max_size=SIZE) as db:
                error = refusal(db)
                assert error.args[0] == 1045
                assert "gate" in str(error)
                assert "topsecret" not in str(error)
                assert db.stats().open_errors == 1
        finally:
            owner.execute_query("drop user gate")


def test_unknown_database(database: dict[str, Any]) -> None:
    """The server's own words name it."""
    with ImprovedDb({**database, "database": "shpo"}, max_size=SIZE) as db:
        error = refusal(db)
        assert error.args[0] == 1049
        assert "shpo" in str(error)


# --- statements ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dictcursor", [False, True])
def test_return_one_of_nothing_is_none(db: ImprovedDb, dictcursor: bool) -> None:
    """Not an IndexError, and not an empty tuple that unpacks into something else."""
    assert db.execute_query("select * from pets", dictcursor=dictcursor, return_one=True) is None
    assert db.execute_query("insert into pets (name) values ('x')", dictcursor=dictcursor, return_one=True) is None


@pytest.mark.parametrize(
    ("query", "args"),
    [
        ("select %s, %s", (1,)),
        ("select %s", (1, 2)),
        ("select 1", (1,)),
        ("select %s, %s", 1),
        ("select %(a)s", {"b": 1}),
        ("select %(a)s", (1,)),
        ("select %d", ("x",)),
        ("select '100%' = %s", (1,)),
    ],
)
def test_args_that_do_not_fit(db: ImprovedDb, query: str, args: object) -> None:
    """Nothing is sent, and the text says how placeholders are written."""
    with pytest.raises(StatementError) as caught:
        db.execute_query(query, args)
    assert re.search(
        r"places? \(%s\), and args has|placeholders are|args has no 'a'|pass a dict|is written %%", str(caught.value)
    )
    with pytest.raises(StatementError), db.connection() as connection:
        db.execute_query(connection, query, args)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {"a": 1}])
def test_a_value_that_sql_does_not_have(db: ImprovedDb, value: object) -> None:
    """A NaN that arrives as 0, or as text, is found much later."""
    with pytest.raises(pymysql.err.ProgrammingError):
        db.execute_query("select %s", (value,))
    with pytest.raises(pymysql.err.ProgrammingError):
        db.exec_many("insert into pets (age) values (%s)", [(1,), (value,)])
    assert db.execute_query("select count(*) from pets") == ((0,),)


def test_a_connection_that_is_not_ours(db: ImprovedDb, database: dict[str, Any]) -> None:
    """PyMySQL's own does not know what state it is in; the text says where ours come from."""
    with pymysql.connect(**database, ssl_disabled=True) as foreign, pytest.raises(StatementError) as caught:
        db.execute_query(foreign, "select 1")  # type: ignore[call-overload]  # that is the mistake
    assert "connect() or connection()" in str(caught.value)


@pytest.mark.parametrize("query", [None, 42, b"select 1", ["select 1"]])
def test_a_statement_that_is_none(db: ImprovedDb, query: Any) -> None:
    """``execute_query`` takes two forms; the text names both."""
    with pytest.raises(StatementError, match="takes a statement, or a connection"):
        db.execute_query(query, "select 1")


# --- rows ------------------------------------------------------------------------------------------------------------

INSERT = "insert into pets (name, age) values (%s, %s)"


@pytest.mark.parametrize("rows", ["ab", b"ab", bytearray(b"ab"), {"name": "a", "age": 1}, 42, None])
def test_something_else_where_rows_are_expected(db: ImprovedDb, rows: Any) -> None:
    """A string is iterable, and each of its letters would be a row."""
    with pytest.raises(StatementError) as caught:
        db.exec_many(INSERT, rows)
    assert f"not a {type(rows).__name__}" in str(caught.value)
    with pytest.raises(StatementError):
        db.execute_query(INSERT, rows, exec_many=True)
    assert db.execute_query("select * from pets") == ()


@pytest.mark.parametrize("odd", [("x",), ("x", 1, 2), 5, "x", None])
@pytest.mark.parametrize("place", [0, 700])
def test_a_row_of_another_length(db: ImprovedDb, odd: Any, place: int) -> None:
    """The text has the row's number, and no row is in: neither those before it nor those after it."""
    rows: list[Any] = [("a", 1)] * 1000
    rows[place] = odd
    with pytest.raises(StatementError, match=f"row {place + 1}\\b"):
        db.exec_many(INSERT, rows)
    assert db.execute_query("select count(*) from pets") == ((0,),)


def test_an_empty_row(db: ImprovedDb) -> None:
    """For ``execute_query`` no args mean that there are no placeholders; for a row they are missing."""
    with pytest.raises(StatementError):
        db.exec_many(INSERT, [("a", 1), ()])
    assert db.execute_query("select count(*) from pets") == ((0,),)


def test_a_row_without_a_key(db: ImprovedDb) -> None:
    """The same for mappings: the text has the key and the row's number."""
    rows = [{"name": "a", "age": 1}, {"name": "b"}]
    with pytest.raises(StatementError, match=r"row 2\b.*age"):
        db.exec_many("insert into pets (name, age) values (%(name)s, %(age)s)", rows)


# --- connections -----------------------------------------------------------------------------------------------------


def test_a_connection_given_back_twice(db: ImprovedDb) -> None:
    """The second time it may already be another borrower's."""
    connection = db.pool_get_connection()
    db.pool_put_connection(connection)
    with db.connection() as others:
        with pytest.raises(LoanSpent, match="returned before"):
            db.pool_put_connection(connection)
        assert others.open
        assert db.stats().used == 1


def test_a_connection_given_to_another_pool(db: ImprovedDb, database: dict[str, Any]) -> None:
    """It would be one too many there, with another's settings, and one too few here."""
    with ImprovedDb(database) as other, db.connection() as connection:
        with pytest.raises(LoanSpent, match="not from this pool"):
            other.pool_put_connection(connection)
        assert connection.open
        assert other.stats().size == 0


def test_a_connection_of_the_callers_own_given_to_the_pool(db: ImprovedDb) -> None:
    """``connect()`` and ``pool_get_connection()`` are easily mixed up; the text says what to do instead."""
    with db.connect() as connection:
        with pytest.raises(LoanSpent, match=r"if connect\(\) opened it, close\(\) it"):
            db.pool_put_connection(connection)
        with pytest.raises(LoanSpent):
            db.execute_query_multiplex(connection, "select 1")


@pytest.mark.parametrize(
    "use",
    [
        lambda connection: connection.query("select 1"),
        lambda connection: connection.commit(),
        lambda connection: connection.cursor().execute("select 1"),
        lambda connection: connection._run("select 1"),
    ],
)
def test_a_connection_used_after_its_return(db: ImprovedDb, use: Callable[[Any], object]) -> None:
    """Its statement would land in the middle of another borrower's transaction."""
    with db.connection() as connection:
        pass
    with db.connection() as others:
        with pytest.raises(LoanSpent, match="borrow another"):
            use(connection)
        with pytest.raises(LoanSpent, match="borrow another"):
            db.execute_query(connection, "select 1")
        assert db.execute_query(others, "select 1") == ((1,),)


# --- the end ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "use",
    [
        lambda db: db.execute_query("select 1"),
        lambda db: db.execute_query_multiplex("select 1"),
        lambda db: db.exec_many(INSERT, [("a", 1)]),
        lambda db: db.pool_get_connection(),
        lambda db: db.connection().__enter__(),
        lambda db: db.create_pool(),
        lambda db: db.resize(5),
        lambda db: db.drain(),
        lambda db: db.wait(1),
        lambda db: db.ping(),
    ],
)
def test_use_after_close(database: dict[str, Any], use: Callable[[ImprovedDb], object]) -> None:
    """It would open connections that are never closed."""
    db = ImprovedDb(database, max_size=SIZE)
    db.execute_query("select 1")
    db.close()
    with pytest.raises(PoolClosed, match="closed"):
        use(db)
    db.close()
    assert db.stats().size == 0


@pytest.mark.parametrize("kind", [ConfigError, StatementError, LoanSpent, PoolClosed])
def test_all_of_these_are_caught_by_one_clause(kind: type[Exception]) -> None:
    """Who wants to know only that it was this package can."""
    assert issubclass(kind, ImprovedDbError)
