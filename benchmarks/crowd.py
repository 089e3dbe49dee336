"""Many threads that do the same thing again and again, for some time.

Knows threads. Does not know what they do.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class Crowd(NamedTuple):
    """What came of it.

    Attributes:
        turns: How many turns each thread had.
        seconds: How long they were at it, all of them.
    """

    turns: Sequence[int]
    seconds: float

    @property
    def rate(self) -> float:
        """Turns of all threads in a second."""
        return sum(self.turns) / self.seconds

    @property
    def unfairness(self) -> float:
        """How many times as many turns the luckiest thread had as the unluckiest."""
        return max(self.turns) / max(min(self.turns), 1)


def crowd(turn: Callable[[], object], threads: int, *, seconds: float | None = None, turns: int = 0) -> Crowd:
    """Let threads take turns.

    Args:
        turn: What each of them does, again and again.
        threads: How many there are.
        seconds: For how long; a thread that waits in *turn* at the end still gets it.
        turns: How many turns each has, if there is no time.

    Raises:
        Exception: What the first thread that failed said.
    """
    began: list[float] = []
    start = threading.Barrier(threads + 1, action=lambda: began.append(time.perf_counter()))
    stop = threading.Event()
    counts = [0] * threads
    errors: list[BaseException] = []

    def work(number: int) -> None:
        start.wait()
        try:
            while not stop.is_set() and (seconds is not None or counts[number] < turns):
                turn()
                counts[number] += 1
        except BaseException as error:
            errors.append(error)
            stop.set()

    members = [threading.Thread(target=work, args=(number,), daemon=True) for number in range(threads)]
    for member in members:
        member.start()
    start.wait()
    if seconds is not None:
        stop.wait(seconds)
        stop.set()
    for member in members:
        member.join()
    elapsed = time.perf_counter() - began[0]
    if errors:
        raise errors[0]
    return Crowd(counts, elapsed)
