"""What a bulk load says is in when code or disk of the caller's fails, and the network with it."""

from __future__ import annotations

import errno
import io
import sys
import tempfile
from typing import TYPE_CHECKING

import pytest

from improved_db.execution import chunks
from tests.faults.faults import SWALLOW_ANSWER_RST, inject_err

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.faults.harness import Rig

INSERT = "insert into t (id) values (%s)"


def rows(number: int, error: BaseException) -> Iterator[tuple[int]]:
    """Return so many rows, and then raise."""
    for row in range(number):
        yield (row,)
    raise error


def test_an_error_before_the_first_row_says_that_no_row_is_in(rig: Rig) -> None:
    """The rows were asked for before anything else, and their error did not say."""
    with pytest.raises(OSError, match="my own") as caught:
        rig.db().exec_many(INSERT, rows(0, OSError("my own")), atomic=False)
    assert (caught.value.acked_rows, caught.value.unknown_rows) == (0, range(0))  # type: ignore[attr-defined]  # noted


def test_a_chunk_whose_answer_is_lost_while_the_rows_fail_is_in_doubt(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rows' own error came first; the chunk on its way is in all the same."""
    monkeypatch.setattr(chunks, "FIRST_ROWS", 10)
    db = rig.db()
    rig.proxy.on_query(b"insert", SWALLOW_ANSWER_RST)
    with pytest.raises(OSError, match="my own") as caught:
        db.exec_many(INSERT, rows(10, OSError("my own")), atomic=False)
    assert (caught.value.acked_rows, caught.value.unknown_rows) == (0, range(10))  # type: ignore[attr-defined]  # noted
    assert rig.count() == 10


class LateDisk(io.BytesIO):
    """A file whose last bytes are written when it is closed, and no room is left for them."""

    def close(self) -> None:
        """Fail at it."""
        if not self.closed:
            super().close()
            raise OSError(errno.ENOSPC, "No space left on device")


def test_a_disk_that_is_full_after_commit_is_no_error(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rows were in, and the error said the contrary: the rows kept to be sent again are needed no more."""
    monkeypatch.setattr(tempfile, "SpooledTemporaryFile", lambda **_: LateDisk())
    assert rig.db().exec_many(INSERT, [(1,), (2,)]).rowcount == 2
    assert rig.count() == 2


class Unhashable(Exception):  # it is a class of a user's
    """As every dataclass that is an exception: equal by its fields, and so without a hash."""

    __hash__ = None  # type: ignore[assignment]  # so Python has it too


def test_an_error_without_a_hash_is_the_callers_own_after_a_retry(rig: Rig) -> None:
    """It came as a TypeError."""
    db = rig.db()
    rig.proxy.on_query(b"begin", inject_err(1213, "Deadlock found", "40001"))
    with pytest.raises(Unhashable):
        db.exec_many(INSERT, rows(1, Unhashable()))
    assert rig.proxy.seen(b"begin") == 2
    assert rig.count() == 0


class Gone:
    """A stderr that is closed at the other end once the load is nearly over."""

    def write(self, text: str) -> int:
        """Write, but for the end of the line."""
        if text == "\n":
            raise BrokenPipeError
        return len(text)

    def flush(self) -> None:
        """Do nothing."""


def test_a_bar_that_cannot_be_ended_is_no_error(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rows are in by then."""
    monkeypatch.setitem(sys.modules, "tqdm", None)
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    db = rig.db()
    monkeypatch.setattr(sys, "stderr", Gone())
    assert db.exec_many(INSERT, [(1,)], progress=True).rowcount == 1
