"""A single statement whose answer is lost: what never left is sent again, what may have been done never is."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest
from pymysql.err import InternalError, OperationalError

from improved_db import ImprovedDb, OutcomeUnknown, RetryPolicy
from tests.fakes import Caller, eventually
from tests.faults.faults import (
    CUT_BEFORE,
    CUT_WITHIN,
    STALL,
    SWALLOW_ANSWER_FIN,
    SWALLOW_ANSWER_RST,
    cut_answer,
    inject_err,
)
from tests.faults.harness import Rig, resent
from tests.faults.packets import COM_PING

if TYPE_CHECKING:
    from tests.faults.proxy import Fault

INSERT = "insert into t (id) values (%s)"
UPSERT = "insert into t (id, n) values (%s, 1) on duplicate key update n = 1"

LOSSES = [CUT_BEFORE, CUT_WITHIN, SWALLOW_ANSWER_RST, SWALLOW_ANSWER_FIN, cut_answer(0), cut_answer(3)]


# --- writes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", [CUT_BEFORE, CUT_WITHIN])
def test_a_write_that_never_arrived_is_unknown_and_not_sent_again(fault: Fault, rig: Rig, db: ImprovedDb) -> None:
    """Our kernel took every byte: from our end this cannot be told from a write that was applied."""
    rig.proxy.on_query(b"^insert", fault)
    with pytest.raises(OutcomeUnknown, match="may or may not have been applied"):
        db.execute_query(INSERT, 1)
    rig.proxy.wait_until(lambda: rig.proxy.sessions == 0)
    assert (rig.count(), rig.proxy.seen(b"^insert"), resent(db)) == (0, 1, 0)


@pytest.mark.parametrize("fault", [SWALLOW_ANSWER_RST, SWALLOW_ANSWER_FIN])
def test_a_write_whose_answer_is_lost_is_unknown_and_applied_once(fault: Fault, rig: Rig, db: ImprovedDb) -> None:
    """A second execution would be a second row, a second payment, a second mail."""
    rig.proxy.on_query(b"^insert", fault)
    with pytest.raises(OutcomeUnknown) as caught:
        db.execute_query(INSERT, 1)
    assert (rig.count(), rig.proxy.forwarded(b"^insert"), resent(db)) == (1, 1, 0)
    assert (caught.value.verdict, caught.value.args[0], len(caught.value.attempts)) == ("unknown", 2013, 1)
    assert isinstance(caught.value.__cause__, OperationalError)


def test_a_write_that_was_not_sent_whole_is_sent_again(rig: Rig) -> None:
    """No server executes a command before its last byte: the kernel's refusal of one proves that nothing happened."""
    rig.ask("create table big (id int primary key, note longtext)")
    db = rig.db(max_size=1)
    rig.proxy.stall()
    write = Caller(lambda: db.execute_query("insert into big values (1, %s)", ("x" * 14_000_000,)))
    eventually(lambda: db.stats().used == 1)
    rig.proxy.cut_all()
    rig.proxy.flow()
    assert write.result().rowcount == 1
    assert (rig.count("big"), rig.proxy.forwarded(b"insert into big")) == (1, 1)


@pytest.mark.parametrize("fault", [CUT_WITHIN, SWALLOW_ANSWER_RST])
def test_an_idempotent_write_is_sent_again(fault: Fault, rig: Rig, db: ImprovedDb) -> None:
    """The caller knows what no parser does: that running it twice is the same as once."""
    rig.proxy.on_query(b"^insert", fault)
    db.execute_query(UPSERT, 1, idempotent=True)
    assert (rig.ask("select id, n from t"), rig.proxy.seen(b"^insert")) == (((1, 1),), 2)


def test_a_doubt_is_not_forgotten_over_later_refusals(rig: Rig) -> None:
    """The first attempt may be in. That the others found no server says nothing about it."""
    db = rig.db(retry=RetryPolicy(within=0.3))
    rig.proxy.on_query(b"^insert", SWALLOW_ANSWER_RST)
    rig.proxy.on_query(b"^insert", inject_err(1290, "--read-only", "HY000"), times=None)
    with pytest.raises(OutcomeUnknown) as caught:
        db.execute_query(UPSERT, 1, idempotent=True)
    assert caught.value.attempts[0].startswith("unknown")
    assert caught.value.attempts[-1].startswith("refused")
    assert isinstance(caught.value.__cause__, OperationalError)
    assert rig.count() == 1


