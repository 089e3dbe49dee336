"""Bytes received and not yet consumed, in the place of the file that PyMySQL reads from.

One `recv` brings what the socket has, often a whole answer; the readers then walk in `data` from `position` on and
move `position` as they consume. Bytes before it are gone at the next `need`, so a result of any size passes through a
buffer of constant size.

Knows a socket. Does not know packets.
"""

from __future__ import annotations

from typing import Final, Protocol

from improved_db.clock import MonotonicClock

#: The most bytes taken in by one recv. Each recv allocates so much, and from 128 KiB on the C library asks the system
#: for it each time, which costs more than the rest of a point query.
RECEIVE_SIZE: Final = 64 * 1024


class Source(Protocol):
    """What bytes come from: a socket, encrypted or not."""

    def recv(self, size: int, /) -> bytes:
        """Return at most *size* bytes, none at the end."""

    def gettimeout(self) -> float | None:
        """Return how long each recv may take."""

    def settimeout(self, seconds: float | None, /) -> None:
        """Let each recv take so long at the most."""


class Buffer:
    """What a socket has given so far.

    It belongs to whoever owns the connection. After an error in `need` or `fill` its contents are undefined, and the
    connection is good for nothing but closing.

    Attributes:
        data: The bytes; those before `position` are consumed.
        position: Where the next packet begins.
        deadline: When the whole exchange has to be over, however many bytes come before; None: no such instant.
        closed: Whether `close` was called, as a file has it.
    """

    __slots__ = ("_source", "closed", "data", "deadline", "position")

    def __init__(self, source: Source) -> None:
        """Begin with nothing; *source* is read from here only, and is closed by its owner."""
        self._source = source
        self.deadline: float | None = None
        self.closed: bool = False
        self.data: bytes = b""
        self.position: int = 0

    def need(self, size: int) -> None:
        """Wait until at least *size* bytes are pending. More than that may come along.

        Raises:
            EOFError: The other side closed the connection first.
            OSError: The socket failed, or its timeout passed.
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
        """Give the next recv what is left of the time: a peer that drips must not get the whole of it each time."""
        left = deadline - MonotonicClock.now()
        if left <= 0:
            raise TimeoutError("timed out")
        own = self._source.gettimeout()  # the user's read timeout may be shorter
        self._source.settimeout(left if own is None else min(left, own))

    def fill(self) -> None:
        """Wait for at least one byte more than is pending; raises as `need` does."""
        self.need(self.pending + 1)

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
        """Let go of the memory if everything is consumed."""
        if self.position == len(self.data):
            self.data, self.position = b"", 0

    @property
    def pending(self) -> int:
        """How many bytes are received and not consumed, in bytes; 0 on an idle connection."""
        return len(self.data) - self.position

    def close(self) -> None:
        """Let go of the bytes; the socket is its owner's to close."""
        self.closed = True
        self.data, self.position = b"", 0
