"""A slot: the right to have one connection, and that connection while there is one. A loan: one borrowing of a slot.

Knows the states, who holds a slot, and where it was borrowed. Does not know the line, drivers or time.
"""

from __future__ import annotations

import enum
import gc
import sys
import threading
import weakref
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

if TYPE_CHECKING:
    from threading import Thread
    from types import CodeType, FrameType

    from improved_db.clock import Signal

C = TypeVar("C")
Place = tuple[tuple["CodeType", int], ...]

#: The global by which a module says that its frames are a door's, and not the borrower's.
DOOR: Final = "_DOOR"

#: How many frames of the borrower are kept.
FRAMES: Final = 8
#: Whose frames say nothing about the borrower: ours, and those of the ``with`` block that enters ours.
NOT_THE_BORROWER: Final = frozenset({"improved_db", "contextlib"})


class SlotState(enum.Enum):
    """Where a slot is. Only `Rack` changes it, under the pool's lock.

    COLD -> OPENING -> WARM or LENT; WARM -> LENT or COLD; LENT -> WARM, LENT (handed over) or COLD. A slot that leaves
    the pool for good (resize) leaves from COLD.
    """

    COLD = "cold"  # in the rack, without a connection
    WARM = "warm"  # in the rack, with an idle connection
    OPENING = "opening"  # lent to an opener of ours, who is connecting
    LENT = "lent"  # with one borrower, who alone may touch the connection


class Slot(Generic[C]):
    """The right to have one connection.

    While it is lent, the connection and the times belong to the borrower; the pool reads `state` and who holds it.

    Attributes:
        loan: Whose it is now, weakly: a borrower that vanishes must not be kept alive by the pool.
        thread: The borrower's thread; None for an opener, who is nobody's borrower.
        place: Where it was borrowed; empty while a call of ours holds it for its caller.
        opened_at: When its connection was opened.
        expires_at: When that connection has to be replaced, whatever its health.
        idle_since: When the connection last came home.
        checked_at: When the server last proved to be there: an answer to a borrower or to a ping.
        generation: The pool's generation in which the connection was opened or last proven fit.
        failed: Whether its opener's last attempt failed.
    """

    __slots__ = (
        "checked_at",
        "connection",
        "expires_at",
        "failed",
        "generation",
        "idle_since",
        "loan",
        "opened_at",
        "place",
        "state",
        "thread",
    )

    def __init__(self) -> None:
        self.state = SlotState.COLD
        self.connection: C | None = None
        self.loan: weakref.ref[Loan[C]] | None = None
        self.thread: Thread | None = None
        self.place: Place = ()
        self.opened_at = self.expires_at = self.idle_since = self.checked_at = 0.0
        self.generation = 0
        self.failed = False

    def is_lost(self) -> bool:
        """Say whether the borrower vanished without giving back: its loan was collected, or its thread is dead.

        A loan without its slot is being given back at this moment, by whichever thread.
        """
        if self.loan is None:
            return False
        loan = self.loan()
        if loan is None:
            return True
        return loan.slot is not None and self.thread is not None and loan.pulse() is None

    def where(self) -> list[str]:
        """Return where it was borrowed, innermost first, as ``file:line in function``.

        Where nothing was noted, a call of ours holds the loan for its caller, and the thread stands in that call now.
        """
        thread = self.thread  # read once: the slot may be given back meanwhile
        ident = thread.ident if thread is not None else None
        # No variable of ours may hold the frame: it may be our own, and a frame that holds itself holds every loan too.
        place = self.place or _walk(all_frames().get(ident or 0))
        return [f"{code.co_filename}:{_line(code, offset)} in {code.co_name}" for code, offset in place]


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
    """One borrowing: a place in the line until it has a slot, spent when the slot goes back.

    Attributes:
        thread: The borrower's.
        pulse: Gone when the borrower cannot give back any more: its thread has ended.
        connection: The borrower's, from `Pool.acquire` until `Pool.release`.
        slot: Set by whoever hands the slot over, under the lock; None before that and once spent.
        signal: What the borrower sleeps on while it stands in line.
        error: Why it will not be served, if the pool knows better than a timeout.
        ping: Whether the server has to answer before the connection is lent, however short its silence.
        upkeep: Whether maintenance borrowed it; such loans are in no statistic.
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
        """Note where the borrower stands: code objects and offsets now, lines only if somebody asks."""
        self.place = _walk(sys._getframe(1))  # the cheap, documented way to one's callers


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


def _walk(frame: FrameType | None) -> Place:
    while frame is not None and frame.f_globals.get("__name__", "").partition(".")[0] in NOT_THE_BORROWER:
        frame = frame.f_back
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
