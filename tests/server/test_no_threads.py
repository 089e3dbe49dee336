"""A system that starts no further thread: the caller gets an error of the pool's, and later a connection."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest
from pymysql.err import MySQLError

from improved_db import ImprovedDb, PoolError

if TYPE_CHECKING:
    from collections.abc import Iterator

#: ER_QUERY_INTERRUPTED.
INTERRUPTED = 1317

#: Bytes that no system has for the stack of a thread.
TOO_MUCH = 1 << 46


@pytest.fixture
def no_threads() -> Iterator[None]:
    """No thread can be started."""
    before = threading.stack_size(TOO_MUCH)
    try:
        with pytest.raises(RuntimeError, match="can't start new thread"):
            threading.Thread(target=str).start()
        yield
    finally:
        threading.stack_size(before)


def test_a_thread_that_cannot_be_started_is_an_error_of_the_pool(database: dict[str, Any], no_threads: None) -> None:
    """A program that catches the package's errors was ended by a RuntimeError."""
    with ImprovedDb(database) as db:
        with pytest.raises(PoolError, match="can't start new thread"):
            db.execute_query("select 1")
        with pytest.raises(PoolError, match="can't start new thread"):
            db.pool_get_connection()
        threading.stack_size(0)
        assert db.execute_query("select 1") == ((1,),)


def test_a_statement_whose_time_is_over_is_ended_without_a_thread(database: dict[str, Any]) -> None:
    """KILL goes out from the caller's own thread then."""
    with ImprovedDb(database) as db:
        db.execute_query("select 1")
        before = threading.stack_size(TOO_MUCH)
        try:
            with pytest.raises(MySQLError) as caught:
                db.execute_query("create table slow select sleep(60) as n", timeout=0.2)
        finally:
            threading.stack_size(before)
        assert caught.value.args[0] == INTERRUPTED
        assert db.stats().discarded == {}
