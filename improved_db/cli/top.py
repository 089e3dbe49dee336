"""``improved-db top``: what runs now and what it costs, again and again: of processes with a spool, or of a server.

Knows what a frame says. Does not know how a terminal shows one.
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from improved_db.cli.address import add_address, opened, positive, seconds
from improved_db.cli.cells import padded, shown, width
from improved_db.cli.ending import Exit
from improved_db.cli.monitor import add_spool, spool_of
from improved_db.cli.screen import Screen
from improved_db.observe.page.spooled import numbers_of, quantile_of, size_of, statements_of
from improved_db.sql.normal import normal_form

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Sequence

    from improved_db import ImprovedDb
    from improved_db.cli.console import Console
    from improved_db.observe.spool import Spool

HELP = "Show what runs now and what it costs: of all processes with a spool folder, or of a server."
USAGE = "[options]"
_TOP = 100


def add_arguments(parser: ArgumentParser) -> None:
    """Add the command's own options."""
    add_spool(parser)
    parser.add_argument("-i", "--interval", type=seconds, default=2.0, metavar="SECONDS", help="between two looks (2)")
    parser.add_argument("--once", action="store_true", help="show one interval and end; so it is in a pipe")
    parser.add_argument("--stat", action="store_true", help="a line for each interval, for a log")
    parser.add_argument("--count", type=positive, metavar="N", help="end after N intervals")
    add_address(parser)


class Frame(NamedTuple):
    """What happened in one interval.

    Attributes:
        summary: Names and values, for the first lines.
        columns: The names of the table's columns.
        rows: The table; the first column decides the order, the last is the widest.
    """

    summary: dict[str, str]
    columns: Sequence[str]
    rows: list[tuple[Any, ...]]


class Source(Protocol):
    """Where frames come from."""

    def frame(self) -> Frame:
        """Return what has happened since the last one."""


