"""OpenTelemetry: spans and metrics by its conventions for databases, on ``opentelemetry-api`` alone.

Each call of a verb is one CLIENT span. The span is made when the call is over, with the call's own times. So a sampler
sees all of its attributes, and the span is never the current one. Other instrumentations stay as they are: PyMySQL's
works at cursors and at ``pymysql.connect``, which these verbs do not use.

No span and no metric has a value of the caller's or a text of the server's: the text is the statement's normal form,
an error is its number or the name of its class.

Knows OpenTelemetry's API and names. Does not know how a call is made.
"""

from __future__ import annotations

import contextlib
import weakref
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from opentelemetry import context, metrics, propagate, trace
from opentelemetry.trace import SpanKind, Status, StatusCode

from improved_db._version import __version__
from improved_db.clock import wall
from improved_db.errors import ConfigError
from improved_db.observe.otel_metrics import PoolMetrics, pool_metrics
from improved_db.observe.tally import code_of
from improved_db.sql.normal import normal_form
from improved_db.sql.summary import summary

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from types import TracebackType

    from opentelemetry.metrics import Histogram, MeterProvider
    from opentelemetry.trace import Span, TracerProvider
    from typing_extensions import Self

    from improved_db.db import ImprovedDb
    from improved_db.execution.observed import Call
    from improved_db.observe.observer import Observer

    #: What a comment says besides the trace: by name, or a callable that is asked for each statement.
    Comment = bool | Mapping[str, str] | Callable[[], Mapping[str, str]]

NAME: Final = "improved_db"
SCHEMA: Final = "https://opentelemetry.io/schemas/1.44.0"
#: Other instrumentations set this key while they call what must not be traced.
SUPPRESSED: Final = "suppress_instrumentation"
#: The advice of the conventions, in seconds; and for numbers of rows.
DURATIONS: Final = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0)
ROWS: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000)
#: Of how many texts the attributes are remembered, and how many summaries may be attributes of a metric.
TEXTS: Final = 2_000
SUMMARIES: Final = 500


def instrument(
    db: ImprovedDb,
    *,
    tracer_provider: TracerProvider | None = None,
    meter_provider: MeterProvider | None = None,
    spans: bool = True,
    durations: bool = True,
    pool_metrics: bool = True,
    pool_times: bool = False,
    returned_rows: bool = False,
    sql_comment: Comment = False,
) -> Instrumented:
    """Make spans and metrics of what *db* does, until the handle's ``uninstrument`` or the end of its ``with`` block.

    Args:
        db: The `ImprovedDb`; each one is instrumented by itself, and once.
        tracer_provider: Makes the spans; None for the global one.
        meter_provider: Makes the metrics; None for the global one.
        spans: Whether to make spans.
        durations: Whether to record ``db.client.operation.duration`` (about 8 us a call with the SDK).
        pool_metrics: Whether to show ``db.client.connection.*`` and the counters ``improved_db.*``.
        pool_times: Whether to record ``db.client.connection.wait_time`` and ``use_time`` (twice 8 us a call).
        returned_rows: Whether to record ``db.client.response.returned_rows``.
        sql_comment: Append the trace to each statement as a comment, for the server's own logs; a mapping, or a
            callable that returns one, adds what it has. Its ``traceparent`` is that of the span that is current in the
            caller's code. Chunks of many rows, and texts that have a comment already, get none.

    Returns:
        A handle with ``uninstrument``.

    Raises:
        ConfigError: *db* is instrumented already, or an argument is invalid.
    """
    if getattr(db, "_observer", None) is None:
        raise ConfigError(f"instrument takes an ImprovedDb, not a {type(db).__name__}")
    if not (isinstance(sql_comment, bool) or callable(sql_comment) or hasattr(sql_comment, "items")):
        raise ConfigError(f"sql_comment must be a bool, a mapping or a callable, not a {type(sql_comment).__name__}")
    handle = Instrumented(db._observer)
    tracer = trace.get_tracer(NAME, __version__, tracer_provider, SCHEMA) if spans else None
    handle.begin(tracer, _Records(meter_provider, durations=durations, returned_rows=returned_rows))
    if sql_comment:
        extra = dict if sql_comment is True else sql_comment
        handle.comment(extra if callable(extra) else lambda: extra)
    if pool_metrics or pool_times:
        handle.show_pool(meter_provider, db, gauges=pool_metrics, times=pool_times)
    return handle


