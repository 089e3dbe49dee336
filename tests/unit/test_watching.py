"""Waiting for a socket where `select.poll` is missing: any descriptor will do, a high one too."""

from __future__ import annotations

import resource
import select
import socket
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from improved_db.wire.watching import SelectPoller, watch

if TYPE_CHECKING:
    from collections.abc import Iterator

HIGH = 1100


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two ends of a connection, the first of which has a descriptor that `select.select` refuses."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard <= HIGH:
        pytest.skip("this system allows no descriptor of 1024 or more")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, HIGH + 100), hard))
    low, other = socket.socketpair()
    try:
        import fcntl  # noqa: PLC0415  # not on Windows

        number = fcntl.fcntl(low.fileno(), fcntl.F_DUPFD_CLOEXEC, HIGH)
        with closing(low), closing(other), socket.socket(fileno=number) as high:
            yield high, other
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("polls", [True, False])
def test_a_socket_with_a_high_descriptor_is_watched(
    pair: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch, *, polls: bool
) -> None:
    """`select.select` takes descriptors below 1024 only, and a program with many connections has others."""
    mine, other = pair
    if not polls:
        monkeypatch.delattr(select, "poll")
    mine.settimeout(7)
    poller = watch(mine)
    assert isinstance(poller, SelectPoller) is not polls
    assert not poller.poll(0)
    assert not poller.poll(10)
    other.sendall(b"x")
    assert poller.poll(0)
    assert poller.poll(1000)
    assert (mine.gettimeout(), mine.recv(10)) == (7, b"x")
    other.close()
    assert poller.poll(None)
