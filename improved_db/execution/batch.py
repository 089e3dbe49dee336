"""Statements that share a connection and a round trip: written together, answers read in order, each judged alone.

The server runs them one after another; if one fails, the next still runs. If the connection is lost, the outcomes of
answered statements stay, and those without an answer are judged as single statements are.

Knows statements, the executor and how many bytes may be on their way. Does not know who waits for the outcomes.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Final

from improved_db.errors import StatementError
from improved_db.execution.observed import Shares
from improved_db.execution.stage import Stage
from improved_db.failures.decide import Unit, decide
from improved_db.failures.raising import CallersOwn, Failed, error_for
from improved_db.failures.verdict import Fate, Verdict
from improved_db.pool.openers import own_copy
from improved_db.sql.session_state import AT, KEEPING, LOW_LINE, touches
from improved_db.sql.statement import is_read_only
from improved_db.wire.exchange import DriverError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from improved_db.execution.executor import Executor
    from improved_db.failures.verdict import Judgement
    from improved_db.pool.loan import Loan
    from improved_db.wire.connection import Connection

#: Bytes of statements that may be on their way, written and not yet answered. The sockets' buffers always have room for
#: these, so neither side waits for the other to read.
IN_FLIGHT: Final = 65_536

#: How many statements are bound before the first of them are sent; the server works on these while more are bound.
AT_ONCE: Final = 128

#: From so many statements on, the thread sleeps until the answers to several of them have come.
MANY: Final = 8

#: How a statement begins that may share a round trip: its effect depends on no other statement of the session. All
#: others run alone, as by `execute_query`.
SHARING: Final = frozenset(b"sel wit val tab ins rep upd del sho des exp".split())

#: After these verdicts a write of a pipeline may be retried. After others that allow a retry of a single write it may
#: not, because later statements of the pipeline have run.
_SAFE_LATER: Final = frozenset({Verdict.NOT_CONNECTED, Verdict.NOT_SENT})


class Statement:
    """One statement and, once it is settled, its outcome.

    Attributes:
        query: The statement.
        args: The values for its placeholders.
        dict_rows: Rows as dicts.
        idempotent: As for `ImprovedDb.execute_query`.
        sql: The bytes to send, once the arguments are put in.
        outcome: The finished result.
        error: The error that came instead of it.
    """

    sql: bytes = b""
    outcome: Any = None
    error: BaseException | None = None

    def __init__(self, query: str, args: object, *, dict_rows: bool = False, idempotent: bool | None = None) -> None:
        self.query: str = query
        self.args: object = args
        self.dict_rows: bool = dict_rows
        self.idempotent: bool | None = idempotent

    @property
    def done(self) -> bool:
        """Whether its outcome is known."""
        return self.outcome is not None or self.error is not None

    def settle(self, outcome: Any = None, error: BaseException | None = None) -> None:
        """Note the outcome."""
        self.outcome, self.error = outcome, error


def bind(connection: Connection, statement: Statement) -> bool:
    """Put a statement's arguments in, or settle it if they do not fit; return False if it has to run alone."""
    try:
        statement.sql = sql = connection._bind(statement.query, statement.args)
    except CallersOwn as own:
        statement.settle(error=own.error)
        return True
    except StatementError as error:
        statement.settle(error=error)
        return True
    beginning = sql[:3].lower()
    if beginning not in SHARING or len(sql) > IN_FLIGHT:
        return False
    if beginning in KEEPING and AT not in sql and LOW_LINE not in sql:
        return True
    return not touches(sql, connection.encoding)


def bind_some(connection: Connection, left: deque[Statement], sharing: deque[Statement]) -> bool:
    """Bind the next statements, at most AT_ONCE, and move those that may share a round trip from *left* to *sharing*.

    Returns:
        Whether the statement after them, if there is one, may share it, too.
    """
    for _ in range(AT_ONCE):
        if not left or not bind(connection, left[0]):
            return False
        statement = left.popleft()
        if statement.error is None:
            sharing.append(statement)
    return bool(left)


def run_alone(executor: Executor, statement: Statement, failed: Failed | None, deadline: float | None) -> None:
    """Run one statement, as `execute_query` does; *failed* says how its first attempt, in a pipeline, failed."""
    try:
        result = executor.run_by(
            deadline, statement.query, statement.args, statement.dict_rows, statement.idempotent, failed
        )
    except Exception as error:
        statement.settle(error=error)
    else:
        statement.settle(result)


def interrupted(statement: Statement) -> BaseException:
    """Return the error of a statement, if an interrupt came before its answer."""
    text = "an interrupt came before its answer"
    if is_read_only(statement.query) or not statement.sql:
        return StatementError(f"not finished: {text}")
    return error_for(decide(Verdict.UNKNOWN, Unit.WRITE, idempotent=False).finally_, DriverError(0, text))


