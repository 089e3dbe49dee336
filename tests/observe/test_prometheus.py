"""Metrics for Prometheus: the collector, the same text without the package, and several processes as one."""

from __future__ import annotations

import gc
import json
import logging
import os
import re
import signal
import stat
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from improved_db import ConfigError, ImprovedDb, PoolTimeout
from improved_db.observe import prometheus
from improved_db.observe.histogram import COARSE
from improved_db.observe.metrics import FAMILIES, TOP, Family
from improved_db.observe.spool import LARGEST, VARIABLE
from tests.fakes import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.faults.harness import Rig

prometheus_client = pytest.importorskip("prometheus_client")
parser = pytest.importorskip("prometheus_client.parser")

ROOT = Path(__file__).parents[2]

Samples = dict[str, dict[tuple[tuple[str, str], ...], float]]


def parsed(text: str, pool: str) -> Samples:
    """Return the samples of one pool, by name and labels, as prometheus_client reads them."""
    found: Samples = {}
    for family in parser.text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.labels["pool"] == pool:
                labels = tuple(sorted((name, value) for name, value in sample.labels.items() if name != "pool"))
                found.setdefault(sample.name, {})[labels] = sample.value
    return found


def value(samples: Samples, name: str, **labels: str) -> float:
    """Return one sample; 0.0 if there is none."""
    return samples.get(name, {}).get(tuple(sorted(labels.items())), 0.0)


@pytest.fixture
def registry() -> Any:
    """A registry with the collector in it."""
    made = prometheus_client.CollectorRegistry()
    made.register(prometheus.collector(top=5))
    return made


def use(db: ImprovedDb) -> None:
    """Use a pool of two connections in several ways."""
    db.execute_query("insert into t values (1, 1), (2, 2)")
    with pytest.raises(Exception, match="Duplicate"):
        db.execute_query("insert into t values (1, %s)", 1)
    with db.connection(), db.connection(), pytest.raises(PoolTimeout):
        db.pool_get_connection(timeout=0.01)
    for _ in range(3):
        db.execute_query("select * from t")


def test_the_text_is_what_the_collector_says(rig: Rig, registry: Any) -> None:
    """A page without prometheus_client is scraped by the same dashboards."""
    db = rig.db(direct=True, name='a "pool"\n', max_size=2, slow_query_threshold=0.05)
    use(db)
    db.execute_query("select sleep(0.06)")
    theirs = prometheus_client.generate_latest(registry).decode()
    ours = prometheus.text(top=5)
    samples = parsed(ours, 'a "pool"\n')
    assert samples == parsed(theirs, 'a "pool"\n')
    of_one = {family.name for family in FAMILIES if not family.name.startswith("improved_db_cluster_")}
    assert {name for name in of_one - set(samples) if not name.endswith("_seconds")} == {
        "improved_db_retries_total", "improved_db_pool_connections_closed_total"
    }  # fmt: skip
    headers = [line for line in ours.splitlines() if line.startswith("#")]
    assert [line for line in theirs.splitlines() if line.startswith("#")] == headers
    assert sum(samples["improved_db_pool_borrowed_total"].values()) == 8
    assert value(samples, "improved_db_pool_timeouts_total") == 1
    assert value(samples, "improved_db_statement_errors_total", verdict="permanent", code="1062") == 1
    assert value(samples, "improved_db_statement_seconds_count", verb="SELECT") == 4
    assert value(samples, "improved_db_statement_seconds_bucket", verb="SELECT", le="0.05") == 3
    assert value(samples, "improved_db_rows_total", direction="read") == 7
    assert value(samples, "improved_db_rows_total", direction="written") == 2
    assert value(samples, "improved_db_slow_statements_total") == 1
    assert value(samples, "improved_db_pool_use_seconds_count") == 2
    assert value(samples, "improved_db_pool_wait_seconds_count") == 8
    assert value(samples, "improved_db_pool_open_seconds_count") == db.stats().opened
    assert len(samples["improved_db_statement_seconds_bucket"]) == 2 * (len(COARSE) + 1)
    assert len(samples["improved_db_top_statement_calls_total"]) == 3


