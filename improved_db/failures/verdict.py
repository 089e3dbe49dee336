"""From a failure to what is known about the statement.

An error number does not say whether a statement was applied: a lost INSERT looks the same before, during and after its
execution. What had been done to the socket does say. So a `Failure` has a `Phase`: `judge` looks the number up in
`error_table`, and then the phase decides. What may be done about it is in `decide`.

Everything here is pure: no clock, no socket, no state, and `judge` never raises.

Knows phases and verdicts. Does not know connections, drivers, retries or time.
"""

from __future__ import annotations

import enum
import struct
from typing import Final, NamedTuple

from improved_db.failures import error_table as table
from improved_db.failures.error_table import Backoff, Fate, Row, Verdict, Where
from improved_db.sql.server import Flavour, flavour_of

__all__ = [
    "Backoff",
    "Failure",
    "Fate",
    "Flavour",
    "Judgement",
    "Phase",
    "Verdict",
    "flavour_of",
    "judge",
    "judge_exception",
]


class Phase(enum.Enum):
    """What we had done to the socket when it failed."""

    CONNECT = "connect"  #: no session yet: the handshake and our own first statements
    CHECKOUT = "checkout"  #: nothing of this command has been written
    SEND = "send"  #: the kernel has not taken every byte, so the server has no whole command
    AWAIT = "await"  #: everything is sent and the answer is not complete
    STREAM = "stream"  #: the caller has got rows
    COMMIT = "commit"  #: as AWAIT, of the statement that ends the transaction


class Failure(NamedTuple):
    """One failure, as far as it can be seen from our end of the socket.

    Attributes:
        phase: What we had done to the socket.
        code: The error number or None. PyMySQL reads it as a signed short; signed and unsigned are accepted.
        sqlstate: Five characters, or None; if None, a number from 2000 to 2999 is not from a server.
        message: The server's text, or the driver's.
        unsolicited: The error packet had sequence number 0: it answers no command.
        flavour: The kind of server or proxy.
        in_transaction: A transaction was open before the statement.
        autocommit: A statement outside a transaction commits by itself.
        read_only_session: We asked for READ ONLY ourselves.
        rollback_on_timeout: The server runs with ``innodb_rollback_on_timeout``.
        several_servers: Another server may run what this one refuses.
    """

    phase: Phase
    code: int | None
    sqlstate: str | None = None
    message: str = ""
    unsolicited: bool = False
    flavour: Flavour = Flavour.MYSQL
    in_transaction: bool = False
    autocommit: bool = True
    read_only_session: bool = False
    rollback_on_timeout: bool = False
    several_servers: bool = False


class Judgement(NamedTuple):
    """What follows from a failure.

    Attributes:
        verdict: What is true of the statement.
        fate: What becomes of its connection.
        backoff: Which wait a retry uses, if there is one.
        reason: A few words without values, for logs and error texts.
        at_once: Whether another attempt is made at once, whatever the policy: nothing has failed.
    """

    verdict: Verdict
    fate: Fate
    backoff: Backoff
    reason: str
    at_once: bool = False


_BY_CODE: Final[dict[int, list[Row]]] = {}
for _row in table.ROWS:
    _BY_CODE.setdefault(_row.code, []).append(_row)


def judge(failure: Failure) -> Judgement:
    """Judge a failure. Never raises.

    Args:
        failure: What happened, and when.

    Returns:
        The verdict, the fate of the connection, the wait for a retry and a reason.
    """
    row = _row_for(failure)
    return Judgement(_verdict_of(row, failure.phase), _fate_of(row, failure), row.backoff, row.reason)


def _row_for(failure: Failure) -> Row:
    """Return the first row that fits, or one for errors that are not listed."""
    code = None if failure.code is None else failure.code & 0xFFFF if failure.code < 0 else failure.code
    where = _where(failure)
    from_server = failure.sqlstate is not None or (code is not None and code > 0 and not 2000 <= code < 3000)
    rows: list[Row] = [*(table.BY_TEXT if from_server else ()), *(() if code is None else _BY_CODE.get(code, ()))]
    for row in rows:
        if _fits(row, failure, where):
            return row
    if where is Where.UNASKED:
        return table.OUT_OF_TURN
    for beginning, row in table.BY_SQLSTATE:
        if failure.sqlstate is not None and failure.sqlstate.startswith(beginning):
            return row
    # A 2013 in an error packet is about a proxy's own backend: it proves nothing.
    if not from_server or (code is not None and 2000 <= code < 3000):
        return table.UNANSWERED
    return table.UNLISTED_AT_COMMIT if where is Where.COMMIT else table.UNLISTED


def _where(failure: Failure) -> Where:
    if failure.phase is Phase.CONNECT:
        return Where.CONNECT
    # A stream answers a command that was executed: no packet in it is about the next command.
    if failure.unsolicited and failure.phase is not Phase.STREAM:
        return Where.UNASKED
    if failure.phase is Phase.COMMIT:
        return Where.COMMIT
    return Where.BODY if failure.in_transaction or not failure.autocommit else Where.SINGLE


