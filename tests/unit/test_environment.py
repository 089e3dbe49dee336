"""The environment: which variables count, which of them win, and whose they may be."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.unit.configured import refusal, resolved, settings

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

EVERY = {
    "IMPROVED_DB_URL": "mysql://ann@first/a",
    "DATABASE_URL": "mysql://bob@second/b",
    "MYSQL_HOST": "third",
    "MYSQL_USER": "eve",
    "MYSQL_PWD": "secret",
    "MYSQL_DATABASE": "c",
    "MYSQL_TCP_PORT": "3307",
    "MYSQL_UNIX_PORT": "/run/third.sock",
}
THIRD = {"host": "third", "user": "eve", "password": "secret", "database": "c", "port": 3307, "autocommit": True}


def without(*names: str) -> dict[str, str]:
    return {name: value for name, value in EVERY.items() if name not in names}


def test_the_variables_have_an_order_and_a_url_is_never_mixed_with_another_source() -> None:
    """A user of one server with the password of another gets in nowhere, or, worse, somewhere."""
    assert resolved({}, environ=EVERY) == {"autocommit": True}
    assert resolved("mysql://h", environ=EVERY) == {"host": "h", "autocommit": True}
    first = {"host": "first", "user": "ann", "database": "a", "autocommit": True}
    assert resolved(None, environ=EVERY) == first
    second = {"host": "second", "user": "bob", "database": "b", "autocommit": True}
    assert resolved(None, environ=without("IMPROVED_DB_URL")) == second
    assert resolved(None, environ=without("IMPROVED_DB_URL", "DATABASE_URL")) == THIRD


def test_an_empty_variable_counts_as_unset() -> None:
    """`DATABASE_URL= program` switches it off, as in every shell script."""
    empty = dict.fromkeys(EVERY, "")
    assert resolved(None, environ=empty) == {"autocommit": True}
    assert resolved(None, environ={**EVERY, "IMPROVED_DB_URL": "", "DATABASE_URL": ""}) == THIRD


def test_mysqls_variables_are_completed_by_the_option_file_and_win_over_it(write_file: Callable[[str], Path]) -> None:
    """MYSQL_PWD alone is what people set beside a ~/.my.cnf."""
    files = [write_file("[client]\nuser=bob\npassword=old\nsocket=/run/own.sock\n")]
    found = settings(None, environ={"MYSQL_PWD": "new"}, option_files=files).connect.resolve()
    assert found == {"user": "bob", "password": "new", "unix_socket": "/run/own.sock", "autocommit": True}
    found = settings(None, environ={"MYSQL_HOST": "h"}, option_files=files).connect.resolve()
    assert found == {"user": "bob", "password": "old", "host": "h", "autocommit": True}


def test_the_socket_counts_only_for_this_machine() -> None:
    """As for MySQL's own programs."""
    socket = {"MYSQL_UNIX_PORT": "/run/own.sock"}
    assert resolved(None, environ=socket)["unix_socket"] == "/run/own.sock"
    assert resolved(None, environ={**socket, "MYSQL_HOST": "localhost"})["unix_socket"] == "/run/own.sock"
    assert "unix_socket" not in resolved(None, environ={**socket, "MYSQL_HOST": "h"})


@pytest.mark.parametrize("named", [{"host": "own"}, {"unix_socket": "/run/own.sock"}])
def test_shared_variables_do_not_touch_a_server_that_the_program_names(named: dict[str, str]) -> None:
    """A platform sets DATABASE_URL for another program, and its password must go nowhere else."""
    assert resolved(None, environ=without("IMPROVED_DB_URL"), **named) == {**named, "autocommit": True}
    postgres = {"DATABASE_URL": "postgres://u:p@h/d"}
    assert resolved(None, environ=postgres, **named) == {**named, "autocommit": True}
    assert resolved(None, environ=EVERY, user="me")["user"] == "me"
    assert resolved(None, environ=without("IMPROVED_DB_URL"), user="me")["host"] == "second"


@pytest.mark.parametrize("url", ["postgres://u:p@h/d", "postgresql+psycopg://h/d", "sqlite:///own.db", "nonsense"])
def test_a_url_of_another_database_is_refused_and_the_way_out_is_named(url: str) -> None:
    """Ignored, it would let the program work on whatever listens on localhost."""
    text = refusal(None, environ={"DATABASE_URL": url, "MYSQL_HOST": "h"})
    assert text.startswith("DATABASE_URL cannot be read: it ")
    assert text.endswith("If it is for another program, set IMPROVED_DB_URL")
    assert "h/d" not in text
    assert "another program" not in refusal(None, environ={"IMPROVED_DB_URL": url})
    assert resolved(None, environ={"DATABASE_URL": url, "IMPROVED_DB_URL": "mysql://h"})["host"] == "h"


def test_an_invalid_variable_is_named() -> None:
    text = refusal(None, environ={"MYSQL_TCP_PORT": "many"})
    assert text == "MYSQL_TCP_PORT: port must be an int from 0 to 65535"
