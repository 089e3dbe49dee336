"""The buffer stands in the place of a file, which can be asked whether it is closed."""

from __future__ import annotations

import socket

from improved_db.wire.buffer import Buffer


def test_a_buffer_says_whether_it_was_closed() -> None:
    """As the file does that PyMySQL would read from."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        buffer = Buffer(ours)
        assert not buffer.closed
        buffer.close()
        assert buffer.closed
