"""The metrics of pools, as numbers by name and labels, which add up: those of several pools, and of several processes.

Knows the names, what they mean and how they are summed. Does not know who collects them, or in which format.
"""

from __future__ import annotations

import weakref
from itertools import chain
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from improved_db._version import __version__
from improved_db.failures.error_table import ROWS
from improved_db.observe.histogram import COARSE, cumulative
from improved_db.pool.stats import RULES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from improved_db.observe.observer import Observer
    from improved_db.observe.statement import Statement
    from improved_db.pool.snapshot import PoolStats

#: Labels with their values, in the order of the family's names.
Labels = tuple[str, ...]


class Family(NamedTuple):
    """One metric.

    Attributes:
        name: Its name; that of a counter ends in ``_total``.
        kind: ``gauge``, ``counter``, ``histogram`` or ``info``.
        labels: The names of its labels, after ``pool``.
        help: What it means.
        sums: How its values are joined: "sum", or "least".
    """

    name: str
    kind: str
    labels: Labels
    help: str
    sums: str = "sum"


class Histogram(NamedTuple):
    """The value of a histogram: how many were not longer than each of `COARSE`, how many in all, and their sum."""

    counts: tuple[int, ...]
    number: int
    seconds: float


#: By the name of a family, and by the values of its labels, the pool's name first.
Values = dict[str, dict[Labels, Any]]

_POOL, _STATEMENT, _CLUSTER = "improved_db_pool_", "improved_db_statement", "improved_db_cluster_"
FAMILIES: Final = (
    Family(f"{_POOL}connections", "gauge", ("state",), "Connections, by what they are: idle, used or being opened."),
    Family(f"{_POOL}max_connections", "gauge", (), "The most connections that may be open."),
    Family(f"{_POOL}min_connections", "gauge", (), "Connections that are kept open."),
    Family(f"{_POOL}waiting", "gauge", (), "Callers that wait for a connection."),
    Family(f"{_POOL}borrowed_total", "counter", ("served",), "Connections lent, at once or after a wait."),
    Family(f"{_POOL}wait_seconds", "histogram", (), "How long callers waited for a connection that they got."),
    Family(
        f"{_POOL}use_seconds", "histogram", (),
        "How long callers held connections that they borrowed for blocks, transactions and streams.",
    ),
    Family(f"{_POOL}open_seconds", "histogram", (), "How long opening a connection took."),
    Family(f"{_POOL}timeouts_total", "counter", (), "Callers that got no connection in time."),
    Family(f"{_POOL}refused_total", "counter", (), "Callers that were refused because too many waited."),
    Family(f"{_POOL}opened_total", "counter", (), "Connections opened."),
    Family(f"{_POOL}open_errors_total", "counter", (), "Attempts to open a connection that failed."),
    Family(f"{_POOL}lost_total", "counter", (), "Connections that were never returned; the pool took them back."),
    Family(f"{_POOL}leaks_total", "counter", (), "Connections held for longer than leak_warn_after."),
    Family(f"{_POOL}connections_closed_total", "counter", ("kind", "reason"), "Connections closed, by reason."),
    Family(f"{_STATEMENT}_seconds", "histogram", ("verb",), "How long statements had a connection."),
    Family(f"{_STATEMENT}_errors_total", "counter", ("verdict", "code"), "Calls that failed."),
    Family("improved_db_rows_total", "counter", ("direction",), "Rows returned (read) or changed (written)."),
    Family("improved_db_slow_statements_total", "counter", (), "Calls that took slow_query_threshold or longer."),
    Family("improved_db_outcomes_unknown_total", "counter", (), "Calls that may or may not have been applied."),
    Family("improved_db_retries_total", "counter", ("verdict",), "Retries."),
    Family(
        "improved_db_retry_budget_left_ratio", "gauge", (),
        "How much of the retry budget is left, from 0 to 1; the least of several processes.", "least",
    ),
    Family("improved_db_statements_tracked", "gauge", (), "Forms of statements that are kept."),
    Family("improved_db_statements_purged_total", "counter", (), "Forms of statements that were dropped."),
    Family(f"{_CLUSTER}failovers_total", "counter", (), "How often another server became the primary."),
    Family(f"{_CLUSTER}lost_writes_total", "counter", (), "Acknowledged writes that failovers have lost."),
    Family(f"{_CLUSTER}without_primary_seconds_total", "counter", ("state",), "How long no server took writes."),
    Family(
        f"{_CLUSTER}causal_reads_total", "counter", ("answer",),
        "Reads that had to see a write: from a replica that had it (free) or was waited for, or from the primary.",
    ),
    Family(f"{_CLUSTER}fallback_reads_total", "counter", (), "Reads that the primary answered for the replicas."),
    Family("improved_db_info", "info", ("version", "driver", "server"), "Versions."),
)  # fmt: skip
#: Asked for by ``top=``, because each statement is a series of its own.
TOP: Final = (
    Family("improved_db_top_statement_calls_total", "counter", ("digest",), "Calls of one statement."),
    Family("improved_db_top_statement_seconds_total", "counter", ("digest",), "How long one statement ran."),
    Family("improved_db_top_statement_errors_total", "counter", ("digest",), "Calls of one statement that failed."),
    Family("improved_db_top_statement_info", "info", ("digest", "summary"), "What the statement does."),
)
BY_NAME: Final = {family.name: family for family in (*FAMILIES, *TOP)}