def test_a_doubt_is_not_forgotten_when_the_pool_is_closed(rig: Rig) -> None:
    """`PoolClosed` alone would read as if nothing had been done."""
    db = rig.db(max_size=1)
    rig.proxy.on_query(b"^insert", SWALLOW_ANSWER_RST)
    rig.proxy.on_query(b"^insert", STALL)
    write = Caller(lambda: db.execute_query(UPSERT, 1, idempotent=True))
    rig.proxy.wait_until(lambda: rig.proxy.seen(b"^insert") == 2)
    db.close(timeout=0.0, force=True)
    with pytest.raises(OutcomeUnknown):
        write.result()


# --- reads -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", LOSSES)
def test_a_read_is_retried_without_an_error(
    fault: Fault, rig: Rig, db: ImprovedDb, caplog: pytest.LogCaptureFixture
) -> None:
    """Reading twice is reading once: this is what makes a restart of the server invisible."""
    rig.ask("insert into t values (1, 10), (2, 20)")
    rig.proxy.on_query(b"^select id", fault)
    with caplog.at_level(logging.WARNING, logger="improved_db"):
        assert db.execute_query("select id, n from t where n > %s", 5) == ((1, 10), (2, 20))
    assert rig.proxy.seen(b"^select id") == 2
    assert db.stats().retries == {"unknown": 1}
    (line,) = [record.getMessage() for record in caplog.records]
    assert "select id, n from t where n > ?" in line


@pytest.mark.parametrize(
    "query",
    [
        "select n from t for update",
        pytest.param("select nextval(counter)", marks=pytest.mark.needs("sequences")),
        "select get_lock('a', 0)",
        "select n into @n from t",
        "select writing()",
        "select @n := n from t",
    ],
)
def test_a_select_that_does_more_than_read_is_not_retried(query: str, rig: Rig, db: ImprovedDb) -> None:
    """It locks, counts, remembers or writes: its first word is not what it does."""
    if "counter" in query:
        rig.ask("create sequence counter")
    rig.ask("create function writing() returns int begin insert into t (id) values (1); return 1; end")
    rig.ask("insert into t values (9, 9)")
    db.ping()  # the first connection asks for the server's kind
    asked = rig.proxy.seen(b"^select")
    rig.proxy.on_query(b"^select", SWALLOW_ANSWER_RST)
    with pytest.raises(OutcomeUnknown):
        db.execute_query(query)
    assert (rig.proxy.seen(b"^select") - asked, resent(db)) == (1, 0)


@pytest.mark.parametrize("fault", [CUT_BEFORE, SWALLOW_ANSWER_RST])
def test_idempotent_false_sends_no_read_again(fault: Fault, rig: Rig, db: ImprovedDb) -> None:
    """Who reads a view that calls something with effects says so, and is believed."""
    rig.proxy.on_query(b"^select id", fault)
    with pytest.raises(OutcomeUnknown):
        db.execute_query("select id from t", idempotent=False)
    assert (rig.proxy.seen(b"^select id"), resent(db)) == (1, 0)


def test_a_large_result_cut_in_the_middle_comes_whole(rig: Rig, db: ImprovedDb) -> None:
    """Half of a result is not returned, and the rows of two attempts are not mixed."""
    rig.proxy.on_query(b"seq_1_to", cut_answer(5_000_000))
    rows = db.execute_query("select seq, repeat('x', 100) from seq_1_to_100000")
    assert [row[0] for row in rows] == list(range(1, 100_001))
    assert rig.proxy.seen(b"seq_1_to") == 2


def test_a_stream_is_not_retried_once_rows_have_come(rig: Rig, db: ImprovedDb) -> None:
    """What has been handed on cannot be taken back."""
    rig.proxy.on_query(b"seq_1_to", cut_answer(1_000_000))
    got: list[int] = []
    with pytest.raises(OperationalError), db.stream("select seq, repeat('x', 100) from seq_1_to_100000") as rows:
        got.extend(row[0] for row in rows)
    assert got == list(range(1, len(got) + 1))
    assert 0 < len(got) < 100_000
    assert (rig.proxy.seen(b"seq_1_to"), db.stats().used) == (1, 0)


def test_a_stream_is_begun_again_before_its_first_row(rig: Rig, db: ImprovedDb) -> None:
    """Nothing has been handed on yet."""
    rig.proxy.on_query(b"seq_1_to", CUT_BEFORE)
    with db.stream("select seq from seq_1_to_3") as rows:
        assert list(rows) == [(1,), (2,), (3,)]


# --- timeouts of the driver ------------------------------------------------------------------------------------------


