"""The settings of one `ImprovedDb`, made once from everything a user may give.

The only reader of dict, URL, keyword arguments, environment and option file. What is given later in this list wins:
option file, ``IMPROVED_DB_URL``, config, keyword arguments. Nothing here prints or raises a password.

Knows the sources, which of them wins, and the defaults. Does not know what the settings are used for.
"""

from __future__ import annotations

import enum
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal

from improved_db.errors import ConfigError
from improved_db.options import HIDDEN, OWN, Options, Sealed, Secret, accepted, answered, checked, describe, seal
from improved_db.sources import from_option_files, from_url, parse_url

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["DEFAULT_RETRY", "ConnectOptions", "PoolSettings", "Secret", "Settings", "load", "parse_url", "seal"]

_MAX_SIZE: Final = 10
#: The environment variable that is read when there is no config.
URL_VARIABLE: Final = "IMPROVED_DB_URL"
#: Read when there is neither a config nor the variable; a missing one is no error.
OPTION_FILES: Final = ("~/.my.cnf",)


class _Default(enum.Enum):
    RETRY = "default policy"


#: `Settings.retry_source` when nobody said ``retry=``, which may be None.
DEFAULT_RETRY: Final = _Default.RETRY


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolSettings:
    """How many connections there are, and for how long.

    Attributes:
        name: Shown in logs, errors and metrics.
        min_size: Connections kept open even when nobody needs them.
        max_size: The most that are ever open, at least 1.
        acquire_timeout: Seconds to stand in line for one; 0 never waits, not even for a connect.
        max_waiting: Borrowers that may stand in line; None sets no limit.
        max_lifetime: Seconds after which a connection is replaced; None means never.
        lifetime_jitter: Fraction from 0 to 1; each connection's lifetime is shorter by a random part of up to this, so
            that those opened together do not end together.
        idle_timeout: Seconds unused after which a connection above *min_size* is closed; None means never.
        ping_idle_after: Seconds unused after which the server is asked before lending; 0 asks each time, None never.
        ping_timeout: Seconds the server has to answer that.
        keepalive: Seconds between pings of idle connections; None derives it from the server's ``wait_timeout``.
        leak_warn_after: Seconds after which a connection still lent is reported; None means never.
        max_opening: Connects under way at once.
        reset: What happens to a returned connection: ``"rollback"``, ``"session"`` (all session state too), or a
            callable that is given it.
        configure: Called with each new connection, and with one whose session had to be made new again.
        check: Called with a connection before it is lent; raises if it must not be.
        on_leak: Called when *leak_warn_after* has passed.

    Raises:
        ConfigError: A value does not fit.
    """

    name: str = "pool"
    min_size: int = 0
    max_size: int = _MAX_SIZE
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
    reset: Literal["rollback", "session"] | Callable[[Any], object] = "rollback"
    configure: Callable[[Any], object] | None = None
    check: Callable[[Any], object] | None = None
    on_leak: Callable[[Any], object] | None = None

    def __post_init__(self) -> None:
        for field in fields(self):
            value = checked(field.name, Secret(getattr(self, field.name))).value
            object.__setattr__(self, field.name, value)
        if self.min_size > self.max_size:
            raise ConfigError(f"min_size must not be more than max_size, but {self.min_size} > {self.max_size}")


class ConnectOptions(Mapping[str, object]):
    """The driver's options, in a form that can be printed: hidden ones are `Secret`.

    `resolve` is the one place where they become plain.
    """

    __slots__ = ("_again", "_values")

    def __init__(self, values: Mapping[str, object], again: Callable[[], ConnectOptions] | None = None) -> None:
        """Take the driver's options by the driver's names, checked; *again* makes newer ones for each connect."""
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
        """The account; None lets the driver take the name of the operating system's user."""
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
        """``host:port/database`` or ``socket/database``, the name OpenTelemetry's conventions give a nameless pool."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        server = self.unix_socket or f"{host}:{self.port}"
        return f"{server}/{self.database}" if self.database else server

    def resolve(self) -> dict[str, object]:
        """Return plain keyword arguments for the driver, asking a config or password that is a callable again.

        Raises:
            ConfigError: A callable answered something unfit. What it raises itself passes through.
        """
        current = self if self._again is None else self._again()
        # One expression, so that no local has a password while a callable may raise.
        return {name: _plain(name, value) for name, value in current.items()}


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
    """Return it as the driver can encode it: that takes Latin-1, and its error would carry the password."""
    plain = isinstance(password.value, bytes) or all(char <= "\xff" for char in password.value)
    return password.value if plain else password.value.encode("utf-8", "surrogateescape")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything an `ImprovedDb` was told.

    Attributes:
        pool: How many connections, and for how long.
        connect: The driver's options.
        retry_source: What was given as ``retry=``, untouched; `DEFAULT_RETRY` if nothing was.
        deadline: Seconds for a whole call: line, connect, run, sleeps; None sets no limit.
        connection_pool: Whether the pool is to be made at once and not with the first use.
        pool_init_size: Connections to open when it is made; None opens ``pool.min_size``.
        aware_datetimes: What becomes of a datetime with a time zone, which no column can hold: "refuse" it, or send it
            as "utc" without its zone.
    """

    pool: PoolSettings
    connect: ConnectOptions
    retry_source: object = DEFAULT_RETRY
    deadline: float | None = None
    connection_pool: bool = False
    pool_init_size: int | None = None
    aware_datetimes: Literal["refuse", "utc"] = "refuse"


