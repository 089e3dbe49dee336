"""Run every script, each in a process of its own, and keep what they found: JSON, a table, pictures.

    python benchmarks/run.py [--quick] [--output FOLDER] [SCRIPT ...]

Fails where a script fails, or the memory grows beyond its target; a missed target of time is reported only.

Knows the scripts' names and their reports. Does not know what they measure.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from machine import about
from measurements import Report
from plots import draw
from table import reports_as_markdown

if TYPE_CHECKING:
    from collections.abc import Sequence

HERE: Final = Path(__file__).parent
SCRIPTS: Final = (
    *(
        "import_time",
        "point",
        "connect",
        "fetch",
        "bulk",
        "frames",
        "threads",
        "lookups",
        "pool",
        "cluster",
        "doors",
        "memory",
    ),
)

#: Those that run a second time, with the program and the server on one core.
ON_ONE_CORE: Final = frozenset({"point", "fetch", "bulk", "threads", "lookups"})


def run(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scripts", nargs="*", metavar="SCRIPT", help=f"of {', '.join(SCRIPTS)}; all if none is named")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: to see that it works, not to measure")
    parser.add_argument("--output", type=Path, help="where to keep the results; benchmarks/results unless --quick")
    given = parser.parse_args(arguments)
    unknown = set(given.scripts) - set(SCRIPTS)
    if unknown:
        parser.error(f"no such script: {', '.join(sorted(unknown))}")
    facts = {**about(), "quick": given.quick}
    names = [name for name in SCRIPTS if name in (given.scripts or SCRIPTS)]
    reports, failed = _run_all(names, quick=given.quick)
    folder = given.output or (None if given.quick or given.scripts else HERE / "results")
    if folder is not None:
        _keep(folder, reports, facts)
        print(f"\nkept in {folder}")
    if failed:
        print(f"\nfailed: {', '.join(failed)}")
    return 1 if failed else 0


def _run_all(names: Sequence[str], *, quick: bool) -> tuple[list[Report], list[str]]:
    reports, failed = [], []
    with tempfile.TemporaryDirectory() as folder:
        runs = [(name, one_core) for name in names for one_core in (False, True)[: 1 + (name in ON_ONE_CORE)]]
        for number, (name, one_core) in enumerate(runs, 1):
            print(f"\n=== {name}{', on one core' * one_core} ({number} of {len(runs)})", flush=True)
            began = time.monotonic()
            file = Path(folder, f"{name}-{one_core}.json")
            command = [sys.executable, str(HERE / f"{name}.py"), "--json", str(file)]
            command += ["--quick"] * quick + ["--one-core"] * one_core
            if subprocess.run(command, check=False).returncode:
                failed.append(name)
            if file.exists():
                reports.append(Report.from_json(json.loads(file.read_text(encoding="utf-8"))))
            print(f"=== {name}: {time.monotonic() - began:.0f} s", flush=True)
    return reports, failed


def _keep(folder: Path, reports: Sequence[Report], facts: dict[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    drawn = [draw(report, folder) for report in reports]
    facts = {**facts, "plots": all(drawn)}
    found = {**facts, "scripts": [report.as_json() for report in reports]}
    (folder / "latest.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    (folder / "table.md").write_text(reports_as_markdown(reports, facts), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(run())
