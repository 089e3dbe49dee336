"""A program that uses a primary with two replicas, and what it sees of them.

Knows `ImprovedDb` and hand-made replicas. Does not know which failover comes.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from improved_db import FailoverReport, ImprovedDb
from tests.cluster.replicas import MODEST

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.cluster.replicas import Replicas

INSERT = "insert into pets () values ()"


def urls_of(replicas: Replicas) -> list[str]:
    """Return the URLs for an ordinary account: one with READ_ONLY ADMIN may write on a server that is read-only."""
    return [f"mysql://{MODEST}@{address}/test" for address in replicas.addresses]


class Shop:
    """A cluster, and a program that uses it."""

    def __init__(self, replicas: Replicas, urls: list[str] | None = None) -> None:
        self.replicas = replicas
        self.reports: list[FailoverReport] = []
        self.db = ImprovedDb(
            urls or urls_of(replicas), deadline=20.0, monitor_interval=0.3, on_failover=self.reports.append
        )

    def close(self) -> None:
        """Close the program's pools."""
        self.db.close()

    def primary(self) -> int | None:
        """Return the number of the primary, as the program sees it."""
        found = [number for number, host in enumerate(self.db.hosts()) if host.role == "primary"]
        return found[0] if found else None

    def role(self, one: int) -> str:
        """Return the role of a server, as the program sees it."""
        return self.db.hosts()[one].role

    def rows(self, one: int) -> int:
        """Return how many rows a server has."""
        return int(self.replicas.run(one, "select count(*) from test.pets")[0][0])

    def in_background(self, work: Callable[[], Any]) -> Callable[[], Any]:
        """Run *work* in a thread; the returned function waits for its result, or its error."""
        results: list[Any] = []

        def run() -> None:
            try:
                results.append(work())
            except Exception as error:
                results.append(error)

        thread = threading.Thread(target=run)
        thread.start()

        def result() -> Any:
            thread.join(60)
            assert not thread.is_alive(), "it hangs"
            return results[0]

        return result
