"""The observer: what the executor and the pool of one `ImprovedDb` tell goes to those who asked.

It holds neither of them, so that a pool that is dropped dies at once.

Knows who wants to hear what. Does not know connections, exporters or pages.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import weakref
from typing import TYPE_CHECKING, Any, Final

from improved_db import errors
from improved_db.clock import wall
from improved_db.errors import ConfigError, OutcomeUnknown
from improved_db.execution.observed import Call
from improved_db.logs import complain
from improved_db.observe.entry import Entry
from improved_db.observe.events import Events
from improved_db.observe.histogram import bucket, empty
from improved_db.observe.metrics import CODES, Times, living
from improved_db.observe.slow import SlowLog
from improved_db.observe.statement import Statements
from improved_db.observe.tally import Tally, code_of
from improved_db.observe.watch import Watch, watching
from improved_db.pool.fork import remember
from improved_db.sql.normal import identity, normal_form
from improved_db.sql.summary import summary

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from improved_db.execution.executor import Executor
    from improved_db.execution.observed import Times as Instants
    from improved_db.failures.raising import Failed
    from improved_db.observe.spool import Spool
    from improved_db.pool.pool import Pool
    from improved_db.pool.snapshot import PoolStats
    from improved_db.settings.settings import Settings

logger: logging.Logger = logging.getLogger("improved_db.observe")

_numbers = itertools.count()

#: By what `Observer.statements` orders, and how: the largest first.
ORDERS: Final[dict[str, str]] = {
    "run": "run_seconds",
    "wait": "wait_seconds",
    "calls": "calls",
    "rows": "rows",
    "mean": "mean",
    "p50": "p50",
    "p99": "p99",
    "longest": "longest",
    "errors": "errors",
    "retries": "retries",
    "slow": "slow",
    "last": "last_at",
}


class Observer:
    """Looks on for one `ImprovedDb`.

    Attributes:
        name: The pool's.
        database: The default database of its connections; empty if there is none.
        events: What happened.
        slow: The slow log.
        tally: The statistics of statements; None if they are not wanted.
        number: Later observers have higher ones.
        address: The server's host, or the path of its socket.
        port: Its TCP port; None for a socket.
        instrumented: Whether spans and metrics are made of its calls.
        on_measure: Hears how long waits, uses and openings took; or None.
        pool_times: How long waits ("wait"), uses ("use") and openings ("open") took.
        errors: Calls that failed, by verdict and code.
        retries: Retries, by verdict of the attempt before.
        slow_calls: How many calls were slow.
        unknown_calls: How many may or may not have been applied.
    """

    def __init__(self, settings: Settings, now: Callable[[], float], wall: Callable[[], float] = wall) -> None:
        """Look on, as *settings* say."""
        self.name: str = settings.pool.name
        self.database: str = settings.connect.database or ""
        self.events: Events = Events(wall)
        self.slow: SlowLog = SlowLog(self.name, self.database, now, self.events.add)
        self.tally: Tally | None = None
        self.number: int = next(_numbers)
        self.address: str = settings.connect.unix_socket or settings.connect.host
        self.port: int | None = None if settings.connect.unix_socket else settings.connect.port
        self.instrumented: bool = False
        self.on_measure: Callable[[str, float], object] | None = None
        self._now = now
        self._slow_after = float("inf") if settings.slow_query_threshold is None else settings.slow_query_threshold
        self._listeners: list[Callable[[Call], object]] = []
        self._watches: list[Watch] = []
        self._spool: Spool | None = None
        self._executors: list[Callable[[], Executor | None]] = []
        if settings.statements:
            self.tally = Tally(
                settings.statements,
                self.database,
                now=now,
                wall=wall,
                on_event=self.events.add,
                slow_after=self._slow_after,
                on_slow=self._on_slow,
            )
        self.begin_in_child()
        remember(self)
        living.add(self)

    def begin_in_child(self) -> None:
        """Begin with zeros, at first and in a forked child: what was counted is the parent's."""
        self.events.clear()
        self.pool_times: dict[str, Times] = {kind: Times(empty()) for kind in ("wait", "use", "open")}
        self.errors: dict[tuple[str, str], int] = {}
        self.retries: dict[str, int] = {}
        self.slow_calls: int = 0
        self.unknown_calls: int = 0

    def look_at(self, executor: Executor) -> None:
        """Let *executor* tell what it does; there is one for each lane."""
        self._executors.append(weakref.ref(executor))
        executor.observer = self
        executor.retrier.on_retry = self.retried
        self._choose()

    def look_at_pool(self, pool: Pool[Any]) -> None:
        """Let *pool* tell how long its waits, uses and openings take; there is one for each server."""
        pool.reports.measure = self._measure
        if os.environ.get("IMPROVED_DB_SPOOL"):
            from improved_db.observe import spool  # noqa: PLC0415  # most programs are one process

            self._spool = spool.shared()
            if self._spool is not None:
                pool.reports.on_round = self._spool.write_if_due

    def closing(self) -> None:
        """Hear that the pool is about to be closed: what it counted stays in the spool."""
        if self._spool is not None and self.is_open:
            from improved_db.observe import metrics, spool  # noqa: PLC0415  # as above

            name = next((name for name, observer in metrics.observers() if observer is self), self.name)
            values = metrics.of_pool(name, self, spool.STATEMENTS)
            living.discard(self)
            self._spool.closes(values)

    def _executor(self) -> Executor | None:
        """Return the executor of the primary, or of the one server; None if it is gone."""
        return self._executors[0]() if self._executors else None

    def _choose(self) -> None:
        """Give each executor the cheapest call that tells all that is wanted."""
        for executor in (each() for each in self._executors):
            if executor is not None:
                self._choose_for(executor)

    def _choose_for(self, executor: Executor) -> None:
        if self._listeners or self._watches:
            executor.note = self._note_for_all
        elif self.tally is not None:
            executor.note = self.tally.note
        else:
            executor.note = None if self._slow_after == float("inf") else self._note_slow

    # --- what the executor tells -----------------------------------------------------------------------------------

    def _note_slow(self, query: str, _args: object, times: Instants, result: Any) -> None:
        """Hear of a statement that succeeded at once, where only slow ones are wanted."""
        if times.ended_at - times.started_at >= self._slow_after:
            self._on_slow(self._entry(query), query, times, result)

    def _note_for_all(self, query: str, args: object, times: Instants, result: Any) -> None:
        """Hear of a statement that succeeded at once, where somewhat more is wanted than its statistics."""
        if self.tally is not None:
            self.tally.note(query, args, times, result)
        else:
            self._note_slow(query, args, times, result)
        self._tell(_succeeded(query, args, times, result))

    def _on_slow(self, entry: Entry, query: str, times: Instants, result: Any) -> None:
        self.slow_calls += 1
        try:
            self.slow.write(entry, _succeeded(query, None, times, result))
        except Exception:
            complain(logger, "pool %r: a slow statement could not be logged", self.name)

    def done(self, call: Call) -> None:
        """Hear that a call has ended, which was not a success at its first attempt, or no plain statement."""
        try:
            self._done(call)
        except Exception:
            complain(logger, "pool %r: a call could not be noted", self.name)

    def _done(self, call: Call) -> None:
        entry = self._entry(call.query) if self.tally is None else self.tally.done(call)
        code = "" if call.error is None else code_of(call.error)
        if call.error is not None:
            key = (call.verdict, code if code in CODES or hasattr(errors, code) else "other")
            self.errors[key] = self.errors.get(key, 0) + 1
            self.unknown_calls += call.verdict == "unknown"
        if isinstance(call.error, OutcomeUnknown):
            self.events.add("unknown", statement=entry.id, digest=entry.form, code=code)
        if call.wait + call.run >= self._slow_after:
            self.slow_calls += 1
            self.slow.write(entry, call, code)
        if self._listeners or self._watches:
            self._tell(call)

    def retried(self, failed: Failed, attempt: int, pause: float) -> None:
        """Hear that another attempt follows *failed*, the *attempt*-th, after *pause* seconds."""
        verdict = failed.verdict.value
        self.retries[verdict] = self.retries.get(verdict, 0) + 1
        code, name = code_of(failed.error), ""
        if failed.statement:  # of a connection that could not be opened nothing was sent: `_done` knows for what
            name = self._entry(failed.statement).id
            if self.tally is not None:
                self.tally.retried(failed.statement, verdict)
        self.events.add(
            "retry", fold=(name, verdict, code), statement=name, verdict=verdict, code=code, attempt=attempt,
            pause=round(pause, 3),
        )  # fmt: skip

    def _entry(self, query: str) -> Entry:
        form = normal_form(query)
        return Entry(identity(form, self.database), form, summary(query), "", self._now())

    def _tell(self, call: Call) -> None:
        for watch in watching.get():
            if watch in self._watches:
                self._let_hear(watch.hear, call)
        for listener in self._listeners:
            self._let_hear(listener, call)

    def _let_hear(self, listener: Callable[[Call], object], call: Call) -> None:
        try:
            listener(call)
        except Exception:
            complain(logger, "pool %r: a listener of calls failed", self.name)

    def _measure(self, kind: str, seconds: float) -> None:
        times = self.pool_times[kind]
        times.counts[bucket(seconds)] += 1
        times.seconds += seconds
        if self.on_measure is not None:
            try:
                self.on_measure(kind, seconds)
            except Exception:
                complain(logger, "pool %r: a listener of durations failed", self.name)

    # --- what others ask -------------------------------------------------------------------------------------------

    @property
    def is_open(self) -> bool:
        """Whether its pool is there and open."""
        executor = self._executor()
        return executor is not None and not executor.pool.closed

    @property
    def retry_budget(self) -> float:
        """Which part of the retry budget is left, from 0 to 1."""
        executor = self._executor()
        return 1.0 if executor is None else executor.retrier.budget.ratio

    @property
    def versions(self) -> tuple[str, str]:
        """The driver and its version, and what the server calls its version; empty before the first connection."""
        executor = self._executor()
        return ("", "") if executor is None else (executor.driver.name, executor.driver.server_version)

    def stats(self) -> PoolStats | None:
        """Return the pool's gauges and counters; None if the pool is gone."""
        executor = self._executor()
        return None if executor is None else executor.pool.stats()

    # --- who wants to hear -----------------------------------------------------------------------------------------

    def add_listener(self, listener: Callable[[Call], object]) -> None:
        """Let *listener* hear of every call that ends, in the caller's thread."""
        self._listeners.append(listener)
        self._choose()

    def remove_listener(self, listener: Callable[[Call], object]) -> None:
        """Let *listener* hear no more."""
        self._listeners = [each for each in self._listeners if each != listener]
        self._choose()

    def surround_transactions(
        self, around: Callable[[], contextlib.AbstractContextManager[Callable[[int], None]]] | None
    ) -> None:
        """Let *around* surround the attempts at each transaction of ours; None: nothing does."""
        executor = self._executor()
        if executor is not None:
            executor.around_transaction = around

    def comment_statements(self, comment: Callable[[bytes], bytes] | None) -> None:
        """Let *comment* append a comment to each statement; None: no more. Connections are replaced for it."""
        executor = self._executor()
        if executor is not None and not executor.pool.closed:
            executor.driver.comment_statements(comment)
            for pool in executor.pool.members():
                pool.drain()

    @contextlib.contextmanager
    def watch(self) -> Iterator[Watch]:
        """Count what the block runs."""
        watch = Watch()
        self._watches.append(watch)
        self._choose()
        token = watching.set((*watching.get(), watch))
        try:
            yield watch
        finally:
            watching.reset(token)
            self._watches.remove(watch)
            self._choose()

    def reset(self) -> None:
        """Begin the statistics of statements anew."""
        if self.tally is not None:
            self.tally.reset()

    def statements(self, order: str = "run", limit: int | None = None) -> Statements:
        """Return the statistics of statements; see `ImprovedDb.statements`."""
        if order not in ORDERS:
            raise ConfigError(f"order must be one of {', '.join(ORDERS)}, not {order!r}")
        if limit is not None and not (type(limit) is int and limit >= 1):
            raise ConfigError(f"limit must be a whole number, at least 1, or None for all statements, not {limit!r}")
        if self.tally is None:
            return Statements()
        found = self.tally.statements()
        name = ORDERS[order]
        chosen = Statements(sorted(found, key=lambda statement: -getattr(statement, name))[:limit])
        chosen.__dict__.update(found.__dict__)
        return chosen


def _succeeded(query: str, args: object, times: Instants, result: Any) -> Call:
    call = Call(query, args, started_at=times.started_at)
    call.took(times, result)
    return call.ends(times.ended_at)
