"""Exactly once: a lost answer to COMMIT is found out, and neither done twice nor reported as failed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from pymysql.constants import FIELD_TYPE
from pymysql.converters import conversions

from improved_db import ImprovedDb, OutcomeUnknown, RetryPolicy, StatementError, Transaction, TransactionLost
from tests.fakes import Caller, eventually
from tests.faults.faults import (
    CUT_BEFORE,
    CUT_WITHIN,
    STALL,
    SWALLOW_ANSWER_FIN,
    SWALLOW_ANSWER_RST,
    Gate,
    hold,
    inject_err,
)
from tests.faults.harness import Rig, Rival, resent

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.faults.proxy import Fault

TOKENS = "select outcome, count(*) from improved_db_outcomes group by outcome order by outcome"
INSERT = "insert into t (id) values (%s)"
LOSSES = [CUT_BEFORE, CUT_WITHIN, SWALLOW_ANSWER_RST, SWALLOW_ANSWER_FIN]
APPLIED = {SWALLOW_ANSWER_RST, SWALLOW_ANSWER_FIN}


@pytest.fixture
def rig(rig: Rig) -> Rig:
    """A proxy in front of a table t with the row 1."""
    rig.ask("insert into t (id) values (1)")
    return rig


@pytest.fixture
def db(rig: Rig) -> ImprovedDb:
    """A pool through the proxy, with the table of outcomes made."""
    db = rig.db(max_size=3)
    db.run_transaction(lambda _: None, exactly_once=True)
    rig.ask("delete from improved_db_outcomes")
    return db


def add(tx: Transaction) -> str:
    """Add 100 to row 1."""
    tx.execute_query("update t set n = n + 100 where id = 1")
    return "done"


def balance(rig: Rig) -> int:
    """Return what row 1 holds."""
    return int(rig.value("select n from t where id = 1"))


@pytest.mark.parametrize("fault", LOSSES)
def test_a_lost_commit_is_resolved(fault: Fault, rig: Rig, db: ImprovedDb) -> None:
    """Whether it was applied or not: in the end it is, once, and its result is the caller's."""
    rig.proxy.on_query(b"^commit", fault)
    assert db.run_transaction(add, exactly_once=True) == "done"
    assert (balance(rig), resent(db)) == (100, 0 if fault in APPLIED else 1)
    assert rig.ask(TOKENS) == (((1, 1),) if fault in APPLIED else ((0, 1), (1, 1)))


def broken(value: str) -> str:
    raise RuntimeError(value)


@pytest.mark.parametrize("decoder", [str, broken])
def test_the_callers_decoders_do_not_hide_that_it_was_committed(decoder: Callable[[str], str], rig: Rig) -> None:
    """The outcome is a number in a row of ours; read as something else, it would have the function run twice."""
    db = rig.db(max_size=3, conv={**conversions, FIELD_TYPE.TINY: decoder})
    db.run_transaction(lambda _: None, exactly_once=True)
    rig.proxy.on_query(b"^commit", SWALLOW_ANSWER_RST)
    assert db.run_transaction(add, exactly_once=True) == "done"
    assert balance(rig) == 100


def test_what_is_replayed_is_the_function_and_not_its_result(rig: Rig, db: ImprovedDb) -> None:
    """Each attempt has a transaction and a token of its own; callbacks of those that are gone are not called."""
    seen: list[int] = []
    handles: list[Transaction] = []

    def work(tx: Transaction) -> int:
        handles.append(tx)
        attempt = len(handles)
        tx.on_commit(lambda: seen.append(attempt))
        add(tx)
        return attempt

    rig.proxy.on_query(b"^commit", CUT_BEFORE, times=2)
    assert db.run_transaction(work, exactly_once=True) == 3
    assert (balance(rig), seen) == (100, [3])
    assert rig.ask(TOKENS) == ((0, 2), (1, 1))


def test_a_commit_that_comes_late_is_waited_for(rig: Rig, db: ImprovedDb) -> None:
    """It is still on its way when we ask: the lock of its token makes us wait, and not add a second 100."""
    gate = Gate(rig.proxy)
    rig.proxy.on_query(b"^commit", hold(gate))
    work = Caller(lambda: db.run_transaction(add, exactly_once=True))
    rig.proxy.wait_until(lambda: gate.waiting == 1)
    eventually(lambda: rig.running("insert into improved_db_outcomes"))
    gate.open()
    assert work.result() == "done"
    assert (balance(rig), rig.ask(TOKENS), resent(db)) == (100, ((1, 1),), 0)


