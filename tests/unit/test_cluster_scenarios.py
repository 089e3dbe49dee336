"""The table of scenarios of several servers is complete, and names tests that exist."""

from __future__ import annotations

import re
from typing import Final

from tests.unit.tables import TESTS

ROWS: Final = re.findall(
    r"^\| (\d+) \| .+ \| (.+) \|$", (TESTS / "cluster" / "scenarios.md").read_text(encoding="utf-8"), re.MULTILINE
)
DEFINED: Final = {
    name
    for source in TESTS.rglob("test_*.py")
    for name in re.findall(r"^def (test_\w+)", source.read_text(encoding="utf-8"), re.MULTILINE)
}


def test_every_scenario_has_its_row() -> None:
    """Ninety-five of them, in order."""
    assert [int(number) for number, _ in ROWS] == list(range(1, 96))


def test_every_scenario_names_its_tests_or_says_why_there_are_none() -> None:
    """A renamed test would leave a promise that no test guards."""
    wrong = [f"{number}: there is no {name}" for number, text in ROWS for name in re.findall(r"`(test_\w+)`", text)
             if name not in DEFINED]  # fmt: skip
    silent = [number for number, text in ROWS if "`test_" not in text and not re.match("open|needs ", text)]
    assert (wrong, silent) == ([], [])
