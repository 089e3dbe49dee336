"""The programs of Markdown pages: where they stand, what they say they print, and how they are run."""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import logging
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, NamedTuple

from improved_db import ImprovedDb

ROOT: Final = Path(__file__).parents[2]
PROGRAM: Final = re.compile(
    r"^```python\n(?P<code>.*?)^```\n(\n```text\n(?P<output>.*?)^```)?", re.DOTALL | re.MULTILINE
)


class Block(NamedTuple):
    """A program of a page.

    Attributes:
        code: Its text.
        line: Of the page, above the program.
        output: What the page says that it prints.
    """

    code: str
    line: int
    output: str


def text_of(page: str) -> str:
    """Return the text of a page, which is named from the root of the project."""
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(page: str) -> list[Block]:
    """Return the programs of a page in their order."""
    text = text_of(page)
    return [
        Block(found["code"], text.count("\n", 0, found.start("code")), found["output"] or "")
        for found in PROGRAM.finditer(text)
    ]


def missing(code: str) -> bool:
    """Whether a program begins with the import of a package that is not installed."""
    found = re.match(r"(?:import|from) (\w+)", code)
    return found is not None and find_spec(found[1]) is None


def run_apart(page: str) -> list[str]:
    """Run the programs of a page, as `run` does, in a process of their own."""
    program = f"import json, sys; from tests.server.pages import run; sys.stdout.write(json.dumps(run({page!r})))"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        return [f"{page}: {done.stderr}"]
    wrong: list[str] = json.loads(done.stdout)
    return wrong


def run(page: str) -> list[str]:
    """Run the programs of a page one after the other, each on what the earlier ones left.

    A program that begins with the import of a package that is not installed is left out.

    Returns:
        What is wrong: programs that print something else than the page says.
    """
    names: dict[str, Any] = {"__name__": "page"}
    wrong = []
    logs = [log for name, log in logging.root.manager.loggerDict.items() if name.startswith("improved_db")]
    before = [(log, log.level, log.handlers[:]) for log in logs if isinstance(log, logging.Logger)]
    try:
        for block in blocks(page):
            if missing(block.code):
                continue
            code = compile("\n" * block.line + block.code, page, "exec")
            with contextlib.redirect_stdout(io.StringIO()) as output:
                exec(code, names)
            if output.getvalue() != block.output:
                wrong.append(f"{page}, line {block.line + 1}, prints {output.getvalue()!r}, not {block.output!r}")
    finally:
        for value in names.values():
            if isinstance(value, ImprovedDb):
                value.close()
        for log, level, handlers in before:  # a page may set up logging
            log.setLevel(level)
            log.handlers[:] = handlers
    return wrong


def table(page: str, heading: str) -> dict[str, list[str]]:
    """Return the tables below a heading: by the name in the first column, the other columns."""
    below = text_of(page).partition(f"# {heading}\n")[2].partition("\n## ")[0]
    return {name: rest.split(" | ") for name, rest in re.findall(r"^\| `(\w+)` \| (.+) \|$", below, re.MULTILINE)}


def dead_links(page: str) -> list[str]:
    """Return the links of a page that lead neither to a heading of a page nor to a file of this project."""
    dead = []
    for target in re.findall(r"\]\(([^)]+)\)|^\[\w+\]: (.+)$", text_of(page), re.MULTILINE):
        path, _, heading = "".join(target).partition("#")
        file = (ROOT / page).parent / path if path else ROOT / page
        if path.startswith("https://"):
            continue
        if not file.exists() or (heading and heading not in headings(file)):
            dead.append(f"{page}: {''.join(target)}")
    return dead


def headings(file: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub and MyST make them."""
    titles = re.findall(r"^#+ (.+)$", file.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def badly_laid_out(page: str) -> list[str]:
    """Return the lines that are too long, and those that Python's prompt refuses: it ends a block at an empty line."""
    text = text_of(page).splitlines()
    flaws = [f"{page}, line {n}, is too long" for n, line in enumerate(text, 1) if len(line) > 120 and line[0] != "|"]
    goes_on = (" ", ")", "]", "}", "except", "else", "elif", "finally")
    for block in blocks(page):
        code = block.code.splitlines()
        for number, (before, line) in enumerate(itertools.pairwise(code), block.line + 2):
            if before.startswith(" ") and line and not line.startswith(goes_on):
                flaws.append(f"{page}, line {number}, follows a block without an empty line: {line}")
    return flaws
