"""Where a connection was borrowed is asked without a lock, while its borrower may give it back."""

from __future__ import annotations

import threading
from typing import Any

from improved_db.pool.slot import Slot


class GivenBack(Slot[Any]):
    """A slot that its borrower gives back as soon as its thread has been read once."""

    __slots__ = ("reads",)

    def __init__(self) -> None:
        self.reads = 0
        super().__init__()

    @property  # to see it read
    def thread(self) -> threading.Thread | None:
        """The borrower's thread, and nobody's from the second look on."""
        self.reads += 1
        return threading.current_thread() if self.reads == 1 else None

    @thread.setter
    def thread(self, thread: threading.Thread | None) -> None:
        """Take no note of it."""


def test_a_connection_that_is_given_back_meanwhile_makes_no_other_error() -> None:
    """The text of a PoolTimeout is made of it: the caller got an AttributeError instead."""
    slot = GivenBack()
    place = slot.where()
    assert slot.reads >= 1
    assert all(" in " in line for line in place)
