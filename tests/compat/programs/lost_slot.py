"""Raise something of one's own in as many blocks as the pool has connections, then borrow one more."""

import importlib
import json
import sys

pymysqlpool = importlib.import_module(sys.argv[1])
config = json.load(sys.stdin)
pool = pymysqlpool.ConnectionPool(size=1, maxsize=2, name="shop", **config)
for _ in range(2):
    try:
        with pool.get_connection(retry_num=0):
            raise ValueError("of the program's own")
    except ValueError:
        pass
try:
    pool.get_connection(retry_num=0).close()
except pymysqlpool.GetConnectionFromPoolError as error:
    answer = type(error).__name__
else:
    answer = "a connection"
json.dump(answer, sys.stdout)
