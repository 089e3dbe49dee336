"""The data of a page about the pool of this process.

Knows what observer, pool and settings tell. Does not know HTTP, or how a page looks.
"""

from __future__ import annotations

import dataclasses
import sys
import weakref
from typing import TYPE_CHECKING, Any, Final

from improved_db.clock import wall
from improved_db.failures.error_table import ROWS, Verdict
from improved_db.observe.histogram import BOUNDS, added, empty, quantile
from improved_db.observe.observer import ORDERS
from improved_db.observe.page.answer import Refusal, number, only
from improved_db.observe.page.history import Numbers
from improved_db.observe.page.monitor import Monitor
from improved_db.observe.page.source import meanings, short_place, worded
from improved_db.pool.snapshot import PoolStats
from improved_db.settings.options import HIDDEN
from improved_db.settings.settings import PoolSettings, Settings
from improved_db.sql.normal import normal_form

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import FrameType

    from improved_db.assembly import Assembly
    from improved_db.observe.observer import Observer
    from improved_db.observe.statement import Statement

_LIMIT: Final = 100
_STACK: Final = 30  # frames
_RECENT: Final = 60.0  # seconds for which a failure counts as now
_REASONS: Final = {str(row.code): f"{row.name}: {row.reason}" for row in reversed(ROWS)}
_VERDICTS: Final = {
    Verdict.NOT_CONNECTED.value: "there was no connection yet",
    Verdict.NOT_SENT.value: "the statement was not sent whole, and did not run",
    Verdict.REFUSED.value: "the server did not run it",
    Verdict.TRANSACTION_ROLLED_BACK.value: "the server rolled the transaction back",
    Verdict.STATEMENT_ROLLED_BACK.value: "the statement was undone, its transaction is open",
    Verdict.UNKNOWN.value: "it may or may not have been applied: look at the data",
    Verdict.PERMANENT.value: "a retry would fail in the same way",
}
_COUNTED: Final = (
    "acquired", "acquired_at_once", "waited", "wait_seconds", "use_seconds", "timed_out", "refused", "opened",
    "open_seconds", "open_errors", "lost", "leaks",
)  # fmt: skip


