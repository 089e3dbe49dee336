"""The drivers that a pool of the snippet's kind may be over, those that are installed."""

from __future__ import annotations

import dataclasses
import sqlite3
from importlib import import_module
from typing import TYPE_CHECKING, Any

import pymysql.connections
import pytest

from improved_db import Connection

if TYPE_CHECKING:
    from collections.abc import Callable

    from improved_db.compat.queuepool import QueuePool

    MakeQueue = Callable[..., QueuePool]


@dataclasses.dataclass
class Kind:
    """A driver: how it connects, and what its connections are."""

    name: str
    creator: Callable[[], Any]
    connection_class: type

    @property
    def has_server(self) -> bool:
        """Whether there is a server at the other end."""
        return self.name != "sqlite3"


class CannotConnect(Exception):
    """What a creator raises."""


def import_mysqlclient() -> Any:
    """Return the module MySQLdb; skip the test where it is not installed."""
    why = "mysqlclient is optional: it needs a C compiler and a client library"
    return pytest.importorskip("MySQLdb", reason=why, exc_type=ImportError)


def make_kind(name: str, database: dict[str, Any]) -> Kind:
    """Return a driver; skip the test where it is not installed."""
    if name == "sqlite3":
        return Kind(name, lambda: sqlite3.connect(":memory:"), sqlite3.Connection)
    if name == "pymysql":
        return Kind(
            name, lambda: pymysql.connections.Connection(**database, ssl_disabled=True), pymysql.connections.Connection
        )
    if name == "improved_db":
        return Kind(name, lambda: Connection(**database, ssl_disabled=True), Connection)
    mysqldb = import_mysqlclient()
    return Kind(name, lambda: mysqldb.connect(**database), import_module("MySQLdb.connections").Connection)
