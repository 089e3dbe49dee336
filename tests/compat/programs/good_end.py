"""End a block well, on a connection that does not commit by itself, and look what is left of it."""

import importlib
import json
import sys

pymysqlpool = importlib.import_module(sys.argv[1])
config = json.load(sys.stdin)
pool = pymysqlpool.ConnectionPool(size=1, autocommit=False, name="shop", **config)
with pool.get_connection() as connection, connection.cursor() as cursor:
    cursor.execute("insert into account values (1, 100)")
with pool.get_connection() as connection, connection.cursor() as cursor:
    cursor.execute("select uid, amount from account")
    json.dump(cursor.fetchall(), sys.stdout)
