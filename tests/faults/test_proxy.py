"""The proxy does to a statement what its faults say, and nothing else."""

from __future__ import annotations

import itertools
import random
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pymysql
import pytest
from pymysql.constants import CLIENT
from pymysql.err import InterfaceError, OperationalError

from tests.faults.fake_server import FakeServer
from tests.faults.faults import (
    CUT_BEFORE,
    CUT_WITHIN,
    STALL,
    SWALLOW_ANSWER_FIN,
    SWALLOW_ANSWER_RST,
    Gate,
    cut_answer,
    delay,
    hold,
    inject_err,
)
from tests.faults.packets import COM_PING, COM_QUERY, COM_QUIT, Framer, frame
from tests.faults.proxy import Fault, Proxy, Way

if TYPE_CHECKING:
    from improved_db.testing import TemporaryServer

Connect = Callable[..., "pymysql.Connection[Any]"]

INSERT = "insert into t values (1, 'x')"


@pytest.fixture
def proxy(server: TemporaryServer) -> Iterator[Proxy]:
    """A proxy in front of the run's server."""
    assert server.port is not None
    with Proxy(("127.0.0.1", server.port)) as running:
        yield running


@pytest.fixture
def connect(proxy: Proxy, database: dict[str, Any]) -> Iterator[Connect]:
    """Open connections through the proxy; there is a table t(id, note)."""
    connections = []

    def connect(**options: Any) -> pymysql.Connection[Any]:
        options = {**database, "port": proxy.port, "ssl_disabled": True, "autocommit": True, **options}
        connections.append(pymysql.connect(**options))
        return connections[-1]

    with closing(pymysql.connect(**database, ssl_disabled=True)) as direct:
        run(direct, "create table t (id int, note longtext) engine=InnoDB")
    yield connect
    for connection in connections:
        if connection.open:
            connection.close()


@pytest.fixture
def stored(database: dict[str, Any]) -> Callable[[], int]:
    """Count the rows of t, past the proxy."""

    def count() -> int:
        with closing(pymysql.connect(**database, ssl_disabled=True)) as direct:
            return int(run(direct, "select count(*) from t")[0][0])

    return count


def run(connection: pymysql.Connection[Any], query: str) -> tuple[tuple[Any, ...], ...]:
    """Run one query and return its rows."""
    with connection.cursor() as cursor:
        cursor.execute(query)
        return tuple(cursor.fetchall())


def code_of(connection: pymysql.Connection[Any], query: str) -> int:
    """Run a query that must fail, and return the number of its error."""
    with pytest.raises((OperationalError, InterfaceError)) as caught:
        run(connection, query)
    return int(caught.value.args[0])


def test_bytes_pass_unchanged_in_both_directions(connect: Connect) -> None:
    """A proxy that changes what it passes on would be the fault in every test."""
    note = random.Random(7).randbytes(1 << 20).hex()  # noise, not a secret
    connection = connect()
    with connection.cursor() as cursor:
        cursor.execute("insert into t values (1, %s)", (note,))
        cursor.execute("select note, seq from t join seq_1_to_3")
        assert cursor.fetchall() == ((note, 1), (note, 2), (note, 3))


@pytest.mark.parametrize("fault", [CUT_BEFORE, CUT_WITHIN])
def test_a_command_that_is_cut_before_its_end_is_never_applied(
    fault: Fault, proxy: Proxy, connect: Connect, stored: Callable[[], int]
) -> None:
    """The client sees the same 2013 as after a commit; the table tells the difference."""
    proxy.on_query(b"insert", fault)
    assert code_of(connect(), INSERT) == 2013
    proxy.wait_until(lambda: proxy.sessions == 0)
    assert (stored(), proxy.seen(b"insert"), proxy.forwarded(b"insert")) == (0, 1, 0)


