"""docs/migrating.md is true: its calls and programs run, the tests it names exist, and no word of a door is missing."""

from __future__ import annotations

import ast
import contextlib
import inspect
import io
import re
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

import improved_db
from improved_db import ImprovedDb
from improved_db.compat import pymysqlpool
from improved_db.compat.pymysqlpool import ConnectionPool
from improved_db.compat.queuepool import PoolManager, QueuePool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PAGE = Path(__file__).parents[2] / "docs" / "migrating.md"
TEXT = PAGE.read_text(encoding="utf-8")

PROGRAM = re.compile(r"^```python\n(?P<code>.*?)^```\n(\n```text\n(?P<output>.*?)^```)?", re.DOTALL | re.MULTILINE)
TABLE = re.compile(
    r"^\| (?P<kind>Their call|Parameter|Event) \| Here \|\n\|---\|---\|\n(?P<rows>(?:\|.*\n)+)", re.MULTILINE
)
CODE = re.compile(r"`([^`]+)`")
NAMED_TEST = re.compile(r"\[`(test_\w+)`\]\[(\w+)\]")
LINK = re.compile(r"\]\(([^)]+)\)|^\[\w+\]: (.+)$", re.MULTILINE)


class Step(NamedTuple):
    """Something that the page says can be run.

    Attributes:
        line: Of the page.
        code: A program, or a call in a table.
        output: What a program is said to print.
        error: The error that a call is said to raise, if any.
    """

    line: int
    code: str
    output: str = ""
    error: str = ""


class Row(NamedTuple):
    """A row of a table: the table's kind, the line, what they type, what to type here."""

    kind: str
    line: int
    theirs: str
    here: str


def line_of(position: int) -> int:
    """Return the number of the line at *position*."""
    return TEXT.count("\n", 0, position) + 1


def rows() -> Iterator[Row]:
    """Yield the rows of all tables."""
    for table in TABLE.finditer(TEXT):
        for number, row in enumerate(table["rows"].splitlines(), line_of(table.start("rows"))):
            theirs, here = row.strip("| ").split(" | ")
            yield Row(table["kind"], number, theirs, here)


ROWS = list(rows())


def step(row: Row) -> Step | None:
    """Return what is to be run for a row: our call, or theirs where that is "the same"; None for mere words."""
    cell = row.theirs if row.here.startswith("the same") else row.here
    found = CODE.match(cell)
    if found is None:
        return None
    code = found[1]
    if row.kind != "Their call":  # a setting
        code = f"with ImprovedDb(config, {code}) as tried: tried.execute_query('select 1')"
    error = re.search(r"raises `([\w.]+)`", row.here)
    return Step(row.line, code, error=error[1] if error else "")


def steps() -> list[Step]:
    """Return everything that can be run, in the order of the page."""
    programs = [
        Step(line_of(found.start("code")), found["code"], found["output"] or "") for found in PROGRAM.finditer(TEXT)
    ]
    return sorted([*programs, *filter(None, map(step, ROWS))])


def missing(code: str) -> bool:
    """Whether a program begins with the import of a package that is not installed."""
    found = re.match(r"import (\w+)\n", code)
    return found is not None and find_spec(found[1]) is None


def run(one: Step, names: dict[str, Any]) -> None:
    """Run one step, and see that it does what the page says."""
    code = compile("\n" * (one.line - 1) + one.code, PAGE.name, "exec")
    expected = pytest.raises(eval(one.error, names)) if one.error else contextlib.nullcontext()
    with contextlib.redirect_stdout(io.StringIO()) as output, expected:
        exec(code, names)
    assert output.getvalue() == one.output