class Instrumented:
    """An `ImprovedDb` that makes spans and metrics."""

    def __init__(self, observer: Observer) -> None:
        """Be ready for *observer*'s calls."""
        if observer.instrumented:
            raise ConfigError(f"pool {observer.name!r} is instrumented already; uninstrument it first")
        self._observer = observer
        self._end = contextlib.ExitStack()

    def begin(self, tracer: trace.Tracer | None, records: _Records) -> None:
        """Hear of calls from now on."""
        observer = self._observer
        calls = _Calls(observer, tracer, records)
        observer.instrumented = True
        observer.add_listener(calls.ended)
        observer.slow.trace = _current_ids
        self._end.callback(setattr, observer, "instrumented", False)
        self._end.callback(setattr, observer.slow, "trace", None)
        self._end.callback(observer.remove_listener, calls.ended)
        if tracer is not None:
            observer.surround_transactions(calls.transaction)
            self._end.callback(observer.surround_transactions, None)

    def comment(self, extra: Callable[[], Mapping[str, str]]) -> None:
        """Append a comment to each statement from now on."""
        self._observer.comment_statements(lambda sql: commented(sql, extra))
        self._end.callback(self._observer.comment_statements, None)

    def show_pool(self, provider: MeterProvider | None, db: ImprovedDb, *, gauges: bool, times: bool) -> None:
        """Show the pool's metrics from now on."""
        shown: PoolMetrics = pool_metrics(provider or metrics.get_meter_provider())
        self._end.callback(shown.remove, shown.add(self._observer, db if times else None, gauges=gauges))

    def uninstrument(self) -> None:
        """Make no more spans or metrics."""
        self._end.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traced: TracebackType | None
    ) -> None:
        self.uninstrument()


class _Records:
    """The histograms of calls."""

    def __init__(self, provider: MeterProvider | None, *, durations: bool, returned_rows: bool) -> None:
        meter = metrics.get_meter(NAME, __version__, provider, SCHEMA)
        self.duration: Histogram | None = None
        self.rows: Histogram | None = None
        if durations:
            self.duration = meter.create_histogram(
                "db.client.operation.duration",
                unit="s",
                description="Duration of database client operations.",
                explicit_bucket_boundaries_advisory=DURATIONS,
            )
        if returned_rows:
            self.rows = meter.create_histogram(
                "db.client.response.returned_rows",
                unit="{row}",
                description="The actual number of records returned by the database operation.",
                explicit_bucket_boundaries_advisory=ROWS,
            )


