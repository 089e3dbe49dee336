"""Servers that must not get a command before they have answered the last one: ProxySQL and Aurora."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from improved_db import Connection, ImprovedDb
from tests.faults import fake_server, packets
from tests.faults.fake_server import FakeServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def proxysql(server: FakeServer) -> None:
    """Describe itself as ProxySQL does."""
    server.on("version_comment", fake_server.rows(["@@version_comment"], [["(ProxySQL)"]]))


def aurora(server: FakeServer) -> None:
    """Have the variable that only Aurora has."""
    server.on("version_comment", fake_server.rows(["@@version_comment"], [["Source distribution"]]))
    server.on("^show variables", fake_server.rows(["Variable_name", "Value"], [["aurora_version", "3.04"]]))


@pytest.fixture(params=[proxysql, aurora])
def server(request: pytest.FixtureRequest) -> Iterator[FakeServer]:
    """A server of either kind."""
    with FakeServer(impatient=True) as running:
        request.param(running)
        running.on("^start", fake_server.ok(status=packets.IN_TRANSACTION))
        yield running


def change_the_session(db: ImprovedDb) -> None:
    """Have a session made new twice."""
    for _ in range(2):
        db.execute_query("set @a = 1")


CALLS: dict[str, Callable[[ImprovedDb], Any]] = {
    "reset": change_the_session,
    "isolation": lambda db: db.run_transaction(lambda tx: tx.execute_query("select 1"), isolation="serializable"),
    "exec_many": lambda db: db.exec_many("update t set a = %s", range(250)),
}


@pytest.mark.parametrize("call", CALLS)
def test_no_command_is_sent_before_the_answer_to_the_last(server: FakeServer, call: str) -> None:
    """Each reset of a session behind a proxy lost it."""
    options: dict[str, Any] = {**server.connect_options, "init_command": "set @b = 1"}
    with ImprovedDb(options, max_size=1, retry=None) as db:
        CALLS[call](db)
        assert db.stats().opened == 1
    assert server.hurried == 0


def test_a_connection_outside_a_pool_sends_one_command_at_a_time(server: FakeServer) -> None:
    """It does not know its server."""
    with Connection(**server.connect_options, init_command="set @b = 1") as connection:
        assert connection.open
    assert server.hurried == 0
