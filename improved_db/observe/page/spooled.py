"""The data of a page about all processes that write into one folder.

Knows the metrics of a spool. Does not know HTTP, or how a page looks.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from improved_db.clock import wall
from improved_db.observe.histogram import COARSE
from improved_db.observe.metrics import BY_NAME
from improved_db.observe.page.answer import Refusal, only
from improved_db.observe.page.history import Numbers

if TYPE_CHECKING:
    from collections.abc import Mapping

    from improved_db.observe.metrics import Values
    from improved_db.observe.spool import Spool

_TOP: Final = 100
_POOL: Final = "improved_db_pool_"


class SpooledSource:
    """What several processes do.

    Attributes:
        title: The folder.
        tabs: The parts of the page.
    """

    def __init__(self, spool: Spool) -> None:
        self.title: str = str(spool.folder)
        self.tabs: tuple[str, ...] = ("overview", "pool", "statements", "errors")
        self._spool = spool

    def numbers(self) -> Numbers:
        """Return the gauges and sums of now, of all pools and processes."""
        return numbers_of(self._spool.values())

    def quantile(self, counts: tuple[int, ...], share: float) -> float:
        """Return the duration of a share of the calls in a histogram."""
        return quantile_of(counts, share)

    def data(self, name: str, query: Mapping[str, str]) -> Any:
        """Return the data of a tab.

        Raises:
            Refusal: There is no such tab, or a parameter is invalid.
        """
        only(query, ("order", "limit") if name == "statements" else ())
        values = self._spool.values(_TOP)
        if name == "overview":
            return _overview(values)
        if name == "pool":
            return {"settings": [], "counters": _counters(values), "closed": _closed(values)}
        if name == "statements":
            rows = statements_of(values)
            return {"since": None, "purged": 0, "unread": False, "statements": rows}
        if name == "errors":
            return [
                {"verdict": labels[1], "code": labels[2], "calls": calls, "means": "", "reason": ""}
                for labels, calls in sorted(_samples(values, "improved_db_statement_errors_total").items())
            ]
        raise Refusal(404, "there is nothing here; data/overview says what there is")


def quantile_of(counts: tuple[int, ...], share: float) -> float:
    """Return the duration of a share of the calls in a histogram, within its few bounds."""
    rank, below = share * sum(counts), 0
    for at, count in enumerate(counts):
        if count and below + count >= rank:
            lower, upper = (COARSE[at - 1] if at else 0.0), COARSE[min(at, len(COARSE) - 1)]
            return lower + (max(upper, lower) - lower) * max(rank - below, 0.0) / count
        below += count
    return 0.0


def numbers_of(values: Values) -> Numbers:
    """Return the gauges and sums in the metrics of all pools."""
    states: Counter[str] = Counter()
    for labels, number in _samples(values, f"{_POOL}connections").items():
        states[labels[1]] += number
    counts, calls = [0] * (len(COARSE) + 1), 0
    for histogram in _samples(values, "improved_db_statement_seconds").values():
        before = 0
        for at, below in enumerate((*histogram.counts, histogram.number)):
            counts[at] += below - before
            before = below
        calls += histogram.number
    return Numbers(
        states["used"],
        states["idle"],
        _sum(values, f"{_POOL}waiting"),
        calls,
        _sum(values, "improved_db_statement_errors_total"),
        _sum(values, "improved_db_retries_total"),
        _sum(values, "improved_db_rows_total"),
        tuple(counts),
    )


def statements_of(values: Values) -> list[dict[str, Any]]:
    """Return the statements that are series of their own, by their run seconds."""
    seconds = _samples(values, "improved_db_top_statement_seconds_total")
    calls, errors = (_samples(values, f"improved_db_top_statement_{name}_total") for name in ("calls", "errors"))
    summaries = {labels[:2]: labels[2] for labels in _samples(values, "improved_db_top_statement_info")}
    total = sum(seconds.values()) or 1.0
    return [
        {
            "id": labels[1],
            "pool": labels[0],
            "summary": summaries.get(labels, ""),
            "digest": summaries.get(labels, ""),
            "share": ran / total,
            "calls": calls.get(labels, 0),
            "run_seconds": ran,
            "mean": ran / (calls.get(labels) or 1),
            "errors": errors.get(labels, 0),
        }
        for labels, ran in sorted(seconds.items(), key=lambda item: -item[1])
    ]


def size_of(values: Values) -> int:
    """Return how many connections the pools of all processes may have."""
    return _sum(values, f"{_POOL}max_connections")


def _overview(values: Values) -> dict[str, Any]:
    numbers = numbers_of(values)
    wrong = []
    if numbers.waiting:
        wrong.append(f"{numbers.used} of {size_of(values)} connections are in use and {numbers.waiting} callers wait")
    versions = sorted({labels[3] for labels in _samples(values, "improved_db_info")})
    return {
        "now": wall(),
        "driver": "",
        "server": ", ".join(filter(None, versions)),
        "pool": {"used": numbers.used, "idle": numbers.idle, "waiting": numbers.waiting, "max_size": size_of(values)},
        "slow": _sum(values, "improved_db_slow_statements_total"),
        "unknown": _sum(values, "improved_db_outcomes_unknown_total"),
        "wrong": wrong,
    }


def _counters(values: Values) -> list[dict[str, Any]]:
    return [
        {"name": f"{labels[0]}: {name.removeprefix(_POOL)}", "value": value, "meaning": BY_NAME[name].help}
        for name, samples in values.items()
        if name.startswith(_POOL) and BY_NAME[name].kind == "counter" and not BY_NAME[name].labels
        for labels, value in sorted(samples.items())
    ]


def _closed(values: Values) -> list[dict[str, Any]]:
    found = sorted(_samples(values, f"{_POOL}connections_closed_total").items())
    return [{"reason": labels[2], "kind": labels[1], "connections": number} for labels, number in found]


def _samples(values: Values, name: str) -> dict[tuple[str, ...], Any]:
    return values.get(name, {})


def _sum(values: Values, name: str) -> int:
    return int(sum(_samples(values, name).values()))
