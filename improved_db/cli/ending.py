"""How a command ends: its exit code, and the one line that says why.

Knows the errors of this package and of the driver. Does not know commands or terminals.
"""

from __future__ import annotations

import enum

from improved_db import ConfigError, OutcomeUnknown, PoolError, ServerNotFound
from improved_db.wire.exchange import DriverError


class Exit(enum.IntEnum):
    """The exit codes of every command."""

    OK = 0
    FAILED = 1  #: the command ran, and found something or failed
    USAGE = 2  #: an argument, a setting or a file is wrong; nothing was sent
    UNREACHABLE = 3  #: no connection
    UNKNOWN = 4  #: a write may or may not have been applied
    INTERRUPTED = 130


class Failure(Exception):
    """Ends a command.

    Attributes:
        code: The exit code.
    """

    def __init__(self, text: str, code: Exit = Exit.FAILED) -> None:
        super().__init__(text)
        self.code = code


def failure_of(error: BaseException) -> Failure:
    """Return how a command ends because of *error*."""
    if isinstance(error, Failure):
        return error
    return Failure(one_line(error), _code_of(error))


def _code_of(error: BaseException) -> Exit:
    if isinstance(error, OutcomeUnknown):
        return Exit.UNKNOWN
    if isinstance(error, (PoolError, ServerNotFound)):
        return Exit.UNREACHABLE
    if isinstance(error, DriverError):
        return Exit.UNREACHABLE if is_of_the_network(error) else Exit.FAILED
    if isinstance(error, (ConfigError, OSError, ImportError)):
        return Exit.USAGE
    return Exit.INTERRUPTED if isinstance(error, KeyboardInterrupt) else Exit.FAILED


def is_of_the_network(error: BaseException) -> bool:
    """Whether the driver itself raised *error*, because of the connection: its numbers are 2000 to 2999."""
    number = error.args[0] if error.args else None
    return isinstance(number, int) and 2000 <= number < 3000


def one_line(error: BaseException) -> str:
    """Return what an error says, on one line, with the number of the server or driver in front."""
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        text = f"{error.filename}: {error.strerror}"
    elif isinstance(error, DriverError) and len(error.args) > 1 and isinstance(error.args[0], int):
        text = f"{error.args[0]}: {error.args[1]}"
    elif isinstance(error, (DriverError, ConfigError, ServerNotFound, ImportError)):
        text = str(error)
    else:
        text = f"{type(error).__name__}: {error}"
    cause = error.__cause__
    if isinstance(error, PoolError) and cause is not None:
        text += f" (the last error: {one_line(cause)})"
    return " ".join(text.split())
