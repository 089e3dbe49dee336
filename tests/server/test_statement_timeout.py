"""`StatementTimeout`: one class for every limit of time, which says which limit it was."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pymysql.err
import pytest

from improved_db import ImprovedDb, StatementTimeout, TransactionLost, VerdictError

if TYPE_CHECKING:
    from collections.abc import Iterator

SLOW = "select count(*) from information_schema.tables a, information_schema.columns b, information_schema.columns c"
SLEEP = "select sleep(20)"


@pytest.fixture(name="db")
def _db(database: dict[str, Any]) -> Iterator[ImprovedDb]:
    with ImprovedDb(database, max_size=2, retry=None) as db:
        db.execute_query("create table notes (id int primary key)")
        yield db


def is_a_timeout(error: BaseException, says: str) -> bool:
    """Say whether *error* is caught by every clause that is written for it, and names its limit."""
    kinds = (StatementTimeout, TimeoutError, pymysql.err.OperationalError, VerdictError)
    return all(isinstance(error, kind) for kind in kinds) and says in str(error)


@pytest.mark.parametrize("query", [SLEEP, SLOW])
def test_the_timeout_of_a_statement_is_named(db: ImprovedDb, query: str) -> None:
    with pytest.raises(StatementTimeout) as caught:
        db.execute_query(query, timeout=0.2)
    assert is_a_timeout(caught.value, "timeout=0.2 s had passed")
    assert caught.value.args[0] in {1317, 1969, 2013, 3024}
    assert db.execute_query("select 1") == ((1,),)


def test_a_write_that_the_watchdog_ends_is_named(db: ImprovedDb) -> None:
    """The limits of the servers are not for CREATE."""
    with pytest.raises(StatementTimeout) as caught:
        db.execute_query("create table copies as select sleep(20) as waited", timeout=0.2)
    assert is_a_timeout(caught.value, "timeout=0.2 s had passed")


def test_the_deadline_of_a_call_is_named(database: dict[str, Any]) -> None:
    with ImprovedDb(database, deadline=0.4) as db:
        db.ping()
        with pytest.raises(StatementTimeout) as caught:
            db.execute_query(SLEEP)
        assert is_a_timeout(caught.value, "the deadline of the call had passed")
        with pytest.raises(StatementTimeout) as caught:
            db.execute_query(SLEEP, timeout=0.1)
        assert is_a_timeout(caught.value, "timeout=0.1 s had passed")


def test_a_limit_of_the_server_is_named(database: dict[str, Any]) -> None:
    def configure(connection: Any) -> None:
        with connection.cursor() as cursor:
            try:
                cursor.execute("set max_statement_time = 0.2")
            except pymysql.err.OperationalError:
                cursor.execute("set max_execution_time = 200")

    with ImprovedDb(database, configure=configure, retry=None) as db, pytest.raises(StatementTimeout) as caught:
        db.execute_query(SLOW)
    assert is_a_timeout(caught.value, "the server's max_")


def test_a_statement_of_a_transaction_that_times_out_leaves_the_transaction_open(db: ImprovedDb) -> None:
    with db.transaction() as tx:
        tx.execute_query("insert into notes values (1)")
        with pytest.raises(StatementTimeout, match=r"timeout=0\.2 s"):
            tx.execute_query(SLEEP, timeout=0.2)
        tx.execute_query("insert into notes values (2)")
    assert db.fetch_column("select id from notes order by id") == [1, 2]


def test_a_timeout_in_run_transaction_reaches_the_caller(db: ImprovedDb) -> None:
    with pytest.raises(StatementTimeout, match=r"timeout=0\.2 s"):
        db.run_transaction(lambda tx: tx.execute_query(SLEEP, timeout=0.2))
    assert db.stats().used == 0


def test_a_deadline_in_a_transaction_is_told_as_such_or_as_its_loss(database: dict[str, Any]) -> None:
    with ImprovedDb(database, deadline=0.4) as db:
        db.ping()
        with pytest.raises((StatementTimeout, TransactionLost)), db.transaction() as tx:
            tx.execute_query(SLEEP)


def test_a_stream_that_does_not_begin_in_time_says_so_and_is_not_begun_again(database: dict[str, Any]) -> None:
    """Begun again, it took the same time, and a `timeout` of a fifth of a second took half a minute."""
    with ImprovedDb(database) as db, pytest.raises(StatementTimeout) as caught, db.stream(SLEEP, timeout=0.2):
        pass
    assert is_a_timeout(caught.value, "timeout=0.2 s had passed")
    assert db.stats().retries == {}
    with (
        ImprovedDb(database, deadline=0.4) as db,
        pytest.raises(StatementTimeout) as caught,
        db.stream(SLEEP, timeout=5),
    ):
        pass
    assert is_a_timeout(caught.value, "the deadline of the call had passed")


def test_a_batch_that_does_not_come_in_time_says_so(db: ImprovedDb) -> None:
    rows = "select repeat('x', 99999), sleep(if(a.a = 1, 0, 20)) from (select 1 a union all select 2) a"
    with db.stream(rows, batch_size=1, timeout=0.2) as stream, pytest.raises(StatementTimeout) as caught:
        for _ in stream:
            pass
    assert is_a_timeout(caught.value, "timeout=0.2 s had passed")
    assert db.execute_query("select 1") == ((1,),)


def test_a_stream_in_a_transaction_that_times_out_names_its_limit(db: ImprovedDb) -> None:
    with (
        pytest.raises(TransactionLost, match=r"timeout=0\.2 s had passed; the session ended before COMMIT"),
        db.transaction() as tx,
        tx.stream(SLEEP, timeout=0.2),
    ):
        pass
