"""What the proxy can do to one command: each fault is a function of the session and the command's packet.

A fault runs in the session's thread, when every earlier answer has gone to the client, and either returns, and the
session goes on, or raises `Cut`, which ends it.

Knows sessions. Does not know rules: when a fault happens is up to them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.faults.packets import err, frame
from tests.faults.proxy import Cut

if TYPE_CHECKING:
    from tests.faults.proxy import Fault, Proxy, Session


def CUT_BEFORE(session: Session, packet: bytes) -> None:  # noqa: N802  # a fault without parameters reads as a constant
    """Reset the connection; the server never sees the command."""
    raise Cut(reset=True)


def CUT_WITHIN(session: Session, packet: bytes) -> None:  # noqa: N802
    """Forward half of the command, then reset the connection."""
    session.forward(packet[: len(packet) // 2])
    raise Cut(reset=True)


def SWALLOW_ANSWER_RST(session: Session, packet: bytes) -> None:  # noqa: N802
    """Let the server do it, then reset the connection instead of giving the answer."""
    session.forward(packet)
    session.swallow_answers()
    raise Cut(reset=True)


def SWALLOW_ANSWER_FIN(session: Session, packet: bytes) -> None:  # noqa: N802
    """Let the server do it, then close the connection instead of giving the answer."""
    session.forward(packet)
    session.swallow_answers()
    raise Cut(reset=False)


def STALL(session: Session, packet: bytes) -> None:  # noqa: N802
    """Keep the command, and silence, until `Proxy.flow` is called the next time; then forward it."""
    seen = session.proxy.flows
    session.wait(lambda: session.proxy.flows != seen)
    session.forward(packet)


class Gate:
    """Closed until opened; faults wait before it.

    Attributes:
        waiting: How many sessions do so now: ``proxy.wait_until(lambda: gate.waiting == 1)``.
    """

    def __init__(self, proxy: Proxy) -> None:
        self.waiting = 0
        self._proxy = proxy
        self._open = False

    def open(self) -> None:
        """Let every client through, now and later."""
        with self._proxy.changed:
            self._open = True
            self._proxy.note_change()

    def pass_through(self, session: Session) -> None:
        """Wait until it is open, or the session is cut."""
        with self._proxy.changed:
            self.waiting += 1
            self._proxy.note_change()
        try:
            session.wait(lambda: self._open)
        finally:
            with self._proxy.changed:
                self.waiting -= 1


def delay(until: float | Gate) -> Fault:
    """Forward the command later: after so many seconds, or when the gate is opened, even if the client has gone."""

    def fault(session: Session, packet: bytes) -> None:
        if isinstance(until, Gate):
            until.pass_through(session)
        else:
            session.wait(lambda: False, until)
        session.forward(packet)

    return fault


def hold(gate: Gate) -> Fault:
    """Reset the client's side at once; forward the command when the gate is opened, and let the server finish it.

    A COMMIT held so is a late one: it comes when the client has long been told that its connection is lost. If the gate
    is never opened, the server's session stays open, with its locks, until the proxy is closed.
    """

    def fault(session: Session, packet: bytes) -> None:
        session.drop_client()
        gate.pass_through(session)
        session.forward(packet)
        session.swallow_answers()
        raise Cut(reset=False)

    return fault


def cut_answer(after: int, *, reset: bool = True) -> Fault:
    """Give the client the first *after* bytes of the answer, then cut the connection."""

    def fault(session: Session, packet: bytes) -> None:
        session.forward(packet)
        left = after
        while left > 0:
            data = session.read_answer()[:left]
            session.answer(data)
            left -= len(data)
        raise Cut(reset=reset)

    return fault


def inject_err(code: int, message: str = "", sqlstate: str | None = "HY000", *, sequence: int = 1) -> Fault:
    """Answer with an error in the server's place; the server never sees the command.

    With *sequence* 0 it is the goodbye of a server that has stopped listening, and the connection is closed after it.
    """

    def fault(session: Session, packet: bytes) -> None:
        session.answer(frame(sequence, err(code, message, sqlstate)))
        if sequence == 0:
            raise Cut(reset=False)

    return fault
