"""What `import improved_db` does to the program that imports it: nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import improved_db

#: Imports in an interpreter of its own, with everything that others bring already there, and tells what has changed.
SCRIPT = """
import json, logging, sys, threading, warnings
import pymysql, pymysql.cursors, tenacity

def state():
    return {
        "handlers": [repr(handler) for handler in logging.root.handlers],
        "level": logging.root.level,
        "filters": [repr(entry) for entry in warnings.filters],
        "showwarning": repr(warnings.showwarning),
        "threads": [thread.name for thread in threading.enumerate()],
        "excepthook": repr(sys.excepthook),
        "connect": repr(pymysql.connect),
    }

events = []
sys.addaudithook(lambda event, _: events.append(event))
before = state()
import improved_db
after = state()
improved_db.ImprovedDb("mysql://nowhere.invalid/d", topology=None, read_preference="replica_preferred").close()
loggers = {name: logger for name, logger in logging.root.manager.loggerDict.items() if name.startswith("improved_db")}
print(json.dumps({
    "before": before,
    "after": after,
    "ours": {
        name: [[type(handler).__name__ for handler in logger.handlers], logger.level, logger.propagate]
        for name, logger in loggers.items()
        if isinstance(logger, logging.Logger)
    },
    "frames": sorted({"numpy", "pandas", "polars", "pyarrow", "improved_db.frames.table"} & set(sys.modules)),
    "cluster": sorted(name for name in sys.modules if name.startswith("improved_db.cluster")),
    "acts": [event for event in events if event.startswith(("socket.", "subprocess.", "os.system", "os.fork"))],
}))
"""


@pytest.fixture(scope="module")
def seen() -> dict[str, Any]:
    """What the script saw."""
    command = [sys.executable, "-W", "error", "-c", SCRIPT]
    root = str(Path(improved_db.__file__).parents[1])
    ran = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60, cwd=root)
    assert ran.stderr == ""
    told: dict[str, Any] = json.loads(ran.stdout)
    return told


def test_nothing_of_the_process_is_changed(seen: dict[str, Any]) -> None:
    """A library that sets log handlers, warning filters or hooks decides for programs it does not know."""
    assert seen["after"] == seen["before"]


def test_only_the_top_logger_has_a_handler_and_that_one_is_silent(seen: dict[str, Any]) -> None:
    """Logging's advice to libraries: a NullHandler, and levels are left to the program."""
    assert seen["ours"].pop("improved_db") == [["NullHandler"], 0, True]
    assert set(map(str, seen["ours"].values())) <= {str([[], 0, True])}


def test_no_socket_and_no_process_is_made(seen: dict[str, Any]) -> None:
    """Importing is not using: it must work where there is neither a network nor a server."""
    assert seen["acts"] == []


def test_no_library_of_frames_is_imported_before_its_first_use(seen: dict[str, Any]) -> None:
    """They take longer to import than all of the rest."""
    assert seen["frames"] == []


def test_nothing_of_several_servers_is_imported_for_one(seen: dict[str, Any]) -> None:
    """One address costs what it did."""
    assert seen["cluster"] == []
