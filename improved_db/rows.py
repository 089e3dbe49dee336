"""`Rows`: what a query returns.

Knows a finished result. Does not know connections.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence


class Result(Protocol):
    """What a finished result tells besides its rows; PyMySQL's `MySQLResult` does."""

    affected_rows: Any
    insert_id: Any
    warning_count: Any
    description: Any


class Rows(tuple[Any, ...]):  # noqa: SLOT001  # a tuple with slots cannot hold more than its items
    """A tuple of rows, ``()`` when nothing matched or the statement has no result; each row a tuple or a dict."""

    _result: Result

    @classmethod
    def of(cls, result: Any) -> Rows:
        """Return the rows of a finished result."""
        rows: Sequence[Any] = result.rows
        made = cls(rows) if rows else cls()
        made._result = result
        return made

    @classmethod
    def counted(cls, rowcount: int, lastrowid: int = 0, warning_count: int = 0) -> Rows:
        """Return what a statement without rows tells."""
        made = cls()
        made._result = _Counts(rowcount, lastrowid, warning_count)
        return made

    @property
    def rowcount(self) -> int:
        """Rows returned, or rows changed by a statement without a result."""
        return int(self._result.affected_rows or 0)

    @property
    def lastrowid(self) -> int:
        """The first AUTO_INCREMENT value the statement made; 0 if it made none."""
        return int(self._result.insert_id or 0)

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns, as the server gives them."""
        return tuple(column[0] for column in self._result.description or ())

    @property
    def warning_count(self) -> int:
        """How many warnings the server noted."""
        return int(self._result.warning_count or 0)

    def __reduce__(self) -> tuple[Any, ...]:
        counts = _Counts(self.rowcount, self.lastrowid, self.warning_count, tuple((name,) for name in self.columns))
        return _remade, (tuple(self), counts)


class _Counts:
    def __init__(
        self, affected_rows: int, insert_id: int, warning_count: int, description: tuple[tuple[str], ...] = ()
    ) -> None:
        self.affected_rows = affected_rows
        self.insert_id = insert_id
        self.warning_count = warning_count
        self.description = description


def _remade(rows: tuple[Any, ...], counts: _Counts) -> Rows:
    made = Rows(rows)
    made._result = counts  # unpickling is part of the class
    return made
