"""A connection that knows what it has written, and waits on a replica for what others have: in the same write.

The server tells the GTID of each commit in its OK packet, if the session asks for that. A wait goes in front of the
next statement, so it costs no round trip. If its answer is no, the statement's answer is not looked at: the connection
is closed, and the read goes elsewhere.

Knows OK packets, and the order of two answers. Does not know which wait is right, or what follows from a GTID.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

from pymysql import err
from pymysql.constants import CLIENT, COMMAND

from improved_db.failures.verdict import Backoff, Fate, Judgement, Phase, Verdict
from improved_db.sql.server import Flavour, flavour_of
from improved_db.wire.buffer import Buffer
from improved_db.wire.connection import Connection
from improved_db.wire.exchange import query_packet
from improved_db.wire.packets import length_encoded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

logger: logging.Logger = logging.getLogger("improved_db.wire")

#: Flag of the server's status: the OK packet says what of the session has changed.
STATE_CHANGED: Final = 0x4000

#: Kinds of changes in an OK packet.
SYSTEM_VARIABLE, GTIDS = 0, 3

#: What makes a server tell the GTID of each commit.
TRACKING: Final = {
    Flavour.MARIADB: "SET session_track_system_variables='last_gtid'",
    Flavour.GALERA: "SET session_track_system_variables='last_gtid'",
    Flavour.MYSQL: "SET session_track_gtids='OWN_GTID'",
}


class NotReached(err.OperationalError):  # never seen outside: a message from a replica's connection to the executor
    """A replica did not have in time what a read has to see; its rows were not looked at, and the primary is asked."""

    judgement: Final = Judgement(Verdict.REFUSED, Fate.DISCARD, Backoff.OTHER, "the replica was behind", at_once=True)


class CausalConnection(Connection):
    """A connection of several servers' pools."""

    #: Called with the GTID of each commit; None: the server is not asked for them.
    _on_gtid: Callable[[str], object] | None = None
    #: Whether it is a session of a Galera node, which waits for what its group has committed.
    _in_step: bool = False
    #: A statement to be sent in front of the next one: it returns 0 if the server has what is waited for.
    _wait: bytes | None = None
    #: Seconds that its answer may take: a frozen server does not look at the clock, and a Galera node at no limit.
    _wait_limit: float = 0.0
    #: Whether its answer is still to come.
    _awaits_wait: bool = False
    #: Called when the server has what was waited for.
    _on_reached: Callable[[], object] | None = None

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.client_flag: int = self.client_flag | CLIENT.SESSION_TRACK

    def _setup_commands(self) -> list[tuple[int, bytes]]:
        commands = super()._setup_commands()
        if self._on_gtid is not None:
            tracking = TRACKING.get(flavour_of(self.server_version))
            if tracking is not None:
                commands.insert(1, (COMMAND.COM_QUERY, tracking.encode()))
        return commands

    def _restore(self, *, reset: bool = False) -> bool:
        if self._in_step and (reset or self._touched):
            return False  # once it was reset, a session of MariaDB 10.11 does not wait, whatever the variable says
        return super()._restore(reset=reset)

    def _write_bytes(self, data: bytes) -> None:
        if self._wait is not None and self._phase is Phase.SEND:
            data = query_packet(self._wait) + data
            self._wait, self._awaits_wait = None, True
        super()._write_bytes(data)

    def _execute_command(self, command: int, sql: str | bytes) -> None:
        super()._execute_command(command, sql)
        if self._awaits_wait and type(self._rfile) is Buffer:  # PyMySQL's own reader hides what came behind the wait
            self._read_wait()

    def _read_answer(self, dict_rows: bool, *, more: bool) -> Any:
        if self._awaits_wait:  # its answer may look like that to the statement, byte for byte
            self._read_wait()
        return super()._read_answer(dict_rows, more=more)

    def _read_query_result(self, unbuffered: bool = False) -> Any:
        if self._awaits_wait:
            self._read_wait()
        affected = super()._read_query_result(unbuffered)
        result = self._result
        if result is not None and result.message and self._tells_changes():
            result.message = self._without_changes(result.server_status, result.message)
        return affected

    def _read_ok_packet(self) -> Any:
        ok = super()._read_ok_packet()
        if ok.message and self._tells_changes():
            ok.message = self._without_changes(ok.server_status, ok.message)
        return ok

    def _tells_changes(self) -> bool:
        return bool(self.server_capabilities & CLIENT.SESSION_TRACK)

    def _without_changes(self, status: int, message: bytes) -> bytes:
        """Return the server's own words of an OK packet, and hear what it says of changes behind them."""
        try:
            length, start = length_encoded(message, 0)
            words, rest = message[start : start + (length or 0)], message[start + (length or 0) :]
            if status & STATE_CHANGED and self._on_gtid is not None:
                for gtid in _gtids(rest):
                    self._on_gtid(gtid)
        except (IndexError, ValueError) as error:
            logger.warning("what an OK packet says of the session makes no sense (%s)", type(error).__name__)
            return message
        return words

    def _read_wait(self) -> None:
        """Read the answer to the wait; if it is no, close the connection.

        Raises:
            NotReached: The server does not have what was waited for.
        """
        self._awaits_wait = False
        decoders, self.decoders = self.decoders, {}
        row_kind, self._row_kind = self._row_kind, tuple
        try:
            self._next_seq_id = 1
            self._within(self._wait_limit, super()._read_query_result)
            rows = self._result.rows
            reached = bool(rows) and str(rows[0][0]) == "0"
        except err.MySQLError as error:
            if self._sock is None and not isinstance(error.__cause__, TimeoutError):
                raise
            reached = False  # it took too long, or a limit of the session ended it, or the server does not know it
        finally:
            self.decoders, self._row_kind = decoders, row_kind
        if not reached:
            self._force_close()
            raise NotReached(0, "the replica does not have yet what was written before")
        self._result = None
        self._next_seq_id = 1
        self._phase = Phase.AWAIT
        if self._on_reached is not None:
            self._on_reached()


def _gtids(changes: bytes) -> Iterator[str]:
    """Yield the GTIDs that an OK packet tells.

    Raises:
        IndexError: The packet ends before it should.
    """
    size, position = length_encoded(changes, 0)
    end = position + (size or 0)
    while position < end:
        kind = changes[position]
        length, start = length_encoded(changes, position + 1)
        position = start + (length or 0)
        data = changes[start:position]
        if kind == GTIDS:
            text, _ = _text(data, 1)  # behind the number of the encoding, of which there is one
            yield text
        elif kind == SYSTEM_VARIABLE:
            name, after = _text(data, 0)
            if name == "last_gtid":
                yield _text(data, after)[0]


def _text(data: bytes, position: int) -> tuple[str, int]:
    length, start = length_encoded(data, position)
    end = start + (length or 0)
    if end > len(data):
        raise IndexError("a text runs over the end of its packet")
    return data[start:end].decode("ascii", "replace"), end
