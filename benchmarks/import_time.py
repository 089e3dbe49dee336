"""P10: how long ``import improved_db`` takes, beyond PyMySQL and tenacity, by ``python -X importtime``.

Knows this question. Does not know what is imported, or why.
"""

from __future__ import annotations

import re
import subprocess
import sys
from functools import partial

from harness import Bench, main

TASK = "import, beyond PyMySQL and tenacity"
BEFORE = "import pymysql.connections, pymysql.cursors, tenacity"


def measure(bench: Bench) -> None:
    _seconds("improved_db")  # compiles what has not been compiled yet
    runners = {
        "improved_db": partial(_seconds, "improved_db"),
        "PyMySQL itself": partial(_seconds, "pymysql", before=""),
        "tenacity itself": partial(_seconds, "tenacity", before=""),
    }
    bench.race(TASK, "ms", runners, rounds=bench.pick(11, 2))
    bench.target("P10", "import improved_db", bench.report.value(TASK, "improved_db"), 20.0, unit="ms")


def _seconds(module: str, before: str = BEFORE) -> float:
    """Return the milliseconds that importing *module* takes in a fresh interpreter."""
    command = [sys.executable, "-X", "importtime", "-c", f"{before}\nimport {module}"]
    said = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=True).stderr
    found = re.search(rf"\|\s+(\d+) \| {module}$", said, re.MULTILINE)
    if found is None:
        raise AssertionError(f"{module} is not among what was imported")
    return int(found[1]) / 1000


if __name__ == "__main__":
    main(measure)
