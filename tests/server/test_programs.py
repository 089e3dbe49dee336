"""The small programs of examples/programs do what they say, against a real server, and stay small."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from programs import copy_table, existing_script, frames, queue_worker

from improved_db import ImprovedDb
from improved_db.testing import TemporaryServer

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
#: The most lines of code that each may have, without docstrings, comments and empty lines.
MOST_LINES = 30


@pytest.fixture(name="db")
def _db(database: dict[str, Any]) -> Iterator[ImprovedDb]:
    with ImprovedDb(database, max_size=4) as db:
        yield db


def code_lines(path: Path) -> int:
    text = path.read_text(encoding="utf-8")
    lines = text[text.index("from __future__") :].splitlines()
    return sum(bool(line.strip()) and not line.strip().startswith(("#", '"""')) for line in lines)


def test_every_program_is_short() -> None:
    """If one needs more, a verb is missing."""
    programs = sorted((ROOT / "examples" / "programs").glob("[!_]*.py"))
    assert {path.stem: code_lines(path) for path in programs if code_lines(path) > MOST_LINES} == {}
    assert len(programs) == 6


#: Talks to a web program without a socket; prints what came back, as JSON.
FLASK = """
import json
from programs.flask_app import app, db
with app.test_client() as web:
    added = web.post("/pets/Rex")
    answers = [added.get_json(), web.get("/pets/1").get_json(), web.get("/pets/9").status_code, web.get("/health").text]
db.close()
print(json.dumps(answers))
"""
FASTAPI = """
import json
from fastapi.testclient import TestClient
from programs.fastapi_app import app, db
with TestClient(app) as web:
    added = web.post("/pets/Rex")
    answers = [added.json(), web.get("/pets/1").json(), web.get("/pets/9").status_code, web.get("/pets/x").status_code]
    answers.append([one["name"] for one in app.openapi()["paths"]["/pets/{name}"]["post"]["parameters"]])
assert db.closed
print(json.dumps(answers))
"""


def run(program: str, database: dict[str, Any]) -> Any:
    url = "mysql://{user}@{host}:{port}/{database}".format(**database)
    path = os.pathsep.join([str(ROOT), str(ROOT / "examples")])
    ran = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": path, "IMPROVED_DB_URL": "", "DATABASE_URL": url},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


def test_flask(db: ImprovedDb, database: dict[str, Any]) -> None:
    """The parameters of a route are those of the function without `tx`."""
    db.execute_query("create table pets (id int auto_increment primary key, name varchar(20))")
    assert run(FLASK, database) == [{"id": 1}, {"id": 1, "name": "Rex"}, 404, "ok"]


def test_fastapi(db: ImprovedDb, database: dict[str, Any]) -> None:
    db.execute_query("create table pets (id int auto_increment primary key, name varchar(20))")
    rex = {"id": 1, "name": "Rex"}
    assert run(FASTAPI, database) == [rex, rex, 404, 422, ["name"]]


def test_copy_table(db: ImprovedDb, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Also bytes, which need the names of the columns; and the bar knows its end."""
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    table = "create table pets (id int primary key, picture varbinary(20), name varchar(20))"
    with TemporaryServer() as server, ImprovedDb(server.url) as target:
        for one in (db, target):
            one.execute_query(table)
        db.exec_many("insert into pets values (%s, %s, %s)", ((n, b"\xff\x00", f"pet {n}") for n in range(5000)))
        assert copy_table.copy(db, target, "pets") == 5000
        assert "5,000 rows of 5,000 (100 %)" in capsys.readouterr().err
        assert target.fetch_all("checksum table pets")[0][1] == db.fetch_all("checksum table pets")[0][1]


@pytest.mark.needs("SKIP LOCKED")
def test_queue_worker(db: ImprovedDb) -> None:
    """Each job is done once, whoever does it."""
    db.execute_query("create table jobs (id int primary key, task varchar(20), done bool not null default 0)")
    db.exec_many("insert into jobs (id, task) values (%s, %s)", [(n, f"task {n}") for n in range(60)])
    workers = [queue_worker.Worker(db) for _ in range(4)]
    with ThreadPoolExecutor(4) as threads:
        done = [task for tasks in threads.map(queue_worker.Worker.run, workers) for task in tasks]
    assert sorted(done) == sorted(f"task {n}" for n in range(60))
    assert db.fetch_value("select sum(done) from jobs") == 60


def test_frames(db: ImprovedDb) -> None:
    db.execute_query("create table sales (day date, amount decimal(9, 2))")
    db.execute_query("create table best (day date primary key, amount decimal(9, 2))")
    db.exec_many("insert into sales values (%s, %s)", [("2026-01-01", 1.5), ("2026-01-01", 2), ("2026-01-02", 4)])
    assert frames.store_best(db) == 2
    assert db.fetch_all("select cast(day as char), cast(amount as char) from best order by day") == (
        ("2026-01-01", "2.00"),
        ("2026-01-02", "4.00"),
    )


def test_existing_script(database: dict[str, Any]) -> None:
    assert existing_script.main(database) == 1