def test_a_lost_session_that_still_holds_its_locks_is_waited_for(rig: Rig, db: ImprovedDb) -> None:
    """Through a proxy its number may be another session's, so it is not killed; the replay waits for its locks."""
    gate = Gate(rig.proxy)
    rig.proxy.on_query(b"insert into improved_db_outcomes", hold(gate))
    work = Caller(lambda: db.run_transaction(add, exactly_once=True))
    rig.proxy.wait_until(lambda: gate.waiting == 1)
    eventually(lambda: rig.running("set n = n + 100"))
    gate.open()
    assert work.result() == "done"
    assert (balance(rig), rig.ask(TOKENS), resent(db)) == (100, ((1, 1),), 1)


@pytest.mark.needs("backup stages")
def test_a_commit_that_hangs_is_ended_on_the_server_and_made_good(rig: Rig) -> None:
    """A backup lets no COMMIT through for a while, and a session that is given up would hold its locks meanwhile."""
    db = rig.db(direct=True, read_timeout=0.3)
    db.run_transaction(lambda _: None, exactly_once=True)
    with Rival(rig) as backup:
        backup.release()
        for stage in ("start", "flush", "block_ddl", "block_commit"):
            backup.run(f"backup stage {stage}")
        work = Caller(lambda: db.run_transaction(add, exactly_once=True))
        eventually(lambda: rig.running("insert into improved_db_outcomes%, 0)"))
        assert not rig.running("commit")
        backup.run("backup stage end")
    assert work.result() == "done"
    assert balance(rig) == 100


@pytest.mark.parametrize("retry", [None, RetryPolicy(attempts=1)])
def test_a_policy_that_tries_once_still_finds_out(retry: RetryPolicy | None, rig: Rig) -> None:
    """Asking what became of it is not a second attempt: a lost answer becomes an answer, yes or no."""
    db = rig.db(retry=retry)
    db.run_transaction(lambda _: None, exactly_once=True)
    rig.proxy.on_query(b"^commit", SWALLOW_ANSWER_RST)
    assert db.run_transaction(add, exactly_once=True) == "done"
    assert balance(rig) == 100
    if retry is None:
        rig.proxy.on_query(b"^commit", CUT_BEFORE)
        with pytest.raises(TransactionLost, match="not applied"):
            db.run_transaction(add, exactly_once=True)
        assert balance(rig) == 100


def test_what_cannot_be_found_out_in_time_is_unknown_and_has_its_token(rig: Rig) -> None:
    """A session that cannot be ended holds the row of the token: the caller gets what to look for later."""
    db = rig.db(deadline=1.0)
    db.run_transaction(lambda _: None, exactly_once=True)
    gate = Gate(rig.proxy)
    rig.proxy.on_query(b"^commit", hold(gate))
    with pytest.raises(OutcomeUnknown) as caught:
        db.run_transaction(add, exactly_once=True)
    assert (gate.waiting, balance(rig)) == (1, 0)
    gate.open()
    rig.proxy.wait_until(lambda: gate.waiting == 0)
    eventually(lambda: balance(rig) == 100)
    found = rig.ask("select outcome from improved_db_outcomes where token = %s", (caught.value.token,))
    assert found == ((1,),)


def test_closing_the_pool_meanwhile_is_no_answer(rig: Rig) -> None:
    """`PoolClosed` alone would read as if nothing had been done, and it had."""
    db = rig.db(max_size=2)
    db.run_transaction(lambda _: None, exactly_once=True)
    rig.proxy.on_query(b"^commit", SWALLOW_ANSWER_RST)
    rig.proxy.on_query(b"insert into improved_db_outcomes .*, 0", STALL)
    work = Caller(lambda: db.run_transaction(add, exactly_once=True))
    rig.proxy.wait_until(lambda: rig.proxy.seen(b"insert into improved_db_outcomes .*, 0") == 1)
    db.close(timeout=0.0, force=True)
    with pytest.raises(OutcomeUnknown) as caught:
        work.result()
    assert caught.value.token is not None
    assert balance(rig) == 100


