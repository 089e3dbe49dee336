"""The command line, run in this process or in one of its own, and what came of it.

Knows how a command is called. Does not know the commands.
"""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import improved_db
from improved_db.cli.main import main

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pytest

ROOT = Path(improved_db.__file__).parents[1]


class Ran(NamedTuple):
    """How a command ended.

    Attributes:
        code: Its exit code.
        out: What it wrote to standard output.
        err: What it wrote to standard error.
    """

    code: int
    out: str
    err: str


class Shell:
    """Runs commands in this process.

    Attributes:
        url: The server that they talk to.
    """

    def __init__(self, url: str, capsys: pytest.CaptureFixture[str]) -> None:
        self.url = url
        self._capsys = capsys

    def __call__(self, command: str, *arguments: object) -> Ran:
        """Run a command on the server."""
        return self.bare(command, *arguments, "--url", self.url)

    def bare(self, *arguments: object) -> Ran:
        """Run a command without an address."""
        self._capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        told = self._capsys.readouterr()
        return Ran(code, told.out, told.err)


def url_of(options: Mapping[str, Any], **more: Any) -> str:
    """Return the URL of a server by TCP."""
    query = "&".join(f"{name}={value}" for name, value in more.items())
    return f"mysql://root@{options['host']}:{options['port']}/{options['database']}?{query}"


def process(*arguments: str, stdin: str | None = None, **more: Any) -> Ran:
    """Run a command as ``python -m improved_db``."""
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-m", "improved_db", *arguments],
        capture_output=True, text=True, timeout=60, input=stdin, env=environment(**more), check=False,
    )  # fmt: skip
    return Ran(ran.returncode, ran.stdout, ran.stderr)


def environment(**more: str) -> dict[str, str]:
    """Return the environment of a command: this one's, without an address, and with the package on the path."""
    kept = {name: value for name, value in os.environ.items() if name not in {"IMPROVED_DB_URL", "NO_COLOR"}}
    return {**kept, "PYTHONPATH": str(ROOT), "HOME": "/nonexistent", "TERM": "xterm", **more}


def on_terminal(*arguments: str, typed: str = "", **more: str) -> Ran:
    """Run a command as a person does who sits at a terminal; standard error is what it shows, too."""
    leader, follower = pty.openpty()
    with os.fdopen(leader, "rb", closefd=True) as screen:
        process_ = subprocess.Popen(
            [sys.executable, "-m", "improved_db", *arguments],
            stdin=follower, stdout=follower, stderr=follower, env=environment(**more), start_new_session=True,
        )  # fmt: skip
        os.close(follower)
        if typed:
            os.write(leader, typed.encode())
        seen = b""
        try:
            while select.select([leader], [], [], 60)[0] and (part := os.read(leader, 65536)):
                seen += part
            process_.kill()  # it is silent for too long, or has closed its terminal
        except OSError:  # a terminal without a process
            pass
        del screen
        return Ran(process_.wait(timeout=60), seen.decode().replace("\r\n", "\n"), "")
