"""Metrics for Prometheus: a collector for prometheus_client, and the same text without that package.

Both show every open pool of the process; a closed one vanishes. Where ``$IMPROVED_DB_SPOOL`` names a folder, both show
all processes that write there as one, whichever of them is asked.

Knows prometheus_client and its text format. Does not know how a number comes about.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

from improved_db.errors import ConfigError
from improved_db.observe import spool
from improved_db.observe.histogram import COARSE
from improved_db.observe.metrics import FAMILIES, TOP, Family, Labels, Values, own

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client.metrics_core import Metric
    from prometheus_client.registry import Collector

#: What `text` is, for the header of an answer over HTTP.
CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
#: How many statements may be series of their own.
MOST: Final = 100


def collector(*, top: int = 0) -> Collector:
    """Return a collector for ``prometheus_client.REGISTRY.register``, of every open pool of this process.

    Args:
        top: How many of the statements with the longest run seconds are series of their own, at most 100.

    Raises:
        ConfigError: *top* is invalid.
        ImportError: prometheus_client is not installed; ``pip install improved-db[prometheus]`` brings it.
    """
    from prometheus_client import metrics_core  # noqa: PLC0415  # an extra

    _check(top)
    return cast("Collector", _Pools(metrics_core, top))


class _Pools:
    """The collector: prometheus_client asks for nothing but its two methods."""

    def __init__(self, core: Any, top: int) -> None:
        self._core = core
        self._top = top

    def collect(self) -> Iterator[Metric]:
        """Yield every family with its values."""
        values = _values(self._top)
        for family in _families(self._top):
            yield _metric(self._core, family, values.get(family.name, {}))

    def describe(self) -> Iterator[Metric]:
        """Yield every family without values, so that no pool is asked when the collector is registered."""
        for family in _families(self._top):
            yield _metric(self._core, family, {})


def text(*, top: int = 0) -> str:
    """Return the same metrics in Prometheus' text format (`CONTENT_TYPE`); prometheus_client is not needed.

    Args:
        top: As for `collector`.

    Raises:
        ConfigError: *top* is invalid.
    """
    _check(top)
    values = _values(top)
    lines: list[str] = []
    for family in _families(top):
        lines += [f"# HELP {family.name} {family.help}", f"# TYPE {family.name} {_type(family)}"]
        lines += [line for sample in sorted(values.get(family.name, {}).items()) for line in _lines(family, *sample)]
    return "\n".join(lines) + "\n"


def _check(top: object) -> None:
    if type(top) is not int or not 0 <= top <= MOST:
        raise ConfigError(f"top must be a whole number from 0 to {MOST}, not {top!r}")


def _families(top: int) -> tuple[Family, ...]:
    return (*FAMILIES, *TOP) if top else FAMILIES


def _values(top: int) -> Values:
    shared = spool.shared()
    return own(top) if shared is None else shared.values(top)


def _metric(core: Any, family: Family, samples: dict[Labels, Any]) -> Metric:
    kinds = {
        "gauge": core.GaugeMetricFamily,
        "info": core.GaugeMetricFamily,
        "counter": core.CounterMetricFamily,
        "histogram": core.HistogramMetricFamily,
    }
    made = kinds[family.kind](family.name, family.help, labels=["pool", *family.labels])
    for labels, value in sorted(samples.items()):
        if family.kind == "histogram":
            buckets = [(_number(bound), count) for bound, count in zip(COARSE, value.counts, strict=True)]
            made.add_metric(labels, [*buckets, ("+Inf", value.number)], value.seconds)
        else:
            made.add_metric(labels, value)
    metric: Metric = made
    return metric


def _type(family: Family) -> str:
    return "gauge" if family.kind == "info" else family.kind


def _lines(family: Family, labels: Labels, value: Any) -> Iterator[str]:
    named = list(zip(("pool", *family.labels), labels, strict=True))
    if family.kind != "histogram":
        yield f"{family.name}{_labels(named)} {_number(value)}"
        return
    for bound, count in zip(COARSE, value.counts, strict=True):
        yield f"{family.name}_bucket{_labels([*named, ('le', _number(bound))])} {_number(count)}"
    yield f"{family.name}_bucket{_labels([*named, ('le', '+Inf')])} {_number(value.number)}"
    yield f"{family.name}_count{_labels(named)} {_number(value.number)}"
    yield f"{family.name}_sum{_labels(named)} {_number(value.seconds)}"


def _labels(named: list[tuple[str, str]]) -> str:
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in named) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def _number(value: float) -> str:
    return repr(float(value))
