"""The pool with a soft size: lost loans, forked children, and many threads at once."""

from __future__ import annotations

import gc
import random
import threading
from typing import TYPE_CHECKING

import pytest

from improved_db.compat._soft_pool import acquire_patiently
from improved_db.errors import LoanSpent, PoolTimeout
from tests.fakes import Caller, FakeConnection, FakeDriver, eventually, run_alone
from tests.unit.overflowing import NO_LIMIT, Overflowing, Threaded
from tests.unit.test_pool_fork import OPTIONS, in_child

if TYPE_CHECKING:
    from improved_db.pool.loan import Loan


# --- lost loans, and who has them ------------------------------------------------------------------------------------


def test_forgotten_connections_are_taken_back_before_a_borrower_is_refused() -> None:
    """A program that forgets to close one in a thousand must not run dry."""
    over = Overflowing(max_size=1)
    for expected in range(1, 20):
        assert over.one(2).connection.number == expected
    assert over.pool.stats().lost >= 17
    assert len(over.driver.open) <= 2


def test_forgotten_slots_beyond_the_size_do_not_pile_up() -> None:
    """Also if no borrower is ever refused."""
    over = Overflowing(max_size=1)
    for _ in range(20):
        over.pool.acquire_now(NO_LIMIT)
    over.pool.recover()
    assert over.is_whole()
    assert over.driver.open == []


def test_connection_outlives_the_thread_that_borrowed_it() -> None:
    """Web servers borrow in one worker thread and go on in another; the first may end meanwhile."""
    threaded = Threaded(max_size=1)
    kept = Caller(lambda: threaded.pool.acquire_now(1), dies=True).result()
    assert kept is not None
    assert threaded.pool.acquire_now(1) is None
    threaded.pool.recover()
    assert kept.connection.open
    threaded.pool.release(kept)
    patient = Caller(lambda: acquire_patiently(threaded.pool, 1, 1, in_vain=lambda: None), dies=True).result()
    assert threaded.pool.acquire_now(1) is None
    assert patient.connection is kept.connection
    del patient
    gc.collect()
    again = threaded.pool.acquire_now(1)
    assert again is not None
    assert again.connection.number == 2
    threaded.pool.release(again)
    threaded.pool.close()


def test_report_names_the_file_and_the_line_of_who_borrowed() -> None:
    """That three connections are lent does not help; the line of code that never returns one does."""
    over = Overflowing(max_size=1)
    loan = over.pool.acquire_now(NO_LIMIT)
    (borrowed,) = over.pool.borrowed()
    (place,) = borrowed.place
    line = test_report_names_the_file_and_the_line_of_who_borrowed.__code__.co_firstlineno + 3
    assert place == f"{__file__}:{line} in {test_report_names_the_file_and_the_line_of_who_borrowed.__name__}"
    assert borrowed.thread == threading.current_thread().name
    assert loan is not None


# --- processes and threads -------------------------------------------------------------------------------------------


def child_is_cold() -> None:
    """Fork with idle and lent connections, some beyond the size."""
    threaded = Threaded(max_size=1, max_idle=2)
    loans = [threaded.pool.acquire_now(NO_LIMIT) for _ in range(4)]
    for loan in loans[:2]:
        assert loan is not None
        threaded.pool.release(loan)
    lent = [loan for loan in loans[2:] if loan is not None]

    def check() -> None:
        stats = threaded.pool.stats()
        assert (stats.cold, stats.size, stats.used) == (1, 0, 0)
        assert threaded.driver.open == []
        assert not any(connection.said_goodbye for connection in threaded.driver.made)
        with pytest.raises(LoanSpent):
            threaded.pool.release(lent[0])
        mine = [threaded.pool.acquire_now(3) for _ in range(4)]
        assert [loan.connection.number for loan in mine if loan is not None] == [5, 6, 7]
        assert mine[3] is None
        for loan in mine[:3]:
            assert loan is not None
            threaded.pool.release(loan)
        assert threaded.pool.stats().idle == 2
        threaded.pool.close()

    in_child(check)
    assert len(threaded.driver.open) == 4
    for loan in lent:
        assert threaded.pool.release(loan) == "overflow"
    threaded.pool.close()


def test_child_starts_cold_at_its_size_and_leaves_the_parents_sessions_alone() -> None:
    """Two processes on one session read each other's answers."""
    run_alone(child_is_cold, *OPTIONS)


class CountingDriver(FakeDriver):
    """Notices two threads that use one connection at once, and how many were ever open at once."""

    def __init__(self) -> None:
        super().__init__()
        self.most = 0
        self._users: set[int] = set()

    def connect(self) -> FakeConnection:
        """Count those that are open."""
        connection = super().connect()
        self.most = max(self.most, len(self.open))
        return connection

    def use(self, connection: FakeConnection) -> None:
        """Use a connection as a borrower does, for as long as it takes others to come."""
        assert connection.number not in self._users
        self._users.add(connection.number)
        assert connection.open
        threading.Event().wait(random.random() / 5000)
        self._users.remove(connection.number)


@pytest.mark.parametrize(("size", "limit", "threads"), [(1, 1, 4), (1, 3, 8), (3, 5, 12), (4, 8, 6)])
def test_never_more_than_the_limit_are_open_under_load(size: int, limit: int, threads: int) -> None:
    """Patient and hurried, with breakage: one owner each, never more than allowed, nothing lost."""
    driver = CountingDriver()
    threaded = Threaded(driver, max_size=size, max_idle=size)
    pool = threaded.pool

    def borrow(chance: random.Random) -> Loan[FakeConnection] | None:
        if chance.random() < 0.5:
            return pool.acquire_now(limit)
        try:
            return acquire_patiently(pool, chance.choice([0.0, 0.002]), limit, in_vain=lambda: None)
        except PoolTimeout:
            return None

    def work(seed: int) -> int:
        chance = random.Random(seed)
        served = 0
        for _ in range(60):
            if (loan := borrow(chance)) is not None:
                served += 1
                driver.use(loan.connection)
                loan.connection.alive = chance.random() > 0.05
                pool.release(loan, "broken" if chance.random() < 0.05 else None)
        return served

    served = sum(caller.result() for caller in [Caller(lambda seed=seed: work(seed)) for seed in range(threads)])  # type: ignore[misc]
    gc.collect()
    pool.recover()
    eventually(lambda: pool.stats().opening == 0)
    stats = pool.stats()
    assert served > 0
    assert (stats.used, stats.waiting, stats.idle + stats.cold) == (0, 0, size)
    assert len(driver.open) == stats.idle
    assert driver.most <= limit
    pool.close()
    assert driver.open == []


def test_connection_counts_until_it_is_closed() -> None:
    """A server with ``max_connections`` equal to the limit refuses the one that was opened before another had gone."""
    over = Overflowing(max_size=1, max_idle=1)
    most: list[int] = []

    def meanwhile() -> None:
        over.driver.before_close = lambda: None
        over.pool.acquire_now(1)
        most.append(len(over.driver.open))

    over.driver.before_close = meanwhile
    over.pool.release(over.one(1), "closed")
    assert most == [1]
