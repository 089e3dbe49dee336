"""The sessions that the texts of pymysql-pool 0.3.3 and 0.5.0 show their readers, typed in again."""

from __future__ import annotations

import doctest
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from improved_db.compat import pymysqlpool

if TYPE_CHECKING:
    from collections.abc import Iterator

TRANSCRIPTS = sorted((Path(__file__).parent / "transcripts").glob("*.txt"))


class Printing(logging.Handler):
    """Prints each line where a doctest looks for it; their handlers wrote the time as well."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print it."""
        print(f"{record.levelname:>8}: {record.getMessage()}")  # noqa: T201  # that is its task


@pytest.fixture
def printed() -> Iterator[None]:
    """Let the door's log be part of the transcript."""
    handler, level = Printing(), pymysqlpool.logger.level
    pymysqlpool.logger.addHandler(handler)
    yield
    pymysqlpool.logger.removeHandler(handler)
    pymysqlpool.logger.setLevel(level)


def test_there_is_a_transcript_for_each_of_the_two() -> None:
    """A folder that is not found would leave nothing to fail."""
    assert [path.stem for path in TRANSCRIPTS] == ["pymysqlpool_0_3_3", "pymysqlpool_0_5_0"]


@pytest.mark.parametrize("path", TRANSCRIPTS, ids=lambda path: path.stem)
def test_a_transcript_is_what_its_readers_see(printed: None, database: dict[str, Any], path: Path) -> None:
    """Who typed it in then gets the same today, but for the import and what the text names."""
    names: dict[str, Any] = {"config": {**database, "autocommit": True}}
    test = doctest.DocTestParser().get_doctest(path.read_text(), names, path.stem, str(path), 0)
    said: list[str] = []
    try:
        result = doctest.DocTestRunner(verbose=False).run(test, out=said.append, clear_globs=False)
    finally:
        test.globs["shop"].close()
    assert (result.failed, "".join(said)) == (0, "")
    assert result.attempted > 10
    assert test.globs["shop"].size() == 2
