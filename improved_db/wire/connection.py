"""`Connection`: PyMySQL's connection with a memory of what it did to the socket and to the session.

It is used like PyMySQL's, with or without a pool. Beyond that it knows at any moment whether a statement is on the
wire (`phase`), whether the session may be anything but new (`is_clean`), and how to make it new again in at most one
round trip (`restore`).

Knows PyMySQL, the socket and the session. Does not know pools or retries.
"""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import struct
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import pymysql.connections
from pymysql import err
from pymysql.constants import COMMAND, CR, SERVER_STATUS

from improved_db.clock import MonotonicClock
from improved_db.errors import LoanSpent, StatementError
from improved_db.verdict import Phase

if TYPE_CHECKING:
    from collections.abc import MutableMapping, Sequence

    from pymysql.connections import MySQLResult as Result

#: Not in PyMySQL's constants (it calls 0x1F COM_END): rolls back and makes the session new, but for its database.
COM_RESET_CONNECTION: Final = 0x1F

#: First three letters of the statements after which a session may differ from a new one in more than a transaction:
#: SET, USE, LOCK, PREPARE, XA, HANDLER, CREATE TEMPORARY. Compared in lower case; a comment in front counts as one.
TOUCHING: Final = frozenset({b"set", b"use", b"loc", b"pre", b"xa ", b"han"})

#: A statement of this many bytes or more takes several packets, which PyMySQL writes.
ONE_PACKET: Final = 0xFFFFFF - 1

#: Seconds: TCP keepalive after silence, between probes, how many, and how long unacknowledged data may stay so.
KEEPALIVE: Final = (30, 10, 3)
USER_TIMEOUT: Final = 60.0

#: What PyMySQL remembers of a session that a borrower may change.
SESSION_ATTRIBUTES: Final = ("charset", "collation", "encoding", "db", "autocommit_mode", "sql_mode", "cursorclass")

#: Seconds that making a session new again may take before the connection is given up.
RESTORE_TIMEOUT: Final = 5.0


