"""A log filter of the program's that raises: what has happened stays what it was."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest

from improved_db import ImprovedDb
from tests.fakes import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from improved_db import Transaction


class Refusing(logging.Filter):
    """A filter with a fault, which counts its records."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def filter(self, record: logging.LogRecord) -> bool:
        """Fail on each record."""
        self.seen.append(record.getMessage())
        raise RuntimeError("this filter has a fault")


@pytest.fixture
def refusing() -> Iterator[Refusing]:
    """A filter on every logger of the package that says something of calls and connections."""
    found = Refusing()
    loggers = [logging.getLogger(f"improved_db.{name}") for name in ("pool", "retry", "transaction")]
    for each in loggers:
        each.addFilter(found)
    yield found
    for each in loggers:
        each.removeFilter(found)


@pytest.fixture
def db(database: dict[str, Any]) -> Iterator[ImprovedDb]:
    """A pool on an empty table."""
    with ImprovedDb(database, max_size=2) as made:
        made.execute_query("create table t (id int primary key)")
        yield made


def test_a_transaction_that_an_alter_has_committed_leaves_quietly(db: ImprovedDb, refusing: Refusing) -> None:
    """Nothing is left to commit, and the warning about it is lost."""
    with db.transaction() as tx:
        tx.execute_query("insert into t values (1)")
        tx.execute_query("alter table t add column name int")
    assert db.fetch_column("select id from t") == [1]
    assert any("implicitly" in text for text in refusing.seen)


def test_the_error_of_a_callback_is_the_callbacks(db: ImprovedDb, refusing: Refusing) -> None:
    """The transaction is committed, and the other callback runs."""
    told = []

    def fail() -> None:
        raise LookupError("mine")

    def add() -> None:
        with db.transaction() as tx:
            tx.execute_query("insert into t values (1)")
            tx.on_commit(fail)
            tx.on_commit(lambda: told.append("committed"))

    with pytest.raises(LookupError, match="mine"):
        add()
    assert told == ["committed"]
    assert any("on_commit" in text for text in refusing.seen)


def test_a_retry_is_made_although_it_cannot_be_logged(db: ImprovedDb, refusing: Refusing) -> None:
    """A deadlock is retried, and no error of the filter takes its place."""
    runs = []

    def add(tx: Transaction) -> None:
        runs.append(tx)
        if len(runs) == 1:
            tx.execute_query("signal sqlstate '40001' set mysql_errno = 1213, message_text = 'deadlock'")
        tx.execute_query("insert into t values (1)")

    db.run_transaction(add)
    assert db.fetch_column("select id from t") == [1]
    assert any("retrying" in text for text in refusing.seen)


def test_a_connection_that_was_held_for_long_is_returned(database: dict[str, Any], refusing: Refusing) -> None:
    """Neither the report of the loan nor the one of its return keeps the slot."""
    with ImprovedDb(database, max_size=1, leak_warn_after=0.01) as db:
        with db.connection():
            eventually(lambda: db.stats().leaks == 1)
        assert db.stats().used == 0
        assert db.fetch_value("select 1") == 1
    assert any("held for too long" in text for text in refusing.seen)
