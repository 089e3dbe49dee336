"""Columns in place of rows: an Arrow table, a DataFrame of pandas or polars, a reader of Arrow batches.

Knows results and streams of packets, and what to make of them. Does not know connections, retries or transactions.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pymysql.err import InterfaceError

from improved_db.errors import StatementError
from improved_db.frames.libraries import library

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager


def to_pandas(table: Any) -> Any:
    """Return a DataFrame; integers with NULLs stay integers."""
    arrow, pandas = library("pyarrow"), library("pandas", "pandas")
    frame = table.to_pandas()
    for place, column in enumerate(table.columns):
        if arrow.types.is_integer(column.type) and column.null_count:
            name = str(column.type).replace("uint", "UInt").replace("int", "Int")
            dtype = getattr(pandas, f"{name}Dtype")()
            frame.isetitem(place, column.to_pandas(types_mapper=lambda _, to=dtype: to))
    return frame


def to_polars(table: Any) -> Any:
    """Return a DataFrame of polars, which has no decimals of 256 bits and ends the thread over one."""
    arrow, polars = library("pyarrow"), library("polars", "polars")
    for place, field in enumerate(table.schema):
        if arrow.types.is_decimal256(field.type):
            kind = arrow.decimal128(38, field.type.scale)
            try:
                column = table.column(place).cast(kind)
            except arrow.ArrowInvalid as error:
                raise StatementError(f"column {field.name!r} has a value of too many digits for polars") from error
            table = table.set_column(place, arrow.field(field.name, kind), column)
    return polars.from_arrow(table)


def check(zero_dates: str, *, batch_size: int = 1) -> None:
    """Complain before anything is sent.

    Raises:
        ImportError: pyarrow or numpy is not installed.
        ValueError: An argument is invalid.
    """
    library("pyarrow")
    library("numpy")
    if zero_dates not in {"raise", "null"}:
        raise ValueError(f'zero_dates must be "raise" or "null", not {zero_dates!r}')
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, not {batch_size}")


def to_arrow(result: Any, zero_dates: str) -> Any:
    """Return a Table of the rows of *result*, which are packets."""
    from improved_db.frames.table import Columns  # noqa: PLC0415  # only who asks for columns pays for it

    return Columns(result, zero_dates).table(result.rows or ())


@contextmanager
def arrow_reader(lend: Callable[[], AbstractContextManager[Any]], batch_size: int, zero_dates: str) -> Iterator[Any]:
    """Lend a RecordBatchReader of the packets of the stream that *lend* lends."""
    from improved_db.frames.table import Columns, blocks  # noqa: PLC0415  # as above

    left = False

    def batches() -> Iterator[Any]:
        held: list[bytes] = []
        while True:
            if left:  # the end of the rows must not be taken for the end of the result
                raise InterfaceError(0, "the block of this stream was left; read inside it")
            more = stream.batch()
            held += more
            while len(held) >= batch_size or (held and not more):
                yield from map(columns.batch, blocks(held[:batch_size]))
                del held[:batch_size]
            if not more:
                return

    with lend() as stream:
        columns = Columns(stream._connection._result, zero_dates)
        try:
            yield library("pyarrow").RecordBatchReader.from_batches(columns.schema, batches())
        finally:
            left = True
