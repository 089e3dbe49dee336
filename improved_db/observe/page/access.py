"""Who may see the page: who has the token, whom the program's own check lets in, or every visitor; under which names.

The check of the host stops DNS rebinding: a foreign site whose name points here cannot read the page in a browser.

Knows tokens, cookies and host names. Does not know what is shown.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from typing import TYPE_CHECKING, Final

from improved_db.errors import ConfigError
from improved_db.observe.page.answer import Refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

COOKIE: Final = "improved_db_page"
LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "[::1]"})
_SHORTEST: Final = 16


class Access:
    """The door of one page."""

    def __init__(
        self,
        token: str | None,
        auth: Callable[[Mapping[str, str]], object] | None,
        public: bool,
        allowed_hosts: Iterable[str],
    ) -> None:
        """Decide once who may come in.

        Raises:
            ConfigError: Not exactly one of *token*, *auth* and *public* is given, or one is invalid.
        """
        if (token is not None) + (auth is not None) + bool(public) != 1:
            raise ConfigError(
                "the page shows statements and code: say who may see it, by exactly one of token= (a secret of 16 or "
                "more characters), auth= (a function of the request's headers) and public=True"
            )
        if token is not None and (type(token) is not str or len(token) < _SHORTEST or not token.isascii()):
            raise ConfigError(f"token must be a str of {_SHORTEST} or more ASCII characters: secrets.token_urlsafe()")
        if auth is not None and not callable(auth):
            raise ConfigError("auth must be a function of the request's headers that returns whether they may see it")
        if isinstance(allowed_hosts, str):
            raise ConfigError("allowed_hosts must be a list of host names, not a str")
        self._token = None if token is None else token.encode()
        self._auth = auth
        self._hosts = {host.lower() for host in allowed_hosts}

    def check_host(self, headers: Mapping[str, str]) -> None:
        """Refuse a request that came by a foreign name.

        Raises:
            Refusal: It did.
        """
        host = re.sub(r":\d*$", "", headers.get("host", "")).lower()
        if host not in LOOPBACK and host not in self._hosts:
            raise Refusal(421, "the page is not shown under that host name; allowed_hosts= says which names it has")

    def check(self, headers: Mapping[str, str]) -> None:
        """Refuse a request that may not see the page.

        Raises:
            Refusal: It has neither a right token nor cookie, or the program's own check says no.
        """
        if self._token is not None:
            scheme, _, given = headers.get("authorization", "").partition(" ")
            bears = scheme.lower() == "bearer" and self.is_token(given.strip())
            if not bears and not hmac.compare_digest(_cookie(headers).encode(), self._stamp()):
                how = "?token=... in the address, or the header Authorization: Bearer ..."
                raise Refusal(401, f"a token is needed: {how}", ("WWW-Authenticate", "Bearer"))
        elif self._auth is not None and not self._auth(headers):
            raise Refusal(403, "you may not see this page")

    def is_token(self, given: str) -> bool:
        """Whether *given* is the token."""
        return self._token is not None and hmac.compare_digest(given.encode("utf-8", "replace"), self._token)

    def cookie(self, path: str, *, secure: bool) -> tuple[str, str]:
        """Return the header that lets a browser in from now on."""
        marks = f"Path={path}; HttpOnly; SameSite=Strict" + ("; Secure" if secure else "")
        return ("Set-Cookie", f"{COOKIE}={self._stamp().decode()}; {marks}")

    def _stamp(self) -> bytes:
        return hashlib.sha256(b"improved_db page " + (self._token or b"")).hexdigest().encode()


def _cookie(headers: Mapping[str, str]) -> str:
    for part in headers.get("cookie", "").split(";"):
        name, _, value = part.strip().partition("=")
        if name == COOKIE:
            return value
    return ""
