"""The tests of one server pass on a cluster of one server, too."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

#: They count the server's sessions, of which the monitor has one; or the retries and errors of a call, which waits for
#: a primary instead; or tell what is wrong with a config, which the plugin changes.
OF_ONE_POOL = (
    "test_killing_any_session_at_any_moment_costs_no_read",
    "test_reads_ride_through_a_restart",
    "test_full_server_is_waited_for",
    "test_with_block_opens_on_use_and_closes_at_its_end",
    "test_sessions_end_with_the_block",
    "test_cancellation_ends_the_sleep_before_a_retry",
    "test_readers_of_a_server_that_went_away_get_the_drivers_error",
    "test_a_config_of_the_wrong_type",
    "test_a_server_that_no_source_has_named_is_told_of",
)
#: They are about pages, programs and other processes.
OTHERS = ("docs", "readme", "examples", "benchmarks", "pytest_plugin", "temporary_server", "no_threads", "capabilities")


@pytest.mark.soak
@pytest.mark.timeout(1200)
def test_everything_that_one_server_can_do_works_in_a_cluster_of_one() -> None:
    """Scenario 95: a program whose list has one server today, and three tomorrow."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "tests.cluster.one_server", "tests/server"]
    command += ["-k", " and ".join(f"not {name}" for name in OF_ONE_POOL)]
    command += [f"--ignore=tests/server/test_{name}.py" for name in OTHERS]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=1100)
    assert ran.returncode == 0, ran.stdout[-4000:]
