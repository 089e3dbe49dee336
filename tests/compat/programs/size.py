"""Ask a pool for its size, by the method that it has for that."""

import importlib
import json
import sys

pymysqlpool = importlib.import_module(sys.argv[1])
config = json.load(sys.stdin)
pool = pymysqlpool.ConnectionPool(size=2, name="shop", **config)
try:
    answer = pool.size()
except TypeError as error:
    answer = str(error)
json.dump(answer, sys.stdout)
