"""A loan: one borrowing of a slot. Outside the rack, a loan holds every slot.

Knows the borrower, its thread and its place in the code. Does not know the waiters, drivers or time.
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

#: What a thread is told whose caller waits for it no more.
DISMISSED: Final = "the caller of this call was cancelled"


class Errand:
    """What a thread does for a caller that may give it up meanwhile (`revoking`).

    Attributes:
        thread: The one that does it.
        began_at: When it began.
        dismissed: Whether its caller has given it up.
    """

    __slots__ = ("began_at", "dismissed", "thread")

    def __init__(self, began_at: float) -> None:
        self.thread: Thread = threading.current_thread()
        self.began_at: float = began_at
        self.dismissed: bool = False

    def has(self, loan: Loan[Any]) -> bool:
        """Say whether *loan* was borrowed for it."""
        return loan.thread is self.thread and loan.started_at >= self.began_at and not loan.upkeep


class Pulse:
    """Lives as long as its thread, whose thread-local storage has the only reference.

    `Thread.is_alive` cannot tell: up to Python 3.12, if a signal handler raises inside it, it declares a living thread
    dead (bpo-45274).
    """

    __slots__ = ("__weakref__", "errand", "ref", "thread")

    def __init__(self) -> None:
        self.errand: Errand | None = None
        self.ref: weakref.ref[Pulse] = weakref.ref(self)
        self.thread: Thread = threading.current_thread()


_here = threading.local()


def begin_errand(began_at: float) -> Errand:
    """Return a new errand of the calling thread, which ends the one before."""
    if not hasattr(_here, "pulse"):
        _here.pulse = Pulse()
    errand = _here.pulse.errand = Errand(began_at)
    return errand


def current_errand() -> Errand | None:
    """Return the errand of the calling thread, if it has one."""
    pulse: Pulse | None = getattr(_here, "pulse", None)
    return None if pulse is None else pulse.errand


class Loan(Generic[C]):
    """One borrowing: it waits until it has a slot, and is spent when the slot moves on.

    Attributes:
        thread: The borrower's.
        pulse: Dead once the borrower's thread has ended, so that the borrower cannot return the slot.
        connection: The borrower's, from `Pool.acquire` until `Pool.release`.
        slot: Changed only under the lock; None before the loan is served and after it is spent.
        started_at: When the borrower asked for it.
        taken_at: When it was served.
        ended_at: When the slot moved on, from then on.
        signal: What the borrower sleeps on while it waits.
        error: Why it will not be served; None if only its time is up.
        ping: Whether the server has to answer before the connection is lent, however short its silence.
        upkeep: Whether the pool itself holds the slot; such loans are in no statistic.
        counted: Whether the statistics have it: if a connection proves unfit, its borrower is served again.
        reported: Whether it was reported as held for too long.
    """

    # Defaults are in the class: each query makes one loan, and most loans need no more.
    connection: C
    thread: Thread
    pulse: weakref.ref[Any]
    ref: weakref.ref[Loan[C]]
    started_at: float
    taken_at: float
    ended_at: float
    deadline: float
    slot: Slot[C] | None = None
    signal: Signal | None = None
    error: BaseException | None = None
    place: Place = ()
    ping: bool = False
    upkeep: bool = False
    counted: bool = False
    reported: bool = False

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
        """Count the loan as lost only when it is collected: its borrower may hand the connection to another thread."""
        self.pulse = self.ref

    def note_place(self) -> None:
        """Note the borrower's frames: code objects and offsets now; `describe_place` looks the lines up."""
        self.place = _frames(_borrower(sys._getframe(1)))  # the cheap, documented way to one's callers

    def note_caller(self) -> None:
        """Note the borrower's innermost frame alone: more would be too slow before each query."""
        self.place = callers_place()


def callers_place() -> Place:
    """Return the innermost frame that is not this package's; empty if there is none."""
    frame = _borrower(sys._getframe(1))
    return () if frame is None else ((frame.f_code, frame.f_lasti),)


def upkeep_loan() -> Loan[Any]:
    """Return a loan by which the pool itself holds a slot: to open, close, restore or look at its connection."""
    loan: Loan[Any] = Loan(None, 0.0, float("inf"))
    loan.upkeep = True
    return loan


def describe_place(place: Place, thread: Thread | None) -> list[str]:
    """Return where a slot was borrowed, innermost frame first, as ``file:line in function``.

    If no place was noted, a method of this package holds the loan for one call, and *thread* is inside it now.
    """
    if not place and thread is None:
        return []
    ident = thread.ident if thread is not None else None
    # No variable here may hold the frame: it may be this one, and a frame that holds itself keeps every loan alive.
    place = place or _frames(_borrower(all_frames().get(ident or 0)))
    return [f"{code.co_filename}:{_line(code, offset)} in {code.co_name}" for code, offset in place]


def all_frames() -> dict[int, FrameType]:
    """Return the current frame of every thread, by the thread's identifier.

    The garbage collector is off meanwhile: it might free a thread-local, and the interpreter would wait for itself
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
    """Return the innermost frame that is the borrower's, from *frame* outwards."""
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
