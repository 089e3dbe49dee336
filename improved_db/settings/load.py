"""The settings of one `ImprovedDb`, read once from everything a user may give.

The only reader of dict, URL, keyword arguments, environment and option file. Later sources in this list win: option
file, ``MYSQL_HOST`` and its kin, ``DATABASE_URL``, ``IMPROVED_DB_URL``, config, keyword arguments. Of config and the
two variables with a URL, only the strongest is read, and what is weaker than these three only if there is none of them.
The variables that other programs read, too, count only if no keyword argument names the server. Nothing here prints a
password or puts one into an error.

Knows the sources and which of them wins. Does not know what the settings are used for.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final

from improved_db.errors import ConfigError
from improved_db.settings.options import HIDDEN, OWN, accepted, describe
from improved_db.settings.secret import Options, Sealed, Secret, seal
from improved_db.settings.settings import (
    DEFAULT_RETRY,
    MAX_SIZE,
    ClusterSettings,
    ConnectOptions,
    PoolSettings,
    Settings,
)
from improved_db.settings.sources import (
    SHARED_URL_VARIABLE,
    URL_VARIABLE,
    from_option_files,
    from_url,
    from_variables,
)

if TYPE_CHECKING:
    from pathlib import Path

#: Read if there is neither a config nor a variable with a URL; a missing file is not an error.
OPTION_FILES: Final = ("~/.my.cnf",)
#: Keyword arguments that say which server: a password or database in a shared variable would be another server's.
NAMES_SERVER: Final = frozenset({"host", "unix_socket", "read_default_file", "read_default_group"})

#: What an error adds if it cannot connect, or log in, and no source has named a server.
UNNAMED: Final = (
    f"no config and no host was given, {URL_VARIABLE}, {SHARED_URL_VARIABLE} and MYSQL_HOST are not set, and no option "
    "file names a host: this is PyMySQL's default"
)

Config = Mapping[str, object] | str | Sequence[object]


def load(
    config: Config | Callable[[], Config] | Sealed | None,
    options: Mapping[str, object],
    *,
    driver_options: frozenset[str],
    environ: Mapping[str, str] = os.environ,
    option_files: Sequence[str | Path] = OPTION_FILES,
) -> Settings:
    """Return the settings that all sources give together.

    A source's ``host`` replaces the ``unix_socket`` of weaker sources, its ``ssl`` their ``ssl_*``, and each of these
    TLS options their ``ssl_disabled``. An option that is None counts as missing, except where None has a meaning. If
    the config is a callable, it is called here and at each connect; if the password is one, at each connect only.

    Args:
        config: Options by name, a URL, a list of servers, or a callable that returns one of these; None means
            ``IMPROVED_DB_URL`` or ``DATABASE_URL`` or, without both, ``MYSQL_*`` and the option files. An empty dict
            means none of these.
        options: Keyword arguments. Pass both sealed (`Secret.of`, `seal`) where a traceback might show the caller.
        driver_options: Names of the driver's options.
        environ: Where the variables are looked up.
        option_files: Read if config and URL are missing, or a ``read_default_group`` has no ``read_default_file``.

    Raises:
        ConfigError: An option has an unknown name or an invalid value. What a callable raises passes through.
    """
    given = seal(options)
    sealed, around = Secret.of(config), Secret(environ)
    del config, options, environ  # a traceback shows the locals
    known = driver_options | OWN
    taken = accepted(given, known)
    source, label, variables = chosen(sealed, around, taken)
    gather = partial(_gathered, source, label, taken, known, variables, option_files)
    found = gather()
    own = {name: sealed.value for name, sealed in found.items() if name in OWN}
    of_cluster = {name: own.pop(name) for name in _OF_CLUSTER & own.keys()}
    asked = _is_asked(source)
    cluster: ClusterSettings | None = None
    several = "hosts" in found or "," in str(found.get("host", Secret("")).value)
    if several or "topology" in of_cluster or of_cluster.get("discover"):
        from improved_db.settings.hosts import cluster_of  # noqa: PLC0415  # only a list of servers needs it

        cluster = cluster_of(found, partial(_for_one, taken), gather if asked else None, of_cluster)
        connect, size = cluster.hosts[0].connect, cluster.hosts[0].max_size
        if cluster.topology is None and len(cluster.hosts) == 1 and not cluster.discover:
            cluster, own = None, {**own, **({} if size is None else {"max_size": size})}
    else:
        hint = UNNAMED if source.value is None and not found.keys() & {"host", "unix_socket"} else ""
        connect = ConnectOptions(_driver_part(found), partial(_connect_options, gather) if asked else None, hint)
    if at_once := own.get("pool_init_size"):
        own["max_size"] = max(at_once, own.get("max_size", MAX_SIZE))
    outside_pool = {
        "retry_source": own.pop("retry", DEFAULT_RETRY),
        "deadline": own.pop("deadline", None),
        "connection_pool": own.pop("connection_pool", False),
        "pool_init_size": own.pop("pool_init_size", None),
        "reset": own.pop("reset", "rollback"),
        "configure": own.pop("configure", None),
        "aware_datetimes": own.pop("aware_datetimes", "refuse"),
        "multiplex": own.pop("multiplex", "auto"),
        "pipelining": own.pop("pipelining", "auto"),
        "statements": own.pop("statements", 500),
        "slow_query_threshold": own.pop("slow_query_threshold", 1.0),
    }
    pool = PoolSettings(**{"name": connect.address if cluster is None else cluster.name(connect.database), **own})
    return Settings(pool=pool, connect=connect, cluster=cluster, **outside_pool)


_OURS: Final = OWN | {"hosts"}
#: The options that say how several servers are used.
_OF_CLUSTER: Final = frozenset(ClusterSettings._fields) & OWN


def chosen(config: Sealed, environ: Secret[Mapping[str, str]], given: Options) -> tuple[Sealed, str, Options]:
    """Return the config or the variable in place of None, what errors call it, and the options of other variables.

    Args:
        config: As for `load`.
        environ: As for `load`.
        given: The keyword arguments.

    Raises:
        ConfigError: A variable is invalid.
    """
    if config.value is not None:
        return config, "the URL", {}
    own, shared = (Secret(environ.value.get(name) or None) for name in (URL_VARIABLE, SHARED_URL_VARIABLE))
    if own.value is not None or given.keys() & NAMES_SERVER:
        return own, URL_VARIABLE, {}
    if shared.value is not None:
        return shared, SHARED_URL_VARIABLE, {}
    return own, URL_VARIABLE, from_variables(environ.value)


def _is_asked(source: Sealed) -> bool:
    return callable(source.value) and not isinstance(source.value, Mapping)


def _connect_options(gather: Callable[[], Options]) -> ConnectOptions:
    return ConnectOptions(_driver_part(gather()))


def _for_one(given: Options, mine: Options, common: Options) -> dict[str, object]:
    """Return the driver's options for one server of several: *given* wins, but says nothing about its place."""
    kept = {name: value for name, value in given.items() if name not in {"host", "port", "unix_socket"}}
    return _driver_part(_with_trust(_over(kept, _over(mine, common))))


