"""The doctor's rules about this end: how this program connects, and how its pool fits the server.

Knows the settings of the client and what the server says of them. Does not know how findings are shown.
"""

from __future__ import annotations

import os
import re
import resource
import socket
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final

from improved_db.cli.findings import Found, Level, Rule
from improved_db.settings.secret import Secret
from improved_db.sql.server import Flavour

if TYPE_CHECKING:
    from collections.abc import Iterator

    from improved_db.cli.findings import Patient

_RESERVED: Final = 3  # connections that an administrator needs when all others are taken
_FILES: Final = 64  # what a process has open besides its connections


def _is_foreign(patient: Patient) -> bool:
    connect = patient.settings.connect
    if connect.unix_socket:
        return False
    found = socket.getaddrinfo(connect.host, connect.port, type=socket.SOCK_STREAM)
    return not all(ip_address(str(entry[4][0]).partition("%")[0]).is_loopback for entry in found)


def tls(patient: Patient) -> Iterator[Found]:
    """Passwords are not sent in clear text, but statements and rows are."""
    if not patient.cipher and _is_foreign(patient):
        why = "every machine on the way can read and change statements and rows"
        yield Found("TLS", "no", why, "add ?ssl_mode=VERIFY_IDENTITY&ssl_ca=/path/to/ca.pem to the URL")


def tls_unverified(patient: Patient) -> Iterator[Found]:
    """TLS with a server that proved nothing."""
    given = patient.settings.connect.get("ssl_verify_cert")
    if patient.cipher and _is_foreign(patient) and given in (None, False, "none"):
        why = "the connection is encrypted, but the other end may be any machine"
        yield Found("ssl_verify_cert", "no", why, "add ?ssl_mode=VERIFY_IDENTITY&ssl_ca=/path/to/ca.pem to the URL")


def charset(patient: Patient) -> Iterator[Found]:
    """The charset of our own session."""
    name = str(patient.rows("select @@character_set_client")[0][0])
    if name != "utf8mb4":
        why = "a character that it lacks is an error, or becomes a question mark"
        yield Found("charset", name, why, "take charset= out of the URL, or write ?charset=utf8mb4")


def max_connections(patient: Patient) -> Iterator[Found]:
    """One pool alone must fit."""
    limit, size = patient.number("max_connections"), patient.settings.pool.max_size
    if limit is not None and size > limit - _RESERVED:
        why = f"the server takes only {limit:g} connections: the pool will get error 1040"
        yield Found("max_size", size, why, f"?max_size={max(1, int(limit) - _RESERVED)}, or SET GLOBAL max_connections")


def fleet(patient: Patient) -> Iterator[Found]:
    """All pools together must fit, too."""
    limit, size = patient.number("max_connections"), patient.settings.pool.max_size
    wanted = size * patient.processes
    if limit is not None and patient.processes > 1 and wanted > 0.8 * limit:
        why = f"{patient.processes} processes may open {wanted} of the server's {limit:g} connections"
        fits = max(1, int(0.8 * limit / patient.processes))
        yield Found("max_size", size, why, f"?max_size={fits}, or SET GLOBAL max_connections = {int(wanted / 0.7)}")


def user_connections(patient: Patient) -> Iterator[Found]:
    """The server's limit for one account."""
    limit, size = patient.number("max_user_connections"), patient.settings.pool.max_size
    if limit and size * patient.processes > limit:
        why = f"the account may have only {limit:g} connections: the pool will get error 1226"
        yield Found("max_size", size, why, f"?max_size={max(1, int(limit) // patient.processes)}")


def wait_timeout(patient: Patient) -> Iterator[Found]:
    """Who ends an idle connection first."""
    limit, idle = patient.number("wait_timeout"), patient.settings.pool.idle_timeout
    if limit is not None and (idle is None or idle >= limit):
        why = f"the server ends idle connections after {limit:g} s, before the pool would"
        yield Found("idle_timeout", idle, why, f"?idle_timeout={max(1, int(limit / 2))}")


