"""Time for the whole package: monotonic, and replaceable in a test.

Knows seconds. Does not know what they are for.
"""

from __future__ import annotations

import time
from typing import Final, Protocol

#: The longest single wait in seconds. A lock refuses more than its platform's maximum; a year is longer than any wait.
FOREVER: Final = 365.0 * 86400.0


def wall() -> float:
    """Return seconds since 1970, for people to read; it may jump."""
    return time.time()


class Signal(Protocol):
    """What a waiter sleeps on: made taken, and released once to wake it. A raw lock is one."""

    def acquire(self, blocking: bool = ..., timeout: float = ...) -> bool:
        """Sleep until released; False if *timeout* seconds passed first."""

    def release(self) -> None:
        """Wake the sleeper."""


class Clock(Protocol):
    """The time, and the two ways to let it pass."""

    def now(self) -> float:
        """Return seconds since some fixed instant; never goes back."""

    def sleep(self, seconds: float) -> None:
        """Let *seconds* pass."""

    def wait(self, signal: Signal, timeout: float) -> bool:
        """Sleep until *signal* is released; False if *timeout* seconds passed first."""


class MonotonicClock:
    """The real clock."""

    now: staticmethod[[], float] = staticmethod(time.monotonic)
    sleep: staticmethod[[float], None] = staticmethod(time.sleep)

    @staticmethod
    def wait(signal: Signal, timeout: float) -> bool:
        """Sleep until *signal* is released; False if *timeout* seconds passed first."""
        return signal.acquire(timeout=min(max(timeout, 0.0), FOREVER))
