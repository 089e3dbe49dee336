"""Template strings (PEP 750): the values in them are arguments, names are quoted, templates nest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from improved_db import SQL, Identifier, ImprovedDb, StatementError
from improved_db.sql.composed import compose

if TYPE_CHECKING:
    from collections.abc import Iterator

EVIL = "x' or '1%s' = '1"


@pytest.fixture
def db(database: dict[str, Any]) -> Iterator[ImprovedDb]:
    """A table with a value that would end its quotes."""
    with ImprovedDb(database, max_size=2) as made:
        made.execute_query("create table pets (id int, name varchar(30))")
        made.exec_many("insert into pets values (%s, %s)", [(1, EVIL), (2, "50%")])
        yield made


def test_values_become_arguments_and_names_become_text() -> None:
    """The text is the same for all values."""
    uid, table, columns, most = 42, "us`er", [Identifier("a"), Identifier("b")], t"limit {3}"
    assert compose(t"select * from user where uid = {uid}") == ("select * from user where uid = %s", (42,))
    assert compose(t"select {SQL(', ').join(columns)} from {table:i} {most:q}") == (
        "select `a`, `b` from `us``er` limit %s",
        (3,),
    )
    assert compose(t"select {uid:l}, {None}, {[1, 2]} {most}")[1] == (42, None, [1, 2], 3)
    assert compose(SQL("select {}").format(t"{uid} + {1}")) == ("select %s + %s", (42, 1))
    assert compose(SQL("select ") + t"{uid}") == ("select %s", (42,))


def test_a_percent_sign_is_itself() -> None:
    """Where there are values, and where there are none; with arguments besides, the rule of a str holds."""
    assert compose(t"select 'a%' like {'%'}") == ("select 'a%%' like %s", ("%",))
    assert compose(t"select 'a%'") == ("select 'a%'", None)
    assert compose(t"insert into {'100%':i} values (%s)", [(1,)], many=True)[0] == "insert into `100%%` values (%s)"


def test_what_has_no_meaning_is_refused_with_what_to_write() -> None:
    """It is the expression that an error names, never its value."""
    uid = 42
    for statement, says in (
        (t"select {uid!r}", "{uid!r}: a value is written as it is; leave out !r"),
        (t"select {uid=}", "{uid!r}: a value is written as it is"),
        (t"select {uid:.2f}", "{uid:.2f}: after the colon only i"),
        (t"select {uid:i}", "an identifier must be a str, not a int"),
        (t"select {EVIL:q}", "{EVIL:q} must be SQL, an Identifier or a t-string, not a str"),
    ):
        with pytest.raises(StatementError) as caught:
            compose(statement)
        assert says in str(caught.value)
    with pytest.raises(StatementError, match="values in it, and arguments were given as well"):
        compose(t"select {uid}", 42)


def test_every_verb_takes_one(db: ImprovedDb) -> None:
    """No value is read as SQL on its way to the server."""
    mine = t"select id, name from {'pets':i} where name = {EVIL}"
    found = ((1, EVIL),)
    assert db.execute_query(mine) == db.fetch_all(mine) == found
    assert db.execute_query_multiplex(mine, return_one=True) == db.fetch_one(mine) == found[0]
    with db.stream(mine) as rows:
        assert list(rows) == [*found]
    with db.pipeline() as pipe:
        handle = pipe.execute_query(mine)
    assert handle.result() == found
    with db.transaction() as tx:
        tx.exec_many(t"insert into {'pets':i} values (%s, 'c')", [(3,), (4,)])
        assert tx.execute_query(mine) == tx.fetch_all(mine) == found
        assert tx.fetch_value(t"select count(*) from pets where id in {[3, 4]}") == 2
    with db.connection() as connection:
        assert db.execute_query(connection, mine) == found
