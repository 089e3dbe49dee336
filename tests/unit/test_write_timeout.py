"""A PyMySQL that keeps no note of the socket's timeout, as older and newer ones may be, works all the same."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final

PROGRAM: Final = """
import pymysql.connections

def _read_bytes(self, num_bytes):
    self._sock.settimeout(self._read_timeout)
    data = self._rfile.read(num_bytes)
    assert len(data) == num_bytes
    return data

def _write_bytes(self, data):
    self._sock.settimeout(self._write_timeout)
    self._sock.sendall(data)

pymysql.connections.Connection._read_bytes = _read_bytes
pymysql.connections.Connection._write_bytes = _write_bytes
from tests.faults.fake_server import FakeServer
from improved_db import ImprovedDb

with FakeServer() as server, ImprovedDb(server.connect_options, read_timeout=20, write_timeout=10) as db:
    with db.connection() as connection:
        del connection.__dict__["_current_timeout"]
        connection.cursor().execute("select 1")
    print(db.execute_query("select 1"))
"""


def test_a_pymysql_that_notes_no_timeout_is_written_to_all_the_same() -> None:
    """The note is a private name of PyMySQL's, and may go with its next release."""
    command = [sys.executable, "-c", PROGRAM]
    root = Path(__file__).parent.parent.parent
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=root, check=False)
    assert "('1',)" in ran.stdout, ran.stderr
