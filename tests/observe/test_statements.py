"""What `db.statements()`, the slow log, `db.events()` and `db.watch()` say of a real server, and of faults."""

from __future__ import annotations

import asyncio
import json
import logging
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from pymysql.err import IntegrityError, OperationalError

from improved_db import ConfigError, ImprovedDb, OutcomeUnknown, PoolTimeout, RepeatedStatements, StatementError
from improved_db.aio import AsyncImprovedDb
from improved_db.execution.observed import Call
from improved_db.observe.entry import Entry
from improved_db.observe.slow import QUIET, SlowLog
from improved_db.testing import TemporaryServer
from tests.fakes import Caller, FakeClock, eventually
from tests.faults.faults import SWALLOW_ANSWER_RST, inject_err

if TYPE_CHECKING:
    from improved_db.observe.statement import Statement
    from tests.faults.harness import Rig

CANARY = "c4n4ry-value"


@pytest.fixture
def db(rig: Rig) -> ImprovedDb:
    """A pool past the proxy, on an empty table t (id, n)."""
    return rig.db(direct=True, max_size=2)


def row(db: ImprovedDb, beginning: str) -> Statement:
    """Return the one statement that begins so."""
    (found,) = [statement for statement in db.statements() if statement.digest.startswith(beginning)]
    return found


# --- statements ------------------------------------------------------------------------------------------------------


def test_each_verb_counts_its_statements_and_rows(db: ImprovedDb) -> None:
    """Who reads the table wants all of the program in it, whatever verb it uses."""
    db.exec_many("insert into t values (%s, %s)", ((number, 0) for number in range(1000)))
    for number in range(3):
        db.execute_query("select n from t where id = %s", number)
    db.fetch_all("select id from t where n = %s", 0)
    with db.stream("select id, n from t") as rows:
        assert sum(1 for _ in rows) == 1000
    with db.transaction() as tx:
        tx.execute_query("update t set n = 1 where id < %s", 5)
        tx.exec_many("insert into t values (%s, %s)", [(2000, 0), (2001, 0)])
        with tx.stream("select 1 from t") as rows:
            assert len(list(rows)) == 1002
        with tx.pipeline() as pipe:
            pipe.execute_query("delete from t where id = %s", 1)
            pipe.execute_query("delete from t where id = %s", 2)
    with db.pipeline() as p:
        p.execute_query("select 17")
        p.execute_query("select 18")
    db.load_rows("t", [(3000, 1), (3001, 1)])
    counted = {statement.digest: (statement.calls, statement.rows, statement.batched) for statement in db.statements()}
    assert counted == {
        "INSERT INTO t VALUES (...)": (2, 1002, 1002),
        "SELECT n FROM t WHERE id = ?": (3, 3, 0),
        "SELECT id FROM t WHERE n = ?": (1, 1000, 0),
        "SELECT id, n FROM t": (1, 1000, 0),
        "UPDATE t SET n = ? WHERE id < ?": (1, 5, 0),
        "SELECT ? FROM t": (1, 1002, 0),
        "DELETE FROM t WHERE id = ?": (2, 2, 0),
        "COMMIT": (1, 0, 0),
        "SELECT ?": (2, 2, 0),
        "LOAD DATA LOCAL INFILE ? INTO TABLE t": (1, 2, 0),
    }


def test_a_load_runs_while_it_has_its_connection(db: ImprovedDb) -> None:
    """What it waits for is the opening of that alone."""
    db.load_rows("t", [(3000, 1), (3001, 1)])
    (statement,) = db.statements()
    assert statement.run_seconds > 0


def test_a_hundred_thousand_rows_are_one_call(db: ImprovedDb) -> None:
    """A load is one statement of the program's, however many packets it takes."""
    db.exec_many("insert into t values (%s, %s)", ((number, 0) for number in range(100_000)))
    (statement,) = db.statements()
    assert (statement.calls, statement.rows, statement.batched) == (1, 100_000, 100_000)
    assert (statement.run_seconds > 0, statement.mean == statement.run_seconds == statement.longest) == (True, True)


