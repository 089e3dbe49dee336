"""The floors and the rooms of the package, as ARCHITECTURE.md draws them: an import goes down, never sideways or up."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

import improved_db

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE: Final = Path(improved_db.__file__).parent

# The whole number is the floor; the fraction orders what stands on one floor. A new module gets its place here first.
FLOORS: Final = {
    "_version": 0.0, "errors": 0.0, "clock": 0.0, "options": 0.1, "sources": 0.2, "config": 0.3,
    "driver": 1.0, "durability": 1.0, "error_table": 1.0,
    "statement": 1.1, "session_state": 1.2, "verdict": 1.1, "matrix": 1.1, "outcome": 1.2,
    "testing.claim": 1.0, "testing.binary": 1.0, "testing.daemon": 1.1, "testing.template": 1.1,
    "testing.server": 1.2, "testing": 1.3,
    "slot": 2.0, "stats": 2.0, "rows": 2.0, "rack": 2.1,
    "wire": 2.0, "wire.support": 2.0, "wire.buffer": 2.0, "wire.packets": 2.0, "wire.template": 2.0, "wire.values": 2.0,
    "wire.cursors": 2.1, "wire.insert": 2.1, "wire.local_load": 2.1, "wire.decoders": 2.1, "wire.literals": 2.2,
    "wire.columns": 2.2, "wire.resultset": 2.3, "wire.results": 2.4, "wire.exchange": 2.5, "wire.handshake": 2.6,
    "wire.connection": 2.7, "wire.pymysql_driver": 2.8, "dbapi_driver": 2.8,
    "progress": 3.0, "bulk": 3.0, "retry": 3.0, "opening": 3.0, "lifecycle": 3.1, "pool": 3.2, "housekeeper": 3.3,
    "overflow": 3.3, "lent": 3.3,
    "executor": 3.4, "loading": 3.5, "streaming": 3.5, "outcomes": 3.5, "transaction": 3.6, "unit_of_work": 3.7,
    "service": 4.0, "db": 4.1,
    "compat": 5.0, "compat.pymysqlpool": 5.1, "compat.queuepool": 5.1, "compat.dropin": 5.2,
    "": 6.0,
}  # fmt: skip

#: An outside module lives in these rooms, and in whatever lies inside them.
ROOMS: Final = {
    "threading": {"slot", "lifecycle", "opening", "pool", "housekeeper", "retry", "testing"},
    "time": {"clock", "testing"},
    "tenacity": {"retry"},
    "pymysql": {"errors", "wire", "compat", "testing"},
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


def test_every_module_has_a_floor() -> None:
    """Who adds a module says where it stands; who removes one takes its line away."""
    assert set(FLOORS) == set(SOURCES)


@pytest.mark.parametrize("module", SOURCES)
def test_imports_go_down_and_outside_modules_stay_in_their_rooms(module: str) -> None:
    """What points one way can be read from the bottom, and a room can be rebuilt without the others."""
    for imported in imports(ast.parse(SOURCES[module].read_text(encoding="utf-8"))):
        top, _, inner = imported.partition(".")
        if top == "improved_db":
            target = inner if inner in SOURCES else inner.rpartition(".")[0]
            assert FLOORS[target] < FLOORS[module], f"{module} imports {target}, which is not below it"
        else:
            rooms = ROOMS.get(top, {module})
            assert {module, module.partition(".")[0]} & rooms, f"{top} does not belong in {module}"


@pytest.mark.parametrize("module", SOURCES)
def test_every_module_ends_its_docstring_with_its_room_sign(module: str) -> None:
    """What a module does not know is what a newcomer need not look for in it; an empty one has nothing to tell."""
    tree = ast.parse(SOURCES[module].read_text(encoding="utf-8"))
    sign = (ast.get_docstring(tree) or "").rpartition("\n\n")[2].replace("\n", " ")
    assert re.fullmatch(r"Knows .+\. Does not know .+\.", sign) or len(tree.body) == 1
