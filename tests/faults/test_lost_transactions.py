"""A transaction that is cut: before COMMIT nothing of it lasts and it is retried; at COMMIT the outcome is unknown."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from pymysql.err import OperationalError

from improved_db import ImprovedDb, OutcomeUnknown, Transaction, TransactionLost
from tests.fakes import Caller
from tests.faults.faults import (
    CUT_BEFORE,
    CUT_WITHIN,
    SWALLOW_ANSWER_FIN,
    SWALLOW_ANSWER_RST,
    Gate,
    delay,
    inject_err,
)
from tests.faults.harness import Rig, ends_in, resent, sums

if TYPE_CHECKING:
    from tests.faults.proxy import Fault

pytestmark = pytest.mark.usefixtures("three_rows")

LOSSES = [CUT_BEFORE, CUT_WITHIN, SWALLOW_ANSWER_RST, SWALLOW_ANSWER_FIN]


def count_up(tx: Transaction) -> str:
    """Add one to each row, in one transaction of three statements."""
    for number in (1, 2, 3):
        tx.execute_query("update t set n = n + 1 where id = %s", number)
    return "done"


@pytest.mark.parametrize("fault", LOSSES)
@pytest.mark.parametrize("statement", [b"start transaction", b"id = 1", b"id = 3"])
def test_a_cut_before_commit_is_made_good(statement: bytes, fault: Fault, rig: Rig, db: ImprovedDb) -> None:
    """COMMIT never left, so nothing of it lasts, wherever the cut was: making it again is safe, and all or nothing."""
    rig.proxy.on_query(statement, fault)
    assert db.run_transaction(count_up) == "done"
    assert (sums(rig), rig.proxy.seen(b"^commit"), resent(db)) == ((1, 1, 1), 1, 1)


@pytest.mark.parametrize("fault", LOSSES)
def test_a_commit_without_an_answer_is_unknown(fault: Fault, rig: Rig, db: ImprovedDb) -> None:
    """If it were retried, it could be done twice; if it were reported as failed, it could be done all the same."""
    rig.proxy.on_query(b"^commit", fault)
    with pytest.raises(OutcomeUnknown):
        db.run_transaction(count_up)
    rig.proxy.wait_until(lambda: rig.proxy.sessions == 0)
    applied = int(fault in {SWALLOW_ANSWER_RST, SWALLOW_ANSWER_FIN})
    assert (sums(rig), rig.proxy.seen(b"^commit"), resent(db)) == ((applied,) * 3, 1, 0)


def test_a_goodbye_in_place_of_the_answer_to_commit_is_no_answer(rig: Rig, db: ImprovedDb) -> None:
    """The server had ended the session before it saw COMMIT, so this is known, and made good."""
    rig.proxy.on_query(b"^commit", inject_err(4031, "idle for too long", sequence=0))
    db.run_transaction(count_up)
    assert (sums(rig), db.stats().retries) == ((1, 1, 1), {"not_sent": 1})


@pytest.mark.parametrize("fault", LOSSES)
def test_a_transaction_of_the_callers_is_lost_and_nothing_of_it_lasts(fault: Fault, rig: Rig, db: ImprovedDb) -> None:
    """Only its owner knows what belongs to it: it is told, and nothing is run on a new session behind its back."""
    rig.proxy.on_query(b"id = 2", fault)
    with ends_in(TransactionLost), db.transaction() as tx:
        tx.execute_query("update t set n = n + 1 where id = 1")
        with pytest.raises(TransactionLost):
            tx.execute_query("update t set n = n + 1 where id = 2")
        with pytest.raises(TransactionLost):
            tx.execute_query("update t set n = n + 1 where id = 3")
    rig.proxy.wait_until(lambda: rig.proxy.sessions == 0)
    assert (sums(rig), rig.proxy.seen(b"id = 3"), rig.proxy.seen(b"^commit")) == ((0, 0, 0), 0, 0)


@pytest.mark.parametrize("fault", LOSSES)
def test_a_lost_begin_is_retried_for_the_caller_too(fault: Fault, rig: Rig, db: ImprovedDb) -> None:
    """The caller has done nothing yet that could be done twice."""
    rig.proxy.on_query(b"^start transaction", fault)
    with db.transaction() as tx:
        count_up(tx)
    assert sums(rig) == (1, 1, 1)


@pytest.mark.parametrize("fault", LOSSES)
def test_a_commit_of_the_callers_without_an_answer_is_unknown(fault: Fault, rig: Rig, db: ImprovedDb) -> None:
    """As for a transaction of ours."""
    rig.proxy.on_query(b"^commit", fault)
    with pytest.raises(OutcomeUnknown), db.transaction() as tx:
        count_up(tx)
    assert (rig.proxy.seen(b"^commit"), db.stats().used) == (1, 0)


@pytest.mark.parametrize("fault", LOSSES)
def test_a_lost_rollback_is_no_error_for_the_caller(fault: Fault, rig: Rig, db: ImprovedDb) -> None:
    """The server rolls back what has lost its session; the caller gets the exception that mattered."""
    rig.proxy.on_query(b"^rollback", fault)

    def fail(tx: Transaction) -> None:
        count_up(tx)
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        db.run_transaction(fail)
    rig.proxy.on_query(b"^rollback", fault)
    with pytest.raises(LookupError, match="mine"), db.transaction() as tx:
        fail(tx)
    rig.proxy.wait_until(lambda: rig.proxy.sessions == 0)
    assert (sums(rig), db.stats().discarded) == ((0, 0, 0), {"unrestorable": 2})
    assert db.execute_query("select 'fine'") == (("fine",),)


def test_a_session_killed_in_the_middle_is_made_good_once(rig: Rig, db: ImprovedDb) -> None:
    """KILL is how operators end what hangs, and how servers end what is too old."""
    gate = Gate(rig.proxy)
    rig.proxy.on_query(b"id = 2", delay(gate))
    work = Caller(lambda: db.run_transaction(count_up))
    rig.proxy.wait_until(lambda: gate.waiting == 1)
    ((victim,),) = rig.ask(
        "select id from information_schema.processlist where db = database() and id <> connection_id()"
    )
    rig.ask("kill %s", (victim,))
    gate.open()
    assert work.result() == "done"
    assert (sums(rig), rig.proxy.seen(b"^commit"), resent(db)) == ((1, 1, 1), 1, 1)


@pytest.mark.parametrize("fault", LOSSES)
def test_a_lost_savepoint_loses_the_whole_transaction(fault: Fault, rig: Rig, db: ImprovedDb) -> None:
    """A savepoint lives in its session; what came before it is as lost as what came after."""
    rig.proxy.on_query(b"id = 2", fault)

    def work(tx: Transaction) -> None:
        tx.execute_query("update t set n = n + 1 where id = 1")
        try:
            with tx.savepoint():
                tx.execute_query("update t set n = n + 1 where id = 2")
        except OperationalError:
            pass  # what a caller may think is undone, and nothing more
        tx.execute_query("update t set n = n + 1 where id = 3")

    db.run_transaction(work)
    assert (sums(rig), resent(db)) == ((1, 1, 1), 1)


def test_autocommit_off_loses_no_commit(rig: Rig) -> None:
    """A single statement is then a transaction of ours, with a COMMIT that can be lost."""
    db = rig.db(autocommit=False)
    rig.proxy.on_query(b"^commit", SWALLOW_ANSWER_RST)
    with pytest.raises(OutcomeUnknown):
        db.execute_query("update t set n = n + 1 where id = 1")
    rig.proxy.on_query(b"id = 2", SWALLOW_ANSWER_RST)
    db.execute_query("update t set n = n + 1 where id = 2")
    assert (sums(rig), resent(db)) == ((1, 1, 0), 1)
