"""Queries that aiosql loads from files, on the verbs of this package."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, NamedTuple

import pymysql
import pytest

from improved_db import ImprovedDb, StatementError
from improved_db.aio import AsyncImprovedDb
from tests.fakes import Caller

aiosql = pytest.importorskip("aiosql")

import improved_db.aiosql  # noqa: E402  # it needs aiosql

if TYPE_CHECKING:
    from collections.abc import Iterator

SCRIPT = """
-- name: create_tables#
create table pets (id int auto_increment primary key, name varchar(20)); -- one; two
insert into pets (name) values ('semi;colon'), ('100%');

-- name: by_name(name)
-- All pets that are called so.
select id, name from pets where name = :name order by id

-- name: all_names()
select name from pets where name like '%' order by id

-- name: one(id)^
select id, name from pets where id = :id and name like '%'

-- name: how_many()$
select count(*) from pets

-- name: rename(id, name)!
update pets set name = :name where id = :id

-- name: add_many(name)*!
insert into pets (name) values (:name)

-- name: add(name)<!
insert into pets (name) values (:name)

-- name: add_returning(name)<!
insert into pets (name) values (:name) returning concat(name, '!') as shout

-- name: endless(id)$
select sleep(100) from pets where id = :id
"""


class Pet(NamedTuple):
    """A row."""

    id: int
    name: str


@pytest.fixture
def db(database: dict[str, Any]) -> Iterator[ImprovedDb]:
    """A database with what the script creates."""
    with ImprovedDb(database, max_size=2) as made:
        aiosql.from_str(SCRIPT, "improved_db").create_tables(made)
        yield made


def test_each_kind_of_query_returns_what_aiosql_says(db: ImprovedDb) -> None:
    """On the database, and in a transaction of the caller's."""
    queries = aiosql.from_str(SCRIPT, "improved_db")
    assert queries.all_names(db) == (("semi;colon",), ("100%",))
    assert queries.by_name(db, name="100%") == ((2, "100%"),)
    assert (queries.one(db, id=1), queries.one(db, id=9)) == ((1, "semi;colon"), None)
    assert queries.how_many(db) == 2
    with db.transaction() as tx:
        assert queries.rename(tx, id=1, name="cat") == 1
        assert queries.add_many(tx, [{"name": "dog"}, {"name": "cow"}]) == 2
        assert queries.add(tx, name="%s") == 5
    with queries.all_names_cursor(db) as rows:
        assert [name for (name,) in rows] == ["cat", "100%", "dog", "cow", "%s"]


@pytest.mark.needs("RETURNING")
def test_returning_gives_its_value(db: ImprovedDb) -> None:
    """Only MariaDB has it."""
    assert aiosql.from_str(SCRIPT, "improved_db").add_returning(db, name="cat") == "cat!"


def test_rows_are_of_the_class_that_the_program_names(db: ImprovedDb) -> None:
    """For all queries of a file."""
    queries = aiosql.from_str(SCRIPT, "improved_db", kwargs={"row_type": Pet})
    assert queries.by_name(db, name="100%") == (Pet(2, "100%"),)
    assert queries.one(db, id=2).name == "100%"


def test_coroutines_have_the_same_queries(db: ImprovedDb, database: dict[str, Any]) -> None:
    """With the adapter for them."""
    queries = aiosql.from_str(SCRIPT, "improved_db_aio", kwargs={"row_type": Pet})

    async def main() -> None:
        async with AsyncImprovedDb(database, max_size=1) as pool:
            assert [row async for row in queries.by_name(pool, name="100%")] == [Pet(2, "100%")]
            assert await queries.one(pool, id=1) == Pet(1, "semi;colon")
            assert await queries.how_many(pool) == 2
            async with pool.transaction() as tx:
                assert await queries.rename(tx, id=1, name="cat") == 1
                assert await queries.add_many(tx, [{"name": "dog"}, {"name": "cow"}]) == 2
                assert await queries.add(tx, name="%s") == 5
            async with queries.all_names_cursor(pool) as rows:
                assert [name async for (name,) in rows] == ["cat", "100%", "dog", "cow", "%s"]
            await aiosql.from_str("-- name: drop#\ndrop table pets;", "improved_db_aio").drop(pool)

    asyncio.run(main())
    assert db.fetch_column("show tables like 'pets'") == []


def test_logs_call_a_statement_by_its_name(
    db: ImprovedDb, database: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """A name says more than the beginning of a long statement; here one whose session is killed, so it is retried."""
    queries = aiosql.from_str(SCRIPT, "improved_db")
    with ImprovedDb(database) as other:
        caller = Caller(lambda: queries.endless(db, id=1))
        first = running(other, 0)
        other.execute_query("kill %s", first)
        other.execute_query("kill query %s", running(other, first))
        with contextlib.suppress(pymysql.err.MySQLError):
            caller.result()
    assert [record.message for record in caplog.records if " at endless" in record.message] != []


def test_statistics_call_a_statement_by_its_name(db: ImprovedDb) -> None:
    """So does the slow-query log, and a trace."""
    queries = aiosql.from_str(SCRIPT, "improved_db")
    queries.by_name(db, name="cat")
    queries.rename(db, id=1, name="cow")
    assert {statement.summary for statement in db.statements()} >= {"by_name", "rename"}


def running(other: ImprovedDb, before: int) -> int:
    """Return the session that runs the endless query, once there is one; not the one *before*."""
    query = "select id from information_schema.processlist where info like 'select sleep(100)%' and db = database()"
    while not (found := [number for number in other.fetch_column(query) if number != before]):
        pass
    return int(found[0])


def test_a_script_that_is_not_clear_is_refused_before_it_runs() -> None:
    """Half a script is worse than none; a body of a procedure, for example, has semicolons of its own."""
    with pytest.raises(StatementError, match="the script is not clear at"):
        list(improved_db.aiosql.statements_of("create table t (n int); select 'it\\'s'"))
