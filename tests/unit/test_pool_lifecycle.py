"""The owner's verbs that change a running pool: wait, drain, resize, suspend and resume."""

from __future__ import annotations

import pytest

from improved_db.errors import ConfigError, PoolClosed, PoolTimeout
from improved_db.settings.settings import PoolSettings
from tests.fakes import PATIENCE, Caller, FakePool, Gate, ThreadedPool, eventually, refuse

# --- wait -----------------------------------------------------------------------------------------------------------


def test_wait_returns_when_min_size_is_up() -> None:
    """A service says that it is ready only when it is."""
    threaded = ThreadedPool(min_size=3, max_size=5)
    threaded.pool.wait(PATIENCE)
    assert threaded.pool.stats().idle == 3
    threaded.pool.wait(0)
    assert threaded.pool.stats().opened == 3
    threaded.pool.close()


def test_wait_opens_as_many_as_are_asked_for() -> None:
    """Connections wanted beforehand need not be kept for ever."""
    fake = FakePool(max_size=5)
    fake.pool.wait(1, at_least=4)
    assert fake.pool.stats().idle == 4


def test_wait_is_patient_with_a_server_that_comes_up_later() -> None:
    """Programs and servers are started together, and the server takes longer."""
    fake = FakePool(max_size=1)
    fake.driver.connect_errors += [ConnectionRefusedError("not yet")] * 5
    fake.pool.wait(60)
    assert fake.pool.stats().idle == 1
    assert fake.pool.stats().open_errors == 5


def test_wait_that_fails_says_what_the_driver_said() -> None:
    """A bare "not ready" explains nothing; the connect error does."""
    fake = FakePool(max_size=2, name="orders")
    fake.driver.before_connect = refuse
    with pytest.raises(PoolTimeout, match=r"'orders': 0 of 2 connections after 10 s") as caught:
        fake.pool.wait(10, at_least=2)
    assert isinstance(caught.value.__cause__, ConnectionRefusedError)
    assert fake.clock.now() == 10.0
    assert fake.pool.stats().open_errors <= 30


def test_impatient_wait_fails_with_the_first_connect_error() -> None:
    """Where an address is new, a mistake in it is more likely than an outage."""
    fake = FakePool(max_size=1)
    fake.driver.before_connect = refuse
    with pytest.raises(ConnectionRefusedError):
        fake.pool.wait(60, patient=False)
    assert fake.clock.now() == 0.0


def test_wait_on_a_closed_pool_is_refused() -> None:
    """It would wait for what no opener opens any more."""
    fake = FakePool()
    fake.pool.close()
    with pytest.raises(PoolClosed):
        fake.pool.wait(60)
    assert fake.clock.now() == 0.0


def test_close_ends_a_wait() -> None:
    """Shutting down during startup must not take as long as starting up."""
    threaded = ThreadedPool(max_size=1)
    threaded.driver.before_connect = hang = Gate()
    waiting = Caller(lambda: threaded.pool.wait(PATIENCE))
    eventually(lambda: threaded.pool.stats().opening == 1)
    threaded.pool.close(0)
    with pytest.raises(PoolClosed):
        waiting.result()
    hang.open()
    eventually(lambda: threaded.pool.stats().opening == 0)
    assert threaded.driver.open == []


# --- drain ----------------------------------------------------------------------------------------------------------


def test_drain_replaces_idle_connections_now_and_lent_ones_on_return() -> None:
    """After a failover, or a new password, no session of before may serve a borrower."""
    fake = FakePool(max_size=3)
    loans = fake.borrow(3)
    fake.pool.release(loans.pop())
    fake.pool.drain()
    assert fake.pool.stats().idle == 0
    for loan in loans:
        assert loan.connection.open
        fake.pool.release(loan)
    assert fake.driver.open == []
    assert {loan.connection.number for loan in fake.borrow(3)} == {4, 5, 6}
    assert fake.pool.stats().retired == {"drained": 3}


