"""Which reads may be answered by a replica, by their text alone."""

from __future__ import annotations

import pytest

from improved_db.sql.directing import may_be_answered_by_replica

ANYWHERE = [
    "select 1",
    "select * from pets where id = %s",
    "with old as (select * from pets) select count(*) from old",
    "(select 1) union (select 2)",
    "table pets",
    "select now()",
    "select `name` from shop.pets -- @@hostname",
    "select '@@hostname show mysql'",
]
ON_THE_PRIMARY = [
    "select * from pets for update",
    "select * from pets lock in share mode",
    "select get_lock('a', 1)",
    "select my_function(id) from pets",
    "select @seen",
    "select @@hostname",
    "select @@global.read_only, name from pets",
    "show status",
    "describe pets",
    "explain select 1",
    "select * from information_schema.tables",
    "select * from `performance_schema`.threads",
    "select * from mysql.user",
    "select version()",
    "select uuid()",
    "select sleep(1)",
    "select last_insert_id()",
    "select * from pets into outfile 'pets.txt'",
    "insert into pets values (1)",
    "select 1; select 2",
    "select '\\'' ",
]


def test_reads_of_common_data_may_go_anywhere_and_everything_else_may_not() -> None:
    """In doubt the primary answers: a statement that is sent to the wrong server gives wrong rows, and no error."""
    assert [text for text in ANYWHERE if not may_be_answered_by_replica(text)] == []
    assert [text for text in ON_THE_PRIMARY if may_be_answered_by_replica(text)] == []


@pytest.mark.parametrize("text", ["", ";", "\0", "select"])
def test_text_that_is_no_statement_stays_on_the_primary(text: str) -> None:
    """The primary's error is as good as any."""
    assert not may_be_answered_by_replica(text) or text == "select"
