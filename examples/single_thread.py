"""One thread, one connection of its own, no pool: connect, query, close.

    python examples/single_thread.py

runs on a private server, gone at the end, or on the one that IMPROVED_DB_URL names.
"""

from __future__ import annotations

import os

from improved_db import ImprovedDb

USERS = [(1, "Ada", 36), (2, "Grace", 85), (3, "Edsger", 72)]


def main() -> None:
    """Make a table, fill it, ask it, drop it."""
    own = os.environ.get("IMPROVED_DB_URL")
    with ImprovedDb(own) if own else ImprovedDb.ephemeral() as db:
        connection = db.connect()  # not from the pool: close it, instead of returning it
        db.execute_query(connection, "create table example_user (uid int primary key, name varchar(20), age int)")
        try:
            insert = "insert into example_user values (%s, %s, %s)"
            print("inserted:", db.execute_query(connection, insert, USERS, exec_many=True).rowcount)
            print("rows:", db.execute_query(connection, "select * from example_user order by uid"))
            youngest = "select name, age from example_user order by age"
            print("first:", db.execute_query(connection, youngest, dictcursor=True, return_one=True))
            unknown = db.execute_query(connection, "select * from example_user where uid = %s", 42, return_one=True)
            print("unknown:", unknown)
        finally:
            db.execute_query(connection, "drop table example_user")
            connection.close()
        print("connections of the pool:", db.stats().size)


if __name__ == "__main__":
    main()
