"""Let many threads ask at once for a connection of a pool that may have three."""

import importlib
import json
import sys
import threading

pymysqlpool = importlib.import_module(sys.argv[1])
config = json.load(sys.stdin)

THREADS = 24

pool = pymysqlpool.ConnectionPool(size=1, maxsize=3, name="shop", **config)
together, over = threading.Barrier(THREADS), threading.Barrier(THREADS)
sessions: list[int] = []


def borrow() -> None:
    """Borrow, and keep it until all others have had their answer."""
    together.wait()
    try:
        connection = pool.get_connection(retry_num=0)
    except pymysqlpool.GetConnectionFromPoolError:
        connection = None
    else:
        sessions.append(connection.thread_id())
    over.wait()
    if connection is not None:
        connection.close()


threads = [threading.Thread(target=borrow) for _ in range(THREADS)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
json.dump(len(set(sessions)), sys.stdout)
