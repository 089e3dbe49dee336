"""Connections that are never returned: collected with their borrower, or left by a dead thread."""

from __future__ import annotations

import gc
import logging
import threading

import pytest

from improved_db.errors import LoanSpent, PoolTimeout, TooManyWaiting
from improved_db.pool.housekeeper import Housekeeper
from tests.fakes import PATIENCE, Caller, FakeConnection, FakePool, ThreadedPool, eventually


def test_collected_loan_is_back_when_the_next_borrower_would_wait() -> None:
    """A forgotten connection must not cost a place for the rest of the program's life."""
    fake = FakePool(max_size=1)
    fake.pool.acquire(1)
    loan = fake.pool.acquire(1)
    assert fake.clock.now() == 0.0
    assert loan.connection.number == 2
    assert fake.pool.stats().lost == 1


def test_lost_connection_is_thrown_away_and_not_lent_again() -> None:
    """What was done on it last is unknown."""
    fake = FakePool(max_size=1)
    fake.pool.acquire(1)
    fake.pool.recover()
    assert fake.driver.open == []
    assert not fake.driver.made[0].said_goodbye
    assert fake.pool.stats().cold == 1


def test_connection_held_by_its_borrower_alone_is_not_lost() -> None:
    """Age is no loss: a report that runs for an hour keeps its connection."""
    fake = FakePool(max_size=1)
    loan = fake.pool.acquire(1)
    fake.clock.advance(10**6)
    fake.pool.recover()
    assert loan.connection.open
    fake.pool.release(loan)
    assert fake.pool.stats().lost == 0


def test_slot_of_a_dead_thread_is_back_when_the_next_borrower_would_wait() -> None:
    """A thread that died with a connection will not return it, even if something still refers to it."""
    threaded = ThreadedPool(max_size=1)
    kept = Caller(threaded.pool.acquire, dies=True).result()
    loan = threaded.pool.acquire()
    assert loan.connection.number == 2
    assert not kept.connection.open
    with pytest.raises(LoanSpent):
        threaded.pool.release(kept)
    threaded.pool.release(loan)
    threaded.pool.close()


def test_loan_that_is_being_returned_for_a_dead_thread_is_not_taken_away() -> None:
    """While it is restored it is in good hands; taking it then would put its slot in two places."""
    threaded = ThreadedPool(max_size=1)
    loan = Caller(threaded.pool.acquire, dies=True).result()
    threaded.driver.before_restore = threaded.pool.recover
    threaded.pool.release(loan)
    stats = threaded.pool.stats()
    assert (stats.idle, stats.cold, stats.lost) == (1, 0, 0)
    threaded.pool.close()


def test_housekeeping_serves_who_waits_with_what_was_lost() -> None:
    """A borrower that stands in line already gets the slot of one that is lost after it came."""
    fake = FakePool(max_size=1)
    loans = fake.borrow(1)
    housekeeper = Housekeeper.look_after(fake.pool)
    fake.in_seconds(1, loans.clear)
    fake.in_seconds(2, lambda: housekeeper.round(fake.pool))
    assert fake.pool.acquire(10).connection.number == 2
    assert fake.clock.now() == 2.0


def test_loss_is_reported_with_the_place_where_it_was_borrowed(caplog: pytest.LogCaptureFixture) -> None:
    """A leak is found by who borrowed, not by who suffers."""
    fake = FakePool(max_size=1, name="orders")
    fake.pool.acquire(1, note_place=True)
    with caplog.at_level(logging.WARNING, logger="improved_db"):
        fake.pool.recover()
    (record,) = caplog.records
    assert "'orders'" in record.getMessage()
    assert "in test_loss_is_reported_with_the_place_where_it_was_borrowed" in record.getMessage()


def test_loss_in_a_cycle_is_found_by_the_collector() -> None:
    """Exceptions and closures make cycles; their connections come back when Python finds them."""
    fake = FakePool(max_size=1)
    cycle: list[object] = [fake.pool.acquire(1)]
    cycle.append(cycle)
    del cycle
    gc.collect()
    assert fake.pool.acquire(1).connection.number == 2


