"""Workers that are forked after their parent has used its pools: Celery's prefork, gunicorn --preload, uWSGI."""

from __future__ import annotations

import os
from itertools import chain
from typing import Any

import pytest

from tests.compat import users
from tests.compat.sessions import plain

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")

DOORS = {"enabled pymysql.connect", "ConnectionPool", "QueuePool of improved_db", "QueuePool of pymysql"}
WORKERS = 3


@pytest.fixture(scope="module")
def seen(server: Any) -> dict[str, Any]:
    """What a parent and its workers saw, and what they left in the table."""
    database = {**server.connect_options, "database": "prefork"}
    watcher = plain(server.connect_options)
    with watcher, watcher.cursor() as cursor:
        cursor.execute("CREATE DATABASE prefork")
        cursor.execute("CREATE TABLE prefork.done (who VARCHAR(40), door VARCHAR(40))")
        told = users.run_program("prefork", "-W", "ignore:This process:DeprecationWarning", OPTIONS=database)
        cursor.execute("SELECT who, door, COUNT(*) FROM prefork.done GROUP BY who, door")
        rows = {(who, door): number for who, door, number in cursor.fetchall()}
        cursor.execute("DROP DATABASE prefork")
    return {**told, "rows": rows}


def numbers(sessions: dict[str, list[int]]) -> set[int]:
    """Return the numbers of all doors together."""
    return set(chain.from_iterable(sessions.values()))


def test_every_worker_works_at_every_door_and_ends_well(seen: dict[str, Any]) -> None:
    """A worker that stops at its first query is what people see who forget that a pool was used before."""
    assert seen["ended"] == [0] * WORKERS
    assert all(set(worker["numbers"]) == DOORS for worker in seen["workers"])


def test_no_session_has_two_processes(seen: dict[str, Any]) -> None:
    """Two processes on one session read each other's answers."""
    processes = [numbers(worker["numbers"]) | numbers(worker["again"]) for worker in seen["workers"]]
    processes.append(numbers(seen["parent"]["before"]) | numbers(seen["parent"]["after"]))
    assert sum(map(len, processes)) == len(set.union(*processes))


def test_a_worker_keeps_its_own_sessions(seen: dict[str, Any]) -> None:
    """Cold after the fork, and a pool like any other from then on."""
    for worker in seen["workers"]:
        assert numbers(worker["again"]) == numbers(worker["numbers"])
        assert all(len(set(pair)) == 2 for pair in worker["numbers"].values())


def test_the_parents_idle_sessions_are_still_there(seen: dict[str, Any]) -> None:
    """A worker that says goodbye on a socket it has inherited ends its parent's session."""
    assert numbers(seen["parent"]["after"]) == numbers(seen["parent"]["before"])


def test_the_parents_open_transactions_go_on(seen: dict[str, Any]) -> None:
    """Each worker closed its copy of what the parent had borrowed, and ended with all the rest of it in hand."""
    assert seen["parent"]["finished"] == seen["parent"]["unfinished"]
    assert {door: seen["rows"].get(("parent, unfinished", door)) for door in DOORS} == dict.fromkeys(DOORS, 2)


def test_a_worker_may_close_what_an_enabled_connect_gave_its_parent(seen: dict[str, Any]) -> None:
    """As with PyMySQL's own: Django's ``connections.close_all()`` and Celery's set-up do so first thing in a worker."""
    assert [worker["refused"].get("enabled pymysql.connect") for worker in seen["workers"]] == [None] * WORKERS


def test_the_rows_of_every_process_are_in_once(seen: dict[str, Any]) -> None:
    """Two in each round at each door, of which the parent and every worker did two."""
    who = ["parent", *(f"worker {place}" for place in range(WORKERS))]
    assert {(name, door): seen["rows"].get((name, door)) for name in who for door in DOORS} == dict.fromkeys(
        ((name, door) for name in who for door in DOORS), 4
    )
