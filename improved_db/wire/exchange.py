"""What is being done to the socket: one write, then the answers, and after each step the phase (`_phase`).

PyMySQL writes and reads whole commands, but does not remember how far it got. This class does, because the verdict on a
failure depends on it.

Knows PyMySQL's connection from the inside, its socket and time limits. Does not know sessions, pools or retries.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, Final

import pymysql.connections
from pymysql import err
from pymysql.constants import COMMAND, CR

from improved_db.clock import MonotonicClock
from improved_db.errors import RETURNED, LoanSpent, StatementError
from improved_db.failures.verdict import Phase
from improved_db.sql.session_state import AT, KEEPING, LOW_LINE, is_suspect, touches
from improved_db.sql.statement import may_load
from improved_db.wire.buffer import Buffer
from improved_db.wire.packets import await_answer, await_several
from improved_db.wire.results import read_query_result
from improved_db.wire.support import notes_timeout, supported

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterable, Sequence

    class Base(pymysql.connections.Connection[Any]):  # PyMySQL's own methods
        """PyMySQL's connection with the names that its stubs leave out."""

        _sock: Any
        _rfile: Any
        _result: Any
        _closed: bool
        _next_seq_id: int
        _affected_rows: int
        _read_timeout: float | None
        _write_timeout: float | None
        _current_timeout: float | None
        server_status: int
        server_version: str
        server_capabilities: int
        client_flag: int
        host: str
        port: int
        bind_address: str | None
        unix_socket: str | None
        host_info: str
        _secure: bool
        _local_infile: bool

        def _force_close(self) -> None: ...
        def _read_packet(self, *args: Any) -> Any: ...
        def _read_ok_packet(self) -> Any: ...
        def _execute_command(self, command: int, sql: str | bytes) -> None: ...
        def _read_query_result(self, unbuffered: bool = False) -> Any: ...
        def connect(self, sock: socket.socket | None = None) -> None: ...
        def set_character_set(self, charset: str, collation: str | None = None) -> None: ...
        def escape(self, obj: object, mapping: Any = None) -> Any: ...
        def show_warnings(self) -> Any: ...
        def _process_auth(self, plugin_name: bytes, auth_packet: Any, handler: Any = None) -> Any: ...
        def _create_ssl_ctx(self, sslp: Any) -> Any: ...
        def get_autocommit(self) -> bool: ...
        def thread_id(self) -> int: ...
        def write_packet(self, payload: bytes) -> None: ...
        def ping(self, reconnect: bool | None = False) -> None: ...

else:
    Base = pymysql.connections.Connection

#: The base class of all errors from the server and the driver.
DriverError = err.MySQLError

#: A statement of this many bytes or more takes several packets, which PyMySQL writes.
ONE_PACKET: Final = 0xFFFFFF - 1

#: Whether PyMySQL notes what timeout it has set; if not, it is set for each write.
NOTES_TIMEOUT: Final = notes_timeout()

_header: Final = struct.Struct("<iB").pack
QUERY: Final = COMMAND.COM_QUERY
SEND, AWAIT = Phase.SEND, Phase.AWAIT


def query_packet(sql: bytes) -> bytes:
    """Return the packet of a short statement."""
    return _header(len(sql) + 1, QUERY) + sql


