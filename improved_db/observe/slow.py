"""The slow log: one line for a call that took too long, with where its time went, and without a value.

Of each statement at most one line is written in ten seconds; the next one says how many there were meanwhile. The
fields of a line are attributes of its log record too, for logs that are read by programs.

Knows calls that took long. Does not know how they are counted, or who reads the log.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

from improved_db.pool.loan import callers_place, describe_place

if TYPE_CHECKING:
    from collections.abc import Callable

    from improved_db.execution.observed import Call
    from improved_db.observe.entry import Entry

logger: logging.Logger = logging.getLogger("improved_db.slow")

#: Seconds between two lines about the same statement.
QUIET: Final = 10.0
#: Of how many statements it is remembered when they were last written about.
REMEMBERED: Final = 1_000


class SlowLog:
    """The slow log of one pool.

    Attributes:
        trace: Returns the trace id and the span id of the caller, in hexadecimal digits; None if spans are not asked
            for.
    """

    trace: Callable[[], tuple[str, str]] | None = None

    def __init__(self, pool: str, database: str, now: Callable[[], float], on_event: Callable[..., object]) -> None:
        self._pool = pool
        self._database = database
        self._now = now
        self._on_event = on_event
        self._quiet: dict[str, tuple[float, int]] = {}

    def write(self, entry: Entry, call: Call, code: str = "") -> None:
        """Write about a slow call of the statement *entry*; *code* is that of its error."""
        place = next(iter(describe_place(callers_place(), None)), "")
        times = {"seconds": call.wait + call.run, "wait": call.wait, "run": call.run, "rows": call.rows}
        rounded = {name: round(value, 6) for name, value in times.items()}
        self._on_event(
            "slow",
            fold=(entry.id, place),
            statement=entry.id,
            digest=entry.form,
            **rounded,
            attempts=call.attempts,
            verdict=call.verdict,
            place=place,
        )
        more = self._may_write(entry.id)
        if more is None or not logger.isEnabledFor(logging.WARNING):
            return
        trace_id, span_id = ("", "") if self.trace is None else self.trace()
        extra: dict[str, Any] = {
            "db_pool": self._pool,
            "db_digest": entry.id,
            "db_statement": entry.form,
            "db_summary": entry.summary,
            "db_namespace": self._database,
            "duration_s": rounded["seconds"],
            "wait_s": rounded["wait"],
            "run_s": rounded["run"],
            "rows": call.rows,
            "attempts": call.attempts,
            "verdict": call.verdict,
            "error_code": code,
            "place": place,
            "trace_id": trace_id,
            "span_id": span_id,
        }
        logger.warning(
            "slow: %.2f s (%.2f wait, %.2f run, %d attempt%s), %d rows%s: %s%s%s",
            times["seconds"],
            call.wait,
            call.run,
            call.attempts,
            "" if call.attempts == 1 else "s",
            call.rows,
            f", {call.verdict} {code}".rstrip() if call.verdict else "",
            entry.form,
            f" at {place}" if place else "",
            f" (and {more} more)" if more else "",
            extra=extra,
        )

    def _may_write(self, name: str) -> int | None:
        """Return how often nothing was written about a statement since its last line; None if it is too early."""
        now = self._now()
        until, silent = self._quiet.get(name, (now, 0))
        if now < until:
            self._quiet[name] = (until, silent + 1)
            return None
        if len(self._quiet) >= REMEMBERED:
            self._quiet.clear()
        self._quiet[name] = (now + QUIET, 0)
        return silent
