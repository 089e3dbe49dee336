"""The only fakes: a clock that stands still until told, and a driver that fails when, and only when, it is told to.

With them two helpers for real threads: one that runs something and hands out how it ended, one that waits on a state.
"""

from __future__ import annotations

import itertools
import subprocess
import sys
import threading
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from improved_db.pool.loan import Loan
from improved_db.pool.openers import start_thread
from improved_db.pool.pool import Pool
from improved_db.settings.settings import PoolSettings

if TYPE_CHECKING:
    from collections.abc import Callable

    from improved_db.clock import Signal

R = TypeVar("R")

#: Seconds after which something that has to happen will not: long enough for any machine, and never waited for.
PATIENCE = 30.0


def eventually(predicate: Callable[[], object], timeout: float = PATIENCE) -> None:
    """Wait until *predicate* holds: for the state of other threads and processes, which send no signal.

    Raises:
        AssertionError: It did not, for *timeout* seconds.
    """
    never = threading.Event()
    for _ in range(int(timeout / 0.002)):
        if predicate():
            return
        never.wait(0.002)
    raise AssertionError(f"not after {timeout} s: {predicate}")


class Caller(threading.Thread, Generic[R]):
    """A thread that calls something, and tells how it ended.

    A borrower must outlive its loan, or the pool takes it back: the thread stays for as long as the loan that the call
    returned is there, unless it *dies*.
    """

    def __init__(self, call: Callable[[], R], name: str | None = None, *, dies: bool = False) -> None:
        super().__init__(name=name, daemon=True)
        self._call = call
        self._dies = dies
        self._results: list[R] = []
        self._over = threading.Event()
        self.error: BaseException | None = None
        self.start()

    def run(self) -> None:
        """Call it."""
        leave = threading.Event()
        try:
            result = self._call()
            if isinstance(result, Loan) and not self._dies:
                weakref.finalize(result, leave.set)
            else:
                leave.set()
            self._results.append(result)
            del result
        except BaseException as error:  # handed to the thread that asks
            leave.set()
            self.error = error
        finally:
            del self._call
            self._over.set()
        leave.wait()

    def result(self) -> R:
        """Return what the call returned, once it has, or raise what it raised."""
        assert self._over.wait(PATIENCE), f"{self.name} is blocked"
        if self._dies:
            self.join()
        if self.error is not None:
            raise self.error
        return self._results.pop()

    @property
    def blocked(self) -> bool:
        """Whether the call has not returned yet."""
        return not self._over.is_set()


class FakeClock:
    """Time that passes only by waiting, and lets things happen at set instants."""

    def __init__(self) -> None:
        self._now = 0.0
        self._due: list[tuple[float, int, Callable[[], object]]] = []
        self._serial = itertools.count()

    def now(self) -> float:
        """Return seconds since the beginning."""
        return self._now

    def at(self, instant: float, action: Callable[[], object]) -> None:
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
        self.clean = False
        self.pinged = 0

    def __repr__(self) -> str:
        return f"<connection {self.number}>"


class FakeDriver:
    """A driver whose every failure is ordered beforehand."""

    def __init__(self) -> None:
        self.made: list[FakeConnection] = []
        self.connect_errors: list[BaseException] = []
        self.restore_errors: list[BaseException] = []
        self.before_connect: Callable[[], object] = lambda: None
        self.before_restore: Callable[[], object] = lambda: None
        self.before_ping: Callable[[], object] = lambda: None
        self.before_look: Callable[[], object] = lambda: None
        self.before_close: Callable[[], object] = lambda: None
        self.idle_limit: float | None = None
        self.pings: list[float] = []

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
        self.before_look()
        return connection.open and connection.alive

    def ping(self, connection: FakeConnection, timeout: float) -> bool:
        """Say what was ordered."""
        assert timeout >= 0
        connection.pinged += 1
        self.pings.append(timeout)
        self.before_ping()
        return connection.open and connection.answers

    def is_clean(self, connection: FakeConnection) -> bool:
        """Say what was ordered."""
        return connection.open and connection.clean

    def restore(self, connection: FakeConnection) -> bool:
        """Say what was ordered, or raise it."""
        connection.restored += 1
        self.before_restore()
        if self.restore_errors:
            raise self.restore_errors.pop(0)
        return connection.open and connection.restorable

    def close(self, connection: FakeConnection) -> None:
        """Close politely."""
        self.before_close()
        connection.said_goodbye = True
        connection.open = False

    def abandon(self, connection: FakeConnection) -> None:
        """Close without a word."""
        connection.open = False

    def cut(self, connection: FakeConnection) -> None:
        """Close under the user."""
        connection.open = False


