"""A stream in a transaction: rows as they come, and a transaction that goes on afterwards."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pymysql.err
import pytest

from improved_db import ImprovedDb, StatementError, TransactionLost, TransactionRolledBack

if TYPE_CHECKING:
    from collections.abc import Iterator

ENDLESS = "select a.n from numbers a, numbers b, numbers c"


@pytest.fixture(name="db")
def _db(database: dict[str, Any]) -> Iterator[ImprovedDb]:
    with ImprovedDb(database, max_size=3) as db:
        db.execute_query("create table numbers (n int primary key, name varchar(20))")
        db.exec_many("insert into numbers values (%s, %s)", ((n, f"name {n}") for n in range(3000)))
        db.execute_query("create table notes (id int auto_increment primary key, text varchar(20))")
        yield db


def test_a_stream_sees_the_rows_of_its_own_transaction(db: ImprovedDb) -> None:
    with db.transaction() as tx:
        tx.execute_query("insert into notes (text) values ('a'), ('b')")
        with tx.stream("select text from notes order by id", dictcursor=True) as rows:
            assert list(rows) == [{"text": "a"}, {"text": "b"}]
        tx.execute_query("insert into notes (text) values ('c')")
    assert db.fetch_column("select text from notes order by id") == ["a", "b", "c"]


def test_a_stream_of_many_batches_loses_no_row(db: ImprovedDb) -> None:
    with db.transaction() as tx, tx.stream("select n from numbers order by n", batch_size=7) as rows:
        assert [row[0] for row in rows] == list(range(3000))


def test_a_block_that_ends_early_leaves_the_transaction_open(db: ImprovedDb) -> None:
    """27 billion rows: the statement has to be ended on the server."""
    with db.transaction() as tx:
        session = tx.fetch_value("select connection_id()")
        tx.execute_query("insert into notes (text) values ('before')")
        with tx.stream(ENDLESS) as rows:
            assert next(iter(rows)) is not None
        assert tx.fetch_value("select connection_id()") == session
        tx.execute_query("insert into notes (text) values ('after')")
    assert db.fetch_column("select text from notes order by id") == ["before", "after"]


def test_an_error_in_the_block_rolls_the_transaction_back(db: ImprovedDb) -> None:
    with pytest.raises(KeyError), db.transaction() as tx:  # noqa: PT012
        tx.execute_query("insert into notes (text) values ('x')")
        with tx.stream(ENDLESS) as rows:
            next(iter(rows))
            raise KeyError("mine")
    assert db.fetch_column("select text from notes") == []
    assert db.stats().used == 0


def test_other_statements_are_refused_while_a_stream_is_open(db: ImprovedDb) -> None:
    with db.transaction() as tx:
        tx.execute_query("insert into notes (text) values ('kept')")
        with tx.stream("select n from numbers") as rows:
            next(iter(rows))
            for verb in (tx.execute_query, tx.fetch_all, tx.fetch_value):
                with pytest.raises(StatementError, match="stream of this transaction is still open"):
                    verb("select 1")
            with pytest.raises(StatementError, match="still open"), tx.stream("select 1"):
                pass
        assert tx.execute_query("select 1") == ((1,),)
    assert db.fetch_column("select text from notes") == ["kept"]


def test_a_lost_session_is_a_lost_transaction(db: ImprovedDb) -> None:
    with pytest.raises(TransactionLost), db.transaction() as tx:  # noqa: PT012
        session = tx.fetch_value("select connection_id()")
        with tx.stream(ENDLESS) as rows:
            next(iter(rows))
            db.execute_query(f"kill {session}")
            for _ in rows:
                pass
    assert db.execute_query("select 1") == ((1,),)


def test_a_statement_that_does_not_start_leaves_the_transaction_open(db: ImprovedDb) -> None:
    with db.transaction() as tx:
        tx.execute_query("insert into notes (text) values ('kept')")
        with pytest.raises(pymysql.err.ProgrammingError), tx.stream("select nothing from nowhere"):
            pass
    assert db.fetch_column("select text from notes") == ["kept"]


def test_a_stream_after_a_rollback_by_the_server_is_refused(db: ImprovedDb) -> None:
    with pytest.raises(TransactionRolledBack), db.transaction() as tx:  # noqa: PT012
        tx.execute_query("rollback")
        with tx.stream("select 1"):
            pass


def test_run_transaction_may_stream(db: ImprovedDb) -> None:
    def work(tx: Any) -> int:
        with tx.stream("select n from numbers") as rows:
            total = sum(row[0] for row in rows)
        tx.execute_query("insert into notes (text) values (%s)", str(total))
        return int(total)

    assert db.run_transaction(work) == sum(range(3000))
    assert db.fetch_value("select text from notes") == str(sum(range(3000)))


def test_arrow_batches_in_a_transaction(db: ImprovedDb) -> None:
    pytest.importorskip("pyarrow")
    with db.transaction() as tx:
        tx.execute_query("insert into notes (text) values ('a')")
        with tx.stream_arrow("select n from numbers order by n", batch_size=500) as reader:
            assert reader.read_all().column("n").to_pylist() == list(range(3000))
        assert tx.fetch_arrow("select text from notes").column("text").to_pylist() == ["a"]
