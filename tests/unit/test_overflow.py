"""The pool with a soft size: who takes, who opens, who is refused, and what is kept when it comes home."""

from __future__ import annotations

import gc
import random
import threading
from typing import TYPE_CHECKING

import pytest

from improved_db.config import PoolSettings
from improved_db.errors import LoanSpent, PoolClosed, PoolTimeout
from improved_db.overflow import OverflowPool
from tests.fakes import (
    PATIENCE,
    Caller,
    FakeClock,
    FakeConnection,
    FakeDriver,
    Gate,
    ThreadedPool,
    eventually,
    refuse,
    run_alone,
)
from tests.unit.test_pool_fork import OPTIONS, in_child

if TYPE_CHECKING:
    from typing import Any

    from improved_db.slot import Loan

NO_LIMIT = float("inf")


class Overflowing:
    """An overflow pool on a fake driver and a fake clock."""

    def __init__(self, max_idle: int | None = None, **settings: Any) -> None:
        self.clock = FakeClock()
        self.driver = FakeDriver()
        chosen = PoolSettings(**{"max_size": 2, **settings})
        idle = chosen.max_size if max_idle is None else max_idle
        self.pool: OverflowPool[FakeConnection] = OverflowPool(self.driver, chosen, max_idle=idle, clock=self.clock)

    def borrow(self, number: int = 1, limit: float = NO_LIMIT) -> list[Loan[FakeConnection]]:
        """Borrow *number* connections, without a wait."""
        loans = [self.pool.acquire_now(limit) for _ in range(number)]
        return [loan for loan in loans if loan is not None]

    def one(self, limit: float = NO_LIMIT) -> Loan[FakeConnection]:
        """Borrow one."""
        (loan,) = self.borrow(1, limit)
        return loan

    def fill(self, number: int) -> list[FakeConnection]:
        """Leave *number* connections idle; the first is the oldest."""
        loans = self.borrow(number)
        for loan in loans:
            self.pool.release(loan)
        self.clock.advance(1)  # longer than an answer proves anything
        return [loan.connection for loan in loans]

    def is_whole(self) -> bool:
        """Whether nobody has anything, and every slot is in one place."""
        stats = self.pool.stats()
        return (stats.used, stats.opening, stats.waiting) == (0, 0, 0) and stats.idle + stats.cold == stats.max_size


class Threaded(ThreadedPool):
    """An overflow pool on a fake driver, with the real clock."""

    pool: OverflowPool[FakeConnection]

    def __init__(self, driver: FakeDriver | None = None, *, max_idle: int = 2, **settings: Any) -> None:
        self.driver = driver or FakeDriver()
        chosen = PoolSettings(**{"max_size": 2, "acquire_timeout": PATIENCE, **settings})
        self.pool = OverflowPool(self.driver, chosen, max_idle=max_idle)


# --- borrowing without a wait ----------------------------------------------------------------------------------------


def test_idle_connection_is_lent_before_one_is_opened() -> None:
    """A connect is a hundred times as dear as a look at the rack."""
    over = Overflowing()
    over.fill(2)
    assert [loan.connection.number for loan in over.borrow(2)] == [2, 1]
    assert over.pool.stats().opened == 2


def test_connection_is_opened_in_the_borrowers_own_thread() -> None:
    """A driver such as sqlite3's binds a connection to the thread that opened it."""
    over = Overflowing()
    threads: list[threading.Thread] = []
    over.driver.before_connect = lambda: threads.append(threading.current_thread())
    loans = over.borrow(5)
    assert threads == [threading.current_thread()] * 5
    assert len({loan.connection.number for loan in loans}) == 5
    assert over.pool.stats().used == 5


def test_borrower_is_refused_at_its_limit_and_nothing_changes() -> None:
    """Each borrower brings its own limit; one that is reached is an answer, not an error."""
    over = Overflowing()
    kept = over.borrow(3)
    before = over.pool.stats()
    assert over.pool.acquire_now(3) is None
    assert over.pool.acquire_now(1) is None
    assert over.pool.stats() == before
    assert over.one(4).connection.number == 4
    assert [loan.connection.number for loan in kept] == [1, 2, 3]


def test_idle_connection_is_lent_whatever_the_limit() -> None:
    """The limit is for opening; what is there already costs nobody anything."""
    over = Overflowing()
    over.fill(2)
    kept = over.one()
    assert over.one(1).connection.number == 1
    assert kept.connection.number == 2


def test_borrower_without_patience_never_stands_in_line() -> None:
    """Who wants to wait says so; time must not pass for the others."""
    over = Overflowing(max_size=1)
    kept = over.one()
    assert over.pool.acquire_now(1) is None
    stats = over.pool.stats()
    assert (stats.waited, stats.timed_out, over.clock.now()) == (0, 0, 0.0)
    over.pool.release(kept)


