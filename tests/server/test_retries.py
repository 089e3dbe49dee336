"""Retries as a program meets them: its own policy, its own hooks, its other threads, and the end of the pool."""

from __future__ import annotations

import logging

import pytest
import tenacity
from pymysql.err import OperationalError

from improved_db import OutcomeUnknown, PoolClosed, RetryPolicy, Transaction
from tests.fakes import Caller, eventually
from tests.faults.faults import CUT_BEFORE, SWALLOW_ANSWER_RST, inject_err
from tests.faults.harness import Rig, resent

INSERT = "insert into t (id) values (%s)"
DEADLOCK = inject_err(1213, "Deadlock found when trying to get lock", "40001")
READ_ONLY = inject_err(1290, "The server is running with the --read-only option")

POLICIES = {
    "no stop and no wait": tenacity.Retrying(),
    "whatever happens": tenacity.Retrying(retry=tenacity.retry_always, stop=tenacity.stop_after_attempt(5)),
    "RetryError": tenacity.Retrying(reraise=False, stop=tenacity.stop_after_attempt(5)),
    "a value instead": tenacity.Retrying(stop=tenacity.stop_after_attempt(5), retry_error_callback=lambda _: None),
    "a decorated function": tenacity.retry(stop=tenacity.stop_after_attempt(5))(lambda: None),
    "ours": RetryPolicy(attempts=5),
}


@pytest.mark.parametrize("policy", POLICIES)
def test_no_policy_sends_again_what_may_have_been_done(policy: str, rig: Rig) -> None:
    """Safety is not a setting."""
    db = rig.db(retry=POLICIES[policy])
    rig.proxy.on_query(b"^insert", DEADLOCK, times=2)
    rig.proxy.on_query(b"^insert", SWALLOW_ANSWER_RST)
    with pytest.raises(OutcomeUnknown):
        db.execute_query(INSERT, 1)
    rig.proxy.on_query(b"^commit", SWALLOW_ANSWER_RST)
    with pytest.raises(OutcomeUnknown):
        db.run_transaction(lambda tx: tx.execute_query(INSERT, 2))
    assert (rig.count(), rig.proxy.seen(b"^insert"), rig.proxy.seen(b"^commit")) == (2, 4, 1)


@pytest.mark.parametrize("policy", POLICIES)
def test_no_policy_makes_a_failure_a_success(policy: str, rig: Rig) -> None:
    """Nor another error: code that looks for 1213 finds 1213."""
    db = rig.db(retry=POLICIES[policy], deadline=0.2)
    rig.proxy.on_query(b"insert", DEADLOCK, times=None)
    with pytest.raises(OperationalError) as caught:
        db.execute_query(INSERT, 1)
    assert caught.value.args[0] == 1213
    with pytest.raises(OperationalError) as caught:
        db.run_transaction(lambda tx: tx.execute_query(INSERT, 2))
    assert caught.value.args[0] == 1213
    assert (rig.count(), db.stats().used) == (0, 0)


def test_none_tries_once(rig: Rig) -> None:
    """And the errors keep their meaning."""
    db = rig.db(retry=None)
    rig.proxy.on_query(b"^insert", DEADLOCK)
    with pytest.raises(OperationalError) as caught:
        db.execute_query(INSERT, 1)
    assert (caught.value.args[0], rig.proxy.seen(b"^insert")) == (1213, 1)


def test_a_callers_own_connection_is_never_retried(rig: Rig) -> None:
    """What else has been done on it, only the caller knows."""
    db = rig.db()
    rig.proxy.on_query(b"^insert", DEADLOCK, times=2)
    with db.connection() as connection, pytest.raises(OperationalError):
        db.execute_query(connection, INSERT, 1)
    with pytest.raises(OperationalError):
        db.execute_query_multiplex(db.pool_get_connection(), INSERT, 1)
    assert (rig.proxy.seen(b"^insert"), db.stats().used) == (2, 0)


def test_the_connection_is_free_while_a_retry_waits(rig: Rig) -> None:
    """In a pool of one, another thread works in the meantime; held, it would make every outage a queue."""
    seen: list[object] = []

    def work_elsewhere(_: tenacity.RetryCallState) -> None:
        seen.append(Caller(lambda: db.execute_query("select 'meanwhile'")).result())

    db = rig.db(max_size=1, retry=tenacity.Retrying(before_sleep=work_elsewhere))
    rig.proxy.on_query(b"^insert", DEADLOCK)
    db.execute_query(INSERT, 1)
    rig.proxy.on_query(b"^insert", DEADLOCK)
    db.run_transaction(lambda tx: tx.execute_query(INSERT, 2))
    rig.proxy.on_query(b"^insert", DEADLOCK)
    db.exec_many(INSERT, [(3,)])
    assert (seen, rig.count()) == ([(("meanwhile",),)] * 3, 3)


