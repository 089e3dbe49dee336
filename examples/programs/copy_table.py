"""Copy a table to another server, with a bar that knows its end; memory does not grow with the table.

python -m programs.copy_table mysql://app@old/shop mysql://app@new/shop pets
"""

from __future__ import annotations

import sys

from improved_db import SQL, Identifier, ImprovedDb


def copy(source: ImprovedDb, target: ImprovedDb, table: str, *, bar: bool = True) -> int:
    """Copy all rows, in one transaction; return how many."""
    name = Identifier(table)
    total = source.fetch_value(SQL("select count(*) from {}").format(name))
    with source.stream(SQL("select * from {}").format(name)) as rows:
        return target.load_rows(table, rows, rows.columns, progress=bar, total=total).rowcount


if __name__ == "__main__":
    with ImprovedDb(sys.argv[1]) as old, ImprovedDb(sys.argv[2]) as new:
        print(copy(old, new, sys.argv[3]))