@pytest.mark.parametrize(("fault", "text"), [(SWALLOW_ANSWER_RST, "reset"), (SWALLOW_ANSWER_FIN, "during query")])
def test_a_swallowed_answer_leaves_exactly_one_row(
    fault: Fault, text: str, proxy: Proxy, connect: Connect, stored: Callable[[], int]
) -> None:
    """The server has committed before the client hears of a lost connection, by RST or by FIN."""
    proxy.on_query(b"insert", fault)
    with pytest.raises(OperationalError, match=text) as caught:
        run(connect(), INSERT)
    assert caught.value.args[0] == 2013
    assert (stored(), proxy.forwarded(b"insert")) == (1, 1)


def test_every_result_of_a_multi_statement_is_waited_for(
    proxy: Proxy, connect: Connect, stored: Callable[[], int]
) -> None:
    """Cutting after the first answer would leave it open how many of the statements ran."""
    proxy.on_query(b"insert", SWALLOW_ANSWER_RST)
    connection = connect(client_flag=CLIENT.MULTI_STATEMENTS)
    assert code_of(connection, f"select * from seq_1_to_9; {INSERT}; {INSERT}") == 2013
    assert stored() == 2


def test_a_delayed_command_is_applied_when_the_gate_opens(proxy: Proxy, connect: Connect) -> None:
    """Tests order events by gates, not by sleeping."""
    gate = Gate(proxy)
    proxy.on_query(b"insert", delay(gate))
    thread = threading.Thread(target=run, args=(connect(), INSERT))
    thread.start()
    proxy.wait_until(lambda: gate.waiting == 1)
    assert proxy.forwarded(b"insert") == 0
    gate.open()
    thread.join()
    assert proxy.forwarded(b"insert") == 1


def test_a_delay_in_seconds_ends_by_itself(proxy: Proxy, connect: Connect, stored: Callable[[], int]) -> None:
    """For clients with timeouts of their own."""
    proxy.on_query(b"insert", delay(0.01))
    run(connect(), INSERT)
    assert stored() == 1


def test_a_stalled_command_lands_after_the_client_has_given_up(
    proxy: Proxy, connect: Connect, stored: Callable[[], int]
) -> None:
    """A timeout does not stop a write: what was on its way arrives, and a retry makes two of it."""
    proxy.on_query(b"insert", STALL)
    assert code_of(connect(read_timeout=0.1), INSERT) == 2013
    assert stored() == 0
    proxy.flow()
    proxy.wait_until(lambda: stored() == 1)


def test_a_stalled_proxy_is_a_black_hole_for_new_sessions_too(proxy: Proxy, connect: Connect) -> None:
    """A paused server still accepts: only the greeting does not come."""
    connection = connect(read_timeout=0.1)
    proxy.stall()
    assert code_of(connection, "select 1") == 2013
    with pytest.raises(OperationalError, match="timed out"):
        connect(read_timeout=0.1)
    proxy.flow()
    assert run(connect(), "select 1") == ((1,),)


def test_an_injected_error_reaches_the_client_and_not_the_server(
    proxy: Proxy, connect: Connect, stored: Callable[[], int]
) -> None:
    """The session stays in step: number, SQLSTATE and text are the server's in every respect but their origin."""
    proxy.on_query(b"insert", inject_err(1213, "Deadlock found", "40001"))
    connection = connect()
    with pytest.raises(OperationalError) as caught:
        run(connection, INSERT)
    assert (caught.value.args, caught.value.sqlstate) == ((1213, "Deadlock found"), "40001")
    run(connection, INSERT)
    assert stored() == 1


def test_an_injected_goodbye_has_sequence_number_zero_and_ends_the_session(proxy: Proxy, connect: Connect) -> None:
    """PyMySQL takes it for a lost connection; a better reader sees that nothing was executed."""
    proxy.on_query(b"insert", inject_err(4031, "idle for too long", sequence=0))
    connection = connect()
    assert code_of(connection, INSERT) == 2013
    proxy.wait_until(lambda: proxy.sessions == 0)
    assert proxy.forwarded(b"insert") == 0


