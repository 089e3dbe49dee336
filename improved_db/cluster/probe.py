"""One server's own connection for questions, outside every pool: it is asked without waiting, and read when it answers.

Only `open` may block, in a thread of its own. Answers are read one statement at a time, each when the socket has
something to read, so a server that stops in the middle of its answers delays no other one.

Knows a connection and the questions of one server. Does not know other servers, rounds or roles.
"""

from __future__ import annotations

import logging
import ssl
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol

from improved_db.cluster.answers import pairs
from improved_db.cluster.facts import DISCOVER, questions_for
from improved_db.cluster.symptoms import described, problem_of
from improved_db.cluster.views import absent
from improved_db.wire.buffer import Buffer
from improved_db.wire.exchange import DriverError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from improved_db.clock import Clock
    from improved_db.cluster.answers import Answer, Row
    from improved_db.cluster.facts import Questions
    from improved_db.cluster.views import HostFacts, Kind
    from improved_db.wire.connection import Connection

logger: logging.Logger = logging.getLogger("improved_db.cluster")

#: "parse error": SHOW REPLICA STATUS before MySQL 8.0.22.
UNKNOWN_STATEMENT: Final = 1064

#: Seconds in which the rest of an answer that has begun has to come.
REST: Final = 0.25


class ProbeDriver(Protocol):
    """What opens and closes connections for questions: a `PyMySQLDriver` without ``configure``."""

    def connect(self) -> Connection:
        """Open a session."""

    def close(self, connection: Connection) -> None:
        """End it politely. Never raises."""

    def abandon(self, connection: Connection) -> None:
        """Close our end of the socket. Never raises."""


class Probe:
    """The questions to one server.

    Attributes:
        address: Which one.
        is_open: Whether it can be asked.
        asked_at: When the round began in which it was asked; None while no answer is due.
    """

    def __init__(self, address: str, driver: ProbeDriver, kind: Kind, clock: Clock, *, discover: bool = False) -> None:
        """Be ready to ask the server at *address* about what *kind* needs; with *discover* for its replicas, too."""
        self.address: str = address
        self.asked_at: float | None = None
        self._driver = driver
        self._kind: Kind = kind
        self._discover = discover
        self._warned = False
        self._now = clock.now
        self._connection: Connection | None = None
        self._questions: Questions | None = None
        self._answers: list[Answer] = []
        self._sent = 0
        self._sent_at = 0.0

    @property
    def is_open(self) -> bool:
        """Whether there is a connection."""
        return self._connection is not None

    def fileno(self) -> int:
        """Return the descriptor to wait at."""
        assert self._connection is not None
        return int(self._connection._sock.fileno())

    def open(self) -> None:
        """Connect, and find out what to ask; this may block until the driver's own connect timeout.

        Raises:
            Exception: What the driver says.
        """
        connection = self._driver.connect()
        try:
            told = pairs(_rows(connection._run(DISCOVER)))
            questions = self._with_rights(connection, told)
            if self._discover and questions.replicas is None and questions.kind == "replication":
                self._warn()
        except BaseException:
            self._driver.abandon(connection)
            raise
        self._questions, self._connection = questions, connection

    def _with_rights(self, connection: Connection, told: Row) -> Questions:
        """Return the questions without those that the account may not ask, and with the names that the server knows."""
        by_age = [
            questions_for(told, connection.server_version, kind=self._kind, older=older, discover=self._discover)
            for older in (False, True)
        ]
        return by_age[0]._replace(
            optional=_known(connection, [questions.optional for questions in by_age]),
            replicas=_known(connection, [questions.replicas for questions in by_age]),
        )

    def _warn(self) -> None:
        """Say once that this server cannot name its replicas."""
        if not self._warned:
            self._warned = True
            logger.warning(
                "discover: this account may not ask %s for its replicas; on MariaDB GRANT REPLICATION MASTER ADMIN, on "
                "MySQL GRANT REPLICATION SLAVE, or list every server",
                self.address,
            )

    def ask(self, round_began_at: float) -> HostFacts | None:
        """Send the questions, all at once where the server takes that; return its absence if that fails."""
        assert self._connection is not None
        assert self._questions is not None
        self.asked_at, self._answers, self._sent, self._sent_at = round_began_at, [], 0, self._now()
        try:
            self._send()
        except Exception as error:
            return self._lost(error)
        return None

    def _send(self) -> None:
        assert self._connection is not None
        assert self._questions is not None
        left = [statement.encode() for statement in self._questions.all[self._sent :]]
        batch = left if self._connection._pipelines else left[:1]
        self._connection._send_each(batch)
        self._sent += len(batch)

    def take(self) -> HostFacts | None:
        """Read what has come, once the socket has something to read; None if that is no whole answer."""
        assert self._connection is not None
        if self.asked_at is None:
            ended = ConnectionError("the server ended the session")
            return self._lost(ended) if _has_ended(self._connection) else None
        try:
            return self._take(self._connection, REST)
        except Exception as error:
            return self._lost(error)

    def _take(self, connection: Connection, seconds: float) -> HostFacts | None:
        questions, asked_at = self._questions, self.asked_at
        assert questions is not None
        assert asked_at is not None
        while True:
            more = len(self._answers) + 1 < self._sent
            self._answers.append(connection._within(seconds, partial(_read, connection, more=more)))
            if len(self._answers) == len(questions.all):
                break
            if len(self._answers) == self._sent:
                self._send()
            if not _has_bytes(connection):
                return None
        now, self.asked_at = self._now(), None
        known = {
            "asked_at": asked_at,
            "rtt": now - self._sent_at,
            "version": connection.server_version,
            "identity": connection._server_identity or None,
        }
        return questions.facts(self.address, now, self._answers, **known)

    def _lost(self, error: Exception) -> HostFacts:
        at = self._now()
        self.abandon()
        return absence(self.address, at, error)

    def close(self) -> None:
        """Close the connection."""
        self._end(self._driver.close)

    def abandon(self) -> None:
        """Close our end of the connection; the server may be frozen, or belong to a parent process."""
        self._end(self._driver.abandon)

    def _end(self, how: Callable[[Connection], None]) -> None:
        connection, self._connection, self.asked_at = self._connection, None, None
        if connection is not None:
            how(connection)


