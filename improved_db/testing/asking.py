"""Statements for a private server, as root, by its unix socket.

Knows PyMySQL and sockets. Does not know what the statements are for.
"""

from __future__ import annotations

import socket as sockets
from typing import Any, TypeAlias

from pymysql.connections import Connection
from pymysql.cursors import Cursor, DictCursor

#: Seconds that the server may take to answer one statement.
PATIENCE = 30.0

Row: TypeAlias = tuple[Any, ...]


def ask(socket: str, *statements: str) -> tuple[Row, ...]:
    """Run *statements* one after the other on one connection, and return the rows of the last.

    Raises:
        OSError: No server listens on the socket.
        pymysql.err.MySQLError: The server refused a statement, or did not answer in `PATIENCE` seconds.
    """
    return _run(socket, statements, Cursor)


def ask_names(socket: str, statement: str) -> list[dict[str, Any]]:
    """Run *statement*, and return its rows by the names of their columns; errors as of `ask`."""
    return list(_run(socket, (statement,), DictCursor))


def _run(socket: str, statements: tuple[str, ...], kind: type[Cursor]) -> tuple[Any, ...]:
    connection = Connection(user="root", read_timeout=PATIENCE, ssl_disabled=True, defer_connect=True, autocommit=True)
    with sockets.socket(sockets.AF_UNIX) as sock:  # PyMySQL leaks its own unix socket if it cannot connect
        sock.connect(socket)
        connection.connect(sock)
        with connection, connection.cursor(kind) as cursor:
            for statement in statements:
                cursor.execute(statement)
            return tuple(cursor.fetchall())
