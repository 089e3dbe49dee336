"""The door of the MySQLdb QueuePool snippet: each call of its pool, over four drivers, and its bugs, not copied."""

from __future__ import annotations

import logging
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from improved_db import ConfigError, LoanSpent
from improved_db.compat.queuepool import PoolManager, QueuePool
from improved_db.errors import PoolClosed
from tests.compat.sessions import Watch, ask, session_of, tell
from tests.fakes import eventually

if TYPE_CHECKING:
    from tests.compat.drivers import Kind, MakeQueue


# --- QueuePool, call by call -----------------------------------------------------------------------------------------


def test_returned_connection_is_lent_again(kind: Kind, make_queue: MakeQueue) -> None:
    """That is what the pool is for; with sqlite3's `:memory:` one sees it by what is in the database."""
    pool = make_queue(kind.creator)
    first = pool.connect()
    tell(first, "CREATE TABLE t (i INTEGER)")
    first.commit()
    pool.return_conn(first)
    second = pool.connect()
    assert ask(second, "SELECT COUNT(*) FROM t") == 0
    assert second is not first
    pool.return_conn(second)


def test_numbers_tell_capacity_and_idle_connections(kind: Kind, make_queue: MakeQueue) -> None:
    """`size()` is what may be kept, `len()` what is idle now; nothing connects before a caller asks."""
    pool = make_queue(kind.creator, 3)
    assert (pool.size(), len(pool), pool.len(), bool(pool)) == (3, 0, 0, True)
    connections = [pool.connect() for _ in range(2)]
    assert (pool.size(), len(pool), pool.len()) == (3, 0, 0)
    for connection in connections:
        pool.return_conn(connection)
    assert (pool.size(), len(pool), pool.len()) == (3, 2, 2)


def test_sizes_are_the_snippets() -> None:
    """Programs that said nothing get what they had."""
    pool = QueuePool(lambda: sqlite3.connect(":memory:"))
    assert pool.size() == 5
    pool.dispose()


def test_close_of_a_borrowed_connection_gives_it_back(kind: Kind, make_queue: MakeQueue) -> None:
    """A program need not know that its connection is pooled."""
    pool = make_queue(kind.creator)
    pool.connect().close()
    assert len(pool) == 1


def test_closing_one_through_the_pool_ends_its_session(server_kind: Kind, make_queue: MakeQueue, watch: Watch) -> None:
    """The one call that means it."""
    pool = make_queue(server_kind.creator)
    connection = pool.connect()
    number = session_of(connection)
    pool.close(connection)
    assert len(pool) == 0
    eventually(lambda: number not in watch.sessions())


def test_clear_closes_the_idle_ones_and_leaves_the_borrowed_ones(
    server_kind: Kind, make_queue: MakeQueue, watch: Watch
) -> None:
    """The pool goes on afterwards."""
    pool = make_queue(server_kind.creator)
    lent, idle = pool.connect(), pool.connect()
    number = session_of(lent)
    idle.close()
    pool.clear()
    assert len(pool) == 0
    eventually(lambda: watch.sessions() == {number})
    lent.close()
    assert session_of(pool.connect()) == number


def test_full_queue_closes_the_one_too_many_and_says_so(
    kind: Kind, make_queue: MakeQueue, caplog: pytest.LogCaptureFixture
) -> None:
    """A pool that is always too small costs a connect each time, and should be heard of."""
    pool = make_queue(kind.creator, 2, name="shop")
    connections = [pool.connect() for _ in range(3)]
    with caplog.at_level(logging.WARNING):
        for connection in connections:
            assert caplog.records == []
            pool.return_conn(connection)
    (record,) = caplog.records
    assert (record.levelname, "shop" in record.getMessage(), "full" in record.getMessage()) == ("WARNING", True, True)
    assert record.name.startswith("improved_db")
    assert len(pool) == 2


def test_more_than_the_size_can_be_out_at_once(server_kind: Kind, make_queue: MakeQueue, watch: Watch) -> None:
    """No caller waits; afterwards no more than the size are kept."""
    pool = make_queue(server_kind.creator, 2)
    connections = [pool.connect() for _ in range(6)]
    assert {session_of(connection) for connection in connections} == watch.sessions()
    for connection in connections:
        connection.close()
    eventually(lambda: len(watch.sessions()) == 2)