class LiveSource:
    """What one pool of this process does.

    Attributes:
        title: The pool's name.
        tabs: The parts of the page.
    """

    def __init__(self, observer: Observer, parts: Assembly, settings: Settings) -> None:
        """Look at a pool, or at those of several servers, and hold them no longer than their own program does."""
        self.title: str = observer.name
        self.tabs: tuple[str, ...] = ("overview", "pool", "statements", "slow", "errors", "borrowed", "events")
        self._observer = observer
        if settings.cluster is not None:
            self.tabs += ("hosts",)
        self._parts = weakref.ref(parts)
        self._settings = settings

    def each_round(self, call: Callable[[], object]) -> None:
        """Have *call*, a method, called in each round of the pool's maintenance, for as long as its object is there."""
        method = weakref.WeakMethod(call)

        def also(before: Callable[[], object]) -> Callable[[], None]:
            def on_round() -> None:
                before()
                if (alive := method()) is not None:
                    alive()

            return on_round

        pools = self._pools()
        for pool in [] if pools is None else pools.members():
            pool.reports.on_round = also(pool.reports.on_round)

    def _pools(self) -> Any:
        """Return the pool, or the cluster; None if the program has dropped it."""
        parts = self._parts()
        return None if parts is None else parts.pools

    def _stats(self) -> PoolStats | None:
        pools = self._pools()
        stats: PoolStats | None = None if pools is None else pools.stats()
        return stats

    # --- the charts ------------------------------------------------------------------------------------------------

    def numbers(self) -> Numbers:
        """Return the gauges and sums of now."""
        stats, observer = self._stats(), self._observer
        counts, rows = empty(), 0
        for entry in (observer.tally.by_verb() if observer.tally is not None else {}).values():
            counts = added(counts, entry.counts)
            rows += entry.rows
        failed, again = sum(observer.errors.copy().values()), sum(observer.retries.copy().values())
        used, idle, waiting = (stats.used, stats.idle, stats.waiting) if stats is not None else (0, 0, 0)
        return Numbers(used, idle, waiting, sum(counts), failed, again, rows, tuple(counts))

    def quantile(self, counts: tuple[int, ...], share: float) -> float:
        """Return the duration of a share of the calls in a histogram."""
        return quantile(counts, share)

    # --- the tabs --------------------------------------------------------------------------------------------------

    def data(self, name: str, query: Mapping[str, str]) -> Any:
        """Return the data of a tab.

        Raises:
            Refusal: There is no such tab, or a parameter is invalid.
        """
        kind, _, rest = name.partition("/")
        if kind == "statements" and rest:
            only(query, ())
            return self._statement(rest)
        if name == "statements":
            return self._statements(query)
        if name == "events":
            only(query, ("after",))
            return [self._event(event) for event in self._observer.events.since(number(query, "after", 0))]
        found = {
            "overview": self._overview,
            "pool": self._pool_data,
            "slow": self._slow,
            "errors": self._errors,
            "borrowed": self._borrowed,
            "hosts": self._hosts,
        }.get(name)
        if found is None or name not in self.tabs:
            raise Refusal(404, "there is nothing here; data/overview says what there is")
        only(query, ())
        return found()

    def _overview(self) -> dict[str, Any]:
        stats = self._stats()
        driver, server = self._observer.versions
        gauges = ("max_size", "min_size", "idle", "used", "opening", "waiting", "closed", *_COUNTED)
        return {
            "now": wall(),
            "driver": driver,
            "server": server,
            "database": self._observer.database,
            "pool": {name: getattr(stats, name) for name in gauges} if stats is not None else None,
            "slow": self._observer.slow_calls,
            "unknown": self._observer.unknown_calls,
            "wrong": self._wrong(stats),
        }

    def _wrong(self, stats: PoolStats | None) -> list[str]:
        """Return what is wrong now, in words."""
        if stats is None or stats.closed:
            return ["the pool is closed"]
        wrong, pools, recent = [], self._pools(), wall() - _RECENT
        if stats.waiting and pools is not None:
            out = pools.borrowed()
            holder = f"; the oldest has been out for {out[0].seconds:.1f} s" if out else ""
            full = f"{stats.used} of {stats.max_size} connections are in use"
            wrong.append(f"{full} and {stats.waiting} callers wait{holder}")
        kinds = {
            "timeout": "callers got no connection in time",
            "open_failed": "connections could not be opened",
            "unknown": "calls have an unknown outcome",
            "leak": "connections are held for too long",
            "lost": "connections were never returned",
            "fuse": "new texts come too fast to be read: pass values as arguments",
        }
        happened: dict[str, int] = {}
        for event in self._observer.events.since():
            if event.until >= recent and event.kind in kinds:
                happened[event.kind] = happened.get(event.kind, 0) + event.times
        wrong += [f"{kinds[kind]}: {times} in the last minute" for kind, times in happened.items()]
        if self._observer.retry_budget < 0.2:
            wrong.append("the retry budget is nearly used up: most calls fail at first")
        return wrong

    def _pool_data(self) -> dict[str, Any]:
        settings, stats = self._settings, self._stats()
        return {
            "settings": [*_rows(settings.pool, PoolSettings), *_own_rows(settings), *_connect_rows(settings)],
            "counters": [
                {"name": name, "value": getattr(stats, name), "meaning": meaning}
                for name, meaning in meanings(PoolStats).items()
                if stats is not None and name in _COUNTED
            ],
            "closed": [
                {"reason": reason, "connections": times, "kind": kind}
                for kind, counts in (("unfit", stats.discarded), ("by rule", stats.retired))
                for reason, times in sorted(counts.items())
            ]
            if stats is not None
            else [],
        }

    def _statements(self, query: Mapping[str, str]) -> dict[str, Any]:
        only(query, ("order", "limit"))
        order = query.get("order", "run")
        if order not in ORDERS:
            raise Refusal(400, f"order must be one of {', '.join(ORDERS)}")
        found = self._observer.statements(order, number(query, "limit", _LIMIT, low=1, high=1000))
        return {
            "since": found.since,
            "purged": found.purged,
            "unread": found.unread,
            "run_seconds": found.run_seconds,
            "statements": [_brief(statement) for statement in found],
        }

    def _statement(self, name: str) -> dict[str, Any]:
        found = next((each for each in self._observer.statements() if each.id == name), None)
        if found is None:
            raise Refusal(404, "no statement has this id (any more)")
        bounds = [*(bound * 1000 for bound in BOUNDS), None]
        return {
            **_brief(found),
            "errors_by_verdict": dict(found.errors_by_verdict),
            "errors_by_code": dict(found.errors_by_code),
            "retries_by_verdict": dict(found.retries_by_verdict),
            "batched": found.batched,
            "texts": found.texts,
            "first_at": found.first_at,
            "longest": found.longest,
            "longest_at": found.longest_at,
            "histogram": [[bound, count] for bound, count in zip(bounds, found.counts, strict=True) if count],
            "explain": f"EXPLAIN {found.digest}" if found.verb in {"SELECT", "WITH"} else None,
        }

    def _slow(self) -> list[dict[str, Any]]:
        return [self._event(event) for event in reversed(self._observer.events.since(kind="slow"))]

    def _errors(self) -> list[dict[str, Any]]:
        found = sorted(self._observer.errors.copy().items(), key=lambda item: (item[0][0] != "unknown", -item[1]))
        return [
            {
                "verdict": verdict,
                "code": code,
                "calls": calls,
                "means": _VERDICTS.get(verdict, ""),
                "reason": _REASONS.get(code, ""),
            }
            for (verdict, code), calls in found
        ]

    def _borrowed(self) -> list[dict[str, Any]]:
        pools = self._pools()
        if pools is None:
            return []
        frames, rows = sys._current_frames(), []
        for loan, out in pools.loans_out():
            stack = _stack(frames.get(loan.thread.ident or 0))
            rows.append(
                {
                    "thread": out.thread,
                    "seconds": round(out.seconds, 3),
                    "connection": getattr(getattr(loan, "connection", None), "server_thread_id", (None,))[0],
                    "statement": _running(frames.get(loan.thread.ident or 0)),
                    "place": short_place(out.place[0]) if out.place else "",
                    "stack": stack,
                }
            )
        return rows

    def _hosts(self) -> list[dict[str, Any]]:
        parts = self._parts()
        return [] if parts is None else [dataclasses.asdict(status) for status in parts.cluster().hosts()]

    def _event(self, event: Any) -> dict[str, Any]:
        details = {**event.details}
        if details.get("place"):
            details["place"] = short_place(details["place"])
        shown = {"seq": event.seq, "at": event.at, "until": event.until, "kind": event.kind, "times": event.times}
        return {**shown, "details": details}


