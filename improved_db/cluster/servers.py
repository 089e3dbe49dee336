"""The servers of one cluster by address. One may join; then the whole mapping is replaced, so readers take no lock.

Knows how one server is described. Does not know roles, or why a server joins.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from improved_db.cluster.server import Server
    from improved_db.settings.settings import HostSettings


class Servers(Mapping[str, "Server"]):
    """The servers, in the order of the settings."""

    def __init__(self, hosts: Iterable[HostSettings], describe: Callable[[HostSettings], Server]) -> None:
        """Describe the servers of the settings by *describe*."""
        self._describe = describe
        self._by_address = {host.address: describe(host) for host in hosts}

    def __getitem__(self, address: str) -> Server:
        return self._by_address[address]

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_address)

    def __len__(self) -> int:
        return len(self._by_address)

    def first(self) -> Server:
        """Return the first server of the settings: what holds for all of them holds for it."""
        return next(iter(self._by_address.values()))

    def add(self, host: HostSettings) -> Server:
        """Add a server, unless it is there, and return it."""
        if host.address not in self._by_address:
            self._by_address = {**self._by_address, host.address: self._describe(host)}
        return self._by_address[host.address]
