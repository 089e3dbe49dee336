"""The table of faults is complete, and names tests that exist."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pytest

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


@pytest.mark.parametrize(("number", "covered_by"), ROWS)
def test_a_row_names_tests_that_exist_or_says_why_there_is_none(number: str, covered_by: str) -> None:
    """A test that was renamed leaves a promise that nobody keeps."""
    named = re.findall(r"`(test_\w+)`", covered_by)
    assert set(named) <= DEFINED, number
    assert named or "with the cluster" in covered_by, number
