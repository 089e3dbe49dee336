"""What went wrong with pymysql-pool, run once with the real package and once with ours: only the import differs."""

from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from improved_db import ImprovedDb
from tests.fakes import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Callable

    Run = Callable[[str, str], Any]

HERE = Path(__file__).parent
OURS = "improved_db.compat.pymysqlpool"


def installed(version: str) -> str | None:
    """Return the folder to look in for the package in that version; None if it is nowhere."""
    for folder in (f"{sys.prefix}/pymysql-pool-{version}", *sys.path):
        for found in importlib.metadata.distributions(name="pymysql-pool", path=[folder]):
            if found.version == version:
                return folder
    return None


@pytest.fixture(scope="session")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """Find the package in some version; one that is not there is installed for this run."""

    def find(version: str) -> str:
        if version not in folders:
            folders[version] = installed(version) or install(version)
        return folders[version]

    def install(version: str) -> str:
        target = str(tmp_path_factory.mktemp("theirs"))
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", target]
        subprocess.run([*command, f"pymysql-pool=={version}"], check=True, timeout=4 * PATIENCE)
        return target

    folders: dict[str, str] = {}
    return find


@pytest.fixture
def run(theirs: Callable[[str], str], database: dict[str, Any]) -> Run:
    """Run a program with the package of some version, or with "ours"; return what it printed."""

    def start(program: str, version: str) -> Any:
        with ImprovedDb(database) as db:
            db.execute_query("drop table if exists account")
            db.execute_query("create table account (uid int primary key, amount int)")
        folder, module = (HERE.parents[1], OURS) if version == "ours" else (theirs(version), "pymysqlpool")
        command = [sys.executable, "-W", "default", str(HERE / "programs" / f"{program}.py"), module]
        ended = subprocess.run(
            command, input=json.dumps(database), env={**os.environ, "PYTHONPATH": str(folder)},
            capture_output=True, text=True, timeout=2 * PATIENCE, check=False,
        )  # fmt: skip
        assert ended.returncode == 0, ended.stderr
        return json.loads(ended.stdout)

    return start


def test_0_3_3_puts_a_connection_that_is_closed_twice_into_the_pool_twice(run: Run) -> None:
    """Two threads then talk on one session, and each reads the other's answers."""
    assert run("close_twice", "0.3.3") == {"refused": "", "borrowed": 3, "sessions": 2}
    assert run("close_twice", "ours") == {"refused": "ReturnConnectionToPoolError", "borrowed": 2, "sessions": 2}


def test_0_3_3_cannot_be_asked_for_its_size(run: Run) -> None:
    """Its own text asks for it: an attribute stands before the method of that name."""
    assert run("size", "0.3.3") == "'int' object is not callable"
    assert run("size", "ours") == 2


def test_0_5_0_passes_its_maxsize_when_threads_ask_at_once(run: Run) -> None:
    """It looks first and connects then, and meanwhile all others have looked, too."""
    assert run("maxsize", "0.5.0") > 3
    assert run("maxsize", "ours") == 3


def test_0_5_0_loses_a_place_for_each_exception_it_does_not_know(run: Run) -> None:
    """Some days later the pool is empty, and no caller has a connection."""
    assert run("lost_slot", "0.5.0") == "GetConnectionFromPoolError"
    assert run("lost_slot", "ours") == "a connection"


def test_0_5_0_commits_the_half_of_a_transaction_that_worked(run: Run) -> None:
    """Money has left one account and arrived in none."""
    assert run("half_transaction", "0.5.0") == [[1, -100]]
    assert run("half_transaction", "ours") == []


def test_0_5_0_rolls_a_block_back_that_ended_well(run: Run) -> None:
    """With ``autocommit=False`` nothing that is done in a ``with`` block is ever kept."""
    assert run("good_end", "0.5.0") == []
    assert run("good_end", "ours") == [[1, 100]]


def test_0_5_0_goes_on_with_a_new_session_in_the_middle_of_a_transaction(run: Run) -> None:
    """``ping`` reconnects: what was done before it is gone, what comes after it is kept, and the caller is not told."""
    assert run("lost_session", "0.5.0") == {"told": "nothing", "rows": [[2, 100]]}
    assert run("lost_session", "ours") == {"told": "OperationalError", "rows": []}


@pytest.mark.parametrize("version", ["0.3.3", "0.5.0"])
def test_importing_theirs_changes_the_program_around_it(run: Run, version: str) -> None:
    """Log lines twice, and a warning that ends the program, because of an import."""
    assert run("import_it", version) == {"handlers": 1, "filters": 1, "raised": True}
    assert run("import_it", "ours") == {"handlers": 0, "filters": 0, "raised": False}