def test_a_lost_answer_of_the_resolver_is_asked_for_again(rig: Rig, db: ImprovedDb) -> None:
    """Networks that lose one answer lose two."""
    rig.proxy.on_query(b"^commit", CUT_BEFORE)
    rig.proxy.on_query(b"insert into improved_db_outcomes .*, 0", SWALLOW_ANSWER_RST)
    rig.proxy.on_query(b"select outcome from", SWALLOW_ANSWER_RST)
    assert db.run_transaction(add, exactly_once=True) == "done"
    assert (balance(rig), rig.ask(TOKENS)) == (100, ((0, 1), (1, 1)))


@pytest.mark.parametrize("fault", LOSSES)
def test_it_works_without_autocommit(fault: Fault, rig: Rig) -> None:
    """A fence that were only written, and not committed, would be none."""
    db = rig.db(autocommit=False)
    db.run_transaction(lambda _: None, exactly_once=True)
    rig.ask("delete from improved_db_outcomes")
    rig.proxy.on_query(b"^commit", fault)
    assert db.run_transaction(add, exactly_once=True) == "done"
    assert balance(rig) == 100
    assert rig.ask(TOKENS) == (((1, 1),) if fault in APPLIED else ((0, 1), (1, 1)))


def test_an_unknown_error_at_commit_is_resolved_too(rig: Rig, db: ImprovedDb) -> None:
    """Galera's 1180 is an answer that tells nothing: the write may be in on the other nodes."""
    rig.proxy.on_query(b"^commit", inject_err(1180, "Got error 5 during COMMIT (Not connected to Primary Component)"))
    assert db.run_transaction(add, exactly_once=True) == "done"
    assert balance(rig) == 100


@pytest.mark.parametrize("fault", LOSSES)
def test_single_statements_and_bulk_loads_can_be_exactly_once_too(fault: Fault, rig: Rig, db: ImprovedDb) -> None:
    """They are put into a transaction with a token."""
    rig.proxy.on_query(b"^commit", fault)
    done = db.execute_query(INSERT, 2, exactly_once=True)
    assert (done.rowcount, rig.count()) == (1, 2)
    rig.proxy.on_query(b"^commit", fault)
    loaded = db.exec_many(INSERT, ((number,) for number in range(10, 3010)), exactly_once=True)
    assert (loaded.rowcount, rig.count()) == (3000, 3002)
    with pytest.raises(StatementError):
        db.exec_many(INSERT, [(5,)], exactly_once=True, atomic=False)


def test_tokens_are_kept_until_they_are_purged(rig: Rig, db: ImprovedDb) -> None:
    """Longer than any call may take; how long that is, their owner knows."""
    for number in (2, 3):
        db.execute_query(INSERT, number, exactly_once=True)
    rig.ask("update improved_db_outcomes set written_at = now() - interval 2 day limit 1")
    assert db.purge_outcomes(older_than=86400) == 1
    assert rig.count("improved_db_outcomes") == 1


@pytest.mark.parametrize("ending", ["create table other (id int)", "commit"])
def test_a_transaction_that_is_over_writes_no_token(ending: str, rig: Rig, db: ImprovedDb) -> None:
    """It would commit by itself, and a lost answer to it would look as if nothing had been done yet."""
    rig.proxy.on_query(b"insert into improved_db_outcomes", SWALLOW_ANSWER_RST, times=None)

    def work(tx: Transaction) -> None:
        add(tx)
        tx.execute_query(ending)

    db.run_transaction(work, exactly_once=True)
    assert (balance(rig), rig.proxy.seen(b"insert into improved_db_outcomes"), resent(db)) == (100, 1, 0)


def test_nothing_of_a_failed_transaction_stays_and_neither_does_its_token(rig: Rig, db: ImprovedDb) -> None:
    """A token that stayed would say that it was committed."""

    def fail(tx: Transaction) -> None:
        add(tx)
        raise LookupError

    with pytest.raises(LookupError):
        db.run_transaction(fail, exactly_once=True)
    assert (balance(rig), rig.ask(TOKENS)) == (0, ())
