"""The table of scenarios is complete, and names tests that exist."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pytest

TESTS: Final = Path(__file__).parent.parent
TABLE: Final = (TESTS / "pool_scenarios.md").read_text(encoding="utf-8")
ROWS: Final = re.findall(r"^\| ([A-Z]\d+|all) \| (.+) \|$", TABLE, re.MULTILINE)
COUNTS: Final = {"P": 80, "H": 47, "G": 25, "S": 15, "R": 4, "B": 5, "D": 3, "U": 7, "X": 6, "A": 7, "L": 8, "N": 28}


def test_every_invariant_and_scenario_has_one_row() -> None:
    """A scenario that was left out is one that nobody looked at."""
    invariants = [f"I{number}" for number in range(1, 13)] + ["all"]
    scenarios = [f"{letter}{number}" for letter, count in COUNTS.items() for number in range(1, count + 1)]
    assert [row for row, _ in ROWS] == invariants + scenarios


@pytest.mark.parametrize(("row", "text"), ROWS)
def test_row_names_tests_that_exist_or_says_why_there_are_none(row: str, text: str) -> None:
    """A test that was renamed leaves a promise that nobody keeps."""
    named = re.findall(r"`([\w/]+\.py)::(\w+)`", text)
    for path, name in named:
        source = (TESTS / path).read_text(encoding="utf-8")
        assert re.search(rf"^(def {name}\(|{name} = )", source, re.MULTILINE), f"{row}: {path}::{name}"
    assert named or "does not apply: " in text


def test_most_scenarios_are_tests() -> None:
    """A table of excuses would be complete as well."""
    assert sum("::" in text for row, text in ROWS if not row.startswith("I")) >= 120
