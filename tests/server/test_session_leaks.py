"""What one borrower did to its session does not reach the next one, on a real server and one slot."""

from __future__ import annotations

from typing import Any

import pymysql
import pytest

from improved_db import ImprovedDb


@pytest.mark.parametrize(
    "change",
    [
        "create  temporary table pets (a int)",
        "create\ntemporary table pets (a int)",
        pytest.param("create or replace temporary table pets (a int)", marks=pytest.mark.needs("create or replace")),
    ],
)
def test_a_temporary_table_does_not_take_the_next_borrowers_rows(database: dict[str, Any], change: str) -> None:
    """However its statement is spaced."""
    with ImprovedDb(database, max_size=1) as db:
        db.execute_query("create table pets (a int)")
        with db.connection() as connection:
            connection._run(change)
        db.execute_query("insert into pets values (1)")
        with pymysql.connect(**database, ssl_disabled=True) as other, other.cursor() as cursor:
            cursor.execute("select count(*) from pets")
            assert cursor.fetchone() == (1,)


@pytest.mark.parametrize(
    "change",
    [
        "select @a:=1",
        "select 1 into @a",
        "call changer()",
        pytest.param("execute immediate 'set @a = 1'", marks=pytest.mark.needs("execute immediate")),
        pytest.param("begin not atomic set @a = 1; end", marks=pytest.mark.needs("blocks without a procedure")),
        "/*! set @a = 1 */",
    ],
)
def test_a_user_variable_does_not_reach_the_next_borrower(database: dict[str, Any], change: str) -> None:
    """By whatever statement it was set."""
    with ImprovedDb(database, max_size=1) as db:
        db.execute_query("create procedure changer() set @a = 1")
        with db.connection() as connection:
            connection._run(change)
        assert db.execute_query("select @a") == ((None,),)


def test_a_named_lock_is_free_once_its_borrower_gave_the_connection_back(database: dict[str, Any]) -> None:
    """Another session asks for it."""
    with ImprovedDb(database, max_size=1) as db:
        with db.connection() as connection:
            connection._run("select Get_Lock('session_leaks', 0)")
        with pymysql.connect(**database, ssl_disabled=True) as other, other.cursor() as cursor:
            cursor.execute("select is_free_lock('session_leaks')")
            assert cursor.fetchone() == (1,)


def test_the_global_read_lock_ends_with_its_borrower(database: dict[str, Any]) -> None:
    """Another session writes."""
    with ImprovedDb(database, max_size=1) as db:
        db.execute_query("create table pets (a int)")
        with db.connection() as connection:
            connection._run("flush tables with read lock")
        with pymysql.connect(**database, ssl_disabled=True, read_timeout=10) as other, other.cursor() as cursor:
            cursor.execute("set lock_wait_timeout = 2")
            assert cursor.execute("insert into pets values (1)") == 1


def test_a_leading_comment_costs_no_reset_of_the_session(database: dict[str, Any]) -> None:
    """The server counts resets as admin commands."""
    with ImprovedDb(database, max_size=1) as db:
        db.execute_query("select 1")
        query = "/* who asks */ show global status like 'Com_admin_commands'"
        before = db.execute_query(query)
        assert db.execute_query(query) == before