def test_a_held_commit_comes_late(proxy: Proxy, connect: Connect, stored: Callable[[], int]) -> None:
    """The client knows of a lost connection only; the transaction commits when it is no longer expected."""
    gate = Gate(proxy)
    proxy.on_query(b"^commit", hold(gate))
    connection = connect(autocommit=False)
    run(connection, INSERT)
    with pytest.raises(OperationalError):
        connection.commit()
    proxy.wait_until(lambda: gate.waiting == 1)
    assert (stored(), proxy.forwarded(b"^commit")) == (0, 0)
    gate.open()
    proxy.wait_until(lambda: proxy.sessions == 0)
    assert stored() == 1


def test_a_commit_that_is_never_let_go_is_rolled_back(
    database: dict[str, Any], connect: Connect, proxy: Proxy, stored: Callable[[], int]
) -> None:
    """The server's session waits with its locks until it is ended."""
    proxy.on_query(b"^commit", hold(Gate(proxy)))
    connection = connect(autocommit=False)
    run(connection, INSERT)
    with pytest.raises(OperationalError):
        connection.commit()
    with closing(pymysql.connect(**database, ssl_disabled=True)) as direct:
        assert code_of(direct, "select * from t for update nowait") in {1205, 3572}
        proxy.cut_all()
        run(direct, "select * from t for update")  # granted when the transaction has ended
    assert stored() == 0


@pytest.mark.parametrize("reset", [True, False])
@pytest.mark.parametrize("after", [0, 3, 5000])
def test_an_answer_can_be_cut_at_any_byte(after: int, reset: bool, proxy: Proxy, connect: Connect) -> None:
    """Within a header, within a row, or before the first byte."""
    proxy.on_query(b"select", cut_answer(after, reset=reset))
    assert code_of(connect(), "select repeat('x', 100) from seq_1_to_1000") == 2013
    assert proxy.forwarded(b"select") == 1


def test_all_sessions_are_cut_at_once_and_new_ones_let_in(proxy: Proxy, connect: Connect) -> None:
    """What a restart of the server looks like from the pool."""
    connections = [connect() for _ in range(3)]
    assert proxy.sessions == 3
    proxy.cut_all()
    assert proxy.sessions == 0
    assert {code_of(connection, "select 1") for connection in connections} <= {2006, 2013}
    assert run(connect(), "select 1") == ((1,),)
    assert proxy.connections == 4


def test_a_refusing_proxy_keeps_its_port_and_its_sessions(proxy: Proxy, connect: Connect) -> None:
    """2003 is what a machine without a server says; it must be the same address that answers later."""
    old, port = connect(), proxy.port
    proxy.refuse()
    with pytest.raises(OperationalError) as caught:
        connect()
    assert caught.value.args[0] == 2003
    assert run(old, "select 1") == ((1,),)
    proxy.accept()
    assert run(connect(), "select 1") == ((1,),)
    assert proxy.port == port


def test_rules_are_used_up_in_their_order(proxy: Proxy, connect: Connect, stored: Callable[[], int]) -> None:
    """A test says "the second one", and means it."""
    proxy.on_query(b"INSERT", inject_err(1205), times=2)
    proxy.on_query(b"insert into T", inject_err(1213))
    connection = connect()
    assert [code_of(connection, INSERT) for _ in range(3)] == [1205, 1205, 1213]
    run(connection, INSERT)
    assert stored() == 1


def test_a_rule_may_be_for_ever_for_a_command_or_by_chance(proxy: Proxy, connect: Connect) -> None:
    """Property tests throw dice at every packet; others look for a ping."""
    proxy.on_query(b"select", inject_err(1040), times=None)
    proxy.on_command(COM_PING, inject_err(1053))
    connection = connect()
    assert {code_of(connection, "select 1") for _ in range(5)} == {1040}
    with pytest.raises(OperationalError):
        connection.ping(reconnect=False)
    proxy.clear()
    chances = itertools.chain([False, True], itertools.repeat(False))
    proxy.on_any(lambda: next(chances), inject_err(1290))
    assert run(connection, "select 1") == ((1,),)
    assert code_of(connection, "select 1") == 1290
    assert run(connection, "select 1") == ((1,),)


