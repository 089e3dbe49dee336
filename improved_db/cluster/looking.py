"""Who tells the roles of a cluster: the settings, or a monitor that asks the servers.

Knows both, and how a monitor connects. Does not know what follows from a role.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

from improved_db.cluster.fixed import Fixed
from improved_db.cluster.monitor import Monitor
from improved_db.settings.settings import HostSettings
from improved_db.wire.pymysql_driver import PyMySQLDriver

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from improved_db.clock import Clock
    from improved_db.cluster.views import Kind
    from improved_db.settings.settings import ClusterSettings, ConnectOptions, Settings

#: Topologies that are said, not found out.
SAID: Final = frozenset({"static", "sequential"})

#: What the user wants of statements and their rows, which are not the monitor's.
THE_USERS: Final = frozenset(
    {"init_command", "conv", "cursorclass", "use_unicode", "sql_mode", "local_infile", "write_timeout", "client_flag"}
)

#: Seconds that a connect of the monitor may take; a server that comes back is asked soon after.
CONNECT_TIMEOUT: Final = 3.0


def roles_of(settings: Settings, cluster: ClusterSettings, clock: Clock, used: Callable[[], int]) -> Fixed | Monitor:
    """Return what tells the roles.

    Args:
        settings: All of them.
        cluster: Those of several servers.
        clock: The time.
        used: Returns a number that grows with each borrowing.
    """
    if cluster.topology in SAID:
        return Fixed(cluster.hosts, in_order=cluster.topology == "sequential", clock=clock)

    def driver(host: HostSettings) -> PyMySQLDriver:
        return PyMySQLDriver(_options_of(host.connect), pipelining=settings.pipelining, address=host.address)

    return Monitor(
        {host.address: driver(host) for host in cluster.hosts},
        clock=clock,
        kind=cast("Kind", cluster.topology or "auto"),
        interval=cluster.monitor_interval,
        used=used,
        invite=(lambda address: driver(newcomer(cluster, address))) if cluster.discover else None,
    )


def newcomer(cluster: ClusterSettings, address: str) -> HostSettings:
    """Return the settings of a server that is not in the list: those of the first one, at another address."""
    host, _, port = address.rpartition(":")
    return HostSettings(address=address, connect=cluster.hosts[0].connect.at(host.strip("[]"), int(port)))


def _options_of(connect: ConnectOptions) -> Callable[[], Mapping[str, Any]]:
    """Return the account and the way to a server, without what the user wants of sessions."""

    def options() -> dict[str, Any]:
        found: dict[str, Any] = {name: value for name, value in connect.resolve().items() if name not in THE_USERS}
        limit = found.get("connect_timeout") or CONNECT_TIMEOUT
        return {**found, "connect_timeout": min(limit, CONNECT_TIMEOUT), "autocommit": True, "read_timeout": None}

    return options
