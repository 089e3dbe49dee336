"""A loan: one borrowing of a slot. Whoever holds a slot outside the rack holds it by a loan.

Knows the borrower, its thread and where it stands. Does not know the waiters, drivers or time.
"""

from __future__ import annotations

import gc
import sys
import threading
import weakref
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

if TYPE_CHECKING:
    from threading import Thread
    from types import CodeType, FrameType

    from improved_db.clock import Signal
    from improved_db.pool.slot import Slot

C = TypeVar("C")
Place = tuple[tuple["CodeType", int], ...]

#: How many frames of the borrower are kept.
FRAMES: Final = 8
#: Modules whose frames say nothing about the borrower: ours, and that of the ``with`` block which enters ours.
NOT_THE_BORROWER: Final = ("improved_db.", "contextlib")


class Pulse:
    """Lives as long as the thread it was taken of: it is in that thread's own storage, and nowhere else.

    `Thread.is_alive` will not do: up to Python 3.12 an exception that a signal raises within it declares a living
    thread dead (bpo-45274), and signals arrive anywhere.
    """

    __slots__ = ("__weakref__", "ref", "thread")

    def __init__(self) -> None:
        self.ref = weakref.ref(self)
        self.thread = threading.current_thread()


_here = threading.local()


class Loan(Generic[C]):
    """One borrowing: it waits until it has a slot, and is spent when the slot moves on.

    Attributes:
        thread: The borrower's.
        pulse: Dead when the borrower cannot return the slot any more, because its thread has ended.
        connection: The borrower's, from `Pool.acquire` until `Pool.release`.
        slot: Set, and reset, under the lock only; None before the loan is served and after it is spent.
        signal: What the borrower sleeps on while it waits.
        error: Why it will not be served, if the pool knows more than that time is up.
        ping: Whether the server has to answer before the connection is lent, however short its silence.
        upkeep: Whether the pool itself holds the slot; such loans are in no statistic.
        counted: Whether it is in the statistics already: a borrower whose connection proved unfit is served twice.
        reported: Whether it was reported as held for too long.
    """

    # Defaults live in the class: one loan is made for each query, and most of them never have more.
    connection: C
    pulse: weakref.ref[Any]
    slot: Slot[C] | None = None
    signal: Signal | None = None
    error: BaseException | None = None
    place: Place = ()
    ping = upkeep = counted = reported = False

    def __init__(self, pool: object, started_at: float, deadline: float) -> None:
        mine: Pulse
        try:
            mine = _here.pulse
        except AttributeError:
            mine = _here.pulse = Pulse()
        self.pool = pool
        self.thread = mine.thread
        self.pulse = mine.ref
        self.started_at = self.taken_at = started_at
        self.deadline = deadline
        self.ref = weakref.ref(self)

    def outlive_thread(self) -> None:
        """Let the loan be lost only when its borrower is collected: connections are handed on to other threads."""
        self.pulse = self.ref

    def note_place(self) -> None:
        """Note where the borrower stands: code objects and offsets now, lines only if they are asked for."""
        self.place = _frames(_borrower(sys._getframe(1)))  # the cheap, documented way to one's callers

    def note_caller(self) -> None:
        """Note the borrower's innermost frame alone: all that there is time for before each query."""
        frame = _borrower(sys._getframe(1))
        self.place = () if frame is None else ((frame.f_code, frame.f_lasti),)


def upkeep_loan() -> Loan[Any]:
    """Return a loan by which the pool itself holds a slot: to open, close, restore or look at its connection."""
    loan: Loan[Any] = Loan(None, 0.0, float("inf"))
    loan.upkeep = True
    return loan


def describe_place(place: Place, thread: Thread | None) -> list[str]:
    """Return where a slot was borrowed, innermost frame first, as ``file:line in function``.

    If no place was noted, a call of ours holds the loan for its caller, and *thread* stands in that call now.
    """
    if not place and thread is None:
        return []
    ident = thread.ident if thread is not None else None
    # No variable of ours may hold the frame: it may be our own, and a frame that holds itself holds every loan too.
    place = place or _frames(_borrower(all_frames().get(ident or 0)))
    return [f"{code.co_filename}:{_line(code, offset)} in {code.co_name}" for code, offset in place]


def all_frames() -> dict[int, FrameType]:
    """Return where every thread stands now, by its identifier.

    The collector is kept out meanwhile: it may let go of a thread-local, and the interpreter would wait for itself
    (CPython gh-106883, in some releases up to 3.12).
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        return sys._current_frames()  # documented, for looking at other threads
    finally:
        if collecting:
            gc.enable()


def _borrower(frame: FrameType | None) -> FrameType | None:
    """Return the innermost frame from *frame* outwards that is the borrower's."""
    while frame is not None and frame.f_globals.get("__name__", "").startswith(NOT_THE_BORROWER):
        frame = frame.f_back
    return frame


def _frames(frame: FrameType | None) -> Place:
    place: list[tuple[CodeType, int]] = []
    while frame is not None and len(place) < FRAMES:
        place.append((frame.f_code, frame.f_lasti))
        frame = frame.f_back
    return tuple(place)


def _line(code: CodeType, offset: int) -> int:
    for start, end, line in code.co_lines():
        if start <= offset < end and line is not None:
            return line
    return code.co_firstlineno
