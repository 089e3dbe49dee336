"""README.md is true: its programs run and print what it shows, and its links lead somewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.server import pages

if TYPE_CHECKING:
    import pytest


def test_programs_print_what_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first thing that people copy is the first to go wrong; later programs go on where earlier ones ended."""
    monkeypatch.delenv("IMPROVED_DB_URL", raising=False)
    assert pages.run("README.md") == []


def test_first_program_has_ten_lines_and_needs_no_running_server() -> None:
    """A reader who has to read on before seeing it work reads something else."""
    first = pages.blocks("README.md")[0].code
    assert len([line for line in first.splitlines() if line]) <= 10
    assert "ImprovedDb.ephemeral(" in first


def test_it_is_short_and_every_program_can_be_pasted() -> None:
    """The rest is in docs/."""
    assert len(pages.text_of("README.md").splitlines()) <= 200
    assert pages.badly_laid_out("README.md") == []


def test_links_lead_somewhere() -> None:
    """To a heading of a page or a file of this project."""
    assert pages.dead_links("README.md") == []
