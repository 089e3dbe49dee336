"""Interleaved rounds of contenders, and what every script does around them.

A round of each contender, then the next round of each, and every time another one goes first: what disturbs the machine
disturbs all of them. A contender that is not installed, or fails, is reported as missing; only ours must not fail.

Knows rounds, the command line and the private server. Does not know peers or what is measured.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any, Final, TypeVar

from measurements import OURS, Measurement, Pair, Report, Verdict
from table import report_as_text

from improved_db.testing import TemporaryServer

T = TypeVar("T")

#: Makes one round and returns its number.
Runner = Callable[[], float]
Options = dict[str, Any]

#: Room for everything in memory, and a redo log that never makes a bulk load wait: the clients are to be measured.
SERVER_OPTIONS: Final = (
    "--innodb-buffer-pool-size=768M",
    "--loose-innodb-log-file-size=512M",
    "--loose-innodb-redo-log-capacity=1G",
    "--max-allowed-packet=64M",
    "--max-connections=600",
    "--local-infile=1",
)


class Bench:
    """One script's run.

    Attributes:
        report: What it has found so far.
        quick: Whether this is only to see that the script works; the numbers mean nothing then.
        one_core: Whether the program and its server run on one core: what is measured is the work of both.
        rounds: How many rounds every race has; None leaves it to each.
        failed: Whether something went wrong that must not: the exit status.
    """

    def __init__(self, script: str, *, quick: bool = False, one_core: bool = False, rounds: int | None = None) -> None:
        self.report = Report(script=f"{script}-one-core" if one_core else script)
        self.quick = quick
        self.one_core = one_core
        self.rounds = rounds
        self.failed = False

    def pick(self, full: T, quick: T) -> T:
        """Return one of two sizes."""
        return quick if self.quick else full

    @contextlib.contextmanager
    def server(self) -> Iterator[Options]:
        """Lend a private server, on TCP loopback; gives the options that every driver here takes."""
        with TemporaryServer(tcp=True, options=SERVER_OPTIONS) as running:
            self.report.notes.append(f"server: {running.version}, TCP loopback, without TLS")
            yield running.connect_options

    @contextlib.contextmanager
    def all_open(self, openers: Mapping[str, Callable[[], AbstractContextManager[T]]]) -> Iterator[dict[str, T]]:
        """Open every contender there is."""
        with ExitStack() as stack:
            there = {}
            for name, opener in openers.items():
                try:
                    there[name] = stack.enter_context(opener())
                except Exception as error:
                    self._miss(name, error)
            yield there

    def race(
        self,
        task: str,
        unit: str,
        runners: Mapping[str, Runner],
        *,
        more_is_better: bool = False,
        x: float | None = None,
        rounds: int,
    ) -> None:
        """Let every contender make its rounds, in turn, and keep their numbers."""
        wanted = self.rounds or rounds
        values: dict[str, list[float]] = {name: [] for name in runners}
        at = "" if x is None else f" at {x:,.0f}"
        print(f"{task}{at}: {len(runners)} contenders, {wanted} rounds ", end="", file=sys.stderr, flush=True)
        for number in range(wanted):
            names = list(values)
            turn = number % max(len(names), 1)
            for name in names[turn:] + names[:turn]:
                gc.collect()
                try:
                    values[name].append(runners[name]())
                except Exception as error:
                    self._miss(name, error)
                    del values[name]
            print(".", end="", file=sys.stderr, flush=True)
        print(file=sys.stderr)
        for name, of_rounds in values.items():
            self.record(task, name, unit, *of_rounds, more_is_better=more_is_better, x=x)

    def record(
        self,
        task: str,
        contender: str,
        unit: str,
        *values: float,
        more_is_better: bool = False,
        x: float | None = None,
    ) -> None:
        """Keep numbers that were not obtained by `race`."""
        self.report.measurements.append(
            Measurement(task=task, contender=contender, unit=unit, values=values, x=x, more_is_better=more_is_better)
        )

    def target(
        self, number: str, claim: str, measured: Pair | None, limit: float, *, at_most: bool = True, unit: str = "x"
    ) -> None:
        """Hold what was measured against a target."""
        if self.one_core:
            claim = f"{claim}; on one core"
        self.report.verdicts.append(
            Verdict(number=number, claim=claim, limit=limit, measured=measured, at_most=at_most, unit=unit)
        )

    def _miss(self, name: str, error: Exception) -> None:
        if name.startswith(OURS):
            raise error
        why = "not installed" if isinstance(error, ImportError) else f"{type(error).__name__}: {error}"
        self.report.missing[name] = why
        print(f"[without {name}: {why}] ", end="", file=sys.stderr, flush=True)


def timed(work: Callable[[], object], *, per: float = 1.0, before: Callable[[], object] | None = None) -> Runner:
    """Make a runner of *work*: how long it takes in seconds, divided by *per*, and without what is done *before*."""

    def run() -> float:
        if before is not None:
            before()
        began = time.perf_counter()
        done = work()
        seconds = time.perf_counter() - began
        del done  # letting go of a large result is not part of the work
        return seconds / per

    return run


def main(measure: Callable[[Bench], None], arguments: list[str] | None = None) -> None:
    """Run one script from the command line, and exit."""
    parser = argparse.ArgumentParser(description=sys.modules[measure.__module__].__doc__)
    parser.add_argument("--quick", action="store_true", help="tiny sizes: to see that it works, not to measure")
    parser.add_argument("--one-core", action="store_true", help="run the program and the server on one core")
    parser.add_argument("--rounds", type=int, help="rounds of each contender")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what was measured there")
    given = parser.parse_args(arguments)
    if given.one_core:
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})  # the server inherits it
    bench = Bench(Path(sys.argv[0]).stem, quick=given.quick, one_core=given.one_core, rounds=given.rounds)
    measure(bench)
    print(report_as_text(bench.report))
    if given.json:
        given.json.write_text(json.dumps(bench.report.as_json(), indent=1), encoding="utf-8")
    sys.exit(1 if bench.failed else 0)
