"""Many threads of several processes, all of which wait for the next primary."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from improved_db import ImprovedDb
from tests.cluster.replicas import eventually
from tests.cluster.shop import INSERT, urls_of

if TYPE_CHECKING:
    from tests.cluster.replicas import Replicas

PROCESSES, THREADS = 4, 200


def write_from_many_threads(urls: list[str], barrier: Any, results: Any) -> None:
    """Write once before and once after the failover in each thread; return the errors, and the connects at once."""
    opening: list[int] = []
    with ImprovedDb(urls, max_size=10, deadline=60, acquire_timeout=60, monitor_interval=0.3) as db:
        db.execute_query(INSERT)

        def write(_: int) -> str:
            try:
                db.execute_query(INSERT)
            except Exception as error:
                return repr(error)
            finally:
                opening.append(max(stats.opening for stats in db.stats().by_host.values()))
            return ""

        barrier.wait(60)  # the parent kills the primary
        barrier.wait(60)  # it is dead
        with ThreadPoolExecutor(THREADS) as threads:
            errors = [text for text in threads.map(write, range(THREADS)) if text]
        results.put((errors, max(opening), db.stats().timed_out))


@pytest.mark.soak
def test_a_herd_that_waits_for_the_next_primary_opens_four_connections_at_a_time(replicas: Replicas) -> None:
    """Scenario 82: no server says that it has too many connections, no caller fails, each write is there."""
    spawn = multiprocessing.get_context("spawn")
    barrier, results = spawn.Barrier(PROCESSES + 1), spawn.Queue()
    replicas.run(1, "set global max_connections = 60", "flush local status")
    with ExitStack() as running:
        for _ in range(PROCESSES):
            process = spawn.Process(target=write_from_many_threads, args=(urls_of(replicas), barrier, results))
            process.start()
            running.callback(process.join, 60)
        barrier.wait(60)
        replicas.catch_up(1, 2, of=0)
        replicas.servers[0].kill()
        barrier.wait(60)
        replicas.promote(1)
        replicas.refollow(2, 1)
        found = [results.get(timeout=90) for _ in range(PROCESSES)]
    assert [errors for errors, _, _ in found] == [[]] * PROCESSES
    assert all(opening <= 4 for _, opening, _ in found)
    assert [timed_out for _, _, timed_out in found] == [0] * PROCESSES
    refused = replicas.run(1, "show global status like 'Connection_errors_max_connections'")
    assert refused == (("Connection_errors_max_connections", "0"),)
    expected = PROCESSES + PROCESSES * THREADS
    assert eventually(lambda: replicas.run(1, "select count(*) from test.pets")[0][0] == expected)
