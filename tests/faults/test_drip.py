"""A server that drips: bytes come all the time, and the answer never ends. Each call ends by its deadline."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import pymysql
import pytest

from improved_db import Connection, ImprovedDb, OutcomeUnknown, StatementTimeout, TransactionLost
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
#: A row of which a byte comes at a time.
ROW = dripping(HEAD + b"\xff\xff\x0f\x04\xfd\xff\xff\x0e", lambda _: b"x")

#: Seconds that a call may take after its time is over, and how much more this machine may.
OVERTIME, SLACK = 0.5, 1.5


@pytest.fixture
def server() -> Iterator[fake_server.FakeServer]:
    """A scripted server; its statements named drip never end."""
    with fake_server.FakeServer() as running:
        running.on("drip rows", ROWS)
        running.on("drip bytes", BYTES)
        running.on("drip row", ROW)
        running.on("^(start|begin)", fake_server.ok(status=packets.IN_TRANSACTION))
        running.on("in a transaction", fake_server.ok(status=packets.IN_TRANSACTION))
        running.on("^commit", BYTES)
        yield running


def ask_once(options: dict[str, Any]) -> Any:
    """Connect, and run a statement."""
    with contextlib.closing(Connection(**options)) as connection, connection.cursor() as cursor:
        cursor.execute("select 1")
        return cursor.fetchall()


def ends_in_time(call: Callable[[], Any], seconds: float) -> Any:
    """Return what *call* returns, or the error that it raises; fail if that takes longer than *seconds*."""
    started_at = time.monotonic()
    try:
        result = Caller(call).result()
    except pymysql.err.MySQLError as error:
        result = error
    took = time.monotonic() - started_at
    assert took < seconds + SLACK, f"it took {took:.1f} seconds"
    return result


def statement_in_a_block(db: ImprovedDb, query: str) -> None:
    """Do so."""
    with db.transaction() as tx:
        tx.execute_query(query)


def read_stream(db: ImprovedDb, query: str, **options: Any) -> list[Any]:
    """Do so, batch by batch."""
    with db.stream(query, **options) as rows:
        return list(rows)


class Case(NamedTuple):
    """A call, and what becomes of it.

    Attributes:
        call: Gets a pool.
        expected: The class of the error, or the result.
        options: Of the pool.
        seconds: When the call's time is over.
    """

    call: Callable[[ImprovedDb], Any]
    expected: Any
    options: dict[str, Any] = {"deadline": 0.5}  # noqa: RUF012  # never changed
    seconds: float = 0.5 + OVERTIME


LOST = pymysql.err.OperationalError
TIMEOUT: dict[str, Any] = {"options": {}, "seconds": 0.3 + 2.0}  # `timeout` limits the statement, and then it is ended

CASES: dict[str, Case] = {
    "a read, rows": Case(lambda db: db.execute_query("select 'drip rows'"), StatementTimeout),
    "a read, bytes": Case(lambda db: db.execute_query("select 'drip bytes'"), StatementTimeout),
    "a read with a timeout": Case(
        lambda db: db.execute_query("select 'drip rows'", timeout=0.3), StatementTimeout, **TIMEOUT
    ),
    "a write": Case(lambda db: db.execute_query("update t set a = 'drip bytes'"), OutcomeUnknown),
    "a write with a timeout": Case(
        lambda db: db.execute_query("update t set a = 'drip bytes'", timeout=0.3), OutcomeUnknown, **TIMEOUT
    ),
    "a write, then COMMIT": Case(
        lambda db: db.execute_query("update 'in a transaction'"),
        OutcomeUnknown,
        {"deadline": 0.5, "autocommit": False},
    ),
    "a block": Case(lambda db: statement_in_a_block(db, "select 'drip rows'"), TransactionLost),
    "a block's COMMIT": Case(lambda db: statement_in_a_block(db, "update 'in a transaction'"), OutcomeUnknown),
    "a function": Case(
        lambda db: db.run_transaction(lambda tx: tx.execute_query("select 'drip bytes'")), TransactionLost
    ),
    "a function's COMMIT": Case(
        lambda db: db.run_transaction(lambda tx: tx.execute_query("update 'in a transaction'")), OutcomeUnknown
    ),
    "exec_many": Case(lambda db: db.exec_many("insert into t values (%s, 'drip bytes')", [1]), TransactionLost),
    "exec_many by chunks": Case(
        lambda db: db.exec_many("insert into t values (%s, 'drip bytes')", [1], atomic=False), OutcomeUnknown
    ),
    "load_rows": Case(lambda db: db.load_rows("`drip bytes`", [(1,)]), TransactionLost),
    "a stream's start": Case(lambda db: read_stream(db, "select 'drip bytes'"), StatementTimeout),
    "a stream's batch": Case(lambda db: read_stream(db, "select 'drip row'", timeout=0.5), StatementTimeout, {}),
    "a stream's batch, by read_timeout": Case(
        lambda db: read_stream(db, "select 'drip row'"), LOST, {"read_timeout": 0.5}
    ),
    "ping": Case(lambda db: db.ping(), False, {"ping_timeout": 0.5}),
}


@pytest.mark.parametrize("name", CASES)
def test_a_call_ends_by_its_deadline_while_its_answer_drips(server: fake_server.FakeServer, name: str) -> None:
    """Each recv had the whole time anew, and so the call had for ever; and what is in doubt is called so."""
    case = CASES[name]
    with ImprovedDb(server.connect_options, max_size=2, retry=None, **case.options) as db:
        db.execute_query("select 1")
        server.on_command(packets.COM_PING, BYTES)
        outcome = ends_in_time(lambda: case.call(db), case.seconds)
        assert db.stats().used == 0
    if isinstance(case.expected, type):
        assert type(outcome) is case.expected
    else:
        assert outcome == case.expected


#: Says that the server can do TLS, waits for the client to begin, and lets the record that follows drip.
CLIENT_SSL = 0x800
TLS_RECORD = dripping(b"\x16\x03\x03\x3f\xff\x02\x00\x3f\xfb\x03\x03", lambda _: b"\x00")


def encrypted(peer: fake_server.Peer) -> None:
    """See above."""
    peer.send(packets.greeting("8.0.35", 1, more=CLIENT_SSL), sequence=0)
    peer.read()
    TLS_RECORD(peer)


LOGINS: dict[str, dict[str, Any]] = {
    "greeting": {"greeting": dripping(b"\xff\x00\x00\x00\x0a", lambda _: b"8")},
    "authentication": {"login": dripping(b"\xff\xff\x0f\x02\x00", lambda _: b"\x01")},
    "TLS": {"greeting": encrypted},
}


@pytest.mark.parametrize("pooled", [True, False])
@pytest.mark.parametrize("phase", LOGINS)
def test_connecting_ends_by_its_deadline_while_the_server_drips(phase: str, *, pooled: bool) -> None:
    """A greeting at ten bytes a second took five times the connect_timeout."""
    with fake_server.FakeServer(**LOGINS[phase]) as server:
        options: dict[str, Any] = {**server.connect_options, "connect_timeout": 1, "ssl_disabled": phase != "TLS"}

        def log_in() -> None:
            if pooled:
                with ImprovedDb(options, retry=None) as db:
                    db.execute_query("select 1")
            else:
                Connection(**options)

        assert type(ends_in_time(log_in, 1)) is LOST


def slow_login(peer: fake_server.Peer) -> None:
    """Greet, read the login, and let the answer to it drip."""
    peer.send(packets.greeting("8.0.35", peer.number), sequence=0)
    peer.read()
    LOGINS["authentication"]["login"](peer)


@pytest.mark.parametrize(
    "phase", [name if name == "greeting" else pytest.param(name, marks=pytest.mark.soak) for name in LOGINS]
)
def test_a_deadline_is_kept_while_the_connection_for_kill_drips(phase: str) -> None:
    """The statement's answer does not come, and neither does the session from which it is to be ended."""
    greeting = LOGINS[phase].get("greeting", slow_login)
    with fake_server.FakeServer(greeting=greeting, greeting_from=2) as server:
        server.on("silent", fake_server.silence())
        options: dict[str, Any] = {**server.connect_options, "ssl_disabled": phase != "TLS"}
        with ImprovedDb(options, max_size=1, retry=None, deadline=0.5) as db:
            assert type(ends_in_time(lambda: db.execute_query("call silent()"), 0.5 + OVERTIME)) is OutcomeUnknown
            assert db.stats().used == 0


