"""Whether the server answers, within a time.

Knows loans, and which failures say that there is no server. Does not know who asks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from improved_db.errors import ConfigError, PoolTimeout, TooManyWaiting
from improved_db.failures.raising import Failed
from improved_db.failures.verdict import Verdict

if TYPE_CHECKING:
    from improved_db.execution.executor import Executor


def answers(executor: Executor, timeout: float) -> bool:
    """Say whether the server answers a ping within *timeout* seconds; see `ImprovedDb.ping`."""
    given: object = timeout
    if not isinstance(given, (int, float)) or not 0 < given <= 86_400:
        raise ConfigError(f"timeout must be seconds, more than 0 and at most a day, not {timeout!r}")
    pool = executor.pool
    deadline = pool.clock.now() + timeout
    try:
        loan = executor.loans.borrow(deadline, note_place=True)
    except (PoolTimeout, TooManyWaiting):
        return False
    except Failed as failed:
        if failed.verdict is Verdict.NOT_CONNECTED:
            return False
        raise failed.error from failed.error.__cause__
    alive = False
    try:
        alive = pool.still_answers(loan, max(deadline - pool.clock.now(), 0.001))
    finally:
        pool.release(loan, None if alive else "ping")
    return alive