def test_a_borrower_that_waits_has_its_wait_apart_from_its_run(db: ImprovedDb) -> None:
    """A pool that is too small is no slow server."""
    with db.connection(), db.connection():
        caller = Caller(lambda: db.execute_query("select n from t"))
        eventually(lambda: db.stats().waiting == 1)
    caller.result()
    statement = row(db, "SELECT n")
    assert (statement.calls, statement.wait_seconds > 0) == (1, True)
    assert statement.wait_seconds + statement.run_seconds < 60


def test_errors_are_counted_by_verdict_and_number(db: ImprovedDb) -> None:
    """Which statement fails, and how, is the first question."""
    db.execute_query("insert into t values (1, 1)")
    for _ in range(2):
        with pytest.raises(IntegrityError):
            db.execute_query("insert into t values (1, %s)", 2)
    with db.transaction() as tx:
        with pytest.raises(IntegrityError):
            tx.execute_query("insert into t values (1, %s)", 2)
        with pytest.raises(StatementError):
            tx.execute_query("update t set n = %s", (1, 2))
    with db.pipeline() as pipe:
        pipe.execute_query("insert into t values (7, %s)", 2)
        refused = pipe.execute_query("insert into t values (1, %s)", 2)
        with pytest.raises(IntegrityError):
            refused.result()
    with db.connection(), db.connection(), pytest.raises(PoolTimeout) as caught:
        db.pool_get_connection(timeout=0.01)
    assert caught.value.waited >= 0.01
    statement = row(db, "INSERT")
    assert (statement.calls, statement.errors, dict(statement.errors_by_code)) == (6, 4, {"1062": 4})
    assert dict(statement.errors_by_verdict) == {"permanent": 4}
    unsent = row(db, "UPDATE")
    assert (unsent.errors_by_code, unsent.errors_by_verdict) == ({"StatementError": 1}, {"not_sent": 1})


def test_a_statement_that_gets_no_connection_is_an_error_of_its_wait(rig: Rig) -> None:
    """It has cost its caller all that time, and the server none."""
    db = rig.db(direct=True, max_size=1, acquire_timeout=0.05)
    with db.connection(), pytest.raises(PoolTimeout):
        db.execute_query("select 1")
    statement = row(db, "SELECT ?")
    assert (statement.calls, statement.errors_by_code, statement.run_seconds) == (1, {"PoolTimeout": 1}, 0.0)
    assert statement.wait_seconds >= 0.05
    assert [event.kind for event in db.events() if event.kind != "opened"] == ["timeout"]


def test_a_write_whose_answer_is_lost_is_unknown_and_an_event(rig: Rig) -> None:
    """It needs someone to look at the data: so it must be found."""
    db = rig.db(max_size=1)
    rig.proxy.on_query(b"^insert", SWALLOW_ANSWER_RST)
    with pytest.raises(OutcomeUnknown):
        db.execute_query("insert into t values (%s, 1)", 1)
    statement = row(db, "INSERT")
    assert (statement.calls, statement.unknown, statement.errors_by_verdict) == (1, 1, {"unknown": 1})
    (event,) = db.events(kind="unknown")
    assert (event.details["statement"], event.details["code"]) == (statement.id, "2013")


def test_a_deadlock_that_is_retried_is_one_call_with_a_retry(rig: Rig) -> None:
    """The caller called once; that it took two attempts is a number of its own."""
    db = rig.db(max_size=1)
    rig.proxy.on_query(b"^update", inject_err(1213, "40001", "Deadlock found"))
    db.execute_query("update t set n = %s", 1)
    statement = row(db, "UPDATE")
    assert (statement.calls, statement.errors, statement.retries) == (1, 0, 1)
    assert statement.retries_by_verdict == {"transaction_rolled_back": 1}
    (event,) = db.events(kind="retry")
    assert (event.details["code"], event.details["attempt"], event.details["statement"]) == ("1213", 1, statement.id)
    rig.proxy.on_query(b"^update", inject_err(1213, "40001", "Deadlock found"))
    db.run_transaction(lambda tx: tx.execute_query("update t set n = %s", 1))
    statement = row(db, "UPDATE")
    assert (statement.calls, statement.errors, statement.retries) == (3, 1, 2)


def test_the_place_is_the_callers_own_line(db: ImprovedDb) -> None:
    """Not a line of this package, and not that of a door in between."""
    db.execute_query("select 17")
    (place,) = row(db, "SELECT ?").places
    assert place.startswith(f"{__file__}:")
    assert place.endswith(" in test_the_place_is_the_callers_own_line")


