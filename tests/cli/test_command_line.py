"""What all commands have in common: exit codes, one line for each error, clean data, no secret."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from runpy import run_path
from typing import TYPE_CHECKING

import pytest

from improved_db.cli.main import COMMANDS
from tests.canary import CANARY
from tests.cli.running import ROOT, environment, on_terminal, process
from tests.fakes import eventually

if TYPE_CHECKING:
    from pathlib import Path

    from improved_db import ImprovedDb
    from tests.cli.running import Shell

NOWHERE = "mysql://root@127.0.0.1:1/test"


def test_each_command_explains_itself(shell: Shell) -> None:
    """Help is data: it goes to standard output, and it is no error."""
    told = {name: shell.bare(name, "--help") for name in COMMANDS}
    assert {name: (ran.code, ran.err, ran.out.partition(" [")[0]) for name, ran in told.items()} == {
        name: (0, "", f"usage: improved-db {name}") for name in COMMANDS
    }
    assert all(f"\n    {name}" in shell.bare("--help").out for name in COMMANDS)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ((), "improved-db: a command is missing"),
        (("qury",), "improved-db: there is no command 'qury', did you mean query?"),
        (("-u", "mysql://h:s3cret@h/x", "ping"), "write the command first, then its options: improved-db ping -u ..."),
        (("--url=mysql://h:s3cret@h/x",), "write the command first, then its options: improved-db COMMAND --url ..."),
        (("-umysql://h:s3cret@h/x", "ping"), "write the command first, then its options: improved-db ping -u ..."),
        (("mysql://h:s3cret@h/x", "ping"), "there is no command; a URL stands behind -u: improved-db ping -u URL"),
        (("ping", "mysql://h:s3cret@h/x"), "a URL stands behind -u: improved-db ping -u URL"),
        (("ping", "--urll=mysql://h:s3cret@h/x"), "unknown option --urll, did you mean --url?"),
        (("query", "--limmit", "3", "select 1"), "unknown option --limmit, did you mean --limit?"),
        (("query", "select 1", "select 2"), "one argument too many: select 2"),
        (("query", "--limit", "-1", "select 1"), "argument --limit"),
        (("query",), "give statements, or - for standard input, or -f FILE"),
        (("query", "-f", "/nonexistent/a.sql"), "/nonexistent/a.sql: No such file or directory"),
        (("query", "-u", "mysql://h/x?antocomit=1", "select 1"), "did you mean 'autocommit'?"),
        (("query", "-u", NOWHERE, "delete from t"), "nothing was run; add --write to allow that"),
        (("query", "-u", NOWHERE, "-p", "x", "select 1"), "-p takes NAME=TEXT"),
        (("query", "-u", NOWHERE, "-P", "x:=[1]", "select 1"), "-P takes NAME:=JSON"),
        (("query", "--ask-password", "select 1"), "--ask-password needs a terminal; use --password-file"),
        (("query", "--password-file", "/nonexistent/p", "select 1"), "/nonexistent/p: No such file or directory"),
        (("load", "/nonexistent/a.csv", "t", "-u", NOWHERE), "/nonexistent/a.csv: No such file or directory"),
        (("load", "a.xyz", "t", "-u", NOWHERE), "what is a.xyz? --input csv, tsv, jsonl or parquet says it"),
        (("load", "a.csv", "t", "--chunks", "--method", "load-data"), "--chunks needs --method insert"),
    ],
)  # fmt: skip
def test_wrong_usage_is_one_line_and_exit_code_2(
    arguments: tuple[str, ...], line: str, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A script sees it by the code, a person by the line; nothing was sent."""
    monkeypatch.setattr("sys.stdin", open(os.devnull))  # noqa: SIM115  # no terminal, wherever the tests run
    ran = shell.bare(*arguments)
    sys.stdin.close()
    assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)
    assert line in ran.err
    assert "s3cret" not in ran.err


@pytest.mark.parametrize("command", ["ping", "query", "load", "bench"])
def test_a_server_that_is_not_there_is_exit_code_3(command: str, shell: Shell, tmp_path: Path) -> None:
    """Scripts that wait for a server tell this from a wrong statement."""
    (tmp_path / "a.csv").write_text("a\n1\n")
    more = {"query": ["select 1"], "load": [str(tmp_path / "a.csv"), "t"]}.get(command, [])
    ran = shell.bare(command, *more, "-u", NOWHERE)
    assert (ran.code, ran.out) == (3, "")
    assert ran.err.startswith(f"improved-db {command}: no connection to 127.0.0.1:1/test: 2003: Can't connect")
    assert ran.err.count("\n") == 1


