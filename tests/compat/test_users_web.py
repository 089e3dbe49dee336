"""Web programs over the doors: Flask in a threaded server, FastAPI in its pool of threads."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import logging
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import httpx
import pymysql
import pytest
from fastapi import Depends, FastAPI
from flask import Flask, request
from werkzeug.serving import make_server

import improved_db
from improved_db.compat.pymysqlpool import ConnectionPool
from tests.compat.users import MOST, Account
from tests.fakes import PATIENCE, Caller

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture
def account(account: Account) -> Account:
    """An account with a table."""
    account.ask("CREATE TABLE note (id INT AUTO_INCREMENT PRIMARY KEY, text VARCHAR(40) UNIQUE)")
    return account


@pytest.fixture
def pool(account: Account) -> Iterator[ConnectionPool]:
    """What a web program makes when it starts; at the end everything has to be back."""
    made = ConnectionPool(size=MOST, **account.options)
    yield made
    assert made.size() == MOST
    made.close()


@pytest.fixture
def enabled() -> Iterator[None]:
    """``pymysql.connect`` lends pooled connections."""
    with improved_db.enable(pool_size=MOST):
        yield


def notes(account: Account) -> list[str]:
    """Return what is in the table."""
    return sorted(text for (text,) in account.ask("SELECT text FROM note"))


# --- Flask -----------------------------------------------------------------------------------------------------------


def add_note(cursor: Any) -> dict[str, Any]:
    """Do what the request asks; answer with who did it."""
    cursor.execute("INSERT INTO note (text) VALUES (%s)", (request.args["text"],))
    if "fail" in request.args:
        raise RuntimeError(request.args["fail"])
    cursor.execute("SELECT CONNECTION_ID(), text FROM note WHERE id = LAST_INSERT_ID()")
    session, text = cursor.fetchone()
    return {"session": session, "text": text}


def flask_with_pool(pool: ConnectionPool) -> Flask:
    """Write a program whose views borrow from a pool."""

    def block() -> dict[str, Any]:
        with pool.get_connection(timeout=PATIENCE) as connection, connection.cursor() as cursor:
            connection.begin()
            return add_note(cursor)

    def by_hand() -> dict[str, Any]:
        connection = pool.get_connection(timeout=PATIENCE)
        try:
            connection.begin()
            answer = add_note(connection.cursor())
            connection.commit()
        finally:
            connection.close()
        return answer

    app = Flask("with_pool")
    app.add_url_rule("/block", view_func=block)
    app.add_url_rule("/by_hand", view_func=by_hand)
    return app


def flask_with_connect(options: dict[str, Any]) -> Flask:
    """Write a program that knows PyMySQL alone."""

    def block() -> dict[str, Any]:
        with pymysql.connect(**options) as connection, connection.cursor() as cursor:
            answer = add_note(cursor)
            connection.commit()
            return answer

    def by_hand() -> dict[str, Any]:
        connection = pymysql.connect(**options)
        try:
            answer = add_note(connection.cursor())
            connection.commit()
        finally:
            connection.close()
        return answer

    app = Flask("with_connect")
    app.add_url_rule("/block", view_func=block)
    app.add_url_rule("/by_hand", view_func=by_hand)
    return app


@contextlib.contextmanager
def serving(app: Flask) -> Iterator[Callable[[str], dict[str, Any]]]:
    """Serve *app* on a free port, each request in a new thread; yield what asks it."""
    logging.getLogger("werkzeug").setLevel(logging.CRITICAL)  # a line for each request
    app.logger.setLevel(logging.CRITICAL + 1)  # the traceback of the view that is meant to fail
    server: Any = make_server("127.0.0.1", 0, app, threaded=True)
    server.daemon_threads = False  # closing it waits for the requests

    def ask(path: str) -> dict[str, Any]:
        with urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}{path}", timeout=PATIENCE) as answer:
            told: dict[str, Any] = json.load(answer)
            return told

    thread = Caller(functools.partial(server.serve_forever, poll_interval=0.02))
    try:
        yield ask
    finally:
        server.shutdown()
        thread.result()
        server.server_close()


@pytest.mark.parametrize("path", ["/block", "/by_hand"])
def test_flask_views_share_the_sessions_of_a_pool(account: Account, pool: ConnectionPool, path: str) -> None:
    """Sixteen browsers at once, a thread for each request, and the server refuses a fifth session."""
    with serving(flask_with_pool(pool)) as ask, ThreadPoolExecutor(16) as browsers:
        answers = list(browsers.map(lambda number: ask(f"{path}?text=note{number:02}"), range(80)))

    assert [answer["text"] for answer in answers] == [f"note{number:02}" for number in range(80)] == notes(account)
    assert {answer["session"] for answer in answers} == account.sessions()
    assert len(account.sessions()) <= MOST


@pytest.mark.parametrize("path", ["/block", "/by_hand"])
def test_flask_views_reuse_sessions_through_an_enabled_connect(account: Account, enabled: None, path: str) -> None:
    """No request waits there, so as many browsers as sessions; none of the sessions is opened for one request alone."""
    with serving(flask_with_connect(account.options)) as ask, ThreadPoolExecutor(MOST) as browsers:
        answers = list(browsers.map(lambda number: ask(f"{path}?text=note{number:02}"), range(80)))

    assert notes(account) == [f"note{number:02}" for number in range(80)]
    assert {answer["session"] for answer in answers} == account.sessions()
    assert len(account.sessions()) <= MOST


@pytest.mark.parametrize("path", ["/block", "/by_hand"])
def test_a_view_that_raises_returns_its_connection_and_leaves_nothing(
    account: Account, pool: ConnectionPool, path: str
) -> None:
    """More failing requests than there are connections: one lost with each would stop the site."""
    with serving(flask_with_pool(pool)) as ask, ThreadPoolExecutor(MOST) as browsers:

        def fail(number: int) -> int:
            with pytest.raises(urllib.error.HTTPError) as caught:
                ask(f"{path}?text=failed{number}&fail=yes")
            with caught.value as answer:
                return int(answer.code)

        assert list(browsers.map(fail, range(3 * MOST))) == [500] * 3 * MOST
        assert pool.size() == MOST
        assert ask(f"{path}?text=good")["text"] == "good"

    assert notes(account) == ["good"]


@pytest.mark.parametrize("path", ["/block", "/by_hand"])
def test_a_view_that_raises_leaves_nothing_behind_an_enabled_connect(
    account: Account, enabled: None, path: str
) -> None:
    """PyMySQL's own ``with`` rolls nothing back but by hanging up; a pooled connection stays up."""
    with serving(flask_with_connect(account.options)) as ask:
        for number in range(3 * MOST):
            with pytest.raises(urllib.error.HTTPError) as caught:
                ask(f"{path}?text=failed{number}&fail=yes")
            caught.value.close()
        good = ask(f"{path}?text=good")

    assert notes(account) == ["good"]
    assert account.sessions() == {good["session"]}


