"""`dbapi_connection()`: what a library gets that knows DB-API connections and closes them."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any

import pandas as pd
import pymysql
import pytest
from sqlalchemy import NullPool, create_engine, text

from improved_db import ImprovedDb, LoanSpent, PoolTimeout
from tests.fakes import Caller, eventually

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(name="db")
def _db(database: dict[str, Any]) -> Iterator[ImprovedDb]:
    with ImprovedDb(database, max_size=1, acquire_timeout=5.0) as db:
        db.execute_query("create table t (n int) engine = InnoDB")
        yield db
        assert db.stats().used == 0


def session(connection: Any) -> int:
    with connection.cursor() as cursor:
        cursor.execute("select connection_id()")
        return int(cursor.fetchone()[0])


def test_close_returns_the_connection_and_the_next_borrower_gets_its_session(db: ImprovedDb) -> None:
    """Without that, each `close` of the library would cost a connect."""
    first = db.dbapi_connection()
    assert isinstance(first, pymysql.connections.Connection)
    assert db.stats().used == 1
    number = session(first)
    first.close()
    assert db.stats().used == 0
    assert db.fetch_value("select connection_id()") == number
    with pytest.raises(LoanSpent):
        first.cursor()
    with pytest.raises(LoanSpent):
        first.close()
    with closing(db.dbapi_connection()) as second:
        assert session(second) == number
        assert not first.open


def test_autocommit_is_off_as_libraries_expect_and_on_again_afterwards(db: ImprovedDb) -> None:
    """SQLAlchemy sends no BEGIN: with autocommit, its rollback would undo nothing."""
    for commit, rows in [(False, 0), (True, 1)]:
        connection = db.dbapi_connection()
        assert not connection.get_autocommit()
        with connection.cursor() as cursor:
            cursor.execute("insert into t values (1)")
        if commit:
            connection.commit()
        connection.close()
        assert db.fetch_value("select @@autocommit") == 1
        assert db.fetch_value("select count(*) from t") == rows


def test_with_autocommit_a_statement_commits_by_itself(db: ImprovedDb) -> None:
    with closing(db.dbapi_connection(autocommit=True)) as connection, connection.cursor() as cursor:
        cursor.execute("insert into t values (1)")
    assert db.fetch_value("select count(*) from t") == 1


def test_if_the_pool_has_the_wanted_autocommit_nothing_is_sent(database: dict[str, Any]) -> None:
    """A program that lives on SQLAlchemy makes its pool with autocommit=False."""
    for autocommit in (False, True):
        with ImprovedDb(database, autocommit=autocommit, max_size=1) as db:
            with closing(db.dbapi_connection(autocommit=autocommit)) as connection:
                before = questions(connection)
            for _ in range(3):
                db.dbapi_connection(autocommit=autocommit).close()
            with closing(db.dbapi_connection(autocommit=autocommit)) as connection:
                assert questions(connection) == before + 1


def questions(connection: Any) -> int:
    """Return how many statements the session has run."""
    with connection.cursor() as cursor:
        cursor.execute("show session status like 'Questions'")
        return int(cursor.fetchone()[1])


def test_a_lost_session_is_replaced_before_the_library_gets_it(database: dict[str, Any]) -> None:
    with ImprovedDb(database, max_size=1, ping_idle_after=None) as db, db.connect() as other:
        with closing(db.dbapi_connection()) as connection:
            number = session(connection)
        with other.cursor() as cursor:
            cursor.execute(f"kill {number}")
        with closing(db.dbapi_connection()) as connection:
            assert session(connection) != number


def test_a_full_pool_says_so(database: dict[str, Any]) -> None:
    with (
        ImprovedDb(database, max_size=1, acquire_timeout=0.05) as small,
        small.connection(),
        pytest.raises(PoolTimeout),
    ):
        small.dbapi_connection()


def test_sqlalchemy_and_pandas_work_on_the_pool(db: ImprovedDb) -> None:
    """Their statements and ours take turns on the same connection."""
    engine = create_engine("mysql+pymysql://", creator=db.dbapi_connection, poolclass=NullPool)
    number = db.fetch_value("select connection_id()")
    with engine.begin() as connection:
        connection.execute(text("insert into t values (:n)"), [{"n": 1}, {"n": 2}])
        assert connection.scalar(text("select connection_id()")) == number
    with engine.connect() as connection:
        connection.execute(text("insert into t values (3)"))  # and no commit
    assert db.fetch_column("select n from t order by n") == [1, 2]
    assert pd.read_sql("select n from t order by n", engine)["n"].tolist() == [1, 2]
    pd.DataFrame({"n": [7, 8]}).to_sql("t", engine, index=False, if_exists="append")
    assert db.fetch_value("select sum(n) from t") == 18
    engine.dispose()


def test_pandas_reads_from_the_connection_itself(db: ImprovedDb) -> None:
    db.execute_query("insert into t values (1), (2)")
    with closing(db.dbapi_connection()) as connection, pytest.warns(UserWarning, match="pandas only supports"):
        assert pd.read_sql("select n from t order by n", connection)["n"].tolist() == [1, 2]


def test_another_thread_can_end_a_statement_and_the_connection_goes_on(database: dict[str, Any]) -> None:
    """That is how a program cancels: it keeps the number of the session, and has the server end the statement."""
    with ImprovedDb(database, max_size=2) as db, db.connection() as connection:
        number, slow = connection.thread_id(), "select count(*) from information_schema.columns where sleep(30) = 0"
        caller = Caller(lambda: connection.query(slow))
        seen = "select count(*) from information_schema.processlist where id = %s and info like 'select count%%'"
        eventually(lambda: db.fetch_value(seen, number))
        db.execute_query("kill query %s", number)
        with pytest.raises(pymysql.err.OperationalError) as caught:
            caller.result()
        assert caught.value.args[0] in {1317, 1028}
        assert session(connection) == number
