"""What the server's ``init_connect`` sets for each session holds for a session that was changed and lent again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import pytest

from improved_db import ImprovedDb
from improved_db.testing import TemporaryServer

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def plain_user() -> Iterator[dict[str, Any]]:
    """Connect options of a user for whom ``init_connect`` is run, on a server that has one."""
    with TemporaryServer() as server, ImprovedDb(server.url) as root:
        root.execute_query("create user plain@localhost identified by 'p'")
        root.execute_query("grant select on *.* to plain@localhost")
        root.execute_query("set global init_connect = %s", ("set time_zone = '+04:00'",))
        yield {"unix_socket": server.socket, "user": "plain", "password": "p", "database": "test"}


@pytest.mark.parametrize("reset", ["rollback", "session"])
def test_a_session_that_was_changed_still_has_what_init_connect_set(
    plain_user: dict[str, Any], reset: Literal["rollback", "session"]
) -> None:
    """A reset of the session does not run it: now() jumped by four hours, for that session only."""
    with ImprovedDb(plain_user, max_size=1, reset=reset) as db:
        for _ in range(3):
            assert db.execute_query("select @@session.time_zone") == (("+04:00",),)
            db.execute_query("set @a = 1")
            assert db.execute_query("select @a") == ((None,),)
