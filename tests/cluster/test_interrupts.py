"""Ctrl-C in what waits for a cluster: the caller gets it at once, and nothing leaks."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.cluster.nodes import ask
from tests.fakes import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Callable

    from improved_db.testing import TemporaryCluster

ROOT = Path(__file__).parents[2]

# The alarm rings while the call waits; what it raises is what Ctrl-C raises, in the same thread.
PROGRAM = """
import signal, sys
from improved_db import ImprovedDb

def interrupt(number, frame):
    raise KeyboardInterrupt

signal.signal(signal.SIGALRM, interrupt)
with ImprovedDb(sys.argv[1], causal_timeout=100.0, acquire_timeout=100.0, monitor_interval=0.3) as db:
    db.wait(30, role="replica")
    db.execute_query("insert into t values (1)")
    calls = {
        "the primary": lambda: db.execute_query("insert into t values (2)"),
        "a replica": lambda: db.reader.fetch_value("select count(*) from t"),
    }
    call = calls[sys.argv[2]]
    print("ready", flush=True)
    sys.stdin.readline()
    try:
        signal.setitimer(signal.ITIMER_REAL, 1.0)
        call()
    except KeyboardInterrupt:
        print("interrupted", db.stats().used, db.stats().waiting, flush=True)
    sys.stdin.readline()
    call()
    print(db.fetch_value("select count(*) from t"), db.stats().used, flush=True)
"""


def lose_the_primary(cluster: TemporaryCluster) -> Callable[[], object]:
    """Kill the primary; return what makes another one."""
    cluster.settle()
    cluster.primary.kill()
    return cluster.promote


def leave_the_replicas_late(cluster: TemporaryCluster) -> Callable[[], object]:
    """Return what lets the replicas apply what they have received; they are late already."""

    def go_on() -> None:
        for node in cluster.replicas:
            cluster.delay(node, 0)

    return go_on


@pytest.mark.parametrize(
    ("what", "begin", "found"),
    [("the primary", lose_the_primary, "2 0"), ("a replica", leave_the_replicas_late, "1 0")],
)
def test_ctrl_c_in_a_wait_leaks_nothing(
    cluster: TemporaryCluster, what: str, begin: Callable[[TemporaryCluster], Callable[[], object]], found: str
) -> None:
    """Scenario 89: a writer that waits for a primary, and a read that waits for a write on its replica."""
    ask(cluster.primary, "create table t (id int)")
    cluster.settle()
    if what == "a replica":
        for node in cluster.replicas:
            cluster.delay(node, 600)
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-c", PROGRAM, cluster.url, what],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    ) as process:
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            go_on = begin(cluster)
            process.stdin.write("\n")
            process.stdin.flush()
            assert process.stdout.readline() == "interrupted 0 0\n"
            go_on()
            said, complaint = process.communicate("\n", PATIENCE)
            assert (said.strip(), process.returncode) == (found, 0), complaint
        finally:
            process.kill()
