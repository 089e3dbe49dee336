"""A thread that waits for many answers sleeps until several have come, and misses none."""

from __future__ import annotations

import socket
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from improved_db.wire.buffer import LOW_WATER, Buffer
from tests.fakes import Caller

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two ends of a TCP connection."""
    with ExitStack() as opened:
        door = opened.enter_context(socket.create_server(("127.0.0.1", 0)))
        ours = opened.enter_context(socket.create_connection(door.getsockname()))
        theirs = opened.enter_context(door.accept()[0])
        theirs.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield ours, theirs


def low_water(ours: socket.socket) -> int:
    """Return how many bytes make a socket readable."""
    return 1 if LOW_WATER is None else ours.getsockopt(socket.SOL_SOCKET, LOW_WATER)


@pytest.mark.parametrize("timeout", [None, 20.0])
@pytest.mark.parametrize("last", [b"", b"gh"], ids=["the end", "more bytes"])
def test_it_wakes_with_what_is_sure_to_come(
    ends: tuple[socket.socket, socket.socket], timeout: float | None, last: bytes
) -> None:
    """All of it at once, or what there is at the end of the connection."""
    ours, theirs = ends
    ours.settimeout(timeout)
    buffer = Buffer(ours)
    waiting = Caller(lambda: buffer.doze(8))
    for part in (b"ab", b"cd", b"ef", last):
        if part:
            theirs.sendall(part)
        else:
            theirs.shutdown(socket.SHUT_WR)
    waiting.result()
    while len(buffer.data) < 6:  # where the system has no such option
        buffer.fill()
    assert buffer.data.startswith(b"abcdef")
    assert low_water(ours) == 1


def test_what_has_come_in_time_is_taken(ends: tuple[socket.socket, socket.socket]) -> None:
    """Too few bytes are no reason to forget those that are there; with none, the time is up."""
    ours, theirs = ends
    ours.settimeout(0.05)
    buffer = Buffer(ours)
    theirs.sendall(b"abc")
    buffer.doze(100)
    assert buffer.data == b"abc"
    buffer.position = 3
    with pytest.raises(TimeoutError):
        buffer.doze(100)
    assert low_water(ours) == 1


def test_the_end_of_the_connection_is_an_error(ends: tuple[socket.socket, socket.socket]) -> None:
    """As it is for every other wait."""
    ours, theirs = ends
    theirs.close()
    with pytest.raises(EOFError):
        Buffer(ours).doze(100)
