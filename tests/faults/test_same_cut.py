"""A statement that something on the way cuts off each time after the same while: it is not lost by chance."""

from __future__ import annotations

import itertools
import threading
from typing import TYPE_CHECKING, Any

import pymysql
import pytest

from improved_db import ImprovedDb, OutcomeUnknown, TransactionLost
from tests.faults import fake_server, packets

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def cut_after(*seconds: float) -> fake_server.Response:
    """Hang up instead of an answer, after the next of *seconds*; the last one again and again."""
    left = itertools.chain(seconds, itertools.repeat(seconds[-1]))

    def response(_: fake_server.Peer) -> None:
        threading.Event().wait(next(left))
        raise fake_server.HangUp

    return response


@pytest.fixture
def server() -> Iterator[fake_server.FakeServer]:
    """A scripted server with transactions."""
    with fake_server.FakeServer() as running:
        running.on("^start", fake_server.ok(status=packets.IN_TRANSACTION))
        yield running


CALLS: dict[str, tuple[Callable[[ImprovedDb], Any], type[Exception]]] = {
    "read": (lambda db: db.execute_query("select 'slow'"), pymysql.err.OperationalError),
    "write": (lambda db: db.execute_query("update slow set a = 1", idempotent=True), OutcomeUnknown),
    "function": (lambda db: db.run_transaction(lambda tx: tx.execute_query("update slow set a = 1")), TransactionLost),
}


@pytest.mark.parametrize("call", CALLS)
def test_a_statement_cut_off_twice_after_the_same_while_is_not_sent_again(
    server: fake_server.FakeServer, call: str
) -> None:
    """It was sent for half a minute, and each copy went on running on the server."""
    server.on("slow", cut_after(0.6))
    with ImprovedDb(server.connect_options) as db:
        run, expected = CALLS[call]
        with pytest.raises(expected) as caught:
            run(db)
        assert type(caught.value) is expected
    assert server.count("slow") == 2


@pytest.mark.parametrize("seconds", [(0.0, 0.0, 0.0), (0.6, 0.0, 0.6)])
def test_a_statement_lost_by_chance_is_sent_again(server: fake_server.FakeServer, seconds: tuple[float, ...]) -> None:
    """A server that restarts loses statements at any time, and the short ones all after the same while."""
    server.on("slow", cut_after(*seconds), times=len(seconds))
    with ImprovedDb(server.connect_options) as db:
        assert db.execute_query("select 'slow'") == (("1",),)
    assert server.count("slow") == len(seconds) + 1
