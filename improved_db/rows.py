"""`Rows`: what a query returns.

Knows finished results. Does not know connections.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn, Protocol, TypeAlias

#: A row by default, and one with ``dictcursor=True``.
TupleRow: TypeAlias = tuple[Any, ...]
DictRow: TypeAlias = dict[str, Any]

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from typing_extensions import TypeVar

    R_co = TypeVar("R_co", covariant=True, default=TupleRow)  # a plain `Rows` in an annotation has tuples
else:
    from typing import TypeVar

    R_co = TypeVar("R_co", covariant=True)


_FETCHED = "the rows are a tuple already: list(rows), rows[0], or return_one=True for the first row alone"


class Result(Protocol):
    """What a finished result tells besides its rows, as PyMySQL's `MySQLResult` does."""

    affected_rows: Any
    insert_id: Any
    warning_count: Any
    description: Any


class Rows(tuple[R_co, ...]):  # noqa: SLOT001  # a tuple with slots cannot hold more than its items
    """A tuple of rows, ``()`` if no row matched or the statement has no result.

    To a type checker it is ``Rows[tuple[Any, ...]]``, or ``Rows[dict[str, Any]]`` with ``dictcursor=True``.
    Notebooks show it as a table of its first 50 rows.
    """

    _result: Result

    @property
    def rowcount(self) -> int:
        """How many rows the statement returned, or changed if it has no result."""
        return int(self._result.affected_rows or 0)

    @property
    def lastrowid(self) -> int:
        """The first AUTO_INCREMENT value that the statement generated; 0 if none."""
        return int(self._result.insert_id or 0)

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns, as the server gives them."""
        return tuple(column[0] for column in self._result.description or ())

    @property
    def warning_count(self) -> int:
        """How many warnings the server noted."""
        return int(self._result.warning_count or 0)

    def _repr_html_(self) -> str | None:
        """Return the rows as a table for notebooks; None, so that they show the plain text, if there is no result."""
        from improved_db.notebook import as_table  # noqa: PLC0415  # only notebooks need it

        return as_table(self, self.columns) if self or self.columns else None

    if not TYPE_CHECKING:  # a type checker knows the names that there are

        def __getattr__(self, name: str) -> NoReturn:
            hint = f"; {_FETCHED}" if name in {"fetchall", "fetchmany", "fetchone"} else ""
            text = f"{type(self).__name__!r} object has no attribute {name!r}{hint}"
            raise AttributeError(text, name=name, obj=self)

    def __reduce__(self) -> tuple[Any, ...]:
        counts = _Counts(self.rowcount, self.lastrowid, self.warning_count, tuple((name,) for name in self.columns))
        return rows_made, (tuple(self), counts)


def rows_from(result: Any) -> Rows[Any]:
    """Return the rows of a finished result."""
    rows: Sequence[Any] = result.rows
    made: Rows[Any] = Rows(rows) if rows else Rows()
    made._result = result
    return made


def rows_made(rows: Iterable[Any], result: Result) -> Rows[Any]:
    """Return `Rows` of what was made of the rows of *result*, with its counts."""
    made: Rows[Any] = Rows(rows)
    made._result = result
    return made


def rows_counted(rowcount: int, lastrowid: int = 0, warning_count: int = 0, batch: int | None = None) -> Rows[TupleRow]:
    """Return empty `Rows` with these counts; *batch*: how many sets of arguments were sent."""
    counts = _Counts(rowcount, lastrowid, warning_count)
    counts.batch = batch
    return rows_made((), counts)


class _Counts:
    batch: int | None = None  # how many sets of arguments were sent

    def __init__(
        self, affected_rows: int, insert_id: int, warning_count: int, description: tuple[tuple[str], ...] = ()
    ) -> None:
        self.affected_rows = affected_rows
        self.insert_id = insert_id
        self.warning_count = warning_count
        self.description = description
