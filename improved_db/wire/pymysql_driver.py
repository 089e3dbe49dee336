"""PyMySQL as a driver of the pool.

Knows how to open, check, restore and close a `Connection`. Does not know pools or retries.
"""

from __future__ import annotations

import contextlib
import inspect
import logging
from typing import TYPE_CHECKING, Any, Final

import pymysql.connections
from pymysql import err
from pymysql.charset import charset_by_name
from pymysql.constants import CR, ER

from improved_db.clock import MonotonicClock
from improved_db.errors import ConfigError
from improved_db.settings.secret import Secret, seal
from improved_db.wire.connection import Connection
from improved_db.wire.ending import UNIQUE, end_through, identity_query
from improved_db.wire.exchange import DriverError
from improved_db.wire.values import strict_encoders

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Mapping

    from improved_db.wire.ending import SessionMark


logger: logging.Logger = logging.getLogger("improved_db.wire")

#: The options of the driver, as the installed PyMySQL takes them, and the one that `Connection` adds.
PARAMETERS: Final = {
    **inspect.signature(pymysql.connections.Connection).parameters,
    "enable_cleartext_plugin": inspect.Parameter(
        "enable_cleartext_plugin", inspect.Parameter.KEYWORD_ONLY, default=False
    ),
}
OPTIONS: Final = frozenset(PARAMETERS) - {"defer_connect"}

#: The variables that the first connection asks for. SHOW VARIABLES leaves out those that a server does not have.
LIMITS: Final = (
    "wait_timeout",
    "max_allowed_packet",
    "innodb_rollback_on_timeout",
    "init_connect",
    "aurora_version",
    *UNIQUE,
)

#: The errors of a connect that come of a wrong address or account.
UNREACHED: Final = frozenset({CR.CR_CONN_HOST_ERROR, ER.ACCESS_DENIED_ERROR, 1698})  # 1698: no password is accepted

#: Seconds that COM_QUIT may take.
QUIT_TIMEOUT: Final = 0.2

#: Seconds that ending a session from a second connection may take, connecting included.
END_TIMEOUT: Final = 2.0