def _driver_part(found: Options) -> dict[str, object]:
    return {name: sealed if name in HIDDEN else sealed.value for name, sealed in found.items() if name not in _OURS}


def _gathered(
    source: Sealed,
    label: str,
    given: Options,
    known: frozenset[str],
    variables: Options,
    files: Sequence[str | Path],
) -> Options:
    """Return the options of all sources together."""
    found = _over(_over(given, from_source(source, label, known)), variables)
    file = found.pop("read_default_file", Secret(None)).value
    group = found.pop("read_default_group", Secret(None)).value
    if file or group or source.value is None:
        found = _over(found, from_option_files([file] if file else files, group, named=bool(file)))
    return {"autocommit": Secret(True), **_with_trust(found)}


def _with_trust(found: Options) -> Options:
    """Let a given ``ssl_ca`` verify the server's certificate, as MySQL's own client does (VERIFY_CA).

    PyMySQL would load it and verify nothing, unless another option says so.

    Raises:
        ConfigError: The file of a certificate or key that would be used does not exist.
    """
    if "ssl_disabled" in found and found["ssl_disabled"].value:
        return found
    for name in _CERTIFICATES & found.keys():
        if not os.path.exists(found[name].value):
            raise ConfigError(f"{name} must be the path of a file that exists")
    if "ssl_ca" in found and "ssl_verify_cert" not in found:
        return {**found, "ssl_verify_cert": Secret(True)}
    return found


def from_source(source: Sealed, label: str, known: frozenset[str]) -> Options:
    """Return the options that the config, or the variable, gives.

    Raises:
        ConfigError: It is invalid. What a callable raises passes through.
    """
    if source.value is None:
        return {}
    asked = _is_asked(source)
    answer = Secret.of(source.value()) if asked else source
    if isinstance(answer.value, str):
        return accepted(from_url(answer, label), known, where=label)
    if isinstance(answer.value, Mapping):
        return accepted(seal(answer.value), known)
    if isinstance(answer.value, (list, tuple)):
        from improved_db.settings.hosts import members_of, shared  # noqa: PLC0415  # only a list needs it

        members = members_of(answer, known)
        return {**shared(members), "hosts": Secret(members)}
    verb = "config() must return" if asked else "config must be"
    raise ConfigError(f"{verb} a dict of options, a URL or a list of servers, not {describe(answer)}")


_CERTIFICATES: Final = frozenset({"ssl_ca", "ssl_cert", "ssl_key"})
_TLS: Final = ("ssl", "ssl_ca", "ssl_cert", "ssl_key", "ssl_key_password", "ssl_verify_cert", "ssl_verify_identity")
#: An option, and those of weaker sources that it replaces: the driver would prefer them.
_SETTLES: Final[Mapping[str, frozenset[str]]] = {
    "host": frozenset({"unix_socket", "hosts"}),
    "unix_socket": frozenset({"hosts"}),
    "hosts": frozenset({"host", "port", "unix_socket"}),  # a list
    **dict.fromkeys(_TLS, frozenset({"ssl_disabled"})),
    "ssl": frozenset({*_TLS, "ssl_disabled"}),
}


def _over(higher: Options, lower: Options) -> Options:
    settled = frozenset[str]().union(*(names for given, names in _SETTLES.items() if given in higher))
    return {**{name: value for name, value in lower.items() if name not in settled}, **higher}
