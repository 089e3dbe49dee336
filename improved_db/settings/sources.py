"""Options from text: a database URL, MySQL's environment variables, and its option files.

Knows how a URL and an option file are written. Does not know which source wins.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Final

from improved_db.errors import ConfigError
from improved_db.settings.options import ALIASES, HIDDEN, accepted, checked
from improved_db.settings.secret import Options, Sealed, Secret

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

#: The variable with a URL for this package alone, and the one that other programs read, too.
URL_VARIABLE: Final = "IMPROVED_DB_URL"
SHARED_URL_VARIABLE: Final = "DATABASE_URL"
#: The variables of MySQL's own programs, and the options that they give.
VARIABLES: Final = {
    "MYSQL_HOST": "host",
    "MYSQL_TCP_PORT": "port",
    "MYSQL_UNIX_PORT": "unix_socket",
    "MYSQL_USER": "user",
    "MYSQL_PWD": "password",
    "MYSQL_DATABASE": "database",
}

_SCHEMES: Final = ("mysql", "mariadb", "mysql+pymysql", "mariadb+pymysql")
_FORM: Final = "mysql://user:password@host:3306/database?option=value"
_ENCODE: Final = "percent-encode it: urllib.parse.quote(text, safe='')"
# Not urllib.parse: it caches the URLs it has split, its errors repeat them, and its import takes milliseconds.
_URL: Final = (
    r"(?s)(?P<scheme>[^:/?#]*)://"
    r"(?:(?P<user>[^:/?#]*)(?::(?P<password>[^/?#]*))?@)?"
    r"(?P<servers>[^/?#@]*)"
    r"(?:/(?P<database>[^?#]*))?(?:\?(?P<query>[^#]*))?(?P<fragment>#.*)?"
)
_SERVER: Final = r"(?s)(?:\[(?P<address>[^\]]*)\]|(?P<host>[^:\[\]]*))(?::(?P<port>.*))?"


def parse_url(url: str | Secret[str]) -> dict[str, object]:
    """Split a database URL into options.

    Everything is percent-decoded; in the query ``+`` is a space, as `urllib.parse.urlencode` writes it. Options of the
    query get their types; their names are not checked here.

    Args:
        url: ``mysql://``, ``mariadb://`` or either with ``+pymysql``; ``user:password@`` may be missing, an IPv6
            address is in brackets, the host may be missing if the query has ``unix_socket`` or ``host``. Several hosts
            have commas between, each with its own port, and stay one text here.

    Returns:
        The options in the URL, by the driver's names. The password is a `Secret`.

    Raises:
        ConfigError: The URL is invalid; the text repeats no part of it.
    """
    sealed = Secret.of(url)
    del url  # a traceback shows the locals
    return {name: value if name in HIDDEN else value.value for name, value in from_url(sealed, "the URL").items()}


def from_url(url: Sealed, where: str) -> Options:
    """Do as `parse_url` does, with every value sealed; *where* names the URL in errors."""
    parts: Sealed = Secret(re.fullmatch(_URL, url.value))
    _check_shape(parts, where)
    found: Options = {}
    servers = Secret(parts.value["servers"])
    for name in ("user", "password", "database"):
        text = Secret(parts.value[name])
        if text.value:
            found[name] = checked(name, _decoded(text, name, where), where=where, text=True)
    if "," in servers.value:
        found["host"] = _decoded(servers, "host", where)
    else:
        found |= server_from(servers, where)
    for pair in map(Secret, (parts.value["query"] or "").split("&")):
        if pair.value:
            _read_pair(pair, found, where)
    if not found.keys() & {"host", "unix_socket", "read_default_file"}:
        raise _unreadable("it names no host", where)
    return found


def _check_shape(parts: Sealed, where: str) -> None:
    if parts.value is None:
        raise _unreadable("it is not a URL", where)
    if parts.value["scheme"].lower() not in _SCHEMES:
        raise _unreadable(f"it does not begin with one of {', '.join(_SCHEMES)}", where)
    if any("@" in (parts.value[name] or "") for name in ("database", "query", "fragment")):
        raise _unreadable(f"it has an '@' after the host; if '/', '?' or '#' is part of the password, {_ENCODE}", where)
    if parts.value["fragment"]:
        raise _unreadable(f"it has a '#'; if that is part of a value, {_ENCODE}", where)
    if "/" in (parts.value["database"] or ""):
        raise _unreadable(f"it names more than one database; if '/' is part of the name, {_ENCODE}", where)


def server_from(text: Sealed, where: str) -> Options:
    """Return the host and the port, where they are given, of ``host``, ``host:port`` or ``[address]:port``.

    Raises:
        ConfigError: It is none of them; the text repeats no part of it.
    """
    parts: Sealed = Secret(re.fullmatch(_SERVER, text.value))
    if parts.value is None:
        raise _unreadable("it is not a URL", where)
    if not re.fullmatch(r"[0-9A-Fa-f:.]+(%.+)?", parts.value["address"] or "::"):
        raise _unreadable("the text in brackets is not an IPv6 address", where)
    found = {"host": Secret(parts.value["address"] or parts.value["host"]), "port": Secret(parts.value["port"])}
    return {
        name: checked(name, _decoded(value, name, where), where=where, text=True)
        for name, value in found.items()
        if value.value
    }


def _read_pair(pair: Sealed, found: Options, where: str) -> None:
    if "=" not in pair.value:
        raise _unreadable("its query has a part without '='", where)
    name = _decoded(Secret(pair.value.partition("=")[0]), "name of an option", where)
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", name.value):
        raise _unreadable("its query has a text before '=' that is not an option's name", where)
    # MySQL writes its options with dashes (ssl-mode), Python cannot.
    right = ALIASES.get(name.value.replace("-", "_"), name.value.replace("-", "_"))
    if right in found:
        raise _unreadable(f"it gives {right} twice", where)
    text = Secret(pair.value.partition("=")[2].replace("+", " "))
    found[right] = checked(right, _decoded(text, right, where), where=where, text=True)


_ESCAPE: Final = rb"%(..)"


def _decoded(text: Sealed, what: str, where: str) -> Sealed:
    if re.search(r"%(?![0-9A-Fa-f]{2})", text.value):
        raise _unreadable(
            f"the {what} has a '%' without two hexadecimal digits after it; for the sign itself write %25", where
        )
    try:
        return Secret(re.sub(_ESCAPE, lambda escape: bytes.fromhex(escape[1].decode()), text.value.encode()).decode())
    except UnicodeError:
        pass  # its error has the text in it
    raise _unreadable(f"the {what} is not UTF-8 when percent-decoded", where)


def _unreadable(reason: str, where: str) -> ConfigError:
    other = f". If it is for another program, set {URL_VARIABLE}" if where == SHARED_URL_VARIABLE else ""
    return ConfigError(f"{where} cannot be read: {reason}. Write {_FORM}{other}")


def from_variables(environ: Mapping[str, str]) -> Options:
    """Return the options that the variables of MySQL's own programs give; an empty variable counts as missing.

    As with those programs, a socket counts only where no other host than localhost is given.

    Raises:
        ConfigError: A value is invalid.
    """
    texts: Options = {name: Secret(environ[name]) for name in VARIABLES if environ.get(name)}
    del environ  # a traceback shows the locals
    if "MYSQL_HOST" in texts and texts["MYSQL_HOST"].value != "localhost":
        texts.pop("MYSQL_UNIX_PORT", None)
    return {VARIABLES[name]: checked(VARIABLES[name], text, where=name, text=True) for name, text in texts.items()}


#: The options that are read from an option file: MySQL's name (dashes as underscores), and the driver's. A file has
#: many more, for other programs.
_FILE_NAMES: Final = {
    **{name: name for name in ("user", "password", "host", "port", "database", "bind_address")},
    **{name: name for name in ("ssl_ca", "ssl_cert", "ssl_key", "ssl_mode")},
    "ssl_verify_server_cert": "ssl_verify_identity",
    "socket": "unix_socket",
    "default_character_set": "charset",
}


def from_option_files(paths: Sequence[str | Path], group: str | None, *, named: bool) -> Options:
    """Read ``[client]``, and then *group*, of MySQL's option files; later values win.

    Written after "Using Option Files" of MySQL's manual, with one difference, PyMySQL's: a ``#`` begins a comment only
    after white space, so that an unquoted password may have one. As with PyMySQL, ``ssl-ca`` in a file means that the
    server's certificate and name are verified, unless ``ssl-mode`` or ``ssl-verify-server-cert`` says otherwise.

    Args:
        paths: Files, ``~`` allowed.
        group: Another group, which must exist, or None.
        named: Whether the caller named these files; if not, a file that cannot be read counts as empty.

    Raises:
        ConfigError: A named file cannot be read, no file has the group, or a value is invalid.
    """
    found: Options = {}
    groups: set[str] = set()
    for path in paths:
        sections = _sections(_lines(path, named=named))
        groups |= sections.keys()
        for section in ("client", group):
            found |= _translated(sections.get(section or "", {}), str(path))
    if group is not None and group not in groups:
        raise ConfigError(f"there is no group [{group}] in {', '.join(map(str, paths))}")
    found = accepted(found, frozenset(found))
    return (
        {"ssl_verify_cert": Secret(True), "ssl_verify_identity": Secret(True), **found} if "ssl_ca" in found else found
    )


def line_of(path: str | Path, group: str | None) -> dict[str, str]:
    """Return where an option file has each option that counts: ``~/.my.cnf:7 [client]``, by the driver's names."""
    section, found = "", dict[str, str]()
    by_group: dict[str, dict[str, str]] = {}
    for number, line in enumerate(map(str.strip, _lines(path, named=False).value), 1):
        if header := re.match(r"\[([^\]]*)\]", line):
            section = header[1].strip()
            found = by_group.setdefault(section, {})
        elif line and line[0] not in "#;!":
            name = line.partition("=")[0].strip().lower().replace("-", "_")
            if name in _FILE_NAMES:
                found[_FILE_NAMES[name]] = f"{path}:{number} [{section}]"
    return {**by_group.get("client", {}), **by_group.get(group or "", {})}