def _fits(row: Row, failure: Failure, where: Where) -> bool:
    if not row.where & where or (row.flavours is not None and failure.flavour not in row.flavours):
        return False
    if row.needs is not None and not getattr(failure, row.needs):
        return False
    message = failure.message.lower()
    return not row.texts or any(text in message for text in row.texts)


def _verdict_of(row: Row, phase: Phase) -> Verdict:
    """Return the verdict; the phase decides over the row: what was not sent whole was not executed."""
    if row.verdict is Verdict.PERMANENT:
        return row.verdict
    if phase is Phase.CONNECT:
        return Verdict.NOT_CONNECTED
    return Verdict.NOT_SENT if phase in {Phase.CHECKOUT, Phase.SEND} else row.verdict


def _fate_of(row: Row, failure: Failure) -> Fate:
    """Return the fate; a connection with a half-written command is not kept, an open transaction is rolled back."""
    least = Fate.KEEP
    if failure.in_transaction or not failure.autocommit:
        least = Fate.ROLLBACK  # an error packet does not say whether a transaction is open
    if failure.phase in {Phase.CONNECT, Phase.SEND}:
        least = Fate.DISCARD
    if failure.phase is Phase.CHECKOUT and row.verdict is not Verdict.PERMANENT:
        least = Fate.DISCARD
    return max(row.fate, least, key=lambda fate: fate.value)


#: What PyMySQL raises if the bytes of a handshake are invalid.
_GARBLED: Final = (ValueError, IndexError, struct.error, AssertionError)
#: Exception classes of every DB-API driver (PEP 249), known by name because this file knows no driver.
_DRIVERS: Final = frozenset({"MySQLError", "DatabaseError", "InterfaceError"})
_MISUSE: Final = frozenset({"ProgrammingError", "NotSupportedError", "DataError"})


def judge_exception(
    error: BaseException,
    *,
    phase: Phase,
    flavour: Flavour = Flavour.MYSQL,
    in_transaction: bool = False,
    autocommit: bool = True,
    read_only_session: bool = False,
    rollback_on_timeout: bool = False,
    several_servers: bool = False,
) -> Judgement:
    """Judge an exception. Never raises.

    The number is ``args[0]`` if that is an int (PyMySQL puts a text there when packets are out of step), the text
    ``args[1]``; ``sqlstate`` and ``unsolicited`` are read if present. The wire turns every error of the socket into the
    driver's own, so any other error (a converter's ValueError, an OSError of the caller's disk, KeyboardInterrupt) does
    not come from the server: `Verdict.PERMANENT`, to be raised as it is, and the connection is discarded unless nothing
    had been written. Only while connecting, a bare error of the operating system counts as the socket's.

    Args:
        error: What was raised.
        phase: What we had done to the socket.
        flavour: The kind of server or proxy.
        in_transaction: A transaction was open before the statement.
        autocommit: A statement outside a transaction commits by itself.
        read_only_session: We asked for READ ONLY ourselves.
        rollback_on_timeout: The server runs with ``innodb_rollback_on_timeout``.
        several_servers: Another server may run what this one refuses.

    Returns:
        As `judge`.
    """
    code, message = _code_and_message(error)
    sqlstate = getattr(error, "sqlstate", None)
    failure = Failure(
        phase=phase,
        code=code,
        sqlstate=sqlstate if isinstance(sqlstate, str) else None,
        message=message,
        unsolicited=getattr(error, "unsolicited", False) is True,
        flavour=flavour,
        in_transaction=in_transaction,
        autocommit=autocommit,
        read_only_session=read_only_session,
        rollback_on_timeout=rollback_on_timeout,
        several_servers=several_servers,
    )
    if not isinstance(error, Exception):
        return Judgement(Verdict.PERMANENT, Fate.DISCARD, Backoff.OTHER, "interrupted")
    names = {cls.__name__ for cls in type(error).__mro__}
    if names & _DRIVERS and (code is not None or not names & _MISUSE):
        return judge(failure)
    # Once connected, our calls on the socket raise the driver's errors: a bare error is the caller's own.
    if phase is Phase.CONNECT and isinstance(error, (OSError, EOFError, *_GARBLED)):
        return judge(failure)
    fate = _fate_of(table.UNLISTED, failure) if phase is Phase.CHECKOUT else Fate.DISCARD
    return Judgement(Verdict.PERMANENT, fate, Backoff.OTHER, "not a server error")


def _code_and_message(error: BaseException) -> tuple[int | None, str]:
    first, second = (*error.args, None, None)[:2]
    # An errno is a number, too, but not an error number of the server.
    is_code = isinstance(first, int) and not isinstance(error, OSError)
    texts = [text for text in (first, second) if isinstance(text, str)]
    return (int(first) if is_code else None), " ".join(texts)