class Exchange(Base):
    """A connection that knows how far its current exchange has got.

    Names with one underscore are the package's own: only its other modules use them.
    """

    #: The server's ``max_allowed_packet``, once known. If a client sends more, the server ends the session.
    _statement_limit: float = float("inf")
    #: Whether to send a command before the server has answered the last one. ProxySQL would end the session, and Aurora
    #: may hang; so commands go one at a time until the pool knows its server.
    _pipelines = False
    #: What was being done to the socket; None while no statement is on the wire. An interrupted exchange leaves it set,
    #: and then the connection has to be discarded.
    _phase: Phase | None = None
    _touched = False  # the session may differ from a new one in more than a transaction
    _failed = False  # the server refused a statement; such an answer does not say whether a transaction is open
    _spent = False
    _queued: list[tuple[int, bytes]] = []  # noqa: RUF012  # never changed in place: `_send_all` makes a new one
    _loading: bytes | None = None  # the caller's own LOAD DATA statement on the wire: its answer may ask for a file
    _may_load = False  # the caller's `local_infile`; PyMySQL's own switch is on only while such a file is sent
    _deadline: float | None = None
    _row_kind: type = tuple
    _known: tuple[bytes, int, Any, str, bool] | None = None  # how the last result began; used by `wire.row_packets`

    def _execute_command(self, command: int, sql: str | bytes) -> None:
        if self._sock is None:
            self._need_session()
        if type(sql) is not bytes:
            sql = sql.encode(self.encoding) if isinstance(sql, str) else bytes(sql)  # executemany has a bytearray
        if len(sql) >= self._statement_limit:
            raise StatementError(
                f"the statement has {len(sql):,} bytes, more than the server's max_allowed_packet of "
                f"{self._statement_limit:,}; raise that on the server, or split the statement"
            )
        result = self._result
        if len(sql) >= ONE_PACKET or (result is not None and (result.unbuffered_active or result.has_next)):
            self._phase = SEND
            super()._execute_command(command, sql)
        else:
            self._result = None
            self._phase = SEND
            self._write_bytes(_header(len(sql) + 1, command) + sql)
            self._next_seq_id = 1
        self._phase = AWAIT
        if command != QUERY:
            self._touched = self._touched or command == COMMAND.COM_INIT_DB
        elif sql[:3].lower() not in KEEPING or AT in sql or (LOW_LINE in sql and is_suspect(sql)):
            self._look_at(sql)

    def _look_at(self, sql: bytes) -> None:
        """Note whether a statement that is not a plain query changes the session, and whether it may ask for a file."""
        self._touched = self._touched or touches(sql, self.encoding)
        self._loading = sql if may_load(sql) else None

    def _write_bytes(self, data: bytes) -> None:
        if self._deadline is not None:
            self._write_timeout = self._time_left(self._write_timeout)
        if not NOTES_TIMEOUT or self._current_timeout != self._write_timeout:
            self._sock.settimeout(self._write_timeout)
            self._current_timeout = self._write_timeout
        try:
            self._sock.sendall(data)
        except OSError as error:
            self._force_close()
            raise err.OperationalError(CR.CR_SERVER_GONE_ERROR, f"MySQL server has gone away ({error!r})") from error
        except BaseException:  # the server may have half a packet
            self._force_close()
            raise

    def _read_query_result(self, unbuffered: bool = False) -> Any:
        if self._deadline is not None:
            self._read_timeout = self._time_left(self._read_timeout)
        if self._loading is not None:
            self._local_infile = self._may_load
        try:
            affected = read_query_result(self, unbuffered, self._row_kind)
        except err.MySQLError:
            self._note_error()
            raise
        finally:
            if self._loading is not None:
                self._loading, self._local_infile = None, False
        if self._phase is not Phase.CONNECT:
            self._phase = None
        if type(self._rfile) is not Buffer and not self.get_autocommit():
            self._failed = True  # PyMySQL's own reader drops the status flags at the end of a SELECT
        return affected

    def _read_packet(self, *args: Any) -> Any:
        if self._deadline is not None:
            self._read_timeout = self._time_left(self._read_timeout)
        try:
            if self._phase is Phase.CONNECT:
                self._read_within()
            elif type(self._rfile) is Buffer:
                self._await_answer()
            return super()._read_packet(*args)
        except err.MySQLError:
            self._note_error()
            raise

    def _read_within(self) -> None:
        """During the handshake, replace each file that PyMySQL opens by a buffer that knows the deadline."""
        if type(self._rfile) is not Buffer and supported():
            self._rfile.close()  # it has read nothing yet
            self._rfile = Buffer(self._sock)
            self._rfile.deadline = self._deadline

    def _await_answer(self) -> None:
        """Wait for an answer; if a goodbye comes instead, raise that. PyMySQL would take it for a lost connection."""
        try:
            await_answer(self)
        except BaseException:
            self._force_close()
            raise

    def _await_several(self, number: int) -> None:
        """Wait until some of the answers to *number* statements have come, if none has."""
        buffer = self._rfile
        if type(buffer) is Buffer and buffer.position == len(buffer.data):
            if self._deadline is not None:
                self._read_timeout = self._time_left(self._read_timeout)
            try:
                await_several(self, number)
            except BaseException:
                self._force_close()
                raise

    def ping(self, reconnect: bool | None = False) -> None:
        """Check that the server answers; if the connection was returned to its pool, raise `LoanSpent`."""
        if not self._spent:
            super().ping(reconnect)
            return
        self._execute_command(COMMAND.COM_PING, b"")
        self._read_ok_packet()

    def commit(self) -> None:
        """Commit. The answer is read like that to any statement, so that a goodbye in its place is recognised."""
        self._execute_command(QUERY, b"COMMIT")
        self._read_query_result()

    def _read_ok_packet(self) -> Any:
        ok = super()._read_ok_packet()
        self._settle()
        return ok

    def show_warnings(self) -> Any:
        """Return the rows of SHOW WARNINGS."""
        rows = super().show_warnings()
        self._settle()
        return rows

    def _note_error(self) -> None:
        """Note that the server refused: the exchange is over, and the status flags are out of date."""
        self._failed = True
        if self._sock is not None:
            self._settle()

    def _settle(self) -> None:
        """Note that the answer was read to its end."""
        if self._phase is not Phase.CONNECT:
            self._phase = None

    def _need_session(self) -> None:
        """Raise the error for a call that needs a session."""
        raise self._closed_error()

    def _closed_error(self) -> Exception:
        if self._spent:
            return LoanSpent(RETURNED)
        return err.InterfaceError(0, "")

    # --- several at once -------------------------------------------------------------------------------------------

    def _send_all(self, commands: Sequence[tuple[int, bytes]]) -> None:
        """Write several commands at once, or only the first; `_read_all` has to follow, and writes the others."""
        if self._sock is None:
            self._need_session()
        if len(commands) == 1:
            self._execute_command(*commands[0])
            return
        self._queued = []
        if not self._pipelines:
            self._execute_command(*commands[0])
            self._queued = list(commands[1:])
            self._touched = True
            return
        self._result = None
        if self._phase is not Phase.CONNECT:
            self._phase = SEND
        self._touched = True  # no code looks at each of them
        self._write_bytes(b"".join([_header(len(text) + 1, command) + text for command, text in commands]))
        if self._phase is SEND:
            self._phase = AWAIT

    def _send_each(self, statements: Sequence[bytes]) -> None:
        """Write several statements of the caller's at once; the answer to each has to be read, in their order."""
        if self._sock is None:
            self._need_session()
        self._result = None
        self._phase = SEND
        self._write_bytes(b"".join([_header(len(sql) + 1, QUERY) + sql for sql in statements]))
        self._phase = AWAIT

    def _run_each(self, statements: Sequence[str]) -> None:
        """Run a few statements of our own, which do not change the session, in one round trip."""
        touched = self._touched
        self._send_all([(QUERY, statement.encode(self.encoding)) for statement in statements])
        self._read_all(len(statements))
        self._touched = touched

    def _load_local(self, statement: str, packets: Iterable[bytes]) -> Any:
        """Run a LOAD DATA LOCAL statement and send *packets*, whichever file the server asks for.

        If *packets* raises an error, the connection is closed, and the server undoes what it has.

        Returns:
            PyMySQL's OK packet: ``affected_rows``, ``warning_count``.

        Raises:
            pymysql.err.MySQLError: The server refused, or the connection was lost.
        """
        self._execute_command(QUERY, statement)
        self._loading = None  # the server's request is answered here, with our rows
        asked = self._read_packet()
        if not asked.is_load_local_packet():
            self._force_close()
            raise err.InternalError("the server did not ask for the rows of LOAD DATA LOCAL")
        try:
            for packet in packets:
                self.write_packet(packet)
            self.write_packet(b"")  # the end of the rows
        except BaseException:
            self._force_close()
            raise
        return self._read_ok_packet()

    def _read_all(self, number: int) -> tuple[int, int]:
        """Read the answers to *number* commands; after the last one, raise the first error if there was one.

        Returns:
            How many rows they changed, and the last AUTO_INCREMENT value made.
        """
        affected = last_id = 0
        first_error: err.MySQLError | None = None
        for left in range(number - 1, -1, -1):
            self._next_seq_id = 1
            try:
                if self._queued and left < number - 1:
                    self._execute_command(*self._queued.pop(0))
                affected += self._read_to_end()
                last_id = self._result.insert_id or last_id
            except err.MySQLError as error:
                if self._sock is None:
                    raise
                first_error = first_error or error
            self._result = None
            if left and self._phase is None and not self._queued:
                self._phase = AWAIT
        if first_error is not None:
            raise first_error
        return affected, last_id

    def _read_to_end(self) -> int:
        affected: int = self._read_query_result()
        while self._result.has_next:
            affected = self._read_query_result()
        return affected

    # --- time limits -----------------------------------------------------------------------------------------------

    def _within(self, seconds: float, exchange: Callable[[], Any]) -> Any:
        """Run *exchange*; each of its writes and reads gets what is left of *seconds*."""
        timeouts = self._read_timeout, self._write_timeout
        outer = self._deadline
        mine = MonotonicClock.now() + seconds
        self._limit(mine if outer is None else min(mine, outer))
        try:
            return exchange()
        finally:
            self._limit(outer)
            self._read_timeout, self._write_timeout = timeouts

    def _limit(self, deadline: float | None) -> None:
        """Let all reads and writes end by *deadline*."""
        self._deadline = deadline
        self._current_timeout = -1.0  # the buffer may have set another one
        if type(self._rfile) is Buffer:
            self._rfile.deadline = deadline

    def _time_left(self, own: float | None = None) -> float:
        """Return the seconds until the deadline, or *own*, the user's timeout, if that is less."""
        assert self._deadline is not None
        left = max(self._deadline - MonotonicClock.now(), 0.001)
        return left if own is None else min(left, own)