def monitor_of(observer: Observer, parts: Assembly, settings: Settings, **access: Any) -> Monitor:
    """Return the page of one pool, or of a cluster; *access* is that of `Monitor`."""
    source = LiveSource(observer, parts, settings)
    monitor = Monitor(source, **access)
    source.each_round(monitor.history.sample)
    return monitor


def _brief(statement: Statement) -> dict[str, Any]:
    """Return what a row of the table shows."""
    return {
        "id": statement.id,
        "digest": statement.digest,
        "summary": statement.summary,
        "share": round(statement.share, 6),
        "calls": statement.calls,
        "rows": statement.rows,
        "run_seconds": statement.run_seconds,
        "mean": statement.mean,
        "p50": statement.p50,
        "p99": statement.p99,
        "wait_share": statement.wait_share,
        "errors": statement.errors,
        "unknown": statement.unknown,
        "retries": statement.retries,
        "slow": statement.slow,
        "last_at": statement.last_at,
        "places": [short_place(place) for place in statement.places],
    }


def _rows(settings: Any, described: type, names: tuple[str, ...] = ()) -> list[dict[str, Any]]:
    found = meanings(described)
    return [
        {
            "name": field.name,
            "value": worded(getattr(settings, field.name)),
            "source": "default" if getattr(settings, field.name) == field.default else "given",
            "meaning": found.get(field.name, ""),
        }
        for field in dataclasses.fields(settings)
        if not names or field.name in names
    ]


def _own_rows(settings: Settings) -> list[dict[str, Any]]:
    names = ("deadline", "reset", "multiplex", "pipelining", "aware_datetimes", "statements", "slow_query_threshold")
    return _rows(settings, Settings, names)


def _connect_rows(settings: Settings) -> list[dict[str, Any]]:
    shown = {name: "***" if name in HIDDEN else worded(value) for name, value in sorted(settings.connect.items())}
    return [
        {"name": name, "value": value, "source": "given", "meaning": "of the driver"} for name, value in shown.items()
    ]


def _stack(frame: FrameType | None) -> list[str]:
    """Return where a thread is, innermost frame first."""
    found: list[str] = []
    while frame is not None and len(found) < _STACK:
        code = frame.f_code
        found.append(short_place(f"{code.co_filename}:{frame.f_lineno} in {code.co_name}"))
        frame = frame.f_back
    return found


def _running(frame: FrameType | None) -> str:
    """Return the normal form of the statement that a thread waits for now; empty if it waits for none.

    No query notes it, which would cost each of them time: it is looked up in the frames of the thread.
    """
    while frame is not None:
        if str(frame.f_globals.get("__name__", "")).startswith(("improved_db.wire", "improved_db.execution")):
            query = frame.f_locals.get("query")
            if isinstance(query, str) and query:
                return normal_form(query)
        frame = frame.f_back
    return ""