def lock_wait(patient: Patient) -> Iterator[Found]:
    """One row that is locked must not empty the pool."""
    wait, pool = patient.number("innodb_lock_wait_timeout"), patient.settings.pool
    shortest = min(pool.acquire_timeout, patient.settings.deadline or pool.acquire_timeout)
    if wait is not None and wait > shortest:
        why = (
            f"a statement waits {wait:g} s for a locked row, callers only {shortest:g} s for a connection: one row "
            "that stays locked takes all connections, one after the other"
        )
        do = f"SET GLOBAL innodb_lock_wait_timeout = {max(1, int(shortest / 2))}"
        yield Found("innodb_lock_wait_timeout", f"{wait:g}", why, do)


def files(patient: Patient) -> Iterator[Found]:
    """Each connection is an open file."""
    limit, size = resource.getrlimit(resource.RLIMIT_NOFILE)[0], patient.settings.pool.max_size
    if limit != resource.RLIM_INFINITY and limit < 2 * size + _FILES:
        why = f"max_size={size} needs more open files than this process may have"
        yield Found("ulimit -n", limit, why, f"ulimit -n {2 * size + _FILES}")


def password_in_arguments(patient: Patient) -> Iterator[Found]:
    """`ps` shows it."""
    if patient.password_source == "the URL":  # noqa: S105  # its source, not itself
        why = "every user of this machine can read it in the list of processes"
        yield Found("--url", "has a password", why, "give it by --password-file or $IMPROVED_DB_URL")


def option_file(patient: Patient) -> Iterator[Found]:
    """Who may read the file with the password."""
    if line := re.fullmatch(r"(.+):\d+ \[.*\]", patient.password_source):
        path = line[1]
        mode = os.stat(os.path.expanduser(path)).st_mode
        if mode & 0o077:
            yield Found(path, f"mode {mode & 0o777:o}", "other users can read the password in it", f"chmod 600 {path}")


def empty_password(patient: Patient) -> Iterator[Found]:
    """An account without a password is open to every program that reaches the port."""
    connect = patient.settings.connect
    if not connect.unix_socket and not Secret.of(connect.get("password")).value:
        why = f"{patient.account} has no password: every program that reaches the port may log in"
        yield Found("password", "none", why, f"ALTER USER {_quoted(patient.account)} IDENTIFIED BY '...'")


def _quoted(account: str) -> str:
    user, _, host = account.rpartition("@")
    return f"'{user}'@'{host}'"


def clock(patient: Patient) -> Iterator[Found]:
    """The two clocks agree."""
    import time  # noqa: PLC0415  # beside its one use

    before = time.time()
    there = float(patient.rows("select unix_timestamp(now(6))")[0][0])
    skew = max(before - there, there - time.time(), 0.0)
    if skew > 1:
        why = "what the program and the server date is not in one order"
        yield Found("clock", f"{skew:.0f} s apart", why, "run a time service (chrony) on both machines")


def proxy(patient: Patient) -> Iterator[Found]:
    """Something between us and the server."""
    if patient.flavour in {Flavour.PROXYSQL, Flavour.VITESS}:
        why = "a proxy answers: session state and KILL may reach another server than you think"
        yield Found("version", patient.text("version"), why, "?reset=session, and pipelining stays off by itself")


RULES: Final = (
    Rule("tls", Level.BAD, tls),
    Rule("tls-unverified", Level.BAD, tls_unverified),
    Rule("charset", Level.BAD, charset),
    Rule("max-connections", Level.BAD, max_connections),
    Rule("user-connections", Level.BAD, user_connections),
    Rule("fleet", Level.WARN, fleet),
    Rule("wait-timeout", Level.WARN, wait_timeout),
    Rule("lock-wait", Level.WARN, lock_wait),
    Rule("files", Level.WARN, files),
    Rule("password-in-arguments", Level.WARN, password_in_arguments),
    Rule("option-file", Level.WARN, option_file),
    Rule("empty-password", Level.WARN, empty_password),
    Rule("clock", Level.WARN, clock),
    Rule("proxy", Level.INFO, proxy),
)
