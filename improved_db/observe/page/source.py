"""What a page asks of whatever it shows.

Knows the names of the data. Does not know where they come from.
"""

from __future__ import annotations

import inspect
import re
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    from improved_db.observe.page.history import Numbers


class Source(Protocol):
    """Where the data of a page come from.

    Attributes:
        title: What the page is about.
        tabs: Which parts it has.
    """

    title: str
    tabs: tuple[str, ...]

    def numbers(self) -> Numbers:
        """Return those of now, for the charts."""

    def quantile(self, counts: tuple[int, ...], share: float) -> float:
        """Return the duration of a share of the calls in a histogram."""

    def data(self, name: str, query: Mapping[str, str]) -> Any:
        """Return the data *name*; raise `Refusal` if there are none, or a parameter is invalid."""


def meanings(described: type) -> dict[str, str]:
    """Return what each attribute of a class means, by its docstring; empty where Python dropped docstrings."""
    text = inspect.cleandoc(described.__doc__ or "").partition("Attributes:\n")[2].partition("\n\n")[0]
    found = re.findall(r"^    (\w+): (.*(?:\n {8}.*)*)", text, re.MULTILINE)
    return {name: re.sub(r"[*`]+", "", " ".join(meaning.split())) for name, meaning in found}


def short_place(place: str) -> str:
    """Return a place with the last three parts of its path only: paths of this machine stay here."""
    path, colon, rest = place.partition(":")
    return "/".join(path.split("/")[-3:]) + colon + rest


def worded(value: object) -> str:
    """Return a setting's value as text."""
    if callable(value):
        return getattr(value, "__qualname__", type(value).__name__)
    if isinstance(value, (str, int, float, bool)) or value is None:
        return str(value)
    return type(value).__name__
