"""A program for pymysql-pool runs as it is: its import is all that changes.

    python examples/pymysql_pool.py

runs on a private server, gone at the end, or on the one that IMPROVED_DB_URL names.
"""

from __future__ import annotations

import contextlib
import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import unquote, urlsplit

from improved_db.compat import pymysqlpool  # was: import pymysqlpool
from improved_db.testing import TemporaryServer


def main() -> None:
    """Share two connections, three at the most, between eight threads."""
    with contextlib.ExitStack() as stack:
        parts = urlsplit(os.environ.get("IMPROVED_DB_URL") or stack.enter_context(TemporaryServer(tcp=True)).url)
        config: dict[str, Any] = {"host": parts.hostname, "port": parts.port or 3306, "database": parts.path[1:]}
        config |= {"user": unquote(parts.username or ""), "password": unquote(parts.password or "")}

        pool = pymysqlpool.ConnectionPool(size=2, maxsize=3, pre_create_num=2, name="mypool", **config)
        stack.callback(pool.close)
        print("connections:", pool.total_num, "| idle:", pool.available_num)

        def square(number: int) -> int:
            with pool.get_connection(retry_num=10, retry_interval=1) as connection, connection.cursor() as cursor:
                return int(cursor.db_query("select %s * %s", (number, number))[0][0])

        with ThreadPoolExecutor(8) as threads:
            print("squares:", sum(threads.map(square, range(100))), "| connections:", pool.total_num)

        taken = [pool.get_connection(retry_num=0) for _ in range(3)]
        try:
            pool.get_connection(retry_num=2, retry_interval=0.01)
        except pymysqlpool.GetConnectionFromPoolError as error:
            print(error)
        for connection in taken:
            connection.close()
        try:
            taken[0].cursor()
        except pymysqlpool.ReturnConnectionToPoolError as error:
            print(error)


if __name__ == "__main__":
    main()
