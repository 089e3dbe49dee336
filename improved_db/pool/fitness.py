"""Whether a connection may be lent: it is alive, young enough, and has answered lately.

Knows the driver's checks of a connection, and the settings for them. Does not know how slots move, or who waits.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    from improved_db.pool.driver import Driver
    from improved_db.pool.loan import Loan
    from improved_db.pool.slot import Slot
    from improved_db.pool.state import PoolState
    from improved_db.settings.settings import PoolSettings

C = TypeVar("C")
logger: logging.Logger = logging.getLogger("improved_db.pool")

#: Seconds for which an answer proves a connection alive. No server ends a session in so short a time; and to look at
#: the socket is a system call, during which another thread takes the interpreter.
FRESH: Final = 0.0001

#: The least time, in seconds, for a ping or a check: a borrower in a hurry must not cost the pool a healthy connection.
SHORTEST_PING: Final = 0.05


class Fitness(Generic[C]):
    """Checks the connections of one pool, while the caller holds them."""

    def __init__(
        self, driver: Driver[C], settings: PoolSettings, state: PoolState[C], now: Callable[[], float]
    ) -> None:
        self._driver = driver
        self._state = state
        self._now = now
        self._name = settings.name
        self._check = settings.check
        self._ping_timeout = settings.ping_timeout
        self._ping_window = float("inf") if settings.ping_idle_after is None else settings.ping_idle_after

    def flaw(self, loan: Loan[C]) -> str | None:
        """Return why the connection of the loan's slot must not be lent; None if it is fit, and the loan has it now."""
        slot = loan.slot
        assert slot is not None
        assert slot.connection is not None
        now = self._now()
        silence = now - slot.checked_at
        if silence > FRESH and not self._driver.is_alive(slot.connection):
            return "dead"
        if (
            silence >= self._ping_window
            or now >= slot.expires_at
            or slot.generation != self._state.generation
            or loan.ping
            or self._check is not None
        ):
            flaw = self._examine(slot, slot.connection, now, loan)
            if flaw is not None:
                return flaw
        loan.connection = slot.connection
        loan.taken_at = now
        return None

    def still_answers(self, loan: Loan[C], timeout: float | None = None) -> bool:
        """Ping the server over a connection that maintenance, or a caller who only asks this, holds."""
        assert loan.slot is not None
        alive = self._driver.ping(loan.connection, self._ping_timeout if timeout is None else timeout)
        loan.slot.checked_at = self._now()
        return alive

    def _examine(self, slot: Slot[C], connection: C, now: float, loan: Loan[C]) -> str | None:
        """Check a connection that is old, was silent for long, or has become suspect."""
        if slot.generation < self._state.retire_below:
            return "drained"
        if now >= slot.expires_at:
            return "max_lifetime"
        if loan.ping or now - slot.checked_at >= self._ping_window or slot.generation != self._state.generation:
            generation = self._state.generation
            timeout = max(min(self._ping_timeout, loan.deadline - now), SHORTEST_PING)
            if not self._driver.ping(connection, timeout):
                return "ping"
            slot.generation = generation
            slot.checked_at = self._now()
        if self._check is None:
            return None
        if not self._passes(self._check, connection):
            return "check"
        return "late" if self._now() > loan.deadline + SHORTEST_PING else None

    def _passes(self, check: Callable[[C], object], connection: C) -> bool:
        try:
            check(connection)
        except Exception as error:
            logger.warning("pool %r: check failed: %s", self._name, str(error))
            return False
        return self._driver.restore(connection)
