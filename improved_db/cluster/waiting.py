"""Threads that wait until something holds, each on a signal of its own; no lock guards anything here.

Knows waiting threads. Does not know what they wait for.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from improved_db.clock import Clock, Signal


class Waiters:
    """The threads that wait for a change."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._signals: deque[Signal] = deque()

    def wait_for(self, predicate: Callable[[], bool], deadline: float) -> bool:
        """Wait until *predicate* holds, which is asked after each `wake`; False if *deadline* comes first."""
        while not predicate():
            signal: Signal = threading.Lock()
            signal.acquire()
            self._signals.append(signal)
            # A change after the first look and before the append has found no signal to release.
            woken = predicate() or self._clock.wait(signal, deadline - self._clock.now())
            try:
                self._signals.remove(signal)
            except ValueError:  # `wake` has taken it
                pass
            if not woken:
                return predicate()
        return True

    def wake(self) -> None:
        """Let every thread that waits look again; call it after the change."""
        while True:
            try:
                signal = self._signals.popleft()
            except IndexError:
                return
            signal.release()
