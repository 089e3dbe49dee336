"""OpenTelemetry: one client span for each call, by the conventions, and the metrics; alone and beside others."""

from __future__ import annotations

import gc
import subprocess
import sys
import weakref
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import pymysql
import pytest
from pymysql.err import IntegrityError

import improved_db
from improved_db import ConfigError, ImprovedDb, PoolTimeout
from tests.faults.faults import inject_err

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.faults.harness import Rig

pytest.importorskip("opentelemetry.sdk")

from opentelemetry import context, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, Decision, Sampler, SamplingResult
from opentelemetry.trace import SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from improved_db.observe import otel

CANARY = "c4n4ry-value"


class Watching(Sampler):
    """A sampler that notes what it sees, and takes all."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, dict[str, Any]]] = []

    def should_sample(
        self,
        parent_context: Any,
        trace_id: int,
        name: str,
        kind: Any = None,
        attributes: Any = None,
        *_: Any,
        **__: Any,
    ) -> SamplingResult:
        """Note the name and the attributes at creation."""
        self.seen.append((name, dict(attributes or {})))
        return ALWAYS_ON.should_sample(parent_context, trace_id, name, kind, attributes)

    def get_description(self) -> str:
        """Return a name."""
        return "watching"


class Traces:
    """A provider, and the spans that it has exported."""

    def __init__(self) -> None:
        self.sampler = Watching()
        self.provider = TracerProvider(sampler=self.sampler)
        self._exporter = InMemorySpanExporter()
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.reader = InMemoryMetricReader()
        self.meters = MeterProvider(metric_readers=[self.reader])

    def spans(self) -> list[Any]:
        """Return the spans that have ended."""
        return list(self._exporter.get_finished_spans())

    def clients(self) -> list[Any]:
        """Return those of the kind CLIENT."""
        return [span for span in self.spans() if span.kind is SpanKind.CLIENT]

    def points(self) -> dict[str, list[Any]]:
        """Return the data points of each metric."""
        data = self.reader.get_metrics_data()
        if data is None:
            return {}
        found = [
            metric for resource in data.resource_metrics for scope in resource.scope_metrics for metric in scope.metrics
        ]
        return {metric.name: list(metric.data.data_points) for metric in found}


@pytest.fixture
def traces() -> Iterator[Traces]:
    """Providers of this test's own."""
    made = Traces()
    yield made
    made.provider.shutdown()
    made.meters.shutdown()


def traced(db: ImprovedDb, traces: Traces, **options: Any) -> otel.Instrumented:
    """Instrument a pool with the providers of the test."""
    return otel.instrument(db, tracer_provider=traces.provider, meter_provider=traces.meters, **options)


def system_of(db: ImprovedDb) -> str:
    """Return what the conventions call the server."""
    return "mariadb" if "mariadb" in db.execute_query("select version()")[0][0].lower() else "mysql"


def test_each_call_is_one_span_whose_attributes_a_sampler_sees(rig: Rig, traces: Traces) -> None:
    """By the stable conventions: what other tools draw and what rules are written for."""
    db = rig.db(direct=True, name="shop")
    system = system_of(db)
    with traced(db, traces), traces.provider.get_tracer("mine").start_as_current_span("page"):
        db.execute_query("insert into t (id, n) values (%s, 17)", 1)
        with db.stream("select * from t where n in (1, 17)") as rows:
            assert list(rows) == [(1, 17)]
        with db.transaction() as tx:
            tx.execute_query("update t set n = %s", 2)
        with db.pipeline() as pipe:
            pipe.execute_query("delete from t where id = 1")
            pipe.execute_query("delete from t where id = 2")
    db.execute_query("select 1")
    page = next(span for span in traces.spans() if span.name == "page")
    clients = traces.clients()
    assert [span.name for span in clients] == ["insert t", "select t", "update t", "COMMIT", "delete t", "delete t"]
    assert {span.parent.span_id for span in clients} == {page.context.span_id}
    assert all(page.start_time <= span.start_time <= span.end_time <= page.end_time for span in clients)
    place = {
        "db.system.name": system, "server.address": rig.options["host"], "server.port": rig.options["port"],
        "db.namespace": rig.options["database"],
    }  # fmt: skip
    first = dict(clients[0].attributes)
    assert first.pop("improved_db.wait_time") >= 0
    assert first == {
        **place,
        "db.query.text": "INSERT INTO t(id, n) VALUES (?)",
        "db.query.summary": "insert t",
        "improved_db.pool.name": "shop",
    }
    assert clients[1].attributes["db.query.text"] == "SELECT * FROM t WHERE n IN (?)"
    seen = {name: attributes for name, attributes in traces.sampler.seen if name != "page"}
    assert {name: dict(span.attributes) for name, span in ((span.name, span) for span in clients)} == seen


