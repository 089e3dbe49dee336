"""P10: how long ``import improved_db`` takes, beyond PyMySQL and tenacity, by ``python -X importtime``.

Everything is compiled beforehand, into a temporary folder, as it is on the second import of any installed package.

Knows this question. Does not know what is imported, or why.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from functools import partial

from harness import Bench, main

TASK = "import, beyond PyMySQL and tenacity"
BEFORE = "import pymysql.connections, pymysql.cursors, tenacity"


def measure(bench: Bench) -> None:
    with tempfile.TemporaryDirectory() as compiled:
        runners = {
            "improved_db": partial(_milliseconds, "improved_db", compiled, before=BEFORE),
            "PyMySQL itself": partial(_milliseconds, "pymysql", compiled),
            "tenacity itself": partial(_milliseconds, "tenacity", compiled),
        }
        for compile_all in runners.values():
            compile_all()
        bench.race(TASK, "ms", runners, rounds=bench.pick(11, 2))
    bench.target("P10", "import improved_db", bench.report.value(TASK, "improved_db"), 20.0, unit="ms")


def _milliseconds(module: str, compiled: str, before: str = "") -> float:
    """Return how long importing *module* takes in a fresh interpreter, with what is in the folder *compiled*."""
    command = [sys.executable, "-X", "importtime", "-c", f"{before}\nimport {module}"]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment["PYTHONPYCACHEPREFIX"] = compiled
    said = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=True, env=environment).stderr
    found = re.search(rf"\|\s+(\d+) \| {module}$", said, re.MULTILINE)
    if found is None:
        raise AssertionError(f"{module} is not among what was imported")
    return int(found[1]) / 1000


if __name__ == "__main__":
    main(measure)