def test_the_states_of_connections_add_up_to_the_size(rig: Rig) -> None:
    """``sum by (pool)`` is what most dashboards draw."""
    db = rig.db(direct=True, name="states", max_size=3)
    with db.connection(), db.connection():
        states = parsed(prometheus.text(), "states")["improved_db_pool_connections"]
        assert sum(states.values()) == db.stats().size == 2
    assert set(dict(key)["state"] for key in states) == {"idle", "used", "opening"}  # noqa: C401  # pairs


def test_pools_of_one_name_are_told_apart_and_closed_ones_vanish(rig: Rig, registry: Any) -> None:
    """Or a scrape is refused because of two series with the same labels."""
    first, second = rig.db(direct=True, name="twin"), rig.db(direct=True, name="twin")
    second.execute_query("select 1")
    text = prometheus_client.generate_latest(registry).decode()
    counted = [
        value(parsed(text, pool), "improved_db_statement_seconds_count", verb="SELECT") for pool in ("twin", "twin#2")
    ]
    assert counted == [0, 1]
    first.close()
    assert value(parsed(prometheus.text(), "twin"), "improved_db_statement_seconds_count", verb="SELECT") == 1
    second.close()
    assert "twin" not in prometheus.text()
    with pytest.raises(ValueError, match="Duplicate"):
        registry.register(prometheus.collector())


def test_a_pool_that_is_dropped_is_not_kept_alive_by_the_collector(rig: Rig, registry: Any) -> None:
    """Who scrapes must not change what is scraped."""
    db = ImprovedDb({**rig.options, "name": "left alone"})
    db.execute_query("select 1")
    assert "left alone" in prometheus.text()
    del db
    gc.collect()
    assert "left alone" not in prometheus.text()


def test_metrics_go_on_when_the_statistics_are_reset(rig: Rig) -> None:
    """A counter that falls is a restart to Prometheus."""
    db = rig.db(direct=True, name="reset")
    db.execute_query("select 1")
    db.reset_statements()
    db.execute_query("select 2")
    samples = parsed(prometheus.text(), "reset")
    assert value(samples, "improved_db_statement_seconds_count", verb="SELECT") == 2
    for invalid in (-1, 101, 1.5, "5"):
        with pytest.raises(ConfigError, match="top must be a whole number from 0 to 100"):
            prometheus.text(top=invalid)  # type: ignore[arg-type]  # that is what is tested


def test_the_dashboard_and_the_reference_know_every_metric() -> None:
    """A panel of a metric that does not exist is empty, and looks like all is well."""
    names = {family.name for family in (*FAMILIES, *TOP)}
    dashboard = json.loads((ROOT / "docs/howto/grafana-dashboard.json").read_text())
    asked = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    drawn = {
        re.sub("_(bucket|count|sum)$", "", name) for text in asked for name in re.findall("improved_db_[a-z_]+", text)
    }
    assert drawn <= names
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
    shown = re.findall(
        r"^\| `(improved_db_[a-z_]+)` \| ([a-z]+) \| (.*?) \|",
        (ROOT / "docs/reference/observe.md").read_text(),
        re.MULTILINE,
    )
    kinds = {family.name: family for family in (*FAMILIES, *TOP)}
    assert [name for name, _, _ in shown] == list(kinds)
    for name, kind, labels in shown:
        assert (kind, re.findall("`([a-z]+)`", labels)) == (prometheus_kind(kinds[name]), list(kinds[name].labels))


def prometheus_kind(family: Family) -> str:
    """Return what the text calls its type."""
    return "gauge" if family.kind == "info" else family.kind


# --- several processes -----------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The spool of this test."""
    made = tmp_path / "spool"
    monkeypatch.setenv(VARIABLE, str(made))
    return made