#: Error numbers that may be a label; others are "other".
CODES: Final = frozenset(str(row.code) for row in ROWS)
_READS: Final = frozenset(["SELECT", "WITH", "SHOW", "DESCRIBE", "EXPLAIN", "VALUES", "TABLE"])

#: The observers of this process.
living: weakref.WeakSet[Observer] = weakref.WeakSet()


def observers() -> list[tuple[str, Observer]]:
    """Return the observers of the open pools of this process, the oldest first, each with a name of its own."""
    named: list[tuple[str, Observer]] = []
    for observer in sorted(living, key=lambda each: each.number):
        if observer.is_open:
            same = sum(other.name == observer.name for _, other in named)
            named.append((f"{observer.name}#{same + 1}" if same else observer.name, observer))
    return named


def own(top: int = 0) -> Values:
    """Return the metrics of this process's open pools."""
    return joined([of_pool(name, observer, top) for name, observer in observers()])


def of_pool(name: str, observer: Observer, top: int = 0) -> Values:
    """Return the metrics of one pool, whose label is *name*; also those of its *top* statements."""
    values: Values = {}
    for family, labels, value in chain(_of_connections(observer), _of_statements(observer), _of_top(observer, top)):
        key = (name, *labels)
        values.setdefault(family, {})[key] = value
    return values


def _of_connections(observer: Observer) -> Iterator[tuple[str, Labels, Any]]:
    stats = observer.stats()
    if stats is None:
        return
    for state in ("idle", "used", "opening"):
        yield f"{_POOL}connections", (state,), getattr(stats, state)
    yield f"{_POOL}max_connections", (), stats.max_size
    yield f"{_POOL}min_connections", (), stats.min_size
    yield f"{_POOL}waiting", (), stats.waiting
    yield f"{_POOL}borrowed_total", ("at_once",), stats.acquired_at_once
    yield f"{_POOL}borrowed_total", ("waited",), stats.waited
    for kind, times in observer.pool_times.items():
        at_once = stats.acquired_at_once if kind == "wait" else 0
        yield f"{_POOL}{kind}_seconds", (), _histogram(times.counts, times.seconds, at_once)
    for name, number in {
        "timeouts": stats.timed_out, "refused": stats.refused, "opened": stats.opened,
        "open_errors": stats.open_errors, "lost": stats.lost, "leaks": stats.leaks,
    }.items():  # fmt: skip
        yield f"{_POOL}{name}_total", (), number
    for reason, number in chain(stats.retired.items(), stats.discarded.items()):
        yield f"{_POOL}connections_closed_total", ("retired" if reason in RULES else "discarded", reason), number
    for verdict, number in observer.retries.copy().items():
        yield "improved_db_retries_total", (verdict,), number
    yield "improved_db_retry_budget_left_ratio", (), observer.retry_budget
    yield "improved_db_info", (__version__, *observer.versions), 1
    if stats.by_host:
        yield from _of_cluster(stats)


