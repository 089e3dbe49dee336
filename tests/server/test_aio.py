"""`AsyncImprovedDb`: the verbs as coroutines, and what the cancellation of one leaves on the server and in the pool."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import inspect
import multiprocessing
import random
from typing import TYPE_CHECKING, Any, NamedTuple

import anyio
import pytest

from improved_db import (
    ConfigError,
    ImprovedDb,
    PoolClosed,
    PoolTimeout,
    RowNotFound,
    StatementError,
    TooManyWaiting,
    Transaction,
)
from improved_db.aio import AsyncImprovedDb, AsyncTransaction
from improved_db.testing import TemporaryServer

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

PATIENCE = 20.0

#: Takes hours, and does not notice that its client is gone: only KILL ends it.
ENDLESS = "select benchmark(1e12, 1)"


class Pet(NamedTuple):
    """A row of the table."""

    id: int
    name: str


def run(database: dict[str, Any], work: Callable[[AsyncImprovedDb], Coroutine[Any, Any, None]], **options: Any) -> None:
    """Run *work* on an object with an empty table pets; whatever it did, every connection can be had afterwards."""

    async def main() -> None:
        async with AsyncImprovedDb(database, **{"max_size": 2, **options}) as db:
            await db.execute_query("create table pets (id int primary key, name varchar(20))")
            await work(db)
            await until(lambda: db.sync.stats().used == 0)
            size = db.sync.stats().max_size
            assert await asyncio.gather(*[db.fetch_value("select 1") for _ in range(size)]) == [1] * size
            assert db.stats().waiting == 0

    asyncio.run(asyncio.wait_for(main(), PATIENCE))


async def until(holds: Callable[[], object]) -> None:
    """Let other coroutines run until something holds."""
    while not holds():
        await asyncio.sleep(0.001)


def endless(watcher: ImprovedDb) -> int:
    """Return how many statements of this test's database are at `ENDLESS` on the server."""
    query = "select count(*) from information_schema.processlist where info like '%benchmark(1e12%' and db = database()"
    return int(watcher.fetch_value(query + " and id <> connection_id()"))


async def cancelled(task: asyncio.Task[Any]) -> None:
    """Cancel a task, and see that it says so."""
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


# --- verbs -----------------------------------------------------------------------------------------------------------


def test_verbs_return_and_raise_what_the_blocking_ones_do(database: dict[str, Any]) -> None:
    """There is one set of verbs to learn."""

    async def work(db: AsyncImprovedDb) -> None:
        done = await db.exec_many("insert into pets values (%s, %s)", [(1, "cat"), (2, "dog")])
        assert done.rowcount == 2
        assert await db.execute_query("select * from pets") == ((1, "cat"), (2, "dog"))
        assert await db.execute_query("select id from pets", dictcursor=True, return_one=True) == {"id": 1}
        assert await db.fetch_all("select * from pets", row_type=Pet) == (Pet(1, "cat"), Pet(2, "dog"))
        assert await db.fetch_one("select name from pets where id = %s", 2, row_type=dict) == {"name": "dog"}
        assert await db.fetch_value("select name from pets where id = %s", 1) == "cat"
        assert await db.fetch_column("select id from pets") == [1, 2]
        assert (await db.load_rows("pets", [(3, "cow")])).rowcount == 1
        assert (await db.fetch_arrow("select id from pets")).to_pydict() == {"id": [1, 2, 3]}
        assert (await db.fetch_pandas("select id from pets")).shape == (3, 1)
        assert (await db.fetch_polars("select id from pets")).shape == (3, 1)
        assert await db.ping()
        await db.wait(timeout=5)
        with pytest.raises(RowNotFound):
            await db.fetch_one("select 1 from pets where id = 9", required=True)
        with pytest.raises(StatementError):
            await db.execute_query("select %s, %s", (1,))

    run(database, work)


