"""Django's MySQL backend on PyMySQL in mysqlclient's place, its connections pooled by `improved_db.enable`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.compat import users
from tests.compat.sessions import plain

if TYPE_CHECKING:
    from improved_db.testing import TemporaryServer


@pytest.fixture(scope="module")
def told(server: TemporaryServer) -> dict[str, Any]:
    """What the program saw, which settings.configure allows once in a process."""
    with plain(server.connect_options) as watcher, watcher.cursor() as cursor:
        cursor.execute("CREATE DATABASE django_site")
        seen: dict[str, Any] = users.run_program(
            "django_site", OPTIONS={**server.connect_options, "database": "django_site"}
        )
        cursor.execute("DROP DATABASE django_site")
    return seen


def test_a_model_is_created_read_updated_and_deleted(told: dict[str, Any]) -> None:
    """Values of every kind pass through Django's own converters, which it hands to the driver."""
    assert told["read"] == ["Één 100%", "12.50", True, ["a", 1], b"\0'\xff".hex()]
    assert told["updated"] == 5
    assert told["deleted"] == 2
    assert told["titles"] == ["One", "book 2", "book 3", "book 4"]
    assert told["streamed"] == 4
    assert told["highest"] == 12


def test_an_update_counts_the_rows_it_found(told: dict[str, Any]) -> None:
    """Django asks for found rows instead of changed ones by a flag; without it save() inserts a row twice."""
    assert told["updated_to_the_same"] == 5


def test_atomic_rolls_back_what_failed_and_no_more(told: dict[str, Any]) -> None:
    """The inner block is a savepoint, the outer one a transaction."""
    assert told["duplicate"] == 1062
    assert told["after_rollback"] == ["kept"]


def test_requests_share_one_session(told: dict[str, Any]) -> None:
    """With CONN_MAX_AGE=0 each request opens a connection and closes it: that is what pooling is to save."""
    assert len(told["requests"]) == 5
    assert len(set(told["requests"])) == 1


def test_a_request_that_ends_in_a_transaction_leaves_nothing_of_it(told: dict[str, Any]) -> None:
    """The session lives on, with the next request's autocommit."""
    assert told["left_open"] == 0
    assert told["autocommit_again"] is True


def test_debugging_and_introspection_find_what_they_look_for(told: dict[str, Any]) -> None:
    """These reach into the cursor and the connection further than queries do."""
    assert told["logged"] is True
    assert told["usable"] is True
    assert told["tables"] == ["site_book"]
