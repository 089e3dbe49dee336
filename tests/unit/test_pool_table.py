"""The table of scenarios is complete, and names tests that exist."""

from __future__ import annotations

import re
from typing import Final

from tests.unit.tables import TESTS, flaws

TABLE: Final = (TESTS / "pool_scenarios.md").read_text(encoding="utf-8")
ROWS: Final = re.findall(r"^\| ([A-Z]\d+|all) \| (.+) \|$", TABLE, re.MULTILINE)
COUNTS: Final = {"P": 80, "H": 47, "G": 25, "S": 15, "R": 4, "B": 5, "D": 3, "U": 7, "X": 6, "A": 7, "L": 8, "N": 28}


def test_every_invariant_and_scenario_has_one_row() -> None:
    """A scenario that was left out is one that no reviewer looked at."""
    invariants = [f"I{number}" for number in range(1, 13)] + ["all"]
    scenarios = [f"{letter}{number}" for letter, count in COUNTS.items() for number in range(1, count + 1)]
    assert [row for row, _ in ROWS] == invariants + scenarios


def test_every_row_names_tests_that_exist_or_says_why_there_are_none() -> None:
    """A renamed test would leave a promise that no test guards."""
    assert [flaw for row, text in ROWS for flaw in flaws(row, text, excuse="does not apply: ")] == []


def test_most_scenarios_are_tests() -> None:
    """A table of excuses would be complete as well."""
    assert sum("::" in text for row, text in ROWS if not row.startswith("I")) >= 120
