"""A script for PyMySQL as it is, with pooled connections: one line more.

python -m programs.existing_script
"""

from __future__ import annotations

from typing import Any

import pymysql

import improved_db


def session(options: dict[str, Any]) -> int:
    """Do as scripts do: connect, run, close; return the number of the session."""
    connection = pymysql.connect(**options)
    try:
        with connection.cursor() as cursor:
            cursor.execute("select connection_id()")
            (number,) = cursor.fetchall()[0]
            return int(number)
    finally:
        connection.close()


def main(options: dict[str, Any]) -> int:
    """Do it a hundred times; return how many sessions that took."""
    with improved_db.enable():  # the line
        return len({session(options) for _ in range(100)})


if __name__ == "__main__":
    print(main({"host": "localhost", "user": "app", "password": "secret", "database": "shop"}))
