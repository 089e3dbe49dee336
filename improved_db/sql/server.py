"""The kinds of servers and proxies, and how to tell them by their version.

Knows names and versions of servers. Does not know connections or what they are asked.
"""

from __future__ import annotations

import enum
from typing import Final


class Flavour(enum.Enum):
    """The kind of server or proxy, as far as it can be told."""

    MYSQL = "mysql"  #: MySQL, Percona Server, and every server that looks like them
    MARIADB = "mariadb"
    GALERA = "galera"
    TIDB = "tidb"
    VITESS = "vitess"
    PROXYSQL = "proxysql"
    AURORA = "aurora"


#: Looked for in this order: the proxies' names before those of the servers they look like.
_FLAVOUR_MARKS: Final = (
    ("proxysql", Flavour.PROXYSQL),
    ("tidb", Flavour.TIDB),
    ("vitess", Flavour.VITESS),
    ("planetscale", Flavour.VITESS),
    ("aurora", Flavour.AURORA),
    ("wsrep", Flavour.GALERA),
    ("galera", Flavour.GALERA),
    ("mariadb", Flavour.MARIADB),
)


def flavour_of(server_version: str) -> Flavour:
    """Return the kind of server, read from the version in the handshake.

    A proxy may give a false version, and most Galera nodes do not name Galera: better sources (``@@wsrep_on``,
    ``@@aurora_version``, the user) should win over this.

    Args:
        server_version: For example ``"5.5.5-10.11.6-MariaDB"`` or ``"8.0.11-TiDB-v7.5.0"``.

    Returns:
        The flavour; `Flavour.MYSQL` if the version names no other.
    """
    lower = server_version.lower()
    # MariaDB before 11 puts this in front, so that old replicas do not take 10 for less than 5.
    default = Flavour.MARIADB if lower.startswith("5.5.5-") else Flavour.MYSQL
    return next((flavour for mark, flavour in _FLAVOUR_MARKS if mark in lower), default)
