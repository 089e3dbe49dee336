"""The only fakes: a clock that stands still until told, and a driver that fails when, and only when, it is told to."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from improved_db.clock import Signal


class FakeClock:
    """Time that passes only by waiting, and lets things happen at set instants."""

    def __init__(self) -> None:
        self._now = 0.0
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._serial = itertools.count()

    def now(self) -> float:
        """Return seconds since the beginning."""
        return self._now

    def at(self, instant: float, action: Callable[[], None]) -> None:
        """Let *action* happen when time reaches *instant*."""
        self._due.append((instant, next(self._serial), action))
        self._due.sort(key=lambda entry: entry[:2])

    def advance(self, seconds: float) -> None:
        """Let *seconds* pass, and happen what is due on the way."""
        self._pass_until(self._now + seconds, lambda: False)

    sleep = advance

    def wait(self, signal: Signal, timeout: float) -> bool:
        """Let time pass until *signal* is released or *timeout* is over."""
        taken = signal.acquire(blocking=False)
        if not taken:

            def released() -> bool:
                nonlocal taken
                taken = signal.acquire(blocking=False)
                return taken

            self._pass_until(self._now + max(timeout, 0.0), released)
        return taken

    def _pass_until(self, end: float, enough: Callable[[], bool]) -> None:
        while self._due and self._due[0][0] <= end:
            instant, _, action = self._due.pop(0)
            self._now = max(self._now, instant)
            action()
            if enough():
                return
        if end != float("inf"):
            self._now = max(self._now, end)


class FakeConnection:
    """What the fake driver pools."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.open = True
        self.alive = True
        self.answers = True
        self.restorable = True
        self.said_goodbye = False
        self.restored = 0
        self.pinged = 0

    def __repr__(self) -> str:
        return f"<connection {self.number}>"


class FakeDriver:
    """A driver whose every failure is ordered beforehand."""

    def __init__(self) -> None:
        self.made: list[FakeConnection] = []
        self.connect_errors: list[BaseException] = []
        self.restore_errors: list[BaseException] = []
        self.before_connect: Callable[[], None] = lambda: None
        self.before_restore: Callable[[], None] = lambda: None
        self.before_ping: Callable[[], None] = lambda: None
        self.idle_limit: float | None = None

    @property
    def open(self) -> list[FakeConnection]:
        """The connections that are open now."""
        return [connection for connection in self.made if connection.open]

    def connect(self) -> FakeConnection:
        """Make a connection, or raise what was ordered."""
        self.before_connect()
        if self.connect_errors:
            raise self.connect_errors.pop(0)
        connection = FakeConnection(len(self.made) + 1)
        self.made.append(connection)
        return connection

    def is_alive(self, connection: FakeConnection) -> bool:
        """Say what was ordered."""
        return connection.open and connection.alive

    def ping(self, connection: FakeConnection, timeout: float) -> bool:
        """Say what was ordered."""
        assert timeout >= 0
        connection.pinged += 1
        self.before_ping()
        return connection.open and connection.answers

    def restore(self, connection: FakeConnection) -> bool:
        """Say what was ordered, or raise it."""
        connection.restored += 1
        self.before_restore()
        if self.restore_errors:
            raise self.restore_errors.pop(0)
        return connection.open and connection.restorable

    def close(self, connection: FakeConnection) -> None:
        """Close politely."""
        connection.said_goodbye = True
        connection.open = False

    def abandon(self, connection: FakeConnection) -> None:
        """Close without a word."""
        connection.open = False

    def cut(self, connection: FakeConnection) -> None:
        """Close under the user."""
        connection.open = False
