"""The settings of one `ImprovedDb`: frozen, checked, printable.

Knows names, defaults and limits. Does not know where a value comes from, or what the settings are used for.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any, Final, Literal, NamedTuple

from improved_db.errors import ConfigError
from improved_db.settings.options import HIDDEN, answered, checked
from improved_db.settings.secret import Sealed, Secret

#: The default of `PoolSettings.max_size`.
MAX_SIZE: Final = 10


class _Default(enum.Enum):
    RETRY = "default policy"

    def __repr__(self) -> str:
        return f"<{self.value}>"


#: `Settings.retry_source` if there is no ``retry=``, whose value may be None.
DEFAULT_RETRY: Final = _Default.RETRY


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolSettings:
    """How many connections there are, and for how long.

    Attributes:
        name: Shown in logs, errors and metrics.
        min_size: Connections that stay open even if they are not needed.
        max_size: The most connections that may be open, at least 1.
        acquire_timeout: Seconds to wait for a connection; 0 never waits, not even for a connect.
        max_waiting: Borrowers that may wait; None sets no limit.
        max_lifetime: Seconds after which a connection is replaced; None means never.
        lifetime_jitter: Fraction from 0 to 1: the pool shortens each lifetime by a random part of up to this, so that
            connections opened together are not replaced together.
        idle_timeout: Idle seconds after which a connection above *min_size* is closed; None means never.
        ping_idle_after: Silent seconds after which a connection is pinged before a loan; 0 means always, None never.
        ping_timeout: Seconds the server has to answer a ping.
        keepalive: Seconds between pings of idle connections; None derives it from the server's ``wait_timeout``.
        leak_warn_after: Seconds after which the pool reports a loan that is still out; None means never.
        max_opening: The most connections being opened at a time.
        check: Called with a connection before it is lent; raises if it must not be lent.
        on_leak: Called with a `Borrowed` when *leak_warn_after* has passed.

    Raises:
        ConfigError: A value is invalid.
    """

    name: str = "pool"
    min_size: int = 0
    max_size: int = MAX_SIZE
    acquire_timeout: float = 30.0
    max_waiting: int | None = None
    max_lifetime: float | None = 1800.0
    lifetime_jitter: float = 0.1
    idle_timeout: float | None = 600.0
    ping_idle_after: float | None = 30.0
    ping_timeout: float = 2.0
    keepalive: float | None = None
    leak_warn_after: float | None = None
    max_opening: int = 4
    check: Callable[[Any], object] | None = None
    on_leak: Callable[[Any], object] | None = None

    def __post_init__(self) -> None:
        for field in fields(self):
            value = checked(field.name, Secret(getattr(self, field.name))).value
            object.__setattr__(self, field.name, value)
        if self.min_size > self.max_size:
            raise ConfigError(f"min_size must not be more than max_size, but {self.min_size} > {self.max_size}")


class ConnectOptions(Mapping[str, object]):
    """The driver's options, in a form that may be printed: hidden ones are `Secret`.

    Only `resolve` returns plain values.
    """

    __slots__ = ("_again", "_values", "hint")

    def __init__(
        self, values: Mapping[str, object], again: Callable[[], ConnectOptions] | None = None, hint: str = ""
    ) -> None:
        """Take checked options by the driver's names.

        Args:
            values: The options.
            again: Returns newer ones for each connect.
            hint: What to say of a server that does not answer, if no source has named it.
        """
        self.hint: str = hint
        self._values = {name: Secret.of(value) if name in HIDDEN else value for name, value in values.items()}
        self._again = again

    def __getitem__(self, name: str) -> object:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        shown = (f"{name}={_shown(value)}" for name, value in self._values.items())
        return f"{type(self).__name__}({', '.join(shown)})"

    @property
    def host(self) -> str:
        """The server's name or address; unused when there is a *unix_socket*."""
        return _text(self._values.get("host")) or "localhost"

    @property
    def port(self) -> int:
        """The server's TCP port."""
        port = self._values.get("port")
        return port if isinstance(port, int) and port else 3306

    @property
    def user(self) -> str | None:
        """The account; if None, the driver takes the name of the operating system's user."""
        return _text(self._values.get("user"))

    @property
    def database(self) -> str | None:
        """The default database."""
        return _text(self._values.get("database"))

    @property
    def unix_socket(self) -> str | None:
        """The path of the server's socket; None means TCP."""
        return _text(self._values.get("unix_socket"))

    @property
    def address(self) -> str:
        """``host:port/database`` or ``socket/database``: a pool's default name, as in OpenTelemetry's conventions."""
        return f"{self.server}/{self.database}" if self.database else self.server

    @property
    def server(self) -> str:
        """``host:port``, or the path of the server's socket."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return self.unix_socket or f"{host}:{self.port}"

    def at(self, host: str, port: int) -> ConnectOptions:
        """Return the same options for another server."""
        values = {name: value for name, value in self._values.items() if name != "unix_socket"}
        again = self._again
        return ConnectOptions(
            {**values, "host": host, "port": port}, None if again is None else lambda: again().at(host, port), self.hint
        )

    def resolve(self) -> dict[str, object]:
        """Return plain keyword arguments for the driver; a callable config or password is called again.

        Raises:
            ConfigError: A callable returned an invalid value. What it raises itself passes through.
        """
        current = self if self._again is None else self._again()
        # One expression: no local holds a password while a callable may raise.
        return {name: _plain(name, value) for name, value in current.items()}


class HostSettings(NamedTuple):
    """One server of several.

    Attributes:
        address: ``host:port`` or the path of a socket: its name in logs, errors and statistics.
        connect: The driver's options.
        role: What it is, if that is not to be discovered.
        weight: Its share of the reads, against that of the others.
        zone: Where it is.
        max_size: The most connections to it; None means that of the pool.
    """

    address: str
    connect: ConnectOptions
    role: Literal["primary", "replica"] | None = None
    weight: float = 1.0
    zone: str | None = None
    max_size: int | None = None


class ClusterSettings(NamedTuple):
    """How several servers are used; with one address nothing of it has an effect.

    Attributes:
        hosts: The servers, in the order of the list.
        topology: What tells which one is the primary: "replication", "galera", "group", "aurora", "equal" (each one
            takes writes), "sequential" (the first that answers, in the order of the list) or "static" (`Host.role`
            does); "auto" and None look at the first answer.
        read_preference: Where reads go that name no lane: "primary", "primary_preferred", "replica",
            "replica_preferred" or "nearest". Without it, only ``read_only=True`` and `ImprovedDb.reader` use replicas.
        max_replication_lag: Seconds that a replica may be behind and still be read from; None sets no limit.
        causal_reads: Whether a read on a replica waits until that has what this `ImprovedDb` has written.
        causal_timeout: Seconds it waits for that; then the primary answers.
        monitor_interval: Seconds between two looks at each server.
        discover: Whether servers that the others name are used, too, with the account and the options of the first
            one of the list.
        zone: Where this program is: replicas of its zone are preferred.
        on_failover: Called with a `FailoverReport` after another server has become the primary.
    """

    hosts: tuple[HostSettings, ...] = ()
    topology: str | None = None
    read_preference: str = "primary"
    max_replication_lag: float | None = None
    causal_reads: bool = True
    causal_timeout: float = 1.0
    monitor_interval: float = 2.0
    discover: bool = False
    zone: str | None = None
    on_failover: Callable[[Any], object] | None = None

    def name(self, database: str | None) -> str:
        """Return the default name of the pools: every server and the database."""
        servers = ",".join(host.address for host in self.hosts)
        return f"{servers}/{database}" if database else servers


def _text(value: object) -> str | None:
    return value.decode(errors="replace") if isinstance(value, bytes) else None if value is None else str(value)


def _shown(value: object) -> str:
    plain = isinstance(value, (str, bytes, int, float, Secret)) or value is None
    return repr(value) if plain else f"<{type(value).__name__}>"


def _plain(name: str, value: object) -> object:
    if not isinstance(value, Secret):
        return value
    if name != "password":
        return value.value
    return _sendable(answered(Secret.of(value.value())) if callable(value.value) else value)


def _sendable(password: Sealed) -> object:
    """Return the password in a form that the driver can encode: its codec is Latin-1, whose error would show it."""
    plain = isinstance(password.value, bytes) or all(char <= "\xff" for char in password.value)
    return password.value if plain else password.value.encode("utf-8", "surrogateescape")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All settings of an `ImprovedDb`.

    Attributes:
        pool: How many connections there are, and for how long.
        connect: The driver's options.
        retry_source: The value of ``retry=``, untouched; `DEFAULT_RETRY` if it is missing.
        deadline: Seconds for a whole call, with all waits, connects and retries; None sets no limit.
        connection_pool: Whether connections are opened at once, not with the first use.
        pool_init_size: How many are opened at once; None means ``pool.min_size``, at least one.
        reset: What happens to a returned connection: ``"rollback"``, ``"session"`` (all session state too), or a
            callable that gets the connection.
        configure: Called with each new connection, and after each reset of its session.
        multiplex: Whether short reads of threads that would wait for connections share round trips: "auto" or False.
        pipelining: Whether several statements may be written at once: True, False, or "auto", which means True unless
            the server does not accept that (ProxySQL, Aurora) or does not say what it is.
        statements: Of how many forms of statements the statistics are kept; 0 keeps none.
        slow_query_threshold: Seconds that make a call slow, so that the slow log has it; None: none is slow.
        aware_datetimes: What to do with a datetime that has a time zone, which no column can hold: "refuse" it, or
            write it without its zone, as the time in the "session"'s time zone or in "utc". The server converts to the
            session's, for times from 1970 to January 2038; an hour that occurs twice, when clocks are set back, stays
            ambiguous.
        cluster: The servers, if there are several; None for one.
    """

    pool: PoolSettings
    connect: ConnectOptions
    retry_source: object = DEFAULT_RETRY
    deadline: float | None = None
    connection_pool: bool = False
    pool_init_size: int | None = None
    reset: Literal["rollback", "session"] | Callable[[Any], object] = "rollback"
    configure: Callable[[Any], object] | None = None
    aware_datetimes: Literal["refuse", "session", "utc"] = "refuse"
    multiplex: Literal["auto", False] = "auto"
    pipelining: Literal["auto"] | bool = "auto"
    statements: int = 500
    slow_query_threshold: float | None = 1.0
    cluster: ClusterSettings | None = None
