"""The table of faults that the trials found is complete, and names tests that exist."""

from __future__ import annotations

import re
from typing import Final

from tests.unit.tables import TESTS, flaws

ROWS: Final = re.findall(
    r"^\| ([A-E]\d+) \| .+ \| (.+) \|$", (TESTS / "trials.md").read_text(encoding="utf-8"), re.MULTILINE
)
COUNTS: Final = {"A": 13, "B": 5, "C": 13, "D": 11, "E": 6}


def test_every_fault_names_its_tests_or_says_why_there_are_none() -> None:
    """A renamed test would leave a fault that no test guards."""
    assert [row for row, _ in ROWS] == [f"{letter}{n}" for letter, count in COUNTS.items() for n in range(1, count + 1)]
    assert [flaw for row, text in ROWS for flaw in flaws(row, text, excuse="^(open|PyMySQL's): ")] == []
