"""``ping``, ``bench``, ``config explain`` and ``playground``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.canary import CANARY
from tests.cli.running import process

if TYPE_CHECKING:
    from pathlib import Path

    from improved_db import ImprovedDb
    from improved_db.testing import TemporaryServer
    from tests.cli.running import Shell


def told(out: str, key: str = "what", value: str = "value") -> dict[str, Any]:
    """Return what a command wrote as JSON."""
    return {row[key]: row[value] for row in json.loads(out)}


def test_ping_says_what_the_server_is_and_how_long_each_step_takes(
    shell: Shell, server: TemporaryServer, database: dict[str, Any]
) -> None:
    """The first question of every support case."""
    ran = shell("ping", "--format", "json")
    found = told(ran.out)
    assert (ran.code, ran.err) == (0, "")
    assert (found["version"], found["database"]) == (server.version, database["database"])
    assert (found["server"], found["TLS"]) == (f"127.0.0.1:{server.port}/{database['database']}", "no")
    steps = ("name to address", "TCP", "connect and log in", "SELECT 1")
    assert all(found[step].endswith(" ms") for step in steps)


def test_ping_by_a_socket_has_no_way_to_time(shell: Shell, server: TemporaryServer) -> None:
    """There is no name and no TCP."""
    found = told(
        shell.bare("ping", "--format", "json", "-u", f"mysql://root@localhost/?unix_socket={server.socket}").out
    )
    assert "TCP" not in found
    assert found["version"] == server.version


def test_ping_measures_latency_beside_this_machines_own(shell: Shell) -> None:
    """Who sees only the pings blames the network for a busy machine."""
    lines = json.loads(shell("ping", "--latency", "--count", 2, "--format", "json").out)
    assert [line["what"] for line in lines] == ["this machine alone", "round 1", "round 2"]
    assert all(0 < float(line["min"]) <= float(line["p50"]) <= float(line["max"]) for line in lines[1:])


def test_ping_waits_for_a_server_that_starts(shell: Shell) -> None:
    """As a script does before its migrations; the time it is given is an end."""
    ran = shell.bare("ping", "--wait", "0.2", "-u", "mysql://root@127.0.0.1:1/test")
    assert (ran.code, ran.out, ran.err.count("\n")) == (3, "", 1)
    assert shell("ping", "--wait", "10").code == 0


def test_bench_counts_what_the_server_ran(shell: Shell, db: ImprovedDb) -> None:
    """Queries a second, how long they took, and the share of waiting for connections."""
    asked = "show global status like 'Com_select'"
    before = int(db.execute_query(asked)[0][1])
    ran = shell("bench", "-t", 2, "-s", "0.3", "--pool", 1, "--format", "json")
    found = told(ran.out)
    assert (ran.code, ran.err, found["threads"], found["connections"]) == (0, "", 2, 1)
    assert 0 < found["queries"] <= int(db.execute_query(asked)[0][1]) - before
    assert found["p50 ms"] <= found["p99 ms"] <= found["p99.9 ms"]
    bars = json.loads(shell("bench", "-t", 1, "-s", "0.1", "--histogram", "--format", "json").out)
    assert max(bar["share"].count("#") for bar in bars) == 40


def test_bench_ends_with_the_first_error(shell: Shell) -> None:
    """And changes nothing unless that is allowed."""
    ran = shell("bench", "-t", 2, "-s", "30", "--sql", "select * from nothing")
    assert (ran.code, ran.out, ran.err.count("\n")) == (1, "", 1)
    assert shell("bench", "--sql", "delete from t").code == 2


def test_config_explains_where_each_setting_comes_from(shell: Shell, tmp_path: Path) -> None:
    """File and line, variable or option; what is secret is not shown."""
    home = tmp_path / "my.cnf"
    home.write_text(f"# mine\n[client]\nhost = db.example.com\n\npassword = {CANARY}\n[other]\nport=1\n")
    (tmp_path / "password").write_text(CANARY)
    url = f"mysql://ann@/shop?read_default_file={home}&max_size=4"
    ran = shell.bare("config", "explain", "-u", url, "--format", "json")
    assert CANARY not in ran.out + ran.err
    assert {row["setting"]: (row["value"], row["source"]) for row in json.loads(ran.out)} == {
        "database": ("shop", "the URL"),
        "host": ("db.example.com", f"{home}:3 [client]"),
        "max_size": ("4", "the URL"),
        "password": ("***", f"{home}:5 [client]"),
        "user": ("ann", "the URL"),
    }
    given = shell.bare("config", "explain", "-u", url, "--password-file", tmp_path / "password", "--format", "json")
    assert told(given.out, "setting", "source")["password"] == "keyword"
    every = told(shell.bare("config", "explain", "-u", url, "--all", "--format", "json").out, "setting", "source")
    assert (every["idle_timeout"], every["retry"], every["autocommit"]) == ("default", "default", "default")


def test_config_explains_the_environment_and_the_home(tmp_path: Path) -> None:
    """Which of the two a program takes is what people get wrong."""
    (tmp_path / ".my.cnf").write_text("[client]\nuser=bob\n")
    home = {"HOME": str(tmp_path)}
    assert process("config", "explain", **home).out == "setting,value,source\nuser,bob,~/.my.cnf:2 [client]\n"
    ran = process("config", "explain", **home, IMPROVED_DB_URL=f"mysql://ann:{CANARY}@h")
    assert ran.out.splitlines()[1:] == [f"{name},IMPROVED_DB_URL" for name in ("host,h", "password,***", "user,ann")]
    ran = process("config", "explain", **home, MYSQL_HOST="h", MYSQL_PWD=CANARY)
    assert ran.out.splitlines()[1:] == ["host,h,MYSQL_HOST", "password,***,MYSQL_PWD", "user,bob,~/.my.cnf:2 [client]"]
    ran = process("config", "explain", **home, DATABASE_URL="mysql://h", MYSQL_USER="eve")
    assert ran.out.splitlines()[1:] == ["host,h,DATABASE_URL"]
    wrong = process("config", "explain", "-u", "mysql://h/?max_size=0")
    assert (wrong.code, wrong.out, wrong.err.count("\n")) == (2, "", 1)


def test_playground_gives_python_a_database_and_takes_it_away() -> None:
    """For a try without an install."""
    ran = process("playground", stdin="print(db.fetch_value('select count(*) from pets'))\n")
    assert (ran.code, "3\n" in ran.out) == (0, True)
    assert "with the table pets; gone when you leave" in ran.err


def test_playground_gives_a_prompt_of_sql() -> None:
    r"""Statements over several lines, \G, \timing, and errors that end nothing."""
    typed = "select name\nfrom pets where id = 1;\nselect * from nothing;\n\\timing\nselect 7 as a\\G\n\\q\nselect 8;\n"
    ran = process("playground", "--sql", stdin=typed)
    assert (ran.code, ran.out) == (0, "name\n----\nAda\n*** row 1 ***\na: 7\n")
    assert "1146: Table" in ran.err
    assert "timing is on\n1 rows returned in 0." in ran.err


def test_playground_without_a_server_says_what_to_install() -> None:
    """One line, with the command."""
    ran = process("playground", PATH="/nonexistent", IMPROVED_DB_SERVER="/nonexistent/mysqld")
    assert (ran.code in {2, 3}, ran.out, ran.err.count("\n")) == (True, "", 1)


@pytest.fixture(autouse=True)
def _no_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("IMPROVED_DB_URL", raising=False)