def test_drain_leaves_those_that_come_after_it() -> None:
    """One drain is one replacement."""
    fake = FakePool(max_size=1)
    fake.fill()
    fake.pool.drain()
    connection = fake.fill()[0]
    fake.pool.release(fake.pool.acquire(1))
    assert fake.pool.acquire(1).connection is connection


def test_drained_pool_is_filled_to_its_min_size() -> None:
    """A service that keeps five connections keeps five after a drain."""
    fake = FakePool(min_size=3, max_size=5)
    fake.pool.wait(1)
    fake.pool.drain()
    assert fake.pool.stats().idle == 3
    assert fake.pool.stats().opened == 6


# --- resize ---------------------------------------------------------------------------------------------------------


def test_growth_serves_who_waits() -> None:
    """Room that is made under load is made for those who wait for it."""
    fake = FakePool(max_size=1)
    loan = fake.pool.acquire(1)
    fake.in_seconds(1, lambda: fake.pool.resize(2))
    assert fake.pool.acquire(10).connection.number == 2
    assert fake.clock.now() == 1.0
    fake.pool.release(loan)


def test_shrinking_closes_the_longest_idle() -> None:
    """The others are warm."""
    fake = FakePool(max_size=4)
    oldest, *others = fake.fill()
    fake.pool.resize(3)
    assert fake.driver.open == others
    assert oldest.said_goodbye
    assert fake.pool.stats().retired == {"resized": 1}


def test_cold_slots_leave_before_connections_do() -> None:
    """Shrinking by connections that do not exist costs nothing."""
    fake = FakePool(max_size=5)
    fake.fill(2)
    fake.pool.resize(2)
    stats = fake.pool.stats()
    assert (stats.idle, stats.cold) == (2, 0)


def test_shrinking_while_lent_takes_effect_on_return() -> None:
    """No borrower's connection is taken away, and the new limit holds as soon as it can."""
    fake = FakePool(max_size=4)
    loans = fake.borrow(4)
    fake.pool.resize(2)
    assert fake.pool.stats().used == 4
    for loan in loans:
        fake.pool.release(loan)
    stats = fake.pool.stats()
    assert (stats.idle, stats.cold, stats.max_size) == (2, 0, 2)
    assert len(fake.driver.open) == 2


def test_shrunk_and_grown_again_the_pool_has_its_new_size() -> None:
    """Slots that were to leave and those that came meanwhile add up."""
    fake = FakePool(max_size=4)
    loans = fake.borrow(4)
    fake.pool.resize(1)
    fake.pool.release(loans.pop())
    fake.pool.resize(6)
    for loan in loans:
        fake.pool.release(loan)
    loans = fake.borrow(6)
    assert len(fake.driver.open) == len(loans) == 6
    with pytest.raises(PoolTimeout):
        fake.pool.acquire(1)


@pytest.mark.parametrize(("max_size", "min_size"), [(0, None), (-1, None), (2, -1)])
def test_impossible_size_is_refused_and_changes_nothing(max_size: int, min_size: int | None) -> None:
    """A pool of no connections serves no borrower, for ever."""
    fake = FakePool(max_size=3)
    with pytest.raises(ConfigError):
        fake.pool.resize(max_size, min_size)
    assert len(fake.borrow(3)) == 3


@pytest.mark.parametrize("sizes", [{"max_size": 0}, {"min_size": -1}, {"min_size": 3, "max_size": 2}])
def test_impossible_size_is_refused_at_once(sizes: dict[str, int]) -> None:
    """A mistake in the settings is told where it is made, not at the first borrower."""
    with pytest.raises(ConfigError):
        PoolSettings(**sizes)  # type: ignore[arg-type]  # mypy cannot know which


def test_min_size_follows_a_smaller_max_size() -> None:
    """Otherwise the pool would open what it has to close."""
    fake = FakePool(min_size=4, max_size=4)
    fake.pool.wait(1)
    fake.pool.resize(2)
    assert fake.pool.stats().min_size == 2
    assert fake.pool.stats().idle == 2


