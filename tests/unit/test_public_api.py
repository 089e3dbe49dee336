"""The public names: the ones the contract has, each documented and typed."""

from __future__ import annotations

import ast
import inspect
import re
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import pymysql

import improved_db
from improved_db import errors
from improved_db.aio import AsyncImprovedDb, AsyncStream, AsyncTransaction
from improved_db.compat import dropin, pymysqlpool, queuepool
from improved_db.testing import ServerBinary, TemporaryServer, find_server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import ModuleType

NAMES = {
    "Borrowed",
    "Connection",
    "Enabled",
    "Event",
    "Finding",
    "Handle",
    "Host",
    "FailoverReport",
    "HostStatus",
    "Identifier",
    "ImprovedDb",
    "Listener",
    "Monitor",
    "Pipeline",
    "PoolStats",
    "Reader",
    "RetryPolicy",
    "Rows",
    "SQL",
    "Seen",
    "Statement",
    "Statements",
    "Stream",
    "Transaction",
    "Verdict",
    "Watch",
    "__version__",
    "compiled",
    "enable",
}
ERRORS = {
    name: error
    for name, error in vars(errors).items()
    if inspect.isclass(error) and issubclass(error, errors.ImprovedDbError)
}
#: The doors, and what is behind each: whatever it defines without an underscore.
DOORS = {
    dropin: {"Enabled", "enable"},
    pymysqlpool: {
        "CURSOR_WORDS",
        "Connection",
        "ConnectionPool",
        "ConnectionPoolSingleton",
        "Cursor",
        "DictCursor",
        "GetConnectionFromPoolError",
        "ReturnConnectionToPoolError",
        "WORDS",
        "logger",
    },
    queuepool: {"PoolManager", "QueuePool"},
}
BEHIND_DOORS = [getattr(door, name) for door, names in DOORS.items() for name in sorted(names)]
CLASSES = [
    *(value for name in improved_db.__all__ if inspect.isclass(value := getattr(improved_db, name))),
    *(value for value in BEHIND_DOORS if inspect.isclass(value)),
    TemporaryServer,
    ServerBinary,
    AsyncImprovedDb,
    AsyncTransaction,
    AsyncStream,
]

#: The parents that let ``except`` clauses written for PyMySQL, or for Python, keep working.
PARENTS = {
    "AlreadyEnabled": RuntimeError,
    "ConfigError": ValueError,
    "LoanSpent": pymysql.err.OperationalError,
    "OutcomeUnknown": pymysql.err.OperationalError,
    "PoolClosed": pymysql.err.OperationalError,
    "PoolTimeout": TimeoutError,
    "ServerRefused": pymysql.err.OperationalError,
    "StatementError": pymysql.err.ProgrammingError,
    "TooManyWaiting": pymysql.err.OperationalError,
    "TransactionEnded": pymysql.err.OperationalError,
    "TransactionLost": pymysql.err.OperationalError,
    "TransactionRolledBack": pymysql.err.OperationalError,
}


def functions() -> Iterator[tuple[str, Callable[..., Any]]]:
    """Yield every public function, and every public method and property written in this package."""
    yield "find_server", find_server
    yield "enable", improved_db.enable
    for cls in CLASSES:
        owner = f"{cls.__module__}.{cls.__name__}".removeprefix("improved_db.")
        for base in cls.__mro__:
            if not base.__module__.startswith("improved_db"):
                continue
            for name, value in vars(base).items():
                function: Any = value.fget if isinstance(value, property) else getattr(value, "__func__", value)
                ours = inspect.isfunction(function) and function.__module__.startswith("improved_db")
                if ours and (name == "__init__" or not name.startswith("_")):
                    yield f"{owner}.{name}", function


FUNCTIONS = dict(functions())


def test_the_package_exports_what_the_contract_names_and_every_error() -> None:
    """A name that is missing cannot be used; one too many has to be kept for ever."""
    assert set(improved_db.__all__) == NAMES | set(ERRORS)
    assert improved_db.__all__ == sorted(improved_db.__all__, key=lambda name: (not name.isupper(), name))
    assert all(hasattr(improved_db, name) for name in improved_db.__all__)


def test_doors_have_the_names_that_their_users_know() -> None:
    """As above: a name without an underscore is a promise."""
    found: dict[ModuleType, set[str]] = {}
    for door in DOORS:
        defined: set[str] = set()
        for node in ast.parse(inspect.getsource(door)).body:
            targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", node)]
            defined |= {str(getattr(target, "name", getattr(target, "id", "_"))) for target in targets}
        found[door] = {name for name in defined if not name.startswith("_")}
    assert found == DOORS


def test_the_pool_that_overflows_is_not_public() -> None:
    """The doors stand on it; its own words may change with them."""
    shown = [str(inspect.signature(function)) for function in FUNCTIONS.values()]
    assert not any("overflow" in name.lower() for name in [*improved_db.__all__, *shown])


def test_version_is_one_that_installers_understand() -> None:
    """It is read by setup.py, and compared by pip."""
    assert re.fullmatch(r"\d+\.\d+\.\d+", improved_db.__version__)


def test_errors_are_caught_by_the_clauses_people_have() -> None:
    """Programs for PyMySQL have ``except pymysql.err.OperationalError`` in many places."""
    expected = [(name, wanted) for name, parent in PARENTS.items() for wanted in (parent, improved_db.ImprovedDbError)]
    assert [f"{name} is no {wanted}" for name, wanted in expected if not issubclass(ERRORS[name], wanted)] == []


def test_every_public_class_is_documented() -> None:
    """help() is always at hand; a text that begins with ``Name(`` is the one that dataclass writes by itself."""
    texts = {cls.__name__: cls.__doc__ or "" for cls in CLASSES}
    assert [name for name, text in texts.items() if not text or text.startswith(f"{name}(")] == []


def test_every_public_function_is_documented() -> None:
    """What overrides a method of PyMySQL's may leave that to PyMySQL; nothing else may."""
    mute = [name for name, function in FUNCTIONS.items() if not inspect.getdoc(function)]
    assert [name for name in mute if not name.endswith("__init__")] == []


def test_every_public_function_is_typed() -> None:
    """An untyped one silences a type checker in the whole of its caller's expression."""
    untyped = []
    for name, function in FUNCTIONS.items():
        signature = inspect.signature(function)
        bare = [p.name for p in signature.parameters.values() if p.annotation is p.empty]
        untyped += [f"{name}: {word}" for word in bare if word not in {"self", "cls"}]
        if signature.return_annotation is signature.empty and not name.endswith("__init__"):
            untyped.append(f"{name}: what it returns")
    assert untyped == []


def test_type_checkers_are_told_that_the_package_is_typed() -> None:
    """Without the marker they ignore every annotation of an installed package."""
    assert files(improved_db).joinpath("py.typed").is_file()
