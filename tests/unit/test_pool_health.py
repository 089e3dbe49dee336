"""Which connection may be lent: liveness, pings, checks, age, and distrust after an outage."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from improved_db.errors import PoolTimeout
from tests.fakes import Caller, FakeConnection, FakePool, Gate, ThreadedPool, eventually

if TYPE_CHECKING:
    from improved_db.pool.loan import Loan


def test_dead_idle_connection_is_replaced_before_it_is_lent() -> None:
    """The server may have hung up in the meantime; the borrower must not be who finds out."""
    fake = FakePool(max_size=1)
    fake.fill()[0].alive = False
    fake.clock.advance(1)
    assert fake.pool.acquire(1).connection.number == 2
    assert fake.pool.stats().discarded == {"dead": 1}
    assert fake.driver.open == [fake.driver.made[1]]


def test_when_all_idle_connections_are_dead_one_call_still_succeeds() -> None:
    """A restart of the server costs no borrower an error, however many connections it ended."""
    fake = FakePool(max_size=5)
    for connection in fake.fill():
        connection.alive = False
    fake.clock.advance(1)
    assert fake.pool.acquire(1).connection.number == 6
    assert fake.clock.now() == 1.0
    assert fake.pool.stats().discarded == {"dead": 5}


def test_busy_connection_is_never_pinged() -> None:
    """A ping per loan doubles the round trips of a busy program."""
    fake = FakePool(max_size=1, ping_idle_after=30.0)
    for _ in range(10):
        loan = fake.pool.acquire(1)
        fake.clock.advance(29)
        fake.pool.release(loan)
    assert fake.driver.pings == []


def test_connection_idle_for_long_is_pinged_once() -> None:
    """What lies between may have forgotten a silent connection without telling either end."""
    fake = FakePool(max_size=1, ping_idle_after=30.0)
    fake.fill()
    fake.clock.advance(30)
    for _ in range(3):
        fake.pool.release(fake.pool.acquire(1))
    assert len(fake.driver.pings) == 1


@pytest.mark.parametrize(("window", "pings"), [(0.0, 2), (None, 0)])
def test_ping_window_may_be_always_or_never(window: float | None, pings: int) -> None:
    """Some networks need it each time, some servers are behind a socket and need it never."""
    fake = FakePool(max_size=1, ping_idle_after=window)
    fake.fill()
    fake.driver.pings.clear()
    for _ in range(2):
        fake.clock.advance(1000)
        fake.pool.release(fake.pool.acquire(1))
    assert len(fake.driver.pings) == pings


def test_connection_that_does_not_answer_is_replaced() -> None:
    """A dropped flow sends no FIN; only a ping without an answer shows it."""
    fake = FakePool(max_size=1)
    fake.fill()[0].answers = False
    fake.clock.advance(60)
    assert fake.pool.acquire(1).connection.number == 2
    assert fake.pool.stats().discarded == {"ping": 1}


def test_ping_gets_no_more_time_than_the_borrower_has() -> None:
    """A black hole must not turn a timeout of half a second into one of two."""
    fake = FakePool(max_size=1, ping_timeout=2.0)
    fake.fill()
    fake.clock.advance(60)
    fake.pool.release(fake.pool.acquire(0.5))
    fake.clock.advance(60)
    fake.pool.release(fake.pool.acquire(30))
    assert fake.driver.pings == [0.5, 2.0]


def test_connection_is_not_thrown_away_because_its_borrower_has_no_time() -> None:
    """A ping of no seconds fails on the healthiest connection; with a timeout of zero the pool would eat itself."""
    fake = FakePool(max_size=1)
    (connection,) = fake.fill()
    fake.clock.advance(60)
    assert fake.pool.acquire(0).connection is connection
    assert 0 < fake.driver.pings[0] <= 0.1


def test_time_for_pings_counts_against_the_timeout() -> None:
    """Each step gets what is left, or a call takes as many timeouts as it has steps."""
    fake = FakePool(max_size=3, ping_timeout=2.0)
    for connection in fake.fill():
        connection.answers = False
    fake.clock.advance(60)
    started_at = fake.clock.now()
    fake.driver.before_ping = lambda: fake.clock.advance(fake.driver.pings[-1])
    with pytest.raises(PoolTimeout, match=r"unfit \(ping\)"):
        fake.pool.acquire(3)
    assert fake.clock.now() == started_at + 3
    assert fake.driver.pings == [2.0, 1.0]


def test_no_lock_is_held_while_a_connection_is_looked_at() -> None:
    """Where validation runs under the lock, one silent server stops every thread of the program."""
    threaded = ThreadedPool(max_size=2, ping_idle_after=0.0)
    threaded.pool.release(threaded.pool.acquire())
    threaded.driver.before_ping = silence = Gate()
    caller = Caller(threaded.pool.acquire)
    silence.wait_reached()
    threaded.driver.before_ping = lambda: None
    threaded.pool.release(threaded.pool.acquire())
    silence.open()
    threaded.pool.release(caller.result())
    threaded.pool.close()


def test_check_runs_before_each_loan() -> None:
    """What only the user can know, a replica's lag for one, is asked when it matters, a first loan included."""
    checked: list[int] = []
    fake = FakePool(max_size=1, check=lambda connection: checked.append(connection.number))
    for _ in range(3):
        fake.pool.release(fake.pool.acquire(1))
    assert checked == [1, 1, 1]