@contextlib.contextmanager
def dead_address() -> Iterator[tuple[str, int]]:
    """An address that takes no connection and does not refuse one: its queue is full."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        poller = select.poll()
        while True:
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
            poller.register(filler, select.POLLOUT)
            if not poller.poll(200):
                break
            poller.unregister(filler)
        yield listener.getsockname()


@pytest.mark.parametrize("answers", [True, False])
def test_all_addresses_of_a_host_share_one_connect_timeout(
    server: fake_server.FakeServer, monkeypatch: pytest.MonkeyPatch, *, answers: bool
) -> None:
    """Three dead addresses took three times as long; and a dead one leaves time for the next."""
    with dead_address() as dead:
        addresses = [dead, dead, ("127.0.0.1", server.port) if answers else dead]
        found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", address) for address in addresses]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_: found)
        options: dict[str, Any] = {**server.connect_options, "host": "several", "connect_timeout": 1.5}
        outcome = ends_in_time(lambda: ask_once(options), 1.5)
        assert outcome == (("1",),) if answers else type(outcome) is LOST


def test_a_session_whose_rollback_drips_is_given_up(server: fake_server.FakeServer) -> None:
    """The next borrower waits for it."""
    server.on("^rollback", BYTES)
    with ImprovedDb(server.connect_options, max_size=1, retry=None, acquire_timeout=20) as db:

        def leave_open() -> None:
            with db.connection() as connection:
                connection.cursor().execute("start transaction")

        Caller(leave_open).result()
        assert sum(db.stats().discarded.values()) == 1


@pytest.mark.parametrize("refused", [True, False])
def test_a_rollback_that_drips_does_not_hold_a_call_beyond_its_deadline(
    server: fake_server.FakeServer, *, refused: bool
) -> None:
    """What the pool does to make the session new again is part of the call."""
    server.on("^rollback", BYTES)
    server.on("refused", fake_server.err(1205, "Lock wait timeout exceeded"))
    query = "update 'refused'" if refused else "update 'in a transaction'"
    with ImprovedDb(server.connect_options, max_size=1, retry=None, deadline=0.5) as db:

        def leave_open() -> None:
            with db.transaction() as tx:
                tx.execute_query(query)
                raise pymysql.err.MySQLError

        assert isinstance(ends_in_time(leave_open, 0.5 + OVERTIME), pymysql.err.MySQLError)
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
