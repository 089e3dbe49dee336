"""P8: by how much the memory of a process grows while 2,000,000 rows pass through it.

Each is done in a process of its own: by how much its peak (VmHWM of Linux) lies above what it used when it was
connected and ready. Exits with an error where that is more than the target allows.

Knows this question. Does not know how rows are read or sent.
"""

from __future__ import annotations

import json
import re
import resource
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from harness import Bench, main

from improved_db import ImprovedDb

if TYPE_CHECKING:
    from collections.abc import Callable

LIMIT = 30.0  # MB
GROWTH = "growth of peak memory, by rows"
STREAM, ARROW = "improved_db.stream", "improved_db.stream_arrow"
EACH, LOAD = "improved_db.execute_each", "improved_db.exec_many, atomic=False"


def measure(bench: Bench) -> None:
    sizes = bench.pick((20_000, 200_000, 2_000_000), (2_000,))
    with bench.server() as options:
        with ImprovedDb(options) as db:
            db.execute_query("create table digits (n int primary key)")
            db.execute_query("insert into digits values (%s)", [(n,) for n in range(10)], exec_many=True)
            db.execute_query("create table flood (id int primary key, name varchar(40), share double) engine=InnoDB")
        for rows in sizes:
            for work in WORK:
                grown = _in_a_process(work, rows, options)
                bench.record(GROWTH, work, "MB", grown, x=rows)
                print(f"{work} {rows:,} rows: {grown:.1f} MB", file=sys.stderr, flush=True)
    for work in WORK:
        value = bench.report.value(GROWTH, work, sizes[-1])
        bench.target("P8", f"peak memory of 2,000,000 rows by {work}", value, LIMIT, unit="MB")
    bench.failed = any(each.outcome != "met" for each in bench.report.verdicts)


def _in_a_process(work: str, rows: int, options: dict[str, Any]) -> float:
    command = [sys.executable, __file__, "--child", work, str(rows), json.dumps(options)]
    return float(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)


# --- in the process of its own -------------------------------------------------------------------------------------


def child(work: str, rows: int, options: dict[str, Any]) -> None:
    """Do *work*, and print by how many MB the peak grew."""
    with ImprovedDb(options) as db:
        db.execute_query("truncate table flood")
        if work == ARROW:
            db.fetch_arrow("select 1")  # the libraries are not what is measured
        before = _status("VmRSS")
        done = WORK[work](db, rows)
        grown = _status("VmHWM") - before
    if done != rows:
        raise AssertionError(f"{done} rows instead of {rows}")
    print(grown)


def _stream(db: ImprovedDb, rows: int) -> int:
    with db.stream(_query(rows)) as each:
        return sum(1 for _ in each)


def _stream_arrow(db: ImprovedDb, rows: int) -> int:
    with db.stream_arrow(_query(rows)) as reader:
        return sum(batch.num_rows for batch in reader)


def _execute_each(db: ImprovedDb, rows: int) -> int:
    return sum(len(each) for each in db.execute_each("select %s, concat('row ', %s)", ((n, n) for n in range(rows))))


def _load(db: ImprovedDb, rows: int) -> int:
    made = ((n, f"customer number {n}", n / 7) for n in range(rows))
    return db.exec_many("insert into flood values (%s, %s, %s)", made, atomic=False).rowcount


WORK: Final[dict[str, Callable[[ImprovedDb, int], int]]] = {
    STREAM: _stream,
    ARROW: _stream_arrow,
    EACH: _execute_each,
    LOAD: _load,
}


def _query(rows: int) -> str:
    return f"select {_number(7)} as n, concat('row ', {_number(7)}), n0.n / 7e0 from {_digits(7)} limit {rows}"


def _number(digits: int) -> str:
    return "(" + " + ".join(f"n{place}.n * {10**place}" for place in range(digits)) + ")"


def _digits(digits: int) -> str:
    return ", ".join(f"digits n{place}" for place in range(digits))


def _status(name: str) -> float:
    """Return a line of the process's status in MB; where there is none, its peak, which an earlier one may hide."""
    status = Path("/proc/self/status")
    if status.exists():
        found = re.search(rf"{name}:\s+(\d+) kB", status.read_text(encoding="ascii", errors="replace"))
        assert found is not None
        return int(found[1]) / 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1 << 20) if sys.platform == "darwin" else peak / 1024


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2], int(sys.argv[3]), json.loads(sys.argv[4]))
    else:
        main(measure)
