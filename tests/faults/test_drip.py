"""A server that drips: bytes come all the time, and the answer never ends. Each call ends by its deadline."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pymysql
import pytest

from improved_db import Connection, ImprovedDb
from tests.fakes import Caller
from tests.faults import fake_server, packets

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def dripping(beginning: bytes, drop: Callable[[int], bytes]) -> fake_server.Response:
    """Send *beginning*, then a drop every few milliseconds until the client hangs up."""

    def response(peer: fake_server.Peer) -> None:
        peer.send_raw(beginning)
        number = 0
        pause = threading.Event()
        while not pause.wait(0.02):
            peer.send_raw(drop(number))
            number += 1

    return response


ANSWER = packets.rows(["a"], [["x"]])
HEAD = b"".join(packets.frame(number, payload) for number, payload in enumerate(ANSWER[:3], 1))
ROWS = dripping(HEAD, lambda number: packets.frame((4 + number) & 255, ANSWER[3]))
#: A packet of which a byte comes at a time.
BYTES = dripping(b"\xff\xff\x0f\x01\x00", lambda _: b"\x01")
GREETING = dripping(b"\xff\x00\x00\x00\x0a", lambda _: b"8")


@pytest.fixture
def server() -> Iterator[fake_server.FakeServer]:
    """A scripted server; its statements named drip never end."""
    with fake_server.FakeServer() as running:
        running.on("drip rows", ROWS)
        running.on("drip bytes", BYTES)
        yield running


CALLS: dict[str, Callable[[ImprovedDb, str], Any]] = {
    "timeout": lambda db, what: db.execute_query(f"select 'drip {what}'", timeout=0.3),
    "write": lambda db, what: db.execute_query(f"update t set a = 'drip {what}'", timeout=0.3),
    "transaction": lambda db, what: db.run_transaction(lambda tx: tx.execute_query(f"select 'drip {what}'")),
    "exec_many": lambda db, what: db.exec_many(f"insert into t values (%s, 'drip {what}')", [1]),
    "deadline": lambda db, what: db.execute_query(f"select 'drip {what}'"),
}


@pytest.mark.parametrize("what", ["rows", "bytes"])
@pytest.mark.parametrize("call", CALLS)
def test_a_call_ends_by_its_deadline_while_its_answer_drips(
    server: fake_server.FakeServer, call: str, what: str
) -> None:
    """Each recv had the whole time anew, and so the call had for ever."""
    deadline = None if call in {"timeout", "write"} else 0.5
    with ImprovedDb(server.connect_options, max_size=2, retry=None, deadline=deadline) as db:
        with pytest.raises(pymysql.err.OperationalError):
            Caller(lambda: CALLS[call](db, what)).result()
        assert db.stats().used == 0


@pytest.mark.parametrize("pooled", [True, False])
def test_connecting_ends_by_its_deadline_while_the_greeting_drips(*, pooled: bool) -> None:
    """A greeting at ten bytes a second took five times the connect_timeout."""
    with fake_server.FakeServer(greeting=GREETING) as server:
        options: dict[str, Any] = {**server.connect_options, "connect_timeout": 1}

        def log_in() -> None:
            if pooled:
                with ImprovedDb(options, retry=None) as db:
                    db.execute_query("select 1")
            else:
                Connection(**options)

        with pytest.raises(pymysql.err.OperationalError):
            Caller(log_in).result()


def test_a_session_whose_rollback_drips_is_given_up(server: fake_server.FakeServer) -> None:
    """The next borrower waits for it."""
    server.on("^start", fake_server.ok(status=packets.IN_TRANSACTION))
    server.on("^rollback", BYTES)
    with ImprovedDb(server.connect_options, max_size=1, retry=None, acquire_timeout=20) as db:

        def leave_open() -> None:
            with db.connection() as connection:
                connection.cursor().execute("start transaction")

        Caller(leave_open).result()
        assert sum(db.stats().discarded.values()) == 1


def test_a_read_timeout_shorter_than_the_deadline_still_holds() -> None:
    """A server that falls silent in the middle of its rows is noticed by then."""
    with fake_server.FakeServer() as server:
        server.on("half", fake_server.raw(HEAD))
        with ImprovedDb(server.connect_options, read_timeout=1, retry=None, deadline=600.0) as db:
            with pytest.raises(pymysql.err.OperationalError):
                Caller(lambda: db.execute_query("select 'half'")).result()
            with pytest.raises(pymysql.err.OperationalError):
                Caller(lambda: db.run_transaction(lambda tx: tx.execute_query("select 'half'"))).result()
