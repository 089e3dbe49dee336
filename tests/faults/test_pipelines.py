"""Several statements in one round trip: each has its own outcome, wherever the connection is lost."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from typing import TYPE_CHECKING, Any

import pytest
from pymysql.err import IntegrityError, MySQLError, OperationalError

from improved_db import ImprovedDb, OutcomeUnknown, StatementError, TransactionLost, TransactionRolledBack
from tests.fakes import Caller, eventually
from tests.faults import fake_server, packets
from tests.faults.fake_server import FakeServer
from tests.faults.faults import STALL, SWALLOW_ANSWER_RST, cut_answer, inject_err
from tests.faults.harness import Rig, Rival, ends_in
from tests.faults.test_one_at_a_time import aurora, proxysql

if TYPE_CHECKING:
    from collections.abc import Iterator


INSERT = "insert into t (id) values (%s)"


# --- outcomes --------------------------------------------------------------------------------------------------------


def test_statements_of_a_block_share_one_write(db: ImprovedDb) -> None:
    """A hundred look-ups over a link of a millisecond take three, and not a hundred."""
    db.exec_many(INSERT, range(100))
    calls: list[str] = []

    def hear(_: object, event: str, called: Any) -> None:
        if event == "c_call":
            calls.append(called.__name__)

    sys.setprofile(hear)
    try:
        with db.pipeline() as pipe:
            handles = [pipe.execute_query("select id from t where id = %s", number) for number in range(100)]
    finally:
        sys.setprofile(None)
    assert calls.count("sendall") == 1
    assert [handle.result() for handle in handles] == [((number,),) for number in range(100)]


def test_each_statement_has_its_own_outcome(db: ImprovedDb) -> None:
    """An error does not stop the next one: that is how servers behave."""
    with db.pipeline() as pipe:
        first = pipe.execute_query(INSERT, 1)
        twice = pipe.execute_query(INSERT, 1)
        nonsense = pipe.execute_query("select no_column from t")
        last = pipe.execute_query("select * from t", dictcursor=True, return_one=True)
        with pytest.raises(IntegrityError):
            twice.result()
        with pytest.raises(OperationalError):
            nonsense.result()
    assert first.result().rowcount == 1
    assert last.result() == {"id": 1, "n": 0}


def test_an_error_that_is_not_asked_for_is_raised_at_the_end(db: ImprovedDb) -> None:
    """Silence about a write that was refused is the worst of answers."""

    def insert() -> None:
        with db.pipeline() as pipe:
            for number in (1, 1, 2):
                pipe.execute_query(INSERT, number)

    with pytest.raises(IntegrityError):
        insert()
    assert db.execute_query("select id from t") == ((1,), (2,))


def test_a_block_left_by_an_exception_sends_no_more(db: ImprovedDb) -> None:
    """What was collected and not sent is not sent, and says so."""
    block = db.pipeline()
    pipe = block.__enter__()
    handle = pipe.execute_query(INSERT, 1)
    assert not block.__exit__(KeyError, KeyError(), None)
    with pytest.raises(StatementError, match="not sent"):
        handle.result()
    with pytest.raises(StatementError, match="pipeline is over"):
        pipe.execute_query(INSERT, 1)
    assert db.execute_query("select id from t") == ()


def test_a_result_asked_for_in_the_block_is_sent_for(db: ImprovedDb) -> None:
    """With all that was collected before."""
    with db.pipeline() as pipe:
        insert = pipe.execute_query(INSERT, 1)
        assert not insert.done
        assert pipe.execute_query("select count(*) from t").result() == ((1,),)
        assert insert.done


@pytest.mark.parametrize(
    "statement",
    [
        "set @a = 1",
        "use mysql",
        "begin",
        "create temporary table u (a int)",
        "select get_lock('pipeline', 0)",
        "/* a comment */ select 1",
        "(select 1)",
    ],
)
def test_a_statement_that_may_change_its_session_goes_alone(db: ImprovedDb, statement: str) -> None:
    """It must not be felt by those beside it."""
    with db.pipeline() as pipe:
        before = pipe.execute_query("select connection_id(), database()")
        pipe.execute_query(statement)
        after = pipe.execute_query("select @a, database(), is_used_lock('pipeline')")
        pipe.execute_query(INSERT, 1)
    assert after.result() == ((None, before.result()[0][1], None),)
    assert db.execute_query("select count(*) from t") == ((1,),)


def test_arguments_that_cannot_be_sent_are_their_own_statements_error(db: ImprovedDb) -> None:
    """Nothing of it is sent, and all of the others is."""
    with db.pipeline() as pipe:
        wrong = pipe.execute_query("select %s", (float("nan"),))
        few = pipe.execute_query("select %s, %s", (1,))
        right = pipe.execute_query("select %s", ("a@b.c",))
        for handle in (wrong, few):
            with pytest.raises(StatementError):
                handle.result()
    assert right.result() == (("a@b.c",),)


def test_a_statement_too_large_for_the_server_is_refused_alone(rig: Rig) -> None:
    """The server would end the session, and with it all others."""
    with rig.db(max_size=1) as db:
        limit = db.execute_query("select @@max_allowed_packet")[0][0]
        with db.pipeline() as pipe:
            small = pipe.execute_query("select 1")
            large = pipe.execute_query("select length(%s)", ("x" * limit,))
            with pytest.raises(StatementError, match="max_allowed_packet"):
                large.result()
        assert small.result() == ((1,),)


def test_many_large_results_block_neither_side(db: ImprovedDb) -> None:
    """A server that waits until its rows are read reads no command meanwhile."""
    with db.pipeline() as pipe:
        handles = [pipe.execute_query("select repeat('x', 1000000), %s", "y" * 3000) for _ in range(60)]
    assert {len(handle.result()[0][0]) for handle in handles} == {1_000_000}


def test_statements_of_all_kinds_run_in_order_however_many(db: ImprovedDb) -> None:
    """More are bound while the first are on their way; what cannot be sent, goes alone or is long keeps its place."""
    queries: list[tuple[str, Any]] = [("select %s", number) for number in range(700)]
    queries[150] = ("set @place = 1", None)
    queries[151] = ("select @place", None)
    queries[300] = ("select %s, %s", 1)
    queries[301] = ("select length(%s)", "x" * 60_000)
    queries[302:450] = [("select %s, %s", 1)] * 148
    with contextlib.suppress(StatementError), db.pipeline() as pipe:
        handles = [pipe.execute_query(*query) for query in queries]
    for place, handle in enumerate(handles):
        if queries[place][0] == "select %s, %s":
            with pytest.raises(StatementError):
                handle.result()
        elif place not in {150, 151, 301}:
            assert handle.result() == ((place,),)
    assert handles[151].result() in {((1,),), ((None,),)}  # the pool resets a session before it lends it again
    assert handles[301].result() == ((60_000,),)


def test_an_answer_that_ends_otherwise_than_the_last_one_is_read_all_the_same(db: ImprovedDb) -> None:
    """An error after the columns, no row, other columns, rows as dicts, a row that is longer than one read."""
    queries = ["select id from t"] * 2 + ["select id from t where id = (select 1 union select 2)"] * 2
    queries += ["select id from t where id > 5", "select id, n from t", "select repeat('x', 300000)"] * 3
    db.exec_many(INSERT, range(3))
    with contextlib.suppress(MySQLError), db.pipeline() as pipe:
        handles = [pipe.execute_query(query) for query in queries]
        dicts = pipe.execute_query("select id, n from t where id = 1", dictcursor=True)
    for query, handle in zip(queries, handles, strict=True):
        if "union" in query:
            with pytest.raises(OperationalError):
                handle.result()
        else:
            assert handle.result() == db.execute_query(query)
    assert dicts.result() == ({"id": 1, "n": 0},)


# --- lost connections ------------------------------------------------------------------------------------------------

STATEMENTS = [INSERT % number if number % 2 else f"select 0 + {number}" for number in range(10)]
WRITES = range(1, len(STATEMENTS), 2)


@pytest.mark.parametrize("lost", range(len(STATEMENTS)))
@pytest.mark.parametrize("fault", [SWALLOW_ANSWER_RST, cut_answer(3)])
def test_cut_at_any_answer_each_outcome_is_right(rig: Rig, db: ImprovedDb, lost: int, fault: Any) -> None:
    """Answered ones stand, unanswered reads are retried, unanswered writes are unknown, and none is done twice."""
    rig.proxy.on_query(
        STATEMENTS[lost].encode().replace(b"(", b"\\(").replace(b")", b"\\)").replace(b"+", b"\\+"), fault
    )
    unknown = []
    with db.pipeline() as pipe:
        handles = [pipe.execute_query(statement) for statement in STATEMENTS]
        for number, handle in enumerate(handles):
            try:
                result = handle.result()
            except OutcomeUnknown:
                unknown.append(number)
            else:
                assert result == (((number,),) if number % 2 == 0 else ())
    assert unknown == [number for number in WRITES if number >= lost]
    there = {row[0] for row in rig.ask("select id from t")}
    assert {number for number in WRITES if number < lost} <= there
    assert all(
        rig.proxy.forwarded(STATEMENTS[number].encode()[:-1].replace(b"(", b"\\(").replace(b")", b"\\)")) <= 1
        for number in WRITES
    )
    assert db.stats().used == 0


@pytest.mark.parametrize("options", [{"read_timeout": 0.3}, {"deadline": 0.6}], ids=["read_timeout", "deadline"])
def test_what_was_answered_before_the_answers_stopped_is_known(rig: Rig, options: dict[str, Any]) -> None:
    """The thread sleeps until several answers have come; if they do not, it takes those that have."""
    db = rig.db(**options)
    assert db.fetch_value("select 1") == 1
    rig.proxy.on_query(STATEMENTS[7].encode().replace(b"(", b"\\(").replace(b")", b"\\)"), STALL)
    unknown = []
    with db.pipeline() as pipe:
        handles = [pipe.execute_query(statement) for statement in STATEMENTS]
        for number in WRITES:
            try:
                handles[number].result()
            except OutcomeUnknown:
                unknown.append(number)
            except MySQLError as error:
                pytest.fail(f"{number}: {error!r}")
        assert [handles[number].result() for number in (0, 2, 4, 6)] == [((number,),) for number in (0, 2, 4, 6)]
        with contextlib.suppress(MySQLError):
            handles[8].result()  # a read is retried, unless its time is up
    assert unknown == [7, 9]
    rig.proxy.flow()


def test_statements_not_yet_sent_go_on_over_another_connection(rig: Rig, db: ImprovedDb) -> None:
    """If a statement was not sent, its outcome is certain, even if it writes."""
    filler = "/*" + "x" * 30_000 + "*/"
    rig.proxy.on_query(b"^select 1", SWALLOW_ANSWER_RST)
    with db.pipeline() as pipe:
        read = pipe.execute_query("select 1")
        writes = [pipe.execute_query(f"insert into t (id) values ({number}) {filler}") for number in range(6)]
        assert read.result() == ((1,),)
        outcomes = []
        for write in writes:
            try:
                outcomes.append(write.result().rowcount)
            except OutcomeUnknown:
                outcomes.append(0)
    assert outcomes[-1] == 1
    assert 0 in outcomes
    assert sum(outcomes) <= rig.count()


def interrupt(*_: object) -> None:
    """Raise, as Ctrl-C does."""
    raise KeyboardInterrupt


def test_interrupt_in_the_middle_leaves_every_statement_an_outcome(rig: Rig) -> None:
    """The interrupt goes on; a handle that is asked later answers all the same, and the server is stopped."""
    db = rig.db(direct=True)

    def stop() -> None:
        rig.await_running("sleep")
        os.kill(os.getpid(), signal.SIGUSR1)

    gone = Caller(stop)
    before = signal.signal(signal.SIGUSR1, interrupt)
    try:
        block = db.pipeline()
        pipe = block.__enter__()
        handles = [pipe.execute_query(text) for text in ("select 1", "select sleep(20)", INSERT % 1, "select 2")]
        with pytest.raises(KeyboardInterrupt):
            block.__exit__(None, None, None)
    finally:
        signal.signal(signal.SIGUSR1, before)
    gone.result()
    assert handles[0].result() == ((1,),)
    with pytest.raises(OutcomeUnknown):
        handles[2].result()
    for handle in (handles[1], handles[3]):
        with pytest.raises(StatementError, match="interrupt"):
            handle.result()
    eventually(lambda: not rig.running("sleep"))
    assert db.stats().used == 0


# --- one query for many arguments ------------------------------------------------------------------------------------


def test_execute_each_yields_the_rows_of_each_in_order(db: ImprovedDb) -> None:
    """For any iterable, a generator too."""
    db.exec_many(INSERT, range(50))
    found = db.execute_each("select id from t where id = %s", iter(range(45, 60)), batch_size=4)
    assert [rows.rowcount for rows in found] == [1] * 5 + [0] * 10
    dicts = db.execute_each("select id from t where id = %s", [1, 2], row_type=dict)
    assert list(dicts) == [({"id": 1},), ({"id": 2},)]


def test_an_iterable_that_raises_comes_after_the_rows_before_it(db: ImprovedDb) -> None:
    """What was asked before is answered before."""

    def numbers() -> Iterator[int]:
        yield 1
        yield 2
        raise ValueError("no third")

    each = db.execute_each("select %s", numbers())
    assert [next(each), next(each)] == [((1,),), ((2,),)]
    with pytest.raises(ValueError, match="no third"):
        next(each)


def test_an_error_of_one_execution_comes_at_its_turn(db: ImprovedDb) -> None:
    """After the rows of those before it."""
    each = db.execute_each(INSERT, [1, 1, 2])
    assert next(each).rowcount == 1
    with pytest.raises(IntegrityError):
        next(each)


@pytest.mark.parametrize("options", [{"row_type": "dict"}, {"batch_size": 0}])
def test_bad_options_of_execute_each_are_refused_at_once(db: ImprovedDb, options: dict[str, Any]) -> None:
    """Before the first row is asked for."""
    with pytest.raises(StatementError, match="must be"):
        db.execute_each("select %s", [1], **options)


# --- servers that take one command at a time -------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [proxysql, aurora])
def test_proxysql_and_aurora_get_one_statement_at_a_time(kind: Any) -> None:
    """One hangs, and the other closes the session."""
    with FakeServer(impatient=True) as server:
        kind(server)
        server.on("^select", fake_server.rows(["a"], [["1"]]))
        with ImprovedDb(dict(server.connect_options), max_size=1, retry=None) as db:
            with db.pipeline() as pipe:
                handles = [pipe.execute_query("select 1") for _ in range(5)]
            assert len({handle.result() for handle in handles}) == 1
            assert len(list(db.execute_each("select %s", range(5)))) == 5
        assert server.hurried == 0


def test_pipelining_can_be_switched_off_and_on() -> None:
    """For a proxy that does not say what it is, and for one that does and has learnt it."""
    for pipelining, hurried in ((False, False), (True, True)):
        with FakeServer(impatient=True) as server:
            proxysql(server)
            server.on("^select", fake_server.ok(status=packets.AUTOCOMMIT))
            options = dict(server.connect_options)
            with ImprovedDb(options, max_size=1, retry=None, pipelining=pipelining) as db:
                db.ping()
                with contextlib.suppress(MySQLError):
                    list(db.execute_each("select %s", range(5)))
            assert (server.hurried > 0) is hurried


# --- in a transaction ------------------------------------------------------------------------------------------------


def test_pipeline_of_a_transaction_is_part_of_it(rig: Rig, db: ImprovedDb) -> None:
    """It is committed, or undone, with the rest; the next borrower commits by itself again."""
    with db.transaction() as tx:
        with tx.pipeline() as pipe:
            for number in range(3):
                pipe.execute_query(INSERT, number)
            found = pipe.execute_query("select count(*) from t", return_one=True)
        assert found.result() == (3,)
        assert rig.count() == 0
    assert rig.count() == 3
    undone = db.transaction()
    tx = undone.__enter__()
    with tx.pipeline() as pipe:
        pipe.execute_query(INSERT, 4)
        pipe.execute_query(INSERT, 5)
    undone.__exit__(KeyError, KeyError(), None)
    db.execute_query(INSERT, 6)
    assert rig.ask("select id from t") == ((0,), (1,), (2,), (6,))


def test_an_error_of_a_statement_leaves_the_transaction_open(rig: Rig, db: ImprovedDb) -> None:
    """As by execute_query."""
    with db.transaction() as tx, tx.pipeline() as pipe:
        pipe.execute_query(INSERT, 1)
        twice = pipe.execute_query(INSERT, 1)
        pipe.execute_query(INSERT, 2)
        with pytest.raises(IntegrityError):
            twice.result()
    assert rig.ask("select id from t") == ((1,), (2,))


def test_what_stands_behind_a_rollback_by_the_server_is_undone(rig: Rig, db: ImprovedDb) -> None:
    """Each statement behind a deadlock would commit by itself: half of a transfer, for ever."""
    rig.ask("insert into t (id) values (1), (2)")
    rig.proxy.on_query(b"set n = 8", inject_err(1213, "Deadlock found", "40001"))
    owned = db.transaction()
    tx = owned.__enter__()
    with tx.pipeline() as pipe:
        before = pipe.execute_query("update t set n = 7 where id = 1")
        deadlocked = pipe.execute_query("update t set n = 8 where id = 2")
        behind = pipe.execute_query("update t set n = 9 where id = 1")
        assert before.result().rowcount == 1
        for handle in (deadlocked, behind):
            with pytest.raises(TransactionRolledBack):
                handle.result()
    with pytest.raises(TransactionRolledBack):
        tx.execute_query("select 1")
    with pytest.raises(TransactionRolledBack):
        owned.__exit__(None, None, None)
    assert rig.ask("select n from t") == ((0,), (0,))
    assert db.execute_query("select @@autocommit") == ((1,),)


def test_a_real_deadlock_in_the_middle_undoes_all_of_it(rig: Rig) -> None:
    """The server runs what stands behind it in a transaction of its own, which must not be committed."""
    rig.ask("insert into t (id) values (1), (2), (3)")
    db = rig.db(direct=True)
    with Rival(rig) as rival, ends_in(TransactionRolledBack), db.transaction() as tx:
        tx.execute_query("update t set n = 7 where id = 1")
        rival.run("update t set n = 5 where id = 2")
        rival.cross("update t set n = 5 where id = 1")
        with tx.pipeline() as pipe:
            before = pipe.execute_query("update t set n = 7 where id = 3")
            deadlocked = pipe.execute_query("update t set n = 7 where id = 2")
            behind = pipe.execute_query("update t set n = 7 where id = 3")
            assert before.result().rowcount == 1
            for handle in (deadlocked, behind):
                with pytest.raises(TransactionRolledBack):
                    handle.result()
    assert rig.ask("select n from t") == ((0,), (0,), (0,))


@pytest.mark.parametrize("lost", range(3))
def test_a_connection_lost_in_the_middle_loses_the_transaction(rig: Rig, db: ImprovedDb, lost: int) -> None:
    """Nothing of it is left, and every statement says so."""
    rig.proxy.on_query(f"values \\({lost}\\)".encode(), SWALLOW_ANSWER_RST)
    owned = db.transaction()
    tx = owned.__enter__()
    with tx.pipeline() as pipe:
        handles = [pipe.execute_query(INSERT, number) for number in range(3)]
        for handle in handles:
            with pytest.raises(TransactionLost):
                handle.result()
    with pytest.raises(TransactionLost):
        owned.__exit__(None, None, None)
    assert rig.count() == 0
