"""Fixtures for pytest: a private server for the run, a database or a transaction of its own for each test.

pytest loads this module in every run where improved_db is installed. It stands beside the package, so that runs that
use none of the fixtures do not import the package, and tools that measure it see its import.

Knows pytest, and what it borrows from improved_db when a fixture is first used. Does not know what tests do.
"""

from __future__ import annotations

import contextlib
import itertools
import os
from typing import TYPE_CHECKING, Any, Protocol

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from improved_db import ImprovedDb, Transaction

    class Server(Protocol):
        """What `improved_db_server` returns, if a program has one of its own."""

        @property
        def url(self) -> str:
            """Where it is, and an account that may create databases."""

    #: What fills an empty database: statements, or a function.
    Schema = Iterable[str] | Callable[[ImprovedDb], object]

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def improved_db_server() -> Iterator[Server]:
    """A private server for the whole run, started from the installed binary: an `improved_db.testing.TemporaryServer`.

    With pytest-xdist each worker has one of its own. Override it in your conftest.py for another server, with an object
    that has a ``url``; only databases that these fixtures created are touched there.
    """
    from improved_db.testing import TemporaryServer  # noqa: PLC0415  # only runs that use it import the package

    with TemporaryServer() as server:
        yield server


@pytest.fixture(scope="session")
def improved_db_schema() -> Schema:
    """What each new database begins with: statements, or a function that gets an `ImprovedDb`; override it."""
    return ()


@pytest.fixture(scope="session")
def improved_db_options() -> dict[str, Any]:
    """Options of each `ImprovedDb` of these fixtures, besides the address; override it."""
    return {}


@pytest.fixture
def improved_db(
    improved_db_server: Server, improved_db_schema: Schema, improved_db_options: dict[str, Any]
) -> Iterator[ImprovedDb]:
    """An `ImprovedDb` on a fresh database with the schema; the database is dropped after the test."""
    with _database(improved_db_server, improved_db_schema, improved_db_options) as db:
        yield db


@pytest.fixture(scope="session")
def _improved_db_of_the_run(
    improved_db_server: Server, improved_db_schema: Schema, improved_db_options: dict[str, Any]
) -> Iterator[ImprovedDb]:
    with _database(improved_db_server, improved_db_schema, improved_db_options) as db:
        yield db


@pytest.fixture
def improved_db_transaction(_improved_db_of_the_run: ImprovedDb) -> Iterator[Transaction]:
    """A transaction that is rolled back after the test, in one database for the whole run.

    It is quicker than a database for each test. What rolls nothing back, the test must not do: DDL, COMMIT, tables
    without transactions. AUTO_INCREMENT goes on counting.
    """
    with contextlib.suppress(_Undo), _improved_db_of_the_run.transaction() as tx:
        yield tx
        if tx.state.name in {"COMMITTED", "ENDED"}:
            pytest.fail(
                "the test has committed improved_db_transaction, by DDL or COMMIT, and all later tests see what it "
                "wrote: use improved_db",
                pytrace=False,
            )
        raise _Undo


class _Undo(Exception):
    """Ends a transaction without a commit; it leaves its block and goes no further."""


@contextlib.contextmanager
def _database(server: Server, schema: Schema, options: dict[str, Any]) -> Iterator[ImprovedDb]:
    """Lend an `ImprovedDb` on a new database, whose name no other run on that server has."""
    from improved_db import ImprovedDb  # noqa: PLC0415  # as above

    if not hasattr(server, "url"):
        raise TypeError(f"improved_db_server must have a url, as TemporaryServer has; it is a {type(server).__name__}")
    if isinstance(schema, (str, bytes)):
        raise TypeError("improved_db_schema must be a list of statements or a function: write [statement]")
    name = f"test_{os.environ.get('PYTEST_XDIST_WORKER', 'main')}_{os.getpid()}_{next(_numbers)}"
    with ImprovedDb(server.url, max_size=1) as root:
        root.execute_query(f"CREATE DATABASE {name}")
        db = ImprovedDb(server.url, **{**options, "database": name})
        try:
            if callable(schema):
                schema(db)
            else:
                for statement in schema:
                    db.execute_query(statement)
            yield db
        finally:
            db.close(timeout=0, force=True)  # what a test left open would keep its tables locked
            root.execute_query(f"DROP DATABASE {name}")
