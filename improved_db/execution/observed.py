"""What the executor tells the object that looks on: how each call of a caller's went.

A statement that succeeds at once, which nearly all do, costs one look at one attribute and one call. Everything else
is a `Call`, which collects its attempts.

Knows calls, their attempts and their times. Does not know what is made of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

from improved_db.errors import OutcomeUnknown, PoolError, StatementError, VerdictError
from improved_db.failures.raising import Failed
from improved_db.failures.verdict import Verdict
from improved_db.rows import Rows

if TYPE_CHECKING:
    from collections.abc import Callable

    from improved_db.execution.executor import Executor
    from improved_db.execution.stage import Stage

T = TypeVar("T")


class Times(Protocol):
    """The instants of one loan, or of a share in another's."""

    started_at: float
    taken_at: float
    ended_at: float


class Span:
    """The instants of a statement on a connection that its caller had already.

    Attributes:
        started_at: When it began to wait for its connection.
        taken_at: When it had it.
        ended_at: When its answer was there.
    """

    __slots__ = ("ended_at", "started_at", "taken_at")

    started_at: float
    taken_at: float
    ended_at: float

    def __init__(self, started_at: float, taken_at: float, ended_at: float) -> None:
        self.started_at: float = started_at
        self.taken_at: float = taken_at
        self.ended_at: float = ended_at


class Call:
    """One call of a caller's, however many attempts it took.

    Attributes:
        query: The statement, before its arguments were put in.
        args: What the caller gave for its placeholders.
        kind: ``statement``, ``batch``, ``stream``, ``pipeline`` or ``transaction``: which verb it came by.
        wait: Seconds it waited for connections, in sum.
        run: Seconds it had them, in sum.
        rows: Rows returned or changed.
        batch: How many sets of arguments it sent; None if it is no batch.
        failures: Its attempts that failed.
        error: What the caller got; None if it succeeded.
        verdict: What is known after *error*; empty if it succeeded.
        served: Whether it ever had a connection.
        lasted: Seconds from its beginning to its end, with the sleeps between attempts.
    """

    __slots__ = (
        "_keeps",
        "args",
        "batch",
        "error",
        "failures",
        "kind",
        "lasted",
        "query",
        "rows",
        "run",
        "served",
        "started_at",
        "verdict",
        "wait",
    )

    query: str
    args: object
    kind: str
    started_at: float
    wait: float
    run: float
    lasted: float
    rows: int
    verdict: str
    served: bool

    def __init__(self, query: str, args: object = None, *, kind: str = "statement", started_at: float = 0.0) -> None:
        self.query: str = query
        self.args: object = args
        self.kind: str = kind
        self.started_at: float = started_at
        self.wait: float = 0.0
        self.run: float = 0.0
        self.lasted: float = 0.0
        self.rows: int = 0
        self.batch: int | None = None
        self.failures: list[Failed] = []
        self.error: BaseException | None = None
        self.verdict: str = ""
        self.served: bool = False
        self._keeps = False

    @property
    def attempts(self) -> int:
        """How many attempts were made."""
        return len(self.failures) + (self.error is None or not self.failures)

    def took(self, times: Times, result: Any) -> None:
        """Note the attempt that succeeded."""
        self.wait += times.taken_at - times.started_at
        self.run += times.ended_at - times.taken_at
        self.rows, self.batch = counted(result)
        self.served = True

    def connected(self, now: float) -> None:
        """Note that it has a connection from now on, and keeps it until it ends."""
        self.wait = now - self.started_at
        self.served = self._keeps = True

    def streamed(self, wait: float, run: float, rows: int) -> None:
        """Note the waits and the rows of a stream; its caller's own work between the rows is none of them."""
        self.wait += wait
        self.run += run
        self.rows = rows
        self.served = True

    def returned(self, result: Any) -> None:
        """Note what it returned."""
        self.rows, self.batch = counted(result)

    def missed(self, failed: Failed) -> None:
        """Note an attempt that failed."""
        self.failures.append(failed)
        if failed.started_at is not None:
            self.started_at = min(self.started_at, failed.started_at)
        if failed.waited is not None:
            self.wait += failed.waited
            self.run += failed.ran
            self.served = True

    def following(self, attempt: Callable[[], T]) -> Callable[[], T]:
        """Return *attempt*, whose failures are noted here."""

        def noted() -> T:
            try:
                return attempt()
            except Failed as failed:
                self.missed(failed)
                raise

        return noted

    def ends(self, now: float, error: BaseException | None = None, verdict: Verdict | None = None) -> Call:
        """Note its end, and the error that its caller gets."""
        self.error = error
        self.lasted = now - self.started_at
        if self._keeps:
            self.run = self.lasted - self.wait
        if error is not None:
            self.verdict = verdict.value if verdict is not None else self._verdict(error)
            waited = getattr(error, "waited", None)
            if waited is not None and not self.served:
                self.wait = self.lasted = waited
        return self

    def _verdict(self, error: BaseException) -> str:
        if self.failures and self.failures[-1].error is error:
            return self.failures[-1].verdict.value
        if isinstance(error, VerdictError):
            return error.verdict
        if isinstance(error, PoolError):
            return Verdict.NOT_CONNECTED.value
        verdict = Verdict.NOT_SENT if isinstance(error, StatementError) else Verdict.PERMANENT
        return verdict.value


