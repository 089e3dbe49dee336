"""Programs of the pages that need a server of their own kind: Flask under gunicorn, tasks in Celery."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from improved_db import ImprovedDb
from tests.server import pages

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

PATIENCE = 60.0


@pytest.fixture
def db(database: dict[str, Any]) -> Iterator[ImprovedDb]:
    """The database of the programs."""
    with ImprovedDb(database) as made:
        yield made


@pytest.fixture
def start(database: dict[str, Any], tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Start a program in a folder of its own; at the end it has to stop when it is asked to."""
    running: list[subprocess.Popen[bytes]] = []
    url = "mysql://{user}@{host}:{port}/{database}".format(**database)

    def run(*command: str, **more: str) -> subprocess.Popen[bytes]:
        path = os.pathsep.join([str(pages.ROOT), str(tmp_path)])
        environment = {**os.environ, "PYTHONPATH": path, "IMPROVED_DB_URL": url, **more}
        program = subprocess.Popen([sys.executable, *command], cwd=tmp_path, env=environment)
        running.append(program)
        return program

    yield run
    for program in running:
        program.send_signal(signal.SIGTERM)
    assert [program.wait(PATIENCE) for program in running] == [0] * len(running)


def block(page: str, sign: str) -> str:
    """Return the program of a page that has *sign* in it."""
    (found,) = [block.code for block in pages.blocks(page) if sign in block.code]
    return found


@pytest.mark.skipif(find_spec("gunicorn") is None, reason="gunicorn is not installed")
def test_flask_under_gunicorn_with_preload(
    db: ImprovedDb, start: Callable[..., subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    """The master has used the pool before it forked; each worker has sessions of its own, and loses no visit."""
    db.execute_query("create table visit (id int auto_increment primary key, page varchar(40), session int)")
    begin = "from improved_db import ImprovedDb\n\ndb = ImprovedDb(max_size=2)\n"
    shown = block("docs/howto/forks.md", "app = Flask").replace("(%s, 0)", "(%s, connection_id())")
    (tmp_path / "shop.py").write_text(begin + shown, encoding="utf-8")
    path = tmp_path / "socket"
    start("-m", "gunicorn", "--preload", "--workers=2", "--threads=4", f"--bind=unix:{path}", "shop:app")
    ends_at = time.monotonic() + PATIENCE
    while not path.exists() and time.monotonic() < ends_at:
        pass
    with httpx.Client(transport=httpx.HTTPTransport(uds=str(path)), base_url="http://shop") as client:
        with ThreadPoolExecutor(8) as clients:
            answers = list(clients.map(lambda number: client.post(f"/visit/{number}").json()["visit"], range(80)))
        assert client.get("/ready").json() == {"answers": True, "waiting": 0}
    assert sorted(answers) == db.fetch_column("select id from visit where page <> 'home' order by id")
    assert len(answers) == 80
    master = db.fetch_value("select session from visit where page = 'home'")
    assert master not in db.fetch_column("select distinct session from visit where page <> 'home'")


@pytest.mark.skipif(find_spec("celery") is None, reason="Celery is not installed")
def test_a_celery_task_that_runs_twice_sells_its_order_once(
    db: ImprovedDb, start: Callable[..., subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    """The program of the page, without a worker."""
    db.execute_query("create table sold (order_id int primary key, pid int)")
    db.execute_query("create table stock (id int primary key, pieces int)")
    db.execute_query("insert into stock values (1, 10)")
    (tmp_path / "tasks.py").write_text(block("docs/howto/celery.md", "app = Celery"), encoding="utf-8")
    run = "import tasks\nfor order in 7, 7, 8: tasks.sell.apply((order, 2)).get()\ntasks.db.close()"
    assert start("-c", run).wait(PATIENCE) == 0
    assert db.fetch_value("select pieces from stock") == 6


@pytest.mark.soak  # a worker takes seven seconds to stop
@pytest.mark.skipif(find_spec("celery") is None, reason="Celery is not installed")
def test_celery_tasks_in_forked_workers(
    db: ImprovedDb, start: Callable[..., subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    """Each order is sold once, also those that were sent twice."""
    db.execute_query("create table sold (order_id int primary key, pid int)")
    db.execute_query("create table stock (id int primary key, pieces int)")
    db.execute_query("insert into stock values (1, 1000)")
    (tmp_path / "tasks.py").write_text(block("docs/howto/celery.md", "app = Celery"), encoding="utf-8")
    (tmp_path / "queue").mkdir()
    settings = {"BROKER": "filesystem://", "QUEUE": str(tmp_path / "queue")}
    start(
        "-m", "celery", "-A", "tasks", "worker", "--concurrency=2", "--loglevel=ERROR", "--without-mingle", **settings
    )
    send = "import tasks\nfor order in [*range(20), *range(20)]: tasks.sell.delay(order, 2)"
    assert start("-c", send, **settings).wait(PATIENCE) == 0
    ends_at = time.monotonic() + PATIENCE
    while os.listdir(tmp_path / "queue") or db.fetch_value("select count(*) from sold") < 20:
        assert time.monotonic() < ends_at
    assert db.fetch_value("select pieces from stock") == 1000 - 2 * 20
