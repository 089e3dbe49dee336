"""KILL goes by number, and on another server, behind a load balancer for example, that is another client's session."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pymysql
import pytest

from improved_db import ImprovedDb
from improved_db.testing import TemporaryServer
from improved_db.wire.ending import mark
from improved_db.wire.pymysql_driver import PyMySQLDriver
from tests.fakes import Caller
from tests.faults import fake_server
from tests.faults.faults import Gate, delay

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.faults.harness import Rig


def several(name_of: Callable[[int], str | None]) -> fake_server.FakeServer:
    """Return what looks like several servers behind one address: each session hears another name of its server.

    Every server of them lists the number of the first session, with its port.
    """
    server = fake_server.FakeServer()
    port: list[int] = []

    def identify(peer: fake_server.Peer) -> None:
        port.append(peer.port)
        fake_server.rows(["name"], [[name_of(peer.number)]])(peer)

    def list_sessions(peer: fake_server.Peer) -> None:
        fake_server.rows(["HOST"], [[f"somewhere:{port[0]}"]])(peer)

    server.on("concat_ws", identify)
    server.on("processlist", list_sessions)
    server.on("uptime", fake_server.rows(["Variable_name", "Value"], [["Uptime", "100000"]]))
    server.on("slow", fake_server.silence())
    return server


def killed(name_of: Callable[[int], str | None]) -> bool:
    """Let a statement run into its time limit, and say whether a KILL was sent for it."""
    with several(name_of) as server, ImprovedDb(server.connect_options, retry=None) as db:
        with pytest.raises(pymysql.err.OperationalError):
            db.execute_query("call slow()", timeout=0.1)
        with pytest.raises(pymysql.err.OperationalError):
            db.execute_query("select 1 from slow", timeout=0.1)
        return server.count("^kill") > 0


def test_a_session_of_another_server_is_not_killed() -> None:
    """The second connection reached another server, where the number is another program's session."""
    assert not killed(lambda session: f"server {session}")


def test_a_session_of_the_same_server_is_killed() -> None:
    """Or the statement would run on with its locks."""
    assert killed(lambda _: "the only one")


@pytest.mark.parametrize("name", ["", None])
def test_a_server_without_a_name_is_not_sent_a_kill(name: str | None) -> None:
    """It may be any one."""
    assert not killed(lambda _: name)


def test_a_server_that_refuses_to_say_its_name_is_used_all_the_same() -> None:
    """Its statements run; only KILL is left out."""
    with fake_server.FakeServer() as server:
        server.on("concat_ws", fake_server.err(1193, "Unknown system variable 'pid_file'", "HY000"))
        with ImprovedDb(server.connect_options, max_size=2, retry=None) as db, db.connection(), db.connection():
            assert db.stats().opened == 2


@pytest.mark.parametrize("options", [{}, {"use_unicode": False}, {"conv": {}}, {"conv": {253: lambda _: None}}])
def test_two_servers_of_one_machine_have_two_names(options: dict[str, Any]) -> None:
    """And two sessions of one server have the same, whatever the caller makes of texts."""
    with TemporaryServer() as one, TemporaryServer() as two:
        names = []
        for server in (one, two):
            with ImprovedDb(server.connect_options, **options) as db, db.connect() as first, db.connect() as second:
                assert mark(first).server == mark(second).server
                names.append(mark(first).server)
    assert names[0] != names[1]
    assert all(names)


def test_a_connection_that_began_before_the_first_one_was_there_knows_its_server_too(rig: Rig) -> None:
    """Two openers start together, as they do in a pool: without its server's name the session could not be ended."""
    driver = PyMySQLDriver(lambda: {**rig.options, "port": rig.proxy.port})
    gate = Gate(rig.proxy)
    rig.proxy.on_query(b"set names", delay(gate))
    second = Caller(driver.connect)
    rig.proxy.wait_until(lambda: gate.waiting == 1)
    connections = [driver.connect()]
    gate.open()
    connections.append(second.result())
    names = {connection._server_identity for connection in connections}
    for connection in connections:
        driver.close(connection)
    assert len(names) == 1
    assert "" not in names