class _Calls:
    """Makes a span and its metrics of each call."""

    def __init__(self, observer: Observer, tracer: trace.Tracer | None, records: _Records) -> None:
        self._observer = weakref.ref(observer)
        self._tracer = tracer
        self._records = records
        self._texts: dict[str, dict[str, Any]] = {}
        self._summaries: set[str] = set()
        self._pool = observer.name
        self._place: dict[str, Any] = {"server.address": observer.address}
        if observer.port not in {None, 3306}:
            self._place["server.port"] = observer.port
        if observer.database:
            self._place["db.namespace"] = observer.database

    def ended(self, call: Call) -> None:
        """Make the span and the metrics of a call that has ended."""
        if context.get_value(SUPPRESSED):
            return
        attributes = self._attributes(call.query)
        failure = _failure(call)
        if self._tracer is not None:
            self._span(self._tracer, call, attributes, failure)
        if self._records.duration is not None or self._records.rows is not None:
            self._record(call, attributes, failure)

    def _attributes(self, query: str) -> dict[str, Any]:
        found = self._texts.get(query)
        if found is None:
            if len(self._texts) >= TEXTS:
                self._texts.clear()
            text = normal_form(query).replace("(...)", "(?)")
            found = {
                "db.system.name": self._system(),
                **self._place,
                "db.query.text": text,
                "db.query.summary": summary(query) or text.partition(" ")[0] or "UNKNOWN",
            }
            if len(query) <= TEXTS:
                self._texts[query] = found
        return found

    def _system(self) -> str:
        observer = self._observer()
        version = "" if observer is None else observer.versions[1]
        return "mariadb" if "mariadb" in version.lower() else "mysql"

    def _span(self, tracer: trace.Tracer, call: Call, attributes: dict[str, Any], failure: dict[str, str]) -> None:
        end = wall()
        name = attributes["db.query.summary"]
        more: dict[str, Any] = {"improved_db.pool.name": self._pool, "improved_db.wait_time": call.wait}
        if call.batch is not None and call.batch != 1:
            name = f"BATCH {name}"
            more |= {"db.operation.batch.size": call.batch, "db.query.summary": name}
        if call.failures or failure:
            more |= {"improved_db.attempts": call.attempts, "improved_db.verdict": call.verdict, **failure}
        span = tracer.start_span(
            name,
            kind=SpanKind.CLIENT,
            attributes={**attributes, **more},
            start_time=_nanoseconds(end - call.lasted),
            record_exception=False,
            set_status_on_exception=False,
        )
        if span.is_recording():
            self._retries(span, call, end)
            if failure:
                span.set_status(Status(StatusCode.ERROR, failure["error.type"]))
        span.end(_nanoseconds(end))

    def _retries(self, span: Span, call: Call, end: float) -> None:
        for number, failed in enumerate(call.failures, 1):
            if failed.pause is not None:
                told = {
                    "attempt": number,
                    "verdict": failed.verdict.value,
                    "error.type": _type(failed.error),
                    "delay": failed.pause,
                }
                at = end if failed.failed_at is None else end - (call.started_at + call.lasted - failed.failed_at)
                span.add_event("improved_db.retry", told, _nanoseconds(at))

    def _record(self, call: Call, attributes: dict[str, Any], failure: dict[str, str]) -> None:
        name = attributes["db.query.summary"]
        if name not in self._summaries:
            if len(self._summaries) < SUMMARIES:
                self._summaries.add(name)
            else:
                name = "other"
        told = {**attributes, "db.query.summary": name, **failure}
        del told["db.query.text"]
        if self._records.duration is not None:
            self._records.duration.record(call.lasted, told)
        if self._records.rows is not None and call.error is None and call.batch is None:
            self._records.rows.record(call.rows, told)

    @contextlib.contextmanager
    def transaction(self) -> Iterator[Callable[[int], None]]:
        """Surround the attempts at one transaction of ours; the block says how many there were."""
        tracer = self._tracer
        if tracer is None or context.get_value(SUPPRESSED):
            yield lambda _: None
            return
        with tracer.start_as_current_span(
            "improved_db.transaction",
            kind=SpanKind.INTERNAL,
            attributes={"improved_db.pool.name": self._pool},
            record_exception=False,
            set_status_on_exception=False,
        ) as span:

            def attempted(number: int) -> None:
                span.set_attributes({"improved_db.attempts": number, "improved_db.retried": number > 1})

            try:
                yield attempted
            except BaseException as error:
                span.set_attribute("error.type", _type(error))
                span.set_status(Status(StatusCode.ERROR, _type(error)))
                raise


def _failure(call: Call) -> dict[str, str]:
    """Return what the conventions say of an error, in words that have no value in them."""
    if call.error is None:
        return {}
    kind = _type(call.error)
    return {"error.type": kind, "db.response.status_code": kind} if kind.isdigit() else {"error.type": kind}


def _type(error: BaseException) -> str:
    code = code_of(error)
    if code.isdigit():
        return code
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _nanoseconds(seconds: float) -> int:
    return int(seconds * 1e9)


def _current_ids() -> tuple[str, str]:
    """Return the ids of the caller's span, as the slow log has them."""
    told = trace.get_current_span().get_span_context()
    return (trace.format_trace_id(told.trace_id), trace.format_span_id(told.span_id)) if told.is_valid else ("", "")


# --- comments --------------------------------------------------------------------------------------------------------

#: How a comment begins, in the bytes of a statement.
_COMMENTS: Final = (b"/*", b"--", b"#")


def commented(sql: bytes, extra: Callable[[], Mapping[str, str]]) -> bytes:
    """Return a statement with what a trace needs as a comment at its end, unless it has a comment already."""
    if any(mark in sql for mark in _COMMENTS) or sql.rstrip().endswith(b";"):
        return sql
    told = {str(name): str(value) for name, value in extra().items()}
    span = trace.get_current_span()
    if span.is_recording() and span.get_span_context().trace_flags.sampled:
        propagate.inject(told)
    if not told:
        return sql
    pairs = ",".join(f"{quote(name, safe='')}='{quote(value, safe='')}'" for name, value in sorted(told.items()))
    return sql + f" /*{pairs}*/".encode("ascii")