def test_mistakes_of_those_who_come_from_another_library_are_named(database: dict[str, Any]) -> None:
    """The names of the classes of contextlib are a riddle."""

    async def work(db: Any) -> None:
        async def for_each(block: Any) -> None:
            async for _ in block:
                pass

        async def wait(block: Any) -> None:
            await block

        for mistake in (for_each, wait):
            with pytest.raises(TypeError, match=r"write async with db\.stream"):
                await mistake(db.stream("select 1"))
        with pytest.raises(TypeError, match=r"write async with db\.transaction"), db.transaction():
            pass
        with pytest.raises(TypeError, match="write async with"), db:
            pass
        with pytest.raises(AttributeError, match=r"async with db\.transaction"):
            db.transaction().execute_query("select 1")
        for name, says in {"cursor": "execute_query", "commit": "async with", "acquire": "run_sync"}.items():
            with pytest.raises(AttributeError, match=says):
                getattr(db, name)

    run(database, work)


def test_a_stream_gives_its_rows_to_async_for(database: dict[str, Any]) -> None:
    """In batches; and the block may be left early."""

    async def work(db: AsyncImprovedDb) -> None:
        await db.exec_many("insert into pets values (%s, 'cat')", range(10))
        async with db.stream("select id from pets order by id", batch_size=4) as rows:
            assert rows.columns == ("id",)
            assert await rows.batch() == [(0,), (1,), (2,), (3,)]
            assert [number async for (number,) in rows] == [4, 5, 6, 7, 8, 9]
        async with db.stream("select id from pets order by id", dictcursor=True) as dicts:
            async for row in dicts:
                assert row == {"id": 0}
                break

    run(database, work)


def test_a_transaction_commits_or_rolls_back_at_the_end_of_its_block(database: dict[str, Any]) -> None:
    """As the blocking one does, savepoints and callbacks included."""
    told: list[str] = []

    async def work(db: AsyncImprovedDb) -> None:
        async with db.transaction(isolation="serializable") as tx:
            await tx.execute_query("insert into pets values (1, 'cat')")
            tx.on_commit(lambda: told.append("committed"))
            with contextlib.suppress(KeyError):
                async with tx.savepoint():
                    await tx.execute_query("insert into pets values (2, 'dog')")
                    raise KeyError
            async with tx.stream("select id from pets") as rows:
                assert [row async for row in rows] == [(1,)]
            assert told == []
        assert told == ["committed"]
        with contextlib.suppress(ZeroDivisionError):
            async with db.transaction() as tx:
                await tx.exec_many("insert into pets values (%s, 'cow')", [3, 4])
                raise ZeroDivisionError
        async with db.transaction() as tx:
            await tx.execute_query("insert into pets values (5, 'cat')")
            await tx.commit()
        async with db.transaction() as tx:
            await tx.execute_query("insert into pets values (6, 'cat')")
            await tx.rollback()
        assert await db.fetch_column("select id from pets") == [1, 5]

    run(database, work)


def test_coroutines_that_share_a_transaction_take_turns(database: dict[str, Any]) -> None:
    """One connection takes one statement at a time; `asyncio.gather` is written easily."""

    async def work(db: AsyncImprovedDb) -> None:
        async with db.transaction() as tx:
            await asyncio.gather(*[tx.execute_query("insert into pets values (%s, 'cat')", n) for n in range(20)])
        assert await db.fetch_value("select count(*) from pets") == 20

    run(database, work)


def test_a_plain_function_runs_in_a_transaction_or_with_the_whole_object(database: dict[str, Any]) -> None:
    """`run_transaction` can only retry what it can call again; pipelines have no coroutines."""

    def add(tx: Transaction, number: int) -> int:
        return tx.execute_query("insert into pets values (%s, 'cat')", number).rowcount

    def piped(db: ImprovedDb, number: int) -> int:
        with db.pipeline() as pipe:
            handle = pipe.execute_query("select %s", number, return_one=True)
        found = handle.result()
        return int(found[0])

    async def work(db: AsyncImprovedDb) -> None:
        assert await db.run_transaction(add, 1) == 1
        assert await db.run_transaction(add, 2, exactly_once=True) == 1
        assert await db.fetch_column("select id from pets") == [1, 2]
        assert await db.run_sync(piped, 7) == 7

    run(database, work)