def _lines(path: str | Path, *, named: bool) -> Sealed:
    try:
        # Bytes that are not UTF-8 survive as surrogates and reach the server as they were.
        with open(os.path.expanduser(path), encoding="utf-8-sig", errors="surrogateescape") as file:
            return Secret(list(file))
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not a path"
    if named:
        raise ConfigError(f"the option file {path} cannot be read: {reason}")
    return Secret([])


def _sections(lines: Sealed) -> dict[str, Options]:
    sections: dict[str, Options] = {}
    section: Options = {}
    for line in map(str.strip, lines.value):
        if header := re.match(r"\[([^\]]*)\]", line):
            section = sections.setdefault(header[1].strip(), {})
        elif line and line[0] not in "#;!":
            name, equals, text = line.partition("=")
            section[name.strip().lower().replace("-", "_")] = Secret(_value(text) if equals else None)
    return sections


_UNCOMMENTED: Final = r"""(?:"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|\S|\s+(?!\#|\s))*"""
_ESCAPES: Final = {"b": "\b", "t": "\t", "n": "\n", "r": "\r", "s": " ", "\\": "\\", "'": "'", '"': '"'}


def _value(text: str) -> str:
    match = re.match(_UNCOMMENTED, text)
    text = match[0].strip() if match else text
    if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":
        text = text[1:-1]
    return re.sub(r"""\\([btnrs\\'"])""", lambda escape: _ESCAPES[escape[1]], text)


def _translated(section: Options, where: str) -> Options:
    if "ssl_capath" in section:  # without it, less would be verified than the file asks for
        raise ConfigError(f"{where}: the driver has no ssl-capath; give ssl=<an ssl.SSLContext> instead")
    if "ssl_verify_server_cert" in section and section["ssl_verify_server_cert"].value is None:
        section = {**section, "ssl_verify_server_cert": Secret("on")}
    return {
        _FILE_NAMES[name]: checked(_FILE_NAMES[name], value, where=where, text=True)
        for name, value in section.items()
        if name in _FILE_NAMES and value.value is not None
    }
