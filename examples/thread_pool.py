"""Thirty-two threads share four connections; callers are served in order.

    python examples/thread_pool.py

runs on a private server, gone at the end, or on the one that IMPROVED_DB_URL names.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

from improved_db import ImprovedDb

THREADS, CONNECTIONS, TASKS = 32, 4, 1000


def main() -> None:
    """Let the server square some numbers, one query each, and look at the pool afterwards."""
    own = os.environ.get("IMPROVED_DB_URL")
    with ImprovedDb(own, max_size=CONNECTIONS) if own else ImprovedDb.ephemeral(max_size=CONNECTIONS) as db:

        def square(number: int) -> int:
            rows = db.execute_query("select %(n)s * %(n)s as square", {"n": number}, dictcursor=True)
            return int(rows[0]["square"])

        with ThreadPoolExecutor(THREADS) as threads:
            total = sum(threads.map(square, range(TASKS)))
        stats = db.stats()
        print(f"{TASKS} queries, their sum {total:,}, as it should be {sum(n * n for n in range(TASKS)):,}")
        print(f"connections: {stats.size} of at most {stats.max_size}, opened {stats.opened}, {stats.used} in use")
        print(f"loans: {stats.acquired}; callers waiting: {stats.waiting}")


if __name__ == "__main__":
    main()
