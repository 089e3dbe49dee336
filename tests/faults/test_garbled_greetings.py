"""What comes in place of a greeting may be anything; the caller gets a driver's error."""

from __future__ import annotations

import random
from typing import Any

import pymysql
import pytest

from improved_db import Connection, ImprovedDb
from tests.faults import fake_server, packets

GREETING = packets.frame(0, packets.greeting("8.0.35", 1))


def mutated(seed: int) -> bytes:
    """Return a greeting with a few bytes changed, or cut off."""
    chance = random.Random(seed)
    data = bytearray(GREETING)
    for _ in range(chance.randint(1, 4)):
        data[chance.randrange(4, len(data))] = chance.randrange(256)
    size = chance.randint(1, len(data) - 4)
    return size.to_bytes(3, "little") + bytes(data[3 : 4 + size])


GARBAGE = [b"\x01\0\0\0\x0a", b"\x05\0\0\0\x0a8.0\0", b"\x03\0\0\0\x0a\xff\0", b"HTTP/1.1 400 Bad Request\r\n\r\n", b""]


@pytest.mark.parametrize("data", [*GARBAGE, *map(mutated, range(60))])
def test_a_garbled_greeting_is_a_drivers_error(data: bytes) -> None:
    """Programs catch the driver's errors; a struct.error ended them."""

    def greeting(peer: fake_server.Peer) -> None:
        peer.send_raw(data)
        raise fake_server.HangUp

    with fake_server.FakeServer(greeting=greeting) as server:
        options: dict[str, Any] = {**server.connect_options, "connect_timeout": 5}
        with pytest.raises(pymysql.err.MySQLError):
            Connection(**options)
        with ImprovedDb(options, retry=None) as db, pytest.raises(pymysql.err.MySQLError):
            db.execute_query("select 1")
