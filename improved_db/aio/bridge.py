"""From coroutines to threads: who waits, in which thread a call is made, what its cancellation does.

A connection is in use by one thread at a time, so there are as many threads as connections, and as many places: a
coroutine waits for a place without a thread; one that has a place finds a thread and a connection.

Knows event loops, futures and threads. Does not know statements.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import weakref
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from os import getpid
from typing import TYPE_CHECKING, Any, Final, TypeVar

from improved_db.aio.calls import Call
from improved_db.errors import PoolClosed, PoolTimeout, TooManyWaiting
from improved_db.pool.openers import start_thread

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from improved_db.execution.executor import Executor
    from improved_db.settings.settings import PoolSettings
    from improved_db.wire.connection import Connection

T = TypeVar("T")

#: Seconds that a cancelled coroutine waits for the end of its call on the server.
CANCEL_TIMEOUT: Final = 3.0


class Places:
    """As many places as connections, for the coroutines of one event loop; first come, first served."""

    def __init__(self, settings: PoolSettings) -> None:
        self._settings = settings
        self._free = settings.max_size
        self._waiters: deque[asyncio.Future[None]] = deque()

    @property
    def waiting(self) -> int:
        """How many coroutines wait."""
        return sum(not waiter.done() for waiter in self._waiters)

    async def take(self) -> None:
        """Take a place, or wait for one.

        Raises:
            PoolTimeout: None was free within ``acquire_timeout``.
            TooManyWaiting: ``max_waiting`` coroutines wait already.
        """
        if self._free:
            self._free -= 1
            return
        most = self._settings.max_waiting
        if most is not None and self.waiting >= most:
            raise TooManyWaiting(f"{most} coroutines are waiting already (max_waiting={most}); shed load")
        loop = asyncio.get_running_loop()
        waiter = loop.create_future()
        self._waiters.append(waiter)
        timer = loop.call_later(self._settings.acquire_timeout, self._give_up, waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                self.give()  # the place came together with the cancellation
            raise
        finally:
            timer.cancel()

    def give(self) -> None:
        """Give a place to the first who waits."""
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return
        self._free += 1

    def close(self) -> None:
        """Wake all who wait."""
        for waiter in self._waiters:
            _fail(waiter, PoolClosed("the pool was closed while the caller waited"))

    def _give_up(self, waiter: asyncio.Future[None]) -> None:
        name, most, seconds = self._settings.name, self._settings.max_size, self._settings.acquire_timeout
        text = f"pool {name!r}: all of max_size={most} connections were in use for {seconds:.2f} s"
        _fail(waiter, PoolTimeout(f"{text} (waiting={self.waiting})"))


def _fail(waiter: asyncio.Future[None], error: Exception) -> None:
    if not waiter.done():
        waiter.set_exception(error)


class Bridge:
    """Makes calls in threads of its own, for coroutines of any event loop."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self._places: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Places] = weakref.WeakKeyDictionary()
        self._threads: ThreadPoolExecutor | None = None
        self._pid = 0
        self._closed = False

    @property
    def waiting(self) -> int:
        """How many coroutines wait for a place."""
        return sum(places.waiting for places in list(self._places.values()))

    @contextlib.asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """Hold a place for a block."""
        if self._closed or self._executor.pool.closed:
            raise PoolClosed("the pool is closed")
        loop = asyncio.get_running_loop()
        places = self._places.get(loop)
        if places is None:
            places = self._places[loop] = Places(self._executor.pool.settings)
        await places.take()
        try:
            yield
        finally:
            places.give()

    async def alone(self, work: Callable[[], T]) -> T:
        """Do *work*, which borrows a connection and returns it, in a thread, when there is a place."""
        async with self.place():
            return await self.finish(self.start(work))

    def start(
        self,
        work: Callable[[], T],
        *,
        undo: Callable[[], object] | None = None,
        connection: Connection | None = None,
    ) -> Call[T]:
        """Begin *work* in a thread, for a coroutine that has a place; the arguments are those of `Call`."""
        call = Call(self._executor, work, undo=undo, connection=connection)
        self._pool_of_threads().submit(contextvars.copy_context().run, call.run)
        return call

    async def finish(self, call: Call[T]) -> T:
        """Wait for a call, and return or raise its outcome; if the coroutine is cancelled, so is the call."""
        outcome = asyncio.wrap_future(call.future)
        outcome.add_done_callback(_seen)
        try:
            await asyncio.wait([outcome])
        except asyncio.CancelledError:
            if call.cancel():
                await asyncio.wait([_in_thread(call.end)], timeout=CANCEL_TIMEOUT)
            elif call.undo is not None and call.future.exception() is None:  # it had succeeded by then
                await self.surely(call.undo)
            raise
        return outcome.result()

    async def surely(self, work: Callable[[], object]) -> None:
        """Do *work* in a thread to its end, also if the coroutine is cancelled, as anyio does at each ``await``."""
        outcome = asyncio.wrap_future(self.start(work).future)
        outcome.add_done_callback(_seen)
        await asyncio.wait([outcome])
        outcome.result()

    async def aside(self, work: Callable[[], T]) -> T:
        """Do *work*, which needs no connection, in a thread of its own."""
        return await _in_thread(work)

    def close(self) -> None:
        """Refuse those who have no place, also those who wait for one."""
        self._closed = True
        for loop, places in list(self._places.items()):
            if not loop.is_closed():
                loop.call_soon_threadsafe(places.close)

    def end(self) -> None:
        """Let the threads end when their calls are over; if a place is still held, there will be new ones."""
        threads, self._threads = self._threads, None
        if threads is not None:
            threads.shutdown(wait=False)

    def _pool_of_threads(self) -> ThreadPoolExecutor:
        if self._threads is None or self._pid != getpid():  # a forked child has none of its parent's threads
            settings = self._executor.pool.settings
            self._threads = ThreadPoolExecutor(settings.max_size, thread_name_prefix=f"improved_db-{settings.name}")
            self._pid = getpid()
        return self._threads


def _seen(outcome: asyncio.Future[Any]) -> None:
    """Look at an error that no coroutine may be left to look at: asyncio would log it."""
    if not outcome.cancelled():
        outcome.exception()


def _in_thread(work: Callable[[], T]) -> asyncio.Future[T]:
    """Do *work* in a thread of its own."""
    future: Future[T] = Future()
    start_thread(partial(_run, future, work))
    return asyncio.wrap_future(future)


def _run(future: Future[T], work: Callable[[], T]) -> None:
    try:
        result = work()
    except BaseException as error:
        future.set_exception(error)
    else:
        future.set_result(result)
