"""``improved-db playground``: a private server with a sample table, and a prompt; both are gone at the end.

Knows prompts. Does not know how a server is started.
"""

from __future__ import annotations

import code
import contextlib
import sys
import time
from typing import TYPE_CHECKING

from improved_db import ImprovedDb, ImprovedDbError
from improved_db.cli.ending import Exit, failure_of
from improved_db.cli.formats import write_rows
from improved_db.cli.query import statements_of
from improved_db.testing import TemporaryServer
from improved_db.wire.exchange import DriverError

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from improved_db.cli.console import Console

HELP = "Start a private server with a sample table, and give a prompt of Python or SQL; all is gone at the end."
USAGE = "[options]"
_SAMPLE = (
    "create table pets (id int auto_increment primary key, name varchar(40) not null, kind varchar(20), born date)",
    "insert into pets (name, kind, born) values ('Ada', 'cat', '2019-05-01'), ('Rex', 'dog', '2021-11-12')",
    "insert into pets (name, kind) values ('Kiwi', 'parrot')",
)


def add_arguments(parser: ArgumentParser) -> None:
    """Add the command's own options."""
    parser.add_argument("--sql", action="store_true", help=r"a prompt of SQL: end with ; or \G; \timing, \q")


def run(args: Namespace, console: Console) -> int:
    """Start the server, and prompt until the end of the input."""
    with TemporaryServer(tcp=True) as server, ImprovedDb(server.url) as db:
        for statement in _SAMPLE:
            db.execute_query(statement)
        console.say(f"{server.version} at {server.url}, with the table pets; gone when you leave")
        with contextlib.suppress(ImportError):
            import readline  # noqa: F401, PLC0415  # gives input() its history and its keys
        if args.sql:
            _SqlPrompt(db, console).loop()
            return Exit.OK
        banner = 'db is an ImprovedDb: db.execute_query("select * from pets"); Ctrl-D ends'
        prompt = code.InteractiveConsole({"db": db, "server": server})
        with contextlib.redirect_stderr(console.err):
            prompt.interact(banner, exitmsg="")
    return Exit.OK


class _SqlPrompt:
    """Reads statements, runs them, and goes on after an error."""

    def __init__(self, db: ImprovedDb, console: Console) -> None:
        self._db = db
        self._console = console
        self._timing = False

    def loop(self) -> None:
        r"""Prompt until ``\q`` or the end of the input."""
        text = ""
        while True:
            line = self._read("sql> " if not text else "  -> ")
            if line is None or line.strip() == r"\q":
                return
            if line.strip() == r"\timing":
                self._timing = not self._timing
                self._console.say(f"timing is {'on' if self._timing else 'off'}")
                continue
            text += line + "\n"
            if text.rstrip().endswith((";", r"\G")):
                self._run(text.strip())
                text = ""
            elif not text.strip():
                text = ""

    def _read(self, prompt: str) -> str | None:
        if sys.stdin.isatty():
            try:
                return input(prompt)
            except EOFError:
                return None
        return sys.stdin.readline().rstrip("\n") or None

    def _run(self, text: str) -> None:
        form = "vertical" if text.endswith(r"\G") else "table"
        try:
            for statement in statements_of(text.removesuffix(r"\G")):
                began = time.monotonic()
                result = self._db.execute_query(statement.text)
                if result.columns:
                    write_rows(self._console, form, result.columns, result)
                told = f"{result.rowcount:,} rows {'returned' if result.columns else 'affected'}"
                self._console.say(told + (f" in {time.monotonic() - began:.3f} s" if self._timing else ""))
        except (ImprovedDbError, DriverError) as error:
            self._console.say(str(failure_of(error)), "red")
