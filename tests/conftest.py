"""One private server for a whole test run, and a fresh database on it for each test that asks."""

from __future__ import annotations

import signal
from itertools import count
from typing import TYPE_CHECKING, Any

import pymysql
import pytest

from improved_db.testing import TemporaryServer
from improved_db.wire import columns, compiled
from tests.capabilities import Capabilities
from tests.faults.harness import Rig

if TYPE_CHECKING:
    from collections.abc import Iterator

_numbers = count(1)


def pytest_configure() -> None:
    """Let Ctrl-C mean something: a shell that starts a run in the background has it ignored, in all children too."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def server() -> Iterator[TemporaryServer]:
    """The run's own server (one for each worker of pytest-xdist). A test that kills or stops a server makes another."""
    with TemporaryServer(tcp=True, options=["--loose-cte-max-recursion-depth=100000", "--local-infile=1"]) as running:
        yield running


@pytest.fixture(scope="session")
def capabilities(server: TemporaryServer) -> Capabilities:
    """What the run's server can do."""
    return Capabilities(server.connect_options)


@pytest.fixture(autouse=True)
def _needed(request: pytest.FixtureRequest) -> None:
    """Skip a test that needs what the server under test cannot do: ``@pytest.mark.needs("create or replace")``."""
    for marker in request.node.iter_markers("needs"):
        for name in marker.args:
            if not request.getfixturevalue("capabilities").has(name):
                pytest.skip(f"the server lacks this: {name}")


@pytest.fixture
def database(server: TemporaryServer, capabilities: Capabilities) -> Iterator[dict[str, Any]]:
    """Connect options, for PyMySQL, of an empty database that is dropped after the test."""
    name = f"test_{next(_numbers)}"
    with pymysql.connect(**server.connect_options, ssl_disabled=True) as connection, connection.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE {name}")
    capabilities.give_numbers(name)
    yield {**server.connect_options, "database": name}
    with pymysql.connect(**server.connect_options, ssl_disabled=True) as connection, connection.cursor() as cursor:
        cursor.execute("SET lock_wait_timeout = 5")  # a transaction left open by the test is an error, not a hang
        cursor.execute(f"DROP DATABASE {name}")


@pytest.fixture(scope="module", params=["pure", "compiled"] if compiled.compiled else ["pure"])
def row_reader(request: pytest.FixtureRequest) -> Iterator[str]:
    """Which code reads rows, one after the other: the compiled one only where it was built."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(columns, "_kept", {})  # its decoders were made by the other one
        if request.param == "pure":
            patch.setattr(compiled, "ROWS", None)
        yield request.param


@pytest.fixture
def rig(database: dict[str, Any]) -> Iterator[Rig]:
    """A proxy in front of an empty table t."""
    with Rig(database) as made:
        made.table()
        yield made


@pytest.fixture
def three_rows(rig: Rig) -> None:
    """The rows 1, 2 and 3 in t; ask for it with ``pytestmark = pytest.mark.usefixtures("three_rows")``."""
    rig.ask("insert into t (id) values (1), (2), (3)")
