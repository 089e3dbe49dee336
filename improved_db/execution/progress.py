"""Shows how far a bulk load has come, to callers who want to see it.

Knows tqdm, if it is installed, and stderr. Does not know what is loaded.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator, Sized
from contextlib import contextmanager, suppress
from typing import TypeAlias

from improved_db.errors import StatementError
from improved_db.failures.raising import CallersOwn

#: Called with the number of rows done and the total, None if unknown.
Progress: TypeAlias = Callable[[int, "int | None"], object]


def number_of(rows: object, progress: object, total: object) -> int | None:
    """Return how many rows there will be: what the caller says, or else the rows themselves; None if unknown.

    Raises:
        StatementError: *total* is not a number of rows, or *progress* cannot show it.
    """
    if not (progress is None or isinstance(progress, bool) or callable(progress)):
        raise StatementError(
            f"progress must be True, or a callable of rows done and total, not a {type(progress).__name__}"
        )
    if total is None:
        return len(rows) if isinstance(rows, Sized) else None
    if isinstance(total, bool) or not isinstance(total, int):
        raise StatementError(f"total must be an int, the number of rows, not a {type(total).__name__}")
    if total < 0:
        raise StatementError(f"total must be a number of rows, at least 0, not {total}")
    return total


@contextmanager
def shown(progress: bool | Progress | None, total: int | None) -> Iterator[Callable[[int], object]]:
    """Lend a function to call with the number of rows done.

    Args:
        progress: True for a bar on stderr (tqdm's, if installed, else a plain line), a callable, or None for nothing.
        total: How many rows there will be; None if that is unknown.
    """
    if callable(progress):
        tell = progress

        def call(done: int) -> None:
            try:
                tell(done, total)
            except BaseException as error:
                raise CallersOwn(error) from error

        yield call
    elif progress:
        with _bar(total) as show:
            yield show
    else:
        yield lambda _: None


@contextmanager
def _bar(total: int | None) -> Iterator[Callable[[int], object]]:
    try:
        tqdm = importlib.import_module("tqdm.auto").tqdm
    except ImportError:
        try:
            yield lambda done: _line(done, total)
        finally:
            with suppress(OSError, ValueError):  # what happens to stderr says nothing about the rows
                sys.stderr.write("\n")
        return
    bar = tqdm(total=total, unit="rows", unit_scale=True)
    try:
        yield lambda done: bar.update(done - bar.n)
    finally:
        with suppress(OSError, ValueError):  # as above
            bar.close()


def _line(done: int, total: int | None) -> None:
    share = f" of {total:,} ({100 * done // total} %)" if total else ""
    sys.stderr.write(f"\r{done:,} rows{share}")
    sys.stderr.flush()
