"""The fake server says what it is told to say, in the words of the protocol."""

from __future__ import annotations

import threading
from contextlib import closing
from typing import Any

import pymysql
import pymysql.cursors
import pytest
from pymysql.constants import SERVER_STATUS
from pymysql.err import InternalError, OperationalError

from improved_db.failures.verdict import Flavour, Phase, Verdict, flavour_of, judge_exception
from tests.faults.fake_server import FakeServer, Response, close, err, ok, raw, rows, silence, turn_away
from tests.faults.packets import COM_INIT_DB, COM_PING, COM_QUIT, IN_TRANSACTION, MORE_RESULTS, frame
from tests.faults.packets import ok as ok_payload


def run(connection: pymysql.Connection[Any], query: str) -> tuple[tuple[Any, ...], ...]:
    """Run one query and return its rows."""
    with connection.cursor() as cursor:
        cursor.execute(query)
        return tuple(cursor.fetchall())


@pytest.mark.parametrize(
    ("version", "flavour"),
    [
        ("8.0.35", Flavour.MYSQL),
        ("5.5.5-10.11.6-MariaDB", Flavour.MARIADB),
        ("8.0.11-TiDB-v7.5.0", Flavour.TIDB),
        ("8.0.30-Vitess", Flavour.VITESS),
        ("5.5.30 (ProxySQL)", Flavour.PROXYSQL),
    ],
)
def test_it_calls_itself_what_it_is_told(version: str, flavour: Flavour) -> None:
    """What an error number means depends on who says it."""
    with FakeServer(version) as server, closing(pymysql.connect(**server.connect_options)) as connection:
        assert vars(connection)["server_version"] == version
        assert flavour_of(vars(connection)["server_version"]) is flavour


def test_a_client_can_live_with_what_no_rule_is_for() -> None:
    """Scripts stay short: only what a test is about needs to be in them."""
    with FakeServer() as server:
        with closing(pymysql.connect(**server.connect_options, autocommit=False, database="d")) as connection:
            connection.begin()
            assert run(connection, "insert into t values (1)") == ()
            assert run(connection, " SELECT 1") == (("1",),)
            connection.commit()
            connection.ping(reconnect=False)
            connection.select_db("e")
        server.wait_until(lambda: server.sessions == 0)
        assert server.queries[-4:] == ["BEGIN", "insert into t values (1)", " SELECT 1", "COMMIT"]
        assert server.commands[-3:] == [COM_PING, COM_INIT_DB, COM_QUIT]
        assert (server.count("insert"), server.count("^ select"), server.count("nothing")) == (1, 1, 0)


def test_an_ok_carries_its_numbers_and_status() -> None:
    """The status flags are all a client has to know whether a transaction is open."""
    with FakeServer() as server, closing(pymysql.connect(**server.connect_options)) as connection:
        server.on("insert", ok(affected=300, insert_id=70000, status=IN_TRANSACTION))
        with connection.cursor() as cursor:
            assert cursor.execute("INSERT 1") == 300
            assert cursor.lastrowid == 70000
        assert vars(connection)["server_status"] == SERVER_STATUS.SERVER_STATUS_IN_TRANS


def test_rows_are_read_as_any_servers() -> None:
    """With names, NULLs, empty texts and more than a byte of length."""
    values: list[list[str | None]] = [["1", None, ""], ["2", "x" * 70000, "ä€😀"]]
    with FakeServer() as server:
        options = {**server.connect_options, "cursorclass": pymysql.cursors.DictCursor}
        with closing(pymysql.connect(**options)) as connection, connection.cursor() as cursor:
            server.on("select", rows(["a", "b", "ç"], values))
            cursor.execute("select")
            assert list(cursor.fetchall()) == [dict(zip(["a", "b", "ç"], row, strict=True)) for row in values]


def test_an_error_carries_its_number_state_and_text() -> None:
    """Also without a SQLSTATE, as before the handshake."""
    with FakeServer() as server, closing(pymysql.connect(**server.connect_options)) as connection:
        server.on("a", err(9007, "Write conflict"), times=1)
        server.on("a", err(1040, "Too many connections", None))
        with pytest.raises(OperationalError) as conflict:
            run(connection, "a")
        with pytest.raises(OperationalError) as full:
            run(connection, "a")
    assert (conflict.value.args, conflict.value.sqlstate) == ((9007, "Write conflict"), "HY000")
    assert (full.value.args, full.value.sqlstate) == ((1040, "Too many connections"), None)


def test_a_large_number_arrives_as_the_driver_makes_it() -> None:
    """PyMySQL reads it as a signed short: the table must be asked for the unsigned one."""
    with FakeServer() as server, closing(pymysql.connect(**server.connect_options)) as connection:
        server.on("a", err(40001, "beyond", "40001"))
        with pytest.raises(InternalError) as caught:
            run(connection, "a")
    assert caught.value.args[0] == 40001 - 0x10000
    assert judge_exception(caught.value, phase=Phase.AWAIT).verdict is Verdict.TRANSACTION_ROLLED_BACK