# --- FastAPI ---------------------------------------------------------------------------------------------------------


def borrowed(pool: ConnectionPool) -> Iterator[Any]:
    """Lend a connection to one request: a dependency, as FastAPI's manual has it for sessions."""
    with pool.get_connection(timeout=PATIENCE) as connection:
        connection.begin()
        yield connection


def opened(options: dict[str, Any]) -> Iterator[Any]:
    """Do the same in PyMySQL's words alone."""
    connection = pymysql.connect(**options)
    try:
        yield connection
        connection.commit()
    finally:
        connection.close()


def fastapi_with(dependency: Callable[[], Iterator[Any]]) -> Any:
    """Write a program whose endpoints are handed a connection; FastAPI runs each part in any thread of its pool."""
    lend = Depends(dependency)

    def post(text: str, connection: Any = lend) -> dict[str, Any]:
        with connection.cursor() as cursor:
            cursor.execute("INSERT INTO note (text) VALUES (%s)", (text,))
            cursor.execute("SELECT CONNECTION_ID(), text FROM note WHERE id = LAST_INSERT_ID()")
            session, found = cursor.fetchone()
        return {"session": session, "text": found}

    def fail(text: str, connection: Any = lend) -> None:
        post(text, connection)
        raise RuntimeError(text)

    app = FastAPI()
    app.add_api_route("/post", post)
    app.add_api_route("/fail", fail)
    return app


