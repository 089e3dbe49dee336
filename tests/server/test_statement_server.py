"""What `improved_db.sql.statement` says of SQL texts, held against the server that is installed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pymysql
import pytest

from improved_db.failures.verdict import flavour_of
from improved_db.sql.statement import READ_ONLY_FUNCTIONS, is_read_only, with_time_limit

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pymysql.connections import Connection
    from pymysql.cursors import Cursor

NO_SUCH_FUNCTION = {1128, 1305, 1630}


@pytest.fixture
def connection(database: dict[str, Any]) -> Iterator[Connection[Cursor]]:
    """A session on an empty database with the table ``t``."""
    with pymysql.connect(**database, ssl_disabled=True, autocommit=True) as connection:
        run(connection, "create table t (a int auto_increment primary key, b int) engine=innodb")
        yield connection


def run(connection: Connection[Cursor], query: str) -> tuple[tuple[Any, ...], ...]:
    """Run one statement and return its rows."""
    with connection.cursor() as cursor:
        cursor.execute(query)
        return tuple(cursor.fetchall())


def error_of(connection: Connection[Cursor], query: str) -> int:
    """Run one statement and return the number of its error, or 0."""
    try:
        run(connection, query)
    except pymysql.err.MySQLError as error:
        return int(error.args[0])
    return 0


def limited(connection: Connection[Cursor], query: str, seconds: float) -> str:
    """Return *query* as this server limits it; skip the test where it does not."""
    version = run(connection, "select version()")[0][0]
    numbers = tuple(int(part) for part in version.split("-")[0].split("."))
    text = with_time_limit(query, seconds, flavour_of(version), numbers)
    if text is None:
        pytest.skip(f"{version} has no limit for this")
    return text


def test_every_known_function_is_built_in(connection: Connection[Cursor]) -> None:
    """A name that the server does not know may be a stored function's, which may do anything."""
    arguments = [", ".join("1" * count) for count in range(8)]
    unknown = [
        name
        for name in sorted(READ_ONLY_FUNCTIONS)
        if any(error_of(connection, f"select {name}({given})") in NO_SUCH_FUNCTION for given in arguments)
    ]
    assert unknown == []


@pytest.mark.parametrize("mode", ["", "ansi_quotes", "no_backslash_escapes", "ansi_quotes,no_backslash_escapes"])
@pytest.mark.parametrize(
    "query",
    [
        "select touch()",
        "select touch ()",
        "select `touch`()",
        'select "touch"()',
        "select {schema}.touch()",
        "select {schema} . touch ()",
        "select now ()",
        "select now/* */()",
        "select {schema}.abs()",
        "select 1 %stouch()",
        "select {{fn touch()}}",
        "select '\\', touch(), '1'",
        "select '\\'', touch(), '1'",
        'select "\\", touch(), "1"',
        "select 1 /*! , touch() */",
        "select 1 --touch()",
        "select 1 -- \n , touch()",
        "select * from (select touch()) x (a)",
        "with c (a) as (select touch()) select * from c",
        "select row_number() over (order by touch())",
    ],
)
def test_a_read_calls_no_stored_function(
    connection: Connection[Cursor], database: dict[str, Any], query: str, mode: str
) -> None:
    """Every way past the tokens that we could think of, under every way of reading quotes."""
    for name in ("touch", "now", "abs", "stouch"):
        run(connection, f"create function `{name}`() returns int begin set @touched = 1; return 1; end")
    query = query.format(schema=database["database"])
    run(connection, f"set sql_mode = '{mode}'")
    error_of(connection, query)
    touched = run(connection, "select @touched") == ((1,),)
    assert not (touched and is_read_only(query))


@pytest.mark.parametrize(
    "query",
    [
        "select sleep(60) from seq_1_to_3",
        "/* c */ select sleep(60) from seq_1_to_3;",
        "(select sleep(60))",
        "with c as (select sleep(60)) select * from c",
        "insert into t (b) select sleep(60)",
        "insert into t (b) values (sleep(60))",
        "replace into t (b) values (sleep(60))",
        "update t set b = sleep(60)",
        "delete from t where sleep(60)",
    ],
)
def test_the_server_stops_a_statement_at_its_limit(connection: Connection[Cursor], query: str) -> None:
    """The session survives, and what the statement did is undone."""
    run(connection, "insert into t (b) values (5)")
    error = error_of(connection, limited(connection, query, 0.05))
    assert error in {1969, 3024}
    assert run(connection, "select b from t") == ((5,),)


def test_a_limit_changes_nothing_about_the_answer(connection: Connection[Cursor]) -> None:
    """Rows, counts and generated keys are the same with and without a limit."""
    assert run(connection, limited(connection, "select 1 union select 2", 60.0)) == ((1,), (2,))
    with connection.cursor() as cursor:
        assert cursor.execute(limited(connection, "insert into t (b) values (%s), (%s)", 60.0), (7, 8)) == 2
        assert cursor.lastrowid == 1
    assert run(connection, "select b from t") == ((7,), (8,))
    assert run(connection, "select @@max_statement_time") == ((0.0,),)
