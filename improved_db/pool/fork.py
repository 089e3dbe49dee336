"""What a forked child does with the pools of its parent: each starts cold, and says nothing on the parent's sockets.

Knows every pool of the process, weakly. Does not know what a pool does.
"""

from __future__ import annotations

import os
import weakref
from typing import Protocol


class Forked(Protocol):
    """What has to start anew in a forked child."""

    def begin_in_child(self) -> None:
        """Start anew."""


#: Every pool of this process, for the one hook that a fork calls; set up by the first pool, never at import.
_pools: weakref.WeakSet[Forked] = weakref.WeakSet()
_hooked = False


def remember(pool: Forked) -> None:
    """Let *pool* start anew in every child that `os.fork` makes."""
    global _hooked
    _pools.add(pool)
    if not _hooked and hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_after_fork_in_child)
    _hooked = True


def _after_fork_in_child() -> None:
    for pool in list(_pools):
        pool.begin_in_child()
