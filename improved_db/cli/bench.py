"""``improved-db bench``: how many queries a second, and how long each takes.

A closed loop: each thread sends its next query when it has the answer to the last one.

Knows threads and durations. Does not know what the statement means.
"""

from __future__ import annotations

import math
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from improved_db.cli.address import add_address, opened, positive, seconds
from improved_db.cli.ending import Exit, Failure
from improved_db.cli.formats import FORMATS, write_rows
from improved_db.sql.statement import is_read_only

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from improved_db import ImprovedDb
    from improved_db.cli.console import Console

HELP = "Run one query from several threads, and say how many a second and how long each takes."
USAGE = "[options]"
_STEP: Final = math.log(1.02)  # durations are counted in steps of 2 %
_BAR: Final = 40


def add_arguments(parser: ArgumentParser) -> None:
    """Add the command's own options."""
    parser.add_argument("--sql", default="select 1", metavar="SQL", help="the query (select 1)")
    parser.add_argument("--write", action="store_true", help="also run a statement that may change something")
    parser.add_argument("-t", "--threads", type=positive, default=8, metavar="N", help="threads (8)")
    parser.add_argument("-s", "--seconds", type=seconds, default=10.0, metavar="SECONDS", help="how long (10)")
    parser.add_argument("--pool", type=positive, metavar="N", help="connections (as many as threads)")
    parser.add_argument("--histogram", action="store_true", help="show the durations as bars instead")
    parser.add_argument("--format", choices=FORMATS, default="auto", help="auto: a table on a terminal, else csv")
    add_address(parser)


def run(args: Namespace, console: Console) -> int:
    """Measure."""
    if not args.write and not is_read_only(args.sql):
        raise Failure("this statement may change something; add --write to allow that", Exit.USAGE)
    size = args.pool or args.threads
    with opened(args, console, max_size=size, min_size=0) as db:
        db.create_pool(size)
        before = db.stats()
        began = time.monotonic()
        counts = _run_threads(db, args, began + args.seconds)
        took = time.monotonic() - began
        waited = db.stats().wait_seconds - before.wait_seconds
    if args.histogram:
        write_rows(console, args.format, ("up to", "queries", "share"), _bars(counts))
        return Exit.OK
    queries = sum(counts.values())
    rows: list[tuple[str, Any]] = [
        ("threads", args.threads),
        ("connections", size),
        ("queries", queries),
        ("queries per second", round(queries / took)),
        *((f"p{share:g} ms", _milliseconds(counts, share / 100)) for share in (50, 90, 99, 99.9)),
        ("waiting for a connection", f"{100 * waited / (took * args.threads):.1f} %"),
    ]
    write_rows(console, args.format, ("what", "value"), rows)
    return Exit.OK


def _run_threads(db: ImprovedDb, args: Namespace, until: float) -> Counter[int]:
    total: Counter[int] = Counter()
    errors: list[BaseException] = []
    ended = threading.Event()

    def work(mine: Counter[int]) -> None:
        now = time.monotonic
        try:
            while (began := now()) < until and not ended.is_set():
                db.execute_query(args.sql)
                mine[int(math.log(max(now() - began, 1e-6)) / _STEP)] += 1
        except Exception as error:
            errors.append(error)
            ended.set()

    parts: list[Counter[int]] = [Counter() for _ in range(args.threads)]
    threads = [threading.Thread(target=work, args=(part,), name=f"bench {at}") for at, part in enumerate(parts)]
    for thread in threads:
        thread.start()
    try:
        for thread in threads:
            thread.join()
    finally:
        ended.set()
    if errors:
        raise errors[0]
    for part in parts:
        total.update(part)
    return total


def _milliseconds(counts: Counter[int], share: float) -> float:
    """Return the duration that this share of the queries did not exceed; it is right within 2 %."""
    left = share * sum(counts.values())
    for step in sorted(counts):
        left -= counts[step]
        if left <= 0:
            return float(f"{1000 * math.exp((step + 1) * _STEP):.3g}")
    return 0.0


def _bars(counts: Counter[int]) -> list[tuple[str, int, str]]:
    """Return the durations in a series of 1, 2, 5, 10, from the shortest to the longest."""
    binned: Counter[float] = Counter()
    bounds = [digit * 10.0**power for power in range(-6, 4) for digit in (1, 2, 5)]
    for step, count in counts.items():
        longest = math.exp(step * _STEP)
        binned[next((bound for bound in bounds if longest <= bound), bounds[-1])] += count
    most = max(binned.values(), default=1)
    return [
        (f"{bound * 1000:g} ms", binned[bound], "#" * math.ceil(_BAR * binned[bound] / most))
        for bound in sorted(binned)
    ]
