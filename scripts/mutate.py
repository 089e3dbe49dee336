"""Change the code in small ways, one at a time, and list the changes that no test notices.

A sample, drawn anew with another seed, over the modules where a fault loses data or connections. Each mutant runs in a
copy of the project: first the tests of its module, then those that use it. One that survives needs a test, or a line in
tests/mutants.md that says why none can tell.

    python scripts/mutate.py --seed 7 --each 5 pool/rack.py
"""

from __future__ import annotations

import argparse
import ast
import os
import random
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT: Final = Path(__file__).resolve().parent.parent
ARGUED: Final = ROOT / "tests" / "mutants.md"

POOL: Final = ("tests/unit/test_pool_*.py", "tests/unit/test_overflow_*.py", "tests/unit/test_housekeeper.py")
RETRIES: Final = (
    "tests/unit/test_retry.py",
    "tests/server/test_retries.py",
    "tests/faults/test_same_cut.py",
    "tests/faults/test_outages.py",
)
MANY: Final = ("tests/server/test_exec_many.py", "tests/server/test_load_rows*.py", "tests/faults/test_lost_loads.py")
HISTORIES: Final = (
    "tests/properties/test_bulk_histories.py",
    "tests/faults/test_own_errors_of_loads.py",
    "tests/server/test_frames_in.py",
    "tests/server/test_fetch_verbs.py",
    "tests/observe/test_statements.py",
)

#: For each module, the tests of its own, and the ones that go over it.
TESTS: Final = {
    "pool/pool.py": (POOL, ("tests/properties/test_pool_machine.py", "tests/server/test_pool_*.py")),
    "pool/state.py": (POOL, ("tests/properties/test_pool_machine.py", "tests/server/test_pool_*.py")),
    "pool/rack.py": (("tests/unit/test_rack.py",), (*POOL, "tests/properties/test_pool_machine.py")),
    "failures/verdict.py": (("tests/unit/test_verdict.py", "tests/unit/test_error_table.py"), RETRIES),
    "failures/decide.py": (("tests/unit/test_decide.py",), RETRIES),
    "execution/retry.py": (("tests/unit/test_retry.py", "tests/unit/test_outcome.py"), RETRIES),
    "execution/bulk.py": (MANY, HISTORIES),
    "execution/chunks.py": (MANY, HISTORIES),
    "wire/literals.py": (("tests/unit/test_literals*.py",), ("tests/server/test_literals.py", *MANY)),
}

OTHER: Final[dict[type[ast.AST], Any]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.And: ast.Or,
    ast.Or: ast.And,
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Add,
}


class Mutant(NamedTuple):
    """One change of one module.

    Attributes:
        module: Where, below the package.
        line: Its line.
        start: Where the changed text begins, in bytes.
        end: Where it ends.
        source: The whole text.
        after: What stands there instead.
    """

    module: str
    line: int
    start: int
    end: int
    source: bytes
    after: str

    @property
    def text(self) -> bytes:
        """The whole text with the change."""
        return self.source[: self.start] + self.after.encode() + self.source[self.end :]

    def __str__(self) -> str:
        begin = self.source.rfind(b"\n", 0, self.start) + 1
        rest = self.source[self.end :].partition(b"\n")[0].decode()
        before = self.source[begin : self.end].decode() + rest
        after = self.source[begin : self.start].decode() + self.after + rest
        before, after = (" ".join(text.split()) for text in (before, after))
        return f"{self.module}: `{before}` -> `{after}`"


# --- making them -----------------------------------------------------------------------------------------------------


def mutants(module: str) -> Iterator[Mutant]:
    """Yield every change of a module that `changed` knows."""
    source = (ROOT / "improved_db" / module).read_bytes()
    lines = source.splitlines(keepends=True)
    starts = [sum(map(len, lines[:number])) for number in range(len(lines) + 1)]
    tree = ast.parse(source)
    skipped = {id(inner) for node in ast.walk(tree) for part in passed_over(node) for inner in ast.walk(part)}
    for node in ast.walk(tree):
        if id(node) in skipped or not isinstance(node, (ast.expr, ast.stmt)) or node.end_lineno is None:
            continue
        start = starts[node.lineno - 1] + node.col_offset
        end = starts[node.end_lineno - 1] + (node.end_col_offset or 0)
        for after in changed(node):
            yield Mutant(module, node.lineno, start, end, source, after)


