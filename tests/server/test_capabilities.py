"""Tests say what they need of a server, and are skipped where it lacks that: the suite runs on MySQL and on MariaDB."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pymysql
import pytest

from tests.capabilities import NUMBERS, PROBES, SWITCHED_OFF, Capabilities, numbers

if TYPE_CHECKING:
    from improved_db.testing import TemporaryServer

ROOT = Path(__file__).parent.parent.parent
MARKED = "tests/server/test_session_leaks.py::test_a_user_variable_does_not_reach_the_next_borrower"


@pytest.mark.parametrize("name", PROBES)
def test_a_capability_is_there_or_not_and_its_probe_leaves_nothing(server: TemporaryServer, name: str) -> None:
    """A probe that fails for another reason would skip its tests for good."""
    capabilities = Capabilities(server.connect_options, without="")
    has = capabilities.has(name)
    assert Capabilities(server.connect_options, without="").has(name) is has
    with pymysql.connect(**server.connect_options, ssl_disabled=True) as connection, connection.cursor() as cursor:
        cursor.execute("select count(*) from information_schema.schemata where schema_name = 'probing'")
        assert cursor.fetchone() == (0,)
    # MySQL has none of them, and what a MariaDB has depends on its version.
    assert has or "MariaDB" not in server.version or name == "snapshot isolation"


def test_a_capability_can_be_switched_off(server: TemporaryServer) -> None:
    """So can be seen what a run on another server would skip."""
    capabilities = Capabilities(server.connect_options, without="create or replace, Aria")
    assert not capabilities.has("create or replace")
    assert not capabilities.has("Aria")
    with pytest.raises(KeyError):
        capabilities.has("create or repalce")


def test_a_test_that_needs_what_is_not_there_is_skipped_and_says_so() -> None:
    """And the others of the same function run."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", MARKED]
    environment = {**os.environ, SWITCHED_OFF: "execute immediate,blocks without a procedure"}
    ran = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=100, check=False)
    assert ran.returncode == 0, ran.stdout
    assert "the server lacks this: execute immediate" in ran.stdout
    assert "the server lacks this: blocks without a procedure" in ran.stdout
    assert " passed, 2 skipped" in ran.stdout


@pytest.mark.parametrize(("first", "last"), [(first, last) for first, last in NUMBERS if last <= 1_000_000])
def test_numbers_are_all_there_once(database: dict[str, Any], first: int, last: int) -> None:
    """From the server's own tables, or from what stands in for them."""
    with pymysql.connect(**database, ssl_disabled=True) as connection, connection.cursor() as cursor:
        made = f"({numbers(first, last)}) as made"  # in between it needs a deeper recursion than servers allow
        for source in (f"seq_{first}_to_{last}", *([made] if last <= 1000 or last > 100_000 else [])):
            cursor.execute(f"select count(*), count(distinct seq), min(seq), max(seq) from {source}")
            assert cursor.fetchone() == (last - first + 1, last - first + 1, first, last)
