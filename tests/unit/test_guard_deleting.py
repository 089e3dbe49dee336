"""What is deleted from a guard is deleted from what it stands for, while that is lent."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from improved_db.compat._handles import Guard
from improved_db.errors import LoanSpent


def test_an_attribute_deleted_from_a_guard_is_gone_from_what_it_stands_for() -> None:
    """After the return the guard refuses."""
    target, loan = SimpleNamespace(one=1, two=2), SimpleNamespace(slot=object())
    guard = Guard(target, cast("Any", loan))
    del guard.one
    assert not hasattr(target, "one")
    loan.slot = None
    with pytest.raises(LoanSpent):
        del guard.two
    assert target.two == 2