# --- opening that fails ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [ConnectionRefusedError("no"), KeyboardInterrupt(), SystemExit(), MemoryError()])
@pytest.mark.parametrize("lent", [0, 2, 3])
def test_failed_connect_gives_its_slot_back(error: BaseException, lent: int) -> None:
    """A night without a server must not end in a pool without places, whatever the error and however full it was."""
    over = Overflowing()
    kept = over.borrow(lent)
    before = over.pool.stats()
    for _ in range(10):
        over.driver.connect_errors.append(error)
        with pytest.raises(type(error)) as caught:
            over.pool.acquire_now(NO_LIMIT)
        assert caught.value is error
    after = over.pool.stats()
    assert (after.used, after.cold, after.open_errors) == (before.used, before.cold, 10)
    assert over.one(lent + 1).connection.open
    assert len(kept) == lent


def test_failed_connect_lets_one_in_line_have_the_slot() -> None:
    """It waits for the connection that will not come; the next attempt may be luckier, and is made for it at once."""
    threaded = Threaded(max_size=1)
    gate = Gate()
    threaded.driver.before_connect = gate
    threaded.driver.connect_errors.append(ConnectionRefusedError("no"))
    unlucky = Caller(lambda: threaded.pool.acquire_now(1))
    gate.wait_reached()
    (waiting,) = threaded.in_line(1, threaded.pool.acquire)
    gate.open()
    with pytest.raises(ConnectionRefusedError):
        unlucky.result()
    loan = waiting.result()
    assert loan.connection.number == 1
    threaded.pool.release(loan)
    threaded.pool.close()


def test_error_of_a_failed_connect_is_named_by_those_who_waited_in_vain() -> None:
    """A timeout without its reason sends people to the wrong place."""
    over = Overflowing(max_size=1)
    kept = over.one()
    over.driver.connect_errors.append(ConnectionRefusedError("the host is down"))
    with pytest.raises(ConnectionRefusedError):
        over.pool.acquire_now(2)
    with pytest.raises(PoolTimeout, match="the host is down"):
        over.pool.acquire(1)
    over.pool.release(kept)


def test_interrupt_while_the_connection_is_examined_leaves_no_loan_behind() -> None:
    """Ctrl-C arrives anywhere; the connection that was looked at may be in any state."""
    over = Overflowing()
    over.fill(1)

    def interrupt() -> None:
        raise KeyboardInterrupt

    over.driver.before_look = interrupt
    with pytest.raises(KeyboardInterrupt):
        over.pool.acquire_now(NO_LIMIT)
    assert over.is_whole()
    assert over.driver.open == []
    assert over.pool.stats().discarded == {"interrupted": 1}


def test_interrupt_after_the_connect_leaves_no_loan_behind() -> None:
    """Between the connect and its return to the borrower lies our own bookkeeping, where a signal may arrive too."""
    over = Overflowing()

    def interrupt() -> None:
        raise KeyboardInterrupt

    over.pool.on_opened = interrupt
    with pytest.raises(KeyboardInterrupt):
        over.pool.acquire_now(NO_LIMIT)
    assert over.is_whole()
    assert over.driver.open == []


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
    """Firewalls forget, and servers end, what was silent for long; nobody keeps house here but the borrower."""
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


def test_more_may_be_idle_than_stand_in_line_for_if_so_asked() -> None:
    """How many are kept and how many are opened for those who wait are two numbers."""
    over = Overflowing(max_size=2, max_idle=4)
    for loan in over.borrow(5):
        over.pool.release(loan)
    assert (over.pool.stats().idle, len(over.driver.open)) == (4, 4)


def test_one_too_many_goes_to_who_waits_instead_of_being_closed() -> None:
    """To close a connection while somebody waits for one would be absurd."""
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


# --- patience --------------------------------------------------------------------------------------------------------


def test_patient_borrower_does_not_wait_while_there_is_room() -> None:
    """Up to the size, on demand and at once."""
    over = Overflowing(max_size=2)
    calls: list[float] = []
    loans = [over.pool.acquire_patiently(1, 4, in_vain=lambda: calls.append(over.clock.now())) for _ in range(2)]
    assert len({loan.connection.number for loan in loans}) == 2
    assert (calls, over.clock.now()) == ([], 0.0)


def test_patient_borrower_opens_beyond_the_size_after_its_turn_was_in_vain() -> None:
    """The size is what one would like to have, the limit what one can have."""
    over = Overflowing(max_size=1)
    kept = over.one()
    calls: list[float] = []
    loan = over.pool.acquire_patiently(3, 2, in_vain=lambda: calls.append(over.clock.now()))
    assert (loan.connection.number, calls) == (2, [3.0])
    assert kept.connection.open


