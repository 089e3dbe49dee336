"""Statements for one server of a cluster, whatever part it has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pymysql

if TYPE_CHECKING:
    from improved_db.testing import TemporaryServer


def ask(node: TemporaryServer, *statements: str) -> tuple[tuple[Any, ...], ...]:
    """Run *statements* on a connection of their own, as root; return the rows of the last."""
    options = {**node.connect_options, "autocommit": True, "ssl_disabled": True, "read_timeout": 30}
    with pymysql.connect(**options) as connection, connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
        return tuple(cursor.fetchall())