def _known(connection: Connection, names: Sequence[str | None]) -> str | None:
    """Return the first of several names of one statement that the server runs for this account; None if it does not."""
    for statement in filter(None, names):
        try:
            connection._run(statement)
        except DriverError as error:
            if not connection.open:
                raise
            if error.args[:1] != (UNKNOWN_STATEMENT,):
                return None
        else:
            return statement
    return None


def absence(address: str, at: float, error: BaseException) -> HostFacts:
    """Return what an error of a connect or of a question says."""
    return absent(address, at, problem_of(error) or "lost", described(error))


def _has_bytes(connection: Connection) -> bool:
    """Say whether bytes of an answer are here already, where waiting at the socket would not tell."""
    if type(connection._rfile) is not Buffer:  # PyMySQL's own reader does not show what it holds
        return True
    under_tls = getattr(connection._sock, "pending", None)
    return connection._rfile.pending > 0 or (under_tls is not None and under_tls() > 0)


def _has_ended(connection: Connection) -> bool:
    """Say whether a server that was asked nothing has something to say; tickets for later TLS sessions are nothing."""
    sock = connection._sock
    timeout = sock.gettimeout()
    sock.settimeout(0)
    try:
        sock.recv(1)
    except (BlockingIOError, ssl.SSLWantReadError):
        return False
    except OSError:
        return True
    finally:
        sock.settimeout(timeout)
    return True


def _read(connection: Connection, *, more: bool) -> Answer:
    """Read one answer; an error packet is one."""
    decoders, connection.decoders = connection.decoders, {}
    try:
        answer = connection._read_answer(dict_rows=False, more=more)
    finally:
        connection.decoders = decoders
    if isinstance(answer, Exception):
        return int(answer.args[0]) if answer.args and isinstance(answer.args[0], int) else 0
    return _rows(answer)


def _rows(result: Any) -> list[Row]:
    names = [str(column[0]).lower() for column in result.description or ()]
    return [dict(zip(names, map(_text, row), strict=True)) for row in result.rows or ()]


def _text(value: object) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return "" if value is None else str(value)
