"""The verbs that return columns in place of rows, for whatever can run a statement.

Knows results and what to make of them. Does not know connections, retries or transactions.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

from pymysql.err import InterfaceError

from improved_db.errors import StatementError
from improved_db.frames.libraries import library

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from typing import TypeAlias

    import pandas as pd
    import polars as pl
    import pyarrow as pa

    ZeroDates: TypeAlias = Literal["raise", "null"]


class FrameVerbs:
    """``fetch_arrow``, ``fetch_pandas`` and ``fetch_polars``."""

    def _fetch_packets(self, query: str, args: Any, timeout: float | None) -> Any:
        """Run *query* and return the result, whose rows are the payloads of their packets."""
        raise NotImplementedError

    def fetch_arrow(
        self, query: str, args: Any = None, *, timeout: float | None = None, zero_dates: ZeroDates = "raise"
    ) -> pa.Table:
        """Run one statement and return its rows as an Arrow table; needs ``improved-db[arrow]``.

        Types follow the columns: integers by width and sign, DECIMAL exact, DATETIME without a time zone in
        microseconds, TIME as a duration, BIT as uint64. The option ``conv`` has no say in them.

        Args:
            query: The statement.
            args: As for `execute_query`.
            timeout: Seconds the statement may run.
            zero_dates: "raise" an error for a date that is none, such as ``0000-00-00``, or make it "null".

        Returns:
            A pyarrow.Table; one without columns if the statement has no result.

        Raises:
            ImportError: pyarrow or numpy is not installed; the text says what to type. Nothing was sent.
            StatementError: A column has a date that is none; the text names it.
            pymysql.err.MySQLError: As for `execute_query`.
        """
        _check(zero_dates)
        return _table(self._fetch_packets(query, args, timeout), zero_dates)

    def fetch_pandas(
        self, query: str, args: Any = None, *, timeout: float | None = None, zero_dates: ZeroDates = "raise"
    ) -> pd.DataFrame:
        """Run one statement and return its rows as a DataFrame of pandas; needs ``improved-db[pandas]``.

        Integers with NULLs are pandas' nullable integers, and so stay exact. DECIMAL is `decimal.Decimal`, DATE is
        `datetime.date`, DATETIME datetime64, TIME timedelta64.

        Args:
            query: The statement.
            args: As for `execute_query`.
            timeout: As for `fetch_arrow`.
            zero_dates: As for `fetch_arrow`.

        Raises:
            ImportError: pandas, pyarrow or numpy is not installed. Nothing was sent.
            StatementError: As for `fetch_arrow`.
        """
        library("pandas", "pandas")
        return to_pandas(self.fetch_arrow(query, args, timeout=timeout, zero_dates=zero_dates))

    def fetch_polars(
        self, query: str, args: Any = None, *, timeout: float | None = None, zero_dates: ZeroDates = "raise"
    ) -> pl.DataFrame:
        """Run one statement and return its rows as a DataFrame of polars; needs ``improved-db[polars]``.

        DECIMAL of more than 38 digits, as SUM of a BIGINT has, becomes one of 38.

        Args:
            query: The statement; each of its columns needs a name of its own.
            args: As for `execute_query`.
            timeout: As for `fetch_arrow`.
            zero_dates: As for `fetch_arrow`.

        Raises:
            ImportError: polars, pyarrow or numpy is not installed. Nothing was sent.
            StatementError: As for `fetch_arrow`; or a value has more than 38 digits, which polars has no type for.
        """
        library("polars", "polars")
        return to_polars(self.fetch_arrow(query, args, timeout=timeout, zero_dates=zero_dates))


class StreamingFrameVerbs(FrameVerbs):
    """These, and ``stream_arrow``."""

    def _stream_packets(self, query: str, args: Any) -> AbstractContextManager[Any]:
        """Run *query* and lend its stream of packets."""
        raise NotImplementedError

    def stream_arrow(
        self, query: str, args: Any = None, *, batch_size: int = 10_000, zero_dates: ZeroDates = "raise"
    ) -> AbstractContextManager[pa.RecordBatchReader]:
        """Run one statement and lend a reader of its rows as the server sends them, with constant memory.

        Starting it is retried where that is safe; once rows have come, nothing is. Leaving the block early closes
        the connection instead of reading the rest.

        Args:
            query: The statement.
            args: As for `execute_query`.
            batch_size: How many rows each batch but the last has; fewer where they are large, or above 100,000.
            zero_dates: As for `fetch_arrow`.

        Returns:
            A context manager that gives a pyarrow.RecordBatchReader, good inside the block.

        Raises:
            ImportError: As for `fetch_arrow`.
            ValueError: *batch_size* is less than one.
        """
        _check(zero_dates)
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, not {batch_size}")
        return _reader(lambda: self._stream_packets(query, args), batch_size, zero_dates)


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


def _check(zero_dates: str) -> None:
    """Complain before anything is sent."""
    library("pyarrow")
    library("numpy")
    if zero_dates not in {"raise", "null"}:
        raise ValueError(f'zero_dates must be "raise" or "null", not {zero_dates!r}')


def _table(result: Any, zero_dates: str) -> Any:
    from improved_db.frames.table import Columns  # noqa: PLC0415  # only who asks for columns pays for it

    return Columns(result, zero_dates).table(result.rows or ())


@contextmanager
def _reader(lend: Callable[[], AbstractContextManager[Any]], batch_size: int, zero_dates: str) -> Iterator[Any]:
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