def test_a_batch_says_how_many_it_sent(rig: Rig, traces: Traces) -> None:
    """One row is no batch, and no row is no call."""
    db = rig.db(direct=True)
    with traced(db, traces):
        for rows in ([], [(1, 1)], [(2, 2), (3, 3), (4, 4)]):
            db.exec_many("insert into t values (%s, %s)", rows)
        db.load_rows("t", [(5, 5), (6, 6)])
    told = [(span.name, span.attributes.get("db.operation.batch.size")) for span in traces.clients()]
    assert told[:2] == [("insert t", None), ("BATCH insert t", 3)]
    assert len(told) == 3


def test_errors_have_their_number_or_class_and_no_text(rig: Rig, traces: Traces) -> None:
    """The server's text has the value in it."""
    rig.ask("create table name (name varchar(20) primary key)")
    db = rig.db(direct=True, max_size=1, acquire_timeout=0.01)
    with traced(db, traces):
        db.execute_query("insert into name values (%s)", CANARY)
        with pytest.raises(IntegrityError, match=CANARY):
            db.execute_query("insert into name values (%s)", CANARY)
        with db.connection(), pytest.raises(PoolTimeout):
            db.execute_query(f"select '{CANARY}'")
    _, twice, late = traces.clients()
    assert (twice.attributes["db.response.status_code"], twice.attributes["error.type"]) == ("1062", "1062")
    assert (twice.status.status_code, twice.status.description) == (StatusCode.ERROR, "1062")
    assert late.attributes["error.type"] == "improved_db.errors.PoolTimeout"
    assert ("db.response.status_code" in late.attributes, late.attributes["improved_db.verdict"]) == (
        False,
        "not_connected",
    )
    assert late.end_time - late.start_time >= 9_000_000
    assert CANARY not in "".join(span.to_json() for span in traces.spans())
    assert CANARY not in str(traces.points())


def test_two_attempts_are_one_span_with_an_event(rig: Rig, traces: Traces) -> None:
    """The caller has called once, and waited for both."""
    db = rig.db()
    rig.proxy.on_query(b"^update", inject_err(1213, "40001", "Deadlock found"))
    with traced(db, traces):
        db.execute_query("update t set n = %s", 1)
    (span,) = traces.clients()
    (event,) = span.events
    told = dict(event.attributes)
    assert told.pop("delay") > 0
    assert (event.name, told) == (
        "improved_db.retry", {"attempt": 1, "verdict": "transaction_rolled_back", "error.type": "1213"}
    )  # fmt: skip
    assert (span.attributes["improved_db.attempts"], span.status.status_code) == (2, StatusCode.UNSET)
    assert span.start_time <= event.timestamp <= span.end_time
    (point,) = traces.points()["db.client.operation.duration"]
    assert (point.count, point.sum) == (1, pytest.approx((span.end_time - span.start_time) / 1e9, abs=1e-6))
    assert dict(point.attributes)["db.query.summary"] == "update t"


