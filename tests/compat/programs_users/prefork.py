"""A parent that has used its pools forks workers, as Celery, gunicorn --preload and uWSGI do; each goes on with them.

OPTIONS in the environment is what ``pymysql.connect`` takes, as JSON. What parent and workers saw is printed as JSON.
"""

from __future__ import annotations

import json
import os
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

import pymysql

import improved_db
from improved_db.compat.pymysqlpool import ConnectionPool
from improved_db.compat.queuepool import QueuePool

if TYPE_CHECKING:
    from collections.abc import Callable

options = json.loads(os.environ["OPTIONS"])
improved_db.enable(pool_size=2)
doors: dict[str, Callable[[], Any]] = {
    "enabled pymysql.connect": partial(pymysql.connect, **options),
    "ConnectionPool": ConnectionPool(size=2, **options).get_connection,
    "QueuePool of improved_db": QueuePool(partial(improved_db.Connection, **options), pool_size=2).connect,
    "QueuePool of pymysql": QueuePool(partial(pymysql.connections.Connection, **options), pool_size=2).connect,
}


def use(door: str, connection: Any, who: str) -> int:
    """Write a row, and return the number of the session that did."""
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO done (who, door) VALUES (%s, %s)", (who, door))
        cursor.execute("SELECT CONNECTION_ID()")
        (number,) = cursor.fetchone()
    return int(number)


def use_all(who: str) -> dict[str, list[int]]:
    """Borrow two connections at once from each door; return the numbers of their sessions."""
    numbers: dict[str, list[int]] = {}
    for door, borrow in doors.items():
        pair = [borrow(), borrow()]
        numbers[door] = [use(door, connection, who) for connection in pair]
        for connection in pair:
            connection.commit()
            connection.close()
    return numbers


def work(who: str, inherited: dict[str, Any], answer: int) -> None:
    """Be a worker: use the pools, drop what the parent had borrowed, and end as any program does."""
    numbers = use_all(who)
    refused = {}
    for door, connection in inherited.items():
        try:
            connection.close()
        except pymysql.err.OperationalError as error:
            refused[door] = repr(error)
    numbers_again = use_all(who)
    with os.fdopen(answer, "w") as stream:
        json.dump({"numbers": numbers, "again": numbers_again, "refused": refused}, stream)
    sys.exit(0)


before = use_all("parent")
borrowed = {door: borrow() for door, borrow in doors.items()}
unfinished = {door: use(door, connection, "parent, unfinished") for door, connection in borrowed.items()}

workers = []
for place in range(3):
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        work(f"worker {place}", borrowed, writer)
    os.close(writer)
    workers.append((child, reader))

told = []
for _, reader in workers:
    with os.fdopen(reader) as answer:
        told.append(json.loads(answer.read() or "null"))
ended = [os.waitpid(child, 0)[1] for child, _ in workers]

finished = {door: use(door, connection, "parent, unfinished") for door, connection in borrowed.items()}
for connection in borrowed.values():
    connection.commit()
    connection.close()
after = use_all("parent")
parent = {"before": before, "unfinished": unfinished, "finished": finished, "after": after}
print(json.dumps({"parent": parent, "workers": told, "ended": ended}))  # noqa: T201  # its answer
