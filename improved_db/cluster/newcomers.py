"""Servers that the others name and the list of the settings does not (``discover=True``).

A server names its peers by addresses of its own, and such an address may lead to a server of the list. So a newcomer is
asked who it is before it joins: if it is known under another address, that address is only remembered. Servers are
added, never replaced, and those of the list come first: where the order decides, all programs have the same order.

Knows addresses and identities. Does not know how servers are asked, or what follows once a newcomer has joined.
"""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from improved_db.cluster.views import HostView, with_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from improved_db.cluster.probe import Probe
    from improved_db.cluster.views import HostFacts, Topology


#: The most servers that are asked who they are: what a server says of others is not to be trusted without a limit.
MOST: Final = 64

#: How an address begins that leads to the machine of the one who uses it.
_OWN_MACHINE: Final = ("localhost:", "127.", "[::1]:")


def strangers(topology: Topology) -> set[str]:
    """Return the members that the servers name as their peers, and that have no such name in the list."""
    named = {with_port(peer) for facts in _facts(topology) for peer in facts.peers if _leads_there(facts, peer)}
    return named - _names(topology)


def _sources(topology: Topology) -> set[str]:
    """Return the servers that replicas name as their source, and that have no such name in the list."""
    told = [(facts, name[3:]) for facts in _facts(topology) for name in facts.source if name.startswith("at:")]
    return {source for facts, source in told if _leads_there(facts, source)} - _names(topology)


def _leads_there(facts: HostFacts, address: str) -> bool:
    """Say whether an address means the same server to this program as to the server that has named it.

    "localhost" does only if that server is on this machine: elsewhere it would lead to a foreign server.
    """
    if address.startswith(":"):
        return False
    return not with_port(address).startswith(_OWN_MACHINE) or facts.address.startswith(_OWN_MACHINE)


def _names(topology: Topology) -> set[str]:
    return {with_port(address) for address in topology.hosts}


def _facts(topology: Topology) -> list[HostFacts]:
    return [view.facts for view in topology.hosts.values() if view.facts is not None]


class Newcomers:
    """The servers that are asked who they are, and may join."""

    def __init__(self, listed: Iterable[str], probe: Callable[[str], Probe]) -> None:
        """Begin with the servers of the list.

        Args:
            listed: Their addresses, in the order of the settings.
            probe: Returns what asks the server at an address.
        """
        self._listed = tuple(listed)
        self._others: set[str] = set()  # addresses of servers that are known by another one
        self.probe: Callable[[str], Probe] = probe

    def named(self, topology: Topology) -> set[str]:
        """Return the addresses that have to be asked who they are."""
        found = (strangers(topology) | _sources(topology)) - self._others
        return found if len(found) <= MOST else set(sorted(found)[:MOST])

    def is_new(self, topology: Topology, news: HostFacts) -> bool:
        """Say whether the server that gave this answer is none of those that are known; note its address if it is."""
        identities = {facts.identity for facts in _facts(topology)}
        if news.identity is not None and news.identity in identities:
            self._others.add(news.address)
            return False
        return True

    def with_one(self, topology: Topology, address: str) -> Topology:
        """Return the topology with one more server, of which nothing is known yet."""
        hosts = {**topology.hosts, address: HostView(address)}
        return replace(topology, hosts=MappingProxyType({name: hosts[name] for name in self.in_order(hosts)}))

    def in_order(self, addresses: Mapping[str, object]) -> list[str]:
        """Return the addresses in the order of the list, then the others by name."""
        return [*self._listed, *sorted(addresses.keys() - set(self._listed))]
