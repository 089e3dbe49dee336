"""What the page answers: a status, headers and a body; and the refusals.

Knows HTTP's answers. Does not know what is asked, or by which server.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

#: Sent with every answer: nothing is kept, framed, guessed or told to other sites.
HEADERS: Final = (
    ("Cache-Control", "no-store"),
    ("Referrer-Policy", "no-referrer"),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
)


class Answer(NamedTuple):
    """One answer.

    Attributes:
        status: HTTP's number.
        headers: Names and values.
        body: Its bytes.
    """

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


class Refusal(Exception):
    """Ends a request.

    Attributes:
        status: HTTP's number.
        headers: Further headers.
    """

    def __init__(self, status: int, text: str, *headers: tuple[str, str]) -> None:
        super().__init__(text)
        self.status = status
        self.headers = headers


def answer(
    status: int, body: bytes, kind: str, *headers: tuple[str, str], policy: str = "default-src 'none'"
) -> Answer:
    """Return an answer of the media type *kind*; *policy* is its Content-Security-Policy."""
    length = ("Content-Length", str(len(body)))
    shown = (("Content-Type", kind), length, ("Content-Security-Policy", policy), *HEADERS, *headers)
    return Answer(status, shown, body)


def json_answer(status: int, content: Any, *headers: tuple[str, str]) -> Answer:
    """Return an answer in JSON."""
    body = json.dumps(content, ensure_ascii=False, separators=(",", ":"), default=str).encode()
    return answer(status, body, "application/json; charset=utf-8", *headers)


def only(query: Mapping[str, str], known: Collection[str]) -> None:
    """Let no parameter pass that is not known.

    Raises:
        Refusal: There is one.
    """
    for name in query:
        if name not in known:
            takes = f"it takes {', '.join(sorted(known))}" if known else "it takes none"
            raise Refusal(400, f"there is no parameter {name[:40]!r} here: {takes}")


def number(query: Mapping[str, str], name: str, default: int, *, low: int = 0, high: int = 2**53) -> int:
    """Return a parameter that is a whole number.

    Raises:
        Refusal: It is none, or too small or too large.
    """
    text = query.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= 16 and low <= int(text) <= high):
        raise Refusal(400, f"{name} must be a whole number from {low} to {high}")
    return int(text)
