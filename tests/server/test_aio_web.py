"""`AsyncImprovedDb` in FastAPI and Starlette, behind a real web server."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from fastapi import Depends, FastAPI, HTTPException
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route

from improved_db import ImprovedDb
from improved_db.aio import AsyncImprovedDb, AsyncTransaction

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

uvicorn = pytest.importorskip("uvicorn")

#: Takes hours, and does not notice that its client is gone: only KILL ends it.
ENDLESS = "select if(id = 2, benchmark(1e12, 1), 0), repeat('x', 100000) from note order by id"


@contextlib.contextmanager
def served(app: Any) -> Iterator[str]:
    """Serve *app* on a port of this machine, from its start to its shutdown."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="on"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        while not server.started and thread.is_alive():
            threading.Event().wait(0.005)
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(20)
            assert not thread.is_alive()


@pytest.fixture
def watcher(database: dict[str, Any]) -> Iterator[ImprovedDb]:
    """A table of notes, and a pool to look at it with."""
    with ImprovedDb(database, max_size=2) as db:
        db.execute_query("create table note (id int auto_increment primary key, text varchar(20))")
        yield db


def endless(watcher: ImprovedDb) -> int:
    """Return how many statements are at `ENDLESS` on the server."""
    query = "select count(*) from information_schema.processlist where info like '%benchmark(1e12%' and db = database()"
    return int(watcher.fetch_value(query + " and id <> connection_id()"))


def lifespan_of(database: dict[str, Any]) -> Any:
    """Return what opens a pool with the application, and closes it with that."""

    @contextlib.asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[None]:
        async with AsyncImprovedDb(database, max_size=3) as app.state.db:
            yield

    return lifespan


def test_fastapi_commits_what_a_request_did_or_rolls_it_back(watcher: ImprovedDb, database: dict[str, Any]) -> None:
    """A dependency that yields a transaction, and more requests at a time than there are connections."""
    app = FastAPI(lifespan=lifespan_of(database))

    async def transaction() -> AsyncIterator[AsyncTransaction]:
        async with app.state.db.transaction() as tx:
            yield tx

    depends = Depends(transaction)

    async def post(text: str, tx: AsyncTransaction = depends) -> dict[str, int]:
        added = await tx.execute_query("insert into note (text) values (%s)", text)
        if text.startswith("bad"):
            raise HTTPException(400, "a bad note")
        return {"id": added.lastrowid}

    async def notes() -> list[str]:
        found: list[str] = await app.state.db.fetch_column("select text from note order by text")
        return found

    app.post("/note/{text}")(post)
    app.get("/notes")(notes)
    with served(app) as url, httpx.Client(base_url=url) as client, ThreadPoolExecutor(12) as clients:
        texts = [f"{kind}{number:02}" for number in range(15) for kind in ("good", "bad")]
        codes = list(clients.map(lambda text: client.post(f"/note/{text}").status_code, texts))
        assert codes == [200, 400] * 15
        assert client.get("/notes").json() == sorted(text for text in texts if text.startswith("good"))


def test_starlette_ends_the_statement_of_a_request_that_takes_too_long(
    watcher: ImprovedDb, database: dict[str, Any]
) -> None:
    """A time limit of the program's own; the connection serves the next request."""
    watcher.exec_many("insert into note (text) values (%s)", ["a", "b", "c"])

    async def slow(request: Any) -> Any:
        try:
            await asyncio.wait_for(request.app.state.db.fetch_all(ENDLESS), 0.2)
        except asyncio.TimeoutError:
            return PlainTextResponse("too slow", 504)

    app = Starlette(routes=[Route("/slow", slow)], lifespan=lifespan_of(database))
    with served(app) as url, httpx.Client(base_url=url, timeout=20) as client:
        assert [client.get("/slow").status_code for _ in range(4)] == [504] * 4
        while endless(watcher):
            pass
        assert app.state.db.sync.stats().used == 0


def test_starlette_ends_the_stream_of_a_client_that_went_away(watcher: ImprovedDb, database: dict[str, Any]) -> None:
    """The server would go on computing rows that no client reads."""
    watcher.exec_many("insert into note (text) values (%s)", ["a", "b", "c"])

    async def rows(request: Any) -> Any:
        async def lines() -> AsyncIterator[str]:
            async with request.app.state.db.stream(ENDLESS, batch_size=1) as stream:
                async for row in stream:
                    yield row[1]

        return StreamingResponse(lines())

    app = Starlette(routes=[Route("/rows", rows)], lifespan=lifespan_of(database))
    with served(app) as url:
        with httpx.stream("GET", f"{url}/rows") as answer:
            assert next(answer.iter_text()) != ""
            while not endless(watcher):
                pass
        while endless(watcher) or app.state.db.sync.stats().used:
            pass
