"""What the server under test can do, found out by trying it: a test says what it needs, and not which server it is for.

Knows SQL that some servers lack. Does not know pytest, or which tests there are.
"""

from __future__ import annotations

import os
from contextlib import closing
from typing import TYPE_CHECKING, Any, Final

import pymysql

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Names capabilities, with commas between them, that the server counts as without.
SWITCHED_OFF: Final = "IMPROVED_DB_TEST_WITHOUT"

#: By capability, statements that raise no error where it is there; they run in a database of their own.
PROBES: Final[dict[str, tuple[str, ...]]] = {
    "create or replace": ("create or replace table probe (a int)",),
    "blocks without a procedure": ("begin not atomic select 1; end",),
    "execute immediate": ("execute immediate 'select 1'",),
    "a limit for any statement": ("set statement max_statement_time = 9 for select 1",),
    "backup stages": ("backup stage start", "backup stage end"),
    "Aria": ("create table aria (a int) engine=Aria",),
    "@@in_transaction": ("select @@in_transaction",),
    "sequences": ("create sequence counter", "select nextval(counter)"),
    "snapshot isolation": ("select @@innodb_snapshot_isolation",),
    "VALUES alone": ("values (1)",),
    "SKIP LOCKED": ("create table probe (a int)", "select a from probe for update skip locked"),
    "RETURNING": ("create table probe (a int)", "insert into probe values (1) returning a"),
    "inet6 and uuid": ("create table probe (a inet6, b uuid)",),
    "a password without TLS": (
        "create user native@localhost identified with mysql_native_password as ''",
        "drop user native@localhost",
    ),
}

#: The tables of numbers that tests read: MariaDB has them by their names alone.
NUMBERS: Final = (
    *[(1, 3), (1, 9), (1, 100), (1, 1000), (1, 5000)],
    *[(1, 10**digits) for digits in range(4, 10)],
)
_DIGITS: Final = " union all ".join(f"select {digit} as d" for digit in range(10))


class Capabilities:
    """What one server can do."""

    def __init__(self, options: Mapping[str, Any], without: str | None = None) -> None:
        """Be ready to ask.

        Args:
            options: How PyMySQL connects, as an account that may create databases and users.
            without: What it counts as without, as in ``IMPROVED_DB_TEST_WITHOUT``, which stands in for None.
        """
        self._options = {**options, "ssl_disabled": True, "autocommit": True}
        given = os.environ.get(SWITCHED_OFF, "") if without is None else without
        self._known: dict[str, bool] = {name.strip(): False for name in given.split(",") if name.strip()}

    def has(self, name: str) -> bool:
        """Say whether the server can do what *name* stands for.

        Raises:
            KeyError: Nothing is known by that name.
        """
        probes = PROBES[name]
        if name not in self._known:
            self._known[name] = self._try(probes)
        return self._known[name]

    def _try(self, statements: tuple[str, ...]) -> bool:
        with closing(pymysql.connect(**self._options)) as connection, connection.cursor() as cursor:
            cursor.execute("create database probing")
            cursor.execute("use probing")
            try:
                for statement in statements:
                    cursor.execute(statement)
            except pymysql.err.MySQLError:
                return False
            finally:
                cursor.execute("drop database probing")
        return True

    def give_numbers(self, database: str) -> None:
        """Make views of numbers in *database*, where the server has no tables of them: ``seq_1_to_100``."""
        if "numbers" not in self._known:
            self._known["numbers"] = self._try(("select seq from seq_1_to_3",))
        if self._known["numbers"]:
            return
        with closing(pymysql.connect(**{**self._options, "database": database})) as connection:
            for first, last in NUMBERS:
                with connection.cursor() as cursor:
                    cursor.execute(f"create view seq_{first}_to_{last} as {numbers(first, last)}")


def numbers(first: int, last: int) -> str:
    """Return a query of the numbers from *first* to *last*: few in their order, many as they come, without a wait."""
    if last <= 100_000:  # the server of the run goes so deep
        counting = f"select {first} as seq union all select seq + 1 from counting where seq < {last}"
        return f"with recursive counting as ({counting}) select seq from counting"
    places = range(len(str(last - 1)))
    value = " + ".join(f"{10**place} * d{place}.d" for place in places)
    tables = ", ".join(f"({_DIGITS}) as d{place}" for place in reversed(places))
    return f"select {first} + {value} as seq from {tables} where {value} <= {last - first}"