Config = Mapping[str, object] | str


def load(
    config: Config | Callable[[], Config] | Sealed | None,
    options: Mapping[str, object],
    *,
    driver_options: frozenset[str],
    environ: Mapping[str, str] = os.environ,
    option_files: Sequence[str | Path] = OPTION_FILES,
) -> Settings:
    """Make the settings of everything given.

    A host given by one source leaves out the socket of those it wins over, a whole ``ssl`` their ``ssl_*``, and any of
    these their ``ssl_disabled``. An option that is None counts as not given, except where None means something. A
    config that is a callable is asked here, and again at each connect; a password that is one only at each connect.

    Args:
        config: Options by name, a URL, or a callable that returns either; None means the variable ``IMPROVED_DB_URL``
            or, if there is none, the option files. An empty dict means none of these.
        options: Keyword arguments. Pass both sealed (`Secret.of`, `seal`) where a traceback might show the caller.
        driver_options: Names of the driver's options.
        environ: Where the variable is looked up.
        option_files: Read as the last resort, and for a ``read_default_group`` without ``read_default_file``.

    Raises:
        ConfigError: Something given cannot be meant. What a callable raises passes through.
    """
    source, label = Secret.of(config), "the URL"
    if source.value is None:
        source, label = Secret(environ.get(URL_VARIABLE) or None), URL_VARIABLE
    given = seal(options)
    del config, options, environ  # a traceback shows locals
    known = driver_options | OWN
    gather = partial(_gathered, source, label, accepted(given, known), known, option_files)
    found = gather()
    again = partial(_connect_options, gather) if _is_asked(source) else None
    connect = ConnectOptions(_driver_part(found), again)
    own = {name: sealed.value for name, sealed in found.items() if name in OWN}
    if at_once := own.get("pool_init_size"):
        own["max_size"] = max(at_once, own.get("max_size", _MAX_SIZE))
    outside_pool = {
        "retry_source": own.pop("retry", DEFAULT_RETRY),
        "deadline": own.pop("deadline", None),
        "connection_pool": own.pop("connection_pool", False),
        "pool_init_size": own.pop("pool_init_size", None),
        "aware_datetimes": own.pop("aware_datetimes", "refuse"),
    }
    return Settings(pool=PoolSettings(**{"name": connect.address, **own}), connect=connect, **outside_pool)


def _is_asked(source: Sealed) -> bool:
    return callable(source.value) and not isinstance(source.value, Mapping)


def _connect_options(gather: Callable[[], Options]) -> ConnectOptions:
    return ConnectOptions(_driver_part(gather()))


def _driver_part(found: Options) -> dict[str, object]:
    return {name: sealed if name in HIDDEN else sealed.value for name, sealed in found.items() if name not in OWN}


def _gathered(
    source: Sealed, label: str, given: Options, known: frozenset[str], files: Sequence[str | Path]
) -> Options:
    """Return the options of all sources in one."""
    found = _over(given, _from_source(source, label, known))
    file = found.pop("read_default_file", Secret(None)).value
    group = found.pop("read_default_group", Secret(None)).value
    if file or group or source.value is None:
        found = _over(found, from_option_files([file] if file else files, group, named=bool(file)))
    return {"autocommit": Secret(True), **found}


def _from_source(source: Sealed, label: str, known: frozenset[str]) -> Options:
    if source.value is None:
        return {}
    asked = _is_asked(source)
    answer = Secret.of(source.value()) if asked else source
    if isinstance(answer.value, str):
        return accepted(from_url(answer, label), known, where=label)
    if isinstance(answer.value, Mapping):
        return accepted(seal(answer.value), known)
    verb = "config() must return" if asked else "config must be"
    raise ConfigError(f"{verb} a dict of options or a URL, not {describe(answer)}")


_TLS: Final = ("ssl", "ssl_ca", "ssl_cert", "ssl_key", "ssl_key_password", "ssl_verify_cert", "ssl_verify_identity")
#: An option that is given, and what it leaves out of the sources it wins over: the driver would prefer these.
_SETTLES: Final[Mapping[str, frozenset[str]]] = {
    "host": frozenset({"unix_socket"}),
    **dict.fromkeys(_TLS, frozenset({"ssl_disabled"})),
    "ssl": frozenset({*_TLS, "ssl_disabled"}),
}


def _over(higher: Options, lower: Options) -> Options:
    settled = frozenset[str]().union(*(names for given, names in _SETTLES.items() if given in higher))
    return {**{name: value for name, value in lower.items() if name not in settled}, **higher}