class _Nothing:
    affected_rows: int = 0


#: The result of what has no result: COMMIT.
NOTHING: Final = _Nothing()


def in_transaction(
    executor: Executor,
    stage: Stage,
    args: object,
    exchange: Callable[[], T],
    verdict: Callable[[BaseException], Verdict | None],
) -> T:
    """Run *exchange*, a statement on a connection that its caller has already, and tell the observer of it.

    Args:
        executor: Has the observer.
        stage: Has the statement, once *exchange* has begun.
        args: What the caller gave for its placeholders.
        exchange: Sends it and reads the answer.
        verdict: Says what is known after its error.
    """
    observer, note = executor.observer, executor.note
    if observer is None:
        return exchange()
    now = executor.pool.clock.now
    taken_at = now()
    try:
        done = exchange()
    except BaseException as error:
        call = Call(stage.statement, args, kind="transaction", started_at=taken_at)
        call.connected(taken_at)
        if not (stage.token_written and isinstance(error, OutcomeUnknown)):  # the token will tell
            observer.done(call.ends(now(), error, verdict(error)))
        raise
    times = Span(taken_at - stage.waited, taken_at, now())
    stage.waited = 0.0
    result: Any = NOTHING if done is None else done
    if isinstance(result, Rows):  # of many rows
        call = Call(stage.statement, kind="batch", started_at=times.started_at)
        call.took(times, result)
        observer.done(call.ends(times.ended_at))
    elif note is not None:
        note(stage.statement, args, times, result)
    return done


class Shares:
    """Statements that share a round trip: each took from the answer before it to its own."""

    def __init__(self, executor: Executor, waited: float) -> None:
        self._executor = executor
        self._now = executor.pool.clock.now
        self._waited = waited
        self._last = self._now()

    def answered(self, query: str, args: object, result: Any) -> None:
        """Tell the observer of a statement whose answer has just come."""
        note = self._executor.note
        if note is None:
            return
        now = self._now()
        note(query, args, Span(self._last - self._waited, self._last, now), result)
        self._last, self._waited = now, 0.0

    def failed(self, query: str, args: object, error: BaseException, verdict: Verdict) -> None:
        """Tell the observer of a statement that failed."""
        observer = self._executor.observer
        if observer is None:
            return
        now = self._now()
        call = Call(query, args, kind="pipeline", started_at=self._last)
        call.connected(self._last)
        observer.done(call.ends(now, error, verdict))
        self._last = now


class Observer(Protocol):
    """Who looks on. It is called in the caller's thread, and never raises."""

    def done(self, call: Call) -> None:
        """Hear that a call has ended, which was not a success at its first attempt, or no plain statement."""


def counted(result: Any) -> tuple[int, int | None]:
    """Return the rows of a finished result, or of `Rows`, and how many sets of arguments it had."""
    counts = getattr(result, "_result", result)
    rows = getattr(counts, "affected_rows", None) or 0
    return (rows if rows < 1 << 63 else 0), getattr(counts, "batch", None)