def test_collection_while_the_pool_holds_its_lock_is_harmless() -> None:
    """The collector runs whenever it likes, also in the thread that holds the lock: a finalizer that takes it hangs."""
    fake = FakePool(max_size=2)
    kept, lost = fake.borrow(2)
    fake.pool.release(kept)
    cycle: list[object] = [lost]
    cycle.append(cycle)
    del lost, cycle

    def collect() -> None:
        assert fake.pool.borrow_idle(lambda _: bool(gc.collect()) and False) is None

    Caller(collect).result()
    fake.pool.recover()
    stats = fake.pool.stats()
    assert (stats.idle, stats.cold, stats.lost) == (1, 1, 1)


def test_interrupt_between_acquire_and_the_with_block_loses_nothing() -> None:
    """No code can protect that instant; the collected loan does."""
    fake = FakePool(max_size=1)

    def borrow_and_be_interrupted() -> None:
        loan = fake.pool.acquire(1)
        _interrupt()
        fake.pool.release(loan)

    with pytest.raises(KeyboardInterrupt):
        borrow_and_be_interrupted()
    assert fake.pool.acquire(1).connection.number == 2


def test_opener_that_vanished_gives_its_slot_back() -> None:
    """An opener that was never run, in a process out of luck, does not keep a slot that no borrower can use."""
    fake = FakePool(max_size=1)
    fake.driver.connect_errors.append(KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        fake.pool.acquire(1)
    assert fake.pool.acquire(1).connection.number == 1


def test_connection_does_not_keep_its_loan_alive() -> None:
    """Where it does, a user who keeps the connection, or a cursor of it, keeps the loss from being seen."""
    fake = FakePool(max_size=1)
    connection: FakeConnection = fake.pool.acquire(1).connection
    fake.pool.recover()
    assert fake.pool.stats().lost == 1
    assert not connection.open


def test_refused_borrower_still_finds_what_was_lost() -> None:
    """The line is full, and it goes home; the connection it found is closed, and its slot serves the line."""
    threaded = ThreadedPool(max_size=2, max_waiting=0)
    loans = [threaded.pool.acquire() for _ in range(2)]
    threaded.pool.resize(1)
    del loans[0]
    with pytest.raises(TooManyWaiting):
        threaded.pool.acquire()
    assert threaded.pool.stats().lost == 1
    assert threaded.driver.open == [loans[0].connection]
    threaded.pool.release(loans[0])
    threaded.pool.close()


def test_looking_at_loans_keeps_none_of_them_alive() -> None:
    """The report of a leak must not become one: frames hold loans, and a frame that holds itself is held for long."""
    fake = FakePool(max_size=1)
    loans = fake.borrow(1)
    gc.disable()
    try:
        fake.pool.borrowed()
        with pytest.raises(PoolTimeout):
            fake.pool.acquire(1)
        loans.clear()
        fake.pool.recover()
        assert fake.pool.stats().lost == 1
    finally:
        gc.enable()


def test_connections_of_many_dead_threads_all_come_back() -> None:
    """A server that starts a thread for each request and forgets to return loses one connection with each."""
    threaded = ThreadedPool(max_size=3)
    kept = [Caller(threaded.pool.acquire, dies=True).result() for _ in range(30)]
    assert len(kept) == 30
    stats = threaded.pool.stats()
    assert stats.opened == 30
    assert stats.size <= 3
    threaded.pool.close(0)


def test_living_thread_keeps_what_it_borrowed() -> None:
    """Only the dead are robbed."""
    threaded = ThreadedPool(max_size=1)
    borrowed, enough = threading.Event(), threading.Event()

    def hold() -> None:
        loan = threaded.pool.acquire()
        borrowed.set()
        assert enough.wait(PATIENCE)
        threaded.pool.release(loan)

    holder = Caller(hold)
    assert borrowed.wait(PATIENCE)
    (waiting,) = threaded.in_line(1, threaded.pool.acquire)
    threaded.pool.recover()
    assert threaded.pool.stats().lost == 0
    enough.set()
    holder.result()
    threaded.pool.release(waiting.result())
    threaded.pool.close()


def test_close_takes_back_what_was_lost() -> None:
    """A closed pool has no session left, also not those that no borrower can return any more."""
    threaded = ThreadedPool(max_size=2)
    threaded.pool.acquire()
    kept = Caller(threaded.pool.acquire, dies=True).result()
    assert threaded.pool.close(PATIENCE) == []
    assert threaded.driver.open == []
    assert not kept.connection.open
    eventually(lambda: threaded.pool.stats().cold == 2)


def _interrupt() -> None:
    raise KeyboardInterrupt
