"""Deadlocks and lock waits: all of it again where we own it, nothing more where the caller does."""

from __future__ import annotations

import pytest
from pymysql.err import IntegrityError, MySQLError, OperationalError

from improved_db import ImprovedDb, OutcomeUnknown, RetryPolicy, Transaction, TransactionRolledBack
from improved_db.testing import TemporaryServer
from tests.capabilities import Capabilities
from tests.faults.harness import Rig, Rival, ends_in, in_threads, resent, sums

pytestmark = pytest.mark.usefixtures("three_rows")

UP = "update t set n = n + 1 where id = %s"


@pytest.fixture
def db(rig: Rig) -> ImprovedDb:
    """A pool that waits for no lock."""
    return rig.db(direct=True, max_size=2, init_command="set innodb_lock_wait_timeout = 0")


def deadlock(tx: Transaction, rig: Rig, rival: Rival) -> None:
    """Become the victim of a deadlock."""
    rival.run("update t set n = n + 10 where id = 2")
    tx.execute_query(UP, 1)
    rival.cross("update t set n = n + 10 where id = 1")
    tx.execute_query(UP, 2)


@pytest.fixture
def patient(rig: Rig) -> ImprovedDb:
    """A pool that waits for locks, so that there are deadlocks."""
    return rig.db(direct=True, max_size=8)


@pytest.mark.parametrize("swallow", [False, True])
def test_a_deadlock_in_a_block_commits_nothing_whatever_comes_next(
    swallow: bool, rig: Rig, patient: ImprovedDb
) -> None:
    """After it the session is in no transaction: every further statement would commit by itself, and stay."""
    with Rival(rig) as rival, ends_in(TransactionRolledBack), patient.transaction() as tx:
        with pytest.raises(TransactionRolledBack) as caught:
            deadlock(tx, rig, rival)
        assert (caught.value.args[0], caught.value.verdict) == (1213, "transaction_rolled_back")
        with pytest.raises(TransactionRolledBack):
            tx.execute_query(UP, 3)
        with pytest.raises(TransactionRolledBack):
            tx.exec_many("insert into t (id) values (%s)", [9])
        with pytest.raises(TransactionRolledBack), tx.savepoint():
            pass
        if not swallow:
            raise caught.value
    assert (sums(rig), patient.stats().used, patient.stats().discarded) == ((0, 0, 0), 0, {})


def test_a_swallowed_deadlock_is_replayed_all_the_same(rig: Rig, patient: ImprovedDb) -> None:
    """The function returned as if all were well; its transaction is gone, and it is asked to do it again."""
    calls: list[Transaction] = []

    def work(tx: Transaction) -> int:
        calls.append(tx)
        tx.execute_query(UP, 3)
        if len(calls) == 1:
            with Rival(rig) as rival, pytest.raises(TransactionRolledBack):
                deadlock(tx, rig, rival)
        return len(calls)

    assert patient.run_transaction(work) == 2
    assert sums(rig) == (0, 0, 1)
    assert calls[0] is not calls[1]
    with pytest.raises(TransactionRolledBack):
        calls[0].execute_query(UP, 3)
    assert sums(rig) == (0, 0, 1)


def test_an_error_made_of_a_deadlock_is_replayed_and_one_made_of_another_is_the_callers(
    rig: Rig, patient: ImprovedDb
) -> None:
    """Layers between us and the caller wrap errors; what matters is what they wrapped."""
    calls: list[Transaction] = []

    def work(tx: Transaction) -> None:
        calls.append(tx)
        try:
            with Rival(rig) as rival:
                if len(calls) == 1:
                    deadlock(tx, rig, rival)
            tx.execute_query("insert into t (id) values (1)")
        except MySQLError as error:
            raise LookupError("repository") from error

    with pytest.raises(LookupError, match="repository") as caught:
        patient.run_transaction(work)
    assert len(calls) == 2
    assert isinstance(caught.value.__cause__, IntegrityError)
    assert sums(rig) == (0, 0, 0)


