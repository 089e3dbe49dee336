"""Rows from frames: a pandas or polars DataFrame, an Arrow Table, RecordBatch or RecordBatchReader, column by column.

What is not there is NULL in all of them: None, NaN, NaT, pandas' NA and Arrow's nulls. A library is recognised by the
type of what the caller gave, so none is imported that the caller has not.

Knows frames and the Python values of their columns. Does not know statements or connections.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from improved_db.errors import StatementError
from improved_db.frames.libraries import library

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

#: So many rows are converted at a time.
BLOCK: Final = 10_000

_CONTAINERS: Final = (list, tuple, dict, set, frozenset)


def is_frame(rows: object) -> bool:
    """Say whether *rows* is one of the frames that are taken."""
    return _kind(rows) is not None


def names_of(rows: Any) -> list[str]:
    """Return the names of the columns of a frame.

    Raises:
        StatementError: A name comes twice; the text says which.
    """
    names = [str(name) for name in (rows.schema.names if _kind(rows) in _ARROWS else rows.columns)]
    for name, times in Counter(names).items():
        if times > 1:
            raise StatementError(f"the frame has {times} columns named {name!r}; each needs a name of its own")
    return names


def unframed(rows: Any, *, by_name: bool = False) -> Any:
    """Return the rows of a frame, as tuples, or *by_name* as dicts; anything else as it is.

    Raises:
        StatementError: A name comes twice, or a column has a type without a counterpart; the text names it.
    """
    kind = _kind(rows)
    if kind is None:
        return rows
    names = names_of(rows)
    tuples = _SOURCES[kind](rows, names)
    if by_name:
        return (dict(zip(names, row, strict=True)) for row in tuples)
    return tuples


def _kind(rows: object) -> tuple[str, str] | None:
    for base in type(rows).__mro__:
        kind = base.__module__.partition(".")[0], base.__name__
        if kind in _SOURCES:
            return kind
    return None


def _refuse(name: str, kind: object) -> StatementError:
    return StatementError(f"column {name!r} has the type {kind}, which MySQL has no counterpart for; convert it")


# --- Arrow ------------------------------------------------------------------------------------------------------------


def _from_arrow(table: Any, names: Sequence[str]) -> Iterator[tuple[Any, ...]]:
    targets = [_target(field.type, name) for field, name in zip(table.schema, names, strict=True)]
    if hasattr(table, "to_batches"):
        table = table.to_batches(max_chunksize=BLOCK)
    return _rows_of_batches([table] if hasattr(table, "num_rows") else table, targets, names)


def _rows_of_batches(batches: Any, targets: Sequence[Any], names: Sequence[str]) -> Iterator[tuple[Any, ...]]:
    for batch in batches:
        for start in range(0, batch.num_rows, BLOCK):
            columns = batch.slice(start, BLOCK).columns
            yield from zip(*map(_arrow_values, columns, targets, names), strict=True)


def _target(kind: Any, name: str) -> Any:
    """Return the Arrow type to read a column as.

    Raises:
        StatementError: No Python value that has a literal comes of it.
    """
    arrow = library("pyarrow")
    types = arrow.types
    if isinstance(kind, arrow.BaseExtensionType):
        return _target(kind.storage_type, name)
    if types.is_dictionary(kind):
        return _target(kind.value_type, name)
    if types.is_nested(kind) or types.is_interval(kind) or types.is_run_end_encoded(kind):
        raise _refuse(name, kind)
    if types.is_timestamp(kind):
        return arrow.timestamp("us", kind.tz)
    if types.is_duration(kind):
        return arrow.duration("us")
    if types.is_time64(kind):
        return arrow.time64("us")
    return arrow.float32() if types.is_float16(kind) else kind


def _arrow_values(column: Any, target: Any, name: str) -> list[Any]:
    arrow = library("pyarrow")
    if isinstance(column.type, arrow.BaseExtensionType):
        column = column.storage
    try:
        if column.type != target:
            column = column.cast(target, safe="[ns" not in str(column.type))  # nanoseconds are cut
        values: list[Any] = column.to_pylist()
    except (OverflowError, ValueError) as error:
        raise StatementError(f"column {name!r} has a value that Python cannot hold: {error}") from error
    if arrow.types.is_floating(target):
        return [None if value != value else value for value in values]  # noqa: PLR0124  # NaN
    return values


# --- polars -----------------------------------------------------------------------------------------------------------


def _from_polars(frame: Any, names: Sequence[str]) -> Iterator[tuple[Any, ...]]:
    for name, kind in zip(names, frame.dtypes, strict=True):
        if kind.is_nested() or str(kind) in {"Object", "Unknown"}:
            raise _refuse(name, kind)
    rows: Iterator[tuple[Any, ...]] = frame.fill_nan(None).iter_rows(buffer_size=BLOCK) if names else iter(())
    return rows


# --- pandas -----------------------------------------------------------------------------------------------------------


def _from_pandas(frame: Any, names: Sequence[str]) -> Iterator[tuple[Any, ...]]:
    for name, kind in zip(names, frame.dtypes, strict=True):
        if hasattr(kind, "pyarrow_dtype"):
            _target(kind.pyarrow_dtype, name)
        if str(kind).startswith(("period", "interval", "complex")):
            raise _refuse(name, kind)
    return _rows_of_blocks(frame, names)


def _rows_of_blocks(frame: Any, names: Sequence[str]) -> Iterator[tuple[Any, ...]]:
    for start in range(0, len(frame), BLOCK):
        block = frame.iloc[start : start + BLOCK]
        columns = [_pandas_values(block.iloc[:, place], name) for place, name in enumerate(names)]
        yield from zip(*columns, strict=True)


def _pandas_values(column: Any, name: str) -> list[Any]:
    letter = getattr(column.dtype, "kind", "O")
    plain = type(column.dtype).__module__.partition(".")[0] == "numpy"
    if plain and letter in "iub":
        values: list[Any] = column.tolist()
        return values
    if plain and letter in "mM":
        values = column.to_numpy().astype("datetime64[us]" if letter == "M" else "timedelta64[us]").tolist()
        if any(type(value) is int for value in values):
            raise StatementError(f"column {name!r} has a time that Python's datetime cannot hold")
        return values
    if plain and letter == "f":
        return [None if value != value else value for value in column.tolist()]  # noqa: PLR0124  # NaN
    values = column.astype(object).tolist()
    for value in values:
        if isinstance(value, _CONTAINERS):  # a list would be sent as one for IN
            raise _refuse(name, type(value).__name__)
    return [None if absent else _value(value) for absent, value in zip(column.isna().tolist(), values, strict=True)]


def _value(value: Any) -> Any:
    """Return a scalar of pandas' as one of Python's."""
    if hasattr(value, "to_pydatetime"):
        return value.to_pydatetime(warn=False)
    return value.to_pytimedelta() if hasattr(value, "to_pytimedelta") else value


_ARROWS: Final = (("pyarrow", "Table"), ("pyarrow", "RecordBatch"), ("pyarrow", "RecordBatchReader"))
_SOURCES: Final[dict[tuple[str, str], Callable[[Any, Sequence[str]], Iterator[tuple[Any, ...]]]]] = {
    **dict.fromkeys(_ARROWS, _from_arrow),
    ("polars", "DataFrame"): _from_polars,
    ("pandas", "DataFrame"): _from_pandas,
}