def test_second_return_is_ignored_and_nothing_is_in_the_queue_twice(kind: Kind, make_queue: MakeQueue) -> None:
    """Two users of one connection read each other's answers."""
    pool = make_queue(kind.creator)
    connection = pool.connect()
    for _ in range(3):
        pool.return_conn(connection)
    pool.close(connection)
    assert len(pool) == 1
    first, second = pool.connect(), pool.connect()
    pool.return_conn(connection)  # another caller may have its session by now
    assert len(pool) == 0
    tell(first, "CREATE TABLE mine (i INTEGER)")
    pool.return_conn(first)
    pool.return_conn(second)


def test_second_close_changes_nothing(kind: Kind, make_queue: MakeQueue) -> None:
    """A ``finally`` closes what a block has closed; another caller may have its session by then."""
    pool = make_queue(kind.creator)
    connection = pool.connect()
    connection.close()
    connection.close()
    assert len(pool) == 1
    current = pool.connect()
    connection.close()
    assert len(pool) == 0
    assert ask(current, "SELECT 1") == 1
    current.close()
    assert len(pool) == 1


def test_foreign_connections_are_refused_and_left_as_they_are(kind: Kind, make_queue: MakeQueue) -> None:
    """Of another pool, of none, or no connection at all: the queue holds what this pool has opened."""
    pool, other = make_queue(kind.creator), make_queue(kind.creator)
    theirs = other.connect()
    with closing(kind.creator()) as own:
        for foreign in (theirs, own, object(), None):
            for verb in (pool.return_conn, pool.close):
                with pytest.raises(LoanSpent):
                    verb(foreign)
        assert ask(own, "SELECT 7") == 7
    assert ask(theirs, "SELECT 8") == 8
    assert len(pool) == 0
    theirs.close()


def test_disposed_pool_lends_nothing_and_closes_what_comes_back(
    server_kind: Kind, make_queue: MakeQueue, watch: Watch
) -> None:
    """No session outlives the pool's end for longer than its borrower."""
    pool = make_queue(server_kind.creator)
    lent, idle = pool.connect(), pool.connect()
    idle.close()
    pool.dispose()
    with pytest.raises(PoolClosed):
        pool.connect()
    assert ask(lent, "SELECT 9") == 9
    lent.close()
    eventually(lambda: watch.sessions() == set())


@pytest.mark.parametrize("pool_size", [0, -1, 1.5, "5", None, True])
def test_invalid_pool_size_is_refused_by_its_own_name(pool_size: Any) -> None:
    """When it is written, not when the tenth connection is needed; and not under the name that the pool has for it."""
    with pytest.raises(ConfigError, match=r"^pool_size must be"):
        QueuePool(lambda: sqlite3.connect(":memory:"), pool_size)
    with pytest.raises(ConfigError, match=r"^pool_size must be"):
        PoolManager(pool_size)


@pytest.mark.parametrize("recycle", [0, -1, "30", True, float("nan")])
def test_invalid_recycle_is_refused_by_its_own_name(recycle: Any) -> None:
    """None is how to say never; -1, as in other libraries, is not."""
    with pytest.raises(ConfigError, match=r"^recycle must be"):
        QueuePool(lambda: sqlite3.connect(":memory:"), 5, recycle)
    with pytest.raises(ConfigError, match=r"^recycle must be"):
        PoolManager(5, recycle)


# --- recycle ---------------------------------------------------------------------------------------------------------


def test_idle_connection_older_than_recycle_is_closed_and_replaced(
    server_kind: Kind, make_queue: MakeQueue, watch: Watch
) -> None:
    """The server would end it anyway, under a query."""
    pool = make_queue(server_kind.creator, 5, 1e-6)
    connection = pool.connect()
    number = session_of(connection)
    pool.return_conn(connection)
    assert session_of(pool.connect()) != number
    eventually(lambda: number not in watch.sessions())


def test_idle_connection_younger_than_recycle_is_lent(server_kind: Kind, make_queue: MakeQueue) -> None:
    """Else there would be no pool."""
    pool = make_queue(server_kind.creator, 5, 3600)
    connection = pool.connect()
    number = session_of(connection)
    pool.return_conn(connection)
    assert session_of(pool.connect()) == number


def test_bug_a_pool_without_recycle_takes_connections_back(kind: Kind, make_queue: MakeQueue) -> None:
    """The snippet compared a time with None as soon as one was returned, and failed."""
    pool = make_queue(kind.creator, 5, None)
    pool.return_conn(pool.connect())
    assert len(pool) == 1
    pool.connect().close()
    assert len(pool) == 1
