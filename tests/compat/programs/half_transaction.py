"""Begin a transaction whose second statement fails, and look what is left of it."""

import importlib
import json
import sys

import pymysql

pymysqlpool = importlib.import_module(sys.argv[1])
config = json.load(sys.stdin)
pool = pymysqlpool.ConnectionPool(size=1, name="shop", **config)
try:
    with pool.get_connection() as connection, connection.cursor() as cursor:
        connection.begin()
        cursor.execute("insert into account values (1, -100)")
        cursor.execute("insert into account values (1, 100)")
except pymysql.err.IntegrityError:
    pass
with pool.get_connection() as connection, connection.cursor() as cursor:
    cursor.execute("select uid, amount from account")
    json.dump(cursor.fetchall(), sys.stdout)
