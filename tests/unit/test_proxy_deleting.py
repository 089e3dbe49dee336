"""An attribute deleted from a proxy is deleted from what the proxy stands for, while that is lent."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from improved_db.compat._handles import Proxy
from improved_db.errors import LoanSpent


def test_an_attribute_deleted_from_a_proxy_is_gone_from_what_it_stands_for() -> None:
    """After the return the proxy raises."""
    target, loan = SimpleNamespace(one=1, two=2), SimpleNamespace(slot=object())
    proxy = Proxy(target, cast("Any", loan))
    del proxy.one
    assert not hasattr(target, "one")
    loan.slot = None
    with pytest.raises(LoanSpent):
        del proxy.two
    assert target.two == 2