def test_larger_min_size_is_opened_at_once() -> None:
    """Who asks for connections beforehand does not want to wait for the first borrower."""
    fake = FakePool(max_size=4)
    fake.pool.resize(4, 3)
    assert fake.pool.stats().idle == 3


# --- suspend and resume ---------------------------------------------------------------------------------------------


def test_suspended_pool_serves_no_borrower_until_it_is_resumed() -> None:
    """During a planned switch requests wait a moment instead of failing."""
    fake = FakePool(max_size=2)
    fake.fill()
    fake.pool.suspend()
    fake.in_seconds(3, fake.pool.resume)
    fake.pool.acquire(10)
    assert fake.clock.now() == 3.0


def test_borrower_of_a_suspended_pool_waits_until_its_own_deadline() -> None:
    """A switch that takes too long must not hold requests that no client waits for any more."""
    fake = FakePool(max_size=2)
    fake.fill()
    fake.pool.suspend()
    with pytest.raises(PoolTimeout):
        fake.pool.acquire(5)
    assert fake.clock.now() == 5.0
    assert fake.pool.stats().idle == 2


def test_connections_come_home_to_a_suspended_pool() -> None:
    """Those that were lent finish; none goes to a borrower who waits."""
    threaded = ThreadedPool(max_size=1)
    loan = threaded.pool.acquire()
    (waiting,) = threaded.in_line(1, threaded.pool.acquire)
    threaded.pool.suspend()
    threaded.pool.release(loan)
    assert threaded.pool.stats().idle == 1
    assert threaded.pool.stats().waiting == 1
    threaded.pool.resume()
    threaded.pool.release(waiting.result())
    threaded.pool.close()


def test_resume_serves_in_the_order_of_the_line() -> None:
    """A pause is no reason to lose one's place."""
    threaded = ThreadedPool(max_size=2)
    for loan in [threaded.pool.acquire() for _ in range(2)]:
        threaded.pool.release(loan)
    threaded.pool.suspend()
    callers = threaded.in_line(4, threaded.pool.acquire)
    threaded.pool.resume()
    first = [caller.result() for caller in callers[:2]]
    assert threaded.pool.stats().waiting == 2
    for loan in first:
        threaded.pool.release(loan)
    for caller in callers[2:]:
        threaded.pool.release(caller.result())
    threaded.pool.close()


def test_resume_opens_for_those_whom_the_rack_cannot_serve() -> None:
    """A pool that was suspended while cold has to connect afterwards, as it would have before."""
    fake = FakePool(max_size=2)
    fake.pool.suspend()
    fake.in_seconds(1, fake.pool.resume)
    assert fake.pool.acquire(5).connection.number == 1
    assert fake.clock.now() == 1.0


def test_failed_connect_in_a_suspended_pool_fails_no_waiter() -> None:
    """That the server is away is the reason for the suspension."""
    fake = FakePool(min_size=1, max_size=1)
    fake.pool.suspend()
    fake.driver.connect_errors.append(ConnectionRefusedError("being switched"))
    fake.in_seconds(1, fake.pool.replenish)
    fake.in_seconds(2, fake.pool.resume)
    assert fake.pool.acquire(10).connection.number == 1
    assert fake.pool.stats().open_errors == 1


def test_operations_on_a_closed_pool_are_refused() -> None:
    """Nothing brings it back, and no text should suggest it."""
    fake = FakePool()
    fake.pool.close()
    for verb in (fake.pool.drain, fake.pool.suspend, fake.pool.resume, lambda: fake.pool.resize(3), fake.pool.acquire):
        with pytest.raises(PoolClosed):
            verb()


def test_pause_sleeps_unless_the_pool_is_closed() -> None:
    """A retry that sleeps must not hold a shutdown up."""
    threaded = ThreadedPool()
    sleeper = Caller(lambda: threaded.pool.pause(PATIENCE))
    threaded.pool.close()
    with pytest.raises(PoolClosed):
        sleeper.result()
    fake = FakePool()
    fake.pool.pause(3)
    assert fake.clock.now() == 3.0