class OfSpool:
    """All processes that write into one folder."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._at = time.monotonic()
        self._values = spool.values(_TOP)

    def frame(self) -> Frame:
        """Return what has happened since the last one, or since this object was made."""
        now, values = time.monotonic(), self._spool.values(_TOP)
        took, self._at = max(now - self._at, 1e-3), now
        old, new = numbers_of(self._values), numbers_of(values)
        counts = tuple(max(later - earlier, 0) for later, earlier in zip(new.counts, old.counts, strict=True))
        summary = {
            "used": f"{new.used}/{size_of(values)}",
            "waiting": str(new.waiting),
            "calls/s": _rate(new.calls - old.calls, took),
            "errors/s": _rate(new.errors - old.errors, took),
            "retries/s": _rate(new.retries - old.retries, took),
            "p50": f"{quantile_of(counts, 0.5) * 1000:.3g} ms",
            "p99": f"{quantile_of(counts, 0.99) * 1000:.3g} ms",
        }
        before = {(row["pool"], row["id"]): row for row in statements_of(self._values)}
        self._values = values
        ran = []
        for row in statements_of(values):
            earlier = before.get((row["pool"], row["id"]), {})
            grown = {name: row[name] - earlier.get(name, 0) for name in ("run_seconds", "calls", "errors")}
            if grown["calls"] > 0:
                ran.append((grown["run_seconds"], grown["calls"], grown["errors"], row["summary"]))
        total = sum(each[0] for each in ran) or 1.0
        rows = [
            (round(100 * run / total, 1), round(calls / took, 1), round(1000 * run / calls, 3), errors, text)
            for run, calls, errors, text in sorted(ran, reverse=True)
        ]
        return Frame(summary, ("share %", "calls/s", "mean ms", "errors", "statement"), rows)


class OfServer:
    """The sessions of one server, as it tells them itself."""

    def __init__(self, db: ImprovedDb) -> None:
        self._db = db
        self._at = time.monotonic()
        self._status = self._asked()

    def _asked(self) -> dict[str, str]:
        return {name.lower(): value for name, value in self._db.execute_query("show global status")}

    def frame(self) -> Frame:
        """Return what has happened since the last one, and what runs now."""
        now, status = time.monotonic(), self._asked()
        took, self._at = max(now - self._at, 1e-3), now

        def grown(name: str) -> int:
            return int(status.get(name, 0)) - int(self._status.get(name, 0))

        summary = {
            "sessions": status.get("threads_connected", ""),
            "running": status.get("threads_running", ""),
            "questions/s": _rate(grown("questions"), took),
            "slow/s": _rate(grown("slow_queries"), took),
            "locks/s": _rate(grown("innodb_row_lock_waits"), took),
        }
        self._status = status
        asked = (
            "select time, id, user, coalesce(db, ''), coalesce(state, ''), info from information_schema.processlist"
            " where info is not null and id <> connection_id() order by time desc"
        )
        rows = [(*row[:5], normal_form(row[5])) for row in self._db.execute_query(asked)]
        return Frame(summary, ("seconds", "id", "user", "database", "state", "statement"), rows)


def _rate(grown: int, took: float) -> str:
    return f"{max(grown, 0) / took:.1f}"


def lines_of(frame: Frame, columns: int, rows: int | None = None, sort: int = 0) -> list[str]:
    """Return a frame as lines of a terminal that has so many columns, and rows (None: as many as there are).

    Args:
        frame: What happened.
        columns: The width of the terminal.
        rows: Its height.
        sort: The column to sort by, the largest first.
    """
    head = "  ".join(f"{name} {value}" for name, value in frame.summary.items())
    chosen = sorted(frame.rows, key=lambda row: row[sort], reverse=True) if sort else frame.rows
    chosen = chosen[: None if rows is None else max(rows - 4, 0)]
    texts = [[shown(cell) for cell in row] for row in chosen]
    names = [f"{name}*" if at == sort else name for at, name in enumerate(frame.columns)]
    widths = [max(map(width, column)) for column in zip(names, *texts, strict=True)]
    last = len(names) - 1

    def line(cells: Sequence[str]) -> str:
        fitted = [
            padded(cell, wide, right=at < last and not isinstance(kind, str))
            for at, (cell, wide, kind) in enumerate(
                zip(cells, widths, frame.rows[0] if frame.rows else names, strict=True)
            )
        ]
        return _cut("  ".join(fitted).rstrip(), columns)

    return [_cut(head, columns), "", line(names), *map(line, texts)]


def _cut(text: str, columns: int) -> str:
    while width(text) > columns:
        text = text[: columns - (width(text) - len(text)) - 1] + "~"
    return text


def run(args: Namespace, console: Console) -> int:
    """Look again and again."""
    spool = spool_of(args)
    with contextlib.ExitStack() as open_:
        source: Source
        if spool is not None:
            source = OfSpool(spool)
        else:
            source = OfServer(open_.enter_context(opened(args, console, max_size=1, min_size=0)))
        if args.stat:
            _stat(source, args, console)
        elif args.once or not console.out_is_terminal:
            time.sleep(args.interval)
            for line in lines_of(source.frame(), 10_000):
                console.data(line)
        else:
            _watch(source, args, console)
    return Exit.OK


def _stat(source: Source, args: Namespace, console: Console) -> None:
    number = 0
    while args.count is None or number < args.count:
        time.sleep(args.interval)
        summary = source.frame().summary
        if number % 20 == 0:
            console.data("time      " + "  ".join(f"{name:>11}" for name in summary))
        console.data(time.strftime("%H:%M:%S  ") + "  ".join(f"{value:>11}" for value in summary.values()))
        console.out.flush()
        number += 1


def _watch(source: Source, args: Namespace, console: Console) -> None:
    """Show frames until ``q``: space pauses, + and - change the interval, s the order."""
    interval, sort, paused, number = args.interval, 0, False, 0
    frame = source.frame()
    with Screen(console) as screen:
        while args.count is None or number < args.count:
            columns, rows = screen.size()
            state = "paused" if paused else f"every {interval:g} s"
            screen.show([*lines_of(frame, columns, rows - 1, sort), "", f"{state}   space + - s q"][:rows])
            key = screen.key(interval)
            if key == "q":
                return
            if key == " ":
                paused = not paused
            elif key in {"+", "-"}:
                interval = min(max(interval * (2 if key == "+" else 0.5), 0.25), 60)
            elif key == "s":
                sort = (sort + 1) % (len(frame.columns) - 1)
            elif not key and not paused:
                frame = source.frame()
                number += 1
