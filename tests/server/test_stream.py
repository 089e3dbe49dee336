"""Streaming: rows as they come, and a way out that does not read the rest."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import pymysql.err
import pytest

from improved_db import ImprovedDb, StatementError

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(name="db")
def _db(database: dict[str, Any]) -> Iterator[ImprovedDb]:
    with ImprovedDb(database, max_size=2) as db:
        db.execute_query("create table numbers (n int primary key, name varchar(20))")
        db.exec_many("insert into numbers values (%s, %s)", ((n, f"name {n}") for n in range(5000)))
        yield db


def test_stream_gives_every_row_in_order(db: ImprovedDb) -> None:
    """Batches must neither lose nor repeat a row at their seams."""
    with db.stream("select n from numbers order by n", batch_size=7) as rows:
        assert [row[0] for row in rows] == list(range(5000))


def test_streamed_rows_are_those_of_execute_query(db: ImprovedDb) -> None:
    """Streaming is a way to read, not another result."""
    query = "select * from numbers where n < %s order by n"
    for dictcursor in (False, True):
        with db.stream(query, 100, dictcursor=dictcursor) as rows:
            assert rows.columns == ("n", "name")
            assert tuple(rows) == db.execute_query(query, 100, dictcursor=dictcursor)


def test_stream_read_to_its_end_keeps_its_connection(db: ImprovedDb) -> None:
    """A finished result leaves nothing on the wire."""
    before = db.stats().opened
    for _ in range(3):
        with db.stream("select * from numbers") as rows:
            assert sum(1 for _ in rows) == 5000
    assert db.stats().opened == before
    assert db.stats().discarded == {}


def test_leaving_early_does_not_drain(db: ImprovedDb) -> None:
    """If the caller wanted three rows, the rest of a billion must not be read; the connection goes, the slot stays."""
    with db.stream("select a.n from numbers a, numbers b, numbers c") as rows:
        for _, _row in zip(range(3), rows, strict=False):
            pass
    stats = db.stats()
    assert stats.discarded == {"unread": 1}
    assert stats.used == 0
    assert db.execute_query("select count(*) from numbers", return_one=True) == (5000,)


def test_exception_in_the_block_costs_at_most_the_connection(db: ImprovedDb) -> None:
    """The caller's own error reaches it, and the pool is as large as before."""
    with pytest.raises(KeyError), db.stream("select * from numbers") as rows:  # noqa: PT012
        next(iter(rows))
        raise KeyError("mine")
    assert db.stats().used == 0
    assert db.execute_query("select 1") == ((1,),)


def test_an_interrupt_in_the_block_ends_the_statement_on_the_server(db: ImprovedDb) -> None:
    """After Ctrl-C the program may end; the server would notice that it is gone when it next has rows to send."""
    rows = "select if(n = 2, benchmark(1e12, 1), 0), repeat('x', 100000) from numbers order by n"
    with pytest.raises(KeyboardInterrupt), db.stream(rows, batch_size=1) as stream:  # noqa: PT012
        stream.batch()
        raise KeyboardInterrupt
    asked = "select count(*) from information_schema.processlist where info like 'select if(n = 2%' and db = database()"
    while db.fetch_value(asked):  # without KILL it would go on for hours
        pass


def test_error_before_the_first_row_is_the_servers(db: ImprovedDb) -> None:
    """A statement that does not start is an ordinary error, and the connection lives."""
    with pytest.raises(pymysql.err.ProgrammingError), db.stream("select * from nowhere"):
        pytest.fail("there is nothing to stream")
    assert db.stats().discarded == {}


def test_killed_stream_raises_and_is_not_retried(db: ImprovedDb) -> None:
    """Rows that were handed on cannot be taken back, so nothing is run again."""
    with db.stream("select connection_id() from numbers a, numbers b") as rows:
        first = next(iter(rows))
        db.execute_query(f"kill {int(first[0])}")
        with pytest.raises(pymysql.err.OperationalError):
            list(rows)
    assert db.stats().retries == {}
    assert db.stats().used == 0


def test_statement_without_rows_streams_nothing(db: ImprovedDb) -> None:
    """An UPDATE has no rows to give."""
    with db.stream("update numbers set name = 'x' where n = 1") as rows:
        assert rows.columns == ()
        assert list(rows) == []
    assert db.execute_query("select name from numbers where n = 1") == (("x",),)


@pytest.mark.parametrize("where", ["pool", "transaction"])
def test_a_stream_read_after_its_block_takes_no_rows_of_another(database: dict[str, Any], where: str) -> None:
    """The connection is another caller's by then, and an empty list would look like a result without rows."""
    with ImprovedDb(database, max_size=1) as db, contextlib.ExitStack() as stack:
        one = db if where == "pool" else stack.enter_context(db.transaction())
        with one.stream("select 1 as n") as early:
            assert list(early) == [(1,)]
        with one.stream("select 2 as n union all select 3") as rows:
            with pytest.raises(StatementError, match="the block of the stream has ended"):
                early.batch()
            assert early.columns == ("n",)
            assert list(rows) == [(2,), (3,)]
        with pytest.raises(StatementError, match="the block of the stream has ended"):
            list(rows)
        assert one.fetch_value("select 4") == 4
