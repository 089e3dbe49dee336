"""How one row of a VALUES list is written: constant text with the places of the values in it.

Knows PyMySQL's placeholders: ``%s``, ``%(name)s`` and ``%%``. Does not know values or statements.
"""

from __future__ import annotations

import functools
import re
from typing import Final, NamedTuple

_PERCENT: Final = r"(?s)%(?:\(([^()]*)\))?(.?)"


class Template(NamedTuple):
    """Constant text around values: one piece more than there are values in a row.

    Attributes:
        pieces: What stands before each value, and after the last one.
        names: The key of each value, if rows are mappings; None if they are sequences.
    """

    pieces: tuple[str, ...]
    names: tuple[str, ...] | None

    @property
    def width(self) -> int:
        """How many values are put into a row."""
        return len(self.pieces) - 1


@functools.lru_cache(maxsize=64)
def parse_template(text: str) -> Template | None:
    """Find the placeholders in *text*; as in PyMySQL, only ``%%`` writes a percent sign.

    Returns:
        None if it has both kinds of placeholders, or a single percent sign outside one.
    """
    pieces = [""]
    names: list[str | None] = []
    position = 0
    for percent in re.finditer(_PERCENT, text):
        name, kind = percent.groups()
        pieces[-1] += text[position : percent.start()]
        position = percent.end()
        if kind == "s":
            names.append(name)
            pieces.append("")
        elif kind == "%" and name is None:
            pieces[-1] += "%"
        else:
            return None
    pieces[-1] += text[position:]
    given = tuple(name for name in names if name is not None)
    if given and len(given) < len(names):
        return None
    return Template(tuple(pieces), given or None)