def passed_over(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the parts of a node that are not changed: annotations, decorators, texts of errors and logs, assertions."""
    for name in ("annotation", "returns"):
        part = getattr(node, name, None)
        if isinstance(part, ast.AST):
            yield part
    yield from getattr(node, "decorator_list", ())
    told = isinstance(node, ast.Expr) and (
        isinstance(node.value, ast.Constant) or ast.unparse(node.value).startswith("logger.")
    )
    types = isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    if told or types or isinstance(node, (ast.Raise, ast.Assert, ast.JoinedStr)):
        yield node


def changed(node: ast.AST) -> Iterator[str]:
    """Yield what may stand for a node instead."""
    match node:
        case ast.Compare(left=left, ops=[op], comparators=right) if type(op) in OTHER:
            yield ast.unparse(ast.Compare(left, [OTHER[type(op)]()], right))
        case ast.BoolOp(op=op, values=values):
            yield f"({ast.unparse(ast.BoolOp(OTHER[type(op)](), values))})"
        case ast.BinOp(left=left, op=op, right=right) if type(op) in OTHER and not (is_text(left) or is_text(right)):
            yield f"({ast.unparse(ast.BinOp(left, OTHER[type(op)](), right))})"
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            yield f"({ast.unparse(operand)})"
        case ast.Constant(value=bool(value)):
            yield repr(not value)
        case ast.Constant(value=int(number) | float(number)):
            yield repr(number + 1)
        case ast.Assign(targets=[ast.Attribute() | ast.Subscript(), *_]) | ast.AugAssign() | ast.Delete():
            yield "pass"
        case ast.Expr(value=ast.Call()):
            yield "pass"
        case ast.IfExp(orelse=other):
            yield f"({ast.unparse(other)})"


def is_text(node: ast.AST) -> bool:
    """Say whether a node is a text in quotes."""
    return isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, (str, bytes)))


# --- trying them -----------------------------------------------------------------------------------------------------


class Workshop:
    """Copies of the project, one for each worker, in which one mutant at a time is tried."""

    def __init__(self, scratch: Path, number: int) -> None:
        self._free: SimpleQueue[Path] = SimpleQueue()
        junk = shutil.ignore_patterns(".git", ".venv*", "build", "out", "*_cache", ".hypothesis", "__pycache__")
        for worker in range(number):
            copy = scratch / str(worker)
            shutil.copytree(ROOT, copy, ignore=junk)
            self._free.put(copy)

    def survives(self, mutant: Mutant | None, groups: tuple[tuple[str, ...], ...]) -> bool:
        """Say whether no test fails; None: the code as it is."""
        copy = self._free.get()
        try:
            if mutant is not None:
                (copy / "improved_db" / mutant.module).write_bytes(mutant.text)
            return all(passes(copy, patterns) for patterns in groups)
        finally:
            if mutant is not None:
                (copy / "improved_db" / mutant.module).write_bytes(mutant.source)
            self._free.put(copy)


def passes(copy: Path, patterns: tuple[str, ...]) -> bool:
    """Run tests in a copy; if they take too long, they have failed, too."""
    files = [str(path) for pattern in patterns for path in sorted(copy.glob(pattern))]
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "--timeout=60", *files]
    environment = {**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        ran = subprocess.run(command, cwd=copy, env=environment, capture_output=True, timeout=600, check=False)
    except subprocess.TimeoutExpired:
        return False
    return ran.returncode == 0


def chosen(chance: random.Random, found: list[Mutant], number: int) -> list[Mutant]:
    """Return a sample in the order of the lines."""
    return sorted(chance.sample(found, min(number, len(found))), key=lambda mutant: mutant.start)


def main() -> int:
    """Try a sample; return 1 if something survives for which there is no argument."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("modules", nargs="*", help=f"of {', '.join(TESTS)}; all if none is given")
    parser.add_argument("--each", type=int, default=5, help="how many mutants of each module")
    parser.add_argument("--seed", type=int, default=random.randrange(1000), help="which sample; by default another one")
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args()
    chance = random.Random(given.seed)
    modules = given.modules or list(TESTS)
    sample = [mutant for module in modules for mutant in chosen(chance, list(mutants(module)), given.each)]
    argued = ARGUED.read_text(encoding="utf-8")
    print(f"seed {given.seed}: {len(sample)} mutants", flush=True)
    with tempfile.TemporaryDirectory() as scratch, ThreadPoolExecutor(given.workers) as workers:
        workshop = Workshop(Path(scratch), given.workers)
        ill = [module for module in modules if not workshop.survives(None, TESTS[module])]
        if ill:
            print(f"the tests fail without any change: {', '.join(ill)}")
            return 1
        noticed = old = new = 0
        lived = workers.map(lambda mutant: workshop.survives(mutant, TESTS[mutant.module]), sample)
        for mutant, alive in zip(sample, lived, strict=True):
            noticed, old = noticed + (not alive), old + (alive and str(mutant) in argued)
            if alive and str(mutant) not in argued:
                new += 1
                print(f"survives: {mutant}  (line {mutant.line})", flush=True)
    print(f"{noticed} noticed; {old} argued in {ARGUED.name}; {new} to look at")
    return bool(new)


if __name__ == "__main__":
    sys.exit(main())
