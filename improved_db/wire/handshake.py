"""Opening a session: the socket, TLS, the handshake and the settings, within one time limit and as few round trips.

Knows sockets, TLS and what makes a session new. Does not know pools, or what the session is used for.
"""

from __future__ import annotations

import logging
import os
import select
import socket
import ssl
import struct
from typing import TYPE_CHECKING, Any, Final

from pymysql import err
from pymysql.constants import COMMAND, CR, SERVER_STATUS

from improved_db.clock import MonotonicClock
from improved_db.failures.verdict import Phase
from improved_db.sql.server import Flavour, flavour_of
from improved_db.wire.buffer import Buffer
from improved_db.wire.exchange import Exchange
from improved_db.wire.support import supported
from improved_db.wire.watching import watch

if TYPE_CHECKING:
    from collections.abc import Callable, MutableMapping

logger: logging.Logger = logging.getLogger("improved_db.wire")

#: Not in PyMySQL's constants (it calls 0x1F COM_END): rolls back and makes the session new, but for its database.
COM_RESET_CONNECTION: Final = 0x1F

#: Seconds: TCP keepalive after silence, between probes, how many, and how long unacknowledged data may stay so.
KEEPALIVE: Final = (30, 10, 3)
USER_TIMEOUT: Final = 60.0

#: What PyMySQL raises if the bytes of a handshake are invalid; UnicodeDecodeError is a ValueError.
GARBLED: Final = (ValueError, LookupError, TypeError, AttributeError, struct.error, AssertionError, UnboundLocalError)

#: Servers that have no READ ONLY of a session: TiDB refuses it, and proxies keep no session.
LENIENT: Final = frozenset({Flavour.TIDB, Flavour.VITESS, Flavour.PROXYSQL})

#: Authentication plugins that send the password in clear text.
CLEAR_TEXT: Final = frozenset({b"mysql_clear_password", b"dialog"})

#: The events of `select.poll` that tell that the other end has closed the socket.
ENDED: Final = sum(getattr(select, name, 0) for name in ("POLLRDHUP", "POLLHUP", "POLLERR"))

#: Seconds that an attempt may take if ``connect_timeout`` sets no limit.
CONNECT_TIMEOUT: Final = 10.0

#: PyMySQL's attributes of a session that a borrower may change.
SESSION_ATTRIBUTES: Final = ("charset", "collation", "encoding", "db", "autocommit_mode", "sql_mode", "cursorclass")