def test_a_hook_may_use_the_pool_it_belongs_to(rig: Rig) -> None:
    """To write down what went wrong, for example; its own failure is its own, and the outer call's result stays."""

    def note(_: tenacity.RetryCallState) -> None:
        db.execute_query("select 'after'")

    db = rig.db(max_size=1, retry=tenacity.Retrying(stop=tenacity.stop_after_attempt(3), after=note))
    rig.proxy.on_query(b"^insert", DEADLOCK, times=None)
    with pytest.raises(OperationalError) as caught:
        db.execute_query(INSERT, 1)
    assert (caught.value.args[0], rig.proxy.seen(b"^insert"), rig.proxy.seen(b"'after'")) == (1213, 3, 3)


def test_calls_of_the_pool_inside_a_function_that_is_replayed_try_nothing_by_themselves(rig: Rig) -> None:
    """Only the outermost knows what belongs together, and ten times ten attempts help no caller."""
    db = rig.db(max_size=2)
    calls: list[Transaction] = []

    def work(tx: Transaction) -> None:
        calls.append(tx)
        tx.execute_query(INSERT, 1)
        db.execute_query("select 'elsewhere'")

    rig.proxy.on_query(b"'elsewhere'", CUT_BEFORE)
    with pytest.raises(OperationalError):
        db.run_transaction(work)
    assert (len(calls), rig.proxy.seen(b"'elsewhere'"), rig.count()) == (1, 1, 0)
    rig.proxy.on_query(b"^insert", DEADLOCK)
    with pytest.raises(OperationalError):
        db.run_transaction(lambda _: db.run_transaction(lambda tx: tx.execute_query(INSERT, 1)))
    assert (rig.count(), db.stats().used, resent(db)) == (0, 0, 0)
    rig.proxy.on_query(b"'elsewhere'", CUT_BEFORE)
    assert db.execute_query("select 'elsewhere'") == (("elsewhere",),)


def test_closing_the_pool_ends_every_backoff(rig: Rig) -> None:
    """A program that stops does not wait for twenty threads that wait for a server."""
    policy = RetryPolicy(connection=tenacity.wait_fixed(600.0), within=3600.0, budget=10_000)
    db = rig.db(max_size=4, retry=policy)
    rig.proxy.on_query(b"^insert", READ_ONLY, times=None)
    callers = [Caller(lambda number=number: db.execute_query(INSERT, number)) for number in range(20)]  # type: ignore[misc]
    eventually(lambda: resent(db) == 20)
    eventually(lambda: db.stats().used == 0)
    db.close()
    for caller in callers:
        with pytest.raises(PoolClosed):
            caller.result()
    assert rig.proxy.seen(b"^insert") == 20


def test_a_spent_budget_fails_fast_until_work_succeeds_again(rig: Rig) -> None:
    """An outage ends retries; its end brings them back, without help."""
    db = rig.db(retry=RetryPolicy(budget=20, connection=tenacity.wait_none()))
    rig.proxy.on_query(b"^insert", READ_ONLY, times=None)
    for _ in range(3):
        with pytest.raises(OperationalError):
            db.execute_query(INSERT, 1)
    before = rig.proxy.seen(b"^insert")
    with pytest.raises(OperationalError):
        db.execute_query(INSERT, 1)
    assert rig.proxy.seen(b"^insert") == before + 1
    rig.proxy.clear()
    for _ in range(30):
        db.execute_query("select 1")
    rig.proxy.on_query(b"^insert", READ_ONLY)
    db.execute_query(INSERT, 1)
    assert rig.count() == 1


def test_a_replay_is_logged_with_its_statement_and_without_values(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    """Which of the statements it was is what one needs to mend a deadlock."""
    db = rig.db()
    rig.proxy.on_query(b"^update", DEADLOCK)
    rig.proxy.on_query(b"^commit", DEADLOCK)

    def work(tx: Transaction) -> None:
        tx.execute_query(INSERT, 4711)
        tx.execute_query("update t set n = 4711 where id = %s", 4711)

    with caplog.at_level(logging.WARNING, logger="improved_db"):
        db.run_transaction(work)
        rig.proxy.on_query(b"^insert", DEADLOCK)
        db.exec_many("insert into t (id) values (%s)", [(4712,)])
    texts = [record.getMessage() for record in caplog.records]
    assert [text.split(" at ")[1].split(");")[0] for text in texts] == [
        "update t set n = ? where id = ?",
        "COMMIT",
        "insert into t (id) values (...)",
    ]
    assert "471" not in caplog.text
    assert db.stats().retries == {"transaction_rolled_back": 3}