def _of_cluster(stats: PoolStats) -> Iterator[tuple[str, Labels, Any]]:
    yield f"{_CLUSTER}failovers_total", (), stats.failovers
    yield f"{_CLUSTER}lost_writes_total", (), stats.lost_writes
    yield f"{_CLUSTER}without_primary_seconds_total", ("seeking",), stats.seeking_seconds
    yield f"{_CLUSTER}without_primary_seconds_total", ("conflict",), stats.conflict_seconds
    for answer in ("free", "waited", "fallback"):
        yield f"{_CLUSTER}causal_reads_total", (answer,), getattr(stats, f"causal_{answer}")
    yield f"{_CLUSTER}fallback_reads_total", (), stats.fallback_reads


def _of_statements(observer: Observer) -> Iterator[tuple[str, Labels, Any]]:
    for (verdict, code), number in observer.errors.copy().items():
        yield f"{_STATEMENT}_errors_total", (verdict, code), number
    yield "improved_db_slow_statements_total", (), observer.slow_calls
    yield "improved_db_outcomes_unknown_total", (), observer.unknown_calls
    if observer.tally is None:
        return
    rows = {"read": 0, "written": 0}
    for verb, entry in observer.tally.by_verb().items():
        yield f"{_STATEMENT}_seconds", (verb,), _histogram(entry.counts, entry.run)
        rows["read" if verb in _READS else "written"] += entry.rows
    for direction, number in rows.items():
        yield "improved_db_rows_total", (direction,), number
    yield "improved_db_statements_tracked", (), observer.tally.tracked
    yield "improved_db_statements_purged_total", (), observer.tally.purged


def _of_top(observer: Observer, top: int) -> Iterator[tuple[str, Labels, Any]]:
    chosen: Sequence[Statement] = observer.statements(limit=top) if top else ()
    for statement in chosen:
        yield "improved_db_top_statement_calls_total", (statement.id,), statement.calls
        yield "improved_db_top_statement_seconds_total", (statement.id,), statement.run_seconds
        yield "improved_db_top_statement_errors_total", (statement.id,), statement.errors
        yield "improved_db_top_statement_info", (statement.id, statement.summary), 1


def _histogram(counts: Sequence[int], seconds: float, at_once: int = 0) -> Histogram:
    counted = list(counts)
    return Histogram(tuple(number + at_once for number in cumulative(counted, COARSE)), sum(counted) + at_once, seconds)


def joined(many: Iterable[Mapping[str, Mapping[Labels, Any]]]) -> Values:
    """Return the values of several pools or processes as one."""
    found: Values = {}
    for values in many:
        for name, samples in values.items():
            into = found.setdefault(name, {})
            for labels, value in samples.items():
                into[labels] = _join(BY_NAME[name], into[labels], value) if labels in into else value
    return found


def _join(family: Family, one: Any, other: Any) -> Any:
    if family.kind == "info":
        return 1
    if family.kind == "histogram":
        counts = tuple(left + right for left, right in zip(one.counts, other.counts, strict=True))
        return Histogram(counts, one.number + other.number, one.seconds + other.seconds)
    return min(one, other) if family.sums == "least" else one + other


class Times:
    """How long waits, uses or openings took: a histogram and a sum.

    Attributes:
        counts: As of `improved_db.observe.histogram.empty`.
        seconds: Their sum.
    """

    def __init__(self, counts: list[int]) -> None:
        self.counts: list[int] = counts
        self.seconds: float = 0.0
