"""The door of pymysql-pool 0.5.0: how a pool is made, named and shared, and what it never shows."""

from __future__ import annotations

import inspect
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pymysql
import pytest

from improved_db import ConfigError, ImprovedDb
from improved_db.compat.pymysqlpool import ConnectionPool, ConnectionPoolSingleton, GetConnectionFromPoolError
from tests.canary import CANARY, leaks
from tests.fakes import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.compat.pools import Make


# --- the pool itself -------------------------------------------------------------------------------------------------


def test_arguments_by_position_are_those_of_0_5_0(make_pool: Make) -> None:
    """``ConnectionPool(2, 3, "mypool", 1, 60, False)`` is how some programs call it."""
    pool = make_pool(2, 3, "mypool", 1, 60, False)
    assert (pool.size(), pool.maxsize, pool.name, pool.total_num) == (2, 3, "mypool", 1)
    with pool.get_connection() as connection:
        assert connection.get_autocommit() is False


def test_defaults_are_those_of_0_5_0(make_pool: Make) -> None:
    """A program that names only the server gets what it got."""
    given = {name: one.default for name, one in inspect.signature(ConnectionPool).parameters.items()}
    del given["kwargs"]
    assert list(given.items()) == [
        ("size", 10), ("maxsize", 100), ("name", None), ("pre_create_num", 0), ("con_lifetime", 3600),
        ("autocommit", True),
    ]  # fmt: skip
    pool = make_pool()
    assert (pool.size(), pool.maxsize, pool.total_num) == (10, 100, 0)
    with pool.get_connection() as connection:
        assert connection.get_autocommit() is True


def test_default_name_says_where_the_pool_leads(make_pool: Make, database: dict[str, Any]) -> None:
    """Log lines of several pools can be told apart without a name given."""
    expected = "{host}-{port}-{user}-{database}".format(**database)
    assert make_pool().name == expected
    assert make_pool(name="").name == expected
    assert make_pool(name="mypool").name == "mypool"


@pytest.mark.parametrize(("asked", "opened"), [(0, 0), (2, 2), (3, 3), (9, 3)])
def test_pre_create_num_opens_that_many_but_not_past_maxsize(make_pool: Make, asked: int, opened: int) -> None:
    """The first requests after a start should not wait for connects."""
    pool = make_pool(size=2, maxsize=3, pre_create_num=asked)
    assert (pool.total_num, pool.available_num) == (opened, opened)


def test_a_pool_opens_nothing_before_it_is_asked(make_pool: Make) -> None:
    """A program may make its pool before its server is up."""
    pool = make_pool(size=2, host="127.0.0.1", port=1)
    assert pool.total_num == 0
    with pytest.raises(pymysql.err.OperationalError) as caught:
        pool.get_connection()
    assert caught.value.args[0] == 2003
    assert (pool.total_num, pool.size()) == (0, 2)


def test_several_pools_live_side_by_side_under_their_names(
    make_pool: Make, lines: Callable[[], list[str]], outside: ImprovedDb, database: dict[str, Any]
) -> None:
    """One program, two databases."""
    here, there = make_pool(size=1, name="here"), make_pool(size=1, name="there", database="mysql")
    with here.get_connection() as a, there.get_connection() as b:
        a.execute("select database()")
        b.execute("select database()")
        assert (a.fetchone(), b.fetchone()) == ((database["database"],), ("mysql",))
    assert [line.partition("pool")[2] for line in lines()] == [
        "(here)", "(here)", "(there)", "(there)", "(there)", "(here)",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"size": 0}, "size"), ({"size": "2"}, "size"), ({"size": True}, "size"), ({"size": 2.0}, "size"),
        ({"maxsize": 0}, "maxsize"), ({"maxsize": -1}, "maxsize"),
        ({"pre_create_num": -1}, "pre_create_num"), ({"pre_create_num": "1"}, "pre_create_num"),
        ({"con_lifetime": "an hour"}, r"^con_lifetime must be"),
        ({"autocommit": "yes please"}, "autocommit"),
        ({"pasword": CANARY}, "did you mean"), ({"port": "none"}, "port"),
    ],
)  # fmt: skip
def test_an_argument_that_cannot_be_meant_is_a_config_error_without_the_password(
    make_pool: Make, wrong: dict[str, Any], said: str
) -> None:
    """The mistake is named where it was made, not at the first connect."""
    with pytest.raises(ConfigError, match=said) as caught:
        make_pool(**{"password": CANARY, **wrong})
    assert CANARY not in f"{caught.value} {caught.value!r}"


def test_singleton_is_one_pool_for_every_caller(database: dict[str, Any]) -> None:
    """Each module of a program asks for it, and only the first call's arguments count."""

    class Own(ConnectionPoolSingleton):
        """This test's."""

    first, second = Own(size=2, name="first", **database), Own(size=5, name="second", **database)
    assert second is first
    assert isinstance(first, ConnectionPool)
    assert (second.name, second.size()) == ("first", 2)
    with second.get_connection():
        assert first.size() == 1
    first.close()


def test_singleton_is_one_pool_for_threads_that_ask_at_once(database: dict[str, Any]) -> None:
    """The first requests of a web server arrive together."""

    class Own(ConnectionPoolSingleton):
        """This test's."""

    together = threading.Barrier(8)

    def ask(number: int) -> ConnectionPool:
        together.wait(PATIENCE)
        return Own(size=2, name=f"from {number}", pre_create_num=1, **database)

    with ThreadPoolExecutor(8) as threads:
        got = list(threads.map(ask, range(8)))
    assert len(set(map(id, got))) == 1
    assert got[0].total_num == 1
    got[0].close()


# --- what must not show ----------------------------------------------------------------------------------------------


def test_a_refused_connect_shows_no_password_and_costs_no_place(make_pool: Make, outside: ImprovedDb) -> None:
    """Reports of errors with their locals end up in mails and trackers."""
    pool = make_pool(size=1, maxsize=1, user="nobody", password=CANARY)
    for _ in range(3):
        with pytest.raises(pymysql.err.OperationalError) as caught:
            pool.get_connection(retry_num=0)
        assert caught.value.args[0] == 1045
        assert list(leaks(caught.value, lambda file: file != __file__)) == []
    assert (pool.total_num, pool.size()) == (0, 1)


def test_no_password_in_what_can_be_printed(
    make_pool: Make, lines: Callable[[], list[str]], secret_account: dict[str, Any]
) -> None:
    """Programs print their pools and connections when they look for mistakes."""
    pool = make_pool(size=1, maxsize=1, **secret_account)
    with pool.get_connection() as connection, pytest.raises(GetConnectionFromPoolError) as caught:
        pool.get_connection(retry_num=0)
    assert list(leaks(caught.value, lambda file: file != __file__)) == []
    printed = f"{pool} {pool!r} {pool.name} {connection} {connection!r} {lines()}"
    assert "pool" in printed
    assert CANARY not in printed
