"""A stream and a transaction, lent to coroutines: entered, used and left in threads.

Knows blocking context managers and what belongs to their connection. Does not know how a call is made or cancelled.
"""

from __future__ import annotations

import asyncio
import contextlib
from concurrent.futures import wait
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from improved_db.aio.bridge import CANCEL_TIMEOUT
from improved_db.aio.calls import Cancelled
from improved_db.aio.verbs import AsyncQueries
from improved_db.errors import LoanSpent
from improved_db.rows import R_co

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager, AbstractContextManager

    from improved_db.aio.bridge import Bridge
    from improved_db.aio.calls import Call
    from improved_db.execution.stream import Stream
    from improved_db.execution.transaction import Transaction
    from improved_db.sql.composed import Query
    from improved_db.wire.connection import Connection

T = TypeVar("T")


class Borrowed:
    """A connection that a coroutine has borrowed; what is done on it, one call at a time."""

    def __init__(self, bridge: Bridge, connection: Connection) -> None:
        """Make calls by *bridge*; the coroutine has a place there."""
        self._bridge = bridge
        self._connection = connection
        self._turn = asyncio.Lock()
        self._last: Call[Any] | None = None

    async def call(self, work: Callable[[], T], undo: Callable[[], object] | None = None) -> T:
        """Do *work* on the connection, in a thread; *undo* is as for `Call`."""
        async with self._turn:
            call = self._bridge.start(work, undo=undo, connection=self._connection)
            self._last = call
            return await self._bridge.finish(call)

    @contextlib.asynccontextmanager
    async def leaving(self, owner: AbstractContextManager[Any]) -> AsyncIterator[None]:
        """Leave *owner*, which was entered, as the block is left."""
        try:
            yield
        except BaseException as error:
            await self._bridge.surely(partial(self._leave, owner, error))
            raise
        await self.call(partial(owner.__exit__, None, None, None), undo=undo_of(owner))

    def _leave(self, owner: AbstractContextManager[Any], error: BaseException) -> None:
        if self._last is not None:  # its thread may still be on the connection, if it was cancelled
            wait([self._last.future], CANCEL_TIMEOUT)
        with contextlib.suppress(LoanSpent):  # the cancelled call has taken the connection along
            owner.__exit__(type(error), error, error.__traceback__)


def undo_of(owner: AbstractContextManager[Any]) -> Callable[[], object]:
    """Return what leaves *owner* wherever it is: not entered yet, entered, or left already."""
    return partial(owner.__exit__, Cancelled, Cancelled(), None)


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

    def __init__(self, borrowed: Borrowed, tx: Transaction) -> None:
        """Stand for *tx*, which is on the borrowed connection."""
        self._borrowed = borrowed
        self._tx = tx

    @property
    def _blocking(self) -> Transaction:
        return self._tx

    async def _call(self, work: Callable[[], T]) -> T:
        return await self._borrowed.call(work)

    @contextlib.asynccontextmanager
    async def _stream(self, query: Query, args: Any, **options: Any) -> AsyncIterator[AsyncStream[Any]]:
        owner = self._tx.stream(query, args, **options)
        stream = await self._borrowed.call(owner.__enter__, undo_of(owner))
        async with self._borrowed.leaving(owner):
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
        await self._borrowed.call(owner.__enter__, undo_of(owner))
        async with self._borrowed.leaving(owner):
            yield self

    def on_commit(self, callback: Callable[[], object]) -> None:
        """Call *callback* in a thread, after the transaction is known to be committed, as `Transaction.on_commit`."""
        self._tx.on_commit(callback)
