"""A program that knows nothing of pools gets one by a single line: enable().

    python examples/drop_in.py

runs on a private server, gone at the end, or on the one that IMPROVED_DB_URL names.
"""

from __future__ import annotations

import contextlib
import os
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import unquote, urlsplit

import pymysql

from improved_db import enable
from improved_db.testing import TemporaryServer

TASKS, THREADS = 40, 4


def task(url: str) -> int:
    """Connect, ask, close, as small programs do for each task; return which session it was."""
    parts = urlsplit(url)
    connection = pymysql.connect(
        host=parts.hostname,
        port=parts.port or 3306,
        user=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
    )
    try:
        with connection.cursor() as cursor:
            cursor.execute("select connection_id()")
            return int((cursor.fetchone() or (0,))[0])
    finally:
        connection.close()  # returns it to the pool while enable() is in force


def main() -> None:
    """Count the sessions of the same tasks with and without a pool."""
    with contextlib.ExitStack() as stack:
        url = os.environ.get("IMPROVED_DB_URL") or stack.enter_context(TemporaryServer(tcp=True)).url
        threads = stack.enter_context(ThreadPoolExecutor(THREADS))

        print(f"{TASKS} tasks, sessions:", len(set(threads.map(task, [url] * TASKS))))
        with enable(pool_size=8, recycle=30):
            print("enabled:", len(set(threads.map(task, [url] * TASKS))))
        print("disabled again:", len(set(threads.map(task, [url] * TASKS))))


if __name__ == "__main__":
    main()