def test_patient_borrower_is_served_meanwhile_and_nothing_is_opened() -> None:
    """That is what it waits for."""
    over = Overflowing(max_size=1)
    kept = over.one()
    calls: list[float] = []
    over.clock.at(2.0, lambda: (over.pool.release(kept), None)[1])
    loan = over.pool.acquire_patiently(3, 2, in_vain=lambda: calls.append(over.clock.now()))
    assert (loan.connection.number, calls, over.clock.now()) == (1, [], 2.0)
    assert over.pool.stats().opened == 1


def test_patient_borrower_at_the_limit_is_told_what_the_pool_looks_like() -> None:
    """It may be that somebody forgot to give back, and the error must say who has what."""
    over = Overflowing(max_size=1)
    kept = over.borrow(2)
    calls: list[float] = []
    with pytest.raises(PoolTimeout, match=r"no connection after 3\.00 s .*used=2") as caught:
        over.pool.acquire_patiently(3, 2, in_vain=lambda: calls.append(over.clock.now()))
    assert __file__ in str(caught.value)
    assert calls == [3.0]
    assert len(kept) == 2


def test_patience_of_zero_asks_and_goes() -> None:
    """``timeout=0`` means: now or not at all."""
    over = Overflowing(max_size=1)
    kept = over.one()
    with pytest.raises(PoolTimeout):
        over.pool.acquire_patiently(0, 1, in_vain=lambda: None)
    assert over.clock.now() == 0.0
    over.pool.release(kept)
    assert over.is_whole()


def test_patient_borrower_gets_what_answers_only() -> None:
    """``pre_ping`` holds for a connection that is handed over in the line as well."""
    over = Overflowing(max_size=1, ping_idle_after=None)
    kept = over.one()
    over.clock.at(2.0, lambda: (over.pool.release(kept), None)[1])
    loan = over.pool.acquire_patiently(3, 1, ping=True, in_vain=lambda: None)
    assert (loan.connection.number, loan.connection.pinged) == (1, 1)


def test_error_while_opening_beyond_the_size_reaches_the_patient() -> None:
    """What the driver said is worth more than that the pool is full."""
    over = Overflowing(max_size=1)
    kept = over.one()
    over.driver.before_connect = refuse
    with pytest.raises(ConnectionRefusedError):
        over.pool.acquire_patiently(1, 2, in_vain=lambda: None)
    over.pool.release(kept)
    assert over.is_whole()


# --- the owner's verbs -----------------------------------------------------------------------------------------------


def test_stock_opens_what_is_missing_and_keeps_what_there_is_room_for() -> None:
    """``pre_create_num``: the first requests after a start are not the slow ones."""
    over = Overflowing(max_size=3)
    over.fill(1)
    over.pool.stock(3)
    assert (over.pool.stats().idle, over.pool.stats().opened) == (3, 3)
    over.pool.stock(5)
    assert (over.pool.stats().idle, len(over.driver.open)) == (3, 3)
    assert over.is_whole()


def test_stock_counts_what_is_lent() -> None:
    """It is a number of connections, not of idle ones."""
    over = Overflowing(max_size=3)
    kept = over.borrow(2)
    over.pool.stock(3)
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
        over.pool.stock(3)
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
        over.pool.acquire_patiently(1, 9, in_vain=lambda: None)
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


# --- lost loans, and who has them ------------------------------------------------------------------------------------


def test_forgotten_connections_are_taken_back_before_a_borrower_is_refused() -> None:
    """A program that forgets to close one in a thousand must not run dry."""
    over = Overflowing(max_size=1)
    for expected in range(1, 20):
        assert over.one(2).connection.number == expected
    assert over.pool.stats().lost >= 17
    assert len(over.driver.open) <= 2


def test_forgotten_slots_beyond_the_size_do_not_pile_up() -> None:
    """Also where nobody is ever refused."""
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
    patient = Caller(lambda: threaded.pool.acquire_patiently(1, 1, in_vain=lambda: None), dies=True).result()
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
    """That three connections are lent helps nobody; the line that never gives back does."""
    over = Overflowing(max_size=1)

    def door(pool: OverflowPool[FakeConnection]) -> Loan[FakeConnection] | None:
        return pool.acquire_now(NO_LIMIT)

    loan = door(over.pool)
    (borrowed,) = over.pool.borrowed()
    (place,) = borrowed.place
    line = test_report_names_the_file_and_the_line_of_who_borrowed.__code__.co_firstlineno + 7
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
            return pool.acquire_patiently(chance.choice([0.0, 0.002]), limit, in_vain=lambda: None)
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