def test_a_fault_hits_the_second_of_two_commands_in_one_write() -> None:
    """A client that sends ahead still gets the answer to what was not hit."""
    with FakeServer() as fake, Proxy(("127.0.0.1", fake.port)) as proxy:
        proxy.on_query(b"second", CUT_WITHIN)
        with socket.create_connection(("127.0.0.1", proxy.port), timeout=10) as client:
            incoming, received = Framer(), list[bytes]()

            def read(until: int) -> None:
                while len(received) < until:
                    received.extend(incoming.feed(client.recv(4096)))

            read(1)
            client.sendall(frame(1, b"anybody"))
            read(2)
            client.sendall(b"".join(frame(0, bytes([COM_QUERY]) + text) for text in (b"first", b"second")))
            read(3)
            assert received[2][4] == 0
            proxy.wait_until(lambda: proxy.sessions == 0)
        fake.wait_until(lambda: fake.sessions == 0)
        assert fake.queries == ["first"]


def test_the_log_holds_commands_and_the_first_packets_of_answers(proxy: Proxy, connect: Connect) -> None:
    """Tests say "no COM_QUIT was sent" and "it ran once", and mean the wire."""
    connection = connect()
    run(connection, "select 'needle'")
    assert proxy.commands(COM_QUIT) == 0
    connection.close()
    proxy.wait_until(lambda: proxy.commands(COM_QUIT) == 1)
    start = [line.payload for line in proxy.packets].index(b"select 'needle'")
    sent, forwarded, answered = proxy.packets[start : start + 3]
    assert (sent.way, sent.command, sent.session) == (Way.FROM_CLIENT, COM_QUERY, 1)
    assert forwarded == sent._replace(way=Way.TO_SERVER)
    assert (answered.way, answered.command) == (Way.FROM_SERVER, 1)  # one column


def test_a_unix_socket_will_do(server: TemporaryServer, database: dict[str, Any]) -> None:
    """Servers without TCP can be tested too."""
    with Proxy(server.socket) as proxy:
        options = {**database, "host": "127.0.0.1", "port": proxy.port, "ssl_disabled": True}
        with closing(pymysql.connect(**options)) as connection:
            assert run(connection, "select 1") == ((1,),)


def test_a_proxy_without_a_server_hangs_up() -> None:
    """As HAProxy does: the connection comes up, and the greeting never comes."""
    with FakeServer() as fake, Proxy(("127.0.0.1", fake.port)) as proxy:
        fake.refuse()
        with pytest.raises(OperationalError) as caught:
            pymysql.connect(**{**fake.connect_options, "port": proxy.port})
        assert caught.value.args[0] == 2013


def test_a_closed_proxy_leaves_no_thread_and_no_port(database: dict[str, Any]) -> None:
    """With sessions, stalled ones and waiting ones included."""
    before = threading.active_count()
    with Proxy(("127.0.0.1", database["port"])) as proxy:
        options = {**database, "port": proxy.port, "ssl_disabled": True, "read_timeout": 0.1}
        proxy.on_query(b"stalled", STALL)
        proxy.on_query(b"waiting", delay(Gate(proxy)))
        with closing(pymysql.connect(**options)):
            for query in ("select 'stalled'", "select 'waiting'"):
                assert code_of(pymysql.connect(**options), query) == 2013
            proxy.close()
            assert (threading.active_count(), proxy.sessions) == (before, 0)
    with pytest.raises(OperationalError) as caught:
        pymysql.connect(**options)
    assert caught.value.args[0] == 2003
