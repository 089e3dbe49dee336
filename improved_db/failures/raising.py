"""The errors that callers get, and the message of a failed attempt to the retrier.

Knows errors, verdicts and actions. Does not know pools, connections or how often an attempt is made.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar

from improved_db.errors import (
    OutcomeUnknown,
    ServerRefused,
    StatementTimeout,
    TransactionLost,
    TransactionRolledBack,
    VerdictError,
)
from improved_db.failures.decide import Action
from improved_db.failures.verdict import Backoff, Verdict
from improved_db.sql.labels import name_of
from improved_db.sql.placeholders import hint
from improved_db.sql.statement import digest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from improved_db.failures.verdict import Judgement

T = TypeVar("T")

#: How far the causes of an error are followed.
LONGEST_CHAIN: Final = 20

#: What each action that raises gives the caller; RAISE gives the driver's own error.
ERRORS: Final[dict[Action, tuple[type[VerdictError], str]]] = {
    Action.RAISE_UNKNOWN: (OutcomeUnknown, "it may or may not have been applied"),
    Action.RAISE_REFUSED: (ServerRefused, "the server does not run this now; nothing was applied"),
    Action.RAISE_LOST: (TransactionLost, "the session ended before COMMIT; nothing of the transaction is left"),
    Action.RAISE_ROLLED_BACK: (TransactionRolledBack, "the server rolled the whole transaction back"),
}


#: How servers say that a statement ran longer than they allow, and whose limit that is unless it was one of ours.
SERVERS_LIMITS: Final = {1969: "the server's max_statement_time", 3024: "the server's max_execution_time"}

#: How a server says that it does not understand a statement.
SYNTAX_ERROR: Final = 1064

#: How a server says that a value has the form of a row, as a list among args has, and what to add to that.
SEQUENCE_ERRORS: Final = frozenset({1241, 4078})
SEQUENCE_HINT: Final = "if an argument is a list, tuple or set: it is for IN %s alone"

#: Seconds: what is lost sooner is lost by chance, as in a restart, where many a statement is lost at once.
SHORTEST_CUT: Final = 0.5

#: By how much the times of two losses may differ if the cause is the same: a share of the longer one, or seconds.
SAME_CUT: Final = 0.1
SHORTEST_DIFFERENCE: Final = 0.1


class Failed(Exception):  # never seen outside: a message from an attempt to the retrier
    """One attempt failed.

    Attributes:
        error: What the caller gets if this was the last attempt.
        again: Whether a retry is safe.
        verdict: What is known about it.
        backoff: Which wait a retry uses.
        reason: A few words without values.
        statement: What was sent last, before its arguments were put in.
        started_at: When the attempt began to wait for a connection; None if it got none.
        lasted: Seconds it had its connection; None if it got none, or was one of several attempts that each go further.
        waited: Seconds it waited for its connection; None if it got none.
        ran: Seconds it had its connection.
        pause: Seconds until the next attempt; None if there is none.
        failed_at: When it failed, by the pool's clock; None if it got no connection.
        at_once: Whether another attempt is made at once, whatever the policy.
        host: Which of several servers it was on; empty for one server.
    """

    failed_at: float | None = None

    started_at: float | None = None
    lasted: float | None = None
    waited: float | None = None
    ran: float = 0.0
    pause: float | None = None
    at_once: bool = False
    host: str = ""

    def __init__(
        self,
        error: BaseException,
        *,
        again: bool,
        verdict: Verdict,
        backoff: Backoff = Backoff.OTHER,
        reason: str = "",
        statement: str = "",
    ) -> None:
        super().__init__(reason)
        self.error = error
        self.again = again
        self.verdict = verdict
        self.backoff = backoff
        self.reason = reason
        self.statement = statement

    @classmethod
    def judged(cls, error: BaseException, judgement: Judgement, *, again: bool, statement: str = "") -> Failed:
        """Return the message for a judged failure."""
        verdict, backoff, reason = judgement.verdict, judgement.backoff, judgement.reason
        message = cls(error, again=again, verdict=verdict, backoff=backoff, reason=reason, statement=statement)
        message.at_once = judgement.at_once
        return message

    def repeats(self, earlier: Failed) -> bool:
        """Say whether the same statement was lost after the same time as before: then it is ended each time."""
        if self.verdict is not Verdict.UNKNOWN or earlier.verdict is not Verdict.UNKNOWN:
            return False
        if self.lasted is None or earlier.lasted is None or self.statement != earlier.statement:
            return False
        shorter, longer = sorted((self.lasted, earlier.lasted))
        return shorter >= SHORTEST_CUT and longer - shorter <= max(longer * SAME_CUT, SHORTEST_DIFFERENCE)

    def story(self) -> str:
        """Return one line about the failure, without values."""
        on = f" on {self.host}" if self.host else ""
        at = f" at {name_of(self.statement) or digest(self.statement)}" if self.statement else ""
        return f"{self.verdict.value}: {self.reason}{on}{at}"


class CallersOwn(Exception):  # never seen outside: a message from where the caller's code was called
    """The caller's own code raised an error, which says nothing about the connection in use.

    Attributes:
        error: What it raised.
        made_of: The driver's error, if the caller's code had got one and raised another for it.
    """

    def __init__(self, error: BaseException, made_of: BaseException | None = None) -> None:
        super().__init__(str(error))
        self.error = error
        self.made_of = made_of


def causes(error: BaseException) -> Iterator[BaseException]:
    """Yield *error* and its causes, the nearest first; at most `LONGEST_CHAIN`, because a chain may be a ring."""
    link: BaseException | None = error
    for _ in range(LONGEST_CHAIN):
        if link is None:
            return
        yield link
        link = link.__cause__ or link.__context__


def callers_rows(rows: Iterable[T]) -> Iterator[T]:
    """Iterate over the caller's rows; an error that they raise becomes `CallersOwn`."""
    try:
        yield from rows
    except (GeneratorExit, CallersOwn):  # one wrapper is enough
        raise
    except BaseException as error:
        raise CallersOwn(error) from error


