"""Which statements leave their session as it was: the table of the cautious answers."""

from __future__ import annotations

import pytest

from improved_db.sql.session_state import touches

KEEPS = [
    "select 1", "SELECT a FROM t WHERE mail = 'someone@example.org'", "insert into t values ('a@b', \"c@d\")",
    "select `odd@name` from t", "with x as (select 1) select * from x", "(select 1) union (select 2)",
    "/* nightly */ select 1", "-- a comment\nselect 1", "# a comment\nupdate t set a = 1", "select @@version",
    "update t set is_locked = 1", "begin", "BEGIN WORK", "start transaction", "commit", "rollback to savepoint x",
    "savepoint x", "release savepoint x", "create table t (a int)", "create or replace view v as select 1",
    "drop temporary table t", "alter table t add b int", "truncate t", "show tables", "explain select 1",
    "SET STATEMENT max_statement_time=1.5 FOR select a from t where m = 'a@b'", "load data infile 'x' into table t",
    "set statement max_statement_time=1 for select 1",
]  # fmt: skip
TOUCHES = [
    "create temporary table t (a int)", "create  temporary table t (a int)", "create\ntemporary\ttable t (a int)",
    "create or replace temporary table t (a int)", "CREATE /* x */ TEMPORARY TABLE t (a int)",
    "flush tables with read lock", "lock tables t read", "select get_lock('x', 0)", "select GET_LOCK ('x', 0)",
    "select Get_Lock('x', 0)", "select release_all_locks()", "select @a := 1", "select 1 into @a", "set @a = 1",
    "insert into t values (@a := 1)", "call p()", "execute immediate 'set @a = 1'", "execute s", "prepare s from 'x'",
    "begin not atomic set @a = 1; end", "use other", "set names utf8", "handler t open", "xa start 'x'", "do sleep(0)",
    "/*!50000 set @a = 1 */", "/*!set*/ x", "select 'a\\' @a := 1 , '",
    "set statement max_statement_time=1 for call p()",
    "SET STATEMENT max_statement_time=1 FOR select @a := 1", "", "select 1; set @a = 1 /* @ */",
    "select '" + "x" * 10_000 + "@'",
]  # fmt: skip


@pytest.mark.parametrize("statement", KEEPS)
def test_a_plain_statement_leaves_the_session_as_it_was(statement: str) -> None:
    """A session that is made new for nothing costs a round trip."""
    assert not touches(statement.encode(), "utf8")


@pytest.mark.parametrize("statement", TOUCHES)
def test_whatever_may_change_the_session_touches_it(statement: str) -> None:
    """What it leaves behind would reach the next borrower."""
    assert touches(statement.encode(), "utf8")


def test_a_charset_with_ascii_bytes_inside_its_characters_is_in_doubt() -> None:
    """In gbk the second byte of a character may be an at sign or a backtick."""
    assert touches("select 'a@b'".encode("gbk"), "gbk")
    assert not touches("select 'a'".encode("gbk"), "gbk")
