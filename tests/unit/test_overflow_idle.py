"""The pool with a soft size: what is kept when it comes home, what is lent again, and how its owner lets go."""

from __future__ import annotations

import pytest

from improved_db.compat._soft_pool import acquire_patiently, stock
from improved_db.errors import LoanSpent, PoolClosed
from tests.fakes import Caller, Gate
from tests.unit.overflowing import NO_LIMIT, Overflowing, Threaded

# --- what is lent is fit ---------------------------------------------------------------------------------------------


def test_unfit_idle_connection_is_dropped_and_the_next_one_tried() -> None:
    """After a restart of the server all of them are dead, and a program should not notice."""
    over = Overflowing()
    first, second = over.fill(2)
    second.alive = False
    assert over.one().connection is first
    assert over.driver.open == [first]
    assert over.pool.stats().discarded == {"dead": 1}


def test_last_unfit_idle_connection_is_replaced_by_a_new_one() -> None:
    """The borrower gets a connection as long as one can be opened."""
    over = Overflowing()
    for connection in over.fill(2):
        connection.alive = False
    assert over.one().connection.number == 3
    assert over.pool.stats().discarded == {"dead": 2}


def test_connection_that_was_idle_for_too_long_is_closed_and_not_lent() -> None:
    """Firewalls forget, and servers end, what was silent for long; here only the borrower looks after it."""
    over = Overflowing(idle_timeout=10)
    over.fill(2)
    over.clock.advance(8.5)
    assert over.one().connection.number == 2
    over.clock.advance(0.5)
    assert over.one().connection.number == 3
    assert over.driver.made[0].said_goodbye
    assert over.pool.stats().retired == {"idle_timeout": 1}


def test_time_idle_counts_from_the_last_return() -> None:
    """A connection in daily use is not idle, however old it is."""
    over = Overflowing(idle_timeout=10)
    for _ in range(5):
        loan = over.one()
        over.clock.advance(9)
        over.pool.release(loan)
        over.clock.advance(9)
    assert over.pool.stats().opened == 1


@pytest.mark.parametrize("idle_timeout", [None, 10**7])
def test_idle_connection_stays_for_ever_without_a_limit(idle_timeout: float | None) -> None:
    """None means never."""
    over = Overflowing(idle_timeout=idle_timeout, ping_idle_after=None, max_lifetime=None)
    over.fill(1)
    over.clock.advance(10**6)
    assert over.one().connection.number == 1


def test_ping_lends_only_what_has_just_answered() -> None:
    """``pre_ping`` is for those who cannot have their first query fail; a socket that looks well is not enough."""
    over = Overflowing(ping_idle_after=None)
    silent = over.fill(2)[1]
    silent.answers = False
    loan = over.pool.acquire_now(NO_LIMIT, ping=True)
    assert loan is not None
    assert (loan.connection.number, loan.connection.pinged) == (1, 1)
    assert over.pool.stats().discarded == {"ping": 1}
    over.pool.release(loan)
    assert over.one().connection.pinged == 1  # only who asks pays


def test_connection_past_its_lifetime_is_neither_lent_nor_kept() -> None:
    """A proxy that moved its servers is followed within ``max_lifetime``."""
    over = Overflowing(max_lifetime=100, lifetime_jitter=0)
    over.fill(1)
    over.clock.advance(100)
    loan = over.one()
    assert loan.connection.number == 2
    over.clock.advance(100)
    assert over.pool.release(loan) == "max_lifetime"
    assert over.driver.open == []
    assert over.pool.stats().retired == {"max_lifetime": 2}


def test_connection_that_cannot_be_restored_is_not_kept() -> None:
    """The next borrower must find nothing of the last one's."""
    over = Overflowing()
    loan = over.one()
    loan.connection.restorable = False
    assert over.pool.release(loan) == "unrestorable"
    assert over.is_whole()


# --- coming home -----------------------------------------------------------------------------------------------------


def test_one_too_many_among_the_idle_is_closed_politely() -> None:
    """A rush is over; what it opened must not stay for ever."""
    over = Overflowing(max_idle=2)
    loans = over.borrow(5)
    assert [over.pool.release(loan) for loan in loans] == [None, None, "overflow", "overflow", "overflow"]
    assert [connection.number for connection in over.driver.open] == [1, 2]
    assert all(connection.said_goodbye for connection in over.driver.made[2:])
    assert over.pool.stats().retired == {"overflow": 3}


def test_slots_beyond_the_size_are_gone_when_they_are_cold() -> None:
    """Otherwise the pool's size would be that of its greatest rush."""
    over = Overflowing(max_size=2)
    loans = over.borrow(5)
    stats = over.pool.stats()
    assert (stats.max_size, stats.used, stats.cold) == (2, 5, 0)
    for loan in loans:
        over.pool.release(loan, "broken")
    stats = over.pool.stats()
    assert (stats.used, stats.idle, stats.cold) == (0, 0, 2)


