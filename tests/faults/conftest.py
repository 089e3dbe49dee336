"""What most tests of faults call."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from improved_db import ImprovedDb
    from tests.faults.harness import Rig


@pytest.fixture
def db(rig: Rig) -> ImprovedDb:
    """A pool through the proxy."""
    return rig.db(max_size=3)
