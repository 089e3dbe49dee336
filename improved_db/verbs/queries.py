"""The verbs that return rows or columns, the same on `ImprovedDb` and in a transaction.

Knows what rows may be and what columns are made into. Does not know connections, retries or transactions.
"""

from __future__ import annotations

import abc
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

from improved_db import records
from improved_db.errors import RowNotFound
from improved_db.frames import fetch
from improved_db.frames.libraries import library
from improved_db.rows import DictRow, Rows, TupleRow, rows_made
from improved_db.verbs.names import Block

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from typing import TypeAlias

    import pandas as pd
    import polars as pl
    import pyarrow as pa
    from typing_extensions import Unpack

    from improved_db.execution.stream import Stream
    from improved_db.settings import typed
    from improved_db.sql.composed import Query

    ZeroDates: TypeAlias = Literal["raise", "null"]

R = TypeVar("R")


class Queries(abc.ABC):
    """What reads rows, over two verbs that each of its classes has: run a statement, and lend a stream of rows."""

    @abc.abstractmethod
    def _result(self, query: Query, args: Any, row_kind: bool | type, timeout: float | None) -> Any:
        """Run *query* and return its finished result, whose rows are tuples, dicts (True) or packets (`bytes`)."""

    @abc.abstractmethod
    def _stream(
        self, query: Query, args: Any, row_kind: bool | type, batch_size: int, timeout: float | None
    ) -> AbstractContextManager[Stream[Any]]:
        """Run *query* and lend the stream of its rows."""

    # --- rows ------------------------------------------------------------------------------------------------------

    @overload
    def fetch_all(self, query: Query, args: Any = None, *, timeout: float | None = None) -> Rows[TupleRow]: ...
    @overload
    def fetch_all(
        self, query: Query, args: Any = None, *, row_type: type[dict[str, Any]], timeout: float | None = None
    ) -> Rows[DictRow]: ...
    @overload
    def fetch_all(
        self, query: Query, args: Any = None, *, row_type: Callable[..., R], timeout: float | None = None
    ) -> Rows[R]: ...
    def fetch_all(
        self, query: Query, args: Any = None, *, row_type: Callable[..., Any] = tuple, timeout: float | None = None
    ) -> Rows[Any]:
        """Run one statement and return all its rows, each as *row_type* makes it.

        Args:
            query: The statement.
            args: As for `execute_query`.
            row_type: `tuple`; `dict`; a NamedTuple, dataclass, attrs, msgspec or pydantic class, whose fields the
                columns fill by name; or any other callable, which gets the values of a row, in the order of the
                columns.
            timeout: Seconds the statement may run.

        Returns:
            `Rows`, as of `execute_query`; empty if no row matched.

        Raises:
            StatementError: The columns do not fit *row_type*; the text names them.
            pymysql.err.MySQLError: As for `execute_query`.
        """
        row_type = records.checked(row_type)
        result = self._result(query, args, row_type is dict, timeout)
        rows = result.rows or ()
        if row_type is not tuple and row_type is not dict and result.description:
            names = [column[0] for column in result.description]
            rows = records.converted(rows, names, row_type)
        return rows_made(rows, result)

    @overload
    def fetch_one(
        self, query: Query, args: Any = None, *, required: Literal[True], timeout: float | None = None
    ) -> TupleRow: ...
    @overload
    def fetch_one(
        self, query: Query, args: Any = None, *, required: bool = False, timeout: float | None = None
    ) -> TupleRow | None: ...
    @overload
    def fetch_one(
        self,
        query: Query,
        args: Any = None,
        *,
        row_type: type[dict[str, Any]],
        required: Literal[True],
        timeout: float | None = None,
    ) -> DictRow: ...
    @overload
    def fetch_one(
        self,
        query: Query,
        args: Any = None,
        *,
        row_type: type[dict[str, Any]],
        required: bool = False,
        timeout: float | None = None,
    ) -> DictRow | None: ...
    @overload
    def fetch_one(
        self,
        query: Query,
        args: Any = None,
        *,
        row_type: Callable[..., R],
        required: Literal[True],
        timeout: float | None = None,
    ) -> R: ...
    @overload
    def fetch_one(
        self,
        query: Query,
        args: Any = None,
        *,
        row_type: Callable[..., R],
        required: bool = False,
        timeout: float | None = None,
    ) -> R | None: ...
    def fetch_one(
        self,
        query: Query,
        args: Any = None,
        *,
        row_type: Callable[..., Any] = tuple,
        required: bool = False,
        timeout: float | None = None,
    ) -> Any:
        """Run one statement and return its first row, as *row_type* makes it; None if there is none.

        The server sends all rows of the statement: write LIMIT 1 where there may be many.

        Args:
            query: The statement.
            args: As for `execute_query`.
            row_type: As for `fetch_all`.
            required: Raise an error if there is no row.
            timeout: Seconds the statement may run.

        Raises:
            RowNotFound: There is no row, and *required* is True.
            StatementError: As for `fetch_all`.
            pymysql.err.MySQLError: As for `execute_query`.
        """
        rows = self.fetch_all(query, args, row_type=row_type, timeout=timeout)
        if rows:
            return rows[0]
        if required:
            raise RowNotFound("the statement returned no row, and required=True asks for one")
        return None

    def fetch_value(
        self,
        query: Query,
        args: Any = None,
        *,
        default: Any = None,
        required: bool = False,
        timeout: float | None = None,
    ) -> Any:
        """Run one statement and return the first column of its first row.

        Args:
            query: The statement.
            args: As for `execute_query`.
            default: What to return if there is no row. A NULL is None, whatever *default* is.
            required: Raise an error if there is no row.
            timeout: Seconds the statement may run.

        Raises:
            RowNotFound: There is no row, and *required* is True.
            pymysql.err.MySQLError: As for `execute_query`.
        """
        row = self.fetch_one(query, args, required=required, timeout=timeout)
        return default if row is None else row[0]

    def fetch_column(self, query: Query, args: Any = None, *, timeout: float | None = None) -> list[Any]:
        """Run one statement and return the first column of all its rows.

        Args:
            query: The statement.
            args: As for `execute_query`.
            timeout: Seconds the statement may run.

        Raises:
            pymysql.err.MySQLError: As for `execute_query`.
        """
        return [row[0] for row in self.fetch_all(query, args, timeout=timeout)]

    # --- rows that are still being sent ----------------------------------------------------------------------------

    @overload
    def stream(
        self, query: Query, args: Any = None, *, dictcursor: Literal[False] = False, **options: Unpack[typed.Streaming]
    ) -> AbstractContextManager[Stream[TupleRow]]: ...
    @overload
    def stream(
        self, query: Query, args: Any = None, *, dictcursor: Literal[True], **options: Unpack[typed.Streaming]
    ) -> AbstractContextManager[Stream[DictRow]]: ...
    @overload
    def stream(
        self, query: Query, args: Any = None, *, dictcursor: bool = False, **options: Unpack[typed.Streaming]
    ) -> AbstractContextManager[Stream[Any]]: ...
    def stream(
        self,
        query: Query,
        args: Any = None,
        *,
        dictcursor: bool = False,
        batch_size: int = 1000,
        timeout: float | None = None,
    ) -> AbstractContextManager[Stream[Any]]:
        """Run one statement and iterate over its rows as the server sends them, with constant memory.

        If starting it fails, it is retried where that is safe; once rows have come, nothing is. If the block ends
        early, the rest is not read: the connection is closed. In a transaction, the statement is ended on the server
        instead, and the transaction goes on; until then it takes no other statement.

        The stream as a whole has no time limit, since the caller's own work goes on between the batches. Its start has
        *timeout* and the pool's ``deadline``; each batch has *timeout*, or the connection's ``read_timeout``, also
        where its bytes come one by one.

        Args:
            query: The statement.
            args: As for `execute_query`.
            dictcursor: Rows as dicts.
            batch_size: How many rows are decoded at a time, at most.
            timeout: Seconds that the start, and the wait for each batch, may take; None for ``read_timeout``.
        """
        return self._stream(query, args, dictcursor, batch_size, timeout)

    # --- columns ---------------------------------------------------------------------------------------------------

    def fetch_arrow(
        self, query: Query, args: Any = None, *, timeout: float | None = None, zero_dates: ZeroDates = "raise"
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
        fetch.check(zero_dates)
        return fetch.to_arrow(self._result(query, args, bytes, timeout), zero_dates)

    def fetch_pandas(
        self, query: Query, args: Any = None, *, timeout: float | None = None, zero_dates: ZeroDates = "raise"
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
        return fetch.to_pandas(self.fetch_arrow(query, args, timeout=timeout, zero_dates=zero_dates))

    def fetch_polars(
        self, query: Query, args: Any = None, *, timeout: float | None = None, zero_dates: ZeroDates = "raise"
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
        return fetch.to_polars(self.fetch_arrow(query, args, timeout=timeout, zero_dates=zero_dates))

    def stream_arrow(
        self,
        query: Query,
        args: Any = None,
        *,
        batch_size: int = 10_000,
        timeout: float | None = None,
        zero_dates: ZeroDates = "raise",
    ) -> AbstractContextManager[pa.RecordBatchReader]:
        """Run one statement and lend a reader of its rows as the server sends them, with constant memory.

        What `stream` says of retries, of time and of a block that ends early holds here, too.

        Args:
            query: The statement.
            args: As for `execute_query`.
            batch_size: How many rows each batch but the last has; fewer where they are large, or above 100,000.
            timeout: As for `stream`.
            zero_dates: As for `fetch_arrow`.

        Returns:
            A context manager that gives a pyarrow.RecordBatchReader, good inside the block.

        Raises:
            ImportError: As for `fetch_arrow`.
            ValueError: *batch_size* is less than one.
        """
        fetch.check(zero_dates, batch_size=batch_size)
        lent = fetch.arrow_reader(lambda: self._stream(query, args, bytes, 10_000, timeout), batch_size, zero_dates)
        return Block(lent, "with db.stream_arrow(...) as reader")
