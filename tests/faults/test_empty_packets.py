"""A packet without a byte where an answer, a column or a row has to be: no more bytes need to come to see that."""

from __future__ import annotations

import pymysql
import pytest

from improved_db import ImprovedDb
from tests.fakes import Caller
from tests.faults import fake_server, packets

ANSWER = packets.rows(["a", "b"], [["x", "y"], ["z", "z"]])


def emptied(place: int) -> bytes:
    """Return an answer that ends with an empty packet at *place*, and silence after it."""
    return b"".join(packets.frame(number, payload) for number, payload in enumerate([*ANSWER[:place], b""], 1))


@pytest.mark.parametrize("place", range(len(ANSWER)))
@pytest.mark.parametrize("streamed", [True, False])
def test_an_empty_packet_is_seen_without_another_byte(place: int, *, streamed: bool) -> None:
    """The reader waited for the first byte of the next packet, for ever where there is no read_timeout."""
    with fake_server.FakeServer() as server:
        server.on("empty", fake_server.raw(emptied(place)))
        with ImprovedDb(server.connect_options, retry=None) as db:

            def read() -> object:
                if not streamed:
                    return db.execute_query("select 'empty'")
                with db.stream("select 'empty'") as rows:
                    return list(rows)

            with pytest.raises(pymysql.err.InternalError):
                Caller(read).result()
