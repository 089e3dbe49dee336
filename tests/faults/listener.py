"""A listening socket of 127.0.0.1 with a thread for each connection, and a way to wait for what they see.

Knows sockets and threads. Does not know what is said on them.
"""

from __future__ import annotations

import abc
import contextlib
import select
import socket
import struct
import threading
import time
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from typing_extensions import Self


class HasFileno(Protocol):
    """What can be polled."""

    def fileno(self) -> int:
        """The file descriptor."""


def readable(*sources: HasFileno) -> list[bool]:
    """Wait until one of *sources* can be read (or is at its end); say which."""
    poller = select.poll()
    for source in sources:
        poller.register(source, select.POLLIN)
    ready = {number for number, _ in poller.poll()}
    return [source.fileno() in ready for source in sources]


class Bell:
    """Wakes a thread that waits for sockets; once rung, it keeps ringing."""

    def __init__(self) -> None:
        self._ear, self._hand = socket.socketpair()

    def fileno(self) -> int:
        """What the thread polls beside its sockets."""
        return self._ear.fileno()

    def ring(self) -> None:
        """Wake it."""
        with contextlib.suppress(OSError):  # closed: no thread is waiting any more
            self._hand.send(b"!")

    def close(self) -> None:
        """Close both ends."""
        self._ear.close()
        self._hand.close()


def hang_up(connection: socket.socket, *, reset: bool) -> None:
    """Close with a FIN, or with an RST. The caller is the only thread that uses *connection*."""
    with contextlib.suppress(OSError):
        if reset:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


class Listener(abc.ABC):
    """Serves each connection in a thread of its own.

    Attributes:
        port: Where it listens; the same for its whole life.
        connections: How many were accepted so far.
        changed: Notified whenever something worth waiting for has changed; guards whatever the threads share.
    """

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.connections = 0
        self._version = 0
        self._live: dict[threading.Thread, object] = {}  #: whatever `serve` keeps of its session, for other threads
        self._socket = self._bind(0)
        self.port: int = self._socket.getsockname()[1]
        self._acceptor: threading.Thread | None = None
        self._bell = Bell()

    @abc.abstractmethod
    def serve(self, client: socket.socket) -> None:
        """Serve one connection and close it, in a thread of its own."""

    @abc.abstractmethod
    def hang_up_all(self) -> None:
        """Make every thread end soon."""

    def __enter__(self) -> Self:
        self.accept()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def sessions(self) -> int:
        """How many connections are being served now."""
        with self.changed:
            return len(self._live)

    def accept(self) -> None:
        """Let connections in, from now on."""
        if self._acceptor is None:
            self._socket.listen(128)
            self._acceptor = threading.Thread(target=self._accept, daemon=True)
            self._acceptor.start()

    def refuse(self) -> None:
        """Refuse connections from now on, as a machine without a server does; those that there are live on."""
        if self._acceptor is not None:
            self._bell.ring()
            self._acceptor.join()
            self._acceptor = None
            self._bell.close()
            self._bell = Bell()
            self._socket.close()
            # Bound and not listening: it refuses, and no other process can have the port.
            self._socket = self._bind(self.port)

    def close(self) -> None:
        """Stop listening, end every connection and every thread."""
        self.refuse()
        self.hang_up_all()
        self.wait_until(lambda: self.sessions == 0)
        self._socket.close()
        self._bell.close()

    def note_change(self) -> None:
        """Wake the threads that wait; the caller holds ``changed``."""
        self._version += 1
        self.changed.notify_all()

    def wait_until(self, predicate: Callable[[], bool], timeout: float = 10.0) -> None:
        """Wait until *predicate* holds: asked again after each change here, and now and then for changes elsewhere.

        Raises:
            AssertionError: It did not within *timeout* seconds.
        """
        deadline = time.monotonic() + timeout
        while True:
            with self.changed:
                version = self._version
            if predicate():
                return
            assert time.monotonic() < deadline, f"still not true after {timeout} seconds"
            with self.changed:
                if self._version == version:
                    self.changed.wait(0.05)

    @staticmethod
    def _bind(port: int) -> socket.socket:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        return listener

    def _accept(self) -> None:
        while not readable(self._bell, self._socket)[0]:
            client, _ = self._socket.accept()
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            thread = threading.Thread(target=self._serve, args=(client,), daemon=True)
            with self.changed:
                self.connections += 1
                self._live[thread] = None
                self.note_change()
            thread.start()

    def _serve(self, client: socket.socket) -> None:
        try:
            self.serve(client)
        finally:
            with self.changed:
                del self._live[threading.current_thread()]
                self.note_change()
