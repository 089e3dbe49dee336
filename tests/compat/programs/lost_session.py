"""Ask for a sign of life in the middle of a transaction whose session the server has ended."""

import importlib
import json
import sys

import pymysql

pymysqlpool = importlib.import_module(sys.argv[1])
config = json.load(sys.stdin)
pool = pymysqlpool.ConnectionPool(size=2, name="shop", **config)
connection, killer = pool.get_connection(), pool.get_connection()
with killer.cursor() as look:
    try:
        with connection, connection.cursor() as cursor:
            connection.begin()
            cursor.execute("insert into account values (1, -100)")
            number = connection.thread_id()
            look.execute(f"kill {number}")
            while look.execute("select 1 from information_schema.processlist where id = %s", (number,)):
                pass
            connection.ping()
            cursor.execute("insert into account values (2, 100)")
            connection.commit()
    except pymysql.err.MySQLError as error:
        told = type(error).__name__
    else:
        told = "nothing"
    look.execute("select uid, amount from account")
    json.dump({"told": told, "rows": look.fetchall()}, sys.stdout)
killer.close()
