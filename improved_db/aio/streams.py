"""A stream and a transaction, lent to coroutines: entered, used and left in threads.

Knows blocking context managers and what belongs to their connection. Does not know how a call is made or cancelled.
"""

from __future__ import annotations

import asyncio
import contextlib
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from improved_db.aio.calls import Cancelled
from improved_db.aio.verbs import AsyncQueries
from improved_db.errors import LoanSpent
from improved_db.rows import R_co

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager, AbstractContextManager

    from improved_db.aio.bridge import Bridge
    from improved_db.execution.stream import Stream
    from improved_db.execution.transaction import Transaction
    from improved_db.sql.composed import Query

T = TypeVar("T")


class AsyncStream(Generic[R_co]):
    """The rows of one statement, once, in the order the server sends them.

    Attributes:
        columns: The names of the columns; empty if the statement has no result.
    """

    def __init__(self, call: Callable[..., Any], stream: Stream[R_co]) -> None:
        """Read *stream* in threads, by *call*."""
        self.columns: tuple[str, ...] = stream.columns
        self._call = call
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[R_co]:
        while batch := await self.batch():
            for row in batch:
                yield row

    async def batch(self) -> list[R_co]:
        """Return the next rows, up to ``batch_size`` of them; none at the end. As `Stream.batch`."""
        rows: list[R_co] = await self._call(self._stream.batch)
        return rows


class AsyncTransaction(AsyncQueries):
    """One transaction, with the verbs of `Transaction` as coroutines; of several at a time, each waits for the last."""

    def __init__(self, bridge: Bridge, tx: Transaction) -> None:
        """Stand for *tx*, whose owner has a place."""
        self._bridge = bridge
        self._tx = tx
        self._turn = asyncio.Lock()

    @property
    def _blocking(self) -> Transaction:
        return self._tx

    async def _call(self, work: Callable[[], T]) -> T:
        async with self._turn:
            return await self._bridge.within(work, connection=self._tx._connection)

    @contextlib.asynccontextmanager
    async def _stream(self, query: Query, args: Any, **options: Any) -> AsyncIterator[AsyncStream[Any]]:
        owner = self._tx.stream(query, args, **options)
        stream = await self._call(owner.__enter__)
        async with leaving(self._call, owner):
            yield AsyncStream(self._call, stream)

    async def commit(self) -> None:
        """Commit now; the block is left quietly, as after `Transaction.commit`."""
        await self._call(self._tx.commit)

    async def rollback(self) -> None:
        """Roll back now; the block is left quietly, as after `Transaction.rollback`."""
        await self._call(self._tx.rollback)

    def savepoint(self) -> AbstractAsyncContextManager[AsyncTransaction]:
        """Undo only what is done in the block if it is left with an exception, as `Transaction.savepoint` does."""
        return self._savepoint()

    @contextlib.asynccontextmanager
    async def _savepoint(self) -> AsyncIterator[AsyncTransaction]:
        owner = self._tx.savepoint()
        await self._call(owner.__enter__)
        async with leaving(self._call, owner):
            yield self

    def on_commit(self, callback: Callable[[], object]) -> None:
        """Call *callback* in a thread, after the transaction is known to be committed, as `Transaction.on_commit`."""
        self._tx.on_commit(callback)


@contextlib.asynccontextmanager
async def leaving(call: Callable[..., Any], owner: AbstractContextManager[Any]) -> AsyncIterator[None]:
    """Leave *owner*, which was entered, as the block is left; *call* does it in a thread."""
    try:
        yield
    except BaseException as error:
        with contextlib.suppress(LoanSpent):  # a call that was cancelled has taken the connection along
            await call(partial(owner.__exit__, type(error), error, error.__traceback__))
        raise
    await call(partial(owner.__exit__, None, None, None))


async def entered(bridge: Bridge, owner: AbstractContextManager[T]) -> T:
    """Enter *owner*, which borrows a connection, in a thread; if that is cancelled, *owner* is left again."""
    return await bridge.within(owner.__enter__, undo=partial(owner.__exit__, Cancelled, Cancelled(), None))
