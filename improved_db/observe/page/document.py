"""The one document of the page: HTML with its style and its script in it, and a policy that lets nothing else run.

Knows the parts of the document. Does not know what is shown in it.
"""

from __future__ import annotations

import base64
import functools
import hashlib
from importlib.resources import files
from typing import NamedTuple


class Document(NamedTuple):
    """The document.

    Attributes:
        body: Its bytes.
        policy: The Content-Security-Policy it needs.
    """

    body: bytes
    policy: str


@functools.cache
def document() -> Document:
    """Return the document; it is the same for every page, and asks for its data by itself."""
    here = files("improved_db.observe.page")
    html, style, script = ((here / name).read_text(encoding="utf-8") for name in ("page.html", "page.css", "page.js"))
    body = html.replace("/* style */", style).replace("/* script */", script)
    policy = (
        f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}'; img-src data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return Document(body.encode(), policy)


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
