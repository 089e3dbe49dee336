"""One cluster for a whole test run: a primary with two replicas, made new for each test that asks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from improved_db.testing import TemporaryCluster

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def servers_of_the_run() -> Iterator[TemporaryCluster]:
    """The run's servers; a test asks for `cluster`."""
    with TemporaryCluster(replicas=2) as running:
        yield running


@pytest.fixture
def cluster(servers_of_the_run: TemporaryCluster) -> Iterator[TemporaryCluster]:
    """A primary with two replicas, empty; a test may kill, pause and promote, and leaves them as they are."""
    servers_of_the_run.reset()
    yield servers_of_the_run
    for node in servers_of_the_run.nodes:
        node.resume()  # what waits for a server that a test has paused would wait for ever
