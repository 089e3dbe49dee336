"""Fixtures that several unit tests use."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def write_file(tmp_path: Path) -> Callable[[str], Path]:
    """Return a function that writes an option file."""

    def write(text: str) -> Path:
        path = tmp_path / "my.cnf"
        path.write_text(text, encoding="utf-8")
        return path

    return write
