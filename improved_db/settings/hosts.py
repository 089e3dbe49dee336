"""Several servers: `Host`, and what a list of URLs, hosts and addresses says about each of them.

What one server does not say, the first of the list says for it: the account, the database, TLS. Imported only if there
is a list, or a comma between two hosts.

Knows how several addresses are written, and what they share. Does not know roles, or which server is up.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from improved_db.errors import ConfigError
from improved_db.settings.options import OWN, accepted, checked, describe
from improved_db.settings.secret import Options, Sealed, Secret
from improved_db.settings.settings import ClusterSettings, ConnectOptions, HostSettings
from improved_db.settings.sources import from_url, server_from

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

#: What says where one server is, and so says nothing of another.
PLACE: Final = frozenset({"host", "port", "unix_socket"})


#: The topologies that take the roles from the settings, and ask no server.
SAID: Final = frozenset({"static", "sequential"})
#: Those whose servers name no others: Aurora tells names without the domain that they need.
ASK_NO_OTHERS: Final = SAID | {"equal", "aurora"}

Role = Literal["primary", "replica"]


class Member(NamedTuple):
    """One server of a list, as it was written."""

    options: Options
    role: Role | None = None
    weight: float = 1.0
    zone: str | None = None
    max_size: int | None = None


@dataclass(frozen=True, init=False, slots=True)
class Host:
    """One server of several, with what is its own.

    Attributes:
        address: ``host``, ``host:port``, ``[IPv6 address]:port`` or the path of a socket.
        role: "primary" or "replica", where the roles are not discovered (``topology="static"``); None otherwise.
        weight: Its share of the reads, against 1.0 of the others.
        zone: Where it is; see ``zone=`` of `ImprovedDb`.
        max_size: The most connections to it; None means ``max_size`` of `ImprovedDb`.
    """

    address: str
    role: Role | None
    weight: float
    zone: str | None
    max_size: int | None
    _options: Options = field(repr=False)

    def __init__(
        self,
        address: str,
        *,
        role: Role | None = None,
        weight: float = 1.0,
        zone: str | None = None,
        max_size: int | None = None,
    ) -> None:
        """Describe one server.

        Args:
            address: As the attribute, or a URL, whose account, database and options hold for this server.
            role: As the attribute.
            weight: As the attribute.
            zone: As the attribute.
            max_size: As the attribute.

        Raises:
            ConfigError: A value is invalid; the text says what to write instead.
        """
        sealed = Secret.of(address)
        del address  # a traceback shows the locals
        values: dict[str, object] = {"role": role, "weight": weight, "zone": zone, "max_size": max_size}
        self._set({**values, "address": "?", "_options": {}})  # its repr stands in tracebacks, too
        for name, value in values.items():
            values[name] = value if value is None else checked(name, Secret(value), where="Host").value
        options = options_of(sealed, "the address of a Host")
        self._set({**values, "address": name_of(options), "_options": options})

    def _set(self, values: Mapping[str, object]) -> None:
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def member(self) -> Member:
        """Return it as a list of servers has it."""
        return Member(self._options, self.role, self.weight, self.zone, self.max_size)


def name_of(options: Mapping[str, Any]) -> str:
    """Return ``host:port``, or the path of the socket, from a server's options; without a port, if none is given."""
    plain = {name: Secret.of(options[name]).value for name in PLACE & options.keys()}
    if plain.get("unix_socket"):
        return str(plain["unix_socket"])
    host = str(plain.get("host", "localhost"))
    host = f"[{host}]" if ":" in host else host
    return f"{host}:{plain['port']}" if plain.get("port") else host


def options_of(address: Sealed, where: str) -> Options:
    """Return the options of one address: a URL, ``host:port`` or the path of a socket.

    Raises:
        ConfigError: It is none of them, or names several servers.
    """
    if not isinstance(address.value, str) or not address.value:
        expected = "a URL, 'host', 'host:port', '[IPv6 address]:port' or the path of a socket"
        raise ConfigError(f"{where} must be {expected}, not {describe(address)}")
    if "://" in address.value:
        found = from_url(address, where)
    elif address.value.startswith("/"):
        found = {"unix_socket": address}
    else:
        found = server_from(address, where)
    if "," in str(found.get("host", Secret("")).value):
        raise ConfigError(f"{where} names several servers; give each its own place in the list")
    return found


def members_of(given: Sealed, known: frozenset[str]) -> list[Member]:
    """Return the servers of a list, each with the options that it names.

    Args:
        given: URLs, addresses and `Host`.
        known: Every valid name of an option.

    Raises:
        ConfigError: The list is empty, or something in it is none of these; the text says which one.
    """
    if not given.value:
        raise ConfigError("the list of servers is empty; give at least one URL")
    members: list[Member] = []
    for number, item in enumerate(map(Secret.of, given.value), 1):
        where = f"server {number} of the list"
        if not isinstance(item.value, (str, Host)):
            raise ConfigError(f"{where} must be a URL, an address or a Host, not {describe(item)}")
        member = item.value.member() if isinstance(item.value, Host) else Member(options_of(item, where))
        members.append(member._replace(options=accepted(member.options, known, where=where)))
    return members