#: A program that runs some statements and ends.
WORKER = """
import os, sys, improved_db
db = improved_db.ImprovedDb(sys.argv[1], name="shop")
for _ in range(int(sys.argv[2])):
    db.execute_query("select 1")
if sys.argv[3] == "close":
    db.close()
"""


def url_of(rig: Rig) -> str:
    """Return the address past the proxy."""
    found = {"password": "", **rig.options}
    return "mysql://{user}:{password}@{host}:{port}/{database}?ssl_disabled=true".format(**found)


def work(rig: Rig, times: int, end: str = "") -> None:
    """Run that program."""
    subprocess.run([sys.executable, "-c", WORKER, url_of(rig), str(times), end], check=True, timeout=60)


def selects(text: str, pool: str = "shop") -> float:
    """Return how many SELECTs a text counts."""
    return value(parsed(text, pool), "improved_db_statement_seconds_count", verb="SELECT")


def test_the_counters_of_ended_processes_stay_and_their_gauges_go(rig: Rig, folder: Path) -> None:
    """A web server replaces its workers all day, and its sums must not fall each time."""
    work(rig, 3)
    work(rig, 4, "close")
    db = rig.db(direct=True, name="shop")
    db.execute_query("select 1")
    assert selects(prometheus.text()) == 8
    assert selects(prometheus.text()) == 8
    samples = parsed(prometheus.text(top=5), "shop")
    assert sum(samples["improved_db_pool_connections"].values()) == 1
    assert list(samples["improved_db_top_statement_calls_total"].values()) == [8]
    db.close()
    assert selects(prometheus.text()) == 8


def test_folder_and_files_are_this_accounts_alone(rig: Rig, folder: Path) -> None:
    """Texts of statements are in them."""
    db = rig.db(direct=True)
    db.execute_query("select 1")
    prometheus.text()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    modes = {
        path.name: (stat.S_IMODE(path.stat().st_mode), path.stat().st_size <= LARGEST) for path in folder.iterdir()
    }
    assert len(modes) == 2
    assert set(modes.values()) == {(0o600, True)}


