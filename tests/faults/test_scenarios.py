"""The table of faults is complete, and names tests that exist."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

TESTS: Final = Path(__file__).parent.parent
ROWS: Final = re.findall(
    r"^\| (\d+) \| .+ \| (.+) \|$", (TESTS / "faults" / "scenarios.md").read_text(encoding="utf-8"), re.MULTILINE
)
DEFINED: Final = {
    name
    for source in TESTS.rglob("test_*.py")
    for name in re.findall(r"^def (test_\w+)", source.read_text(encoding="utf-8"), re.MULTILINE)
}


def test_every_scenario_has_its_row() -> None:
    """Fifty-two of them, in order."""
    assert [int(number) for number, _ in ROWS] == list(range(1, 53))


def flaws(number: str, covered_by: str) -> list[str]:
    """Return what is wrong with one row."""
    named = re.findall(r"`(test_\w+)`", covered_by)
    found = [f"row {number}: there is no {name}" for name in named if name not in DEFINED]
    if not named and "with the cluster" not in covered_by:
        found.append(f"row {number} names no test and gives no reason")
    return found


def test_every_row_names_tests_that_exist_or_says_why_there_is_none() -> None:
    """A renamed test would leave a promise that no test guards."""
    assert [flaw for row in ROWS for flaw in flaws(*row)] == []