def test_a_lock_wait_in_a_block_leaves_it_open(rig: Rig, db: ImprovedDb) -> None:
    """The server has undone one statement; whether the rest is worth committing, its owner decides."""
    with Rival(rig) as rival, db.transaction() as tx:
        rival.run("update t set n = 9 where id = 2")
        tx.execute_query(UP, 1)
        with pytest.raises(OperationalError, match="Lock wait timeout"):
            tx.execute_query(UP, 2)
        tx.execute_query(UP, 3)
    assert sums(rig) == (1, 0, 1)


def test_a_lock_wait_is_replayed_after_a_rollback(rig: Rig, db: ImprovedDb) -> None:
    """Replayed without one, the first statement would count twice."""
    calls: list[Transaction] = []
    with Rival(rig) as rival:
        rival.run("update t set n = 9 where id = 2")

        def work(tx: Transaction) -> None:
            calls.append(tx)
            if len(calls) == 3:
                rival.release()
            for number in (1, 2, 3):
                tx.execute_query(UP, number)

        db.run_transaction(work)
    assert (sums(rig), db.stats().retries) == ((1, 1, 1), {"statement_rolled_back": 2})


def test_a_server_that_rolls_back_on_a_lock_wait_is_known_for_it() -> None:
    """One global variable turns a failed statement into a lost transaction."""
    rollback = ["--innodb-rollback-on-timeout=ON"]
    with TemporaryServer(tcp=True, options=rollback) as server, Rig(server.connect_options) as rig:
        Capabilities(server.connect_options).give_numbers("test")
        rig.table()
        rig.ask("insert into t (id) values (1), (2), (3)")
        db = rig.db(direct=True, init_command="set innodb_lock_wait_timeout = 0")
        with Rival(rig) as rival, ends_in(TransactionRolledBack), db.transaction() as tx:
            rival.run("update t set n = 9 where id = 2")
            tx.execute_query(UP, 1)
            with pytest.raises(TransactionRolledBack):
                tx.execute_query(UP, 2)
        assert sums(rig) == (0, 0, 0)


def test_tables_without_transactions_are_not_replayed_twice(rig: Rig, db: ImprovedDb) -> None:
    """A rollback leaves in them what was written; doing it again would write it again."""
    rig.table("log (id int)", engine="MyISAM")
    with Rival(rig) as rival:
        rival.run("update t set n = 9 where id = 2")

        def work(tx: Transaction) -> None:
            tx.execute_query("insert into log values (1)")
            tx.execute_query(UP, 2)

        with pytest.raises(OutcomeUnknown):
            db.run_transaction(work)
        with pytest.raises(OutcomeUnknown):
            db.execute_query("insert into log select id from t where id in (1, 2) for update")
    assert (rig.count("log"), resent(db)) == (2, 0)


def transfer(tx: Transaction, source: int, target: int) -> None:
    """Move one from row to row, in the order given: the stuff that deadlocks are made of."""
    tx.execute_query("update t set n = n - 1 where id = %s", source)
    tx.execute_query("update t set n = n + 1 where id = %s", target)


@pytest.mark.parametrize(
    "snapshot_isolation", [False, pytest.param(True, marks=pytest.mark.needs("snapshot isolation"))]
)
def test_crossing_transfers_all_commit(snapshot_isolation: bool, rig: Rig, capabilities: Capabilities) -> None:
    """400 of them, from 8 threads, over 3 rows; each is replayed until it is through, and none is done twice."""
    has_switch = capabilities.has("snapshot isolation")
    db = rig.db(
        direct=True,
        max_size=8,
        retry=RetryPolicy(attempts=1000),
        init_command=f"set innodb_snapshot_isolation = {int(snapshot_isolation)}" if has_switch else None,
    )

    def work(tx: Transaction, number: int, round_: int) -> None:
        if snapshot_isolation:
            tx.execute_query("select sum(n) from t")  # takes the snapshot that others then outdate
        transfer(tx, 1 + (number + round_) % 3, 1 + (number + round_ + 1 + number % 2) % 3)
        tx.execute_query("update t set n = n + 1000000 where id = 1")

    def transfers(number: int) -> None:
        for round_ in range(50):
            db.run_transaction(work, number, round_)

    in_threads(8, transfers)
    assert sum(sums(rig)) == 400 * 1_000_000
    assert resent(db) > 0
    assert (db.stats().discarded, db.stats().used) == ({}, 0)