def test_a_folder_that_others_may_change_is_refused(rig: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another account could put numbers, or links, into it."""
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (tmp_path / "open").mkdir(mode=0o755)
    (tmp_path / "file").write_text("")
    reasons = {
        "link": "is a symbolic link", "open": "has the mode 0755", "file": "is no folder",
        "none/there": "cannot be used: No such file or directory",
    }  # fmt: skip
    for name, reason in reasons.items():
        monkeypatch.setenv(VARIABLE, str(tmp_path / name))
        with pytest.raises(ConfigError, match=f"{reason}; name a folder that only this account may use"):
            ImprovedDb(rig.options)


def test_torn_and_foreign_files_are_left_out_with_a_line(
    rig: Rig, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """They say nothing that can be trusted, and the others still count."""
    db = rig.db(direct=True, name="shop")
    db.execute_query("select 1")
    prometheus.text()
    (mine,) = folder.glob("*-*.json")
    parent = Path(f"/proc/{os.getppid()}/stat").read_text().rpartition(")")[2].split()
    alive = f"{os.getppid()}-{parent[19]}.json"
    content = json.loads(mine.read_text())
    files = {
        alive: mine.read_text()[:-9],
        "99999998-1.json": '{"other": "program"}',
        "99999997-1.json": json.dumps({**content, "values": [["improved_db_pool_waiting", [[["a", "b", "c"], 1]]]]}),
        "99999996-1.json": json.dumps({**content, "improved_db": 99}),
        "notes.txt": "not ours at all",
    }
    for name, text in files.items():
        (folder / name).write_text(text)
    (folder / "99999995-1.json").symlink_to(mine)
    with caplog.at_level(logging.WARNING, logger="improved_db.observe"):
        assert selects(prometheus.text()) == 1
        assert selects(prometheus.text()) == 1
    lines = sorted(record.getMessage().partition(f"{folder}/")[2] for record in caplog.records)
    aside = "{0} is put aside as {0}.refused: {1}".format
    other = "another program, or another version of this one, wrote it"
    assert lines == sorted(
        [
            aside("99999995-1.json", "Too many levels of symbolic links"),
            aside("99999996-1.json", other),
            aside("99999997-1.json", "its numbers make no sense"),
            aside("99999998-1.json", other),
            f"{alive} is left out: it is torn, or no JSON",
        ]
    )
    assert (folder / "notes.txt").exists()
    assert len(list(folder.glob("9999999?-1.json.refused"))) == 4


#: A program whose files may not be longer than a few bytes, as on a full disk.
FULL = """
import logging, resource, sys, improved_db
from improved_db.observe import prometheus
logging.basicConfig(format="%(message)s", stream=sys.stdout)
resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
with improved_db.ImprovedDb(sys.argv[1], name="shop") as db:
    db.execute_query("select 1")
    prometheus.text()
    prometheus.text()
"""


def test_a_full_folder_is_a_line_in_the_log(rig: Rig, folder: Path) -> None:
    """The program goes on; only its numbers are missing."""
    ended = subprocess.run([sys.executable, "-c", FULL, url_of(rig)], check=True, timeout=60, capture_output=True)
    assert ended.stdout.decode() == f"the metrics of this process cannot be written to {folder}: File too large\n"
    assert [path.name for path in folder.iterdir()] == ["lock"]


APPLICATION = """
import os
from improved_db import ImprovedDb
from improved_db.observe import prometheus

db = ImprovedDb(os.environ["DB"], name="shop", max_size=2)

def app(environ, start_response):
    if environ["PATH_INFO"] == "/work":
        db.execute_query("select 1")
    body = prometheus.text() if environ["PATH_INFO"] == "/metrics" else str(os.getpid())
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [body.encode()]
"""


@pytest.fixture
def web(rig: Rig, folder: Path, tmp_path: Path) -> Iterator[str]:
    """The address of three workers of gunicorn, which share a port."""
    pytest.importorskip("gunicorn")
    (tmp_path / "application.py").write_text(APPLICATION)
    command = [
        sys.executable, "-m", "gunicorn", "--workers=3", "--preload", "--bind=127.0.0.1:0", "--no-control-socket",
        "application:app",
    ]  # fmt: skip
    log = tmp_path / "log"
    environment = {**os.environ, "DB": url_of(rig), "PYTHONPATH": f"{tmp_path}:{Path.cwd()}"}
    with log.open("wb") as file:
        server = subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=file, stdout=file)
    try:
        eventually(lambda: "Listening at: http://127.0.0.1:" in log.read_text() or server.poll() is not None)
        assert server.poll() is None, log.read_text()
        yield log.read_text().partition("Listening at: ")[2].partition(" ")[0]
    finally:
        server.terminate()
        server.wait(30)


def ask(address: str, path: str) -> str:
    """Return what one of the workers answers."""
    with urllib.request.urlopen(f"{address}{path}", timeout=30) as answer:
        return str(answer.read().decode())


def test_three_workers_show_the_same_sums_and_none_falls_when_one_is_killed(web: str) -> None:
    """Whichever worker Prometheus happens to ask."""
    calls = 60
    workers = {ask(web, "/work") for _ in range(calls)}
    while len(workers) < 3:
        workers.add(ask(web, "/work"))
        calls += 1
    seen: list[float] = []

    def complete() -> bool:
        seen.append(selects(ask(web, "/metrics")))
        return seen[-1] == calls

    eventually(complete)
    assert {selects(ask(web, "/metrics")) for _ in range(12)} == {calls}
    os.kill(int(workers.pop()), signal.SIGKILL)
    seen += [selects(ask(web, "/metrics")) for _ in range(12)]
    assert seen == sorted(seen)
    assert seen[-1] == calls
