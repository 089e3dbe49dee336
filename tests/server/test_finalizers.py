"""Streams and blocks that are left to the collector, by many threads, on a real server."""

from __future__ import annotations

import gc
import logging
from time import monotonic
from typing import TYPE_CHECKING, Any

import pytest

from improved_db import ImprovedDb
from improved_db.testing import TemporaryServer
from tests.fakes import Caller, run_alone

if TYPE_CHECKING:
    from collections.abc import Iterator


class Node:
    """Something that refers to itself, and so waits for the collector."""

    def __init__(self, kept: object) -> None:
        self.kept = kept
        self.me = self


def rows(db: ImprovedDb) -> Iterator[Any]:
    """Stream rows for as long as the generator lives."""
    with db.stream("select 1 union select 2 union select 3") as stream:
        yield from stream


def storm(seconds: float) -> None:
    """Leave generators to a collector that runs at every allocation."""
    logging.disable(logging.WARNING)  # of connections that never came back
    with TemporaryServer() as server, ImprovedDb(server.url, max_size=20, acquire_timeout=60) as db:
        db.execute_query("select 1")
        end = monotonic() + seconds

        def work(number: int) -> int:
            turn = 0
            while monotonic() < end:
                turn += 1
                if turn % 5 == number % 5:
                    generator = rows(db)
                    next(generator)
                    Node(generator)
                    del generator
                assert db.execute_query("select %s", (turn,)) == ((turn,),)
            return turn

        gc.set_threshold(1)
        callers = [Caller(lambda number=number: work(number)) for number in range(12)]  # type: ignore[misc]
        turns = [caller.result() for caller in callers]
        gc.set_threshold(700, 10, 10)
        gc.collect()
        assert min(turns) > 0
        assert db.stats().timed_out == 0


def storm_for_a_while() -> None:
    """Take three seconds."""
    storm(3.0)


def storm_for_long() -> None:
    """Take twenty-five seconds."""
    storm(25.0)


@pytest.mark.parametrize("scene", [storm_for_a_while, pytest.param(storm_for_long, marks=pytest.mark.soak)])
def test_storm_of_finalizers_hangs_no_thread_and_starves_none(scene: Any) -> None:
    """As abandoned generators in tracebacks make them; the collector may run under any lock of ours."""
    assert run_alone(scene) == ""
