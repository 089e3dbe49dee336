"""`@db.transactional`: a function whose every call is a transaction, retried as a whole where that is safe."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import pytest
from pymysql.err import OperationalError

from improved_db import ImprovedDb, StatementError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from improved_db import Transaction


@pytest.fixture(name="db")
def _db(database: dict[str, Any]) -> Iterator[ImprovedDb]:
    with ImprovedDb(database, max_size=2) as db:
        db.execute_query("create table t (id int primary key, n int) engine = InnoDB")
        db.execute_query("insert into t values (1, 0)")
        yield db


def add(tx: Transaction, amount: int, *, to: int = 1) -> int:
    """Add to a row, and return what is in it."""
    tx.execute_query("update t set n = n + %s where id = %s", (amount, to))
    return int(tx.fetch_value("select n from t where id = %s", to))


class Ledger:
    """What has methods that are transactions."""

    def __init__(self, db: ImprovedDb) -> None:
        self.start = 100

        class Inner(Ledger):
            @db.transactional
            def add(self, tx: Transaction, amount: int) -> int:
                return add(tx, self.start + amount)

            @classmethod
            @db.transactional
            def of(cls, tx: Transaction, amount: int) -> tuple[str, int]:
                return cls.__name__, add(tx, amount)

            @staticmethod
            @db.transactional(read_only=True)
            def value(tx: Transaction, key: int) -> int:
                return int(tx.fetch_value("select n from t where id = %s", key))

        self.inner = Inner


def test_a_call_commits_and_returns_what_the_function_returned(db: ImprovedDb) -> None:
    decorated = db.transactional(add)
    assert (decorated(3), decorated(4, to=1)) == (3, 7)
    assert db.fetch_value("select n from t") == 7


def test_an_error_rolls_back_and_is_raised_as_it_is(db: ImprovedDb) -> None:
    @db.transactional
    def fail(tx: Transaction) -> None:
        add(tx, 1)
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        fail()
    assert db.fetch_value("select n from t") == 0


def test_after_a_deadlock_the_whole_function_runs_again(db: ImprovedDb) -> None:
    """A deadlock is the caller's own business everywhere else."""
    calls: list[Transaction] = []

    @db.transactional(isolation="read committed")
    def work(tx: Transaction) -> int:
        calls.append(tx)
        total = add(tx, 1)
        if len(calls) == 1:
            tx.execute_query("signal sqlstate '40001' set mysql_errno = 1213, message_text = 'deadlock'")
        return total

    assert work() == 1
    assert len(calls) == 2
    assert calls[0] is not calls[1]
    assert db.fetch_value("select n from t") == 1


def test_in_methods_tx_comes_after_self_or_cls(db: ImprovedDb) -> None:
    """The same decorator, wherever a program keeps its functions."""
    kind = Ledger(db).inner
    ledger = kind.__new__(kind)
    ledger.start = 100
    assert ledger.add(1) == 101
    assert kind.add(ledger, 1) == 202
    assert kind.of(8) == ledger.of(0) == ("Inner", 210)
    assert ledger.value(1) == kind.value(1) == 210


def test_options_are_those_of_run_transaction(db: ImprovedDb) -> None:
    with pytest.raises(OperationalError, match="READ ONLY"):
        db.transactional(read_only=True)(add)(1)
    assert db.transactional(exactly_once=True)(add)(5) == 5
    assert db.fetch_value("select count(*) from improved_db_outcomes") == 1


def test_a_keyword_of_the_function_may_have_the_name_of_an_option(db: ImprovedDb) -> None:
    @db.transactional
    def echo(tx: Transaction, isolation: str, *, read_only: str, fn: str) -> tuple[str, str, str, int]:
        return isolation, read_only, fn, add(tx, 1)

    assert echo(isolation="a", read_only="b", fn="c") == ("a", "b", "c", 1)


def test_callers_see_the_function_without_tx(db: ImprovedDb) -> None:
    """Web frameworks take the parameters of a request from the signature."""
    decorated = db.transactional(add)
    assert str(inspect.signature(decorated)) == "(amount: 'int', *, to: 'int' = 1) -> 'int'"
    assert (decorated.__name__, decorated.__doc__) == ("add", add.__doc__)
    kind = Ledger(db).inner
    assert list(inspect.signature(kind.add).parameters) == ["self", "amount"]
    assert list(inspect.signature(kind.of).parameters) == ["amount"]


async def _later(tx: object) -> None:
    """Do nothing, later."""


def _rows(tx: Transaction) -> Iterator[int]:
    yield add(tx, 1)


#: What cannot be decorated, and words of the error.
REFUSED: list[tuple[str, Callable[[Any], object], str]] = [
    ("a coroutine function", lambda db: db.transactional(_later), "fn is a coroutine function"),
    ("a generator function", lambda db: db.transactional(read_only=True)(_rows), "fn is a generator function"),
    ("no function", lambda db: db.transactional("serializable"), "fn must be callable"),
    ("no parameter", lambda db: db.transactional(lambda: None), "must take the transaction first: def <lambda>(tx"),
    ("a keyword", lambda db: db.transactional(lambda *, tx: tx), "must take the transaction first"),
    ("a method without tx", lambda db: db.transactional(lambda self: self), "(self, tx, ...)"),
    ("a static method", lambda db: db.transactional(staticmethod(add)), "write @staticmethod above"),
    ("an invalid level", lambda db: db.transactional(isolation="chaos"), "isolation must be one of"),
]


def test_what_cannot_run_in_a_transaction_is_refused_where_it_is_decorated(db: ImprovedDb) -> None:
    wrong = []
    for mistake, attempt, says in REFUSED:
        with pytest.raises(StatementError) as caught:
            attempt(db)
        if says not in str(caught.value):
            wrong.append((mistake, str(caught.value)))
    assert wrong == []
