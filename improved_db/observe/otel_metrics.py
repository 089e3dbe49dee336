"""The pool metrics of OpenTelemetry's conventions, and counters of our own, read when they are exported.

An instrument may be made once for each provider; several pools share it.

Knows the names of the instruments. Does not know spans, or how a number comes about.
"""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from opentelemetry.metrics import CallbackOptions, Observation

from improved_db._version import __version__
from improved_db.observe import metrics as ours

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from opentelemetry.metrics import Histogram, Meter, MeterProvider

    from improved_db.db import ImprovedDb
    from improved_db.observe.observer import Observer
    from improved_db.pool.snapshot import PoolStats

POOL: Final = "db.client.connection.pool.name"
STATE: Final = "db.client.connection.state"
OPENINGS: Final = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0)
WAITS: Final = (0.0001, 0.0005, *OPENINGS)

Told = "Iterator[tuple[float, dict[str, str]]]"


class _Shown(NamedTuple):
    """One pool that is shown."""

    observer: weakref.ref[Observer]
    gauges: bool
    stop: Callable[[], object]


def _used(stats: PoolStats, _: Observer) -> Iterator[tuple[float, dict[str, str]]]:
    yield stats.idle, {STATE: "idle"}
    yield stats.used, {STATE: "used"}


def _closed(stats: PoolStats, _: Observer) -> Iterator[tuple[float, dict[str, str]]]:
    for reason, number in (*stats.retired.items(), *stats.discarded.items()):
        yield number, {"reason": reason}


def _retries(_: PoolStats, observer: Observer) -> Iterator[tuple[float, dict[str, str]]]:
    for verdict, number in observer.retries.copy().items():
        yield number, {"verdict": verdict}


def _number(ask: Callable[[PoolStats, Observer], float]) -> Any:
    def told(stats: PoolStats, observer: Observer) -> Iterator[tuple[float, dict[str, str]]]:
        yield ask(stats, observer), {}

    return told


#: Name, unit, whether it only grows, what it says, and where it comes from.
OBSERVED: Final[tuple[tuple[str, str, bool, str, Any], ...]] = (
    ("db.client.connection.count", "{connection}", False, "Connections in this state.", _used),
    ("db.client.connection.max", "{connection}", False, "Connections allowed.", _number(lambda s, _: s.max_size)),
    ("db.client.connection.idle.max", "{connection}", False, "Idle ones allowed.", _number(lambda s, _: s.max_size)),
    ("db.client.connection.idle.min", "{connection}", False, "Connections kept.", _number(lambda s, _: s.min_size)),
    (
        "db.client.connection.pending_requests",
        "{request}",
        False,
        "Callers that wait.",
        _number(lambda s, _: s.waiting),
    ),
    ("db.client.connection.timeouts", "{timeout}", True, "Callers that got none.", _number(lambda s, _: s.timed_out)),
    ("improved_db.connections_closed", "{connection}", True, "Connections closed, by reason.", _closed),
    ("improved_db.leaks", "{connection}", True, "Connections held for too long.", _number(lambda s, _: s.leaks)),
    ("improved_db.retries", "{retry}", True, "Retries, by verdict of the attempt before.", _retries),
    (
        "improved_db.outcomes_unknown",
        "{call}",
        True,
        "Calls that may be applied.",
        _number(lambda _, o: o.unknown_calls),
    ),
    ("improved_db.slow_statements", "{call}", True, "Slow calls.", _number(lambda _, o: o.slow_calls)),
)


class PoolMetrics:
    """The instruments of one provider, and the pools that they show."""

    def __init__(self, meter: Meter) -> None:
        self._pools: list[_Shown] = []
        self._meter = meter
        for name, unit, grows, description, ask in OBSERVED:
            make = meter.create_observable_counter if grows else meter.create_observable_up_down_counter
            make(name, callbacks=[self._callback(ask)], unit=unit, description=description)
        self._opened = self._histogram("create_time", "The time it took to create a new connection.", OPENINGS)
        self._times: _Times | None = None

    def _histogram(self, name: str, description: str, bounds: tuple[float, ...]) -> Histogram:
        return self._meter.create_histogram(
            f"db.client.connection.{name}",
            unit="s",
            description=description,
            explicit_bucket_boundaries_advisory=bounds,
        )

    def _callback(self, ask: Any) -> Callable[[CallbackOptions], Iterable[Observation]]:
        def observe(_: CallbackOptions) -> Iterator[Observation]:
            for name, observer in self._shown():
                stats = observer.stats()
                if stats is not None:
                    for value, attributes in ask(stats, observer):
                        yield Observation(value, {POOL: name, **attributes})

        return observe

    def _shown(self) -> list[tuple[str, Observer]]:
        self._pools = [shown for shown in self._pools if shown.observer() is not None]
        shown = {shown.observer() for shown in self._pools if shown.gauges}
        return [(name, observer) for name, observer in ours.observers() if observer in shown]

    def add(self, observer: Observer, db: ImprovedDb | None, *, gauges: bool) -> _Shown:
        """Show the pool of *observer*; if *db* is given, record its waits and uses, too."""
        name, opened = observer.name, self._opened

        def measured(kind: str, seconds: float) -> None:
            if kind == "open":
                opened.record(seconds, {POOL: name})

        observer.on_measure = measured if gauges else None
        listener: _Times | None = None
        if db is not None:
            if self._times is None:
                self._times = _Times(
                    self._histogram("wait_time", "The time it took to obtain an open connection.", WAITS),
                    self._histogram("use_time", "The time between borrowing a connection and returning it.", WAITS),
                )
            listener = self._times
            db.add_listener(listener)
        # Weakly, because the instruments outlive the pools that they show.
        looking = weakref.ref(observer)
        having = None if db is None else weakref.ref(db)

        def stop() -> None:
            looks, has = looking(), None if having is None else having()
            if looks is not None:
                looks.on_measure = None
            if has is not None and listener is not None:
                has._pool.remove_listener(listener)

        shown = _Shown(looking, gauges, stop)
        self._pools.append(shown)
        return shown

    def remove(self, shown: _Shown) -> None:
        """Show a pool no more."""
        shown.stop()
        self._pools = [each for each in self._pools if each is not shown]


class _Times:
    """A listener of the pool that records waits and uses."""

    def __init__(self, waits: Histogram, uses: Histogram) -> None:
        self._waits = waits
        self._uses = uses

    def waited(self, pool: str, seconds: float) -> None:
        """Record a wait."""
        self._waits.record(seconds, {POOL: pool})

    def used(self, pool: str, seconds: float) -> None:
        """Record a use."""
        self._uses.record(seconds, {POOL: pool})

    def created(self, pool: str, seconds: float) -> None:
        """Leave it to the other instrument."""


_by_provider: weakref.WeakKeyDictionary[MeterProvider, PoolMetrics] = weakref.WeakKeyDictionary()


def pool_metrics(provider: MeterProvider) -> PoolMetrics:
    """Return the instruments of *provider*, made with the first use."""
    if provider not in _by_provider:
        _by_provider[provider] = PoolMetrics(provider.get_meter("improved_db", __version__))
    return _by_provider[provider]
