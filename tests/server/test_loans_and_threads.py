"""What a user's object has borrowed is its own as long as it lives, whatever thread borrowed it."""

from __future__ import annotations

import gc
import threading
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from improved_db import ImprovedDb

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")


@pytest.fixture
def db(database: dict[str, Any]) -> Iterator[ImprovedDb]:
    """A pool of one connection and an empty table."""
    with ImprovedDb(database, max_size=1, acquire_timeout=2.0) as made:
        made.execute_query("create table t (a int)")
        yield made


def in_a_thread_that_ends(call: Callable[[], T]) -> T:
    """Return what *call* returns in a thread, after that thread has ended."""
    results: list[T] = []
    thread = threading.Thread(target=lambda: results.append(call()))
    thread.start()
    thread.join(20)
    assert not thread.is_alive()
    return results.pop()


def try_to_borrow(db: ImprovedDb) -> None:
    """Have the pool look for connections that were lost: another borrower would have to wait."""
    with pytest.raises(TimeoutError), db.connection(timeout=0.0):
        pass


def test_a_transaction_outlives_the_thread_that_began_it(db: ImprovedDb) -> None:
    """FastAPI enters a dependency in a worker thread that may end before the request does."""
    with ExitStack() as stack:
        tx = in_a_thread_that_ends(lambda: stack.enter_context(db.transaction()))
        tx.execute_query("insert into t values (1)")
        try_to_borrow(db)
        in_a_thread_that_ends(lambda: tx.execute_query("insert into t values (2)"))
    assert db.execute_query("select a from t order by a") == ((1,), (2,))


def test_a_connection_outlives_the_thread_that_borrowed_it(db: ImprovedDb) -> None:
    """The block and the older pair of calls alike."""
    with ExitStack() as stack:
        connection = in_a_thread_that_ends(lambda: stack.enter_context(db.connection()))
        try_to_borrow(db)
        connection.cursor().execute("insert into t values (1)")
    connection = in_a_thread_that_ends(db.pool_get_connection)
    try_to_borrow(db)
    connection.cursor().execute("insert into t values (2)")
    db.pool_put_connection(connection)
    assert db.execute_query("select count(*) from t") == ((2,),)


def test_a_stream_outlives_the_thread_that_began_it(db: ImprovedDb) -> None:
    """Its rows may be read by another thread."""
    db.exec_many("insert into t values (%s)", range(1000))
    with ExitStack() as stack:
        stream = in_a_thread_that_ends(lambda: stack.enter_context(db.stream("select a from t", batch_size=10)))
        try_to_borrow(db)
        assert len(list(stream)) == 1000


def test_a_connection_whose_owner_was_collected_comes_back(db: ImprovedDb) -> None:
    """What is dropped without being given back is found when the next borrower would wait."""
    in_a_thread_that_ends(lambda: db.pool_get_connection().open)
    gc.collect()
    assert db.execute_query("select 1") == ((1,),)
    assert db.stats().lost == 1


def test_a_borrower_does_not_see_the_counts_of_the_one_before(db: ImprovedDb) -> None:
    """They are PyMySQL's attributes of the session's object, which is lent on."""
    connection: Any
    with db.connection() as connection:
        connection.cursor().execute("insert into t values (1), (2)")
        assert connection.affected_rows() == 2
    with db.connection() as connection:
        assert connection.affected_rows() == 0
        assert connection.insert_id() == 0
