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
        """Return something once the socket is readable, nothing after the time given."""
        seconds = None if milliseconds is None else milliseconds / 1000
        try:
            readable, _, failed = select.select([self._sock], [], [self._sock], seconds)
        except ValueError:  # a descriptor of 1024 or more; or none, of a closed socket
            return self._peek(seconds)
        return readable + failed

    def _peek(self, seconds: float | None) -> list[Any]:
        """Wait with the socket's own timeout, which has no such limit; TLS is passed by, as by `select`."""
        sock: Any = self._sock  # under eventlet it is no socket, but one inside
        receive = socket.socket.recv if isinstance(sock, socket.socket) else type(sock).recv
        before = sock.gettimeout()
        try:
            sock.settimeout(seconds)
            receive(sock, 1, socket.MSG_PEEK)
        except (TimeoutError, BlockingIOError):
            return []
        except OSError:
            return [sock]  # it has ended: reading tells how
        finally:
            sock.settimeout(before)
        return [sock]


def watch(sock: socket.socket) -> Any:
    """Return what has a ``poll(milliseconds)`` for *sock*, as `select.poll` has it."""
    if not hasattr(select, "poll"):
        return SelectPoller(sock)
    poller = select.poll()
    poller.register(sock.fileno(), select.POLLIN | select.POLLPRI | getattr(select, "POLLRDHUP", 0))
    return poller
