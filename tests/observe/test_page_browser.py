"""The page in a real browser: its script runs under its own policy, and no text of a program's becomes markup."""

from __future__ import annotations

import re
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from improved_db import ImprovedDb
    from tests.faults.harness import Rig

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
TOKEN = "t0k3n-for-a-test-only"
HOSTILE = "</script><img src=x onerror=document.title=1>"

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")


@pytest.fixture(name="db")
def _db(rig: Rig) -> ImprovedDb:
    """A pool that has run a few statements."""
    db = rig.db(direct=True, max_size=2)
    for number in range(200):
        db.execute_query("select n from t where id = %s", number)
    db.execute_query("select count(*) from t")
    db.execute_query(f"select 1 as `{HOSTILE}`")
    return db


@pytest.fixture(name="name")
def _name(db: ImprovedDb) -> str:
    """The id of one of them."""
    return next(each.id for each in db.statements() if each.digest.startswith("SELECT n"))


@pytest.fixture(name="browse")
def _browse(db: ImprovedDb, tmp_path: Path) -> Iterator[Callable[..., str]]:
    """Return a function that opens a part of a page about the pool, and returns its document as it is then."""
    monitor = db.monitor(token=TOKEN, interval=0.001)
    for _ in range(3):
        db.execute_query("select n from t where id = 1")
        monitor.history.sample()
    with monitor.serve() as server:

        def browse(part: str) -> str:
            command = [
                str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=3000",
                f"--user-data-dir={tmp_path / 'profile'}", "--enable-logging=stderr", "--dump-dom",
                f"{server.url}#{part}",
            ]  # fmt: skip
            ran = subprocess.run(command, capture_output=True, text=True, timeout=100, check=True)
            complaints = [line for line in ran.stderr.splitlines() if "CONSOLE" in line]
            assert complaints == []
            return ran.stdout

        yield browse


def cells(document: str) -> list[list[str]]:
    """Return the texts of a document's first table."""
    body = document.partition("<tbody>")[2].partition("</tbody>")[0]
    return [re.findall(r"<td[^>]*>(?:<[^>]+>)*([^<]*)", row) for row in re.findall(r"<tr.*?</tr>", body)]


def test_the_overview_draws_its_charts(browse: Callable[..., str]) -> None:
    """Lines with more than one point, and words about what is wrong."""
    document = browse("overview")
    assert "Nothing is wrong now." in document
    lines = re.findall(r'<path class="line s\d" d="([^"]*)"', document)
    assert len(lines) == 8
    assert all(line.count("L") >= 1 for line in lines)
    assert 'class="live">live<' in document
    assert TOKEN not in document


def test_statements_are_sorted_opened_and_only_text(browse: Callable[..., str], name: str) -> None:
    """A name that is markup is shown as it is, and runs nothing; the address says what is sorted and open."""
    document = browse(f"statements?sort=calls&open={name}")
    assert next(row[1] for row in cells(document)) == "SELECT n FROM t WHERE id = ?"
    assert "<img" not in document.partition("<body>")[2].partition("<script>")[0]
    assert "&lt;img src=x onerror" in document
    assert "<title>Statements" in document
    assert 'class="bar"' in document
    assert "tests/observe/test_page_browser.py:" in document
    assert "EXPLAIN SELECT n FROM t WHERE id = ?" in document