def test_statements_are_ordered_and_limited_and_reset(db: ImprovedDb) -> None:
    """The table of a large program is long."""
    for _ in range(3):
        db.execute_query("select 1")
    db.execute_query("select sleep(0.05)")
    assert [row.digest for row in db.statements()] == ["SELECT SLEEP(?)", "SELECT ?"]
    assert [row.digest for row in db.statements(order="calls", limit=1)] == ["SELECT ?"]
    found = db.statements(limit=1)
    assert (0.5 < found[0].share <= 1, found.run_seconds > found[0].run_seconds, found.purged) == (True, True, 0)
    with pytest.raises(ConfigError, match="order must be one of run, wait"):
        db.statements(order="name")
    with pytest.raises(ConfigError, match="limit must be a whole number, at least 1"):
        db.statements(limit=0)
    db.reset_statements()
    assert db.statements() == ()


NOTHING_LOADED = """
import sys, improved_db
assert not [name for name in sys.modules if name.startswith("improved_db.observe")], sys.modules
db = improved_db.ImprovedDb("mysql://nobody@127.0.0.1:1/", statements=0, slow_query_threshold=None)
unwanted = ["opentelemetry", "prometheus_client", "http.server"]
assert not [name for name in unwanted if name in sys.modules]
assert db.statements() == ()
db.reset_statements()
"""


def test_without_statistics_nothing_is_kept_and_the_import_loads_nothing_of_them(rig: Rig) -> None:
    """Who wants none of it pays for none of it."""
    subprocess.run([sys.executable, "-W", "error", "-c", NOTHING_LOADED], check=True, timeout=60)
    db = rig.db(direct=True, statements=0)
    db.execute_query("select 1")
    assert db.statements() == ()
    for option in ({"statements": -1}, {"statements": 1.5}, {"slow_query_threshold": -1}):
        with pytest.raises(ConfigError, match=next(iter(option))):
            ImprovedDb(host="127.0.0.1", **option)


def test_a_crowd_counts_each_read_once(rig: Rig) -> None:
    """Reads that share a round trip are calls of their own threads."""
    db = rig.db(direct=True, max_size=1)
    for _ in range(20):
        db.execute_query("select 17")
    callers = [Caller(lambda: [db.execute_query("select 17") for _ in range(200)]) for _ in range(6)]
    for caller in callers:
        caller.result()
    statement = row(db, "SELECT ?")
    assert (statement.calls, statement.rows, statement.errors) == (1220, 1220, 0)


# --- the slow log ----------------------------------------------------------------------------------------------------