@pytest.mark.parametrize(("reset", "text"), [(True, "reset"), (False, "during query")])
def test_it_hangs_up_by_reset_or_politely(reset: bool, text: str) -> None:
    """The two ways in which a server that dies is seen by its clients."""
    with FakeServer() as server, closing(pymysql.connect(**server.connect_options)) as connection:
        server.on("a", close(reset=reset))
        with pytest.raises(OperationalError, match=text) as caught:
            run(connection, "a")
        assert caught.value.args[0] == 2013


def test_its_silence_lasts() -> None:
    """A frozen server: the client's timeout is all there is."""
    with FakeServer() as server, closing(pymysql.connect(**server.connect_options, read_timeout=0.1)) as connection:
        server.on("a", silence())
        with pytest.raises(OperationalError, match="timed out"):
            run(connection, "a")


def test_raw_bytes_go_out_as_they_are() -> None:
    """Here a packet that is out of step: PyMySQL says so with a text where the number should be."""
    with FakeServer() as server, closing(pymysql.connect(**server.connect_options)) as connection:
        server.on("a", raw(frame(1, ok_payload(status=MORE_RESULTS)) + frame(2, ok_payload())), times=1)
        server.on("a", raw(frame(7, ok_payload())))
        assert run(connection, "a") == ()
        with pytest.raises(InternalError, match="sequence number wrong") as caught:
            run(connection, "a")
    judgement = judge_exception(caught.value, phase=Phase.AWAIT)
    assert judgement.verdict is Verdict.UNKNOWN


def test_a_goodbye_is_sent_out_of_turn_and_ends_the_session() -> None:
    """Sequence number 0: the server had stopped listening before the command came."""
    with FakeServer() as server, closing(pymysql.connect(**server.connect_options)) as connection:
        server.on("a", err(4031, "idle", sequence=0))
        with pytest.raises(OperationalError) as caught:
            run(connection, "a")
        assert caught.value.args[0] == 2013
        server.wait_until(lambda: server.sessions == 0)


def garbage(payload: bytes) -> Response:
    """A greeting that is well framed and means nothing."""
    return raw(frame(0, payload))


HANDSHAKES = {
    "full": lambda: FakeServer(greeting=turn_away(1040, "Too many connections")),
    "full, sequence 1": lambda: FakeServer(greeting=turn_away(1040, "Too many connections", sequence=1)),
    "full, sequence 2": lambda: FakeServer(greeting=turn_away(1040, "Too many connections", sequence=2)),
    "full at login": lambda: FakeServer(login=err(1040, "Too many connections", "08004", sequence=2)),
    "shutting down": lambda: FakeServer(login=err(1053, "Server shutdown in progress", "08S01", sequence=2)),
    "gone": lambda: FakeServer(greeting=close()),
    "reset": lambda: FakeServer(greeting=close(reset=True)),
    "gone at login": lambda: FakeServer(login=close()),
    "ssh": lambda: FakeServer(greeting=raw(b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n")),
    "http": lambda: FakeServer(greeting=garbage(b"HTTP/1.1 400 Bad Request")),
    "no version": lambda: FakeServer(greeting=garbage(b"\x0anot.a.version\x00 and so on, for quite a while")),
    "short": lambda: FakeServer(greeting=garbage(b"\x0a")),
    "empty": lambda: FakeServer(greeting=garbage(b"")),
    "empty at login": lambda: FakeServer(login=garbage(b"")),
}


@pytest.mark.parametrize("case", HANDSHAKES)
def test_whatever_goes_wrong_in_a_handshake_is_not_connected(case: str) -> None:
    """However strange the exception: no session, no statement, so another attempt is safe."""
    with HANDSHAKES[case]() as server:
        with pytest.raises(Exception) as caught:  # noqa: PT011  # the point is that it may be any
            pymysql.connect(**server.connect_options)
        assert judge_exception(caught.value, phase=Phase.CONNECT).verdict is Verdict.NOT_CONNECTED


def test_a_wrong_password_is_permanent() -> None:
    """The one refusal in a handshake that another attempt makes worse."""
    with FakeServer(login=err(1045, "Access denied", "28000", sequence=2)) as server:
        with pytest.raises(OperationalError) as caught:
            pymysql.connect(**server.connect_options)
        assert judge_exception(caught.value, phase=Phase.CONNECT).verdict is Verdict.PERMANENT


def test_a_closed_server_leaves_no_thread() -> None:
    """With a session that waits for a command."""
    before = threading.active_count()
    with FakeServer() as server, closing(pymysql.connect(**server.connect_options)):
        server.close()
        assert (threading.active_count(), server.sessions) == (before, 0)
