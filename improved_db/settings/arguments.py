"""Times and sizes that a verb of the pool takes: checked as the options of those kinds are, before anything happens.

Knows the kinds of options. Does not know the verbs.
"""

from __future__ import annotations

from improved_db.settings.options import checked
from improved_db.settings.secret import Secret


def check_wait(where: str, seconds: object) -> None:
    """Refuse what is no number of seconds to wait, at most a year; 0 is one.

    Args:
        where: The verb, for the error.
        seconds: The argument ``timeout``.

    Raises:
        ConfigError: It is none; the text says what is valid.
    """
    checked("acquire_timeout", Secret(seconds), where=where, called="timeout")


def check_sizes(where: str, max_size: object, min_size: object) -> None:
    """Refuse what is no number of connections; *min_size* may be None.

    Raises:
        ConfigError: One of them is none; the text says what is valid.
    """
    checked("max_size", Secret(max_size), where=where)
    if min_size is not None:
        checked("min_size", Secret(min_size), where=where)


def check_role(where: str, role: object) -> None:
    """Refuse what is no role of a server; None is one.

    Raises:
        ConfigError: It is none; the text says what is valid.
    """
    if role is not None:
        checked("role", Secret(role), where=where)
