"""What a pool counts, and what it tells of itself: its counters, open loans, and listeners.

Knows names and numbers. Does not know their readers, or any metrics library.
"""

from __future__ import annotations

from typing import Final, NamedTuple, Protocol


class Borrowed(NamedTuple):
    """One loan that a borrower holds now.

    Attributes:
        thread: The name of the borrower's thread.
        seconds: How long the borrower has held it.
        place: Where it was borrowed, innermost frame first, as ``file:line in function``.
    """

    thread: str
    seconds: float
    place: tuple[str, ...]

    def __str__(self) -> str:
        at = f" at {self.place[0]}" if self.place else ""
        return f"{self.thread} for {self.seconds:.1f} s{at}"


class Listener(Protocol):
    """Hears each duration, in seconds, as it happens; the pool calls it outside its lock."""

    def waited(self, pool: str, seconds: float) -> None:
        """Hear that a borrower was served after a wait (0.0: at once)."""

    def used(self, pool: str, seconds: float) -> None:
        """Hear that a borrower returned its connection."""

    def created(self, pool: str, seconds: float) -> None:
        """Hear that a connection was opened."""


#: The reasons for which a healthy connection is retired. Every other reason means that it was unfit and is discarded.
RULES: Final = frozenset({"closed", "drained", "resized", "max_lifetime", "idle_timeout", "overflow"})


class Counters:
    """The counters of a pool, changed under its lock only; each is explained in `PoolStats`."""

    __slots__ = (
        *("acquired", "waited", "wait_seconds", "use_seconds", "timed_out", "refused", "opened", "open_seconds"),
        *("open_errors", "peak_size", "discarded", "retired", "lost", "leaks"),
    )

    def __init__(self) -> None:
        self.acquired: int = 0
        self.waited: int = 0
        self.wait_seconds: float = 0.0
        self.use_seconds: float = 0.0
        self.timed_out: int = 0
        self.refused: int = 0
        self.opened: int = 0
        self.open_seconds: float = 0.0
        self.open_errors: int = 0
        self.peak_size: int = 0
        self.discarded: dict[str, int] = {}
        self.retired: dict[str, int] = {}
        self.lost: int = 0
        self.leaks: int = 0

    def count(self, reason: str, number: int = 1) -> None:
        """Count connections that were retired or discarded, by reason."""
        if number:
            counts = self.retired if reason in RULES else self.discarded
            counts[reason] = counts.get(reason, 0) + number