class Handshake(Exchange):
    """A connection that opens quickly, in limited time, and can make its session new again.

    Attributes:
        enable_cleartext_plugin: Whether to send the password in clear text to any server that asks for it.
    """

    #: Our end's TCP port, which the server's process list shows; 0 on a unix socket.
    _local_port: int = 0
    #: When the session began.
    _opened_at: float = 0.0
    #: Which server the session is on, as that server says; empty if it was not asked, or does not say.
    _server_identity: str = ""
    #: The statement that asks for it; None: the server is not asked.
    _identity_query: str | None = None
    #: Where the server is, as the settings name it; empty for a connection of the caller's own.
    _address: str = ""
    #: Whether the server is to refuse writes of this session, from its set-up on.
    _read_only: bool = False
    #: `_prepare` calls it with the connection, each time the session was made new.
    _on_new: Callable[[Any], object] | None = None
    enable_cleartext_plugin: bool = False

    _poller: Any = None
    _as_new: dict[str, Any]
    _tls_contexts: MutableMapping[object, ssl.SSLContext]

    def _create_ssl_ctx(self, sslp: Any) -> ssl.SSLContext:
        """Return the shared context for these options: to build one costs as much CPU as a hundred connects.

        If a certificate file was replaced, read it again.
        """
        if isinstance(sslp, ssl.SSLContext):
            return sslp
        key = tuple(sorted((name, str(value), _stamp(value)) for name, value in sslp.items()))
        context = self._tls_contexts.get(key)
        if context is None:
            self._tls_contexts.clear()  # those of the files before they were replaced
            context = super()._create_ssl_ctx(sslp) if sslp else _unverified_context()
            self._tls_contexts[key] = context
        return context

    def _process_auth(self, plugin_name: bytes, auth_packet: Any, handler: Any = None) -> Any:
        """Answer the server's choice of authentication; without encryption, refuse to send the password in clear."""
        in_clear = plugin_name in CLEAR_TEXT and handler is None
        if in_clear and not self._secure and not self.enable_cleartext_plugin:
            raise err.OperationalError(
                CR.CR_AUTH_PLUGIN_CANNOT_LOAD,
                f"the server asks for the password in clear text ({plugin_name.decode()}) over a connection that is "
                "not encrypted; connect with TLS (ssl_ca=...) or over a unix socket, or allow it with "
                "enable_cleartext_plugin=True",
            )
        return super()._process_auth(plugin_name, auth_packet, handler)

    def connect(self, sock: socket.socket | None = None) -> None:
        """Connect, shake hands and set the session up, all within ``connect_timeout`` seconds.

        Raises:
            pymysql.err.OperationalError: The server cannot be reached, or refuses.
            LoanSpent: This handle was returned to its pool.
        """
        if self._spent:
            raise self._closed_error()
        self._phase, self._touched, self._failed = Phase.CONNECT, False, False
        self._server_identity = ""
        self._as_new = {name: getattr(self, name) for name in SESSION_ATTRIBUTES}
        settings = self.sql_mode, self.init_command, self.autocommit_mode
        clearer: BaseException | None = None
        try:
            self._within(self.connect_timeout or CONNECT_TIMEOUT, lambda: self._open(sock, settings))
        except BaseException as error:
            self._force_close()
            clearer = _clearer(error) or error.with_traceback(None)  # PyMySQL's frames have the password
        finally:
            self.sql_mode, self.init_command, self.autocommit_mode = settings
        if clearer is not None:
            raise clearer  # outside the except clause, so that it does not hold the other error
        self._phase, self._touched = None, False

    def _open(self, sock: socket.socket | None, settings: tuple[Any, Any, Any]) -> None:
        self.sql_mode = self.init_command = self.autocommit_mode = None  # set up below, in one round trip
        self._read_timeout = self._write_timeout = None  # the user's are for statements; `_within` restores them
        if sock is None:
            sock = self._connect_to_path(self.unix_socket) if self.unix_socket else self._connect_to_host()
        super().connect(sock)
        self.sql_mode, self.init_command, self.autocommit_mode = settings
        if supported():
            self._rfile.close()  # it is empty: a server sends only answers
            self._rfile = Buffer(self._sock)
            self._rfile.deadline = self._deadline
        _tune(self._sock)
        self._local_port = 0 if self._sock.family == socket.AF_UNIX else int(self._sock.getsockname()[1])
        self._opened_at = MonotonicClock.now()
        self._poller = watch(self._sock)
        if self._identity_query is None:
            self._run_all(self._setup_commands())
        else:
            self._set_up_and_identify(self._identity_query)

    def _set_up_and_identify(self, query: str) -> None:
        """Set the session up and ask which server it is on; in one round trip, if the server allows that."""
        commands = self._setup_commands()
        self._send_all([*commands, (COMMAND.COM_QUERY, query.encode(self.encoding))])
        self._read_all(len(commands))
        if self._queued:
            self._execute_command(*self._queued.pop(0))
        self._next_seq_id = 1
        self._read_identity()

    def _identify(self, query: str) -> None:
        """Ask which server the session is on."""
        touched = self._touched
        self._execute_command(COMMAND.COM_QUERY, query)
        self._read_identity()
        self._touched = touched

    def _read_identity(self) -> None:
        decoders = self.decoders
        self.decoders: dict[int, Callable[[str], Any]] = {}  # the user's are for the user's statements
        try:
            self._read_query_result()
            rows = self._result.rows
        except err.MySQLError:
            if self._sock is None:
                raise
            rows = None  # it does not say
            if type(self._rfile) is Buffer:
                self._rfile.trim()
        finally:
            self.decoders = decoders
            self._result, self._failed = None, False
        name = rows[0][0] if rows else ""
        self._server_identity = name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name or "")

    def _connect_to_path(self, path: str) -> socket.socket:
        """Connect to a unix socket; if that failed, PyMySQL would leave its end open."""
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.settimeout(self._time_left())
            sock.connect(path)
        except OSError as error:
            sock.close()
            text = f"Can't connect to MySQL server through socket {path!r} ({error})"
            raise err.OperationalError(CR.CR_CONNECTION_ERROR, text) from error
        except BaseException:
            sock.close()
            raise
        self.host_info = "Localhost via UNIX socket"
        self._secure = True
        return sock

    def _connect_to_host(self) -> socket.socket:
        """Connect to the first address of the host that answers; PyMySQL would give each address the whole time.

        The time that the system takes to look up the name has no limit.
        """
        try:
            addresses = socket.getaddrinfo(self.host, self.port, 0, socket.SOCK_STREAM)
            sock = self._connect_to_any(addresses)
        except OSError as error:
            lost: Any = err.OperationalError(
                CR.CR_CONN_HOST_ERROR, f"Can't connect to MySQL server on {self.host!r} ({error})"
            )
            lost.original_exception = error  # as PyMySQL's error has it
            raise lost from error
        self.host_info: str = f"socket {self.host}:{self.port}"
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        return sock

    def _connect_to_any(self, addresses: list[Any]) -> socket.socket:
        """Try each address in turn; each gets its share of the time left, so that a dead one leaves time for others.

        Raises:
            OSError: The error of the last address.
        """
        failure = OSError("the host has no address")
        for number, (family, kind, protocol, _, address) in enumerate(addresses):
            sock: socket.socket | None = None
            try:
                sock = socket.socket(family, kind, protocol)
                sock.settimeout(self._time_left() / (len(addresses) - number))
                if self.bind_address is not None:
                    sock.bind((self.bind_address, 0))
                sock.connect(address)
            except BaseException as error:
                if sock is not None:
                    sock.close()
                if not isinstance(error, OSError):
                    raise
                failure = error
            else:
                return sock
        try:
            raise failure
        finally:
            del failure  # or its traceback would hold this frame, and this frame the error

    def set_character_set(self, charset: str, collation: str | None = None) -> None:
        """Set the session's charset (and collation); during a connect, the one set-up statement does it."""
        if self._phase is Phase.CONNECT:
            return
        super().set_character_set(charset, collation)
        self._settle()

    def _setup_commands(self) -> list[tuple[int, bytes]]:
        """Return the commands that set up a new session: one SET for all settings, and the user's own command."""
        settings = [f"NAMES {self.charset}" + (f" COLLATE {self.collation}" if self.collation else "")]
        if self.sql_mode is not None:
            settings.append(f"sql_mode={self.escape(self.sql_mode)}")
        if self.autocommit_mode is not None:
            settings.append(f"autocommit={int(bool(self.autocommit_mode))}")
        commands = [f"SET {', '.join(settings)}"]
        if self._read_only and flavour_of(self.server_version) not in LENIENT:
            commands.append("SET SESSION TRANSACTION READ ONLY")
        if self.init_command is not None:
            commands.append(self.init_command)
        return [(COMMAND.COM_QUERY, command.encode(self.encoding)) for command in commands]

    def _run_all(self, commands: list[tuple[int, bytes]]) -> None:
        self._send_all(commands)
        self._read_all(len(commands))

    def _make_new(self) -> None:
        """Let the server reset the session, and set it up again, in one round trip."""
        self.__dict__.update(self._as_new)
        commands = [(COM_RESET_CONNECTION, b"")]
        if self.db:
            name = self.db if isinstance(self.db, bytes) else self.db.encode(self.encoding)
            commands.append((COMMAND.COM_INIT_DB, name))
        self._run_all(commands + self._setup_commands())
        self._prepare()

    def _prepare(self) -> None:
        """Let `_on_new` set the session up; its changes count as part of a new session."""
        if self._on_new is not None:
            try:
                self._on_new(self)
            except Exception as error:  # its text may hold a value
                logger.warning("configure raised %s, so its connection is closed", type(error).__name__)
                raise
            if self.server_status & SERVER_STATUS.SERVER_STATUS_IN_TRANS:
                self.rollback()
        self._touched = self._failed = False


