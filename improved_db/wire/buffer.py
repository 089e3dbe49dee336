"""Bytes received and not yet consumed; it replaces the file that PyMySQL reads from.

One `recv` brings what the socket has, often a whole answer. The readers read `data` from `position` on, and move
`position` as they consume. The next `need` drops the bytes before it, so a result of any size needs a buffer of
constant size.

Knows a socket. Does not know packets.
"""

from __future__ import annotations

import socket
import sys
from typing import Any, Final, Protocol

from improved_db.clock import MonotonicClock

#: The most bytes that one recv may bring. Each recv allocates so much; from 128 KiB on, the C library asks the system
#: for memory each time, which costs more than the rest of a point query.
RECEIVE_SIZE: Final = 64 * 1024


#: The option that says how many bytes make a socket readable. Only Linux's `poll` looks at it, too.
LOW_WATER: Final = socket.SO_RCVLOWAT if sys.platform == "linux" else None


class Source(Protocol):
    """Where the bytes come from: a socket, encrypted or not."""

    def recv(self, size: int, /) -> bytes:
        """Return at most *size* bytes; no bytes at the end."""

    def gettimeout(self) -> float | None:
        """Return how many seconds each recv may take; None: no limit."""

    def settimeout(self, seconds: float | None, /) -> None:
        """Let each recv take at most *seconds*; None: no limit."""


class Buffer:
    """What a socket has sent so far.

    It belongs to the owner of the connection. After an error in `need` or `fill` its contents are undefined, and the
    owner has to close the connection.

    Attributes:
        data: The bytes; those before `position` are consumed.
        position: Where the next packet begins.
        deadline: When the whole exchange has to be over, however slowly its bytes come; None: no limit.
        closed: Whether `close` was called; a file has this attribute, too.
    """

    __slots__ = ("_source", "closed", "data", "deadline", "position")

    def __init__(self, source: Source) -> None:
        """Start empty. Only this buffer reads from *source*; the owner of *source* closes it."""
        self._source = source
        self.deadline: float | None = None
        self.closed: bool = False
        self.data: bytes = b""
        self.position: int = 0

    def need(self, size: int) -> None:
        """Wait until at least *size* bytes are pending; there may be more.

        Raises:
            EOFError: The other side closed the connection first.
            OSError: The socket failed, or its timeout or the deadline has passed.
        """
        missing = self.position + size - len(self.data)
        if missing <= 0:
            return
        if self.position == len(self.data):  # nothing pending, and mostly one recv brings enough
            if self.deadline is not None:
                self._hurry(self.deadline)
            self.data, self.position = self._source.recv(RECEIVE_SIZE), 0
            if len(self.data) >= size:
                return
            if not self.data:
                raise EOFError("the other side closed the connection")
            missing = size - len(self.data)
        parts = [self.data[self.position :]] if self.position < len(self.data) else []
        while missing > 0:
            if self.deadline is not None:
                self._hurry(self.deadline)
            part = self._source.recv(RECEIVE_SIZE)
            if not part:
                self.data, self.position = b"".join(parts), 0
                raise EOFError("the other side closed the connection")
            parts.append(part)
            missing -= len(part)
        self.data = parts[0] if len(parts) == 1 else b"".join(parts)
        self.position = 0

    def _hurry(self, deadline: float) -> None:
        """Give the next recv only the time that is left; otherwise a server that sends slowly could go on for ever."""
        left = deadline - MonotonicClock.now()
        if left <= 0:
            raise TimeoutError("timed out")
        own = self._source.gettimeout()  # the user's read timeout may be shorter
        self._source.settimeout(left if own is None else min(left, own))

    def fill(self) -> None:
        """Wait for at least one byte more than is pending; raise as `need` does."""
        self.need(self.pending + 1)

    def doze(self, size: int) -> None:
        """Wait for a byte as `fill` does, but let the system wake this thread only when more have come.

        A server that answers many statements sends each answer as soon as it has it. To wake a thread for each costs
        both sides more than to read it.

        Args:
            size: How many bytes are sure to come. If they do not, those that have come in time are taken.
        """
        source: Any = self._source
        if LOW_WATER is None or type(source) is not socket.socket:
            self.fill()
            return
        source.setsockopt(socket.SOL_SOCKET, LOW_WATER, size)
        try:
            self.fill()
        except TimeoutError:
            part = _at_once(source)
            if not part:
                raise
            self.data, self.position = part, 0
        finally:
            try:
                source.setsockopt(socket.SOL_SOCKET, LOW_WATER, 1)
            except OSError:  # another thread has closed it; what was raised here says more
                pass

    def read(self, size: int) -> bytes:
        """Consume *size* bytes, as a file does: fewer at the end of the stream."""
        try:
            self.need(size)
        except EOFError:
            size = min(size, self.pending)
        start = self.position
        self.position = start + size
        taken = self.data[start : self.position]
        self.trim()
        return taken

    def trim(self) -> None:
        """Free the memory if everything is consumed."""
        if self.position == len(self.data):
            self.data, self.position = b"", 0

    @property
    def pending(self) -> int:
        """How many bytes are received and not consumed; 0 on an idle connection."""
        return len(self.data) - self.position

    def close(self) -> None:
        """Free the memory; the owner of the socket closes that."""
        self.closed = True
        self.data, self.position = b"", 0


def _at_once(source: Source) -> bytes:
    """Return what has come by now."""
    timeout = source.gettimeout()
    source.settimeout(0.0)
    try:
        return source.recv(RECEIVE_SIZE)
    except BlockingIOError:
        return b""
    finally:
        source.settimeout(timeout)
