"""The benchmarks' scripts, at tiny sizes: what they say means nothing here, that they say it does."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

import improved_db

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT: Final = Path(__file__).parents[2]
BENCHMARKS: Final = ROOT / "benchmarks"

#: Each script, and the targets that it is to judge.
SCRIPTS: Final = {
    "import_time": {"P10"},
    "point": {"P1", "P4"},
    "connect": {"P7"},
    "fetch": {"P5", "P5c", "G1"} if improved_db.compiled else {"P5", "G1"},
    "bulk": {"P6"},
    "frames": {"P13", "P14", "P15"},
    "threads": {"P2", "G2"},
    "lookups": {"P9", "P11", "P12"},
    "pool": {"P3"},
    "cluster": {"C1", "C2", "C3"},
    "doors": {"D1", "D2"},
    "memory": {"P8"},
}

if not BENCHMARKS.is_dir():
    pytest.skip("the benchmarks are not part of this distribution", allow_module_level=True)


def run(script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a script as a user does, with the package of this checkout."""
    command = [sys.executable, str(BENCHMARKS / f"{script}.py"), "--quick", *map(str, arguments)]
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


def values(found: dict[str, Any]) -> Iterator[float]:
    """Yield every number that was measured."""
    for each in found["measurements"]:
        yield from each["values"]


#: The longest ones: `make soak` and `make bench` run them.
LONG: Final = {"frames", "threads"}


@pytest.mark.parametrize(
    "script", [pytest.param(name, marks=pytest.mark.soak) if name in LONG else name for name in SCRIPTS]
)
def test_script_measures_and_judges_its_targets(script: str, tmp_path: Path) -> None:
    """A benchmark that broke with the package would be noticed only when a reader needs its numbers."""
    file = tmp_path / "found.json"
    done = run(script, "--json", file)
    assert done.returncode == 0, done.stderr
    found = json.loads(file.read_text(encoding="utf-8"))
    assert any(each["contender"].startswith("improved_db") for each in found["measurements"])
    assert all(math.isfinite(value) for value in values(found))
    assert {each["number"] for each in found["verdicts"]} == SCRIPTS[script]
    for each in found["measurements"]:
        assert each["task"] in done.stdout


def test_run_keeps_table_and_numbers_of_the_scripts_it_ran(tmp_path: Path) -> None:
    """What is kept is what readers see: every task and target of every script, with the versions behind them."""
    done = run("run", "--output", tmp_path, "import_time", "cluster")
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "latest.json").read_text(encoding="utf-8"))
    table = (tmp_path / "table.md").read_text(encoding="utf-8")
    assert [each["script"] for each in found["scripts"]] == ["import_time", "cluster"]
    assert found["versions"]["PyMySQL"] in table
    for each in found["scripts"]:
        assert all(f"### {measured['task']} (" in table for measured in each["measurements"])
        assert all(f"| {verdict['number']} | {verdict['claim']} |" in table for verdict in each["verdicts"])


def test_run_fails_and_names_the_script_that_failed(tmp_path: Path) -> None:
    """A benchmark that silently left a script out would pass for a complete one."""
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / "run.py"), "--quick", "--output", str(tmp_path), "connect"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "IMPROVED_DB_SERVER": str(tmp_path / "no server")},
        check=False,
    )
    assert done.returncode == 1
    assert "failed: connect" in done.stdout
