"""Your own server: one URL, a check that it is there, and what an error says when it is not.

    IMPROVED_DB_URL='mysql://user:password@host:3306/database' python examples/own_server.py

Without the variable a private server on a TCP port stands in for yours.
"""

from __future__ import annotations

import contextlib
import os

from improved_db import ConfigError, ImprovedDb, ImprovedDbError
from improved_db.testing import TemporaryServer


def main() -> None:
    """Connect by URL and by dict, and provoke the errors of wrong settings."""
    with contextlib.ExitStack() as stack:
        url = os.environ.get("IMPROVED_DB_URL") or stack.enter_context(TemporaryServer(tcp=True)).url

        db = stack.enter_context(ImprovedDb(url, name="shop", min_size=2, max_size=4, connect_timeout=5))
        db.wait(timeout=10)  # until min_size connections are up; a server may still be starting
        print("answers:", db.ping(), "| connections:", db.stats().idle)
        print("version:", db.execute_query("select version()")[0][0])

        with db.connection() as connection:  # PyMySQL's own interface, on a connection of the pool
            options = {"host": connection.host, "port": connection.port, "user": "nobody", "password": "wrong"}
        try:
            ImprovedDb(options, connect_timeout=5).execute_query("select 1")
        except Exception as error:  # the driver's own, as with PyMySQL
            print("refused:", type(error).__name__, error.args[0] if error.args else "")

        for wrong in ({"hots": "db.example.com"}, "mysql//db.example.com"):
            try:
                ImprovedDb(wrong)
            except ConfigError as error:
                print("not understood:", error)
            assert issubclass(ConfigError, ImprovedDbError)


if __name__ == "__main__":
    main()
