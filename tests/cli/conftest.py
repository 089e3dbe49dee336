"""A shell for each test, on a database of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from improved_db import ImprovedDb
from tests.cli.running import Shell, url_of

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def shell(database: dict[str, Any], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Shell:
    """Runs commands on an empty database."""
    monkeypatch.delenv("IMPROVED_DB_URL", raising=False)
    monkeypatch.setenv("HOME", "/nonexistent")
    return Shell(url_of(database), capsys)


@pytest.fixture
def db(database: dict[str, Any]) -> Iterator[ImprovedDb]:
    """The same database, for what a command is to find or has left."""
    with ImprovedDb(database, max_size=2) as made:
        yield made
