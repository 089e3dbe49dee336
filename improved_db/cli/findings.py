"""What the doctor's rules look at, and what they find.

Knows how facts about a server are asked for, each once. Does not know what is good or bad.
"""

from __future__ import annotations

import enum
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from improved_db.sql.server import flavour_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from improved_db import ImprovedDb
    from improved_db.settings.settings import Settings
    from improved_db.sql.server import Flavour


class Level(enum.IntEnum):
    """How bad it is."""

    INFO = 0
    WARN = 1
    BAD = 2


class Found(NamedTuple):
    """What one rule sees.

    Attributes:
        setting: What it is about: a setting of the server or of ours, or a table.
        value: What that is now.
        why: What may happen because of it.
        do: What to type.
    """

    setting: str
    value: object
    why: str
    do: str


class Rule(NamedTuple):
    """One thing to look at.

    Attributes:
        name: Its name.
        level: How bad what it finds is.
        look: Yields what it finds.
    """

    name: str
    level: Level
    look: Callable[[Patient], Iterator[Found]]


class Patient:
    """A server, and how this program would use it.

    Attributes:
        settings: The client's settings.
        processes: How many processes with such a pool there are.
        password_source: Where the password was given, as `settings.origins` says it; empty without one.
    """

    def __init__(self, db: ImprovedDb, settings: Settings, *, processes: int, password_source: str) -> None:
        self._db = db
        self.settings = settings
        self.processes = processes
        self.password_source = password_source

    def rows(self, query: str, args: Any = None) -> list[tuple[Any, ...]]:
        """Ask the server."""
        return list(self._db.execute_query(query, args, timeout=30.0))

    @cached_property
    def variables(self) -> Mapping[str, str]:
        """The server's global variables, by names in lower case."""
        return {name.lower(): value for name, value in self.rows("show global variables")}

    @cached_property
    def status(self) -> Mapping[str, str]:
        """The server's global status, by names in lower case."""
        return {name.lower(): value for name, value in self.rows("show global status")}

    @cached_property
    def database(self) -> str | None:
        """The database that the settings name."""
        name = self.rows("select database()")[0][0]
        return None if name is None else str(name)

    @cached_property
    def account(self) -> str:
        """The account as the server names it."""
        return str(self.rows("select current_user()")[0][0])

    @cached_property
    def cipher(self) -> str:
        """The cipher of TLS; empty without TLS."""
        return str(dict(self.rows("show session status like 'Ssl_cipher'")).get("Ssl_cipher", ""))

    @cached_property
    def durability(self) -> list[Any]:
        """What `check_durability` finds."""
        return list(self._db.check_durability())

    @property
    def flavour(self) -> Flavour:
        """The kind of server."""
        return flavour_of(f"{self.text('version')} {self.text('version_comment')}")

    def text(self, name: str) -> str:
        """Return a global variable; empty if the server has none of that name."""
        return self.variables.get(name, "")

    def number(self, name: str) -> float | None:
        """Return a global variable as a number; None if the server has no such number."""
        try:
            return float(self.variables[name])
        except (KeyError, ValueError):
            return None

    def is_on(self, name: str) -> bool:
        """Whether a global variable is on."""
        return self.text(name).upper() in {"ON", "1", "YES", "TRUE"}

    def is_off(self, name: str) -> bool:
        """Whether a global variable is there and off."""
        return self.text(name).upper() in {"OFF", "0", "NO", "FALSE"}
