"""What a borrower does to its session never reaches the next one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from improved_db import ImprovedDb

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def db(database: dict[str, Any]) -> Iterator[ImprovedDb]:
    """A pool of one session, and an empty table."""
    with ImprovedDb(database, max_size=1) as made:
        made.execute_query("create table t (a int)")
        yield made


@pytest.mark.parametrize(
    "beginning",
    [
        "create  temporary table",
        "create\ntemporary table",
        pytest.param("create or replace temporary table", marks=pytest.mark.needs("create or replace")),
    ],
)
def test_a_temporary_table_does_not_swallow_the_next_borrowers_rows(db: ImprovedDb, beginning: str) -> None:
    """The INSERT went into it, and was gone."""
    with db.connection() as connection:
        connection.cursor().execute(f"{beginning} t (a int)")
    db.execute_query("insert into t values (1)")
    with db.connect() as other, other.cursor() as cursor:
        cursor.execute("select count(*) from t")
        assert cursor.fetchall() == ((1,),)


@pytest.mark.parametrize(
    ("statement", "lock"),
    [("flush tables with read lock", "insert into t values (1)"), ("lock tables t write", "select * from t")],
)
def test_a_lock_of_tables_ends_with_the_loan(db: ImprovedDb, statement: str, lock: str) -> None:
    """One idle session kept the whole server locked."""
    with db.connection() as connection:
        connection.cursor().execute(statement)
    with db.connect() as other, other.cursor() as cursor:
        cursor.execute("set lock_wait_timeout = 5")
        cursor.execute(lock)


def test_a_lock_by_name_ends_with_the_loan(db: ImprovedDb) -> None:
    """Another program waits for it."""
    db.execute_query("select get_lock('improved_db_test', 0)")
    with db.connect() as other, other.cursor() as cursor:
        cursor.execute("select get_lock('improved_db_test', 0)")
        assert cursor.fetchall() == ((1,),)


@pytest.mark.parametrize(
    "statement",
    [
        "select @a := 7",
        "select 7 into @a",
        pytest.param("execute immediate 'set @a = 7'", marks=pytest.mark.needs("execute immediate")),
        pytest.param("begin not atomic set @a = 7; end", marks=pytest.mark.needs("blocks without a procedure")),
        "call set_a()",
        "/* a comment */ set @a = 7",
    ],
)
def test_a_user_variable_does_not_reach_the_next_borrower(db: ImprovedDb, statement: str) -> None:
    """It may hold what is not for it."""
    db.execute_query("create procedure set_a() set @a = 7")
    db.execute_query(statement)
    assert db.execute_query("select @a") == ((None,),)
