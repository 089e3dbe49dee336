"""The page as a function of a request, and its adapters: WSGI, ASGI, a Django view, and a server of its own.

Only GET and HEAD are answered, and nothing can be changed by it.

Knows paths, parameters and the adapters. Does not know what the data mean.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl, urlencode

from improved_db.errors import ConfigError
from improved_db.observe import prometheus
from improved_db.observe.page.access import Access
from improved_db.observe.page.answer import Answer, Refusal, answer, json_answer, number, only
from improved_db.observe.page.document import document
from improved_db.observe.page.history import History

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping

    from improved_db.observe.page.serving import Server
    from improved_db.observe.page.source import Source

logger: logging.Logger = logging.getLogger("improved_db.observe")

_PARAMETERS: Final = 10
_REASONS: Final = {
    200: "OK", 302: "Found", 308: "Permanent Redirect", 400: "Bad Request", 401: "Unauthorized", 403: "Forbidden",
    404: "Not Found", 405: "Method Not Allowed", 421: "Misdirected Request", 500: "Internal Server Error",
}  # fmt: skip


class Monitor:
    """A page about a database; `ImprovedDb.monitor` makes it.

    Attributes:
        history: The points of its charts.
    """

    def __init__(
        self,
        source: Source,
        *,
        token: str | None = None,
        auth: Callable[[Mapping[str, str]], object] | None = None,
        public: bool = False,
        allowed_hosts: Iterable[str] = (),
        interval: float = 2.0,
    ) -> None:
        """See `ImprovedDb.monitor`."""
        if type(interval) not in {int, float} or not 0 < interval <= 3600:
            raise ConfigError("interval must be seconds, more than 0 and at most an hour")
        self._access = Access(token, auth, public, allowed_hosts)
        self._token = token
        self._source = source
        self._interval = interval
        self.history: History = History(source.numbers, source.quantile, interval)

    def __repr__(self) -> str:
        return f"<Monitor of {self._source.title}>"

    # --- one request -----------------------------------------------------------------------------------------------

    def respond(
        self, method: str, path: str, query: str, headers: Mapping[str, str], *, mount: str = "", secure: bool = False
    ) -> Answer:
        """Answer one request.

        Args:
            method: HTTP's method.
            path: What follows the place where the page is mounted; empty or with a slash in front.
            query: What follows the question mark.
            headers: By names in lower case.
            mount: Where the page is mounted, without a slash at the end.
            secure: Whether the request came by HTTPS.
        """
        try:
            found = self._found(method, path, query, headers, mount=mount, secure=secure)
        except Refusal as refusal:
            found = json_answer(refusal.status, {"error": str(refusal)}, *refusal.headers)
        except Exception:
            logger.exception("the page could not answer")
            found = json_answer(500, {"error": "the page could not answer; the program's log says why"})
        return found._replace(body=b"") if method == "HEAD" else found

    def _found(
        self, method: str, path: str, query: str, headers: Mapping[str, str], *, mount: str, secure: bool
    ) -> Answer:
        self._access.check_host(headers)
        if method not in {"GET", "HEAD"}:
            raise Refusal(405, "the page only shows, and changes nothing: GET", ("Allow", "GET, HEAD"))
        if query.count("&") > _PARAMETERS:
            raise Refusal(400, "there are too many parameters")
        parameters = dict(parse_qsl(query, keep_blank_values=True))
        if "token" in parameters:
            return self._let_in(path, parameters, mount, secure=secure)
        self._access.check(headers)
        if not path:
            return answer(308, b"", "text/plain", ("Location", f"{mount}/" + (f"?{query}" if query else "")))
        name = path.lstrip("/")
        if not name:
            only(parameters, ())
            made = document()
            return answer(200, made.body, "text/html; charset=utf-8", policy=made.policy)
        if name == "metrics":
            only(parameters, ("top",))
            text = prometheus.text(top=number(parameters, "top", 0, high=prometheus.MOST))
            return answer(200, text.encode(), prometheus.CONTENT_TYPE)
        if not name.startswith("data/"):
            raise Refusal(404, "there is nothing here")
        return json_answer(200, self._data(name.removeprefix("data/"), parameters))

    def _let_in(self, path: str, parameters: dict[str, str], mount: str, *, secure: bool) -> Answer:
        """Put the token into a cookie, and out of the address."""
        if not self._access.is_token(parameters.pop("token")):
            raise Refusal(401, "this token is wrong", ("WWW-Authenticate", "Bearer"))
        there = f"{mount}{path or '/'}"
        there = "/" + there.lstrip("/")  # not //host
        rest = f"?{urlencode(parameters)}" if parameters else ""
        cookie = self._access.cookie(f"{mount}/", secure=secure)
        return answer(302, b"", "text/plain", ("Location", there + rest), cookie)

    def _data(self, name: str, parameters: Mapping[str, str]) -> Any:
        self.history.sample()
        if name == "history":
            only(parameters, ("after",))
            return self.history.since(number(parameters, "after", 0, high=10**16) / 1000)
        content = self._source.data(name, parameters)
        if name == "overview":
            return {"title": self._source.title, "tabs": self._source.tabs, "interval": self._interval, **content}
        return content

    # --- adapters --------------------------------------------------------------------------------------------------

    def wsgi(self, environ: Mapping[str, Any], start_response: Callable[..., object]) -> list[bytes]:
        """Be an application of WSGI: mount it in Flask by werkzeug's DispatcherMiddleware, or serve it."""
        headers = {name[5:].replace("_", "-").lower(): value for name, value in environ.items() if name[:5] == "HTTP_"}
        found = self.respond(
            str(environ.get("REQUEST_METHOD", "GET")),
            str(environ.get("PATH_INFO", "")),
            str(environ.get("QUERY_STRING", "")),
            headers,
            mount=str(environ.get("SCRIPT_NAME", "")).rstrip("/"),
            secure=environ.get("wsgi.url_scheme") == "https",
        )
        start_response(f"{found.status} {_REASONS[found.status]}", list(found.headers))
        return [found.body]

    async def asgi(
        self,
        scope: Mapping[str, Any],
        receive: Callable[[], Awaitable[Any]],
        send: Callable[[Any], Awaitable[None]],
    ) -> None:
        """Be an application of ASGI: ``app.mount("/db", monitor.asgi)`` in FastAPI and Starlette."""
        if scope["type"] == "lifespan":
            while (await receive())["type"] != "lifespan.shutdown":
                await send({"type": "lifespan.startup.complete"})
            await send({"type": "lifespan.shutdown.complete"})
            return
        if scope["type"] != "http":
            raise RuntimeError(f"the page speaks HTTP, not {scope['type']}")
        mount = str(scope.get("root_path", "")).rstrip("/")
        path = str(scope["path"]).removeprefix(mount)
        found = self.respond(
            scope["method"],
            path,
            scope.get("query_string", b"").decode("latin-1"),
            {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]},
            mount=mount,
            secure=scope.get("scheme") == "https",
        )
        raw = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in found.headers]
        await send({"type": "http.response.start", "status": found.status, "headers": raw})
        await send({"type": "http.response.body", "body": found.body})

    def django_view(self, request: Any, path: str = "") -> Any:
        """Be a view of Django: ``re_path(r"^db(?P<path>/.*)?$", monitor.django_view)``."""
        from django.http import HttpResponse  # noqa: PLC0415  # only Django's users have it

        path = path or ""
        whole = request.path
        found = self.respond(
            request.method,
            path,
            request.META.get("QUERY_STRING", ""),
            {name.lower(): value for name, value in request.headers.items()},
            mount=whole.removesuffix(path) if path else whole,
            secure=request.is_secure(),
        )
        response = HttpResponse(found.body, status=found.status)
        for name, value in found.headers:
            response[name] = value
        return response

    def serve(self, host: str = "127.0.0.1", port: int = 0) -> Server:
        """Serve the page from a thread of its own until the server that is returned is closed.

        Args:
            host: The address to listen on; one that is not the loopback's needs ``allowed_hosts``.
            port: 0 takes a free one.

        Raises:
            OSError: The port is taken.
        """
        from improved_db.observe.page.serving import Server  # noqa: PLC0415  # http.server takes 50 ms to import

        return Server(self.wsgi, host, port, self._token)