def members_in(hosts: Sealed) -> list[Member]:
    """Return the servers of a text with commas between them.

    Raises:
        ConfigError: One of them is not an address.
    """
    parts = [Secret(part.strip()) for part in hosts.value.split(",")]
    if not all(part.value for part in parts):
        raise ConfigError("there is no host before or after a comma; write host,host:port,[IPv6 address]:port")
    return [Member(options_of(part, f"server {number} of the list")) for number, part in enumerate(parts, 1)]


def shared(members: Sequence[Member]) -> Options:
    """Return what holds for all servers, unless one says otherwise: the first one's options, but for its place.

    Options of the pool hold for all servers together, whichever names them.

    Raises:
        ConfigError: Two of them give one option of the pool different values.
    """
    found: Options = {}
    for member in members:
        for name, value in member.options.items():
            if name in OWN and found.setdefault(name, value) != value:
                raise ConfigError(
                    f"two servers of the list give {name} different values; give it once, as a keyword argument"
                    + ("; for one server alone: Host(address, max_size=...)" if name == "max_size" else "")
                )
    first = members[0].options
    return {**{name: value for name, value in first.items() if name not in PLACE}, **found}


def cluster_of(
    found: Options,
    for_one: Callable[[Options, Options], dict[str, object]],
    again: Callable[[], Options] | None,
    options: Mapping[str, Any],
) -> ClusterSettings:
    """Return the servers, each with the options of the driver, and how they are used.

    Args:
        found: What all sources say together: a list of servers as ``hosts``, or several with commas as ``host``.
        for_one: Lays what holds for one server over what holds for all of them.
        again: Gathers *found* anew, if the config is a callable.
        options: Those of `ClusterSettings`.

    Raises:
        ConfigError: The servers, their roles or the topology do not fit together.
    """
    members = _members(found)
    topology, roles = _roles(members, options.get("topology"))
    if topology in SAID and options.get("max_replication_lag") is not None:
        raise ConfigError(
            f"max_replication_lag needs servers that are asked how far they are, and topology={topology!r} asks none; "
            "leave one of them out"
        )
    if topology in ASK_NO_OTHERS and options.get("discover"):
        raise ConfigError(
            f"discover needs servers that name each other, and with topology={topology!r} they do not; leave one of "
            "them out, and list every server"
        )
    hosts: list[HostSettings] = []
    for member, role in zip(members, roles, strict=True):
        connect = ConnectOptions(_resolved(member, found, for_one))
        if again is not None:
            connect = ConnectOptions(connect, partial(_asked_again, connect.server, again, for_one))
        if any(connect.server == other.address for other in hosts):
            raise ConfigError(f"{connect.server} is in the list of servers twice; keep one of them")
        host = HostSettings(
            address=connect.server,
            connect=connect,
            role=role,
            weight=member.weight,
            zone=member.zone,
            max_size=member.max_size,
        )
        hosts.append(host)
    return ClusterSettings(**{**options, "hosts": tuple(hosts), "topology": topology})


def _members(found: Options) -> list[Member]:
    if "hosts" in found:
        members: list[Member] = found["hosts"].value
        return members
    names = found.get("host", Secret(""))
    if "," not in names.value:
        return [Member({name: found[name] for name in PLACE & found.keys()})]
    if "unix_socket" in found:
        raise ConfigError("several hosts and a unix_socket are given; for several sockets give a list of URLs")
    return members_in(names)


def _resolved(
    member: Member, found: Options, for_one: Callable[[Options, Options], dict[str, object]]
) -> dict[str, object]:
    mine = {name: value for name, value in member.options.items() if name not in OWN}
    common = {name: value for name, value in found.items() if name not in {"host", "unix_socket", "hosts"}}
    if "user" in mine:
        common.pop("password", None)  # it belongs to another account
    if "unix_socket" in mine:
        common.pop("port", None)
    return for_one(mine, common)


def _asked_again(
    server: str, again: Callable[[], Options], for_one: Callable[[Options, Options], dict[str, object]]
) -> ConnectOptions:
    """Return the options that a callable config now has for one server.

    Raises:
        ConfigError: It does not name that server any more.
    """
    found = again()
    for member in _members(found):
        connect = ConnectOptions(_resolved(member, found, for_one))
        if connect.server == server:
            return connect
    raise ConfigError(f"config() does not name {server} any more; its servers have to stay the same")


def _roles(members: Sequence[Member], topology: str | None) -> tuple[str | None, list[Role | None]]:
    """Return the topology and the role of each server, where roles are given."""
    roles = [member.role for member in members]
    if topology is None and any(roles):
        topology = "static"
    if topology not in SAID:
        if any(roles):
            raise ConfigError(
                f"role= is for topology='static', but topology={topology!r} discovers the roles; leave one of them out"
            )
        return topology, roles
    if topology == "static":
        if "primary" not in roles and None in roles:
            roles[roles.index(None)] = "primary"
        roles = [role or "replica" for role in roles]
        if roles.count("primary") != 1:
            raise ConfigError(
                f"topology='static' needs exactly one primary, not {roles.count('primary')}: write "
                "Host(address, role='primary') for it and role='replica' for the others; if several servers take "
                "writes, write topology='sequential'"
            )
    return topology, roles
