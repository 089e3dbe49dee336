"""`db.ping()`: yes or no, within its time."""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING

import pytest
from pymysql.err import OperationalError

from improved_db import ConfigError, ImprovedDb
from improved_db.testing import TemporaryServer

if TYPE_CHECKING:
    from tests.faults.harness import Rig


def test_a_server_that_comes_and_goes_is_there_or_not() -> None:
    """The readiness of a program is this answer, not an exception's."""
    with TemporaryServer() as server, ImprovedDb(server.url, max_size=1, retry=None) as db:
        assert db.ping() is True
        server.pause()
        try:
            assert db.ping(timeout=0.2) is False
        finally:
            server.resume()
        assert db.ping(timeout=20.0) is True
        server.kill()
        assert db.ping() is False
        server.restart()
        assert db.ping(timeout=20.0) is True
        assert db.stats().used == 0


def test_what_never_answers_is_not_there_after_its_time() -> None:
    """A port that nothing listens on, a listener that says nothing, and a name that does not exist."""
    with socket.create_server(("127.0.0.1", 0)) as silent, socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        for host, port in [("127.0.0.1", unused.getsockname()[1]), ("127.0.0.1", silent.getsockname()[1])]:
            with ImprovedDb(host=host, port=port, user="nobody", connect_timeout=0.5) as db:
                began_at = time.monotonic()
                assert db.ping(timeout=0.3) is False
                assert time.monotonic() - began_at < 20


def test_connections_that_are_all_in_use_are_no_answer(rig: Rig) -> None:
    """The program could not use the server, either."""
    db = rig.db(direct=True, max_size=1)
    with db.connection():
        assert db.ping(timeout=0.05) is False
    assert db.ping() is True


def test_a_refused_account_and_an_invalid_time_are_errors(rig: Rig) -> None:
    """A wrong password does not go away by waiting for the server."""
    with ImprovedDb({**rig.options, "user": "no_such_user", "password": "x"}) as db, pytest.raises(OperationalError):
        db.ping()
    db = rig.db(direct=True)
    for invalid in (0, -1.0, float("inf"), "1"):
        with pytest.raises(ConfigError, match="timeout must be seconds"):
            db.ping(timeout=invalid)  # type: ignore[arg-type]  # that is what is tested