def _clearer(error: BaseException) -> err.OperationalError | None:
    """If PyMySQL lacks something for this login, return an error that says what to do; otherwise None."""
    text = str(error.args[-1]) if error.args else ""
    if isinstance(error, RuntimeError) and "cryptography" in text:
        text = "the password can only be sent over TLS, over a unix socket, or encrypted: pip install pymysql[rsa]"
        return err.OperationalError(CR.CR_AUTH_PLUGIN_ERR, text)
    if isinstance(error, RuntimeError) and "pynacl" in text:
        text = "the account logs in by ed25519: pip install pymysql[ed25519]"
        return err.OperationalError(CR.CR_AUTH_PLUGIN_ERR, text)
    if error.args[:1] == (CR.CR_AUTH_PLUGIN_CANNOT_LOAD,) and text.endswith("not configured"):
        text += ": PyMySQL does not have it; let the account log in by caching_sha2_password, or on MariaDB by ed25519"
        return err.OperationalError(CR.CR_AUTH_PLUGIN_CANNOT_LOAD, text)
    if isinstance(error, GARBLED):
        text = f"the server's greeting, or its answer to the login, is invalid ({type(error).__name__})"
        return err.OperationalError(CR.CR_SERVER_HANDSHAKE_ERR, text)
    return None


def _unverified_context() -> ssl.SSLContext:
    """Return a context as for PyMySQL's preferred mode, without loading certificates that no code reads."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _stamp(path: object) -> tuple[float, int]:
    """Return time and size of a file, to see whether it was replaced; zeros if *path* names no file."""
    try:
        found = os.stat(path) if isinstance(path, (str, bytes, os.PathLike)) else None
    except (OSError, ValueError):
        found = None
    return (0.0, 0) if found is None else (found.st_mtime, found.st_size)


def _tune(sock: socket.socket) -> None:
    """Let the kernel notice if the other end is gone without having closed the connection."""
    if sock.family == socket.AF_UNIX:
        return
    idle, interval, count = KEEPALIVE
    options = {
        "TCP_KEEPIDLE": idle,
        "TCP_KEEPINTVL": interval,
        "TCP_KEEPCNT": count,
        "TCP_USER_TIMEOUT": int(USER_TIMEOUT * 1000),
    }
    for name, value in options.items():
        if hasattr(socket, name):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
