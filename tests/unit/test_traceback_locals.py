"""Tools that report an exception show the locals of its frames; no password is among them."""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING, Any

import pytest
from pymysql.err import OperationalError

from improved_db import ImprovedDb
from improved_db.errors import ConfigError
from improved_db.settings.hosts import Host
from tests.faults import fake_server, packets

if TYPE_CHECKING:
    from collections.abc import Callable

CANARY = "c4n4ry-bird"
URL = f"mysql://app:{CANARY}@127.0.0.1:1/x"

#: Nothing that a type checker looks into: what only a running program notices.
WRONG: dict[str, Any] = {"nosuch": 1}
MANY: Any = "many"

MISTAKES: list[Callable[[], Any]] = [
    lambda: ImprovedDb(URL, **WRONG),
    lambda: ImprovedDb(host="h", password=CANARY, **WRONG),
    lambda: ImprovedDb({"host": "h", "password": CANARY, "nosuch": 1}),
    lambda: ImprovedDb(URL, max_size=MANY),
    lambda: ImprovedDb(f"mysql://app:{CANARY}@h:99999/x"),
    lambda: ImprovedDb(URL, passwd=CANARY, password=CANARY, port=MANY),
    lambda: ImprovedDb(f"mysql://app:{CANARY}@a,,b/x"),
    lambda: ImprovedDb(f"mysql://app:{CANARY}@a,b:99999/x"),
    lambda: ImprovedDb(f"mysql://app:{CANARY}@a,a/x"),
    lambda: ImprovedDb(f"mysql://app:{CANARY}"),
    lambda: ImprovedDb([URL, URL]),
    lambda: ImprovedDb([URL, 5]),  # type: ignore[list-item]
    lambda: ImprovedDb([Host(f"mysql://app:{CANARY}@a,b/x")]),
    lambda: ImprovedDb([Host(URL, role="replica")], password=CANARY),
    lambda: ImprovedDb([Host(URL, weight=MANY)]),
]


def leaks(error: BaseException) -> list[str]:
    """Return where *error*, or one that led to it, shows the password in a frame that is not this file's."""
    told: traceback.TracebackException | None = traceback.TracebackException.from_exception(error, capture_locals=True)
    found: list[str] = []
    while told is not None:
        found += [
            f"{frame.filename}:{frame.name}: {name}"
            for frame in told.stack
            for name, value in (frame.locals or {}).items()
            if CANARY in value and frame.filename != __file__
        ]
        found += [str(told)] if CANARY in str(told) else []
        told = told.__cause__ or told.__context__
    return found


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_the_settings_shows_no_password(mistake: Callable[[], Any]) -> None:
    """It is the first thing a new deployment reports, to a service of another company."""
    with pytest.raises(ConfigError) as caught:
        mistake()
    assert leaks(caught.value) == []


def garbage(plugin: bytes, extra: bytes) -> fake_server.Response:
    """Ask for another plugin, and answer what comes with what makes no sense."""

    def login(peer: fake_server.Peer) -> None:
        peer.send(b"\xfe" + plugin + b"\0" + extra, sequence=2)
        peer.read()
        peer.send(b"\x01notapem", sequence=4)
        peer.read()

    return login


def denial(peer: fake_server.Peer) -> None:
    """Ask for the password in clear text, as MySQL's default plugin does over TLS, and refuse it."""
    peer.send(b"\xfemysql_clear_password\0", sequence=2)
    peer.read()
    peer.send(packets.err(1045, "Access denied"), sequence=4)
    peer.read()


def test_a_password_that_is_refused_after_it_was_sent_is_not_shown() -> None:
    """PyMySQL's frames hold it, ready to be sent."""
    with fake_server.FakeServer(login=denial) as server:
        options = {**server.connect_options, "password": CANARY, "enable_cleartext_plugin": True}
        with ImprovedDb(options, retry=None) as db, pytest.raises(OperationalError, match="Access denied") as caught:
            db.execute_query("select 1")
    assert leaks(caught.value) == []


@pytest.mark.parametrize(
    "login",
    [
        garbage(b"sha256_password", b"1" * 20 + b"\0"),
        garbage(b"caching_sha2_password", b"1" * 20 + b"\0"),
        garbage(b"client_ed25519", b"1" * 5),
        garbage(b"mysql_clear_password", b""),
        lambda peer: peer.send(packets.err(1045, "Access denied"), sequence=2),
    ],
    ids=["sha256", "caching_sha2", "ed25519", "clear", "denied"],
)
def test_a_login_that_fails_shows_no_password(login: fake_server.Response) -> None:
    """PyMySQL's own frames hold it while it computes the answer."""
    with fake_server.FakeServer(login=login) as server:
        options = {**server.connect_options, "password": CANARY, "connect_timeout": 5, "acquire_timeout": 5}
        with ImprovedDb(options, retry=None) as db, pytest.raises(Exception, match=r".") as caught:
            db.execute_query("select 1")
    assert leaks(caught.value) == []