def test_every_verb_of_a_statement_is_there() -> None:
    """A verb that is added for threads is added for coroutines, or is one of these."""
    left_out = {"stream_arrow", "execute_query_multiplex", "pipeline"}
    for blocking, coroutines in ((ImprovedDb.__mro__[1], AsyncImprovedDb), (Transaction, AsyncTransaction)):
        verbs = {name for name, value in vars(blocking).items() if callable(value) and not name.startswith("_")}
        assert verbs - left_out - set(dir(coroutines)) == set()
        assert all(inspect.getdoc(getattr(coroutines, name)) for name in verbs - left_out)


# --- cancellation ----------------------------------------------------------------------------------------------------


def test_cancellation_ends_the_statement_on_the_server_and_frees_the_connection(database: dict[str, Any]) -> None:
    """A request that timed out would otherwise go on to load the server, and hold the only connection."""

    async def work(db: AsyncImprovedDb) -> None:
        with ImprovedDb(database) as watcher:
            task = asyncio.create_task(db.execute_query(ENDLESS))
            await until(lambda: endless(watcher))
            await cancelled(task)
            assert db.sync.stats().used == 0
            await until(lambda: not endless(watcher))
            assert db.sync.stats().discarded == {"cancelled": 1}

    run(database, work, max_size=1)


def test_cancellation_in_a_transaction_rolls_it_back(database: dict[str, Any]) -> None:
    """In the middle of a statement, whose session is gone; and between two, where a ROLLBACK is enough."""

    async def interrupted(db: AsyncImprovedDb, statement: str, reached: asyncio.Event) -> None:
        async with db.transaction() as tx:
            await tx.execute_query("insert into pets values (1, 'cat')")
            reached.set()
            await (tx.execute_query(statement) if statement else asyncio.Event().wait())

    async def work(db: AsyncImprovedDb) -> None:
        with ImprovedDb(database) as watcher:
            for statement in (ENDLESS, ""):
                reached = asyncio.Event()
                task = asyncio.create_task(interrupted(db, statement, reached))
                await reached.wait()
                if statement:
                    await until(lambda: endless(watcher))
                await cancelled(task)
                assert await db.fetch_value("select count(*) from pets") == 0
            assert (endless(watcher), db.sync.stats().discarded) == (0, {"cancelled": 1})

    run(database, work, max_size=1)


def test_cancellation_ends_a_stream_that_waits_for_rows(database: dict[str, Any]) -> None:
    """It may wait for as long as the server computes."""

    async def read(db: AsyncImprovedDb, seen: list[Any]) -> None:
        query = "select if(id = 2, benchmark(1e12, 1), 0), id, repeat('x', 100000) from pets order by id"
        async with db.stream(query, batch_size=1) as rows:
            async for row in rows:
                seen.append(row[1])  # noqa: PERF401  # it has to be seen at once

    async def work(db: AsyncImprovedDb) -> None:
        await db.exec_many("insert into pets values (%s, 'cat')", range(4))
        seen: list[Any] = []
        with ImprovedDb(database) as watcher:
            task = asyncio.create_task(read(db, seen))
            await until(lambda: seen)
            await cancelled(task)
            await until(lambda: not endless(watcher))

    run(database, work, max_size=1)


def test_a_coroutine_that_is_cancelled_while_it_waits_sends_nothing(database: dict[str, Any]) -> None:
    """It waits for another coroutine, or its thread for code that blocks; neither may send its statement later."""

    async def work(db: AsyncImprovedDb) -> None:
        insert = "insert into pets values (%s, 'cat')"
        async with db.transaction():
            task = asyncio.create_task(db.execute_query(insert, 1))
            await until(lambda: db.stats().waiting == 1)
            await cancelled(task)
        borrowed = db.sync.pool_get_connection()
        task = asyncio.create_task(db.execute_query(insert, 2))
        await until(lambda: db.sync.stats().waiting == 1)
        await cancelled(task)
        db.sync.pool_put_connection(borrowed)
        assert await db.fetch_column("select id from pets") == []

    run(database, work, max_size=1)


