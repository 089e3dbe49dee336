"""Rows as a table of HTML, as notebooks show the last value of a cell.

Knows HTML and what a row may be. Does not know queries or connections.
"""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from improved_db.records import field_names

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

#: At most so many rows are shown, of a cell so many characters, and of one row so many cells.
MOST_ROWS: Final = 50
MOST_CHARACTERS: Final = 300
MOST_COLUMNS: Final = 100


def as_table(rows: Sequence[Any], columns: Sequence[str]) -> str:
    """Return *rows* as an HTML table with at most `MOST_ROWS` of them, and a note how many there are.

    Every name and value is text, whatever it contains: a browser executes none.

    Args:
        rows: Tuples, dicts, records with named fields, or anything else, which makes one cell.
        columns: The names of the columns, as the server gives them.
    """
    names, cells = _read(rows[:MOST_ROWS], columns)
    notes = []
    if len(rows) > MOST_ROWS:
        notes.append(f"the first {MOST_ROWS} of {len(rows):,} rows")
    if len(names) > MOST_COLUMNS:
        notes.append(f"the first {MOST_COLUMNS} of {len(names):,} columns")
    if not rows:
        notes.append("no rows")
    head = f"<thead>{_line('th', names)}</thead>" if names else ""
    body = "".join(_line("td", map(_text, row)) for row in cells)
    note = f"<p>{', '.join(notes)}</p>" if notes else ""
    return f"<table>{head}<tbody>{body}</tbody></table>{note}"


def _read(rows: Sequence[Any], columns: Sequence[str]) -> tuple[Sequence[str], list[Iterable[Any]]]:
    """Return the names over the columns, and the values of each row."""
    first = rows[0] if rows else ()
    if isinstance(first, Mapping):
        return list(map(str, first)), [row.values() for row in rows]
    names = field_names(first)
    if names is not None and not isinstance(first, tuple):
        return names, [[getattr(row, name) for name in names] for row in rows]
    if isinstance(first, (tuple, list)):
        return names or columns, list(rows)
    return (columns if len(columns) == 1 else ()), [[row] for row in rows]


def _line(tag: str, texts: Iterable[str]) -> str:
    cells = "".join(f"<{tag}>{escape(text)}</{tag}>" for text in islice(texts, MOST_COLUMNS))
    return f"<tr>{cells}</tr>"


def _text(value: object) -> str:
    if isinstance(value, (bytes, bytearray)):
        value = value[: MOST_CHARACTERS + 1]
    text = str(value)
    return text if len(text) <= MOST_CHARACTERS else f"{text[:MOST_CHARACTERS]}…"
