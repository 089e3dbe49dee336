"""From what may be done to what the caller gets, and from a failed attempt to whether there is another one.

Knows errors, verdicts and the matrix. Does not know pools, connections or how often something is tried.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar

from improved_db.errors import OutcomeUnknown, ServerRefused, TransactionLost, TransactionRolledBack, VerdictError
from improved_db.matrix import Action
from improved_db.verdict import Kind, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from improved_db.verdict import Judgement

T = TypeVar("T")

#: What each action that raises gives the caller; RAISE gives the driver's own error.
ERRORS: Final[dict[Action, tuple[type[VerdictError], str]]] = {
    Action.RAISE_UNKNOWN: (OutcomeUnknown, "it may or may not have been applied"),
    Action.RAISE_REFUSED: (ServerRefused, "the server does not run this now; nothing was applied"),
    Action.RAISE_LOST: (TransactionLost, "the session ended before COMMIT; nothing of the transaction is left"),
    Action.RAISE_ROLLED_BACK: (TransactionRolledBack, "the server rolled the whole transaction back"),
}


class Failed(Exception):  # never seen outside: a message from an attempt to the retrier
    """One attempt failed.

    Attributes:
        error: What the caller gets if this was the last attempt.
        again: Whether making it again is safe.
        verdict: What is known about it.
        kind: Which wait comes before another one.
        reason: A few words without values.
    """

    def __init__(
        self, error: BaseException, *, again: bool, verdict: Verdict, kind: Kind = Kind.OTHER, reason: str = ""
    ) -> None:
        super().__init__(reason)
        self.error = error
        self.again = again
        self.verdict = verdict
        self.kind = kind
        self.reason = reason

    @classmethod
    def judged(cls, error: BaseException, judgement: Judgement, *, again: bool) -> Failed:
        """Return the message for a judged failure."""
        return cls(error, again=again, verdict=judgement.verdict, kind=judgement.kind, reason=judgement.reason)


class CallersOwn(Exception):  # never seen outside: a message from where the caller's code was called
    """Code of the caller's raised `error`, which says nothing about the connection it was called beside."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(str(error))
        self.error = error


def callers_rows(rows: Iterable[T]) -> Iterator[T]:
    """Iterate over what the caller gave; what it raises becomes `CallersOwn`."""
    try:
        yield from rows
    except GeneratorExit:
        raise
    except BaseException as error:
        raise CallersOwn(error) from error


def error_for(what: Action, error: BaseException) -> BaseException:
    """Return what the caller gets: the driver's error, or ours with the driver's number, text and cause."""
    if what not in ERRORS:
        return error
    kind, meaning = ERRORS[what]
    code = error.args[0] if error.args and isinstance(error.args[0], int) else 0
    text = error.args[1] if len(error.args) > 1 else str(error)
    ours = kind(code, f"{text}; {meaning}", sqlstate=getattr(error, "sqlstate", None))
    for name in ("acked_rows", "unknown_rows"):  # noted by a bulk load that commits chunk by chunk
        if hasattr(error, name):
            setattr(ours, name, getattr(error, name))
    ours.__cause__ = error
    return ours
