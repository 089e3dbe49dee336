"""Arguments that cannot be written: refused by name before anything is sent, and the session goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from improved_db import ImprovedDb, StatementError

if TYPE_CHECKING:
    from collections.abc import Iterator

NAN, INF, HALF = float("nan"), float("inf"), "secret\ud800"


@pytest.fixture(name="db")
def _db(database: dict[str, Any]) -> Iterator[ImprovedDb]:
    with ImprovedDb(database, max_size=1, retry=None) as db:
        db.execute_query("create table t (a double, s varchar(50))")
        yield db


@pytest.mark.parametrize("value", [NAN, INF, -INF, HALF, {"a": 1}])
def test_a_value_that_cannot_be_written_costs_no_connection(db: ImprovedDb, value: Any) -> None:
    """The error names the parameter and does not show a text."""
    session = db.execute_query("select connection_id()")
    with pytest.raises(StatementError, match=r"parameter 2") as positional:
        db.execute_query("select %s, %s", (1, value))
    with pytest.raises(StatementError, match=r"parameter 'b'"):
        db.execute_query("select %(a)s, %(b)s", {"a": 1, "b": value})
    assert "secret" not in repr((positional.value, positional.value.__cause__, positional.value.__context__))
    assert db.execute_query("select connection_id()") == session


@pytest.mark.parametrize("value", [NAN, HALF])
def test_a_value_that_cannot_be_written_leaves_the_transaction_open(db: ImprovedDb, value: Any) -> None:
    """What was done before it is committed with what comes after it."""
    with db.transaction() as tx:
        tx.execute_query("insert into t values (1, 'a')")
        with pytest.raises(StatementError):
            tx.execute_query("insert into t values (%s, 'b')", (value,))
        with pytest.raises(StatementError):
            tx.exec_many("insert into t values (%s, %s)", [(2, "c"), (value, "d")])
        tx.execute_query("insert into t values (3, 'e')")
    assert db.execute_query("select a from t") == ((1.0,), (3.0,))


@pytest.mark.parametrize("value", [NAN, INF, HALF])
@pytest.mark.parametrize("query", ["insert into t (s) values (%s)", "update t set s = %s"])
def test_a_row_that_cannot_be_written_is_named(db: ImprovedDb, query: str, value: Any) -> None:
    """Row and parameter; nothing is in."""
    session = db.execute_query("select connection_id()")
    with pytest.raises(StatementError, match=r"row 3: .*parameter 1"):
        db.exec_many(query, [(1.0,), (2.0,), (value,)])
    assert db.execute_query("select connection_id(), (select count(*) from t)") == ((session[0][0], 0),)
