"""`Connection`: PyMySQL's connection with a memory of what it did to the socket and to the session.

Callers use it like PyMySQL's, with or without a pool. Besides, it knows without a round trip whether the server still
has the session (`_is_alive`) and whether the session is as good as new (`_is_clean`). If it is not, `_restore` makes it
so in at most one round trip.

Knows statements, the session's state and the handles that share it. Does not know pools or retries.
"""

from __future__ import annotations

import contextlib
import logging
import re
import socket
import ssl
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeVar, overload

from pymysql import err
from pymysql.constants import CR, SERVER_STATUS

from improved_db.clock import MonotonicClock
from improved_db.failures.verdict import Phase
from improved_db.settings.secret import seal
from improved_db.wire.binding import bind
from improved_db.wire.buffer import Buffer
from improved_db.wire.columns import row_kind
from improved_db.wire.cursors import QUICKER
from improved_db.wire.exchange import QUERY, DriverError
from improved_db.wire.handshake import ENDED, Handshake
from improved_db.wire.results import read_at_once
from improved_db.wire.streaming import forget_stream, is_streaming, next_rows, start_stream, streamed_columns
from improved_db.wire.values import escape_text

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, MutableMapping

    import pymysql.cursors

C = TypeVar("C", bound="Connection")
K = TypeVar("K", bound="pymysql.cursors.Cursor")
logger: logging.Logger = logging.getLogger("improved_db.wire")

#: Seconds in which a session has to be made new; otherwise the connection is discarded.
RESTORE_TIMEOUT: Final = 5.0

#: Seconds: after the time of a statement is over, the server gets at least so long to answer, ended by KILL or not.
LAST_LOOK_TIMEOUT: Final = 0.1

#: ER_WARNING_NOT_COMPLETE_ROLLBACK: the warning that a ROLLBACK did not undo everything.
KEPT_PART: Final = "1196"

#: Bytes that are left for a comment: a statement that is nearly as large as the server allows gets none.
COMMENT: Final = 512

_IN_TRANSACTION: Final = SERVER_STATUS.SERVER_STATUS_IN_TRANS