def test_cancellation_stops_a_plain_function_at_its_next_statement(database: dict[str, Any]) -> None:
    """It is not retried, and what it began is rolled back."""
    attempts: list[int] = []

    def goes_on(tx: Transaction) -> None:
        tx.execute_query("insert into pets values (1, 'cat')")
        attempts.append(len(attempts))
        while True:
            tx.execute_query("select 1")

    async def work(db: AsyncImprovedDb) -> None:
        task = asyncio.create_task(db.run_transaction(goes_on))
        await until(lambda: attempts)
        await cancelled(task)
        assert await db.fetch_column("select id from pets") == []
        assert attempts == [0]

    run(database, work, max_size=1)


def test_cancellation_ends_the_sleep_before_a_retry() -> None:
    """While a server is down, a call is retried for half a minute; who has given up shall not write when it is back."""

    async def main(server: TemporaryServer) -> None:
        async with AsyncImprovedDb(server.url, max_size=1) as db:
            await db.execute_query("create table pets (id int primary key)")
            server.kill()
            task = asyncio.create_task(db.execute_query("insert into pets values (1)"))
            await until(lambda: sum(db.sync.stats().retries.values()) > 3)
            await cancelled(task)
            assert (db.sync.stats().waiting, db.sync.stats().used) == (0, 0)
            server.start()
            assert await db.fetch_column("select id from pets") == []

    with TemporaryServer() as server:
        asyncio.run(asyncio.wait_for(main(server), PATIENCE))


def test_cancellation_again_and_again_ends_what_was_begun(database: dict[str, Any]) -> None:
    """So anyio does it, which Starlette and FastAPI use: every ``await`` in a cancelled scope is cancelled, too."""

    async def work(db: AsyncImprovedDb) -> None:
        await db.exec_many("insert into pets values (%s, 'cat')", range(4))
        for _ in range(3):
            with ImprovedDb(database) as watcher:
                with anyio.CancelScope() as scope:
                    async with db.transaction() as tx, anyio.create_task_group() as group:
                        await tx.execute_query("insert into pets values (9, 'cat')")
                        group.start_soon(tx.execute_query, ENDLESS)
                        await until(lambda: endless(watcher))
                        scope.cancel()
                with anyio.CancelScope() as scope:
                    async with db.stream("select id from pets", batch_size=1) as rows:
                        async for _ in rows:
                            scope.cancel()
                assert await db.fetch_value("select count(*) from pets") == 4
                await until(lambda: not endless(watcher))

    run(database, work, max_size=1)


@pytest.mark.parametrize("how", ["asyncio", "anyio"])
def test_no_connection_is_lost_whenever_coroutines_are_cancelled(database: dict[str, Any], how: str) -> None:
    """At any instant: before it begins, while it waits, in a statement, between two, in COMMIT, when it is over."""
    chance = random.Random(1)

    async def statement(db: AsyncImprovedDb) -> None:
        await db.fetch_value("select sleep(%s)", chance.random() / 100)

    async def transaction(db: AsyncImprovedDb) -> None:
        async with db.transaction() as tx:
            await tx.execute_query("insert into pets values (%s, 'cat')", chance.randrange(1_000_000_000))
            await tx.execute_query("select sleep(%s)", chance.random() / 100)

    async def stream(db: AsyncImprovedDb) -> None:
        async with db.stream("select id, sleep(0.0005) from pets limit 20", batch_size=2) as rows:
            async for _ in rows:
                pass

    async def client(db: AsyncImprovedDb) -> int:
        ended = 0
        for _ in range(25):
            work = chance.choice([statement, transaction, stream])
            if how == "anyio":
                with anyio.move_on_after(chance.random() / 50) as scope:
                    await work(db)
                ended += scope.cancelled_caught
                continue
            task = asyncio.create_task(work(db))
            await asyncio.wait([task], timeout=chance.random() / 50)
            task.cancel()
            await asyncio.wait([task])
            ended += task.cancelled()
            assert task.cancelled() or task.exception() is None
        return ended

    async def work(db: AsyncImprovedDb) -> None:
        await db.exec_many("insert into pets values (%s, 'cat')", range(10))
        ended = await asyncio.gather(*[client(db) for _ in range(6)])
        assert sum(ended) > 20

    run(database, work, max_size=3)


