"""Global transaction IDs of both dialects: which transactions a server has, and which of them another one lacks.

MariaDB writes ``domain-server-sequence``. Its ``@@gtid_binlog_state`` has, for each server that ever wrote in a domain,
the last number; so a server has every transaction of that origin up to this number, and none after it. (The numbers of
one origin have gaps, where another server wrote; that changes nothing in this comparison.) MySQL writes sets of ranges
of each server's UUID, with a tag if there is one. Both are one thing here: ranges of numbers by origin.

Knows the texts of both dialects, and sets. Does not know servers, roles or connections.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

#: Ranges of numbers, first and last included: in order, with a gap between each two.
Ranges = tuple[tuple[int, int], ...]
Dialect = Literal["mariadb", "mysql"]

_MARIADB: Final = re.compile(r"(\d+)-(\d+)-(\d+)")
_UUID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_TAG: Final = re.compile(r"[a-z_][a-z0-9_]{0,31}")
_RANGE: Final = re.compile(r"(\d+)(?:-(\d+))?")


@dataclass(frozen=True)
class GtidSet:
    """A set of transactions.

    Attributes:
        dialect: "mariadb" or "mysql".
        parts: Ranges by origin: ``domain-server`` of MariaDB, ``uuid`` or ``uuid:tag`` of MySQL. No range is empty.
    """

    dialect: Dialect
    parts: Mapping[str, Ranges]

    def __bool__(self) -> bool:
        return bool(self.parts)

    def __str__(self) -> str:
        """Return it as its server writes it; of MariaDB a range with more than its end has ``first..last``."""
        if self.dialect == "mysql":
            return ",".join(
                f"{origin}:{':'.join(_written(*one, '-') for one in ranges)}" for origin, ranges in self.parts.items()
            )
        return ",".join(
            f"{origin}-{last if first == 1 else _written(first, last, '..')}"
            for origin, ranges in self.parts.items()
            for first, last in ranges
        )

    @property
    def size(self) -> int:
        """How many numbers it has; of MariaDB's ranges from 1 that is more than there are transactions."""
        return sum(last - first + 1 for ranges in self.parts.values() for first, last in ranges)

    def contains(self, other: GtidSet) -> bool:
        """Say whether every transaction of *other* is in this set."""
        return not self.missing(other)

    def missing(self, other: GtidSet) -> GtidSet:
        """Return what *other* has and this set lacks."""
        return other.minus(self)

    def minus(self, other: GtidSet) -> GtidSet:
        """Return this set without the transactions of *other*."""
        left = {origin: _minus(ranges, other.parts.get(origin, ())) for origin, ranges in self.parts.items()}
        return GtidSet(self.dialect, {origin: ranges for origin, ranges in left.items() if ranges})

    def union(self, other: GtidSet) -> GtidSet:
        """Return what either set has."""
        both = {
            origin: _joined([*self.parts.get(origin, ()), *other.parts.get(origin, ())])
            for origin in {**self.parts, **other.parts}
        }
        return GtidSet(self.dialect, both)

    def written_by(self, server: str) -> GtidSet:
        """Return the part that one server wrote.

        Args:
            server: The ``server_id`` of MariaDB, the UUID of MySQL.
        """
        mine = {origin: ranges for origin, ranges in self.parts.items() if self._server_of(origin) == server.lower()}
        return GtidSet(self.dialect, mine)

    def _server_of(self, origin: str) -> str:
        return origin.partition("-")[2] if self.dialect == "mariadb" else origin.partition(":")[0]

    def newest(self) -> dict[str, tuple[str, int]]:
        """Return by domain of MariaDB the server that wrote the greatest number, and that number."""
        found: dict[str, tuple[str, int]] = {}
        for origin, ranges in self.parts.items():
            domain, _, server = origin.partition("-")
            if ranges[-1][1] > found.get(domain, ("", 0))[1]:
                found[domain] = (server, ranges[-1][1])
        return found


def history(text: str, dialect: Dialect) -> GtidSet:
    """Read what a server says it has: ``@@gtid_binlog_state``, ``@@gtid_slave_pos`` or ``@@gtid_executed``.

    Raises:
        ValueError: The text is not of this dialect.
    """
    return _of_mysql(text) if dialect == "mysql" else _of_mariadb(text, whole=True)


def transactions(text: str, dialect: Dialect) -> GtidSet:
    """Read the IDs of single transactions: those that a session was told with its COMMIT.

    Raises:
        ValueError: The text is not of this dialect.
    """
    return _of_mysql(text) if dialect == "mysql" else _of_mariadb(text, whole=False)


def _of_mariadb(text: str, *, whole: bool) -> GtidSet:
    parts: dict[str, list[tuple[int, int]]] = {}
    for one in _items(text):
        found = _MARIADB.fullmatch(one)
        if found is None:
            raise ValueError("this is not a list of domain-server-sequence")
        last = int(found[3])
        if last:
            parts.setdefault(f"{int(found[1])}-{int(found[2])}", []).append((1 if whole else last, last))
    return GtidSet("mariadb", {origin: _joined(ranges) for origin, ranges in parts.items()})


def _of_mysql(text: str) -> GtidSet:
    parts: dict[str, list[tuple[int, int]]] = {}
    for one in _items(text.lower()):
        uuid, *words = [word.strip() for word in one.split(":")]
        if not _UUID.fullmatch(uuid) or not words:
            raise ValueError("this is not a list of uuid:ranges")
        origin = uuid
        for word in words:
            found = _RANGE.fullmatch(word)
            if found is not None:
                parts.setdefault(origin, []).append((int(found[1]), int(found[2] or found[1])))
            elif _TAG.fullmatch(word):
                origin = f"{uuid}:{word}"
            else:
                raise ValueError("this is not a list of uuid:ranges")
    joined = {origin: _joined(ranges) for origin, ranges in parts.items()}
    return GtidSet("mysql", {origin: ranges for origin, ranges in joined.items() if ranges})


def _items(text: str) -> list[str]:
    """Return what commas separate; MySQL writes a newline behind each."""
    return [one for one in (part.strip() for part in text.split(",")) if one]


def _joined(ranges: Iterable[tuple[int, int]]) -> Ranges:
    """Return the ranges in order; those that touch each other are one, and empty ones are gone."""
    found: list[tuple[int, int]] = []
    for first, last in sorted(one for one in ranges if one[0] <= one[1]):
        if found and first <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(found[-1][1], last))
        else:
            found.append((first, last))
    return tuple(found)


def _minus(ranges: Ranges, others: Ranges) -> Ranges:
    found: list[tuple[int, int]] = []
    index = 0
    for first, last in ranges:
        start = first
        while index < len(others) and others[index][1] < start:
            index += 1
        at = index
        while at < len(others) and others[at][0] <= last:
            if others[at][0] > start:
                found.append((start, others[at][0] - 1))
            start = max(start, others[at][1] + 1)
            at += 1
        if start <= last:
            found.append((start, last))
    return tuple(found)


def _written(first: int, last: int, between: str) -> str:
    return str(first) if first == last else f"{first}{between}{last}"
