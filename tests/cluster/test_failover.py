"""Failovers on real servers, as a program sees them: what waits, what is lost, and which server gets no write again."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest
from pymysql.err import OperationalError

from improved_db import ImprovedDb, OutcomeUnknown, ServerRefused, TransactionLost
from tests.cluster.replicas import MODEST, eventually
from tests.cluster.shop import INSERT, urls_of

if TYPE_CHECKING:
    from tests.cluster.shop import Shop


def test_a_killed_primary_is_waited_for_and_its_successor_gets_the_writes(shop: Shop) -> None:
    """Scenarios 44, 48, 51: the write waits, no failover is counted before there is one, the old server stays out."""
    replicas = shop.replicas
    replicas.servers[0].kill()
    write = shop.in_background(lambda: shop.db.execute_query(INSERT))
    assert eventually(lambda: shop.primary() is None)
    assert {host.term for host in shop.db.hosts()} == {1}
    with (
        pytest.raises(ServerRefused, match="did not answer"),
        ImprovedDb(urls_of(replicas), acquire_timeout=0.5) as other,
    ):
        other.execute_query(INSERT)
    replicas.promote(1)
    replicas.refollow(2, 1)
    assert not isinstance(write(), Exception)
    assert (shop.primary(), shop.db.hosts()[1].term) == (1, 2)
    replicas.servers[0].start()
    assert eventually(lambda: shop.role(0) == "unfit")
    for _ in range(20):
        shop.db.execute_query(INSERT)
    assert (shop.rows(0), shop.rows(1)) == (1, 22)
    assert "was superseded by" in shop.db.hosts()[0].why


def test_a_crowd_of_writers_waits_for_the_next_primary(shop: Shop) -> None:
    """To wait for it is no retry: no budget of retries is spent on it, however many threads wait."""
    replicas = shop.replicas
    replicas.servers[0].kill()
    with ThreadPoolExecutor(200) as threads:
        writes = [threads.submit(shop.db.execute_query, INSERT) for _ in range(200)]
        assert eventually(lambda: shop.primary() is None)
        replicas.promote(1)
        replicas.refollow(2, 1)
        assert [write.exception() for write in writes] == [None] * 200
    assert shop.rows(1) == 201
    assert shop.db.stats().retries == {}


def test_a_planned_switch_loses_nothing_and_tells_open_transactions(shop: Shop) -> None:
    """Scenarios 45, 46: the old server itself ends what is under way; run_transaction goes on at the new one."""
    replicas, db = shop.replicas, shop.db
    reached, switched = threading.Event(), threading.Event()
    attempts: list[str] = []

    def body(tx: Any) -> None:
        attempts.append(str(tx.fetch_value("select @@port")))
        tx.execute_query(INSERT)
        if len(attempts) == 1:
            reached.set()
            switched.wait(30)

    again = shop.in_background(lambda: db.run_transaction(body))
    assert reached.wait(20)
    opened = ExitStack()
    opened.enter_context(db.transaction()).execute_query(INSERT)
    replicas.run(0, "set global read_only = 1")
    replicas.catch_up(1, 2, of=0)
    replicas.promote(1)
    replicas.refollow(2, 1)
    replicas.follow(0, 1)
    switched.set()
    assert eventually(lambda: shop.primary() == 1)
    with pytest.raises((ServerRefused, TransactionLost)):
        opened.close()
    assert not isinstance(again(), Exception)
    assert attempts == [str(replicas.servers[0].port), str(replicas.servers[1].port)]
    db.execute_query(INSERT)
    assert shop.rows(1) == 3
    assert eventually(lambda: shop.role(0) == "replica")
    assert shop.rows(0) == 3


def test_writes_on_a_frozen_primary_are_cut_when_another_one_is_accepted(shop: Shop) -> None:
    """No answer can come that would be true; the caller hears that the outcome is unknown, and does not hang."""
    replicas, db = shop.replicas, shop.db
    replicas.servers[0].pause()
    write = shop.in_background(lambda: db.execute_query(INSERT))
    assert eventually(lambda: shop.primary() is None)
    replicas.promote(1)
    replicas.refollow(2, 1)
    lost = write()
    assert isinstance(lost, OutcomeUnknown)
    assert lost.host == shop.replicas.address(0)
    db.execute_query(INSERT)
    assert shop.primary() == 1
    replicas.servers[0].resume()
    assert eventually(lambda: shop.role(0) == "unfit")
    db.execute_query(INSERT)
    assert shop.rows(1) == 3


def test_the_report_names_what_was_acknowledged_and_lost(shop: Shop) -> None:
    """Scenario 44: the replicas had not received it; the report, the log and the counters say so, and nothing else."""
    replicas, db = shop.replicas, shop.db
    for one in (1, 2):
        replicas.run(one, "stop slave io_thread")
    with db.transaction() as tx:
        tx.execute_query(INSERT)
        tx.execute_query(INSERT)
    db.exec_many("insert into pets (id) values (%s)", [(number,) for number in range(10, 20)])
    lost = replicas.position(0)
    assert (db.stats().failovers, db.stats().lost_writes) == (0, 0)
    replicas.servers[0].kill()
    replicas.promote(1)
    replicas.refollow(2, 1)
    db.execute_query(INSERT)
    assert eventually(lambda: len(shop.reports) == 1)
    (report,) = shop.reports
    assert (report.old, report.new, report.term, report.checked) == (*replicas.addresses[:2], 2, True)
    first = int(lost.rpartition("-")[2]) - 1
    assert report.lost == (f"0-1-{first}", lost)
    assert (db.stats().failovers, db.stats().lost_writes) == (1, 2)
    assert shop.rows(1) == 2


def test_a_commit_that_comes_late_is_no_success_if_the_new_primary_lacks_it(shop: Shop) -> None:
    """Scenario 59: an account that may write on a read-only server commits there after the switch."""
    replicas = shop.replicas
    urls = [url.replace(MODEST, "root") for url in urls_of(replicas)]
    with ImprovedDb(urls, deadline=20.0, monitor_interval=0.3) as db:
        opened = ExitStack()
        opened.enter_context(db.transaction()).execute_query(INSERT)
        replicas.run(0, "set global read_only = 1")
        replicas.promote(1)
        replicas.refollow(2, 1)
        assert eventually(lambda: db.hosts()[1].role == "primary")
        with pytest.raises(OutcomeUnknown, match="is the primary, and lacks it"):
            opened.close()


def test_two_writers_are_refused_until_one_is_read_only(shop: Shop) -> None:
    """Scenario 49: the text says what to do; reads of the reader lane go on."""
    replicas, db = shop.replicas, shop.db
    replicas.run(2, "stop slave")
    replicas.promote(1)
    assert eventually(lambda: shop.primary() is None)
    with pytest.raises(ServerRefused, match="topology='sequential'"):
        db.execute_query(INSERT)
    assert db.stats().conflict_seconds > 0
    replicas.run(1, "set global read_only = 1")
    assert eventually(lambda: shop.primary() == 0)
    db.execute_query(INSERT)
    assert shop.rows(0) == 2


def test_replicas_that_follow_another_writer_overrule_the_primary(shop: Shop) -> None:
    """Scenario 53: only the old primary was cut off from the others, and we see all of them."""
    replicas, db = shop.replicas, shop.db
    for one in (1, 2):  # the primary notices with a sign of life that a replica is gone: each second here, not 30
        replicas.run(one, "stop slave", "change master to master_heartbeat_period=1", "start slave")
    replicas.promote(1)
    replicas.refollow(2, 1)
    assert eventually(lambda: shop.primary() == 1)
    db.execute_query(INSERT)
    assert (shop.rows(0), shop.rows(1)) == (1, 2)
    assert shop.role(0) == "unfit"


def test_a_reader_whose_replica_is_promoted_never_writes(shop: Shop) -> None:
    """Scenario 47: its session was made READ ONLY when its server was a replica, and it stays so."""
    replicas, db = shop.replicas, shop.db
    with db.reader.transaction() as tx:
        ports = [server.port for server in replicas.servers]
        chosen = ports.index(tx.fetch_value("select @@port"))
        replicas.run(0, "set global read_only = 1")
        replicas.catch_up(1, 2, of=0)
        replicas.promote(chosen)
        replicas.refollow(3 - chosen, chosen)
        assert eventually(lambda: shop.primary() == chosen)
        with pytest.raises(OperationalError, match="1792"):
            tx.execute_query(INSERT)
    assert shop.rows(chosen) == 1
    db.execute_query(INSERT)
    assert shop.rows(chosen) == 2


def test_what_is_read_after_a_failover_is_what_the_new_primary_has(shop: Shop) -> None:
    """Scenario 24: no read waits for a lost write, though its number is reached; a token of it means the primary."""
    replicas, db = shop.replicas, shop.db
    for one in (1, 2):
        replicas.run(one, "stop slave")
    db.execute_query(INSERT)
    token = db.causal_token()
    replicas.servers[0].kill()
    replicas.promote(1)
    for _ in range(5):
        db.execute_query(INSERT)
    replicas.run(2, "stop slave", "reset slave all")
    replicas.follow(2, 1)
    db.wait(20, role="replica")
    newest = "select max(id) from pets"
    assert eventually(lambda: db.stats().lost_writes == 1)
    assert db.causal_token() != token
    for _ in range(20):
        db.execute_query(INSERT)
        assert db.reader.fetch_value(newest) == db.fetch_value(newest)
    assert db.stats().by_host[replicas.address(2)].acquired > 0
    with ImprovedDb(urls_of(replicas), monitor_interval=0.3) as other:
        other.wait(20, role="replica")
        assert other.reader.execute_query(newest, after=token) == db.execute_query(newest)
        assert other.stats().by_host[replicas.address(2)].acquired == 0


def test_reads_of_the_reader_go_on_while_there_is_no_primary(shop: Shop) -> None:
    """Scenario 51: they need none; writes wait, and say in time which servers there are."""
    shop.db.reader.fetch_value("select count(*) from pets")
    shop.replicas.servers[0].kill()
    write = shop.in_background(lambda: shop.db.execute_query(INSERT))
    assert eventually(lambda: shop.primary() is None)
    for _ in range(20):
        assert shop.db.reader.fetch_value("select count(*) from pets") == 1
    shop.replicas.servers[0].restart()
    assert len(write()) == 0
    assert shop.db.hosts()[0].term == 1


def test_mistakes_of_the_settings_are_told_at_once(shop: Shop) -> None:
    """Scenario 88: a wrong password, a wrong port: no call waits for a primary that no question can find."""
    urls = urls_of(shop.replicas)
    wrong = [url.replace(f"//{MODEST}@", f"//{MODEST}:wrong@") for url in urls]
    with ImprovedDb(wrong) as db, pytest.raises(OperationalError, match="1045"):
        db.execute_query("select 1")
    with ImprovedDb("mysql://root@127.0.0.1:1,127.0.0.1:2/test") as db, pytest.raises(OperationalError, match="2003"):
        db.execute_query("select 1")
    odd = [urls[0], urls[1].replace(f"//{MODEST}@", f"//{MODEST}:wrong@"), urls[2]]
    with ImprovedDb(odd, monitor_interval=0.3) as db:
        db.execute_query(INSERT)
        assert eventually(lambda: "1045" in db.hosts()[1].why)
        assert db.hosts()[2].role == "replica"