@pytest.fixture
def names(database: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """What the page's calls and programs find, and leave: all of it is closed at the end."""
    level = pymysqlpool.logger.level
    with ImprovedDb(database) as db:
        db.execute_query("create table user (uid int primary key, name varchar(20), age int)")
    found: dict[str, Any] = {"__name__": "migrating", "config": database}
    yield found
    pymysqlpool.logger.setLevel(level)
    for value in found.values():
        if isinstance(value, improved_db.Enabled):
            value.disable()
        elif isinstance(value, (ImprovedDb, ConnectionPool)):
            value.close()
        elif isinstance(value, (QueuePool, PoolManager)):
            value.dispose()


def test_every_call_and_program_does_what_the_page_says(names: dict[str, Any]) -> None:
    """People copy them one by one; later ones go on where earlier ones ended."""
    wrong = []
    for one in steps():
        if missing(one.code):
            continue
        try:
            run(one, names)
        except (Exception, pytest.fail.Exception) as error:
            wrong.append(f"{PAGE.name}, line {one.line}: {one.code.strip()}: {error!r}")
    assert not wrong, "\n".join(wrong)


def flaws(row: Row) -> list[str]:
    """Return what is wrong with one row."""
    found = []
    words = ("not offered: ", "always so", "lends", "heard by", "PyMySQL alone")
    if step(row) is None and not row.here.startswith(words):
        found.append(f"line {row.line} has neither a call to run nor a reason: {row.here}")
    for code in CODE.findall(row.theirs) if row.kind == "Their call" else ():
        try:
            ast.parse(code)
        except SyntaxError as error:
            found.append(f"line {row.line}: {code}: {error}")
    return found


def test_every_row_has_a_call_or_a_reason_and_its_calls_are_python() -> None:
    """A missing bracket is copied too."""
    assert [flaw for row in ROWS for flaw in flaws(row)] == []


def test_every_test_that_is_named_exists() -> None:
    """A claim without a test is a hope."""
    files = dict(re.findall(r"^\[(\w+)\]: (.+)$", TEXT, re.MULTILINE))
    named = NAMED_TEST.findall(TEXT)
    assert len(named) > 10
    for name, file in named:
        tree = ast.parse((PAGE.parent / files[file]).read_text(encoding="utf-8"))
        assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, f"{files[file]}::{name}"


def test_links_lead_somewhere() -> None:
    """To a heading of the page or a file of this project."""
    headings = {
        "#" + re.sub(r"[^\w -]", "", line.lower()).replace(" ", "-")
        for line in re.findall(r"^## (.+)$", TEXT, re.MULTILINE)
    }
    for pair in LINK.findall(TEXT):
        target = "".join(pair)
        assert target in headings if target.startswith("#") else (PAGE.parent / target).exists(), target


@pytest.mark.parametrize(
    "door",
    [
        ConnectionPool,
        ConnectionPool.get_connection,
        pymysqlpool.Connection.execute_query,
        QueuePool,
        PoolManager,
        improved_db.enable,
        ImprovedDb.create_pool,
        ImprovedDb.pool_get_connection,
    ],
)
def test_every_parameter_of_a_door_is_shown(door: Callable[..., Any]) -> None:
    """A word that is not on the page looks like one that is not understood."""
    code = " ".join(CODE.findall(" ".join(f"{row.theirs} {row.here}" for row in ROWS)))
    unnamed = {"self", "query", "args", "kwargs"} | ({"name", "creator"} if door in (QueuePool, PoolManager) else set())
    assert set(inspect.signature(door).parameters) - unnamed <= set(re.findall(r"\w+", code))


@pytest.mark.parametrize("door", [ConnectionPool, pymysqlpool.Cursor, QueuePool, PoolManager, improved_db.Enabled])
def test_every_method_of_a_door_is_shown(door: type) -> None:
    """As above; the two that doors need among themselves are not for users."""
    public = {name for name in vars(door) if not name.startswith("_")}
    assert public - {"borrow", "replace"} <= set(re.findall(r"\w+", TEXT))


@pytest.mark.parametrize(
    ("module", "owner"),
    [("dbutils.pooled_db", "PooledDB"), ("sqlalchemy.pool", "QueuePool"), ("sqlalchemy.pool", "Pool")],
)
def test_every_parameter_of_a_peer_has_its_row(module: str, owner: str) -> None:
    """Users who migrate have set some of them, and look for them; engines say ``pool_recycle`` and ``echo_pool``."""
    pytest.importorskip(module.partition(".")[0])
    theirs = inspect.signature(getattr(import_module(module), owner).__init__).parameters
    of_others = {"self", "args", "kw", "kwargs", "dialect", "events", "_dispatch"}
    shown = {word for row in ROWS if row.kind == "Parameter" for word in re.findall(r"\w+", row.theirs)}
    for name in set(theirs) - of_others:
        assert shown & {name, f"pool_{name}", f"{name}_pool"}, name
