"""The names of all options, their valid values, and the errors for invalid ones.

A value is sealed in a `Secret` the moment it arrives, and a secret one stays so until the driver gets it: error
reporters print the locals of a traceback's frames, and even a misspelt option may hold a password. For the same reason
an error repeats names and numbers, never a text that was given as a value.

Knows the names and types of the options, the driver's and ours. Does not know where a value comes from or goes to.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple, NoReturn

from improved_db.errors import ConfigError
from improved_db.settings.secret import Options, Sealed, Secret, seal


class Kind(NamedTuple):
    """One kind of value.

    Attributes:
        must: What is valid, as an error says it after "must be".
        take: Returns the value as the program needs it; raises TypeError, ValueError or OverflowError if it is invalid.
        read: Turns the text in a URL or option file into a value for *take*; None if the option has no text form.
        nullable: Whether None is a value; if not, None counts as missing.
    """

    must: str
    take: Callable[[Any], object]
    read: Callable[[str], object] | None = str
    nullable: bool = False


def _fits(test: Callable[[Any], object]) -> Callable[[Any], object]:
    def take(value: object) -> object:
        if not test(value):
            raise ValueError
        return value

    return take


def _whole(low: int, high: int | None = None) -> Kind:
    def test(value: object) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and low <= value and not (high and value > high)

    return Kind(
        must=f"an int from {low} to {high}" if high else f"an int of at least {low}", take=_fits(test), read=_read_int
    )


def _real(must: str, test: Callable[[float], bool]) -> Kind:
    def take(value: object) -> object:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not test(value):
            raise ValueError
        return float(value)

    return Kind(must=must, take=take, read=float)


def _one_of(*words: str) -> Kind:
    listed = f"{', '.join(map(repr, words[:-1]))} or {words[-1]!r}"
    return Kind(must=listed, take=_fits(lambda value: isinstance(value, str) and value in words))


def _or_none(kind: Kind) -> Kind:
    def read(text: str) -> object:
        return None if text.lower() == "none" else kind.read and kind.read(text)

    return kind._replace(must=f"{kind.must}, or None", read=kind.read and read, nullable=True)


def _read_int(text: str) -> object:
    return int(text) if re.fullmatch(r"-?[0-9]+", text) else text  # int() alone takes "3_306"


_TRUTH: Final = {
    "true": True,
    "yes": True,
    "on": True,
    "1": True,
    "false": False,
    "no": False,
    "off": False,
    "0": False,
}


def _read_bool(text: str) -> object:
    return _TRUTH.get(text.lower(), text)


def _take_bool(value: object) -> object:
    if not (isinstance(value, int) and value in (0, 1)):  # PyMySQL's users write local_infile=1
        raise ValueError
    return bool(value)


def _take_verify(value: object) -> object:
    return value if value in ("none", "optional", "required") else _take_bool(value)


def _is_text(value: object) -> bool:
    # This refuses an unpaired surrogate before a codec does, whose error would have the whole password in it.
    return isinstance(value, bytes) or (isinstance(value, str) and value.encode("utf-8", "surrogateescape") is not None)


def _is_host(value: object) -> bool:
    return isinstance(value, str) and not re.search(r"[/@\s]", value)


#: MySQL's --ssl-mode, which the URLs of hosting companies have, as options of the driver.
_SSL_MODES: Final[Mapping[str, Mapping[str, object]]] = {
    "disabled": {"ssl_disabled": True},
    "preferred": {"ssl_disabled": False, "ssl_verify_cert": False},  # as in MySQL, neither verifies
    "required": {"ssl": {"verify_mode": "none"}, "ssl_verify_cert": False},
    "verify_ca": {"ssl_verify_cert": True, "ssl_verify_identity": False},
    "verify_identity": {"ssl_verify_cert": True, "ssl_verify_identity": True},
}
_YEAR: Final = 31_536_000  # seconds, the driver's limit for connect_timeout

_ANY: Final = Kind(must="anything", take=_fits(lambda _: True))
_OBJECT: Final = _ANY._replace(read=None)
_CALLABLE: Final = Kind(must="a callable", take=_fits(callable), read=None)
_MAPPING: Final = Kind(must="a dict", take=_fits(lambda value: isinstance(value, Mapping)), read=None)
_STRING: Final = Kind(must="a str", take=_fits(lambda value: isinstance(value, str)))
_NAME: Final = Kind(must="a str that is not empty", take=_fits(lambda value: isinstance(value, str) and value))
_TEXT: Final = Kind(must="a str or bytes", take=_fits(_is_text))
_PASSWORD: Final = Kind(
    must="a str or bytes, or a callable that returns one", take=_fits(lambda value: callable(value) or _is_text(value))
)
_HOST: Final = Kind(
    must="the name or address of a host, or several with commas between (give a URL as the config)",
    take=_fits(_is_host),
)
_PATH: Final = Kind(must="a path", take=os.fspath)
_BOOL: Final = Kind(must="a bool (in a URL true, yes, on, 1 or false, no, off, 0)", take=_take_bool, read=_read_bool)
_VERIFY: Final = Kind(must="a bool, or 'none', 'optional' or 'required'", take=_take_verify, read=_read_bool)
_SECONDS: Final = _real("seconds, more than 0 and at most a year", lambda seconds: 0 < seconds <= _YEAR)
_SECONDS_OR_ZERO: Final = _real("seconds, at least 0 and at most a year", lambda seconds: 0 <= seconds <= _YEAR)
_RESET: Final = Kind(
    must="'rollback', 'session' or a callable",
    take=_fits(lambda value: callable(value) or value in ("rollback", "session")),
)
_AWARE: Final = _one_of("refuse", "session", "utc")
_MULTIPLEX: Final = Kind(
    must="'auto' or False",
    take=_fits(lambda value: value == "auto" or value is False),
    read=lambda text: text if text == "auto" else _read_bool(text),
)
_PIPELINING: Final = Kind(
    must="'auto', True or False",
    take=_fits(lambda value: value == "auto" or isinstance(value, bool)),
    read=lambda text: text if text == "auto" else _read_bool(text),
)
_TOPOLOGY: Final = _one_of("auto", "replication", "galera", "group", "aurora", "equal", "sequential", "static")
_PREFERENCE: Final = _one_of("primary", "primary_preferred", "replica", "replica_preferred", "nearest")
_SSL_MODE: Final = Kind(
    must="DISABLED, PREFERRED, REQUIRED, VERIFY_CA or VERIFY_IDENTITY",
    take=_fits(lambda value: isinstance(value, str) and value.lower() in _SSL_MODES),
)

#: The driver's options, by PyMySQL's names. An option that is missing here goes to the driver unchecked.
_DRIVER_KINDS: Final[Mapping[str, Kind]] = {
    "host": _HOST,
    "port": _whole(0, 65535),
    "password": _PASSWORD,
    "autocommit": _or_none(_BOOL),
    "client_flag": _whole(0),
    "max_allowed_packet": _whole(1),
    "cursorclass": _CALLABLE,
    "ssl": _OBJECT,
    "ssl_verify_cert": _VERIFY,
    **dict.fromkeys(("user", "database"), _TEXT),
    **dict.fromkeys(("unix_socket", "read_default_file", "ssl_ca", "ssl_cert", "ssl_key"), _PATH),
    **dict.fromkeys(("charset", "collation", "sql_mode", "init_command", "bind_address", "program_name"), _STRING),
    **dict.fromkeys(("read_default_group",), _STRING),
    **dict.fromkeys(("connect_timeout", "read_timeout", "write_timeout"), _SECONDS),
    **dict.fromkeys(
        (
            "use_unicode",
            "local_infile",
            "binary_prefix",
            "ssl_disabled",
            "ssl_verify_identity",
            "enable_cleartext_plugin",
        ),
        _BOOL,
    ),
    **dict.fromkeys(("compress", "named_pipe", "defer_connect"), _BOOL),
    **dict.fromkeys(("conv", "auth_plugin_map"), _MAPPING),
}
_OWN_KINDS: Final[Mapping[str, Kind]] = {
    "name": _NAME,
    "min_size": _whole(0),
    "max_size": _whole(1),
    "acquire_timeout": _SECONDS_OR_ZERO,
    "max_waiting": _or_none(_whole(0)),
    "max_lifetime": _or_none(_SECONDS),
    "lifetime_jitter": _real("a fraction from 0 to 1", lambda part: 0 <= part <= 1),
    "idle_timeout": _or_none(_SECONDS),
    "ping_idle_after": _or_none(_SECONDS_OR_ZERO),
    "ping_timeout": _SECONDS,
    "keepalive": _or_none(_SECONDS),
    "leak_warn_after": _or_none(_SECONDS),
    "max_opening": _whole(1),
    "reset": _RESET,
    **dict.fromkeys(("configure", "check", "on_leak"), _or_none(_CALLABLE)),
    "deadline": _or_none(_SECONDS),
    "statements": _whole(0, 100_000),
    "slow_query_threshold": _or_none(_SECONDS_OR_ZERO),
    "retry": _or_none(_OBJECT),
    "connection_pool": _BOOL,
    "pool_init_size": _whole(0),
    "aware_datetimes": _AWARE,
    "multiplex": _MULTIPLEX,
    "pipelining": _PIPELINING,
    "ssl_mode": _SSL_MODE,
    "topology": _or_none(_TOPOLOGY),
    "read_preference": _PREFERENCE,
    "max_replication_lag": _or_none(_SECONDS),
    "causal_reads": _BOOL,
    "causal_timeout": _SECONDS,
    "monitor_interval": _SECONDS,
    "discover": _BOOL,
    "zone": _or_none(_NAME),
    "on_failover": _or_none(_CALLABLE),
}
#: What `Host` takes and no other.
_HOST_KINDS: Final[Mapping[str, Kind]] = {
    "role": _or_none(_one_of("primary", "replica")),
    "weight": _real("a number above 0; a host that shall get no reads has no place in the list", lambda part: part > 0),
}
_KINDS: Final[Mapping[str, Kind]] = {**_DRIVER_KINDS, **_OWN_KINDS, **_HOST_KINDS}

#: The options of this package, not the driver's.
OWN: Final = frozenset(_OWN_KINDS)
#: Options whose value is never shown: ``ssl`` may be a dict with a key's password, a plugin may hold any secret.
HIDDEN: Final = frozenset({"password", "ssl", "ssl_key_password", "auth_plugin_map"})
#: Spellings that the driver deprecates, and its own.
ALIASES: Final[Mapping[str, str]] = {"passwd": "password", "db": "database"}
#: What other pools call our options; only a hint has these names.
SYNONYMS: Final[Mapping[str, str]] = {
    **dict.fromkeys(("pool_size", "maxsize", "maxconnections", "max_connections", "maxcached"), "max_size"),
    **dict.fromkeys(("minsize", "mincached"), "min_size"),
    **dict.fromkeys(("pool_recycle", "recycle", "max_age"), "max_lifetime"),
    "pool_timeout": "acquire_timeout",
    "pool_pre_ping": "ping_idle_after",
    "max_idle": "idle_timeout",
    "pool_name": "name",
}
#: Options of the driver that are refused, and why.
REFUSED: Final[Mapping[str, str]] = {
    "defer_connect": "the pool and connect() open connections when they are needed",
    "compress": "PyMySQL does not support it",
    "named_pipe": "PyMySQL does not support it",
}


def checked(name: str, sealed: Sealed, *, where: str = "", text: bool = False, called: str = "") -> Sealed:
    """Return the value of the option *name* as the program needs it, sealed.

    Args:
        name: A known option, or one that only the driver knows.
        sealed: Its value.
        where: The source, for the error; empty for an argument.
        text: Whether the value is text from a URL or option file and has to be read first.
        called: The caller's own name for the option, if it has one, for the error.

    Raises:
        ConfigError: The value is invalid; the text says what is valid.
    """
    right = ALIASES.get(name, name)
    kind = _KINDS.get(right, _ANY)
    if text and kind.read is None:
        raise ConfigError(f"{at(where)}{called or name} cannot be written as text; give it as a keyword argument")
    try:
        value = Secret(kind.read(sealed.value) if text and kind.read else sealed.value)
        return value if value.value is None and kind.nullable else Secret(kind.take(value.value))
    except (TypeError, ValueError, OverflowError):
        pass  # raised below: the error of a conversion has the value in it, here and as __context__
    shown = "" if text else f", not {describe(sealed, hidden=right in HIDDEN)}"
    raise ConfigError(f"{at(where)}{called or name} must be {kind.must}{shown}")


def answered(sealed: Sealed) -> Sealed:
    """Return what a password callable returned.

    Raises:
        ConfigError: It is not a str or bytes.
    """
    if isinstance(sealed.value, (str, bytes)):
        return checked("password", sealed)
    raise ConfigError(f"password() must return a str or bytes, not {describe(sealed, hidden=True)}")


def at(where: str) -> str:
    """Return the beginning of an error's text: the source it is about."""
    return f"{where}: " if where else ""