class Connection(pymysql.connections.Connection):
    """One session with a server.

    Attributes:
        phase: What was being done to the socket; None while no statement is on the wire. An exchange that was
            interrupted leaves it set, and the connection is then good for nothing.
        loan: The loan this handle was lent under, if it is a pool's. Handles of one session share everything else.
    """

    __slots__ = ("loan",)

    phase: Phase | None = None
    loan: object
    _spent = False
    _touched = False
    _failed = False
    _deadline: float | None = None
    _poller: Any = None
    _row_kind: type = tuple
    _as_new: dict[str, Any]

    def __init__(self, *, tls_contexts: MutableMapping[object, ssl.SSLContext] | None = None, **options: Any) -> None:
        """Take PyMySQL's options and connect, unless ``defer_connect`` is given.

        Args:
            tls_contexts: Where to keep the TLS context, so that many connections share one: making one costs as much
                CPU as a hundred connects.
            **options: As `pymysql.connections.Connection` takes them.
        """
        self.loan = None
        self._tls_contexts = {} if tls_contexts is None else tls_contexts
        defer = options.pop("defer_connect", False)
        super().__init__(defer_connect=True, **options)
        options.clear()  # no password in this frame when connecting fails
        if not defer:
            self.connect()

    # --- connecting ------------------------------------------------------------------------------------------------

    def _create_ssl_ctx(self, sslp: Any) -> ssl.SSLContext:
        """Share one context for the same options, and build a bare one where nothing is to be verified."""
        if isinstance(sslp, ssl.SSLContext):
            return sslp
        key = tuple(sorted((name, str(value)) for name, value in sslp.items()))
        context = self._tls_contexts.get(key)
        if context is None:
            context = super()._create_ssl_ctx(sslp) if sslp else _unverified_context()
            self._tls_contexts[key] = context
        return context

    def connect(self, sock: socket.socket | None = None) -> None:
        """Connect, shake hands and set the session up, all within ``connect_timeout`` seconds.

        Raises:
            pymysql.err.OperationalError: The server cannot be reached, or refuses.
        """
        timeouts = self._read_timeout, self._write_timeout
        settings = self.sql_mode, self.init_command, self.autocommit_mode
        self.phase, self._touched, self._failed = Phase.CONNECT, False, False
        self._as_new = {name: getattr(self, name) for name in SESSION_ATTRIBUTES}
        self._deadline = MonotonicClock.now() + (self.connect_timeout or RESTORE_TIMEOUT)
        self.sql_mode = self.init_command = self.autocommit_mode = None  # set up below, in one round trip
        self._read_timeout = self._write_timeout = self.connect_timeout
        try:
            super().connect(sock)
            self.sql_mode, self.init_command, self.autocommit_mode = settings
            assert self._sock is not None
            _tune(self._sock)
            self._poller = _poller(self._sock)
            self._run_all(self._setup_commands())
        except BaseException:
            self._force_close()
            raise
        finally:
            self.sql_mode, self.init_command, self.autocommit_mode = settings
            self._read_timeout, self._write_timeout = timeouts
            self._deadline = None
        self.phase = None

    def set_character_set(self, charset: str, collation: str | None = None) -> None:
        """Set the session's charset (and collation); while connecting this is part of the one set-up statement."""
        if self.phase is Phase.CONNECT:
            return
        super().set_character_set(charset, collation)
        self.phase = None
        self._touched = True

    def _setup_commands(self) -> list[tuple[int, bytes]]:
        """Return what makes a session new: one SET for all settings, and the user's own command."""
        settings = [f"NAMES {self.charset}" + (f" COLLATE {self.collation}" if self.collation else "")]
        if self.sql_mode is not None:
            settings.append(f"sql_mode={self.escape(self.sql_mode)}")
        if self.autocommit_mode is not None:
            settings.append(f"autocommit={int(bool(self.autocommit_mode))}")
        commands = [(COMMAND.COM_QUERY, f"SET {', '.join(settings)}".encode(self.encoding))]
        if self.init_command is not None:
            commands.append((COMMAND.COM_QUERY, self.init_command.encode(self.encoding)))
        return commands

    def _run_all(self, commands: list[tuple[int, bytes]]) -> None:
        """Send *commands* in one write, then read their answers: one round trip for all of them."""
        packets = [struct.pack("<iB", len(text) + 1, command) + text for command, text in commands]
        self._write_bytes(b"".join(packets))
        for _ in commands:
            self._next_seq_id = 1
            self._read_query_result()
            while self._result is not None and self._result.has_next:
                self._read_query_result()
            self._result = None

    # --- the wire --------------------------------------------------------------------------------------------------

    def _execute_command(self, command: int, sql: str | bytes) -> None:
        if self._sock is None:
            raise self._closed_error()
        if isinstance(sql, str):
            sql = sql.encode(self.encoding)
        result = self._result
        if len(sql) >= ONE_PACKET or (result is not None and (result.unbuffered_active or result.has_next)):
            self.phase = Phase.SEND
            super()._execute_command(command, sql)
        else:
            self._result = None
            self.phase = Phase.SEND
            self._write_bytes(struct.pack("<iB", len(sql) + 1, command) + sql)
            self._next_seq_id = 1
        self.phase = Phase.AWAIT
        if command == COMMAND.COM_QUERY:
            self._touched = self._touched or _touches(sql)
        elif command == COMMAND.COM_INIT_DB:
            self._touched = True

    def _write_bytes(self, data: bytes) -> None:
        if self._deadline is not None:
            self._write_timeout = self._time_left()
        if self._current_timeout != self._write_timeout:
            self._sock.settimeout(self._write_timeout)
            self._current_timeout = self._write_timeout
        try:
            self._sock.sendall(data)
        except OSError as error:
            self._force_close()
            raise err.OperationalError(CR.CR_SERVER_GONE_ERROR, f"MySQL server has gone away ({error!r})") from error
        except BaseException:  # half a packet may be with the server
            self._force_close()
            raise

    def _read_packet(self, *args: Any) -> Any:
        if self._deadline is not None:
            self._read_timeout = self._time_left()
        try:
            return super()._read_packet(*args)
        except err.MySQLError:
            self._note_error()
            raise

    def _note_error(self) -> None:
        """The server answered with an error: the exchange is over, and the status flags are now out of date."""
        self._failed = True
        if self._sock is not None and self.phase is not Phase.CONNECT:
            self.phase = None

    def _read_ok_packet(self) -> Any:
        ok = super()._read_ok_packet()
        if self.phase is not Phase.CONNECT:
            self.phase = None
        return ok

    def _read_query_result(self, unbuffered: bool = False) -> Any:
        affected = super()._read_query_result(unbuffered)
        if self.phase is not Phase.CONNECT:
            self.phase = None
        return affected

    def show_warnings(self) -> Any:
        """Return the rows of SHOW WARNINGS."""
        rows = super().show_warnings()
        self.phase = None
        return rows

    def _time_left(self) -> float:
        assert self._deadline is not None
        return max(self._deadline - MonotonicClock.now(), 0.001)

    def _closed_error(self) -> Exception:
        if self._spent:
            return LoanSpent("this connection was given back to its pool; borrow another")
        return err.InterfaceError(0, "")

    # --- statements ------------------------------------------------------------------------------------------------

    def run_within(self, seconds: float, query: str, args: object = None, dict_rows: bool = False) -> Result:
        """Run one statement, as `run` does, and give the connection up if the answer takes longer than *seconds*.

        Raises:
            pymysql.err.OperationalError: 2013, among others; the server may still be at work then.
        """
        timeouts = self._read_timeout, self._write_timeout
        self._deadline = MonotonicClock.now() + seconds
        try:
            return self.run(query, args, dict_rows)
        finally:
            self._deadline = None
            self._read_timeout, self._write_timeout = timeouts

    def run(self, query: str, args: object = None, dict_rows: bool = False) -> Result:
        """Run one statement and read its whole answer; of several results the first one is kept.

        Args:
            query: The statement, with ``%s`` or ``%(name)s`` placeholders if there are *args*.
            args: A sequence, a mapping, or one scalar; None or empty for a statement that is sent as it is.
            dict_rows: Rows as dicts instead of tuples.

        Raises:
            StatementError: The placeholders and *args* do not fit together; nothing was sent.
            pymysql.err.MySQLError: What the server or the driver said.
        """
        self._row_kind = dict if dict_rows else tuple
        try:
            self.query(self.bind(query, args))
            result = first = self._result
            while result.has_next:
                self.next_result()
                result = self._result
        finally:
            self._row_kind = tuple
        self._result = None
        return first

    def bind(self, query: str, args: object) -> str:
        """Put escaped *args* into the placeholders of *query*.

        Raises:
            StatementError: They do not fit together.
        """
        if args is None:
            return query
        try:
            if isinstance(args, (tuple, list)):
                return query % tuple(map(self.escape, args)) if args else query
            if isinstance(args, Mapping):
                return query % {name: self.escape(value) for name, value in args.items()} if args else query
            return query % self.escape(args)
        except (TypeError, ValueError, KeyError) as error:
            raise StatementError(
                f"the arguments do not fit the statement: {error}; give one value for each %s, a mapping for "
                "%(name)s, and write a literal percent sign as %%"
            ) from error

    def send_all(self, statements: Sequence[bytes]) -> None:
        """Write *statements* without waiting for their answers; `read_all` has to follow."""
        if len(statements) == 1:
            self._execute_command(COMMAND.COM_QUERY, statements[0])
            return
        if self._sock is None:
            raise self._closed_error()
        self._result = None
        self.phase = Phase.SEND
        self._touched = self._touched or any(_touches(statement) for statement in statements)
        packets = (struct.pack("<iB", len(text) + 1, COMMAND.COM_QUERY) + text for text in statements)
        self._write_bytes(b"".join(packets))
        self.phase = Phase.AWAIT

    def read_all(self, number: int) -> tuple[int, int]:
        """Read the answers to *number* statements; of several errors the first one is raised, after the last answer.

        Returns:
            How many rows they changed, and the last AUTO_INCREMENT value made.
        """
        affected = last_id = 0
        first_error: err.MySQLError | None = None
        for left in range(number - 1, -1, -1):
            self._next_seq_id = 1
            try:
                affected += self._read_query_result()
                last_id = self._result.insert_id or last_id
            except err.MySQLError as error:
                if self._sock is None:
                    raise
                first_error = first_error or error
            self._result = None
            if left:
                self.phase = Phase.AWAIT
        if first_error is not None:
            raise first_error
        return affected, last_id

    def in_transaction(self) -> bool:
        """Say whether a transaction is open, as the server last told."""
        return bool(self.server_status & SERVER_STATUS.SERVER_STATUS_IN_TRANS)

    def commit_if_open(self) -> None:
        """Commit, if a transaction is open: the end of a statement of ours on a session without autocommit."""
        if self.in_transaction():
            self.commit()

    def take_rows(self) -> Sequence[Any]:
        """Return the rows of the last result and let go of it."""
        result, self._result = self._result, None
        return () if result is None or result.rows is None else result.rows

    # --- the session -----------------------------------------------------------------------------------------------

    def is_clean(self) -> bool:
        """Say, without a round trip, whether the session is as good as new: idle, no transaction, nothing changed."""
        result = self._result
        return (
            self._sock is not None
            and self.phase is None
            and not self._touched
            and not self._failed
            and not self.server_status & SERVER_STATUS.SERVER_STATUS_IN_TRANS
            and (result is None or not (result.unbuffered_active or result.has_next))
        )

    def is_alive(self) -> bool:
        """Say, without a round trip, whether an idle session is still there: a healthy one has nothing to read."""
        if self._sock is None or self.phase is not None:
            return False
        if not self._poller.poll(0):
            return True
        # A TLS session ticket may have come; only the server can tell it from a goodbye.
        return isinstance(self._sock, ssl.SSLSocket) and self.answers(1.0)

    def answers(self, timeout: float) -> bool:
        """Ping the server, for at most *timeout* seconds; a connection that did not answer is closed."""
        return self._within(timeout, self.ping)

    def restore(self, *, reset: bool = False) -> bool:
        """Make the session as good as new: no round trip if it is, one if it is not.

        A transaction left open is rolled back. Where the borrower changed more (SET, USE, LOCK TABLES ...), or with
        *reset*, the whole session is reset and set up again. A result that was not read to its end is never drained.

        Returns:
            False if the connection is good for nothing.
        """
        if not reset and self.is_clean():
            self._result = None
            return True
        result = self._result
        if self._sock is None or self.phase is not None or (result is not None and result.unbuffered_active):
            return False
        if result is not None and result.has_next:
            return False
        if reset or self._touched:
            return self._within(RESTORE_TIMEOUT, self._reset)
        return self._within(RESTORE_TIMEOUT, self.rollback) and self._forget_failure()

    def _forget_failure(self) -> bool:
        self._failed = False
        self._result = None
        return not self.server_status & SERVER_STATUS.SERVER_STATUS_IN_TRANS

    def _reset(self) -> None:
        self.__dict__.update(self._as_new)
        commands = [(COM_RESET_CONNECTION, b"")]
        if self.db:
            name = self.db if isinstance(self.db, bytes) else self.db.encode(self.encoding)
            commands.append((COMMAND.COM_INIT_DB, name))
        self.phase = Phase.SEND
        self._run_all(commands + self._setup_commands())
        self._touched = self._failed = False

    def _within(self, timeout: float, exchange: Any) -> bool:
        """Run *exchange* with its own time limit; False, and closed, if it fails in any way."""
        timeouts = self._read_timeout, self._write_timeout
        self._deadline = MonotonicClock.now() + timeout
        try:
            exchange()
        except Exception:
            self._force_close()
            return False
        finally:
            self._read_timeout, self._write_timeout = timeouts
            self._deadline = None
        return True

    # --- handles ---------------------------------------------------------------------------------------------------

    def handle(self, loan: object) -> Connection:
        """Return a new object for the same session, to be lent under *loan*: a stale one can then be told from it."""
        fresh = type(self).__new__(type(self))
        fresh.__dict__ = self.__dict__
        fresh.loan = loan
        return fresh

    def spend(self) -> None:
        """Cut this handle off from its session: it behaves as a closed connection from now on."""
        self.__dict__ = {**self.__dict__, "_sock": None, "_rfile": None, "_result": None, "_spent": True}

    def quit_within(self, timeout: float) -> None:
        """Say goodbye and close; a goodbye that would take longer than *timeout* seconds is not said."""
        self._write_timeout = timeout
        self.close()

    def drop(self) -> None:
        """Close our end of the socket without a word."""
        self._closed = True
        self._force_close()

    def shut_down(self) -> None:
        """End both directions of the socket under whoever is blocked on it."""
        sock = self._sock
        if sock is not None:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)


def _touches(sql: bytes) -> bool:
    """Say whether a session may differ from a new one, in more than a transaction, after this statement."""
    return sql[:3].lower() in TOUCHING or not sql[:1].isalpha() or sql[:16].lower() == b"create temporary"


def _unverified_context() -> ssl.SSLContext:
    """Return what PyMySQL's preferred mode amounts to, without loading certificates that nothing looks at."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _tune(sock: socket.socket) -> None:
    """Let the kernel notice a peer that vanished without a word."""
    if sock.family == socket.AF_UNIX:
        return
    idle, interval, count = KEEPALIVE
    options = (
        ("TCP_KEEPIDLE", idle),
        ("TCP_KEEPINTVL", interval),
        ("TCP_KEEPCNT", count),
        ("TCP_USER_TIMEOUT", int(USER_TIMEOUT * 1000)),
    )
    for name, value in options:
        if hasattr(socket, name):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def _poller(sock: socket.socket) -> select.poll:
    poller = select.poll()
    poller.register(sock.fileno(), select.POLLIN | select.POLLPRI | getattr(select, "POLLRDHUP", 0))
    return poller
