"""A server on an open line that asks for the password in clear text does not get it."""

from __future__ import annotations

from typing import Any

import pymysql
import pytest

import improved_db
from improved_db import ImprovedDb
from tests.faults import fake_server, packets

PASSWORD = "correct horse"
PLUGINS = [(b"mysql_clear_password", b""), (b"dialog", b"\x01Password: ")]


def asks(plugin: bytes, extra: bytes, heard: list[bytes]) -> fake_server.Response:
    """Ask a client that logs in for another plugin, and keep its answer."""

    def login(peer: fake_server.Peer) -> None:
        peer.send(b"\xfe" + plugin + b"\0" + extra, sequence=2)
        heard.append(peer.read())
        peer.send(packets.ok(), sequence=4)
        peer.read()
        raise fake_server.HangUp

    return login


def pooled_login(**options: Any) -> None:
    """Log in as a pool does."""
    with ImprovedDb(options, retry=None) as db:
        db.execute_query("select 1")


@pytest.mark.parametrize(("plugin", "extra"), PLUGINS)
@pytest.mark.parametrize("pooled", [True, False])
def test_a_password_is_not_sent_in_clear_text_on_an_open_line(plugin: bytes, extra: bytes, *, pooled: bool) -> None:
    """MySQL's own client refuses; PyMySQL sends it to any server that asks."""
    heard: list[bytes] = []
    with fake_server.FakeServer(login=asks(plugin, extra, heard)) as server:
        options: dict[str, Any] = {**server.connect_options, "password": PASSWORD, "connect_timeout": 5}
        log_in: Any = pooled_login if pooled else improved_db.Connection
        with pytest.raises(pymysql.err.OperationalError, match="enable_cleartext_plugin") as caught:
            log_in(**options)
    assert heard == []
    assert PASSWORD not in str(caught.value)


@pytest.mark.parametrize(("plugin", "extra"), PLUGINS)
def test_a_password_is_sent_in_clear_text_where_an_option_says_so(plugin: bytes, extra: bytes) -> None:
    """A server behind an encrypted tunnel may need it."""
    heard: list[bytes] = []
    with fake_server.FakeServer(login=asks(plugin, extra, heard)) as server:
        options: dict[str, Any] = {**server.connect_options, "password": PASSWORD, "connect_timeout": 5}
        with (
            ImprovedDb(options, retry=None, enable_cleartext_plugin=True) as db,
            pytest.raises(pymysql.err.OperationalError),
        ):
            db.execute_query("select 1")  # this server hangs up after the login
    assert heard
    assert heard[0][4:] == PASSWORD.encode() + b"\0"