def test_more_may_be_idle_than_are_waited_for_if_so_asked() -> None:
    """How many are kept and how many are opened for those who wait are two numbers."""
    over = Overflowing(max_size=2, max_idle=4)
    for loan in over.borrow(5):
        over.pool.release(loan)
    assert (over.pool.stats().idle, len(over.driver.open)) == (4, 4)


def test_one_too_many_goes_to_who_waits_instead_of_being_closed() -> None:
    """To close a connection while a borrower waits for one would be absurd."""
    over = Overflowing(max_size=1, max_idle=1)
    loans = over.borrow(3)
    over.clock.at(5.0, lambda: (over.pool.release(loans[0]), None)[1])
    served = over.pool.acquire(10)
    assert (served.connection.number, over.clock.now()) == (1, 5.0)
    assert over.pool.release(loans[1]) is None
    assert over.pool.release(loans[2]) == "overflow"


def test_loan_is_good_for_one_return() -> None:
    """The same connection twice among the idle would have two users at once."""
    over = Overflowing()
    loan = over.one()
    over.pool.release(loan)
    with pytest.raises(LoanSpent):
        over.pool.release(loan)
    with pytest.raises(LoanSpent):
        Overflowing().pool.release(over.one())
    assert over.pool.stats().idle == 0


# --- the owner's verbs -----------------------------------------------------------------------------------------------


def test_stock_opens_what_is_missing_and_keeps_what_there_is_room_for() -> None:
    """``pre_create_num``: the first requests after a start are not the slow ones."""
    over = Overflowing(max_size=3)
    over.fill(1)
    stock(over.pool, 3)
    assert (over.pool.stats().idle, over.pool.stats().opened) == (3, 3)
    stock(over.pool, 5)
    assert (over.pool.stats().idle, len(over.driver.open)) == (3, 3)
    assert over.is_whole()


def test_stock_counts_what_is_lent() -> None:
    """It is a number of connections, not of idle ones."""
    over = Overflowing(max_size=3)
    kept = over.borrow(2)
    stock(over.pool, 3)
    assert (over.pool.stats().idle, over.pool.stats().used) == (1, 2)
    assert len(kept) == 2


def test_stock_that_fails_half_way_keeps_what_it_has() -> None:
    """The error is the caller's to see, the connections are the pool's to keep."""
    over = Overflowing(max_size=3)

    def full() -> None:
        if len(over.driver.made) == 2:
            raise ConnectionRefusedError("too many connections")

    over.driver.before_connect = full
    with pytest.raises(ConnectionRefusedError):
        stock(over.pool, 3)
    assert over.pool.stats().idle == 2
    assert over.is_whole()


def test_clear_closes_idle_connections_and_keeps_lent_ones_for_later() -> None:
    """The seed's word for "let go of what is not in use"."""
    over = Overflowing()
    lent, idle = over.borrow(2)
    over.pool.release(idle)
    over.pool.clear()
    assert over.driver.open == [lent.connection]
    assert idle.connection.said_goodbye
    assert over.pool.release(lent) is None
    assert over.one().connection is lent.connection


def test_drained_connection_is_replaced_when_it_comes_home() -> None:
    """Other than after `clear`: after a failover each one has to go."""
    over = Overflowing()
    lent, idle = over.borrow(2)
    over.pool.release(idle)
    over.pool.drain()
    assert over.pool.release(lent) == "drained"
    assert over.driver.open == []
    assert over.one().connection.number == 3


def test_closed_pool_lends_nothing_and_closes_what_comes_home() -> None:
    """Also of those beyond its size; no socket stays open behind a pool that is gone."""
    over = Overflowing()
    idle, *lent = over.borrow(4)
    over.pool.release(idle)
    assert len(over.pool.close(timeout=0)) == 3
    with pytest.raises(PoolClosed):
        over.pool.acquire_now(NO_LIMIT)
    with pytest.raises(PoolClosed):
        acquire_patiently(over.pool, 1, 9, in_vain=lambda: None)
    assert [over.pool.release(loan) for loan in lent] == ["closed"] * 3
    assert over.driver.open == []
    assert over.is_whole()


def test_connection_that_was_being_opened_when_the_pool_was_closed_is_closed_on_return() -> None:
    """Its borrower gets it, as it asked in time; it must not outlive that."""
    threaded = Threaded()
    gate = Gate()
    threaded.driver.before_connect = gate
    caller = Caller(lambda: threaded.pool.acquire_now(1))
    gate.wait_reached()
    threaded.pool.close(timeout=0)
    gate.open()
    loan = caller.result()
    assert loan is not None
    assert threaded.pool.release(loan) == "closed"
    assert threaded.driver.open == []
