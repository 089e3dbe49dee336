"""Names of statements: what a log or a statistic may call a text that a program has given a name.

A name is noted once, when the text is loaded, and looked up when something is told; running a statement costs nothing.

Knows texts and their names. Does not know where texts come from, or who tells of them.
"""

from __future__ import annotations

from typing import Final

_names: Final[dict[str, str]] = {}


def name_statement(query: str, name: str) -> None:
    """Give a statement, before its arguments are put in, a name; of several, it keeps the first."""
    _names.setdefault(query, name)


def name_of(query: str) -> str:
    """Return the name of a statement; empty if it has none."""
    return _names.get(query, "")
