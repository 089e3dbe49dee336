"""A small HTTP server for a page that is mounted nowhere.

Knows `http.server`. Does not know what is served.
"""

from __future__ import annotations

import threading
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING, Any, Final
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from typing_extensions import Self

#: How many requests are answered at a time; others wait in the system's queue.
AT_ONCE: Final = 8
_TIMEOUT: Final = 10.0  # seconds for a browser to send its request


class _Handler(WSGIRequestHandler):
    timeout = _TIMEOUT
    server_version = "improved_db"
    sys_version = ""

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # its name in http.server
        """Stay silent: the program's standard error is its own, and an address may have a token in it."""


class _Threads(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, *args: Any) -> None:
        self._free = threading.BoundedSemaphore(AT_ONCE)
        super().__init__(*args)

    def server_bind(self) -> None:
        """Bind without asking the name service for this machine's name, which may take long."""
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])
        self.setup_environ()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Wait until a thread is free."""
        self._free.acquire()
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer, and free the thread."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Stay silent about a browser that went away."""


class Server:
    """A page that is being served.

    Attributes:
        url: Its address; with the token, if there is one.
        port: Its port.
    """

    def __init__(self, application: Callable[..., Any], host: str, port: int, token: str | None) -> None:
        """Listen, and answer from a thread of its own."""
        self._server = _Threads((host, port), _Handler)
        self._server.set_app(application)
        self.port: int = self._server.server_port
        name = f"[{host}]" if ":" in host else host
        self.url: str = f"http://{name}:{self.port}/" + (f"?token={token}" if token else "")
        self._thread = threading.Thread(target=self._server.serve_forever, name="improved_db page", daemon=True)
        self._thread.start()

    def wait(self) -> None:
        """Wait until it is closed."""
        self._thread.join()

    def close(self) -> None:
        """Stop answering."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Server of a page on port {self.port}>"
