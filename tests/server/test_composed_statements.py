"""Every verb takes `SQL` in place of a str, and no value or name in it is ever read as SQL."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from improved_db import SQL, Identifier, ImprovedDb, StatementError

if TYPE_CHECKING:
    from collections.abc import Iterator

#: A column that no plain text can name, and a value that would end its quotes.
ODD, EVIL = "a `100%` name", "x' or '1%s' = '1"
COLUMNS = SQL(", ").join([Identifier("id"), Identifier(ODD)])
ALL = SQL("select {} from pets order by id").format(COLUMNS)
MINE = SQL("select {} from pets where {:i} = {}").format(COLUMNS, ODD, EVIL)
ROWS = ((1, EVIL), (2, "50%"))


@pytest.fixture
def db(database: dict[str, Any]) -> Iterator[ImprovedDb]:
    """A table with the column and the value."""
    with ImprovedDb(database, max_size=2) as made:
        made.execute_query(SQL("create table pets (id int, {} varchar(30))").format(Identifier(ODD)))
        made.exec_many(SQL("insert into pets ({}) values (%s, %s)").format(COLUMNS), ROWS)
        yield made


def test_the_verbs_of_the_pool_take_it(db: ImprovedDb) -> None:
    """Statements with names that come from outside are needed everywhere."""
    assert db.execute_query(ALL) == db.execute_query(query=ALL) == ROWS
    assert db.execute_query(MINE, return_one=True, dictcursor=True) == {"id": 1, ODD: EVIL}
    assert db.execute_query_multiplex(MINE) == db.fetch_all(MINE) == ROWS[:1]
    assert (db.fetch_one(MINE), db.fetch_value(MINE), db.fetch_column(ALL)) == (ROWS[0], 1, [1, 2])
    with db.stream(MINE) as rows:
        assert list(rows) == [ROWS[0]]
    with db.pipeline() as pipe:
        handle = pipe.execute_query(MINE)
    assert handle.result() == ROWS[:1]
    named = SQL("select id from pets where {} = %s").format(Identifier(ODD))
    assert list(db.execute_each(named, [EVIL, "50%"])) == [((1,),), ((2,),)]
    added = SQL("insert into {:i} values (%(id)s, %(name)s)").format("pets")
    db.execute_query(added, [{"id": 3, "name": "%"}], exec_many=True)
    assert db.fetch_value("select count(*) from pets where id = 3") == 1


def test_the_verbs_of_a_transaction_take_it(db: ImprovedDb) -> None:
    """And so does the form on a connection of the caller's."""
    with db.transaction() as tx:
        tx.exec_many(SQL("insert into {} values (%s, %s)").format(Identifier("pets")), [(3, "c")])
        assert tx.execute_query(MINE) == tx.fetch_all(MINE) == ROWS[:1]
        with tx.stream(ALL) as rows:
            assert list(rows) == [*ROWS, (3, "c")]
        with tx.pipeline() as pipe:
            handle = pipe.execute_query(MINE)
        assert handle.result() == ROWS[:1]
    with db.connection() as connection:
        assert db.execute_query(connection, MINE) == ROWS[:1]
        db.execute_query(connection, SQL("insert into pets values (%s, {})").format(SQL("'d'")), [(4,)], exec_many=True)
    assert db.fetch_column("select id from pets order by id") == [1, 2, 3, 4]


def test_what_is_no_statement_is_refused_by_every_verb(db: ImprovedDb) -> None:
    """With one text, before anything is sent."""
    wrong: Any = b"select 1"
    with db.transaction() as tx:
        for verb in (db.fetch_all, db.fetch_value, tx.execute_query, tx.fetch_all, db.stream, tx.stream):
            with pytest.raises(StatementError, match="the statement must be a str, SQL or a t-string, not a bytes"):
                verb(wrong)
        for many in (db.exec_many, tx.exec_many):
            with pytest.raises(StatementError, match="must be a str, SQL or a t-string, not a bytes"):
                many(wrong, [])
