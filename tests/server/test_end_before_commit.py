"""A session that ended before COMMIT was sent took its transaction along: nothing is in doubt."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from improved_db import ImprovedDb
from improved_db.testing import TemporaryServer
from tests.faults.harness import lose_before_commit


@pytest.mark.parametrize("tcp", [True, False])
def test_a_server_that_died_before_commit_is_a_lost_transaction_and_no_doubt(*, tcp: bool) -> None:
    """COMMIT was written to a socket whose end could be seen, and the outcome called unknown."""
    with TemporaryServer(tcp=tcp) as server, ImprovedDb(server.connect_options, max_size=1, retry=None) as db:
        lose_before_commit(db, server)


PROGRAM = """
import select
del select.poll
from improved_db import ImprovedDb
from improved_db.testing import TemporaryServer
with TemporaryServer() as server, ImprovedDb(server.url, max_size=1) as db:
    db.execute_query("select 1")
    db.execute_query("select 1", timeout=5)
    number = db.execute_query("select connection_id()", return_one=True)[0]
    with db.connect() as other:
        other.cursor().execute(f"kill {number}")
    print(db.execute_query("select 'fine'"), db.ping())
"""


def test_everything_works_without_poll() -> None:
    """Eventlet's monkey_patch removes it, and Windows has none."""
    root = Path(__file__).parent.parent.parent
    command = [sys.executable, "-c", PROGRAM]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=90, check=False, cwd=root)
    assert ran.stdout.strip() == "(('fine',),) True", ran.stderr
