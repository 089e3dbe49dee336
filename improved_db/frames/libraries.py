"""The libraries that frames are made with, imported on first use.

Knows their names and what to type where one is missing. Does not know what is done with them.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any


def library(name: str, extra: str = "arrow") -> Any:
    """Import a library.

    Args:
        name: The module.
        extra: Which extra of this package installs it.

    Raises:
        ImportError: It is not installed; the text says what to type.
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise ImportError(f"{name} is not installed: pip install improved-db[{extra}]", name=name) from error