def test_a_refused_login_is_exit_code_3_and_shows_no_password(shell: Shell, tmp_path: Path) -> None:
    """Neither the line nor the log of --verbose has it, with every frame of the error."""
    (tmp_path / "password").write_text(CANARY + "\n")
    ran = shell("query", "select 1", "--password-file", tmp_path / "password", "--verbose")
    assert ran.code == 3
    assert "1045: Access denied" in ran.err
    assert CANARY not in ran.err


def test_a_password_in_the_command_line_is_warned_about_and_not_repeated(shell: Shell) -> None:
    """Every user of the machine sees it in the list of processes."""
    ran = shell.bare("query", "select 1", "-u", NOWHERE.replace("root", f"root:{CANARY}"))
    assert "warning: every user of this machine can read the password in the command line" in ran.err
    assert CANARY not in ran.err


def test_an_error_of_the_server_is_exit_code_1(shell: Shell) -> None:
    """Nothing is wrong with usage or connection."""
    ran = shell("query", "select * from nothing")
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.startswith("improved-db query: 1146: Table 'test_")
    assert ran.err.count("\n") == 1


def test_a_reader_who_has_had_enough_is_no_error(shell: Shell, db: ImprovedDb) -> None:
    """``| head -1`` ends the command in silence."""
    db.execute_query("create table t (a varchar(100))")
    db.exec_many("insert into t values (%s)", ("x" * 100 for _ in range(20_000)))
    command = (
        f"{sys.executable} -m improved_db query 'select * from t' -u '{shell.url}' | head -1; echo ${{PIPESTATUS[0]}}"
    )
    ran = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, timeout=60, env=environment(), check=True
    )
    assert (ran.stdout, ran.stderr) == ("a\n0\n", "")


def test_a_standard_output_that_is_closed_is_one_line() -> None:
    """``>&-``: nothing can be shown, so nothing is asked."""
    command = f"{sys.executable} -m improved_db query 'select 1' -u {NOWHERE} >&-"
    ran = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, timeout=60, env=environment(), check=False
    )
    assert ran.returncode == 2
    assert ran.stderr.count("\n") == 1
    assert "standard output" in ran.stderr


def test_an_interrupt_is_exit_code_130(shell: Shell, db: ImprovedDb) -> None:
    """As shells have it for a program that Ctrl-C ends."""
    command = [sys.executable, "-m", "improved_db", "query", "select sleep(30)", "-u", shell.url]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment())
    asked = "select count(*) from information_schema.processlist where info like 'select sleep%'"
    eventually(lambda: db.fetch_value(asked))
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=60)
    assert (running.returncode, out, err) == (130, "", "improved-db query: interrupted\n")


def test_the_package_is_a_command_too() -> None:
    """Where the script is not on the path."""
    ran = process("--version")
    assert (ran.code, ran.out.split()[0], ran.err) == (0, "improved-db", "")


def test_a_terminal_gets_tables_in_colour_and_a_pipe_gets_neither(shell: Shell) -> None:
    """NO_COLOR, --color and a pipe are obeyed."""
    arguments = ("query", "select 1 as a", "-u", shell.url)
    assert on_terminal(*arguments).out == "\x1b[1ma\x1b[0m\n-\n1\n"
    assert on_terminal(*arguments, NO_COLOR="1").out == "a\n-\n1\n"
    assert on_terminal(*arguments, "--color", "never").out == "a\n-\n1\n"
    assert shell(*arguments[:2]).out == "a\n1\n"


def test_importing_the_package_imports_nothing_of_the_command_line() -> None:
    """A program that uses the library pays nothing for its commands."""
    script = (
        "import sys, improved_db; print([m for m in sys.modules if m.startswith('improved_db.cli') or m == 'argparse'])"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, env=environment(), check=True
    )
    assert ran.stdout == "[]\n"


def test_watching_goes_on_until_it_is_interrupted(shell: Shell) -> None:
    """Each round is a whole result."""
    command = [sys.executable, "-u", "-m", "improved_db", "query", "select 7", "--watch", "0.01", "-u", shell.url]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment())
    assert running.stdout is not None
    assert [running.stdout.readline() for _ in range(6)] == ["7\n"] * 6
    running.send_signal(signal.SIGINT)
    running.communicate(timeout=60)
    assert running.returncode == 130


def test_the_page_of_the_command_line_is_what_the_help_says() -> None:
    """`python scripts/command_line_page.py` writes it anew."""
    names = run_path(str(ROOT / "scripts" / "command_line_page.py"))
    assert names["PAGE"].read_text(encoding="utf-8") == names["page"]()
