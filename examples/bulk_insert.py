"""Many rows from a generator: never all in memory, all in one transaction or none, or chunk by chunk.

    python examples/bulk_insert.py

runs on a private server, gone at the end, or on the one that IMPROVED_DB_URL names.
"""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING

from improved_db import ImprovedDb

if TYPE_CHECKING:
    from collections.abc import Iterator

INSERT = "insert into example_wave (id, height, at) values (%s, %s, now())"


def waves(count: int) -> Iterator[tuple[int, float]]:
    """Make rows as they are asked for."""
    for number in range(count):
        yield number, math.sin(number / 100)


def broken(count: int) -> Iterator[tuple[int, float]]:
    """Make rows until the source breaks, half way."""
    yield from waves(count // 2)
    raise RuntimeError("the source broke off")


def main() -> None:
    """Load, load from a source that breaks, and see what is in."""
    own = os.environ.get("IMPROVED_DB_URL")
    with ImprovedDb(own) if own else ImprovedDb.ephemeral() as db:
        db.execute_query("create table example_wave (id int primary key, height double, at datetime)")
        try:
            print("in:", db.exec_many(INSERT, waves(50_000), progress=True).rowcount)
            db.execute_query("truncate example_wave")
            for atomic in (True, False):
                try:
                    db.exec_many(INSERT, broken(50_000), atomic=atomic)
                except RuntimeError as error:
                    rows = db.execute_query("select count(*) from example_wave")[0][0]
                    print(
                        f"atomic={atomic}: {error}; rows in: {rows:,}, known to be: {getattr(error, 'acked_rows', 0):,}"
                    )
        finally:
            db.execute_query("drop table example_wave")


if __name__ == "__main__":
    main()
