"""A primary with replicas, and an operator's commands for them, which tests give one by one.

Knows MariaDB's replication. Does not know pools or monitors.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pymysql

from improved_db.wire.pymysql_driver import PyMySQLDriver

if TYPE_CHECKING:
    from collections.abc import Callable

    from improved_db.testing import TemporaryCluster, TemporaryServer

#: An account with rights on its own database, and nothing else.
MODEST = "modest"


class Replicas:
    """Servers a, b, c of a `TemporaryCluster`: the first one is the primary, the others are read-only and follow it.

    Attributes:
        servers: The servers.
    """

    def __init__(self, cluster: TemporaryCluster) -> None:
        """Prepare the servers of a cluster that was reset, and wait until the replicas have all that it has."""
        self.servers: list[TemporaryServer] = list(cluster.nodes)
        self.run(0, "create user if not exists repl@'%' identified by ''", "grant replication slave on *.* to repl@'%'")
        self.run(0, f"create user {MODEST}@'%'", f"grant all on test.* to {MODEST}@'%'")
        self.run(0, "create table test.pets (id int auto_increment primary key)")
        self.catch_up(*range(1, len(self.servers)), of=0)

    def address(self, one: int) -> str:
        """Return the address of a server, as the settings would have it."""
        return f"127.0.0.1:{self.servers[one].port}"

    @property
    def addresses(self) -> list[str]:
        """The addresses of all."""
        return [self.address(one) for one in range(len(self.servers))]

    def drivers(self, user: str = "root", connect_timeout: float = 3.0) -> dict[str, PyMySQLDriver]:
        """Return what opens connections to each server, by address."""
        return {
            self.address(one): PyMySQLDriver(_options_of(server, user, connect_timeout))
            for one, server in enumerate(self.servers)
        }

    def run(self, one: int, *statements: str) -> tuple[Any, ...]:
        """Run statements on a server as root, and return the rows of the last one."""
        with (
            pymysql.connect(**self.servers[one].connect_options, autocommit=True, connect_timeout=5) as connection,
            connection.cursor() as cursor,
        ):
            for statement in statements:
                cursor.execute(statement)
            return tuple(cursor.fetchall())

    def follow(self, one: int, source: int) -> None:
        """Let a server replicate from another one."""
        self.run(
            one,
            f"change master to master_host='127.0.0.1', master_port={self.servers[source].port}, master_user='repl', "
            "master_use_gtid=slave_pos, master_connect_retry=1",
            "start slave",
        )

    def promote(self, one: int) -> None:
        """Let a replica be the primary, as an operator does."""
        self.run(one, "stop slave", "reset slave all", "set global read_only = 0")

    def refollow(self, one: int, source: int) -> None:
        """Let a replica replicate from another server than before."""
        self.run(one, "stop slave", "set global read_only = 1")
        self.follow(one, source)

    def position(self, one: int) -> str:
        """Return what a server has."""
        return str(self.run(one, "select @@gtid_binlog_pos")[0][0])

    def catch_up(self, *others: int, of: int) -> None:
        """Wait until replicas have all that another server has."""
        position = self.position(of)
        for one in others:
            assert self.run(one, f"select master_gtid_wait('{position}', 20)")[0][0] == 0


def _options_of(server: TemporaryServer, user: str, connect_timeout: float) -> Callable[[], dict[str, Any]]:
    options = {**server.connect_options, "user": user, "connect_timeout": connect_timeout, "autocommit": True}
    return lambda: options


def eventually(holds: Callable[[], bool], seconds: float = 20.0) -> bool:
    """Look until something holds; False if it does not in time."""
    ends_at = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > ends_at:
            return False
        time.sleep(0.01)
    return True
