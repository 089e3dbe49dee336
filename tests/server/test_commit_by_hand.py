"""`tx.commit()` and `tx.rollback()` in the block of a transaction: they end it, and the block leaves quietly."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from improved_db import ImprovedDb, StatementError, TransactionEnded, TransactionRolledBack

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(name="db")
def _db(database: dict[str, Any]) -> Iterator[ImprovedDb]:
    with ImprovedDb(database, max_size=2) as db:
        db.execute_query("create table notes (id int primary key)")
        yield db


def notes(db: ImprovedDb) -> list[int]:
    return db.fetch_column("select id from notes order by id")


def test_commit_ends_the_transaction_and_the_block_leaves_quietly(db: ImprovedDb) -> None:
    called: list[str] = []
    with db.transaction() as tx:
        tx.execute_query("insert into notes values (1)")
        tx.on_commit(lambda: called.append("committed"))
        tx.commit()
        assert notes(db) == [1]
    assert notes(db) == [1]
    assert called == ["committed"]


def test_rollback_ends_the_transaction_and_the_block_leaves_quietly(db: ImprovedDb) -> None:
    called: list[str] = []
    with db.transaction() as tx:
        tx.execute_query("insert into notes values (1)")
        tx.on_commit(lambda: called.append("committed"))
        tx.rollback()
        tx.rollback()
    assert notes(db) == []
    assert called == []
    assert db.stats().used == 0


@pytest.mark.parametrize(("end", "kind"), [("commit", TransactionEnded), ("rollback", TransactionRolledBack)])
def test_statements_after_the_end_are_refused(db: ImprovedDb, end: str, kind: type[Exception]) -> None:
    """They would commit by themselves."""
    with db.transaction() as tx:
        tx.execute_query("insert into notes values (1)")
        getattr(tx, end)()
        with pytest.raises(kind):
            tx.execute_query("insert into notes values (2)")
        with pytest.raises(kind):
            tx.on_commit(lambda: None)
    assert 2 not in notes(db)


def test_an_error_after_commit_does_not_undo_it(db: ImprovedDb) -> None:
    called: list[str] = []
    with pytest.raises(KeyError), db.transaction() as tx:  # noqa: PT012
        tx.execute_query("insert into notes values (1)")
        tx.on_commit(lambda: called.append("committed"))
        tx.commit()
        raise KeyError("mine")
    assert notes(db) == [1]
    assert called == ["committed"]


def test_commit_after_rollback_is_an_error_and_so_is_rollback_after_commit(db: ImprovedDb) -> None:
    with db.transaction() as tx:
        tx.rollback()
        with pytest.raises(TransactionRolledBack):
            tx.commit()
    with db.transaction() as tx:
        tx.commit()
        with pytest.raises(TransactionEnded):
            tx.rollback()
        with pytest.raises(TransactionEnded):
            tx.commit()


def test_rollback_after_the_server_rolled_back_leaves_quietly(db: ImprovedDb) -> None:
    """What one writes in an except clause, whatever the error was."""
    with db.transaction() as tx:
        tx.execute_query("insert into notes values (1)")
        tx.execute_query("rollback")
        tx.rollback()
    assert notes(db) == []


def test_both_work_inside_a_savepoint(db: ImprovedDb) -> None:
    with db.transaction() as tx:
        tx.execute_query("insert into notes values (1)")
        with tx.savepoint():
            tx.execute_query("insert into notes values (2)")
            tx.commit()
    assert notes(db) == [1, 2]
    with db.transaction() as tx:
        tx.execute_query("insert into notes values (3)")
        with tx.savepoint():
            tx.rollback()
    assert notes(db) == [1, 2]


def test_run_transaction_commits_by_itself_and_refuses_a_commit_by_hand(db: ImprovedDb) -> None:
    """A retry after it would do the work twice."""

    def work(tx: Any) -> None:
        tx.execute_query("insert into notes values (1)")
        tx.commit()

    with pytest.raises(StatementError, match="run_transaction commits when the function returns"):
        db.run_transaction(work)
    assert notes(db) == []


def test_run_transaction_may_roll_back_by_hand(db: ImprovedDb) -> None:
    def work(tx: Any) -> str:
        tx.execute_query("insert into notes values (1)")
        tx.rollback()
        return "nothing done"

    assert db.run_transaction(work) == "nothing done"
    assert notes(db) == []


def test_a_coroutine_that_a_function_returns_is_refused_and_rolled_back(db: ImprovedDb) -> None:
    async def later() -> None:
        """Do nothing."""

    def work(tx: Any) -> object:
        tx.execute_query("insert into notes values (1)")
        return later()

    with pytest.raises(StatementError, match="returned a coroutine"):
        db.run_transaction(work)
    assert notes(db) == []