def test_connection_that_fails_its_check_is_replaced() -> None:
    """It is not put back to be tried by the next one."""

    def check(connection: FakeConnection) -> None:
        assert connection.number > 2

    fake = FakePool(max_size=2, check=check)
    assert fake.pool.acquire(5).connection.number == 3
    assert fake.pool.stats().discarded == {"check": 2}
    assert len(fake.driver.open) == 1


def test_check_that_always_fails_ends_in_a_timeout_and_does_not_spin() -> None:
    """A check with a typo must not open and close a thousand connections a second."""

    def check(_: FakeConnection) -> None:
        raise ValueError("typo")

    fake = FakePool(max_size=2, check=check)
    with pytest.raises(PoolTimeout, match=r"unfit \(check\)"):
        fake.pool.acquire(10)
    assert fake.clock.now() == 10.0
    assert len(fake.driver.made) <= 12
    assert fake.driver.open == []


def test_check_leaves_nothing_behind_in_the_session() -> None:
    """What the check began, a transaction for one, is undone before the borrower comes."""
    fake = FakePool(max_size=1, check=lambda _: None)
    connection = fake.fill()[0]
    before = connection.restored
    fake.pool.acquire(1)
    assert connection.restored == before + 1


def test_interrupted_check_loses_nothing() -> None:
    """Ctrl-C in the user's own code costs that connection and no slot."""
    hit = [KeyboardInterrupt()]

    def check(_: FakeConnection) -> None:
        if hit:
            raise hit.pop()

    fake = FakePool(max_size=1, check=check)
    with pytest.raises(KeyboardInterrupt):
        fake.pool.acquire(1)
    assert fake.pool.stats().discarded == {"interrupted": 1}
    assert fake.pool.acquire(1).connection.number == 2


def test_expired_idle_connection_is_not_lent() -> None:
    """A pool that looks at the age on return alone lends what grew old in the rack."""
    fake = FakePool(max_size=1, max_lifetime=100.0, idle_timeout=None)
    fake.fill()
    fake.clock.advance(100)
    assert fake.pool.acquire(1).connection.number == 2
    assert fake.pool.stats().retired == {"max_lifetime": 1}
    assert fake.driver.made[0].said_goodbye


def test_connection_that_expired_on_loan_is_closed_on_return() -> None:
    """It is not taken from its borrower, and not lent to another."""
    fake = FakePool(max_size=1, max_lifetime=100.0)
    loan = fake.pool.acquire(1)
    fake.clock.advance(100)
    assert fake.driver.open == [loan.connection]
    fake.pool.release(loan)
    assert fake.driver.open == []
    assert fake.pool.stats().cold == 1


def test_young_connection_is_kept() -> None:
    """The other side of the limit: nothing is replaced before its time."""
    fake = FakePool(max_size=1, max_lifetime=100.0, lifetime_jitter=0.0)
    (connection,) = fake.fill()
    fake.clock.advance(99)
    assert fake.pool.acquire(1).connection is connection


def test_lifetimes_of_connections_opened_together_are_spread() -> None:
    """A hundred connections that end together are a hundred connects together."""
    fake = FakePool(max_size=100, max_lifetime=1000.0, lifetime_jitter=0.5, idle_timeout=None, ping_idle_after=None)
    fake.fill()
    fake.clock.advance(499)
    assert {loan.connection.number <= 100 for loan in _return_all(fake)} == {True}
    fake.clock.advance(250)
    fresh = sum(loan.connection.number > 100 for loan in _return_all(fake))
    assert 20 <= fresh <= 80
    fake.clock.advance(251)
    assert all(loan.connection.number > 100 for loan in _return_all(fake))


def test_without_a_lifetime_nothing_grows_old() -> None:
    """None means never."""
    fake = FakePool(max_size=1, max_lifetime=None, idle_timeout=None, ping_idle_after=None)
    (connection,) = fake.fill()
    fake.clock.advance(10**9)
    assert fake.pool.acquire(1).connection is connection


