"""What newer servers send and PyMySQL does not know: VECTOR columns, and logins for which it lacks something."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

import pymysql._auth
import pymysql.cursors
import pytest
from pymysql.err import OperationalError

import improved_db
from improved_db import ImprovedDb
from tests.faults.fake_server import FakeServer
from tests.faults.packets import eof, lenenc, text

if TYPE_CHECKING:
    from tests.faults.fake_server import Peer, Response

NUMBERS = struct.pack("<3f", 1.5, -2.25, 3e9)  # not ASCII, nor UTF-8


def vectors(*values: bytes | None) -> Response:
    """Answer with a column as MySQL 9.7 describes it: type 242, charset binary."""
    head = text("def") + text("") * 3 + text("v") + text("") + struct.pack("<BHIBHBH", 12, 63, 12, 242, 0x80, 31, 0)
    body = [b"\xfb" if value is None else lenenc(len(value)) + value for value in values]
    return lambda peer: peer.send(b"\x01", head, eof(), *body, eof())


@pytest.mark.parametrize("rows", [3, 4000], ids=["few", "many"])
def test_vector_comes_as_bytes(rows: int) -> None:
    """Four bytes for each number, for `struct` or numpy to read."""
    with FakeServer(version="9.7.0") as server:
        server.on("select v", vectors(*[NUMBERS] * rows, None))
        with ImprovedDb(server.connect_options) as db:
            found = db.execute_query("select v from t")
            with db.stream("select v from t") as stream:
                assert [row[0] for row in stream] == [NUMBERS] * rows + [None]
    assert [row[0] for row in found] == [NUMBERS] * rows + [None]


@pytest.mark.parametrize("kind", [pymysql.cursors.Cursor, pymysql.cursors.DictCursor, pymysql.cursors.SSCursor])
def test_vector_comes_as_bytes_through_a_cursor_too(kind: type[pymysql.cursors.Cursor]) -> None:
    """Whatever the rows look like otherwise."""
    with FakeServer(version="9.7.0") as server:
        server.on("select v", vectors(NUMBERS))
        options: dict[str, Any] = server.connect_options
        with improved_db.Connection(**options) as connection, connection.cursor(kind) as cursor:
            cursor.execute("select v from t")
            row: Any = cursor.fetchone()
            assert (row["v"] if kind is pymysql.cursors.DictCursor else row[0]) == NUMBERS


def asks_for(plugin: bytes) -> Response:
    """Ask the client to log in by *plugin*, and for the encrypted password if it is caching_sha2_password."""

    def response(peer: Peer) -> None:
        peer.send(b"\xfe" + plugin + b"\0" + b"s" * 20 + b"\0", sequence=2)
        peer.read()
        peer.send(b"\x01\x04", sequence=4)  # not in the server's cache: the whole password is needed
        peer.read()
        peer.send(b"\x01-----BEGIN PUBLIC KEY-----", sequence=6)
        peer.read()

    return response


def refused(plugin: bytes) -> OperationalError:
    """Return the error of a connect to a server that asks for *plugin*."""
    with FakeServer(login=asks_for(plugin)) as server:
        options = {**server.connect_options, "password": "s3cret"}
        with ImprovedDb(options) as db, pytest.raises(OperationalError) as caught:
            db.execute_query("select 1")
    assert "s3cret" not in str(caught.value)
    return caught.value


def test_login_by_a_plugin_that_pymysql_lacks_says_what_to_do() -> None:
    """MariaDB's parsec is one."""
    error = refused(b"parsec")
    assert error.args[0] == 2059
    assert "parsec" in error.args[1]
    assert "let the account log in by" in error.args[1]


def test_login_that_needs_the_package_cryptography_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The default of MySQL over plain TCP."""
    monkeypatch.setattr(pymysql._auth, "_have_cryptography", False)
    error = refused(b"caching_sha2_password")
    assert error.args[0] == 2061
    assert "pip install pymysql[rsa]" in error.args[1]
    assert "TLS" in error.args[1]
