"""Critical sections that no interrupt leaves locked, and that no thread waits for while it is inside.

A signal handler, a finalizer or a generator's ``finally`` runs in the middle of what its thread is doing: also inside a
critical section of this package. If it raises, the lock has to be free afterwards. If it calls this package, it must
not wait for its own thread: the package refuses the call, or postpones its work until the section is over.

``with lock:`` does neither. From Python 3.14 on, the interpreter may deliver a signal between the lock's ``__enter__``
and the first protected instruction, so that no ``__exit__`` follows.

Knows locks. Does not know what they guard.
"""

from __future__ import annotations

import functools
import logging
import threading
from typing import TYPE_CHECKING, Concatenate, ParamSpec, Protocol, TypeVar

from improved_db.errors import PoolError
from improved_db.logs import complain

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")
R = TypeVar("R")
logger: logging.Logger = logging.getLogger("improved_db.pool")


class Reentered(PoolError):
    """A finalizer or a signal handler called the pool in the middle of the pool's own bookkeeping in its thread."""

    def __init__(self) -> None:
        super().__init__(
            "a finalizer or signal handler interrupted the pool in this thread and then called it; "
            "the pool cannot answer before it goes on: set a flag there, and call the pool from ordinary code"
        )


class Section:
    """One critical section: at most one thread is inside, and only once.

    Attributes:
        lock: Reentrant, because it must know its holder: only then does releasing a lock that an interrupted `acquire`
            never took raise, and free nothing of another thread's.
        busy: Whether a thread is inside. Only the holder of the lock reads or writes it, so that a thread that has just
            taken the lock and finds it busy has interrupted itself.
        postponed: What callers that re-entered asked for; the thread that they interrupted does it.
    """

    __slots__ = ("busy", "lock", "postponed")

    def __init__(self) -> None:
        self.lock: threading.RLock = threading.RLock()
        self.busy: bool = False
        self.postponed: list[Callable[[], object]] = []

    def postpone(self, work: Callable[[], object]) -> None:
        """Have *work* done by the thread that this call has interrupted, as soon as it has left the section."""

        def done_later() -> None:
            try:
                work()
            except Exception:
                complain(logger, "work that an interrupting call had postponed failed")

        self.postponed.append(done_later)

    def catch_up(self) -> None:
        """Do the postponed work, outside the section."""
        due, self.postponed = self.postponed, []
        try:
            while due:
                due.pop(0)()
        finally:
            self.postponed += due


class HasSection(Protocol):
    """An object whose state a section guards."""

    @property
    def section(self) -> Section:
        """The section."""


S = TypeVar("S", bound=HasSection)
A = TypeVar("A")


def critical(method: Callable[Concatenate[S, P], R]) -> Callable[Concatenate[S, P], R]:
    """Make a whole method one critical section of its object.

    Between two instructions here that belong together there is no call: CPython delivers signals and asynchronous
    exceptions only after calls and at backward jumps.

    Raises:
        Reentered: The caller interrupted this very thread inside the section.
    """

    @functools.wraps(method)
    def decided(self: S, /, *args: P.args, **kwargs: P.kwargs) -> R:
        section = self.section
        lock = section.lock
        inside = False
        try:
            lock.acquire()
            if section.busy:
                raise Reentered
            section.busy = inside = True
            return method(self, *args, **kwargs)
        finally:
            if inside:
                section.busy = False
                lock.release()
                if section.postponed:
                    section.catch_up()
            else:
                try:
                    lock.release()
                except RuntimeError:  # the wait for the lock was interrupted: this thread does not hold it
                    pass

    return decided


def critical_for_one(method: Callable[[S, A], R]) -> Callable[[S, A], R]:
    """As `critical`, line by line, for a method with one argument: passing on any number takes half as long again."""

    @functools.wraps(method)
    def decided(self: S, argument: A, /) -> R:
        section = self.section
        lock = section.lock
        inside = False
        try:
            lock.acquire()
            if section.busy:
                raise Reentered
            section.busy = inside = True
            return method(self, argument)
        finally:
            if inside:
                section.busy = False
                lock.release()
                if section.postponed:
                    section.catch_up()
            else:
                try:
                    lock.release()
                except RuntimeError:  # as above
                    pass

    return decided