def test_a_transaction_of_ours_is_the_parent_of_its_statements(rig: Rig, traces: Traces) -> None:
    """Its attempts belong together, and how many there were is told."""
    db = rig.db()
    rig.proxy.on_query(b"^update", inject_err(1213, "40001", "Deadlock found"))
    with traced(db, traces):
        db.run_transaction(lambda tx: tx.execute_query("update t set n = %s", 1))
        with pytest.raises(ZeroDivisionError):
            db.run_transaction(lambda _: 1 / 0)
    whole, failed = [span for span in traces.spans() if span.kind is SpanKind.INTERNAL]
    assert (whole.name, whole.attributes["improved_db.attempts"], whole.attributes["improved_db.retried"]) == (
        "improved_db.transaction", 2, True
    )  # fmt: skip
    assert [span.name for span in traces.clients()] == ["update t", "update t", "COMMIT"]
    assert {span.parent.span_id for span in traces.clients()} == {whole.context.span_id}
    assert (failed.status.status_code, failed.attributes["error.type"], failed.events) == (
        StatusCode.ERROR, "ZeroDivisionError", ()
    )  # fmt: skip


@pytest.mark.parametrize("first", ["ours", "theirs"])
def test_beside_other_instrumentations_each_statement_has_one_client_span(
    first: str, rig: Rig, traces: Traces, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twice the spans is twice the bill, and every number on a dashboard is wrong."""
    theirs = pytest.importorskip("opentelemetry.instrumentation.pymysql").PyMySQLInstrumentor()
    db = rig.db(direct=True)
    handle = traced(db, traces) if first == "ours" else None
    theirs.instrument(tracer_provider=traces.provider)
    try:
        handle = handle or traced(db, traces)
        db.execute_query("select 1 from t")
        with db.transaction() as tx:
            tx.execute_query("select 2 from t")
        assert [span.name for span in traces.clients()] == ["select t", "select t", "COMMIT"]
        with improved_db.enable(), pymysql.connect(**rig.options) as connection, connection.cursor() as cursor:
            cursor.execute("select 3 from t")
        plain = pymysql.connect(**rig.options)
        with plain.cursor() as cursor:
            cursor.execute("select 4 from t")
        plain.close()
        texts = [span.attributes.get("db.statement", "") for span in traces.clients()]
        assert texts.count("select 4 from t") == 1
        assert texts.count("select 3 from t") <= 1
        handle.uninstrument()
    finally:
        theirs.uninstrument()


def test_sqlalchemy_over_our_connections_has_only_its_own_spans(rig: Rig, traces: Traces) -> None:
    """Its instrumentation sees each statement already."""
    theirs = pytest.importorskip("opentelemetry.instrumentation.sqlalchemy").SQLAlchemyInstrumentor()
    sqlalchemy = pytest.importorskip("sqlalchemy")
    db = rig.db(direct=True)
    engine = sqlalchemy.create_engine("mysql+pymysql://", creator=db.connect, poolclass=sqlalchemy.pool.NullPool)
    theirs.instrument(engine=engine, tracer_provider=traces.provider)
    try:
        with traced(db, traces), engine.connect() as connection:
            connection.execute(sqlalchemy.text("select 5 from t")).all()
        theirs_alone = int(theirs.is_instrumented_by_opentelemetry)  # not with versions that it does not know
        assert len([span for span in traces.clients() if "select" in span.name.lower()]) == theirs_alone
    finally:
        theirs.uninstrument()
        engine.dispose()


def test_a_suppressed_context_makes_no_spans(rig: Rig, traces: Traces) -> None:
    """An exporter that writes into the database must not trace itself."""
    db = rig.db(direct=True)
    with traced(db, traces):
        token = context.attach(context.set_value("suppress_instrumentation", True))
        try:
            db.execute_query("select 1")
            db.run_transaction(lambda tx: tx.execute_query("select 2"))
        finally:
            context.detach(token)
    assert traces.spans() == []


WITHOUT_SDK = """
import sys
import improved_db
from improved_db.testing import TemporaryServer
from improved_db.observe import otel
assert "opentelemetry.sdk" not in sys.modules
with TemporaryServer() as server, improved_db.ImprovedDb(server.url) as db:
    with otel.instrument(db, pool_times=True, returned_rows=True, sql_comment={"application": "x"}):
        print(db.execute_query("select 1"))
        db.run_transaction(lambda tx: tx.execute_query("select 2"))
"""
WITHOUT_API = """
import sys
sys.modules["opentelemetry"] = None
import improved_db
from improved_db.testing import TemporaryServer
with TemporaryServer() as server, improved_db.ImprovedDb(server.url) as db:
    print(db.execute_query("select 1"))
try:
    from improved_db.observe import otel
except ImportError as error:
    assert "opentelemetry" in str(error)
"""


@pytest.mark.parametrize("program", [WITHOUT_SDK, WITHOUT_API])
def test_it_works_without_the_sdk_and_everything_else_without_the_api(program: str) -> None:
    """Libraries depend on the API alone, and programs that trace nothing on neither."""
    ended = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, timeout=60, check=False)
    assert (ended.returncode, ended.stdout.strip(), ended.stderr) == (0, b"((1,),)", b"")


def test_the_pool_is_shown_as_the_conventions_name_it(rig: Rig, traces: Traces) -> None:
    """All nine, with the values of `stats()`."""
    db, other = rig.db(direct=True, name="shop", max_size=3), rig.db(direct=True, name="other")
    with traced(db, traces, pool_times=True), traced(other, traces):
        with db.connection():
            points = traces.points()
            stats = db.stats()
        db.execute_query("select 1")
        later = traces.points()
        with pytest.raises(ConfigError, match="pool 'shop' is instrumented already"):
            otel.instrument(db)
    name, state = "db.client.connection.pool.name", "db.client.connection.state"

    def shown(points: dict[str, list[Any]], metric: str, **attributes: str) -> float:
        wanted = {name: "shop", **{key.replace("_", "."): value for key, value in attributes.items()}}
        (found,) = [point.value for point in points[metric] if dict(point.attributes) == wanted]
        return float(found)

    values = [point for point in points["db.client.connection.count"] if point.attributes[name] == "shop"]
    assert {point.attributes[state]: point.value for point in values} == {"idle": stats.idle, "used": stats.used}
    for metric, value in {
        "max": stats.max_size, "idle.max": stats.max_size, "idle.min": stats.min_size,
        "pending_requests": stats.waiting, "timeouts": stats.timed_out,
    }.items():  # fmt: skip
        assert shown(points, f"db.client.connection.{metric}") == value, metric
    assert shown(points, "improved_db.leaks") == shown(points, "improved_db.slow_statements") == 0
    assert {point.attributes[name] for point in points["db.client.connection.max"]} == {"shop", "other"}
    assert {point.attributes[name]: point.count for point in later["db.client.connection.wait_time"]} == {"shop": 1 + 1}
    assert sum(point.count for point in later["db.client.connection.use_time"]) == 2
    assert traces.points().get("db.client.connection.max", []) == []
    with traced(db, traces):
        db.drain()
        db.execute_query("select 1")
        opened = traces.points()["db.client.connection.create_time"]
    assert [(dict(point.attributes), point.count) for point in opened] == [({name: "shop"}, 1)]


def test_a_pool_that_is_dropped_is_not_kept_alive_by_its_instruments(rig: Rig, traces: Traces) -> None:
    """Programs that make a pool for a job, and instrument each, must not collect them."""
    db = ImprovedDb({**rig.options, "name": "left alone"})
    traced(db, traces, pool_times=True)
    db.execute_query("select 1")
    assert "left alone" in str(traces.points()["db.client.connection.max"])
    gone = weakref.ref(db)
    del db
    gc.collect()
    assert gone() is None
    assert "left alone" not in str(traces.points().get("db.client.connection.max", []))


def test_rows_are_recorded_when_asked_for(rig: Rig, traces: Traces) -> None:
    """An opt-in of the conventions."""
    db = rig.db(direct=True)
    with traced(db, traces, returned_rows=True, durations=False, spans=False):
        db.execute_query("select 1 union select 2")
    (point,) = traces.points()["db.client.response.returned_rows"]
    assert (point.count, point.sum, traces.spans()) == (1, 2, [])
    assert "db.client.operation.duration" not in traces.points()


# --- comments --------------------------------------------------------------------------------------------------------


def test_the_trace_is_at_the_end_of_the_statement_and_disturbs_nothing(rig: Rig, traces: Traces) -> None:
    """Who reads the server's own log finds the trace; the pool still returns sessions without a round trip."""
    db = rig.db(max_size=1)
    hostile = {"application": "it's */ 100%;", "a,b='": "\n"}
    with traced(db, traces, sql_comment=hostile):
        with traces.provider.get_tracer("mine").start_as_current_span("page") as page:
            text = db.execute_query("select info from information_schema.processlist where id = connection_id()")[0][0]
            assert db.execute_query("select %s", "50%")[0][0] == "50%"
            assert db.execute_query("select 1 /* mine */")[0][0] == 1
            with db.pipeline() as pipe:
                two = pipe.execute_query("select 2")
                three = pipe.execute_query("select 3")
            assert (two.result()[0][0], three.result()[0][0]) == (2, 3)
        resets = rig.proxy.seen(b"")
        assert db.stats().discarded == {}
    sql, _, comment = text.partition(" /*")
    assert sql == "select info from information_schema.processlist where id = connection_id()"
    assert comment.endswith("'*/")
    assert "*/" not in comment[:-2]
    told = dict(pair.split("=", 1) for pair in comment[:-2].split(","))
    read = {unquote(name): unquote(value.strip("'")) for name, value in told.items()}
    context_told = trace.get_current_span(TraceContextTextMapPropagator().extract(read)).get_span_context()
    assert context_told.trace_id == page.get_span_context().trace_id
    assert {name: read[name] for name in hostile} == hostile
    assert list(told) == sorted(told)
    assert resets >= 0
    assert {span.attributes["db.query.text"] for span in traces.clients()} >= {"SELECT ?"}
    assert "/*" not in str(db.statements())
    db.execute_query("select 17")
    assert db.execute_query("select 'x'")[0][0] == "x"


def test_without_a_sampled_span_and_extras_there_is_no_comment(rig: Rig, traces: Traces) -> None:
    """An id that leads nowhere is noise."""
    db = rig.db(direct=True, max_size=1)
    query = "select info from information_schema.processlist where id = connection_id()"
    with traced(db, traces, sql_comment=True):
        assert db.execute_query(query)[0][0] == query
        with trace.use_span(trace.NonRecordingSpan(trace.INVALID_SPAN_CONTEXT)):
            assert db.execute_query(query)[0][0] == query
        with traces.provider.get_tracer("mine").start_as_current_span("page"):
            assert "traceparent" in db.execute_query(query)[0][0]
    assert db.execute_query(query)[0][0] == query
    for invalid in ("yes", 1):
        with pytest.raises(ConfigError, match="sql_comment must be"):
            otel.instrument(db, sql_comment=invalid)  # type: ignore[arg-type]  # that is what is tested
    with pytest.raises(ConfigError, match="instrument takes an ImprovedDb, not a str"):
        otel.instrument("mysql://")  # type: ignore[arg-type]  # as above


def test_the_samplers_decision_holds(rig: Rig) -> None:
    """What is not sampled is not exported."""

    class Never(Watching):
        def should_sample(self, *_: Any, **__: Any) -> SamplingResult:
            return SamplingResult(Decision.DROP)

    traces = Traces()
    traces.provider = TracerProvider(sampler=Never())
    db = rig.db(direct=True)
    with traced(db, traces):
        db.execute_query("select 1")
    assert traces.spans() == []