def slow_lines(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    """Return the records of the slow log."""
    return [record for record in caplog.records if record.name == "improved_db.slow"]


EXTRA = {
    "db_pool", "db_digest", "db_statement", "db_summary", "db_namespace", "duration_s", "wait_s", "run_s", "rows",
    "attempts", "verdict", "error_code", "place", "trace_id", "span_id",
}  # fmt: skip


def test_a_slow_statement_is_one_line_with_fields(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    """A log is read by people, and by programs."""
    db = rig.db(direct=True, slow_query_threshold=0.05, name="shop")
    db.execute_query("select sleep(%s), %s", (0.06, CANARY))
    db.execute_query("select 1")
    (record,) = slow_lines(caplog)
    assert (record.levelname, record.name) == ("WARNING", "improved_db.slow")
    assert record.getMessage().startswith("slow: 0.")
    assert " 1 attempt), 1 rows: SELECT SLEEP(?), ? at " in record.getMessage()
    plain = vars(logging.LogRecord("", 0, "", 0, "", None, None))
    extra = {name: value for name, value in vars(record).items() if name not in plain and name != "message"}
    assert set(extra) == EXTRA
    assert json.loads(json.dumps(extra)) == extra
    assert (extra["db_pool"], extra["db_statement"], extra["attempts"], extra["rows"]) == (
        "shop", "SELECT SLEEP(?), ?", 1, 1
    )  # fmt: skip
    assert extra["place"].endswith("in test_a_slow_statement_is_one_line_with_fields")
    assert row(db, "SELECT SLEEP").slow == 1
    (event,) = db.events(kind="slow")
    assert (event.details["statement"], event.details["place"]) == (extra["db_digest"], extra["place"])


class Refusing(logging.Filter):
    """A log filter of the program's that has a fault."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Fail on each record."""
        raise RuntimeError(f"this filter has a fault: {record.levelname}")


@pytest.mark.parametrize("statistics", [True, False])
def test_a_log_filter_that_raises_lets_no_applied_statement_look_failed(rig: Rig, statistics: bool) -> None:
    """Each statement is slow here, so each is logged; the filter raises, and the rows are there all the same."""
    db = rig.db(direct=True, max_size=2, slow_query_threshold=1e-9, statements=100 if statistics else 0)
    refusing = Refusing()
    loggers = [logging.getLogger(f"improved_db.{name}") for name in ("slow", "observe")]
    for each in loggers:
        each.addFilter(refusing)
    try:
        db.execute_query("insert into t values (1, 1)")
        with db.transaction() as tx:
            tx.execute_query("insert into t values (2, 2)")
        with db.pipeline() as pipe:
            pipe.execute_query("insert into t values (3, 3)")
        db.exec_many("insert into t values (%s, %s)", [(4, 4), (5, 5)])
        with db.stream("select id from t order by id") as rows:
            assert len(list(rows)) == 5
        with pytest.raises(IntegrityError):  # the server's error, not the filter's
            db.execute_query("insert into t values (1, 1)")
    finally:
        for each in loggers:
            each.removeFilter(refusing)
    assert db.fetch_column("select id from t order by id") == [1, 2, 3, 4, 5]
    assert db.stats().used == 0


def test_a_slow_failure_and_slow_statements_without_statistics_are_logged_too(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    """The slowest calls are those that fail at their time limit."""
    db = rig.db(direct=True, slow_query_threshold=0.02, statements=0)
    db.execute_query("select sleep(0.03)")
    with pytest.raises(OperationalError):
        db.execute_query("select sleep(5), benchmark(1e9, sha1('a'))", timeout=0.05)
    assert [getattr(record, "db_statement", "") for record in slow_lines(caplog)] == [
        "SELECT SLEEP(?)", "SELECT SLEEP(?), benchmark(?, sha1(?))"
    ]  # fmt: skip


def test_fifty_slow_calls_in_ten_seconds_are_one_line(caplog: pytest.LogCaptureFixture) -> None:
    """When everything is slow, the log must not make it slower, nor full."""
    clock = FakeClock()
    events: list[Any] = []
    log = SlowLog("shop", "", clock.now, lambda *kind, **details: events.append((kind, details)))
    entry = Entry("1f", "SELECT ?", "SELECT", "SELECT", 0.0)
    for _ in range(50):
        log.write(entry, Call("select 1"))
        clock.advance(0.1)
    assert len(slow_lines(caplog)) == 1
    log.write(Entry("2f", "SELECT ? + ?", "SELECT", "SELECT", 0.0), Call("select 1+1"))
    clock.advance(QUIET)
    log.write(entry, Call("select 1"))
    assert [record.getMessage().rpartition(" (and ")[2] for record in slow_lines(caplog)[2:]] == ["49 more)"]
    assert (len(slow_lines(caplog)), len(events)) == (3, 52)


# --- watches ---------------------------------------------------------------------------------------------------------


def test_a_watch_finds_what_repeats(db: ImprovedDb) -> None:
    """A page that asks once for each row of a list is found by a test, not by its users."""
    db.execute_query("select 1")
    with db.watch() as seen:
        db.execute_query("select 2")
        with db.watch() as inner:
            for number in (1, 2, 3, 4, 1, 1):
                db.execute_query("select n from t where id = %s", number)
        Caller(lambda: db.execute_query("select 3 from t")).result()
        with db.transaction() as tx:
            tx.execute_query("select n from t where id = %s", 99)
    db.execute_query("select 4 from t")
    assert [(each.digest, each.calls, each.distinct) for each in seen.statements] == [
        ("SELECT ?", 1, 1), ("SELECT n FROM t WHERE id = ?", 7, 5), ("COMMIT", 1, 1)
    ]  # fmt: skip
    assert (inner.calls, [each.calls for each in inner.similar(5)], inner.duplicates()[0].distinct) == (6, [6], 4)
    assert inner.similar()[0].places[0].endswith("in test_a_watch_finds_what_repeats")
    seen.check(at_most=7)
    with pytest.raises(RepeatedStatements) as caught:
        seen.check(at_most=6)
    assert "    7 calls     5 different" in str(caught.value)
    assert "SELECT n FROM t WHERE id = ? at " in str(caught.value)
    assert isinstance(caught.value, AssertionError)


def test_a_watch_sees_errors_and_batches_and_keeps_no_value(db: ImprovedDb) -> None:
    """It is shown in the output of tests, which goes anywhere."""
    with db.watch() as seen:
        db.exec_many("insert into t values (%s, %s)", [(1, 1), (2, 2)])
        with pytest.raises(IntegrityError):
            db.execute_query("insert into t values (%s, %s)", (1, 1))
        db.execute_query("select %s", CANARY)
    assert [(each.calls, each.rows, each.errors) for each in seen.statements] == [(2, 2, 1), (1, 1, 0)]
    assert CANARY not in f"{seen.statements} {vars(seen)}"


def test_coroutines_are_counted_and_watched_too(rig: Rig) -> None:
    """They run in threads of the package's, and a watch is their task's own."""

    async def use() -> None:
        async with AsyncImprovedDb(rig.options) as db:
            with db.watch() as seen:
                await asyncio.gather(*(db.fetch_value("select %s", number) for number in range(3)))
            await db.fetch_value("select 4 from t")
            assert await db.ping(timeout=5.0) is True
            assert [(each.calls, each.distinct) for each in seen.statements] == [(3, 3)]
            assert [each.digest for each in db.statements(order="calls")] == ["SELECT ?", "SELECT ? FROM t"]
            assert db.events(kind="opened") != []
            db.reset_statements()
            assert db.statements() == ()

    asyncio.run(use())


def test_a_connect_that_is_retried_is_a_retry_of_the_statement() -> None:
    """Nothing was sent, and the caller has waited all the same."""
    with TemporaryServer() as server, ImprovedDb(server.url, max_size=1) as db:
        db.wait()
        server.kill()
        caller = Caller(lambda: db.execute_query("select 17"))
        eventually(lambda: db.events(kind="retry"))
        server.restart()
        assert caller.result() == ((17,),)
        (statement,) = db.statements()
        assert (statement.calls, statement.errors, statement.retries > 0) == (1, 0, True)
        assert statement.retries_by_verdict == {"not_connected": statement.retries}


# --- events ----------------------------------------------------------------------------------------------------------


def test_events_tell_the_story_of_a_pool(rig: Rig) -> None:
    """What happened at three in the morning, in order."""
    db = rig.db(direct=True, max_size=2, max_waiting=0, acquire_timeout=5.0)
    db.drain()
    db.suspend()
    db.resume()
    with db.connection(), db.connection(), pytest.raises(Exception, match="waiting"):
        db.execute_query("select 1")
    db.close()
    assert [event.kind for event in db.events() if event.kind != "opened"] == [
        "closed", "drained", "suspended", "resumed", "refused", "closed", "pool_closed"
    ]  # fmt: skip
    assert db.stats().peak_size == 2
    opened = db.events(kind="opened")
    assert sum(event.times for event in opened) == 3
    closed = db.events(kind="closed")
    assert [(event.details["reason"], event.times) for event in closed] == [("drained", 1), ("closed", 2)]
    assert (db.events(after=closed[-1].seq)[0].kind, opened[0].at > 1e9) == ("pool_closed", True)


def test_leaks_and_failed_connects_are_events(rig: Rig) -> None:
    """The pages that show them have no other source."""
    db = rig.db(direct=True, max_size=2, leak_warn_after=0.05)
    with db.connection():
        eventually(lambda: db.events(kind="leak"))
    (leak,) = db.events(kind="leak")
    assert leak.details["place"].endswith("in test_leaks_and_failed_connects_are_events")
    with ImprovedDb("mysql://nobody:c4n4ry-value@127.0.0.1:1/", retry=None) as nowhere:
        with pytest.raises(Exception, match="connect"):
            nowhere.execute_query("select 1")
        (failed,) = nowhere.events()
        assert (failed.kind, failed.details) == ("open_failed", {"error": "OperationalError", "code": 2003})
