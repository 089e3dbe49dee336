"""A server that answers with nonsense: each call ends with a typed error, and the pool is good for the next one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from pymysql.err import MySQLError

from improved_db import ImprovedDb, RetryPolicy
from improved_db.errors import ImprovedDbError
from tests.fakes import Caller
from tests.faults.fake_server import FakeServer, HangUp, ok, rows
from tests.faults.packets import IN_TRANSACTION, eof, frame, text
from tests.faults.packets import ok as ok_payload
from tests.faults.packets import rows as row_payloads

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.faults.fake_server import Peer, Response

DEFINITION = row_payloads(["a"], [])[1]


class Rogue:
    """A response that is nonsense until the server is good again."""

    def __init__(self, nonsense: Response, sense: Response) -> None:
        self.good = False
        self._nonsense, self._sense = nonsense, sense

    def __call__(self, peer: Peer) -> None:
        """Answer."""
        (self._sense if self.good else self._nonsense)(peer)


def last(data: bytes) -> Response:
    """Say this and hang up: the client must not wait for the rest."""

    def response(peer: Peer) -> None:
        peer.send_raw(data)
        raise HangUp

    return response


def silent_after(data: bytes) -> Response:
    """Say this and wait: it is wrong enough to be seen at once."""
    return lambda peer: peer.send_raw(data)


def endless(count: bytes) -> Response:
    """Announce so many columns, and describe one after the other for as long as the client listens."""

    def response(peer: Peer) -> None:
        peer.send(count)
        number = 2
        while True:
            peer.send(*[DEFINITION] * 256, sequence=number)

    return response


NONSENSE: dict[str, Response] = {
    "garbage": last(bytes(range(7, 60))),
    "another protocol": last(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"),
    "half a header": last(b"\x07\x00"),
    "half a packet": last(frame(1, ok_payload())[:6]),
    "nothing": last(b""),
    "an empty packet": last(frame(1, b"")),
    "a packet too late": silent_after(frame(2, ok_payload())),
    "a packet from before": silent_after(frame(255, ok_payload())),
    "an OK cut short": silent_after(frame(1, b"\0\1")),
    "an ERR cut short": silent_after(frame(1, b"\xff\1")),
    "an EOF first": silent_after(frame(1, eof())),
    "a column of nonsense": silent_after(frame(1, b"\1") + frame(2, b"\3defg") + frame(3, eof())),
    "fewer columns than announced": last(frame(1, b"\2") + frame(2, DEFINITION) + frame(3, eof()) * 2),
    "a row of nonsense": last(
        b"".join(frame(n, p) for n, p in enumerate((b"\1", DEFINITION, eof(), b"\x09no", eof()), start=1))
    ),
    "columns out of sequence": silent_after(frame(1, b"\1") + frame(3, DEFINITION)),
    "rows cut short": last(frame(1, b"\1") + frame(2, DEFINITION) + frame(3, eof()) + frame(4, text("x"))),
    "more columns than there can be": last(frame(1, b"\xfe" + b"\xff" * 8)),
    "columns without end": endless(b"\xfe" + b"\xff" * 8),
}


def select(db: ImprovedDb) -> object:
    """Read."""
    return db.execute_query("select 1")


def read_in_pieces(db: ImprovedDb) -> object:
    """Read as a stream."""
    with db.stream("select 1") as stream:
        return list(stream)


def transact(db: ImprovedDb) -> object:
    """Begin, write and commit."""
    with db.transaction() as tx:
        return tx.execute_query("insert into t values (1)")


def transact_again(db: ImprovedDb) -> object:
    """The same, by a function that may be called again."""
    return db.run_transaction(lambda tx: tx.execute_query("insert into t values (1)"))


def write(db: ImprovedDb) -> object:
    """Write."""
    return db.execute_query("insert into t values (1)")


#: What is answered with nonsense, what it is answered with later, and what a caller does.
CALLS: dict[str, tuple[str, Response, Callable[[ImprovedDb], object]]] = {
    "connecting": ("set names", ok(), select),
    "a query": ("^select 1", rows(["1"], [["1"]]), select),
    "a stream": ("^select 1", rows(["1"], [["1"]]), read_in_pieces),
    "a write": ("^insert", ok(1), write),
    "BEGIN": ("^(begin|start transaction)", ok(status=IN_TRANSACTION), transact),
    "COMMIT": ("^commit", ok(), transact),
    "COMMIT of a function": ("^commit", ok(), transact_again),
}


@pytest.fixture
def server() -> Iterator[FakeServer]:
    """A server for one test."""
    with FakeServer() as made:
        yield made


@pytest.mark.parametrize("nonsense", NONSENSE.values(), ids=NONSENSE)
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_nonsense_is_a_typed_error_and_the_pool_goes_on(
    server: FakeServer, call: tuple[str, Response, Callable[[ImprovedDb], object]], nonsense: Response
) -> None:
    """Neither a hang, nor rows out of it, nor an error of Python's own; and one connection lost at the most."""
    pattern, sense, work = call
    rogue = Rogue(nonsense, sense)
    server.on(pattern, rogue)
    if pattern == "^commit":  # else there is no transaction that COMMIT would be sent for
        server.on("^(begin|start transaction)", ok(status=IN_TRANSACTION))
        server.on("^insert", ok(1, status=IN_TRANSACTION))
    options: dict[str, Any] = {**server.connect_options, "max_size": 1, "connect_timeout": 5, "read_timeout": 5}
    with ImprovedDb(options, acquire_timeout=10, retry=RetryPolicy(within=0.0)) as db:
        if pattern != "set names":
            db.execute_query("do 0")
        with pytest.raises((MySQLError, ImprovedDbError)):
            Caller(lambda: work(db), dies=True).result()
        rogue.good = True
        assert Caller(lambda: db.execute_query("select 2"), dies=True).result() == (("1",),)
        assert Caller(lambda: work(db), dies=True).result() is not None
        assert db.stats().used == 0