def test_one_outage_is_one_invalidation() -> None:
    """Ten threads fail in the same outage; what is opened after it must not be distrusted ten times."""
    fake = FakePool(max_size=3)
    loans = fake.borrow(3)
    for loan in loans:
        fake.pool.invalidate(loan, retire=False)
        fake.pool.release(loan, "server gone")
    renewed = fake.borrow(3)
    for loan in renewed:
        fake.pool.release(loan)
    fake.borrow(3)
    assert fake.driver.pings == []
    assert fake.pool.stats().opened == 6


def test_after_an_outage_each_older_connection_is_pinged_before_its_next_loan() -> None:
    """Most of them are dead without having said so; those that live are kept."""
    fake = FakePool(max_size=3)
    victim, *others = fake.borrow(3)
    for loan in others:
        fake.pool.release(loan)
    others[0].connection.answers = False
    fake.pool.invalidate(victim, retire=False)
    fake.pool.release(victim, "server gone")
    loans = fake.borrow(3)
    assert {loan.connection.number for loan in loans} == {others[1].connection.number, 4, 5}
    assert len(fake.driver.pings) == 2
    for loan in loans:
        fake.pool.release(loan)
    fake.borrow(3)
    assert len(fake.driver.pings) == 2


def test_connection_on_loan_during_an_outage_is_pinged_when_it_changes_hands() -> None:
    """It goes straight to the next in line, without a night in the rack."""
    fake = FakePool(max_size=2)
    victim, other = fake.borrow(2)
    fake.pool.invalidate(victim, retire=False)
    fake.in_seconds(1, lambda: fake.pool.release(other))
    fake.pool.acquire(5)
    assert other.connection.pinged == 1


def test_server_that_became_read_only_has_all_its_connections_replaced() -> None:
    """After a failover the old primary answers every ping, and refuses every write."""
    fake = FakePool(max_size=3)
    loans = fake.borrow(3)
    fake.pool.release(loans[2])
    fake.pool.invalidate(loans[0], retire=True)
    for loan in loans[:2]:
        fake.pool.release(loan)
    assert {loan.connection.number for loan in fake.borrow(3)} == {4, 5, 6}
    assert fake.pool.stats().retired == {"drained": 3}


def test_loan_that_is_over_invalidates_nothing() -> None:
    """A late error of a connection that is long gone says nothing about those there are now."""
    fake = FakePool(max_size=1)
    loan = fake.pool.acquire(1)
    fake.pool.release(loan)
    fake.pool.invalidate(loan, retire=True)
    assert fake.pool.acquire(1).connection is loan.connection


def test_ping_from_before_an_outage_proves_nothing_after_it() -> None:
    """The answer was on its way when the server went down."""
    fake = FakePool(max_size=2)
    victim, other = fake.borrow(2)
    fake.pool.release(other)
    fake.clock.advance(60)
    fake.driver.before_ping = lambda: fake.pool.invalidate(victim, retire=False)
    loan = fake.pool.acquire(1)
    fake.driver.before_ping = lambda: None
    fake.pool.release(loan)
    fake.pool.acquire(1)
    assert len(fake.driver.pings) == 2


def _return_all(fake: FakePool) -> list[Loan[FakeConnection]]:
    loans = fake.borrow(fake.pool.settings.max_size)
    for loan in loans:
        fake.pool.release(loan)
    return loans


def test_answer_a_moment_ago_is_proof_enough_and_an_older_one_is_not() -> None:
    """Looking at the socket costs a system call; within a tenth of a millisecond no server ends a session."""
    fake = FakePool(max_size=1)
    connection = fake.fill()[0]
    looks = 0

    def look() -> None:
        nonlocal looks
        looks += 1

    fake.driver.before_look = look
    fake.pool.release(fake.pool.acquire(1))
    assert looks == 0
    fake.clock.advance(0.001)
    fake.pool.release(fake.pool.acquire(1))
    assert looks == 1
    assert connection.open


def test_jump_of_the_wall_clock_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clocks are set, summer time comes: no borrower may time out for that, and no connection expire."""
    threaded = ThreadedPool(max_size=1, max_lifetime=60.0, idle_timeout=60.0, ping_idle_after=60.0)
    loan = threaded.pool.acquire()
    monkeypatch.setattr("time.time", lambda: 4_000_000_000.0)
    waiting = Caller(lambda: threaded.pool.release(threaded.pool.acquire(30)))
    eventually(lambda: threaded.pool.stats().waiting == 1)
    monkeypatch.setattr("time.time", lambda: 0.0)
    threaded.pool.release(loan)
    waiting.result()
    stats = threaded.pool.stats()
    assert (stats.opened, stats.timed_out, stats.retired, stats.discarded) == (1, 0, {}, {})
    threaded.pool.close()
