"""The compiled row reader, if it was built and the user has not turned it off.

Knows the extension module and `IMPROVED_DB_PURE`. Does not know columns or rows.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from improved_db.wire._rows import Rows

#: The environment variable that turns the compiled reader off, unless it is empty or "0".
PURE_VARIABLE: Final = "IMPROVED_DB_PURE"


def load_rows() -> type[Rows] | None:
    """Return the extension's class; None if it was not built, or if the user has turned it off."""
    if os.environ.get(PURE_VARIABLE, "") not in {"", "0"}:
        return None
    try:
        from improved_db.wire._rows import Rows  # noqa: PLC0415 -- it may be missing
    except ImportError:
        return None
    return Rows


#: The class that makes row readers; None: generated Python code reads the rows.
ROWS: Final = load_rows()

#: Whether rows are read by compiled code.
compiled: Final = ROWS is not None
