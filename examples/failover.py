"""A primary is killed under load and a late replica promoted: what a program sees, and what the failover lost."""

from __future__ import annotations

import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from queue import Queue

from improved_db import FailoverReport, ImprovedDb, OutcomeUnknown, ServerRefused
from improved_db.testing import TemporaryCluster

THREADS = 8
LOOK_UP = "select 1 from orders where id = %s"


def write(shop: ImprovedDb, number: int, stop: threading.Event, acknowledged: list[int]) -> Counter[str]:
    """Insert, and at once look the row up; count what came of it."""
    seen = Counter[str]()
    while not stop.is_set():
        number += THREADS
        try:
            shop.execute_query("insert into orders values (%s)", number)
        except OutcomeUnknown:
            seen["outcome unknown"] += 1
            continue
        acknowledged.append(number)
        with suppress(ServerRefused):  # the primary has just died, and the replicas stand still
            seen["seen at once" if shop.reader.execute_query(LOOK_UP, number) else "gone at the next read"] += 1
    return seen


def main() -> None:
    """Kill, promote, and compare what was said with what is there."""
    acknowledged: list[int] = []
    stop, reports = threading.Event(), Queue[FailoverReport]()
    with TemporaryCluster(replicas=2) as cluster, ImprovedDb(cluster.url, on_failover=reports.put) as shop:
        shop.execute_query("create table orders (id int primary key)")
        with ThreadPoolExecutor(THREADS) as threads:
            writers = [threads.submit(write, shop, number, stop, acknowledged) for number in range(THREADS)]
            time.sleep(1)
            for replica in cluster.replicas:
                cluster.stop_replication(replica)
            cluster.primary.kill()
            time.sleep(1)
            print("a second after the kill:", ", ".join(f"{host.role} {host.state}" for host in shop.hosts()))
            cluster.promote()
            report = reports.get(timeout=20)
            stop.set()
        print("inserts:", dict(sum((writer.result() for writer in writers), Counter[str]())))
        there = {number for (number,) in shop.execute_query("select id from orders")}
        print(f"there was no primary for {report.seconds:.1f} s")
        print("acknowledged and lost:", len(set(acknowledged) - there), "| in the report:", len(report.lost))


if __name__ == "__main__":
    main()
