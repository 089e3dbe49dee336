"""No borrower is served after its deadline, whatever took the time."""

from __future__ import annotations

import pytest

from improved_db.errors import PoolTimeout
from tests.fakes import FakePool


def test_a_check_that_takes_longer_than_the_borrower_has_is_a_timeout() -> None:
    """A check is a statement; its server may be slow."""
    slow = [0.0]
    fake: FakePool = FakePool(max_size=1, check=lambda _: fake.clock.advance(slow[0]))
    fake.fill()
    slow[0] = 3.0
    with pytest.raises(PoolTimeout, match="check took too long"):
        fake.pool.acquire(1.5)
    stats = fake.pool.stats()
    assert (stats.idle, stats.used, stats.timed_out, stats.discarded) == (1, 0, 1, {})