class Window:
    """Statements on one connection: some are sent and not yet answered; the others wait until there is room."""

    def __init__(
        self, connection: Connection, waiting: deque[Statement], more: Callable[[], bool] | None = None
    ) -> None:
        """Begin with nothing sent.

        Args:
            connection: Sends and reads.
            waiting: The statements, bound.
            more: Adds some to *waiting*; returns whether there may be more.
        """
        self._more: Callable[[], bool] | None = more
        self.waiting: deque[Statement] = waiting
        self.sent: deque[Statement] = deque()
        self._connection: Connection = connection
        self._bytes: int = 0

    def answers(self) -> Iterator[tuple[Statement, Any]]:
        """Send as many statements as there is room for; yield each with its result, or with the server's error."""
        sent, waiting, read = self.sent, self.waiting, self._connection._read_answer
        while True:
            while self._bytes <= IN_FLIGHT // 2 and (waiting or self._more is not None):
                if self._more is not None and not waiting and not self._more():
                    self._more = None
                batch = self._next_batch()
                if batch:
                    sent.extend(batch)
                    self._connection._send_each([statement.sql for statement in batch])
                elif waiting:  # the next one is so long that it has to wait for an answer
                    break
            if not sent:
                return
            if len(sent) >= MANY:
                self._connection._await_several(len(sent))
            statement = sent[0]
            answer = read(statement.dict_rows, more=len(sent) > 1)
            sent.popleft()
            self._bytes -= len(statement.sql)
            yield statement, answer

    def _next_batch(self) -> list[Statement]:
        batch: list[Statement] = []
        while self.waiting and (self._bytes == 0 or self._bytes + len(self.waiting[0].sql) <= IN_FLIGHT):
            statement = self.waiting.popleft()
            self._bytes += len(statement.sql)
            batch.append(statement)
        return batch


class Exchange:
    """Statements that share one connection of the pool."""

    def __init__(
        self,
        executor: Executor,
        loan: Loan[Connection],
        waiting: deque[Statement],
        *,
        more: Callable[[], bool] | None = None,
        others: bool = False,
    ) -> None:
        """Prepare to run.

        Args:
            executor: Its loans judge failures.
            loan: Has the connection; `run` returns the loan.
            waiting: The statements.
            more: As for `Window`.
            others: Whether other threads own some of them: for those an interrupt is a lost connection.
        """
        self._executor: Executor = executor
        self._others: bool = others
        self._loan: Loan[Connection] = loan
        self._window: Window = Window(loan.connection, waiting, more)
        self._worst: Judgement | None = None
        # To the observer a read of another thread is that thread's own call.
        self._shares: Shares | None = None if others else Shares(executor, loan.taken_at - loan.started_at)
        self.retried: list[tuple[Statement, Failed]] = []

    @property
    def unsent(self) -> deque[Statement]:
        """After `run`: the statements that were not sent."""
        return self._window.waiting

    def run(self, deadline: float | None) -> None:
        """Run the statements and settle those that are over; `retried` then have to be retried alone, `unsent` to run.

        Raises:
            BaseException: An interrupt; the connection is discarded.
        """
        executor, loan = self._executor, self._loan
        try:
            executor.loans.bounded(loan.connection, deadline, self._go_on)
        except BaseException as error:
            self._lost(error)
            if not isinstance(error, Exception):
                raise
        else:
            if self._worst is None:
                executor.pool.release(loan)
            else:
                executor.loans.return_judged(loan, self._worst)

    def _go_on(self) -> None:
        for statement, answer in self._window.answers():
            if isinstance(answer, DriverError):
                self._refused(statement, answer)
            else:
                statement.settle(answer)
                if self._shares is not None:
                    self._shares.answered(statement.query, statement.args, answer)

    def _refused(self, statement: Statement, error: BaseException) -> None:
        """Settle a statement that the server answered with an error; the statements after it have run all the same."""
        judgement = self._executor.loans.judge(self._loan.connection, error, Stage())
        if self._worst is None or judgement.fate.value > self._worst.fate.value:
            self._worst = judgement if judgement.fate is not Fate.KEEP else self._worst
        self._settle(statement, error, judgement, judgement.verdict)

    def _lost(self, error: BaseException) -> None:
        """Settle the statements that were sent and have no answer, and discard the connection."""
        connection = self._loan.connection
        told = error.made_of if isinstance(error, CallersOwn) else error
        if told is None:  # the caller's own decoder failed: the statement ran, and the answers after it are unread
            told = DriverError(0, "the answers of this pipeline were not read to their end")
        judgement = self._executor.loans.judge(connection, told, Stage())
        # Several statements were written together, so we do not know how many of them the server has got whole.
        verdict = Verdict.UNKNOWN if connection._phase is not None else judgement.verdict
        self._executor.loans.end_if_given_up(connection, told)
        self._executor.loans.return_judged(
            self._loan, judgement._replace(fate=max(judgement.fate, Fate.DISCARD, key=_severity))
        )
        for statement in self._window.sent:
            if not isinstance(error, Exception):
                if not self._others:
                    statement.settle(error=interrupted(statement))
            elif isinstance(error, CallersOwn) and statement is self._window.sent[0]:
                statement.settle(error=error.error)
            else:
                self._settle(statement, told, judgement, verdict)

    def _settle(self, statement: Statement, error: BaseException, judgement: Judgement, verdict: Verdict) -> None:
        unit = Unit.READ if is_read_only(statement.query) else Unit.WRITE
        decision = decide(verdict, unit, idempotent=statement.idempotent)
        final = error_for(decision.finally_, own_copy(error))  # other threads may raise theirs at the same time
        if decision.again and (unit is Unit.READ or statement.idempotent or verdict in _SAFE_LATER):
            judged = judgement._replace(verdict=verdict)
            self.retried.append((statement, Failed.judged(final, judged, again=True, statement=statement.query)))
        else:
            statement.settle(error=final)
            if self._shares is not None:
                self._shares.failed(statement.query, statement.args, final, verdict)


def _severity(fate: Fate) -> int:
    return fate.value
