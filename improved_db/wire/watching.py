"""Waiting until a socket has something to read, without reading it.

Knows sockets and `select`. Does not know what comes over them.
"""

from __future__ import annotations

import select
import socket
from typing import Any


class SelectPoller:
    """Watches one socket where `select.poll` is missing: on Windows, and under eventlet, which takes it away."""

    def __init__(self, sock: socket.socket) -> None:
        """Watch *sock*, which stays its owner's."""
        self._sock = sock

    def poll(self, milliseconds: float | None = None) -> list[Any]:
        """Return a list with something as soon as the socket is readable; an empty list after *milliseconds*."""
        seconds = None if milliseconds is None else milliseconds / 1000
        try:
            readable, _, failed = select.select([self._sock], [], [self._sock], seconds)
        except ValueError:  # the descriptor is 1024 or more, or the socket is closed
            return self._peek(seconds)
        return readable + failed

    def _peek(self, seconds: float | None) -> list[Any]:
        """Wait by the socket's own timeout, which has no such limit; like `select`, it sees the bytes below TLS."""
        sock: Any = self._sock  # under eventlet it is an object with the socket inside
        receive = socket.socket.recv if isinstance(sock, socket.socket) else type(sock).recv
        before = sock.gettimeout()
        try:
            sock.settimeout(seconds)
            receive(sock, 1, socket.MSG_PEEK)
        except (TimeoutError, BlockingIOError):
            return []
        except OSError:
            return [sock]  # it has ended; the next read raises the error
        finally:
            sock.settimeout(before)
        return [sock]


def watch(sock: socket.socket) -> Any:
    """Return an object for *sock* whose ``poll(milliseconds)`` works like that of `select.poll`."""
    if not hasattr(select, "poll"):
        return SelectPoller(sock)
    poller = select.poll()
    poller.register(sock.fileno(), select.POLLIN | select.POLLPRI | getattr(select, "POLLRDHUP", 0))
    return poller
