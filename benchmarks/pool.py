"""P3: who is served when 32 threads want 4 connections, and what the pool itself costs.

First on the server, against other pools, with holds of 2 ms; then on connections to nothing, against psycopg_pool,
which is fair too; then a crowd on a cold pool, for each number of connects at once.

Knows these questions. Does not know how a contender is called.
"""

from __future__ import annotations

import threading
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import bare
import pooled
from crowd import Crowd, crowd
from harness import Bench, main

from improved_db import ImprovedDb

if TYPE_CHECKING:
    from collections.abc import Callable

    from bare import Bare

HOLD = 0.002
THREADS, CONNECTIONS = 32, 4

FAIRNESS = f"{THREADS} threads, {CONNECTIONS} connections, 2 ms holds"
UNFAIRNESS, WORST, TOTAL = (f"{what}: {FAIRNESS}" for what in ("most served / least served", "worst wait", "served"))
#: A waiter who is served in its turn waits for those before it, four at a time.
LONGEST_WAIT = 1.5 * (THREADS - CONNECTIONS) / CONNECTIONS * HOLD * 1000

#: Seconds that a thousand threads may take to get in line.
PATIENCE = 20.0

COST = "the pool alone: borrow and give back, 8 connections, by threads"
QUEUE = "the pool alone: 1,000 waiters for 4 connections"
SPIKE = "a cold pool of 32, 32 threads once for 2 ms"
PLACES = {"20 ms connects": 0.02, "200 ms connects": 0.2}


def measure(bench: Bench) -> None:
    with bench.server() as options:
        _fairness(bench, options)
        _spikes_on_server(bench, options)
    _cost(bench)
    _long_line(bench)
    _spikes_on_nothing(bench)


# --- fairness ------------------------------------------------------------------------------------------------------


def _fairness(bench: Bench, options: dict[str, Any]) -> None:
    openers = {"improved_db": pooled.ours, **pooled.POOLS}
    seconds = bench.pick(1.5, 0.05)
    with bench.all_open({name: partial(opener, options, CONNECTIONS) for name, opener in openers.items()}) as pools:
        done: dict[str, list[tuple[Crowd, float]]] = {name: [] for name in pools}

        def one_round(name: str) -> float:
            waits: list[float] = []
            turn = partial(_hold, pools[name].borrow, pools[name].give_back, waits)
            done[name].append((crowd(turn, THREADS, seconds=seconds), max(waits)))
            return done[name][-1][0].rate

        runners = {name: partial(one_round, name) for name in pools}
        bench.race(TOTAL, "holds/s", runners, more_is_better=True, rounds=bench.pick(3, 1))
    for name, rounds in done.items():
        bench.record(UNFAIRNESS, name, "x", *(each.unfairness for each, _ in rounds))
    for name, rounds in done.items():
        bench.record(WORST, name, "ms", *(wait * 1000 for _, wait in rounds))
    report = bench.report
    bench.target("P3", f"most served / least served: {FAIRNESS}", report.value(UNFAIRNESS, "improved_db"), 1.1)
    bench.target("P3", "worst wait", report.value(WORST, "improved_db"), LONGEST_WAIT, unit="ms")
    best = report.ratio(TOTAL, "improved_db", *pooled.POOLS)
    bench.target("P3", "holds served, against the best peer", best, 1.0, at_most=False)


def _hold(borrow: Callable[[], Any], give_back: Callable[[Any], object], waits: list[float]) -> None:
    began = time.perf_counter()
    connection = borrow()
    waits.append(time.perf_counter() - began)
    time.sleep(HOLD)
    give_back(connection)


# --- the pool alone ------------------------------------------------------------------------------------------------


def _cost(bench: Bench) -> None:
    with bench.all_open({name: partial(opener, 8) for name, opener in bare.POOLS.items()}) as pools:
        for threads in bench.pick((1, 2, 4, 8, 16, 32, 64, 128, 256), (1, 16)):
            runners = {
                name: partial(_cost_of_one, pool, threads, bench.pick(0.3, 0.02)) for name, pool in pools.items()
            }
            bench.race(COST, "us", runners, x=threads, rounds=bench.pick(3, 1))


def _cost_of_one(pool: Bare, threads: int, seconds: float) -> float:
    return 1e6 / crowd(lambda: pool.give_back(pool.borrow()), threads, seconds=seconds).rate


def _long_line(bench: Bench) -> None:
    waiters = bench.pick(1_000, 20)
    with bench.all_open({name: partial(opener, CONNECTIONS) for name, opener in bare.POOLS.items()}) as pools:
        runners = {name: partial(_serve_all, pool, waiters) for name, pool in pools.items()}
        bench.race(QUEUE, "ms", runners, rounds=bench.pick(3, 1))


def _serve_all(pool: Bare, waiters: int) -> float:
    """Hold every connection until all waiters are there; return how long it takes then to serve them, in ms."""
    held = [pool.borrow() for _ in range(CONNECTIONS)]

    def wait_once() -> None:
        pool.give_back(pool.borrow())

    members = [threading.Thread(target=wait_once, daemon=True) for _ in range(waiters)]
    for member in members:
        member.start()
    deadline = time.monotonic() + PATIENCE
    while pool.waiting() < waiters:
        if time.monotonic() > deadline:
            raise TimeoutError(f"only {pool.waiting()} of {waiters} stand in line")
        time.sleep(0.001)
    began = time.perf_counter()
    for connection in held:
        pool.give_back(connection)
    for member in members:
        member.join()
    return (time.perf_counter() - began) * 1000


# --- a crowd on a cold pool ----------------------------------------------------------------------------------------


def _spikes_on_server(bench: Bench, options: dict[str, Any]) -> None:
    def spike(max_opening: int) -> tuple[float, float]:
        with ImprovedDb(options, max_size=THREADS, max_opening=max_opening) as db:
            ran = crowd(partial(_hold, db.pool_get_connection, db.pool_put_connection, []), THREADS, turns=1)
            return ran.seconds, db.stats().opened

    _spikes(bench, "this server", {_named(number): partial(spike, number) for number in (1, 2, 4, 8)})


def _spikes_on_nothing(bench: Bench) -> None:
    for place, seconds in bench.pick(PLACES, {"2 ms connects": 0.002}).items():

        def spike(opener: Any, seconds: float = seconds) -> tuple[float, float]:
            with opener(THREADS, seconds, warm=False) as pool:
                ran = crowd(partial(_hold, pool.borrow, pool.give_back, []), THREADS, turns=1)
                return ran.seconds, pool.opened()

        openers = {_named(number): partial(bare.ours, max_opening=number) for number in (1, 2, 4, 8)}
        contenders = {name: partial(spike, opener) for name, opener in openers.items()}
        _spikes(bench, place, {**contenders, "psycopg_pool": partial(spike, bare.psycopg_pool)})


def _named(max_opening: int) -> str:
    return f"improved_db, max_opening={max_opening}"


def _spikes(bench: Bench, place: str, spikes: dict[str, Callable[[], tuple[float, float]]]) -> None:
    opened: dict[str, list[float]] = {name: [] for name in spikes}

    def one_round(name: str) -> float:
        seconds, connections = spikes[name]()
        opened[name].append(connections)
        return seconds * 1000

    runners = {name: partial(one_round, name) for name in spikes}
    bench.race(f"{SPIKE}, {place}: all served", "ms", runners, rounds=bench.pick(5, 1))
    for name, numbers in opened.items():
        if numbers:
            bench.record(f"{SPIKE}, {place}: opened", name, "connections", *numbers)


if __name__ == "__main__":
    main(measure)