# --- waiting, sharing, closing ---------------------------------------------------------------------------------------


def test_waiting_is_bounded_in_time_and_in_number(database: dict[str, Any]) -> None:
    """As for threads: overload is an error of its own, and soon."""

    async def work(db: AsyncImprovedDb) -> None:
        async with db.transaction():
            task = asyncio.create_task(db.fetch_value("select 1"))
            await until(lambda: db.stats().waiting == 1)
            with pytest.raises(TooManyWaiting):
                await db.fetch_value("select 2")
            with pytest.raises(PoolTimeout, match="all of max_size=1 connections were in use"):
                await task

    run(database, work, max_size=1, max_waiting=1, acquire_timeout=0.1)


def test_close_wakes_the_coroutines_that_wait(database: dict[str, Any]) -> None:
    """And later calls are refused in the same way."""

    async def main() -> None:
        db = AsyncImprovedDb(database, max_size=1)
        async with db.transaction():
            task = asyncio.create_task(db.fetch_value("select 1"))
            await until(lambda: db.stats().waiting == 1)
            closing = asyncio.create_task(db.close())
            with pytest.raises(PoolClosed):
                await task
        await closing
        with pytest.raises(PoolClosed):
            await db.fetch_value("select 1")
        await db.close()

    asyncio.run(asyncio.wait_for(main(), PATIENCE))


def test_an_object_that_blocks_can_be_shared(database: dict[str, Any]) -> None:
    """A program that moves to asyncio step by step has one pool; it stays open for its other users."""

    async def main(shared: ImprovedDb) -> Any:
        async with AsyncImprovedDb(shared) as db:
            assert db.sync is shared
            return await db.fetch_value("select connection_id()")

    with ImprovedDb(database, max_size=1) as blocking:
        assert asyncio.run(main(blocking)) == blocking.fetch_value("select connection_id()")
        with pytest.raises(ConfigError):
            AsyncImprovedDb(blocking, max_size=3)


def test_one_object_serves_one_event_loop_after_the_other(database: dict[str, Any]) -> None:
    """Scripts and tests call `asyncio.run` many times."""
    db = AsyncImprovedDb(database, max_size=1)

    async def several() -> list[Any]:
        return await asyncio.gather(*[db.fetch_value("select 1") for _ in range(3)])

    assert [asyncio.run(several()) for _ in range(3)] == [[1, 1, 1]] * 3
    asyncio.run(db.close())


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_child_has_threads_of_its_own(database: dict[str, Any]) -> None:
    """Gunicorn --preload with uvicorn's workers: the parent may have used it before."""
    db = AsyncImprovedDb(database, max_size=1)

    def ask() -> Any:
        return asyncio.run(asyncio.wait_for(db.fetch_value("select 1"), PATIENCE))

    def in_child() -> None:
        assert ask() == 1

    assert ask() == 1
    child = multiprocessing.get_context("fork").Process(target=in_child)
    child.start()
    child.join(PATIENCE)
    assert child.exitcode == 0
    assert ask() == 1
    asyncio.run(db.close())


def test_context_variables_are_seen_in_the_thread(database: dict[str, Any]) -> None:
    """Tracing and logging keep the request there."""
    request = contextvars.ContextVar("request", default="none")

    async def work(db: AsyncImprovedDb) -> None:
        request.set("17")
        assert await db.run_sync(lambda _: request.get()) == "17"

    run(database, work)
