"""The floors and the rooms of the package, as ARCHITECTURE.md draws them: an import goes down, never sideways or up."""

from __future__ import annotations

import ast
import re
from graphlib import TopologicalSorter
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

import improved_db

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE: Final = Path(improved_db.__file__).parent

#: The floor of each folder, and of each module that stands beside the folders.
FLOORS: Final = {
    "_version": 0, "errors": 0, "clock": 0, "logs": 0,
    "critical": 1, "records": 1, "settings": 1, "sql": 1,
    "failures": 2, "testing": 2, "notebook": 2,
    "wire": 3, "pool": 3, "rows": 3,
    "frames": 4, "cluster": 4,
    "verbs": 5,
    "execution": 6,
    "observe": 7, "assembly": 7,
    "db": 8,
    "compat": 9, "aio": 9, "aiosql": 9,
    "": 10,
    "cli": 11,
    "__main__": 12,
}  # fmt: skip

#: An outside module lives in these rooms, and in whatever lies inside them.
ROOMS: Final = {
    "argparse": {"cli"},
    "threading": {
        *("critical", "pool", "cluster", "execution.multiplex", "testing", "cli.bench", "observe.page.serving"),
    },
    "time": {"clock", "testing", "cli"},
    "tenacity": {"execution.retry"},
    "opentelemetry": {"observe.otel", "observe.otel_metrics"},
    "prometheus_client": {"observe.prometheus"},
    "pymysql": {"errors", "wire", "frames", "compat", "testing"},
}


def name_of(source: Path) -> str:
    """Return a module's name below the package: ``wire.buffer``, ``wire`` for a folder, nothing for the package."""
    return ".".join(source.relative_to(PACKAGE).with_suffix("").parts).removesuffix("__init__").removesuffix(".")


SOURCES: Final = {name_of(source): source for source in sorted(PACKAGE.rglob("*.py"))}


def imports(node: ast.AST) -> Iterator[str]:
    """Yield what is imported anywhere in *node*, in functions too; what TYPE_CHECKING guards are types, no imports."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
            yield from imports(ast.Module(child.orelse, []))
            continue
        if isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            assert child.module is not None, "imports are written in full"
            yield from (f"{child.module}.{alias.name}" for alias in child.names)
        yield from imports(child)


def imports_of(module: str) -> Iterator[tuple[str, str]]:
    """Yield what *module* imports: the package's modules, and the top names of outside ones with an empty module."""
    for imported in imports(ast.parse(SOURCES[module].read_text(encoding="utf-8"))):
        top, _, inner = imported.partition(".")
        if top == "improved_db":
            yield top, inner if inner in SOURCES else inner.rpartition(".")[0]
        else:
            yield top, ""


def folder(module: str) -> str:
    """Return the folder of a module; the module itself if it stands beside the folders."""
    return module.partition(".")[0]


def test_every_folder_has_a_floor() -> None:
    """Who adds a folder says where it stands; who removes one takes its line away."""
    assert set(FLOORS) == {folder(module) for module in SOURCES}


@pytest.mark.parametrize("module", SOURCES)
def test_imports_go_down_and_outside_modules_stay_in_their_rooms(module: str) -> None:
    """What points one way can be read from the bottom, and a room can be rebuilt without the others."""
    mine = folder(module)
    for top, target in imports_of(module):
        if top != "improved_db":
            rooms = ROOMS.get(top, {module})
            assert {module, mine} & rooms, f"{top} does not belong in {module}"
        elif folder(target) != mine:
            assert FLOORS[folder(target)] < FLOORS[mine], f"{module} imports {target}, which is not below it"


def test_no_circle_inside_a_folder() -> None:
    """A folder, too, can be read from its bottom."""
    within = {
        module: {
            target for top, target in imports_of(module) if top == "improved_db" and folder(target) == folder(module)
        }
        for module in SOURCES
    }
    TopologicalSorter(within).prepare()  # raises CycleError, with the circle


@pytest.mark.parametrize("module", SOURCES)
def test_every_module_ends_its_docstring_with_its_room_sign(module: str) -> None:
    """What a module does not know is what a newcomer need not look for in it; an empty one has nothing to tell."""
    tree = ast.parse(SOURCES[module].read_text(encoding="utf-8"))
    sign = (ast.get_docstring(tree) or "").rpartition("\n\n")[2].replace("\n", " ")
    assert re.fullmatch(r"Knows .+\. Does not know .+\.", sign) or len(tree.body) == 1
