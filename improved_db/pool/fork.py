"""What a forked child does with the pools of its parent: each starts cold, and sends nothing on the parent's sockets.

Knows every pool of the process, weakly. Does not know what a pool does.
"""

from __future__ import annotations

import os
import weakref
from typing import Protocol


class Forked(Protocol):
    """A pool, which starts anew in a forked child."""

    def begin_in_child(self) -> None:
        """Start anew."""


#: Every pool of this process, for the one hook that runs after a fork; the first pool registers it, not the import.
_pools: weakref.WeakSet[Forked] = weakref.WeakSet()
_hooked = False


def remember(pool: Forked) -> None:
    """Let *pool* start anew in every forked child."""
    global _hooked
    _pools.add(pool)
    if not _hooked and hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_after_fork_in_child)
    _hooked = True


def _after_fork_in_child() -> None:
    for pool in list(_pools):
        pool.begin_in_child()
