"""README.md is true: its programs run and print what it shows, its tables are the package's own."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import improved_db
from improved_db import ImprovedDbError, RetryPolicy
from improved_db.settings.settings import PoolSettings, Settings

if TYPE_CHECKING:
    import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")


class Block(NamedTuple):
    """A program of the README, where it stands, and what it is said to print."""

    code: str
    line: int
    output: str


PROGRAM = re.compile(r"^```python\n(?P<code>.*?)^```\n(\n```text\n(?P<output>.*?)^```)?", re.DOTALL | re.MULTILINE)
BLOCKS = [
    Block(found["code"], TEXT[: found.start("code")].count("\n"), found["output"] or "")
    for found in PROGRAM.finditer(TEXT)
]


def table(heading: str) -> dict[str, list[str]]:
    """Return the table below *heading*: by the name in its first column, the other columns."""
    below = TEXT.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    return {name: rest.split(" | ") for name, rest in re.findall(r"^\| `(\w+)` \| (.+) \|$", below, re.MULTILINE)}


def test_programs_print_what_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first thing that people copy is the first to go wrong; later programs go on where earlier ones ended."""
    monkeypatch.delenv("IMPROVED_DB_URL", raising=False)
    names: dict[str, Any] = {"__name__": "readme"}
    try:
        for block in BLOCKS:
            code = compile("\n" * block.line + block.code, "README.md", "exec")
            with contextlib.redirect_stdout(io.StringIO()) as output:
                exec(code, names)
            assert output.getvalue() == block.output, f"README.md, line {block.line}"
    finally:
        for name in ("db", "old", "shop", "same"):
            if name in names:
                names[name].close()


def test_first_program_has_ten_lines_and_needs_no_server() -> None:
    """Who has to read on before seeing it work reads something else."""
    lines = [line for line in BLOCKS[0].code.splitlines() if line]
    assert len(lines) <= 10
    assert "ImprovedDb.ephemeral(" in BLOCKS[0].code


def test_settings_table_has_every_setting_with_its_default() -> None:
    """A default that was changed is looked up here."""
    ours = {field.name: field.default for field in dataclasses.fields(PoolSettings)}
    ours |= {"retry": RetryPolicy(), "deadline": Settings.__dataclass_fields__["deadline"].default}
    shown = {name: columns[0] for name, columns in table("Settings").items()}
    assert shown.pop("retry") == "RetryPolicy()"
    assert ours.pop("retry") == RetryPolicy()
    assert shown == {name: repr(default) for name, default in ours.items()}


def test_errors_table_has_every_error_and_what_else_it_is() -> None:
    """Who writes an except clause looks here."""
    public = {name: getattr(improved_db, name) for name in improved_db.__all__}
    errors = {name: error for name, error in public.items() if isinstance(error, type) and issubclass(error, Exception)}
    assert errors.pop("ImprovedDbError") is ImprovedDbError
    shown = table("Errors")
    assert shown.keys() == errors.keys()
    for name, columns in shown.items():
        assert columns[0].strip("`") in {base.__name__ for base in errors[name].__mro__}


def test_doors_for_other_pools_open() -> None:
    """An import is the whole change that most programs need."""
    doors = re.findall(r"^\| `(from improved_db.+)` \| .+ \|$", TEXT, re.MULTILINE)
    assert len(doors) == 3
    for door in doors:
        exec(door, {})


def test_links_lead_somewhere() -> None:
    """To a heading of this page or a file of this project."""
    headings = {line.lower().replace(" ", "-") for line in re.findall(r"^## (.+)$", TEXT, re.MULTILINE)}
    for target in re.findall(r"\]\(([^)]+)\)", TEXT):
        assert target[1:] in headings if target.startswith("#") else (ROOT / target).exists(), target
