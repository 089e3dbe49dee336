"""What is asked of the flights: thousands of small look-ups from many threads, and a few questions of a person."""

from __future__ import annotations

import random
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from improved_db import ImprovedDb

FLIGHT = "select f.*, a.name from flights f left join airlines a using (carrier) where f.id = %s"
PLANE = "select manufacturer, model, year, seats from planes where tailnum = %s"
DAY = "select dep_time, origin, dest, dep_delay from flights where tailnum = %s and month = %s and day = %s"

ROUTES = """
    select concat(f.origin, ' - ', f.dest) as route, p.name as `to`, count(*) as flights,
           round(count(*) / count(distinct f.month, f.day), 1) as `a day`,
           round(avg(f.air_time)) as `minutes in the air`
    from flights f left join airports p on p.faa = f.dest
    group by f.origin, f.dest, p.name order by flights desc, route limit 8
"""
AIRLINES = """
    select a.name as airline, count(*) as flights, round(avg(f.dep_delay), 1) as `minutes late off`,
           round(avg(f.arr_delay), 1) as `minutes late there`,
           round(100 * avg(f.arr_delay > 30), 1) as `% over 30 late`,
           round(100 * avg(f.dep_time is null), 1) as `% cancelled`
    from flights f join airlines a using (carrier) group by a.name order by avg(f.arr_delay) desc
"""
DAYS = """
    select f.date, f.cancelled, f.late as `minutes late off`, w.gust as `strongest gust, mph`,
           w.rain as `rain, inches`, w.sight as `least sight, miles`
    from (select date(concat_ws('-', year, month, day)) as date, sum(dep_time is null) as cancelled,
                 round(avg(dep_delay), 1) as late from flights group by date) f
    left join (select date(concat_ws('-', year, month, day)) as date, round(max(wind_gust), 1) as gust,
                      round(sum(precip) / count(distinct origin), 2) as rain, min(visib) as sight
               from weather group by date) w using (date)
    order by f.cancelled desc, f.late desc limit 6
"""
HOURS = """
    select hour as `leaving at`, count(*) as flights, round(avg(dep_delay), 1) as `minutes late off`,
           round(100 * avg(dep_delay > 60), 1) as `% over an hour late`
    from flights group by hour having count(dep_delay) > 0 order by hour
"""
PLANES = """
    select p.manufacturer, p.model, count(distinct f.tailnum) as planes, count(*) as flights,
           round(sum(f.distance) / 1e6, 1) as `million miles`
    from flights f join planes p using (tailnum)
    group by p.manufacturer, p.model order by flights desc, p.model limit 6
"""
QUESTIONS = (
    ("The busiest routes", ROUTES),
    ("Whose passengers wait", AIRLINES),
    ("The worst days, and their weather", DAYS),
    ("When to leave", HOURS),
    ("What it is that flies", PLANES),
)


class Answer(NamedTuple):
    """One look-up as its thread saw it: when it was answered and how long that took, in seconds; whether it found."""

    at: float
    seconds: float
    found: bool


def look_ups(db: ImprovedDb, count: int, threads: int) -> list[list[tuple[str, Any]]]:
    """Choose *count* look-ups by chance, the same in each run: a list of statements and arguments for each thread."""
    last = db.execute_query("select max(id) from flights")[0][0]
    tails = [tail for (tail,) in db.execute_query("select distinct tailnum from flights where tailnum is not null")]
    chances = [random.Random(number) for number in range(threads)]
    return [[_one(chance, last, tails) for _ in range(n, count, threads)] for n, chance in enumerate(chances)]


def ask_from_threads(db: ImprovedDb, shares: Sequence[Sequence[tuple[str, Any]]]) -> list[Answer]:
    """Make the look-ups of each share in a thread of its own; the threads share the connections of *db*."""

    def ask(share: Sequence[tuple[str, Any]]) -> list[Answer]:
        return [_answer(db, *one) for one in share]

    with ThreadPoolExecutor(len(shares)) as workers:
        return sorted(answer for answers in workers.map(ask, shares) for answer in answers)


def ask_each(db: ImprovedDb, shares: Sequence[Sequence[tuple[str, Any]]]) -> tuple[float, int]:
    """Make the same look-ups by `execute_each`, many in a round trip; return the seconds, and how many found a row."""
    by_query: defaultdict[str, list[Any]] = defaultdict(list)
    for share in shares:
        for query, args in share:
            by_query[query].append(args)
    began = time.perf_counter()
    found = sum(bool(rows) for query, each in by_query.items() for rows in db.execute_each(query, each, row_type=dict))
    return time.perf_counter() - began, found


def _one(chance: random.Random, last: int, tails: Sequence[str]) -> tuple[str, Any]:
    tail = chance.choice(tails)
    date = chance.randint(1, 12), chance.randint(1, 28)
    return chance.choice([(FLIGHT, chance.randint(1, last)), (PLANE, tail), (DAY, (tail, *date))])


def _answer(db: ImprovedDb, query: str, args: object) -> Answer:
    began = time.perf_counter()
    row = db.execute_query(query, args, dictcursor=True, return_one=True)
    ended = time.perf_counter()
    return Answer(ended, ended - began, row is not None)


def table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return rows under their columns' names, numbers to the right."""
    cells = [tuple(columns), *(tuple("" if value is None else _shown(value) for value in row) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    aligns = [
        "<" if all(isinstance(value, str | None) for value in column) else ">"
        for column in zip(*(rows or [columns]), strict=True)
    ]
    lines = [
        "  ".join(f"{cell:{align}{width}}" for cell, width, align in zip(line, widths, aligns, strict=True)).rstrip()
        for line in cells
    ]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])


def _shown(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)
