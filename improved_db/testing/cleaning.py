"""What makes a private server as empty as it was: no connection, database or account of the tests'.

Knows the names that a server has from its installation. Does not know replication.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from pymysql.err import MySQLError

from improved_db.testing.asking import ask

if TYPE_CHECKING:
    from improved_db.testing.binary import Flavour
    from improved_db.testing.server import TemporaryServer

_CONNECTIONS = (
    "SELECT id FROM information_schema.processlist "
    "WHERE id <> CONNECTION_ID() AND user NOT IN ('system user', 'event_scheduler')"
)
_DATABASES = (
    "SELECT schema_name FROM information_schema.schemata "
    "WHERE schema_name NOT IN ('information_schema', 'mysql', 'performance_schema', 'sys')"
)
_ACCOUNTS = (
    "SELECT QUOTE(user), QUOTE(host) FROM mysql.user "
    "WHERE user NOT IN ('root', 'mariadb.sys') AND user NOT LIKE 'mysql.%' AND host <> ''"  # without host: a role
)


#: The account that programs use. A read-only server refuses its writes; those of root it takes (READ_ONLY ADMIN).
APP = "app"
_APP = f"{APP}@'127.0.0.1'"
_MAKE_APP = (f"CREATE USER {_APP}", f"GRANT ALL ON *.* TO {_APP}")
_WITHOUT = {"mariadb": (f"REVOKE SUPER, READ_ONLY ADMIN ON *.* FROM {_APP}",), "mysql": ()}


def clean(node: TemporaryServer, flavour: Flavour) -> tuple[str, ...]:
    """End all other connections of *node*, and return what makes it empty.

    The statements remove what is not from its installation, and make the database ``test`` and the account `APP`.
    """
    for (number,) in ask(node.socket, _CONNECTIONS):
        with suppress(MySQLError):  # it may have ended by itself
            ask(node.socket, f"KILL {number}")
    databases = [f"DROP DATABASE `{name.replace('`', '``')}`" for (name,) in ask(node.socket, _DATABASES)]
    accounts = [f"DROP USER {user}@{host}" for user, host in ask(node.socket, _ACCOUNTS)]
    return (*databases, *accounts, "CREATE DATABASE test", *_MAKE_APP, *_WITHOUT[flavour])
