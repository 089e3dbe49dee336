"""The ways by which a page can be reached, each asked with the same words.

Knows the frameworks it can be mounted in. Does not know what the page shows.
"""

from __future__ import annotations

import http.client
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from improved_db.observe.page.monitor import Monitor

Headers = dict[str, str]


class Told(NamedTuple):
    """What a request got.

    Attributes:
        status: HTTP's number.
        headers: By names in lower case.
        body: As text.
    """

    status: int
    headers: Headers
    body: str


def by_wsgi(monitor: Monitor) -> Iterator[Callable[[str, str, Headers], Told]]:
    """Mounted in Flask."""
    flask = pytest.importorskip("flask")
    dispatcher = pytest.importorskip("werkzeug.middleware.dispatcher")
    app = flask.Flask("page")
    app.wsgi_app = dispatcher.DispatcherMiddleware(app.wsgi_app, {"/db": monitor.wsgi})
    with app.test_client(use_cookies=False) as client:

        def ask(method: str, path: str, headers: Headers) -> Told:
            with client.open(path, method=method, headers={"Host": "localhost", **headers}) as got:
                return Told(got.status_code, {k.lower(): v for k, v in got.headers.items()}, got.get_data(as_text=True))

        yield ask


def by_asgi(monitor: Monitor) -> Iterator[Callable[[str, str, Headers], Told]]:
    """Mounted in FastAPI."""
    fastapi = pytest.importorskip("fastapi")
    testclient = pytest.importorskip("fastapi.testclient")
    app = fastapi.FastAPI()
    app.mount("/db", monitor.asgi)
    with testclient.TestClient(app, base_url="http://localhost", follow_redirects=False) as client:

        def ask(method: str, path: str, headers: Headers) -> Told:
            got = client.request(method, path, headers=headers)
            client.cookies.clear()
            return Told(got.status_code, {k.lower(): v for k, v in got.headers.items()}, got.text)

        yield ask


def by_django(monitor: Monitor) -> Iterator[Callable[[str, str, Headers], Told]]:
    """A view of Django."""
    django = pytest.importorskip("django")
    from django.conf import settings  # noqa: PLC0415  # not everywhere
    from django.test import RequestFactory  # noqa: PLC0415  # as above

    if not settings.configured:
        settings.configure(ALLOWED_HOSTS=["*"], DEFAULT_CHARSET="utf-8")
        django.setup()

    def ask(method: str, path: str, headers: Headers) -> Told:
        named = {
            f"HTTP_{name.upper().replace('-', '_')}": value for name, value in {"Host": "localhost", **headers}.items()
        }
        request = RequestFactory().generic(method, path, **named)
        got = monitor.django_view(request, request.path.removeprefix("/db"))
        return Told(got.status_code, {k.lower(): v for k, v in got.items()}, got.content.decode())

    yield ask


def by_itself(monitor: Monitor) -> Iterator[Callable[[str, str, Headers], Told]]:
    """Served by the program, on a port of its own."""
    with monitor.serve() as server:

        def ask(method: str, path: str, headers: Headers) -> Told:
            connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
            connection.request(method, path.removeprefix("/db") or "/", headers=headers)
            got = connection.getresponse()
            told = Told(got.status, {k.lower(): v for k, v in got.getheaders()}, got.read().decode())
            connection.close()
            return told

        yield ask


WAYS: dict[str, Any] = {"wsgi in Flask": by_wsgi, "asgi in FastAPI": by_asgi, "Django": by_django, "alone": by_itself}
