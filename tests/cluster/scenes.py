"""Servers that say what a test lets them say, for `decide`: no connection, no thread, no time but the scene's own.

Knows the pure rooms of `improved_db.cluster`. Does not know real servers.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from improved_db.cluster.gtid import history
from improved_db.cluster.topology import HostFacts, Topology, absent, begin, decide

if TYPE_CHECKING:
    from improved_db.cluster.topology import Kind
    from improved_db.cluster.views import Problem

#: The server_id of each name.
IDS: Final = {"a": "1", "b": "2", "c": "3", "d": "4"}


def server(name: str, position: str, **more: Any) -> HostFacts:
    """Return what a MariaDB says."""
    known: dict[str, Any] = {
        "kind": "replication",
        "dialect": "mariadb",
        "identity": f"identity of {name}",
        "server_id": IDS[name],
        "read_only": True,
        "replicating": False,
        "history": history(position, "mariadb"),
    }
    return HostFacts(name, 0.0, **{**known, **more})


def writer(name: str, position: str = "0-1-9", **more: Any) -> HostFacts:
    """Return what a server says that takes writes; *replicas* says how many follow it."""
    return server(name, position, **{"read_only": False, "replicas": 0, **more})


def replica(name: str, of: str, position: str = "0-1-9", **more: Any) -> HostFacts:
    """Return what a replica says that may see whom it follows."""
    return server(name, position, **{"replicating": True, "source": (f"id:{IDS[of]}",), **more})


def modest(name: str, position: str, **more: Any) -> HostFacts:
    """Return what a replica says that may not see whom it follows: the origin of its last transaction has to do."""
    (writer_of,) = {one for one, _ in history(position, "mariadb").newest().values()}
    return server(name, position, **{"replicating": True, "source": (f"origin:{writer_of}",), **more})


def gone(name: str, problem: Problem = "refused") -> HostFacts:
    """Return that a server did not answer."""
    return absent(name, 0.0, problem, f"{name}: {problem}")


class Scene:
    """Servers and what is known of them, round by round."""

    def __init__(self, names: str = "abc", kind: Kind = "auto", **more: Any) -> None:
        """Begin with servers of these names, which are not asked yet."""
        self.now = 100.0
        self.topology: Topology = begin(tuple(names), kind, **more)

    def round(self, *facts: HostFacts, after: float = 1.0, times: int = 1) -> Topology:
        """Let the servers say *facts*, each round anew."""
        for _ in range(times):
            self.now += after
            self.topology = decide(self.topology, {one.address: replace(one, at=self.now) for one in facts}, self.now)
        return self.topology

    def said(self) -> tuple[str, str | None, int]:
        """Return the state, the primary and the term."""
        return self.topology.state.value, self.topology.primary, self.topology.term

    @property
    def roles(self) -> dict[str, str]:
        """The role of each server."""
        return {name: view.role for name, view in self.topology.hosts.items()}

    def why(self, name: str) -> str:
        """Return what led to the role of a server."""
        return self.topology.hosts[name].why
