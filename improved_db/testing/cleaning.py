"""What makes a private server as empty as it was: no connection, database or account of the tests'.

Knows the names that a server has from its installation. Does not know replication.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from pymysql.err import MySQLError

from improved_db.testing.asking import ask

if TYPE_CHECKING:
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


def clean(node: TemporaryServer) -> tuple[str, ...]:
    """End all other connections of *node*, and return the statements that remove what is not from its installation."""
    for (number,) in ask(node.socket, _CONNECTIONS):
        with suppress(MySQLError):  # it may have ended by itself
            ask(node.socket, f"KILL {number}")
    databases = [f"DROP DATABASE `{name.replace('`', '``')}`" for (name,) in ask(node.socket, _DATABASES)]
    accounts = [f"DROP USER {user}@{host}" for user, host in ask(node.socket, _ACCOUNTS)]
    return (*databases, *accounts, "CREATE DATABASE test")
