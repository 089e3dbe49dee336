"""What the tables of tests in Markdown have in common: each row names tests that exist, or a reason."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

TESTS: Final = Path(__file__).parent.parent


def flaws(row: str, text: str, excuse: str) -> list[str]:
    """Return what is wrong with one row.

    Args:
        row: Its number.
        text: The cell that names the tests, each as ``folder/file.py::name``.
        excuse: A regular expression; a row without a test has to match it.
    """
    named = re.findall(r"`([\w/]+\.py)::(\w+)`", text)
    found = [] if named or re.search(excuse, text) else [f"{row} names no test and gives no reason"]
    for path, name in named:
        file = TESTS / path
        source = file.read_text(encoding="utf-8") if file.exists() else ""
        if not re.search(rf"^(def {name}\(|{name} = )", source, re.MULTILINE):
            found.append(f"{row}: there is no {path}::{name}")
    return found
