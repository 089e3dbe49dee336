"""Close a connection twice, then borrow two: are they the same session?"""

import importlib
import json
import sys

pymysqlpool = importlib.import_module(sys.argv[1])
config = json.load(sys.stdin)
pool = pymysqlpool.ConnectionPool(size=2, name="shop", **config)
connections = [pool.get_connection(), pool.get_connection()]
for connection in reversed(connections):
    connection.close()
try:
    connections[1].close()
except Exception as error:
    refused = type(error).__name__
else:
    refused = ""

sessions = [pool.get_connection(timeout=0, retry_num=0).thread_id() for _ in range(2)]
if not refused:  # the third in a pool of two
    sessions.append(pool.get_connection(timeout=0, retry_num=0).thread_id())
json.dump({"refused": refused, "borrowed": len(sessions), "sessions": len(set(sessions))}, sys.stdout)
