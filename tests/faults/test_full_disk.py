"""Bulk loads over a disk that is full now and then, by a real file-size limit, and over a network that cuts."""

from __future__ import annotations

import contextlib
import os
import random
import resource
import sys
import threading
from itertools import count
from time import monotonic
from typing import TYPE_CHECKING

import pymysql
import pytest

from improved_db import ImprovedDb, OutcomeUnknown
from improved_db.execution import chunks
from improved_db.testing import TemporaryServer
from tests.fakes import run_alone
from tests.faults.faults import CUT_BEFORE, CUT_WITHIN, SWALLOW_ANSWER_RST
from tests.faults.harness import Rig

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.faults.proxy import Fault, Session

#: How long it goes on, in seconds, for the Python that does it.
SECONDS = "IMPROVED_DB_TEST_SECONDS"

INSERT = "insert into t values (%s, %s, %s)"
PADDING = "x" * 100


@contextlib.contextmanager
def flickering(dice: random.Random) -> Iterator[None]:
    """Let the disk be full at a size that changes all the time, for all files of this process."""
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    over = threading.Event()

    def flicker() -> None:
        while not over.wait(dice.uniform(0.0, 0.02)):
            limit = dice.choice([1_000, 50_000, 200_000, hard, hard])
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))

    thread = threading.Thread(target=flicker)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))


def load(db: ImprovedDb, number: int, rows: int) -> tuple[str, set[int]]:
    """Load rows; return what was said, and how many of them may be in after that."""
    try:
        done = db.exec_many(INSERT, ((number, row, PADDING) for row in range(rows)))
    except OutcomeUnknown:
        return "unknown", {0, rows}
    except pymysql.err.MySQLError:
        return "failed", {0}
    except OSError:
        return "full", {0}
    assert done.rowcount == rows
    return "done", {rows}


def torment(rig: Rig, dice: random.Random, seconds: float) -> None:
    """Load again and again, and look each time what is in, until time is over and both ends have been seen."""
    rig.ask("create table t (number int not null, place int not null, v varchar(100), key (number))")
    chunks.SPOOL_BYTES = 10_000  # type: ignore[misc]  # so that little goes to the disk
    db = rig.db(max_size=1, read_timeout=10)

    def cut(session: Session, packet: bytes) -> None:
        dice.choice(CUTS)(session, packet)

    rig.proxy.on_any(lambda: dice.random() < 0.05, cut)
    seen: set[str] = set()
    end = monotonic() + seconds
    for number in count():
        rows = dice.randrange(1, 6_000)
        with flickering(dice):
            said, allowed = load(db, number, rows)
        found = rig.ask("select count(*), count(distinct place) from t where number = %s", (number,))
        assert found in {((size, size),) for size in allowed}, (number, rows, said, found)
        seen.add(said)
        if monotonic() > end and seen >= {"done", "full"}:
            return


CUTS: list[Fault] = [CUT_BEFORE, CUT_WITHIN, SWALLOW_ANSWER_RST]


def a_lossy_disk() -> None:
    """Run it for as long as the environment says."""
    seed = random.SystemRandom().randrange(1_000_000)
    with TemporaryServer(tcp=True) as server, Rig(server.connect_options) as rig:
        try:
            torment(rig, random.Random(seed), float(os.environ[SECONDS]))
        except BaseException:
            sys.stderr.write(f"seed {seed}\n")
            raise


@pytest.mark.parametrize("seconds", [2, pytest.param(40, marks=pytest.mark.soak)])
def test_a_disk_that_is_full_now_and_then_loses_no_row(monkeypatch: pytest.MonkeyPatch, seconds: int) -> None:
    """What was said to be in is in once, what was said to have failed is not there."""
    monkeypatch.setenv(SECONDS, str(seconds))
    run_alone(a_lossy_disk)
