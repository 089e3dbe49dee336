"""Log lines about what has happened already. A filter or a handler that raises must not make it look failed.

They also swallow what a signal's handler raises in that instant. So only they do, and no line that comes often.

Knows loggers. Does not know what happened.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import logging


def warn(logger: logging.Logger, text: str, *args: Any) -> None:
    """Log a warning, if that is possible."""
    with contextlib.suppress(Exception):
        logger.warning(text, *args, stacklevel=2)


def complain(logger: logging.Logger, text: str, *args: Any) -> None:
    """Log the error that is being handled, if that is possible."""
    with contextlib.suppress(Exception):
        logger.error(text, *args, exc_info=True, stacklevel=2)  # noqa: LOG014  # its callers handle one
