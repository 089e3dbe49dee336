"""``top`` and ``monitor``: what processes with a spool folder do, and what a server does."""

from __future__ import annotations

import contextlib
import http.client
import re
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from improved_db import ImprovedDb
from improved_db.cli.top import OfSpool, lines_of
from improved_db.observe.spool import Spool
from tests.canary import CANARY
from tests.cli.running import Shell, environment, on_terminal
from tests.fakes import Caller, eventually

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PROGRAM = """
import sys
from improved_db import ImprovedDb
with ImprovedDb(sys.argv[1], name="shop") as db:
    db.execute_query("create table if not exists pets (id int)")
    print("ready", flush=True)
    for line in sys.stdin:
        for number in range(100):
            db.execute_query("select id from pets where id = %s", number)
        print("done", flush=True)
"""


class Program:
    """A process with a pool whose statistics go into a folder."""

    def __init__(self, url: str, folder: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env=environment(IMPROVED_DB_SPOOL=str(folder)),
        )  # fmt: skip
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n"

    def work(self) -> None:
        """Run a hundred queries."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        assert self._process.stdout.readline() == "done\n"

    def end(self) -> None:
        """End, as programs do."""
        self._process.communicate(timeout=60)


@pytest.fixture(name="folder")
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("IMPROVED_DB_SPOOL", raising=False)
    folder = tmp_path / "spool"
    folder.mkdir(mode=0o700)
    return folder


@pytest.fixture(name="program")
def _program(shell: Shell, folder: Path) -> Iterator[Program]:
    program = Program(shell.url, folder)
    program.work()
    yield program
    program.end()


@pytest.mark.parametrize("command", ["top", "monitor"])
def test_a_folder_that_is_not_there_or_is_open_to_others_is_one_line(command: str, shell: Shell, folder: Path) -> None:
    """Nothing is created by looking."""
    for mode, path, line in ((0o700, folder / "nothing", "no such folder"), (0o755, folder, "mode 0755")):
        folder.chmod(mode)
        ran = shell.bare(command, "--spool", path)
        assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)
        assert line in ran.err
    assert list(folder.iterdir()) == []


def test_monitor_without_a_folder_or_with_an_open_address_is_refused(shell: Shell, folder: Path) -> None:
    """It says what to give."""
    assert "which folder? --spool DIR, or $IMPROVED_DB_SPOOL" in shell.bare("monitor").err
    ran = shell.bare("monitor", "--spool", folder, "--host", "0.0.0.0")
    assert (ran.code, "needs --allowed-host NAME, too" in ran.err) == (2, True)


def test_monitor_serves_what_the_processes_did(program: Program, folder: Path) -> None:
    """One address with a token on standard output; Ctrl-C ends it, and is no error."""
    command = [sys.executable, "-m", "improved_db", "monitor", "--spool", str(folder)]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment())
    assert running.stdout is not None
    address = re.fullmatch(r"http://127.0.0.1:(\d+)/\?token=(\S{32})\n", running.stdout.readline())
    assert address is not None
    program.end()

    def get(path: str) -> Any:
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", int(address[1]), timeout=30)) as connection:
            connection.request("GET", path, headers={"Authorization": f"Bearer {address[2]}"})
            answer = connection.getresponse()
            assert answer.status == 200, answer.read()
            return answer.read().decode()

    statements = get("/data/statements")
    assert '"summary":"select pets"' in statements
    assert '"calls":100,' in statements
    overview = get("/data/overview")
    assert '"tabs":["overview","pool","statements","errors"]' in overview
    assert '"used":0,' in overview
    assert "shop: opened_total" in get("/data/pool")
    assert get("/data/errors") == "[]"
    running.send_signal(signal.SIGINT)
    running.communicate(timeout=60)
    assert running.returncode == 0


def test_top_shows_what_ran_in_the_last_interval(program: Program, shell: Shell, folder: Path) -> None:
    """What ran before is no part of it."""
    assert "select pets" not in shell.bare("top", "--spool", folder, "-i", "0.05").out
    source = OfSpool(Spool(str(folder)))
    program.work()
    program.end()
    lines = lines_of(source.frame(), 100)
    assert re.fullmatch(
        r"used 0/\d+  waiting 0  calls/s \d+\.\d  errors/s 0.0  retries/s 0.0  p50 .* ms  p99 .* ms", lines[0]
    )
    assert lines[2].split() == ["share", "%*", "calls/s", "mean", "ms", "errors", "statement"]
    assert any(line.endswith("select pets") for line in lines)


def test_top_of_a_server_shows_its_sessions_without_values(shell: Shell, db: ImprovedDb) -> None:
    """For programs without a spool, and for other programs."""
    sleeper = Caller(lambda: db.execute_query("select sleep(30), %s", CANARY))
    asked = "select id from information_schema.processlist where info like 'select sleep(30)%'"
    with ImprovedDb(shell.url) as other:
        eventually(lambda: other.fetch_column(asked))
        ran = shell("top", "-i", "0.05")
        for number in other.fetch_column(asked):
            other.execute_query(f"kill query {number}")
    sleeper.join()
    assert ran.code == 0
    assert ran.out.startswith("sessions ")
    assert any(line.endswith("SELECT SLEEP(?), ?") for line in ran.out.splitlines())
    assert CANARY not in ran.out


def test_top_writes_a_line_for_each_interval(shell: Shell) -> None:
    """For a log; the names stand above."""
    ran = shell("top", "--stat", "-i", "0.02", "--count", "3")
    lines = ran.out.splitlines()
    assert (ran.code, len(lines)) == (0, 4)
    assert lines[0].split() == ["time", "sessions", "running", "questions/s", "slow/s", "locks/s"]
    assert all(re.match(r"\d\d:\d\d:\d\d ", line) for line in lines[1:])


def test_top_on_a_terminal_obeys_keys_and_leaves_it_as_it_was(shell: Shell) -> None:
    """S sorts, space pauses, q ends; the screen that was there comes back."""
    ran = on_terminal("top", "-i", "30", "-u", shell.url, typed="s q")
    assert ran.code == 0
    assert "\x1b[?1049h\x1b[?25l\x1b[Hsessions " in ran.out
    assert "seconds*" in ran.out
    assert "id*" in ran.out
    assert "paused   space + - s q" in ran.out
    assert ran.out.endswith("\x1b[?25h\x1b[?1049l")


def test_top_of_a_server_that_is_not_there_is_exit_code_3(shell: Shell) -> None:
    """As for every other command."""
    ran = shell.bare("top", "-u", "mysql://root@127.0.0.1:1/test")
    assert (ran.code, ran.out, ran.err.count("\n")) == (3, "", 1)
