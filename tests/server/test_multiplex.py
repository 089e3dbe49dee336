"""Reads of a crowd share round trips: nothing else about them changes."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest
from pymysql.err import OperationalError

import improved_db.critical
import improved_db.execution.batch
import improved_db.execution.multiplex
from improved_db import ImprovedDb, PoolClosed, PoolTimeout, StatementError
from tests.bombs import Bomb, files_of, interrupted
from tests.fakes import PATIENCE, Caller, eventually
from tests.faults.harness import Rig

if TYPE_CHECKING:
    from collections.abc import Iterator

#: More than one row, and so an error, for any number but 1.
QUERY = "select (select 1 union select %s), %s"
FILES = files_of(improved_db.critical, improved_db.execution.batch, improved_db.execution.multiplex)


class Crowd:
    """Threads that read one after another, until told to stop."""

    def __init__(self, db: ImprovedDb, threads: int) -> None:
        self.db = db
        self.turns = 0
        self.over = threading.Event()
        self.callers = [Caller(lambda number=number: self.work(number)) for number in range(threads)]  # type: ignore[misc]

    def work(self, number: int) -> int:
        """Read a value of one's own, again and again; one thread in four asks for an error."""
        turn = 0
        while not self.over.is_set():
            turn += 1
            if number % 4 == 3:
                with pytest.raises(OperationalError, match="more than 1 row"):
                    self.db.execute_query(QUERY, (2, turn))
            else:
                mine = number * 1_000_000 + turn
                dicts = turn % 2 == 0
                (row,) = self.db.execute_query(QUERY, (1, mine), dictcursor=dicts)
                assert tuple(row.values() if isinstance(row, dict) else row) == (1, mine)
            self.turns += 1
        return turn

    def end(self) -> int:
        """Stop; return how many reads there were."""
        self.over.set()
        return sum(caller.result() for caller in self.callers)

    def await_turns(self, number: int) -> None:
        """Wait until there were so many more."""
        before = self.turns
        eventually(lambda: self.turns >= before + number)


def is_combining(db: ImprovedDb, crowd: Crowd) -> bool:
    """Say whether fewer connections were borrowed lately than statements were run."""
    borrowed, turns = db.stats().acquired, crowd.turns
    crowd.await_turns(200)
    return db.stats().acquired - borrowed < (crowd.turns - turns) * 3 / 4


@pytest.fixture
def small(database: dict[str, Any]) -> Iterator[ImprovedDb]:
    """A pool of two connections."""
    with ImprovedDb(database, max_size=2, retry=None) as db:
        yield db


def test_each_thread_gets_its_own_rows_and_errors(small: ImprovedDb) -> None:
    """Sixteen threads on two connections: each in its kind of rows, each error where it belongs."""
    crowd = Crowd(small, 16)
    eventually(lambda: is_combining(small, crowd))
    turns = crowd.end()
    assert small.stats().used == 0
    assert small.stats().acquired < turns


def test_multiplexing_can_be_switched_off(database: dict[str, Any]) -> None:
    """Then each read borrows a connection of its own."""
    with ImprovedDb(database, max_size=2, multiplex=False) as db:
        crowd = Crowd(db, 8)
        crowd.await_turns(400)
        assert crowd.end() == db.stats().acquired


@pytest.mark.parametrize(
    "query", ["select %s, sleep(0.002)", "select %s, @a", "select %s for update", "insert into t (n) values (%s)"]
)
def test_what_is_long_or_no_plain_read_goes_alone(small: ImprovedDb, query: str) -> None:
    """A long statement would hold up all those behind it; a write or a variable is felt by others."""
    small.execute_query("create table t (n int)")
    others = Crowd(small, 6)
    eventually(lambda: is_combining(small, others))
    others.end()
    before = small.stats().acquired

    def work() -> None:
        for number in range(40):
            small.execute_query(query, number)

    for caller in [Caller(work) for _ in range(6)]:
        caller.result()
    assert small.stats().acquired == before + 240


def test_a_lost_connection_costs_a_crowd_one_retry(database: dict[str, Any]) -> None:
    """The reads that had no answer are read again, each by its own thread."""
    with Rig(database) as rig:
        db = rig.db(max_size=2)
        crowd = Crowd(db, 9)
        eventually(lambda: is_combining(db, crowd))
        for _ in range(5):
            rig.proxy.cut_all()
            crowd.await_turns(50)
        crowd.end()
        assert db.stats().used == 0


def test_closing_ends_a_crowd(small: ImprovedDb) -> None:
    """No thread waits for a connection that will not come."""
    crowd = Crowd(small, 3)
    eventually(lambda: is_combining(small, crowd))
    small.close()
    for caller in crowd.callers:
        with pytest.raises(PoolClosed):
            caller.result()


def test_arguments_that_cannot_be_sent_are_their_own_threads_error(small: ImprovedDb) -> None:
    """The others of its group read on."""
    crowd = Crowd(small, 8)
    eventually(lambda: is_combining(small, crowd))
    for _ in range(20):
        with pytest.raises(StatementError, match="nan"):
            small.execute_query(QUERY, (1, float("nan")))
    crowd.end()


def test_interrupt_at_any_instant_is_the_interrupted_threads_alone(database: dict[str, Any]) -> None:
    """Whether it leads the group or waits in it: the others go on, and none of them hears of it."""
    with ImprovedDb(database, max_size=1, acquire_timeout=PATIENCE, retry=None) as db:
        crowd = Crowd(db, 3)
        eventually(lambda: is_combining(db, crowd))
        went_off = 0
        for instant in [*range(1, 100), *range(1, 60), *range(1, 60)]:
            bomb = Bomb(instant, FILES)
            interrupted(bomb, lambda: db.execute_query(QUERY, (1, 7)))
            went_off += bomb.seen >= bomb.instant
            crowd.await_turns(3)
        assert went_off > 50
        assert db.execute_query(QUERY, (1, 7)) == ((1, 7),)
        crowd.end()
        eventually(lambda: db.stats().used == 0)


def test_readers_of_a_server_that_went_away_get_the_drivers_error(database: dict[str, Any]) -> None:
    """The leader cannot connect; each thread gets the error that it would get alone."""
    with Rig(database) as rig:
        db = rig.db(max_size=1, retry=None)
        crowd = Crowd(db, 3)
        eventually(lambda: is_combining(db, crowd))
        rig.proxy.close()
        for caller in crowd.callers:
            with pytest.raises(OperationalError) as caught:
                caller.result()
            assert type(caught.value) is OperationalError
        assert db.stats().used == 0


def test_readers_that_wait_in_vain_time_out_once(database: dict[str, Any]) -> None:
    """For a connection that another borrower holds on to; the pool counts them."""
    with ImprovedDb(database, max_size=1, acquire_timeout=0.5, retry=None) as db:
        crowd = Crowd(db, 3)
        eventually(lambda: is_combining(db, crowd))
        with db.connection():
            for caller in crowd.callers:
                with pytest.raises(PoolTimeout):
                    caller.result()
        assert db.stats().timed_out == 3
        assert db.execute_query(QUERY, (1, 7)) == ((1, 7),)