def ask_at_once(app: Any, paths: list[str]) -> list[Any]:
    """Send all the requests at once; return their answers."""

    async def ask_all() -> list[Any]:
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://site", timeout=PATIENCE) as client:
            return list(await asyncio.gather(*(client.get(path) for path in paths)))

    return asyncio.run(ask_all())


def test_fastapi_requests_share_the_sessions_of_a_pool(account: Account, pool: ConnectionPool) -> None:
    """Its forty threads all want a connection at once; a pool that lets them in over its size is refused."""
    app = fastapi_with(functools.partial(borrowed, pool))

    answers = ask_at_once(app, [f"/post?text=note{number:02}" for number in range(40)])

    assert [answer.json()["text"] for answer in answers] == [f"note{number:02}" for number in range(40)]
    assert notes(account) == [f"note{number:02}" for number in range(40)]
    assert {answer.json()["session"] for answer in answers} <= account.sessions()
    assert len(account.sessions()) <= MOST


def test_fastapi_requests_reuse_sessions_through_an_enabled_connect(account: Account, enabled: None) -> None:
    """A connection that is opened in one thread, used in another and given back in a third is one connection."""
    app = fastapi_with(functools.partial(opened, account.options))

    answers = [
        answer
        for start in range(0, 40, MOST)
        for answer in ask_at_once(app, [f"/post?text=note{number:02}" for number in range(start, start + MOST)])
    ]

    assert notes(account) == [answer.json()["text"] for answer in answers]
    assert {answer.json()["session"] for answer in answers} == account.sessions()


@pytest.mark.parametrize("door", ["ConnectionPool", "enabled pymysql.connect"])
def test_an_endpoint_that_raises_returns_its_connection_and_leaves_nothing(
    account: Account, pool: ConnectionPool, enabled: None, door: str
) -> None:
    """The dependency hears of the error in a thread that has nothing to do with it."""
    lend = functools.partial(borrowed, pool) if door == "ConnectionPool" else functools.partial(opened, account.options)
    app = fastapi_with(lend)

    for start in range(0, 12, MOST):
        answers = ask_at_once(app, [f"/fail?text=failed{number}" for number in range(start, start + MOST)])
        assert [answer.status_code for answer in answers] == [500] * MOST
    assert ask_at_once(app, ["/post?text=good"])[0].json()["text"] == "good"

    assert notes(account) == ["good"]


@pytest.mark.parametrize("door", ["ConnectionPool", "enabled pymysql.connect"])
def test_a_connection_outlives_the_thread_that_borrowed_it(account: Account, enabled: None, door: str) -> None:
    """A pool of threads ends those with nothing to do, while a request goes on with what they had borrowed for it."""
    with contextlib.closing(ConnectionPool(size=1, maxsize=MOST, **account.options)) as one:

        def borrow() -> Any:
            if door == "ConnectionPool":
                return one.get_connection(retry_num=1, retry_interval=0.01)
            return pymysql.connect(**account.options)

        connection = Caller(borrow, dies=True).result()
        connection.begin()
        connection.cursor().execute("INSERT INTO note (text) VALUES ('kept')")
        borrow().close()  # finds none idle, and looks for what was lost
        connection.commit()
        connection.close()

    assert notes(account) == ["kept"]
