"""exactly_once across a failover: the token travels with its transaction, so the new primary knows the outcome."""

from __future__ import annotations

import threading
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from tests.cluster.replicas import MODEST, eventually
from tests.cluster.shop import INSERT, Shop, urls_of
from tests.faults.proxy import Cut, Proxy, Session

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.cluster.replicas import Replicas


def tokens(replicas: Replicas, one: int) -> int:
    """Return how many transactions have left their token on a server."""
    return int(replicas.run(one, "select count(*) from test.improved_db_outcomes where outcome = 1")[0][0])


def exactly_once(shop: Shop) -> Callable[[], Any]:
    """Insert one row exactly once, in a thread."""
    return shop.in_background(lambda: shop.db.run_transaction(lambda tx: tx.execute_query(INSERT), exactly_once=True))


def test_what_the_failover_lost_is_done_once_on_the_new_history(shop: Shop) -> None:
    """Scenarios 58, 60: the table of outcomes was not replicated either, so it is made again; the row is there once."""
    replicas = shop.replicas
    for one in (1, 2):
        replicas.run(one, "stop slave io_thread")
    assert not isinstance(exactly_once(shop)(), Exception)
    assert (shop.rows(0), tokens(replicas, 0)) == (2, 1)
    replicas.servers[0].pause()
    again = exactly_once(shop)
    assert eventually(lambda: shop.primary() is None)
    replicas.promote(1)
    replicas.refollow(2, 1)
    assert not isinstance(again(), Exception)
    assert (shop.rows(1), tokens(replicas, 1)) == (2, 1)


@pytest.mark.parametrize(
    "may_see",
    [pytest.param(True, id="may see replication"), pytest.param(False, id="may not", marks=pytest.mark.soak)],
)
def test_a_commit_in_the_relay_log_is_done_once(may_see: bool, replicas: Replicas) -> None:
    """Scenarios 56, 57: promoted before it had applied all that it had received; asked at once, it knows no such token.

    An account that may see it waits for that. One that may not waits two seconds; if that is too short, the token lets
    replication stop with an error, where the row would have been there twice.
    """
    with Proxy(("127.0.0.1", int(replicas.servers[0].port or 0))) as proxy:
        urls = [f"mysql://{MODEST}@127.0.0.1:{proxy.port}/test", *urls_of(replicas)[1:]]
        if may_see:
            replicas.run(0, f"grant slave monitor on *.* to {MODEST}@'%'")
        with closing(Shop(replicas, urls)) as shop:
            assert not isinstance(exactly_once(shop)(), Exception)
            replicas.catch_up(1, 2, of=0)
            replicas.run(1, "stop slave", "change master to master_delay=3", "start slave")
            committed, gone = threading.Event(), threading.Event()

            def lose_the_answer(session: Session, packet: bytes) -> None:
                session.forward(packet)
                session.swallow_answers()
                committed.set()
                gone.wait(30)
                raise Cut(reset=True)

            proxy.on_query(b"^commit", lose_the_answer)
            again = exactly_once(shop)
            assert committed.wait(20)
            position = replicas.position(0)
            assert eventually(lambda: position in str(replicas.run(1, "show all slaves status")))
            replicas.servers[0].kill()
            replicas.run(1, "stop slave io_thread", "set global read_only = 0")
            replicas.refollow(2, 1)
            gone.set()
            assert not isinstance(again(), Exception)
            assert (shop.rows(1), tokens(replicas, 1)) == (2, 2)
