"""The verbs that run a statement, as coroutines: the same on `AsyncImprovedDb` and in a transaction.

Each makes one call of the verb of the same name in a thread; what it takes, returns and raises is said there.

Knows the verbs and their types. Does not know threads, or how a call is cancelled.
"""

from __future__ import annotations

import abc
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

from improved_db.verbs.names import AsyncBlock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from contextlib import AbstractAsyncContextManager

    import pandas as pd
    import polars as pl
    import pyarrow as pa
    from typing_extensions import Unpack

    from improved_db.aio.streams import AsyncStream
    from improved_db.db import ImprovedDb
    from improved_db.execution.progress import Progress
    from improved_db.execution.transaction import Transaction
    from improved_db.rows import DictRow, Rows, TupleRow
    from improved_db.settings import typed
    from improved_db.sql.composed import Query

R = TypeVar("R")
T = TypeVar("T")


class AsyncQueries(abc.ABC):
    """What runs statements, over an object that has the same verbs and blocks."""

    @property
    @abc.abstractmethod
    def _blocking(self) -> ImprovedDb | Transaction:
        """The object whose verbs block."""

    @abc.abstractmethod
    async def _call(self, work: Callable[[], T]) -> T:
        """Do *work* in a thread."""

    # --- statements ------------------------------------------------------------------------------------------------

    @overload
    async def execute_query(
        self, query: Query, args: Any = None, *, timeout: float | None = None
    ) -> Rows[TupleRow]: ...
    @overload
    async def execute_query(
        self, query: Query, args: Any = None, **options: Unpack[typed.DictsInTransaction]
    ) -> Rows[DictRow]: ...
    @overload
    async def execute_query(
        self, query: Query, args: Any = None, **options: Unpack[typed.OneTupleInTransaction]
    ) -> TupleRow | None: ...
    @overload
    async def execute_query(
        self, query: Query, args: Any = None, **options: Unpack[typed.OneDictInTransaction]
    ) -> DictRow | None: ...
    @overload
    async def execute_query(
        self, query: Query, args: Any = None, **options: Unpack[typed.AnyShapeInTransaction]
    ) -> Any: ...
    async def execute_query(self, query: Query, args: Any = None, **options: Any) -> Any:
        """Run one statement and return its rows, as `ImprovedDb.execute_query` does."""
        verb: Any = self._blocking.execute_query
        return await self._call(lambda: verb(query, args, **options))

    async def exec_many(
        self,
        query: Query,
        rows: Iterable[Any],
        *,
        progress: bool | Progress | None = None,
        total: int | None = None,
    ) -> Rows[TupleRow]:
        """Run one statement for many rows in one transaction, as `ImprovedDb.exec_many` does.

        *rows* is iterated over in a thread.
        """
        return await self._call(lambda: self._blocking.exec_many(query, rows, progress=progress, total=total))

    # --- rows ------------------------------------------------------------------------------------------------------

    @overload
    async def fetch_all(self, query: Query, args: Any = None, *, timeout: float | None = None) -> Rows[TupleRow]: ...
    @overload
    async def fetch_all(
        self, query: Query, args: Any = None, *, row_type: type[dict[str, Any]], timeout: float | None = None
    ) -> Rows[DictRow]: ...
    @overload
    async def fetch_all(
        self, query: Query, args: Any = None, *, row_type: Callable[..., R], timeout: float | None = None
    ) -> Rows[R]: ...
    async def fetch_all(
        self, query: Query, args: Any = None, *, row_type: Callable[..., Any] = tuple, timeout: float | None = None
    ) -> Rows[Any]:
        """Run one statement and return all its rows, as `ImprovedDb.fetch_all` does."""
        return await self._call(lambda: self._blocking.fetch_all(query, args, row_type=row_type, timeout=timeout))

    @overload
    async def fetch_one(
        self, query: Query, args: Any = None, *, required: Literal[True], timeout: float | None = None
    ) -> TupleRow: ...
    @overload
    async def fetch_one(
        self, query: Query, args: Any = None, *, required: bool = False, timeout: float | None = None
    ) -> TupleRow | None: ...
    @overload
    async def fetch_one(
        self,
        query: Query,
        args: Any = None,
        *,
        row_type: type[dict[str, Any]],
        required: Literal[True],
        timeout: float | None = None,
    ) -> DictRow: ...
    @overload
    async def fetch_one(
        self,
        query: Query,
        args: Any = None,
        *,
        row_type: type[dict[str, Any]],
        required: bool = False,
        timeout: float | None = None,
    ) -> DictRow | None: ...
    @overload
    async def fetch_one(
        self,
        query: Query,
        args: Any = None,
        *,
        row_type: Callable[..., R],
        required: Literal[True],
        timeout: float | None = None,
    ) -> R: ...
    @overload
    async def fetch_one(
        self,
        query: Query,
        args: Any = None,
        *,
        row_type: Callable[..., R],
        required: bool = False,
        timeout: float | None = None,
    ) -> R | None: ...
    async def fetch_one(
        self,
        query: Query,
        args: Any = None,
        *,
        row_type: Callable[..., Any] = tuple,
        required: bool = False,
        timeout: float | None = None,
    ) -> Any:
        """Run one statement and return its first row, or None, as `ImprovedDb.fetch_one` does."""
        return await self._call(
            lambda: self._blocking.fetch_one(query, args, row_type=row_type, required=required, timeout=timeout)
        )

    async def fetch_value(
        self,
        query: Query,
        args: Any = None,
        *,
        default: Any = None,
        required: bool = False,
        timeout: float | None = None,
    ) -> Any:
        """Run one statement and return the first column of its first row, as `ImprovedDb.fetch_value` does."""
        return await self._call(
            lambda: self._blocking.fetch_value(query, args, default=default, required=required, timeout=timeout)
        )

    async def fetch_column(self, query: Query, args: Any = None, *, timeout: float | None = None) -> list[Any]:
        """Run one statement and return the first column of all its rows, as `ImprovedDb.fetch_column` does."""
        return await self._call(lambda: self._blocking.fetch_column(query, args, timeout=timeout))

    # --- rows that are still being sent ----------------------------------------------------------------------------

    @overload
    def stream(
        self, query: Query, args: Any = None, *, dictcursor: Literal[False] = False, **options: Unpack[typed.Streaming]
    ) -> AbstractAsyncContextManager[AsyncStream[TupleRow]]: ...
    @overload
    def stream(
        self, query: Query, args: Any = None, *, dictcursor: Literal[True], **options: Unpack[typed.Streaming]
    ) -> AbstractAsyncContextManager[AsyncStream[DictRow]]: ...
    @overload
    def stream(
        self, query: Query, args: Any = None, *, dictcursor: bool = False, **options: Unpack[typed.Streaming]
    ) -> AbstractAsyncContextManager[AsyncStream[Any]]: ...
    def stream(
        self,
        query: Query,
        args: Any = None,
        *,
        dictcursor: bool = False,
        batch_size: int = 1000,
        timeout: float | None = None,
    ) -> AbstractAsyncContextManager[AsyncStream[Any]]:
        """Run one statement and iterate over its rows with ``async for``, as `ImprovedDb.stream` does.

        One thread reads ``batch_size`` rows at a time; the coroutine waits once for each batch.
        """
        lent = self._stream(query, args, dictcursor=dictcursor, batch_size=batch_size, timeout=timeout)
        return AsyncBlock(lent, "async with db.stream(...) as rows")

    @abc.abstractmethod
    def _stream(self, query: Query, args: Any, **options: Any) -> AbstractAsyncContextManager[AsyncStream[Any]]:
        """Run *query* and lend the stream of its rows."""

    # --- columns ---------------------------------------------------------------------------------------------------

    async def fetch_arrow(self, query: Query, args: Any = None, *, timeout: float | None = None) -> pa.Table:
        """Run one statement and return its rows as an Arrow table, as `ImprovedDb.fetch_arrow` does."""
        return await self._call(lambda: self._blocking.fetch_arrow(query, args, timeout=timeout))

    async def fetch_pandas(self, query: Query, args: Any = None, *, timeout: float | None = None) -> pd.DataFrame:
        """Run one statement and return its rows as a DataFrame of pandas, as `ImprovedDb.fetch_pandas` does."""
        return await self._call(lambda: self._blocking.fetch_pandas(query, args, timeout=timeout))

    async def fetch_polars(self, query: Query, args: Any = None, *, timeout: float | None = None) -> pl.DataFrame:
        """Run one statement and return its rows as a DataFrame of polars, as `ImprovedDb.fetch_polars` does."""
        return await self._call(lambda: self._blocking.fetch_polars(query, args, timeout=timeout))
