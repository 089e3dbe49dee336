"""The page: the same by every way, closed to those who may not see it, and true."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest

from improved_db import ConfigError, ImprovedDb
from improved_db.observe.page.answer import Answer
from improved_db.settings.settings import PoolSettings
from tests.fakes import Caller, eventually
from tests.observe.page_ways import WAYS, Told

if TYPE_CHECKING:
    from collections.abc import Callable

    from improved_db.observe.page.monitor import Monitor
    from tests.faults.harness import Rig

TOKEN = "t0k3n-for-a-test-only"
CANARY = "c4n4ry-value"
BEARER = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture(name="db")
def _db(rig: Rig) -> ImprovedDb:
    """A pool past the proxy, on an empty table t (id, n), which has run a few statements."""
    db = rig.db(direct=True, max_size=2, slow_query_threshold=0.05)
    for number in range(3):
        db.execute_query("select n from t where id = %s", number)
    with pytest.raises(Exception, match="1146"):
        db.execute_query(f"select '{CANARY}' from nothing")
    db.execute_query(f"select sleep(0.06), '{CANARY}'")
    return db


def data(monitor: Monitor, name: str, query: str = "") -> Any:
    """Return the data of the page."""
    got = monitor.respond("GET", f"/data/{name}", query, {"host": "localhost"})
    assert got.status == 200, got.body
    return json.loads(got.body)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("way", WAYS)
def test_the_page_is_the_same_by_every_way(way: str, db: ImprovedDb) -> None:
    """Mounted in Flask, FastAPI or Django, or alone: same words, same refusals."""
    for ask in WAYS[way](db.monitor(token=TOKEN)):
        check(ask, mount="" if way == "alone" else "/db")


def check(ask: Callable[[str, str, dict[str, str]], Told], mount: str) -> None:
    """Ask for each kind of answer."""
    page = ask("GET", "/db/", BEARER)
    assert (page.status, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert page.body.startswith("<!doctype html>")
    assert ask("HEAD", "/db/", BEARER).body == ""
    told = json.loads(ask("GET", "/db/data/statements?order=calls&limit=1", BEARER).body)
    assert [(row["digest"], row["calls"]) for row in told["statements"]] == [("SELECT n FROM t WHERE id = ?", 3)]
    assert 'improved_db_pool_max_connections{pool="' in ask("GET", "/db/metrics", BEARER).body
    if mount:
        bare = ask("GET", "/db", BEARER)
        assert bare.status in {307, 308}
        assert bare.headers["location"].endswith("/db/")
    # who comes in
    assert ask("GET", "/db/data/overview", {}).status == 401
    assert ask("GET", "/db/data/overview", {"Authorization": "Bearer wrong"}).status == 401
    assert ask("GET", "/db/?token=wrong", {}).status == 401
    entered = ask("GET", f"/db/?token={TOKEN}", {})
    assert (entered.status, entered.headers["location"]) == (302, f"{mount}/")
    cookie, _, marks = entered.headers["set-cookie"].partition("; ")
    assert marks == f"Path={mount}/; HttpOnly; SameSite=Strict"
    assert TOKEN not in cookie
    assert ask("GET", "/db/data/overview", {"Cookie": f"other=1; {cookie}"}).status == 200
    # what is refused
    assert ask("GET", "/db/", {**BEARER, "Host": "evil.example.com"}).status == 421
    posted = ask("POST", "/db/data/overview", BEARER)
    assert (posted.status, posted.headers["allow"]) == (405, "GET, HEAD")
    for wrong in (
        "statements?limit=-1",
        "statements?limit=0",
        "statements?order=x",
        "overview?x=1",
        "events?after=x",
        "slow?" + "&" * 99,
    ):
        assert ask("GET", f"/db/data/{wrong}", BEARER).status == 400, wrong
    for absent in ("data/nothing", "nothing", "data/statements/0123"):
        assert ask("GET", f"/db/{absent}", BEARER).status == 404, absent


def test_nothing_is_shown_before_the_program_says_to_whom(db: ImprovedDb) -> None:
    """A page that is open by default is found by scanners."""
    with pytest.raises(ConfigError, match="say who may see it"):
        db.monitor()
    wrong: list[dict[str, Any]] = [
        {"token": "short"}, {"token": TOKEN, "public": True}, {"auth": 1}, {"public": True, "interval": 0},
        {"public": True, "allowed_hosts": "a.example.com"}, {"token": "sch\u00f6n" * 9},
    ]  # fmt: skip
    for arguments in wrong:
        with pytest.raises(ConfigError):
            db.monitor(**arguments)


def test_the_programs_own_check_is_asked(db: ImprovedDb) -> None:
    """It gets the headers; its error is an error of the page, and shows nothing."""
    asked: list[str] = []

    def auth(headers: Any) -> bool:
        asked.append(headers["x-user"])
        return bool(headers["x-user"] == "ann")

    monitor = db.monitor(auth=auth, allowed_hosts=["db.example.com"])

    def status(**headers: str) -> int:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return monitor.respond("GET", "/data/overview", "", {"host": "db.example.com:8443", **named}).status

    assert [status(x_user="ann"), status(x_user="bob"), status()] == [200, 403, 500]
    assert asked == ["ann", "bob"]


def test_every_answer_forbids_what_a_page_could_do(db: ImprovedDb) -> None:
    """No outside source, no frame, no form, nothing kept; only our own style and script, by their hashes."""
    monitor = db.monitor(public=True)
    for path in ("/", "/data/overview", "/nothing"):
        headers = dict(monitor.respond("GET", path, "", {"host": "localhost"}).headers)
        assert (headers["Cache-Control"], headers["X-Content-Type-Options"]) == ("no-store", "nosniff")
        assert headers["Content-Security-Policy"].startswith("default-src 'none'")
    policy = dict(monitor.respond("GET", "/", "", {"host": "localhost"}).headers)["Content-Security-Policy"]
    assert "unsafe" not in policy
    assert policy.count("'sha256-") == 2


def test_no_value_and_no_password_is_on_any_tab(db: ImprovedDb) -> None:
    """Neither from a statement's text, its arguments or the server's errors, nor a path of this machine."""
    monitor = db.monitor(public=True)
    overview = data(monitor, "overview")
    assert overview["tabs"] == ["overview", "pool", "statements", "slow", "errors", "borrowed", "events"]
    texts = [json.dumps(data(monitor, tab)) for tab in overview["tabs"]]
    texts += [json.dumps(data(monitor, f"statements/{row['id']}")) for row in data(monitor, "statements")["statements"]]
    assert not [text for text in texts if CANARY in text or os.path.dirname(os.path.dirname(__file__)) in text]
    settings = {row["name"]: row for row in data(monitor, "pool")["settings"]}
    assert settings["password"]["value"] == "***"


def test_the_tabs_tell_what_happened(db: ImprovedDb) -> None:
    """Statements, slow calls, errors with their meaning, events, settings with theirs."""
    monitor = db.monitor(public=True)
    rows = {row["digest"]: row for row in data(monitor, "statements")["statements"]}
    row = rows["SELECT n FROM t WHERE id = ?"]
    assert (row["calls"], row["rows"], row["errors"]) == (3, 0, 0)
    assert row["places"][0].startswith("tests/observe/test_page.py:")
    detail = data(monitor, f"statements/{row['id']}")
    assert sum(count for _, count in detail["histogram"]) == 3
    assert detail["explain"] == "EXPLAIN SELECT n FROM t WHERE id = ?"
    (slow,) = [event["details"] for event in data(monitor, "slow")]
    assert (slow["digest"], slow["attempts"]) == ("SELECT SLEEP(?), ?", 1)
    (error,) = data(monitor, "errors")
    assert (error["verdict"], error["code"], error["calls"]) == ("permanent", "1146", 1)
    assert "opened" in {event["kind"] for event in data(monitor, "events")}
    last = data(monitor, "events")[-1]["seq"]
    assert data(monitor, "events", f"after={last}") == []
    pool = data(monitor, "pool")
    settings = {each["name"]: each for each in pool["settings"]}
    assert set(PoolSettings.__dataclass_fields__) <= settings.keys()
    assert (settings["max_size"]["value"], settings["max_size"]["source"]) == ("2", "given")
    assert settings["idle_timeout"]["source"] == "default"
    assert all(each["meaning"] for each in [*pool["settings"], *pool["counters"]])


def test_borrowed_shows_the_statement_without_its_values_and_where_the_thread_is(db: ImprovedDb, rig: Rig) -> None:
    """Who holds the connections, and what for: also what is wrong, in words, while others wait."""
    monitor = db.monitor(public=True)
    callers = [Caller(lambda: db.execute_query("select sleep(30), %s", CANARY), name=f"caller {n}") for n in range(3)]
    eventually(lambda: db.stats().waiting == 1 and len(rig.running("sleep(30)")) == 2)
    rows = data(monitor, "borrowed")
    wrong = data(monitor, "overview")["wrong"]
    sessions = rig.running("sleep(30)")
    while rig.running("sleep(30)") or db.stats().waiting:
        for session in rig.running("sleep(30)"):
            rig.ask(f"kill query {session}")
    for caller in callers:
        caller.join()
    assert {row["statement"] for row in rows} == {"SELECT SLEEP(?), ?"}
    assert {row["connection"] for row in rows} == set(sessions)
    assert all(any("test_page.py" in frame and "lambda" in frame for frame in row["stack"]) for row in rows)
    assert wrong[0].startswith("2 of 2 connections are in use and 1 callers wait; the oldest has been out for ")


def test_the_charts_have_points_with_rates(db: ImprovedDb) -> None:
    """What was a second ago is there, also if no browser was."""
    monitor = db.monitor(public=True, interval=0.001)
    before = data(monitor, "history")
    for number in range(50):
        db.execute_query("select n from t where id = %s", number)
    point = data(monitor, "history")[-1]
    assert point["calls"] > 0
    assert 0 < point["p50"] <= point["p99"]
    assert point["used"] + point["idle"] >= 1
    assert point not in before
    assert data(monitor, "history", f"after={int(point['at'] * 1000) - 1}")[0] == point
    assert data(monitor, "history", "after=9999999999999") == []


def test_a_closed_pool_has_a_page_and_a_dropped_one_is_not_held(db: ImprovedDb) -> None:
    """The page says so."""
    monitor = db.monitor(public=True)
    db.close()
    assert data(monitor, "overview")["wrong"] == ["the pool is closed"]
    assert isinstance(monitor.respond("GET", "/data/borrowed", "", {"host": "localhost"}), Answer)