class PyMySQLDriver:
    """Opens connections with one set of options and one TLS context for all of them.

    Attributes:
        rollback_on_timeout: Whether the server rolls the whole transaction back after a lock wait timeout.
        server_version: What the first server called its version; empty until then.
        name: The driver, and its version.
        comment: Appends a comment to each statement of the connections that it opens from then on; None: none does.
    """

    def __init__(
        self,
        options: Callable[[], Mapping[str, Any]],
        *,
        reset: str | Callable[[Connection], object] = "rollback",
        kind: type[Connection] = Connection,
        configure: Callable[[Connection], object] | None = None,
        aware_datetimes: str | None = None,
        pipelining: str | bool = "auto",
        address: str = "",
        read_only: bool = False,
        dress: Callable[[Any], object] | None = None,
        hint: str = "",
    ) -> None:
        """Keep the options; `connect` uses them.

        Args:
            options: Called at each connect; returns what `Connection` takes. So passwords may change.
            reset: What happens to a returned connection: "rollback" (only if something may be open, or changed),
                "session" (the server resets it each time), or a callable that gets the connection and may raise.
            kind: The class of the connections.
            configure: Called with each new connection, and again each time its session was reset.
            aware_datetimes: "refuse", "session" or "utc"; a value without a literal is then refused. None leaves all
                values to PyMySQL, which sends their ``str()``, and drops time zones.
            pipelining: Whether to send a command before the server has answered the last one; "auto": unless the server
                is known not to allow that.
            address: Where the server is, as the settings name it.
            read_only: Let the server refuse writes of these sessions.
            dress: Called with each connection before it connects.
            hint: What the error of a connect adds if the server is not there or refuses the account.
        """
        self._options = options
        self._hint = hint
        self._kind = kind
        self._configure = configure
        self._aware_datetimes = aware_datetimes
        self._address, self._read_only, self._dress = address, read_only, dress
        self._reset = reset
        self._only_if_needed = reset == "rollback"
        self._tls_contexts: dict[object, ssl.SSLContext] = {}
        self._idle_limit: float | None = None
        self._pipelining = pipelining
        self._resettable, self._pipelines = True, pipelining is True
        self._identity_query: str | None = None
        self.rollback_on_timeout: bool = False
        self.server_version: str = ""
        self.comment: Callable[[bytes], bytes] | None = None
        self.name: str = f"PyMySQL {pymysql.__version__}"
        self._max_packet = 1_000_000  # less than any server's default; `_read_limits` asks for the real one

    @property
    def idle_limit(self) -> float | None:
        """The server's ``@@wait_timeout`` in seconds; None until a connection has asked for it."""
        return self._idle_limit

    @property
    def restores_if_needed(self) -> bool:
        """Whether a returned session is kept as it is if nothing in it has changed."""
        return self._only_if_needed

    def comment_statements(self, comment: Callable[[bytes], bytes] | None) -> None:
        """Let *comment* append a comment to each statement of connections opened from now on; None: nothing does."""
        self.comment = comment

    def max_packet(self) -> int:
        """Return the server's ``max_allowed_packet`` in bytes; a low guess until a connection has asked for it."""
        return self._max_packet

    def connect(self) -> Connection:
        """Open a session; the first one also asks for the server's limits."""
        connection = self._prepare()
        connection._pipelines, connection._identity_query = self._pipelines, self._identity_query
        try:
            connection.connect()
        except DriverError as error:
            if self._hint and error.args[0] in UNREACHED:
                error.args = (error.args[0], f"{error.args[1]} ({self._hint})")
            raise
        if self._idle_limit is None:
            self._learn(connection)
        elif connection._identity_query is None and self._identity_query is not None:
            # It began to connect before the first one knew how to ask, and may be ended on the server only if it says.
            connection._identify(self._identity_query)
        connection._statement_limit = self._max_packet
        connection._resettable, connection._pipelines = self._resettable, self._pipelines
        if self._configure is not None:
            connection._on_new = self._configure
            self._prepare_session(connection)
        if self.comment is not None:
            connection._comment_statements(self.comment)
        return connection

    def _prepare_session(self, connection: Connection) -> None:
        try:
            connection._prepare()
        except BaseException:
            self.abandon(connection)
            raise
        if not connection._is_clean():
            self.abandon(connection)
            raise RuntimeError(
                "configure left the connection unusable; it must read each result to its end, and not close the session"
            )

    def _learn(self, connection: Connection) -> None:
        """Ask the first session for the server's limits; if that fails, close the connection.

        Raises:
            pymysql.err.OperationalError: 2027, the answer is invalid; or the server's own error.
        """
        try:
            self._read_limits(connection)
        except (TypeError, ValueError) as error:  # an answer without rows, with a column too many, or without numbers
            self.abandon(connection)
            text = f"the server's answer to SHOW VARIABLES is invalid ({type(error).__name__})"
            raise err.OperationalError(CR.CR_MALFORMED_PACKET, text) from error
        except BaseException:
            self.abandon(connection)
            raise

    def _read_limits(self, connection: Connection) -> None:
        told = {name: value or "" for name, value in connection._ask(f"SHOW VARIABLES WHERE Variable_name IN {LIMITS}")}
        comment = _comment(connection)
        self.server_version = connection.server_version
        self._max_packet = int(told.get("max_allowed_packet", self._max_packet))
        self.rollback_on_timeout = told.get("innodb_rollback_on_timeout") == "ON"
        self._resettable = not told.get("init_connect")
        behind_proxy = "proxysql" in comment.lower()
        if self._pipelining == "auto":
            self._pipelines = bool(comment) and not behind_proxy and "aurora_version" not in told
        if not behind_proxy:  # a proxy answers for one of its servers, and numbers sessions in its own way
            self._identity_query = identity_query(told)
            connection._identify(self._identity_query)
        self._idle_limit = float(told.get("wait_timeout", "inf"))

    def connect_for_load(self, seconds: float | None = None) -> Connection:
        """Open a session that may LOAD DATA LOCAL, for one call; it sends only the caller's rows.

        Args:
            seconds: How long the connect may take, if that is less than ``connect_timeout``.
        """
        connection = self._prepare(local_infile=True)
        connection._pipelines = self._pipelines
        if seconds is not None:
            connection.connect_timeout = min(connection.connect_timeout or seconds, seconds)
        connection.connect()
        return connection

    def _prepare(self, **more: Any) -> Connection:
        """Build the object in a frame of its own, so that the traceback of a failed connect has no password."""
        options = seal({**self._options(), **more})
        charset = options.get("charset", Secret(None)).value
        if charset and charset_by_name(charset) is None:
            raise ConfigError("charset must be one that PyMySQL knows, such as 'utf8mb4'")
        connection = self._kind(
            tls_contexts=self._tls_contexts,
            defer_connect=True,
            **{name: sealed.value for name, sealed in options.items()},
        )
        connection._address, connection._read_only = self._address, self._read_only
        if self._dress is not None:
            self._dress(connection)
        if self._aware_datetimes is not None:
            connection.encoders = strict_encoders(connection.encoders, self._aware_datetimes)
        return connection

    #: Looks at the socket: if an idle one has something to read, the server has closed it.
    is_alive: staticmethod[[Connection], bool] = staticmethod(Connection._is_alive)

    def ping(self, connection: Connection, timeout: float) -> bool:
        """Say whether the server answers a ping within *timeout* seconds."""
        return connection._answers(timeout)

    def is_clean(self, connection: Connection) -> bool:
        """Say, without a round trip, whether there is nothing to restore."""
        return self._only_if_needed and connection._is_clean()

    def restore(self, connection: Connection) -> bool:
        """Make the session as good as new; if it already is, there is no round trip."""
        if self.is_clean(connection):
            return True
        try:
            if callable(self._reset):
                self._reset(connection)
            return connection._restore(reset=self._reset == "session")
        except Exception as error:
            logger.warning("a returned connection could not be reset: %s", error)
            return False

    def close(self, connection: Connection) -> None:
        """Send COM_QUIT and close the socket; if the send would block, close without it."""
        with contextlib.suppress(Exception):
            connection._quit_within(QUIT_TIMEOUT)

    def abandon(self, connection: Connection) -> None:
        """Close our end of the socket and send nothing, so that in a forked child the parent's session goes on."""
        with contextlib.suppress(Exception):
            connection._drop()

    def end(
        self,
        lost_session: SessionMark,
        *,
        query_only: bool = False,
        through: Connection | None = None,
        patience: float = END_TIMEOUT,
    ) -> bool:
        """Have the server end a session for which no caller waits any more, or only its statement.

        KILL takes a number. On another server, or after a restart, the number is another session's; `end_through`
        checks that.

        Args:
            lost_session: Which session.
            query_only: End only the statement; the session goes on.
            through: The connection to send KILL on; None: open one for it.
            patience: Seconds that all of it may take, the connect included.

        Returns:
            Whether the server has ended it. Never raises.
        """
        mine: Connection | None = None
        ends_at = MonotonicClock.now() + patience
        try:
            if through is None:
                mine = through = self._prepare()
                mine._pipelines, mine._identity_query = self._pipelines, self._identity_query
                mine.connect_timeout = min(mine.connect_timeout or patience, patience)
                mine.connect()
            left = max(ends_at - MonotonicClock.now(), 0.001)
            done: bool = through._within(left, lambda: end_through(through, lost_session, query_only))
        except Exception as error:
            logger.info("a session could not be ended on the server: %s", error)
            return False
        finally:
            if mine is not None:
                self.close(mine)
        return done

    def cut(self, connection: Connection) -> None:
        """Shut the socket down, so that a thread blocked on it gets an error."""
        connection._shut_down()


def _comment(connection: Connection) -> str:
    """Return how the server describes itself; an empty text if it refuses to say."""
    try:
        rows = connection._ask("SELECT @@version_comment")
    except DriverError:
        if not connection.open:
            raise
        return ""
    return (rows[0][0] or "") if rows else ""
