"""An interrupt may come after any call: whatever it hits, no slot is lost and the lock is free."""

from __future__ import annotations

import gc
import logging
from typing import TYPE_CHECKING

import pytest

import improved_db.critical
import improved_db.pool.fitness
import improved_db.pool.housekeeper
import improved_db.pool.loan
import improved_db.pool.openers
import improved_db.pool.pool
import improved_db.pool.rack
import improved_db.pool.reports
import improved_db.pool.slot
import improved_db.pool.state
from improved_db.pool.housekeeper import Housekeeper
from tests.bombs import Bomb, files_of, interrupted
from tests.fakes import FakePool

if TYPE_CHECKING:
    from collections.abc import Callable

FILES = files_of(
    improved_db.critical,
    improved_db.pool.fitness,
    improved_db.pool.housekeeper,
    improved_db.pool.loan,
    improved_db.pool.openers,
    improved_db.pool.pool,
    improved_db.pool.rack,
    improved_db.pool.reports,
    improved_db.pool.slot,
    improved_db.pool.state,
)


def borrow_idle(fake: FakePool) -> None:
    fake.pool.release(fake.pool.acquire(1))


def hand_over(fake: FakePool) -> None:
    first, second = fake.pool.acquire(1), fake.pool.acquire(1)
    fake.clock.at(fake.clock.now() + 1, lambda: fake.pool.release(first))
    third = fake.pool.acquire(5)
    fake.pool.release(third)
    fake.pool.release(second)


def time_out(fake: FakePool) -> None:
    kept = [fake.pool.acquire(1), fake.pool.acquire(1)]
    with pytest.raises(TimeoutError):
        fake.pool.acquire(5)
    del kept


def discard(fake: FakePool) -> None:
    first, second = fake.pool.acquire(1), fake.pool.acquire(1)
    fake.clock.at(fake.clock.now() + 1, lambda: fake.pool.release(first, "broken"))
    fake.pool.release(fake.pool.acquire(5))
    fake.pool.release(second)


def exchange(fake: FakePool) -> None:
    for connection in fake.driver.open:
        connection.alive = False
    fake.pool.release(fake.pool.acquire(5))


def vanish(fake: FakePool) -> None:
    kept = [fake.pool.acquire(1), fake.pool.acquire(1)]
    del kept
    fake.pool.release(fake.pool.acquire(5))
    fake.pool.recover()


def resize(fake: FakePool) -> None:
    first = fake.pool.acquire(1)
    fake.pool.resize(5, 4)
    fake.pool.resize(1)
    fake.pool.release(first)
    fake.pool.resize(2)


def drain(fake: FakePool) -> None:
    first = fake.pool.acquire(1)
    fake.pool.drain()
    fake.pool.release(first)


def suspend(fake: FakePool) -> None:
    fake.pool.suspend()
    fake.clock.at(fake.clock.now() + 1, fake.pool.resume)
    fake.pool.release(fake.pool.acquire(5))


def keep_house(fake: FakePool) -> None:
    fake.pool.resize(4, 2)
    housekeeper = Housekeeper.look_after(fake.pool)
    for _ in range(4):
        fake.clock.advance(400)
        housekeeper.round(fake.pool)


def connect_badly(fake: FakePool) -> None:
    first, second = fake.pool.acquire(1), fake.pool.acquire(1)
    fake.driver.connect_errors += [ConnectionRefusedError("no"), ConnectionRefusedError("no")]
    fake.clock.at(fake.clock.now() + 1, lambda: fake.pool.release(first, "broken"))
    fake.pool.release(fake.pool.acquire(60))
    fake.pool.release(second)


def test_interrupted_return_is_no_loss_even_if_the_borrower_keeps_its_loan() -> None:
    """A variable that outlives its ``with`` block is common; the collector finds nothing as long as it does."""
    instant, went_off = 0, True
    while went_off:
        instant += 1
        fake = FakePool(max_size=1)
        loan = fake.pool.acquire(1)
        bomb = Bomb(instant, FILES)
        interrupted(bomb, lambda: fake.pool.release(loan))  # noqa: B023  # run at once
        went_off = bomb.went_off
        if loan.slot is not None:
            fake.pool.release(loan)
        stats = fake.pool.stats()
        assert (stats.idle + stats.cold, stats.lost) == (1, 0), f"instant {instant}: {stats}"
        fake.pool.release(fake.pool.acquire(1))


SCENARIOS = [
    borrow_idle, hand_over, time_out, discard, exchange, vanish, resize, drain, suspend, keep_house, connect_badly,
]  # fmt: skip


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_interrupt_at_any_instant_loses_no_slot(
    scenario: Callable[[FakePool], None], caplog: pytest.LogCaptureFixture
) -> None:
    """Ctrl-C, and a timeout that a signal raises, arrive wherever they like; other pools shrink for ever by it."""
    caplog.set_level(logging.DEBUG, logger="improved_db")  # a handler that keeps records keeps what is in them
    instant, went_off = 0, True
    while went_off:
        instant += 1
        fake = FakePool(max_size=2)
        fake.fill()
        bomb = Bomb(instant, FILES)
        interrupted(bomb, lambda: scenario(fake))  # noqa: B023  # run at once
        went_off = bomb.went_off
        fake.clock.advance(10)
        fake.driver.connect_errors.clear()
        gc.collect(0)
        fake.pool.resume()
        fake.pool.resize(fake.pool.settings.max_size)
        fake.pool.recover()
        stats = fake.pool.stats()
        where = f"instant {instant}: {stats}"
        assert stats.idle + stats.used + stats.opening + stats.cold == stats.max_size, where
        assert (stats.used, stats.opening, stats.waiting) == (0, 0, 0), where
        loans = [fake.pool.acquire(1) for _ in range(stats.max_size)]
        assert len({loan.connection.number for loan in loans}) == stats.max_size
        for loan in loans:
            fake.pool.release(loan)
        fake.pool.close()
        assert fake.pool.stats().size == 0