def test_a_write_that_timed_out_is_unknown_and_does_not_land_later(rig: Rig) -> None:
    """A client's timeout does not stop a write. One that lands after it was given up makes two of a careful retry."""
    db = rig.db(direct=True, read_timeout=0.3)
    with pytest.raises(OutcomeUnknown):
        db.execute_query("insert into t (id) select sleep(60) + seq from seq_1_to_3")
    eventually(lambda: not rig.running("sleep(60)"))
    assert (rig.count(), resent(db)) == (0, 0)


def test_a_read_that_timed_out_is_ended_on_the_server_too(rig: Rig) -> None:
    """Or each retry would leave one more query running."""
    db = rig.db(direct=True, read_timeout=0.2, retry=RetryPolicy(within=0.5))
    slow = "select count(*) from seq_1_to_1000000000 where seq % 7 = 3"
    with pytest.raises(OperationalError, match="timed out"):
        db.execute_query(slow)
    eventually(lambda: not rig.running("seq_1_to_1000000000"))
    assert resent(db) >= 1


# --- connections that died before ------------------------------------------------------------------------------------


def test_killed_idle_connections_cost_no_error_and_no_ping(rig: Rig, db: ImprovedDb) -> None:
    """The commonest loss there is: looking at the socket before writing finds it, without asking the server."""
    lent = [db.pool_get_connection() for _ in range(3)]
    sessions = [connection.thread_id() for connection in lent]
    for connection in lent:
        db.pool_put_connection(connection)
    for session in sessions:
        rig.ask("kill %s", (session,))
    rig.proxy.wait_until(lambda: rig.proxy.sessions == 0)
    pings = rig.proxy.commands(COM_PING)
    for number in range(3):
        db.execute_query(INSERT, number)
    assert (rig.count(), rig.proxy.commands(COM_PING), resent(db)) == (3, pings, 0)
    assert db.stats().discarded == {"dead": 3}


# --- errors in place of answers --------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [4031, 1927, 1053])
def test_a_goodbye_instead_of_an_answer_proves_that_nothing_ran(code: int, rig: Rig, db: ImprovedDb) -> None:
    """Its sequence number is 0: the server sent it before it saw the command."""
    rig.proxy.on_query(b"^insert", inject_err(code, "goodbye", sequence=0))
    db.execute_query(INSERT, 1)
    assert (rig.count(), rig.proxy.seen(b"^insert"), db.stats().retries) == (1, 2, {"not_sent": 1})


@pytest.mark.parametrize("code", [1053, 2013, 2006])
def test_a_server_that_goes_down_at_a_write_leaves_it_unknown(code: int, rig: Rig, db: ImprovedDb) -> None:
    """The server, or a proxy for its backend, says that it lost something, and not what became of it."""
    rig.proxy.on_query(b"^insert", inject_err(code, "going down", "08S01"))
    with pytest.raises(OutcomeUnknown):
        db.execute_query(INSERT, 1)
    assert (rig.proxy.seen(b"^insert"), resent(db)) == (1, 0)
    assert sum(db.stats().discarded.values()) == 1


@pytest.mark.parametrize(
    ("code", "text"), [(1290, "The MariaDB server is running with the --secure-file-priv option"), (1142, "denied")]
)
def test_an_error_that_would_come_again_is_raised_at_once(code: int, text: str, rig: Rig, db: ImprovedDb) -> None:
    """A retry of these is a wait for nothing."""
    rig.proxy.on_query(b"^insert", inject_err(code, text), times=None)
    with pytest.raises(OperationalError) as caught:
        db.execute_query(INSERT, 1)
    assert (caught.value.args, resent(db), db.stats().discarded) == ((code, text), 0, {})


def test_a_converter_that_raises_costs_the_connection_and_nothing_else(rig: Rig) -> None:
    """Half of its answer is still on the wire, and the next borrower would read it."""

    def refuse(_: object) -> None:
        raise ValueError("no decimals here")

    db = rig.db(max_size=1, conv={246: refuse})
    with pytest.raises(ValueError, match="no decimals"):
        db.execute_query("select 1.5 from seq_1_to_1000")
    assert db.execute_query("select 'fine'") == (("fine",),)
    assert (sum(db.stats().discarded.values()), resent(db)) == (1, 0)


def test_packets_out_of_step_are_not_believed(rig: Rig, db: ImprovedDb) -> None:
    """Whatever comes after them would answer another question."""
    rig.proxy.on_query(b"^insert", inject_err(1062, "out of step", sequence=7))
    with pytest.raises((OutcomeUnknown, InternalError)):
        db.execute_query(INSERT, 1)
    assert db.execute_query("select 'fine'") == (("fine",),)
    assert sum(db.stats().discarded.values()) == 1
