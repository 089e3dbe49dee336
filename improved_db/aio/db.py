"""`AsyncImprovedDb`: the verbs of `ImprovedDb` as coroutines, over threads.

Knows what users type, and the bridge. Does not know threads, or how a call is cancelled.
"""

from __future__ import annotations

import contextlib
import dataclasses
from functools import partial
from typing import TYPE_CHECKING, Any, Concatenate, NoReturn, ParamSpec, TypeVar, overload

from improved_db.aio.bridge import Bridge
from improved_db.aio.streams import AsyncStream, AsyncTransaction, Borrowed, undo_of
from improved_db.aio.verbs import AsyncQueries
from improved_db.db import ImprovedDb
from improved_db.errors import ConfigError
from improved_db.settings.secret import Secret, seal
from improved_db.settings.signature import shown_as, signature_with_options
from improved_db.verbs.names import OF_ASYNCIO, AsyncBlock, missing
from improved_db.wire.pymysql_driver import PARAMETERS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Sequence
    from contextlib import AbstractAsyncContextManager, AbstractContextManager
    from types import TracebackType

    from typing_extensions import Self, Unpack

    from improved_db.execution.progress import Progress
    from improved_db.execution.transaction import Transaction
    from improved_db.observe.events import Event
    from improved_db.observe.statement import Statements
    from improved_db.observe.watch import Watch
    from improved_db.pool.snapshot import PoolStats
    from improved_db.rows import DictRow, Rows, TupleRow
    from improved_db.settings import typed
    from improved_db.settings.typed import Config, Options
    from improved_db.sql.composed import Query

T = TypeVar("T")
P = ParamSpec("P")


