"""Bytes that come after the end of an answer are never the answer to the next statement."""

from __future__ import annotations

from improved_db import ImprovedDb
from tests.faults import fake_server, packets


def test_bytes_after_an_answer_cost_the_connection_and_not_the_next_answer() -> None:
    """A broken proxy sent an answer twice; the next borrower got the rows of the one before."""
    with fake_server.FakeServer() as server:

        def twice(peer: fake_server.Peer) -> None:
            answer = packets.rows(["a"], [["first"]])
            data = b"".join(packets.frame(number, payload) for number, payload in enumerate(answer, 1))
            peer.send_raw(data + data)

        server.on("select 'first'", twice)
        server.on("select 'second'", fake_server.rows(["a"], [["second"]]))
        with ImprovedDb(server.connect_options, max_size=1, retry=None) as db:
            assert db.execute_query("select 'first'") == (("first",),)
            assert db.execute_query("select 'second'") == (("second",),)
            assert db.stats().opened == 2