class Connection(Handshake):
    """One session with a server, used like `pymysql.connections.Connection`; the names it adds are the package's own.

    Attributes:
        enable_cleartext_plugin: Whether to send the password in clear text to any server that asks for it.
    """

    __slots__ = ("_loan",)

    enable_cleartext_plugin: bool
    decoders: dict[int, Callable[[str], Any]]
    #: The loan of this handle, if a pool lent it. The handles of one session share everything else.
    _loan: Any
    #: Whether the time of the statement on the wire is over; the driver has then tried to end it on the server.
    _overdue: bool = False
    #: Whether a reset makes the session new. If the server has an ``init_connect``, it does not: no reset runs that.
    _resettable: bool = True
    #: The quicker class for each of PyMySQL's classes of cursors.
    _cursors: ClassVar[Mapping[Any, Any]] = QUICKER
    _escape_string = escape_text

    def __init__(self, *, tls_contexts: MutableMapping[object, ssl.SSLContext] | None = None, **options: Any) -> None:
        """Take PyMySQL's options and connect, unless ``defer_connect`` is given.

        Args:
            tls_contexts: Where to keep the TLS context, so that many connections share one.
            **options: As `pymysql.connections.Connection` takes them, and ``enable_cleartext_plugin=True`` if the
                server may have the password in clear text over a connection that is not encrypted.
        """
        self._loan = None
        self._tls_contexts = {} if tls_contexts is None else tls_contexts
        defer = options.pop("defer_connect", False)
        self.enable_cleartext_plugin = bool(options.pop("enable_cleartext_plugin", False))
        sealed = seal(options)
        options.clear()  # no password in this frame when something fails
        super().__init__(defer_connect=True, **{name: one.value for name, one in sealed.items()})
        self._may_load, self._local_infile = self._local_infile, False
        if not defer:
            self.connect()

    @overload
    def cursor(self, cursor: None = None) -> pymysql.cursors.Cursor: ...
    @overload
    def cursor(self, cursor: type[K]) -> K: ...
    def cursor(self, cursor: Any = None) -> Any:
        """Return a cursor, as PyMySQL does; in place of its two plain classes, the quicker ones of `cursors`."""
        if self._spent:
            self._need_session()
        kind = cursor or self.cursorclass
        return self._cursors.get(kind, kind)(self)

    # --- statements ------------------------------------------------------------------------------------------------

    def _run(self, query: str, args: object = None, dict_rows: bool | type = False) -> Any:
        """Run one statement and read its whole answer; of several results the first one is kept.

        Args:
            query: The statement, with ``%s`` or ``%(name)s`` placeholders if there are *args*.
            args: A sequence, a mapping, or one scalar; if it is None or empty, the statement is sent unchanged.
            dict_rows: Rows as dicts instead of tuples; `bytes` for the payloads of their packets.

        Returns:
            The finished result: ``rows``, ``affected_rows``, ``insert_id``, ``description``, ``warning_count``.

        Raises:
            StatementError: The placeholders and *args* do not fit together; nothing was sent.
            pymysql.err.MySQLError: What the server or the driver said.
        """
        sql = self._bind(query, args)
        if dict_rows:
            self._row_kind = row_kind(dict_rows)
        try:
            self._execute_command(QUERY, sql)
            return self._finish()
        finally:
            if dict_rows:
                self._row_kind = tuple

    def _ask(self, query: str, args: object = None) -> list[tuple[str | None, ...]]:
        """Run a statement of ours and return its rows as texts, without the caller's decoders.

        Args:
            query: As for `_run`.
            args: As for `_run`.

        Raises:
            pymysql.err.MySQLError: What the server or the driver said.
        """
        decoders, self.decoders = self.decoders, {}
        try:
            rows = self._run(query, args).rows
        finally:
            self.decoders = decoders
        return [tuple(map(_text, row)) for row in rows]

    def _run_limited(
        self,
        query: str,
        args: object,
        dict_rows: bool | type,
        seconds: float,
        overtime: float,
        end: Callable[[float], bool | None],
    ) -> Any:
        """Run one statement, as `_run` does; if no answer has come after *seconds*, have it ended.

        Args:
            query: As for `_run`.
            args: As for `_run`.
            dict_rows: As for `_run`.
            seconds: How long to wait for the answer with all its rows.
            overtime: How many seconds more everything may take: to have the statement ended and to hear that it was.
            end: Ends the statement on the server, whose answer then says so. Gets the seconds that this may take.
                Returns False if it could not end the statement, None if it is still trying.

        Raises:
            pymysql.err.OperationalError: What the server said; 2013 if it did not answer after all.
        """
        sql = self._bind(query, args)
        self._row_kind = row_kind(dict_rows)
        try:
            ends_at = MonotonicClock.now() + seconds
            self._within(seconds, lambda: self._execute_command(QUERY, sql))
            patience = seconds if self._read_timeout is None else min(seconds, self._read_timeout)
            if self._has_bytes() or self._poller.poll(patience * 1000):
                return self._within(max(ends_at - MonotonicClock.now(), LAST_LOOK_TIMEOUT), self._finish)
            self._overdue = True
            over_at = MonotonicClock.now() + overtime
            ended = end(max(overtime - LAST_LOOK_TIMEOUT, LAST_LOOK_TIMEOUT))
            if ended is None:  # a KILL that comes later would hit the next statement of this session
                self._force_close()
                late = TimeoutError("timed out")
                raise err.OperationalError(CR.CR_SERVER_LOST, f"Lost connection to MySQL server ({late})") from late
            left = max(over_at - MonotonicClock.now(), LAST_LOOK_TIMEOUT)
            return self._within(left if ended else LAST_LOOK_TIMEOUT, self._finish)
        finally:
            self._row_kind = tuple
            self._overdue = self._overdue and self._phase is not None

    def _has_bytes(self) -> bool:
        """Say whether a part of the answer has come already, together with the one before it."""
        return type(self._rfile) is Buffer and self._rfile.pending > 0

    def _finish(self) -> Any:
        """Read the whole answer; of several results the first one is kept."""
        self._affected_rows = self._read_query_result()
        result = first = self._result
        while result.has_next:
            self.next_result()
            result = self._result
        self._result = None
        return first

    def _read_answer(self, dict_rows: bool, *, more: bool) -> Any:
        """Read the whole answer to the next of several statements.

        Args:
            dict_rows: As for `_run`.
            more: Whether other answers are still to come.

        Returns:
            The finished result, or the error by which the server refused this statement.

        Raises:
            pymysql.err.MySQLError: The connection is lost, and the answers with it.
        """
        self._next_seq_id = 1
        kind = dict if dict_rows else tuple
        result = read_at_once(self, kind)
        if result is not None:
            self._affected_rows = result.affected_rows or 0
            if not more:
                self._phase = None
            return result
        self._row_kind = kind
        try:
            return self._finish()
        except err.MySQLError as error:
            if self._sock is None or self._phase is not None:
                raise
            self._result = None
            return error
        finally:
            self._row_kind = tuple
            if more and self._phase is None:
                self._phase = Phase.AWAIT

    _bind = bind
    _start_stream = start_stream
    _next_rows = next_rows
    _is_streaming = is_streaming
    _streamed_columns = streamed_columns

    def _comment_statements(self, comment: Callable[[bytes], bytes]) -> None:
        """Have *comment* append a comment to each statement that this connection binds from now on."""
        bound = self._bind

        def commented(query: str, args: object) -> bytes:
            sql = bound(query, args)
            return comment(sql) if len(sql) < self._statement_limit - COMMENT else sql

        self._bind = commented  # type: ignore[method-assign]  # the other connections pay nothing for it

    def _is_settled(self) -> bool:
        """Say whether the session is there and no statement is on the wire."""
        return self._sock is not None and self._phase is None

    def _version(self) -> tuple[int, ...]:
        """Return the server's version as numbers, as its greeting gave it."""
        numbers = re.match(r"(?:5\.5\.5-)?(\d+)\.(\d+)\.(\d+)", self.server_version)
        return tuple(map(int, numbers.groups())) if numbers else ()

    def _in_transaction(self) -> bool:
        """Say whether a transaction is open, as the server last told."""
        return bool(self.server_status & _IN_TRANSACTION)

    def commit(self) -> None:
        """Commit. If the server has already ended the session, send nothing, so that nothing is in doubt."""
        if self._poller is not None and self._phase is None and self._has_ended(self._poller.poll(0)):
            self._phase = Phase.SEND
            self._force_close()
            raise err.OperationalError(CR.CR_SERVER_GONE_ERROR, "the server ended the session before COMMIT was sent")
        super().commit()

    def _has_ended(self, events: list[Any]) -> bool:
        """Say whether the server has closed an idle socket. Under TLS only *events* can tell."""
        if self._sock is None or not events:
            return False
        if any(isinstance(event, tuple) and event[1] & ENDED for event in events):
            return True
        if isinstance(self._sock, ssl.SSLSocket):
            return False
        try:
            return not self._sock.recv(1, socket.MSG_PEEK)
        except OSError:
            return True

    def _commit_if_open(self) -> None:
        """If a transaction is open, commit it: so a statement of ours ends on a session without autocommit."""
        if self._in_transaction():
            self.commit()

    def _undo(self) -> bool:
        """Roll back after an error from the server, and say whether the server undid everything.

        Tables without transactions keep what was written to them; then the server sends a warning.
        """
        told = self._ask("SHOW WARNINGS")
        self.rollback()
        told += self._ask("SHOW WARNINGS")
        return all(code != KEPT_PART for _, code, _ in told)

    # --- the session -----------------------------------------------------------------------------------------------

    def _is_clean(self) -> bool:
        """Say, without a round trip, whether the session is as good as new: idle, no transaction, nothing changed."""
        result = self._result
        try:
            unread = self._rfile.data  # the next statement would read such bytes as its answer
        except AttributeError:  # PyMySQL's own reader does not show what it holds
            unread = b""
        return (
            self._sock is not None
            and self._phase is None
            and not self._touched
            and not self._failed
            and not self.server_status & _IN_TRANSACTION
            and (result is None or not (result.unbuffered_active or result.has_next))
            and not unread
        )

    def _is_alive(self) -> bool:
        """Say, without a round trip, whether an idle session is still there: a healthy one has nothing to read."""
        try:
            unread = self._rfile.data
        except AttributeError:  # as in `_is_clean`
            unread = b""
        if self._sock is None or self._phase is not None or unread:
            return False
        if not self._poller.poll(0):
            return True
        # It may be a TLS session ticket or a goodbye; only a ping tells which.
        return isinstance(self._sock, ssl.SSLSocket) and self._answers(1.0)

    def _answers(self, timeout: float) -> bool:
        """Ping the server for at most *timeout* seconds; if it does not answer, close the connection."""
        return self._succeeds(timeout, self.ping)

    def _restore(self, *, reset: bool = False) -> bool:
        """Make the session as good as new: no round trip if it is, one if it is not.

        If the borrower left a transaction open, roll it back. If the borrower changed more (SET, USE, LOCK TABLES ...),
        or with *reset*, reset the whole session and set it up again. An unread rest of a result is never read.

        Returns:
            False if the connection cannot be used any more.
        """
        if not reset and self._is_clean():
            return True
        result = self._result
        if self._sock is None or self._phase is not None or (result is not None and result.unbuffered_active):
            return False
        if result is not None and result.has_next:
            return False
        if reset or self._touched:
            return self._resettable and self._succeeds(RESTORE_TIMEOUT, self._make_new)
        return self._succeeds(RESTORE_TIMEOUT, self.rollback) and self._forget_failure()

    def _forget_failure(self) -> bool:
        self._failed = False
        self._result = None
        return not self.server_status & _IN_TRANSACTION

    def _succeeds(self, timeout: float, exchange: Callable[[], Any]) -> bool:
        """Run *exchange* with its own time limit; if it fails in any way, close the connection and return False.

        An error from the server or the socket is expected, and the pool counts it. Any other error is logged, by its
        type only, because its text may hold a value.
        """
        try:
            self._within(timeout, exchange)
        except (DriverError, OSError):
            self._force_close()
            return False
        except Exception as error:
            logger.warning("the session could not be restored, so its connection is closed: %s", type(error).__name__)
            self._force_close()
            return False
        return True

    # --- handles ---------------------------------------------------------------------------------------------------

    def _handle(self, loan: object) -> Connection:
        """Return a new object for the same session, to lend under *loan*; an earlier borrower has another object."""
        return self._handle_of(type(self), loan)

    def _handle_of(self, kind: type[C], loan: object) -> C:
        """Do the same, with an object of another class."""
        fresh = kind.__new__(kind)
        fresh.__dict__ = self.__dict__
        fresh._loan = loan
        fresh._affected_rows, fresh._result = 0, None  # of the borrower before
        return fresh

    def _spend(self) -> None:
        """Separate this handle from its session: from now on it behaves like a closed connection."""
        self.__dict__ = {**self.__dict__, "_sock": None, "_rfile": None, "_result": None, "_spent": True}

    def _quit_within(self, timeout: float) -> None:
        """Send COM_QUIT and close; if the send takes longer than *timeout* seconds, close without it."""
        self._write_timeout = timeout
        self.close()

    def _drop(self) -> None:
        """Close our end of the socket, and send nothing."""
        forget_stream(self)
        self._closed = True
        self._force_close()

    def _shut_down(self) -> None:
        """Shut down both directions of the socket, so that a thread blocked on it gets an error."""
        sock = self._sock
        if sock is not None:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)


def _text(value: str | bytes | None) -> str | None:
    """Return a value as text; with ``use_unicode=False`` PyMySQL leaves it as bytes."""
    return value.decode("latin1") if isinstance(value, bytes) else value
