"""Pools with a soft size on a fake driver, for their tests: one in fake time, one with threads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from improved_db.pool.pool import Pool
from improved_db.settings.settings import PoolSettings
from tests.fakes import PATIENCE, FakeClock, FakeConnection, FakeDriver, ThreadedPool

if TYPE_CHECKING:
    from typing import Any

    from improved_db.pool.loan import Loan

NO_LIMIT = float("inf")


class Overflowing:
    """An overflow pool on a fake driver and a fake clock."""

    def __init__(self, max_idle: int | None = None, **settings: Any) -> None:
        self.clock = FakeClock()
        self.driver = FakeDriver()
        chosen = PoolSettings(**{"max_size": 2, **settings})
        idle = chosen.max_size if max_idle is None else max_idle
        self.pool: Pool[FakeConnection] = Pool(self.driver, chosen, max_idle=idle, clock=self.clock)

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
        """Whether no borrower has a connection, and every slot is in one place."""
        stats = self.pool.stats()
        return (stats.used, stats.opening, stats.waiting) == (0, 0, 0) and stats.idle + stats.cold == stats.max_size


class Threaded(ThreadedPool):
    """An overflow pool on a fake driver, with the real clock."""

    pool: Pool[FakeConnection]

    def __init__(self, driver: FakeDriver | None = None, *, max_idle: int = 2, **settings: Any) -> None:
        self.driver = driver or FakeDriver()
        chosen = PoolSettings(**{"max_size": 2, "acquire_timeout": PATIENCE, **settings})
        self.pool = Pool(self.driver, chosen, max_idle=max_idle)