def describe(sealed: Sealed, *, hidden: bool = False) -> str:
    """Return a small number itself, and for every other value its type."""
    if sealed.value is None:
        return "None"
    if not hidden and isinstance(sealed.value, (int, float)) and not abs(sealed.value) > 1e15:  # NaN is shown
        return repr(sealed.value)
    return f"a value of type {type(sealed.value).__name__}"


def accepted(values: Options, known: frozenset[str], *, where: str = "") -> Options:
    """Return one source's options, checked and under the driver's names, without those whose None has no meaning.

    Args:
        values: Options by name.
        known: Every valid name.
        where: The source, for errors; empty for arguments.

    Raises:
        ConfigError: A name is unknown or refused, a value is invalid, or two spellings of one name disagree.
    """
    found: Options = {}
    for name, sealed in values.items():
        if name not in known:
            _refuse_unknown(name, known, where)
        right = ALIASES.get(name, name)
        if sealed.value is None and not _KINDS.get(right, _OBJECT).nullable:
            continue
        value = checked(name, sealed, where=where)
        if name in REFUSED:
            if value.value:
                raise ConfigError(f"{at(where)}{name} is not supported: {REFUSED[name]}")
            continue
        if right in found and found[right] != value:
            raise ConfigError(f"{at(where)}two spellings of {right!r} are given with different values; keep that one")
        found[right] = value
    mode = found.pop("ssl_mode", None)
    return found if mode is None else {**seal(_SSL_MODES[mode.value.lower()]), **found}


def _refuse_unknown(name: object, known: frozenset[str], where: str) -> NoReturn:
    if not isinstance(name, str):
        raise ConfigError(f"{at(where)}the name of an option must be a str, not a value of type {type(name).__name__}")
    # A text that does not look like a name may be a piece of a badly written URL.
    quoted = f" {name!r}" if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_-]{0,39}", name) else ""
    names = sorted(known - REFUSED.keys())
    import difflib  # noqa: PLC0415  # only a misspelt name needs it

    ours = SYNONYMS.get(name.lower())
    near = [ours] if ours else difflib.get_close_matches(name[:64].lower().replace("-", "_"), names, n=1, cutoff=0.5)
    hint = (
        f"did you mean {near[0]!r}?"
        if near
        else "the options are those of improved_db.ImprovedDb and of pymysql.connect; help() on either lists them"
    )
    raise ConfigError(f"{at(where)}unknown option{quoted}: {hint}")