def note_limit(error: BaseException, limit: str) -> None:
    """Note on a driver's error which limit of ours had passed, for `explained`; the first one counts."""
    if not hasattr(error, "limit_passed"):
        error.limit_passed = limit  # type: ignore[attr-defined]  # the driver's errors carry it to where they are raised


def named_limit(timeout: float | None, left: float | None) -> str:
    """Say which limit of a statement comes first: its *timeout*, or the end of its call in *left* seconds."""
    by_timeout = timeout is not None and (left is None or timeout <= left)
    return f"timeout={timeout:g} s" if by_timeout else "the deadline of the call"


def note_passed(error: BaseException, timeout: float | None, left: float | None) -> None:
    """Note which limit had passed if *error* is the end of a wait: *timeout*, or the *left* seconds of the call."""
    if any(isinstance(link, TimeoutError) for link in causes(error)):
        note_limit(error, named_limit(timeout, left))


def explained(final: BaseException, error: BaseException, statement: str, verdict: Verdict) -> BaseException:
    """Return what the caller gets, as a `StatementTimeout` or with a hint where the driver's error does not say enough.

    Args:
        final: What `error_for` made of *error*.
        error: The driver's error.
        statement: The statement, without its arguments.
        verdict: What is known of it.
    """
    if final is not error or len(error.args) < 2 or not isinstance(error.args[0], int):
        return final
    code, said = error.args[:2]
    limit = getattr(error, "limit_passed", None) or SERVERS_LIMITS.get(code)
    if limit is not None:
        late = StatementTimeout(code, f"{said}; {limit} had passed", sqlstate=getattr(error, "sqlstate", None))
        late.verdict = verdict.value
        late.__cause__ = error
        return late
    more = hint(statement, str(said)) if code == SYNTAX_ERROR else SEQUENCE_HINT if code in SEQUENCE_ERRORS else ""
    if more:
        error.args = (code, f"{said} ({more})", *error.args[2:])
    return error


def error_for(what: Action, error: BaseException) -> BaseException:
    """Return what the caller gets: the driver's error, or ours with the driver's number, text and cause."""
    if what not in ERRORS:
        return error
    kind, meaning = ERRORS[what]
    code = error.args[0] if error.args and isinstance(error.args[0], int) else 0
    text = error.args[1] if len(error.args) > 1 else str(error)
    if hasattr(error, "limit_passed"):
        text = f"{text}; {error.limit_passed} had passed"
    ours = kind(code, f"{text}; {meaning}", sqlstate=getattr(error, "sqlstate", None))
    ours.__cause__ = error
    return ours
