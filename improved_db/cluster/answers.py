"""The answer to one statement of a probe, as plain texts: rows by the names of their columns, or an error number.

Knows how servers write yes, no and numbers. Does not know what is asked, or what it means.
"""

from __future__ import annotations

from typing import TypeAlias

#: One row; names of columns are in lower case, NULL is an empty text.
Row: TypeAlias = dict[str, str]
#: All rows of an answer, or the number of the error that came in its place.
Answer: TypeAlias = "list[Row] | int"


def first(answer: Answer) -> Row:
    """Return the only row; nothing where there is none."""
    return answer[0] if isinstance(answer, list) and answer else {}


def pairs(answer: Answer) -> Row:
    """Return what SHOW STATUS or SHOW VARIABLES says, by name in lower case."""
    rows = answer if isinstance(answer, list) else []
    return {row["variable_name"].lower(): row.get("value", "") for row in rows if "variable_name" in row}


def flag(text: str | None) -> bool | None:
    """Return what ON, OFF, Yes, No, 1 and 0 mean; None where nothing is said. Any other word is a kind of ON."""
    if not text:
        return None
    return text.upper() not in {"OFF", "NO", "0"}


def number(text: str | None) -> int | None:
    """Return a whole number; None where there is none."""
    try:
        return int(text or "")
    except ValueError:
        return None