class AsyncImprovedDb(AsyncQueries):
    """`ImprovedDb` for asyncio: each call runs in a thread of a pool that is as large as ``max_size``.

    A coroutine that finds all connections in use waits without a thread, first come, first served, for at most
    ``acquire_timeout``. If a coroutine is cancelled, its statement is ended on the server, and its connection is
    closed; like every lost connection, this leaves open whether a write, or a COMMIT, was applied.

    One object may be used by several event loops, one after the other. Use it as an asynchronous context manager, or
    await `close`.
    """

    @shown_as(signature_with_options(PARAMETERS))
    def __init__(
        self, config: Config | Callable[[], Config] | ImprovedDb | None = None, **options: Unpack[Options]
    ) -> None:
        """Read the settings; nothing connects yet.

        Args:
            config: As for `ImprovedDb`; or an `ImprovedDb`, to share its connections with code that blocks.
            **options: As for `ImprovedDb`.

        Raises:
            ConfigError: As for `ImprovedDb`; or there are options besides an `ImprovedDb`.
        """
        source: Any = Secret.of(config)
        given = seal(options)
        del config, options  # a traceback shows the locals of this frame
        self._shared = isinstance(source.value, ImprovedDb)
        if self._shared and given:
            raise ConfigError("an ImprovedDb has its options already; leave out the others")
        known: Any = {"multiplex": False, **given}  # there are never more callers than connections
        self._db: ImprovedDb = source.value if self._shared else ImprovedDb(source, **known)
        self._bridge = Bridge(self._db._executor)

    @classmethod
    def ephemeral(cls, **options: Unpack[Options]) -> Self:
        """Return one on a private server, as `ImprovedDb.ephemeral` does; it blocks for a fraction of a second.

        Args:
            **options: As for the class, but for the address, which is the server's own.
        """
        sealed: Any = {"multiplex": False, **seal(options)}
        del options
        made = cls(ImprovedDb.ephemeral(**sealed))
        made._shared = False
        return made

    @property
    def sync(self) -> ImprovedDb:
        """The `ImprovedDb` whose verbs block; `stats`, `drain` and the like are called there."""
        return self._db

    @property
    def _blocking(self) -> ImprovedDb:
        return self._db

    async def _call(self, work: Callable[[], T]) -> T:
        return await self._bridge.alone(work)

    # --- queries ---------------------------------------------------------------------------------------------------

    @overload
    async def execute_query(
        self, query: Query, args: Any = None, **options: Unpack[typed.TuplesOnPool]
    ) -> Rows[TupleRow]: ...
    @overload
    async def execute_query(
        self, query: Query, args: Any = None, **options: Unpack[typed.DictsOnPool]
    ) -> Rows[DictRow]: ...
    @overload
    async def execute_query(
        self, query: Query, args: Any = None, **options: Unpack[typed.OneTupleOnPool]
    ) -> TupleRow | None: ...
    @overload
    async def execute_query(
        self, query: Query, args: Any = None, **options: Unpack[typed.OneDictOnPool]
    ) -> DictRow | None: ...
    @overload
    async def execute_query(self, query: Query, args: Any = None, **options: Unpack[typed.AnyShapeOnPool]) -> Any: ...
    async def execute_query(self, query: Query, args: Any = None, **options: Any) -> Any:
        """Run one statement and return its rows, as `ImprovedDb.execute_query` does on a connection of the pool."""
        verb: Any = self._db.execute_query
        return await self._call(lambda: verb(query, args, **options))

    async def exec_many(
        self,
        query: Query,
        rows: Iterable[Any],
        *,
        atomic: bool = True,
        progress: bool | Progress | None = None,
        total: int | None = None,
        exactly_once: bool = False,
    ) -> Rows[TupleRow]:
        """Run one statement for many rows, as `ImprovedDb.exec_many` does; *rows* is iterated over in a thread."""
        verb = partial(self._db.exec_many, atomic=atomic, progress=progress, total=total, exactly_once=exactly_once)
        return await self._call(lambda: verb(query, rows))

    async def load_rows(
        self,
        table: str,
        rows: Iterable[Any],
        columns: Sequence[str] | None = None,
        *,
        progress: bool | Progress | None = None,
        total: int | None = None,
        strict: bool = True,
    ) -> Rows[TupleRow]:
        """Load rows by LOAD DATA LOCAL, as `ImprovedDb.load_rows` does; *rows* is iterated over in a thread."""
        verb = partial(self._db.load_rows, progress=progress, total=total, strict=strict)
        return await self._call(lambda: verb(table, rows, columns))

    @contextlib.asynccontextmanager
    async def _stream(self, query: Query, args: Any, **options: Any) -> AsyncIterator[AsyncStream[Any]]:
        async with self._bridge.place():
            owner = self._db.stream(query, args, **options)
            stream = await self._bridge.finish(self._bridge.start(owner.__enter__, undo=undo_of(owner)))
            borrowed = Borrowed(self._bridge, stream._connection)
            async with borrowed.leaving(owner):
                yield AsyncStream(borrowed.call, stream)

    # --- transactions ----------------------------------------------------------------------------------------------

    def transaction(
        self, *, isolation: str | None = None, read_only: bool = False
    ) -> AbstractAsyncContextManager[AsyncTransaction]:
        """Begin a transaction of the caller's own with ``async with``, as `ImprovedDb.transaction` does.

        If the block is cancelled, the transaction is rolled back.

        Args:
            isolation: As for `ImprovedDb.transaction`.
            read_only: As for `ImprovedDb.transaction`.
        """
        return AsyncBlock(self._transaction(isolation, read_only), "async with db.transaction() as tx")

    @contextlib.asynccontextmanager
    async def _transaction(self, isolation: str | None, read_only: bool) -> AsyncIterator[AsyncTransaction]:
        async with self._bridge.place():
            owner = self._db.transaction(isolation=isolation, read_only=read_only)
            tx = await self._bridge.finish(self._bridge.start(owner.__enter__, undo=undo_of(owner)))
            borrowed = Borrowed(self._bridge, tx._connection)
            async with borrowed.leaving(owner):
                yield AsyncTransaction(borrowed, tx)

    @overload
    async def run_transaction(
        self, fn: Callable[Concatenate[Transaction, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T: ...
    @overload
    async def run_transaction(self, fn: Callable[..., T], *args: Any, exactly_once: bool, **kwargs: Any) -> T: ...
    @overload
    async def run_transaction(self, fn: Callable[..., T], *args: Any, isolation: str | None, **kwargs: Any) -> T: ...
    @overload
    async def run_transaction(self, fn: Callable[..., T], *args: Any, read_only: bool, **kwargs: Any) -> T: ...
    async def run_transaction(self, fn: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """Call ``fn(tx, *args, **kwargs)`` in a transaction, in a thread, and retry it where that is safe.

        As `ImprovedDb.run_transaction`, whose keywords it takes, too. *fn* is a plain function, and *tx* a
        `Transaction`, whose verbs block.
        """
        verb: Any = self._db.run_transaction
        done: T = await self._call(lambda: verb(fn, *args, **kwargs))
        return done

    async def run_sync(self, fn: Callable[Concatenate[ImprovedDb, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call ``fn(db, *args, **kwargs)`` in a thread, for what has no coroutine here: pipelines, for example.

        Args:
            fn: A plain function, which gets the `ImprovedDb`. It should use one connection at a time.
            *args: Passed on.
            **kwargs: Passed on.
        """
        return await self._call(lambda: fn(self._db, *args, **kwargs))

    # --- the pool --------------------------------------------------------------------------------------------------

    async def ping(self, timeout: float = 2.0) -> bool:
        """Say whether the server answers a ping in time, as `ImprovedDb.ping` does.

        Args:
            timeout: Seconds, from the moment a connection may be asked for.
        """
        return await self._call(lambda: self._db.ping(timeout))

    async def wait(self, timeout: float = 30.0) -> None:
        """Wait until ``min_size`` connections, at least one, are up, as `ImprovedDb.wait` does.

        Args:
            timeout: Seconds.
        """
        await self._bridge.aside(lambda: self._db.wait(timeout))

    def stats(self) -> PoolStats:
        """Return every gauge and counter of the pool; coroutines that wait for a connection are in ``waiting``."""
        stats = self._db.stats()
        return dataclasses.replace(stats, waiting=stats.waiting + self._bridge.waiting)

    def statements(self, order: str = "run", limit: int | None = 100) -> Statements:
        """Return what each statement cost, as `ImprovedDb.statements` does."""
        return self._db.statements(order, limit)

    def reset_statements(self) -> None:
        """Begin the statistics of statements anew."""
        self._db.reset_statements()

    def events(self, after: int = 0, kind: str | None = None) -> list[Event]:
        """Return what has happened, as `ImprovedDb.events` does."""
        return self._db.events(after, kind)

    def watch(self) -> AbstractContextManager[Watch]:
        """Count what a plain ``with`` block of this task runs, as `ImprovedDb.watch` does."""
        return self._db.watch()

    async def close(self, timeout: float = 5.0, *, force: bool = False) -> None:
        """Close for good, as `ImprovedDb.close` does; an `ImprovedDb` that was passed in stays open.

        Args:
            timeout: Seconds to wait for calls that are running.
            force: Cut the connections that are still in use then.
        """
        self._bridge.close()
        if not self._shared:
            await self._bridge.aside(lambda: self._db.close(timeout, force=force))
        self._bridge.end()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    if not TYPE_CHECKING:  # a type checker knows the names that there are

        def __getattr__(self, name: str) -> NoReturn:
            raise missing(self, name, OF_ASYNCIO)

        def __enter__(self) -> NoReturn:
            raise TypeError("write async with: its end waits for the calls that run")

        def __exit__(self, *_: object) -> None:
            """Never called, but looked for."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._db!r}>" if "_db" in self.__dict__ else f"<{type(self).__name__}>"