def run_alone(function: Callable[[], None], *options: str) -> str:
    """Run a test's own function in a Python of its own, with every warning an error; return what it printed.

    Raises:
        AssertionError: It failed, took too long, or had anything to say on stderr.
    """
    path = Path(function.__code__.co_filename)
    root = path.parents[2]
    module = ".".join(path.relative_to(root).with_suffix("").parts)
    command = f"import {module} as module; module.{function.__name__}()"
    ended = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", *options, "-c", command],
        cwd=root, capture_output=True, text=True, timeout=2 * PATIENCE, check=False,
    )  # fmt: skip
    assert (ended.returncode, ended.stderr) == (0, ""), f"it ended with {ended.returncode}: {ended.stderr}"
    return ended.stdout


class Gate:
    """What threads stop at until it is opened: for the hooks of the driver."""

    def __init__(self) -> None:
        self._reached = threading.Event()
        self._opened = threading.Event()

    def __call__(self) -> None:
        """Stop here."""
        self._reached.set()
        assert self._opened.wait(PATIENCE)

    def wait_reached(self) -> None:
        """Wait until a thread has stopped."""
        assert self._reached.wait(PATIENCE)

    def open(self) -> None:
        """Let every thread through, from now on."""
        self._opened.set()


def refuse() -> None:
    """Refuse a connect."""
    raise ConnectionRefusedError("refused")


class FakePool:
    """A pool on a fake driver and a fake clock, whose openers run at once, in the thread that asks for them."""

    def __init__(self, **settings: Any) -> None:
        self.clock = FakeClock()
        self.driver = FakeDriver()
        self.pool: Pool[FakeConnection] = Pool(
            self.driver, PoolSettings(**settings), clock=self.clock, spawn=lambda work: work()
        )

    def in_seconds(self, seconds: float, action: Callable[[], object]) -> None:
        """Let *action* happen when so much time has passed."""
        self.clock.at(self.clock.now() + seconds, lambda: (action(), None)[1])

    def borrow(self, number: int) -> list[Loan[FakeConnection]]:
        """Borrow *number* connections."""
        return [self.pool.acquire(1) for _ in range(number)]

    def fill(self, number: int | None = None) -> list[FakeConnection]:
        """Open *number* connections, all there may be by default, and leave them idle; the first is the oldest."""
        loans = self.borrow(number or self.pool.settings.max_size)
        for loan in loans:
            self.pool.release(loan)
        return [loan.connection for loan in loans]


class ThreadedPool:
    """A pool on a fake driver, with the real clock and openers in threads of their own."""

    def __init__(
        self,
        driver: FakeDriver | None = None,
        spawn: Callable[[Callable[[], None]], None] = start_thread,
        **settings: Any,
    ) -> None:
        self.driver = driver or FakeDriver()
        self.pool: Pool[FakeConnection] = Pool(
            self.driver, PoolSettings(acquire_timeout=PATIENCE, **settings), spawn=spawn
        )

    def in_line(self, number: int, work: Callable[[], R]) -> list[Caller[R]]:
        """Let *number* threads do *work*, each standing in line before the next one comes."""
        waiting = self.pool.stats().waiting
        callers = []
        for position in range(1, number + 1):
            callers.append(Caller(work, name=f"borrower {position}"))
            eventually(lambda: self.pool.stats().waiting == waiting + position)  # noqa: B023  # asked at once
        return callers
