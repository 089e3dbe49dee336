"""Work on a borrowed connection: borrow, run, return; if that fails and a retry is safe, let the retrier go on.

Knows the loans, the retrier and the time limits of statements. Does not know what a failure means, sockets, locks or
what users type.
"""

from __future__ import annotations

import contextlib
import logging
from contextvars import ContextVar
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

from improved_db.errors import StatementError
from improved_db.execution.ending import end as end_on_server
from improved_db.execution.loans import Loans
from improved_db.execution.observed import Call
from improved_db.execution.stage import Stage
from improved_db.failures.decide import Unit
from improved_db.failures.raising import SERVERS_LIMITS, Failed, named_limit, note_limit, note_passed
from improved_db.logs import warn
from improved_db.sql.session_state import forgotten
from improved_db.sql.statement import is_read_only, with_time_limit
from improved_db.wire.exchange import DriverError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from improved_db.execution.lane import Lane, LaneDriver
    from improved_db.execution.multiplex import Multiplexer
    from improved_db.execution.observed import Observer, Times
    from improved_db.execution.retry import Retrier
    from improved_db.wire.connection import Connection

T = TypeVar("T")
logger: logging.Logger = logging.getLogger("improved_db.pool")

FORGOTTEN: Final = (
    "a call that ran %s alone has no effect on later calls: each takes any connection, and the pool makes a changed "
    "session new; write with db.transaction() as tx, or with db.connection(), or set init_command or configure"
)
BESIDE: Final = (
    "a statement of db ran outside the transaction that its block has open: it commits by itself, and sees nothing of "
    "the transaction; use tx for what belongs to it"
)

#: Whose transaction the current context has open.
_owner: ContextVar[Executor | None] = ContextVar("_owner", default=None)

#: Seconds that the server has to end an overdue statement by itself, before we end it from a second connection.
GRACE: Final = 0.2

#: Seconds that a call may go on after its deadline, to end its statement on the server and to read what became of it.
OVERTIME: Final = 0.5

#: The same after the ``timeout`` of a statement. The call may take longer then: the caller wants to know whether the
#: server has undone the statement, and the server may need a while for that.
LAST_WORD: Final = 2.0


def check_timeout(timeout: object) -> None:
    """Refuse what is no time limit.

    Raises:
        StatementError: *timeout* is not a positive number.
    """
    if not isinstance(timeout, (int, float)) or isinstance(timeout, bool) or not timeout > 0:
        shown = f"{timeout!r}" if isinstance(timeout, (int, float)) else f"a {type(timeout).__name__}"
        raise StatementError(f"timeout must be a positive number of seconds, not {shown}")


def check_batch_size(size: object) -> None:
    """Refuse what is no number of rows, before an empty batch looks like the end of them.

    Raises:
        StatementError: *size* is not an int of at least 1.
    """
    if not isinstance(size, int) or isinstance(size, bool) or size < 1:
        shown = size if isinstance(size, int) else f"a {type(size).__name__}"
        raise StatementError(f"batch_size must be at least 1, not {shown!s}")


class Executor:
    """Runs statements, and other work, on connections of one pool.

    Attributes:
        pool: The pool.
        driver: Its driver.
        retrier: Decides about retries, and waits before them.
        loans: Borrows and returns connections.
        multiplexer: Combines the reads of a crowd; None: each read goes alone.
        note: Hears of each statement that succeeds at once; None if there is nothing to be told. The observer sets it.
        observer: Hears of all other calls.
        around_transaction: Surrounds the attempts at a transaction of ours, and hears how many there were; or None.
    """

    def __init__(
        self,
        pool: Lane,
        driver: LaneDriver,
        retrier: Retrier,
        *,
        autocommit: bool,
        limit: float | None = None,
    ) -> None:
        """Run on *pool*'s connections, which *driver* opens.

        Args:
            pool: Lends the connections: a pool, or a lane of several.
            driver: Opens them, and ends statements and sessions for which no caller waits any more.
            retrier: Retries.
            autocommit: Whether a single statement commits by itself; if not, the executor commits it.
            limit: Seconds that a whole call may take, with its waits for a connection and before retries.
        """
        self.pool = pool
        self.driver = driver
        self.retrier = retrier
        self.loans: Loans = Loans(pool, driver, autocommit=autocommit)
        self._autocommit = autocommit
        self._limit = limit
        self._told: set[str] = set()
        self.multiplexer: Multiplexer | None = None
        self.note: Callable[[str, object, Times, Any], object] | None = None
        self.observer: Observer | None = None
        self.around_transaction: Callable[[], AbstractContextManager[Callable[[int], None]]] | None = None

    def deadline(self) -> float | None:
        """Return when a call that starts now has to be over."""
        return None if self._limit is None else self.pool.clock.now() + self._limit

    # --- one statement ---------------------------------------------------------------------------------------------

    def run(
        self,
        query: str,
        args: object = None,
        dict_rows: bool | type = False,
        idempotent: bool | None = None,
        timeout: float | None = None,
    ) -> Any:
        """Run one statement; retry what is safe to retry.

        Args:
            query: The statement.
            args: Values for its placeholders.
            dict_rows: Rows as dicts; `bytes` for the payloads of their packets.
            idempotent: As for `ImprovedDb.execute_query`: None, True or False.
            timeout: Seconds that the statement may run.

        Returns:
            The finished result.

        Raises:
            PoolError: The pool lends no connection.
            OutcomeUnknown: The server may or may not have applied the statement.
            pymysql.err.MySQLError: What the server or the driver said.
        """
        deadline = None if self._limit is None else self.deadline()
        crowd = self.multiplexer
        if crowd is not None and crowd.crowded and timeout is None and deadline is None and idempotent is not False:
            return self._run_in_crowd(crowd, query, args, dict_rows, idempotent)
        try:  # as `persist` does, but a success pays for no closure
            return self._attempt(query, args, dict_rows, idempotent, timeout, deadline)
        except Failed as failed:
            first = failed
        except BaseException as error:
            self.tell(query, args, error)
            raise
        call = self.call(query, args)
        attempt = partial(self._attempt, query, args, dict_rows, idempotent, timeout, deadline, call)
        return self.watched(call, partial(self._retry, call, first, attempt, deadline))

    def _run_in_crowd(
        self, crowd: Multiplexer, query: str, args: object, dict_rows: bool | type, idempotent: bool | None
    ) -> Any:
        first = None
        if query in crowd.short and isinstance(dict_rows, bool):  # a read that wants packets goes alone
            try:
                read = crowd.run(query, args, dict_rows)
                if read.error is not None:
                    raise read.error
            except BaseException as error:
                self.tell(query, args, error)
                raise
            if read.outcome is not None:
                if self.note is not None:
                    self.note(query, args, read, read.outcome)
                return read.outcome
            first = read.failed
        return self.run_by(None, query, args, dict_rows, idempotent, first)

    def run_by(
        self,
        deadline: float | None,
        query: str,
        args: object,
        dict_rows: bool | type,
        idempotent: bool | None,
        first: Failed | None = None,
    ) -> Any:
        """Run one statement, as `run` does, until *deadline*; *first* says how an attempt elsewhere failed."""
        call = self.call(query, args)
        attempt = partial(self._attempt, query, args, dict_rows, idempotent, None, deadline, call)
        if first is None:
            return self.watched(call, partial(self.persist, attempt, deadline, call))
        return self.watched(call, partial(self._retry, call, first, attempt, deadline))

    def may_share(self, connection: Connection) -> bool:
        """Say whether we may write several statements at once: each commits by itself, and the server accepts that."""
        return self._autocommit and connection._pipelines

    def _attempt(
        self,
        query: str,
        args: object,
        dict_rows: bool | type,
        idempotent: bool | None,
        timeout: float | None,
        deadline: float | None,
        call: Call | None = None,
    ) -> Any:
        loan = self.loans.borrow(deadline)
        connection = loan.connection
        committing = False
        try:
            if timeout is None and deadline is None:
                crowd = self.multiplexer
                if crowd is None or (loan.signal is None and not crowd.crowded):
                    result = connection._run(query, args, dict_rows)
                else:
                    result = crowd.timed(loan, query, args, dict_rows)
            else:
                result = self.perform(connection, query, args, dict_rows, timeout, deadline)
            if not self._autocommit:
                committing = True
                self.loans.bounded(connection, deadline, connection._commit_if_open)
        except BaseException as error:
            unit = Unit.READ if is_read_only(query) else Unit.WRITE if self._autocommit else Unit.TRANSACTION
            stage = Stage()
            stage.at_commit, stage.statement = committing, query
            raise self.loans.failed(loan, error, unit, stage, idempotent, deadline=deadline) from error
        if deadline is None:
            self.pool.release(loan)
        else:
            self.loans.return_loan(loan, deadline)
        if _owner.get() is self or (result.description is None and not result.affected_rows):
            self._tell_if_in_vain(query)
        if call is not None:
            call.took(loan, result)
        elif (note := self.note) is not None:
            note(query, args, loan, result)
        return result

    def _tell_if_in_vain(self, query: str) -> None:
        """Log, once each, what is hardly meant: a statement beside the transaction of its block, SET by itself."""
        beside = _owner.get() is self
        word = "" if beside else forgotten(query)
        if (beside or word) and word not in self._told:
            self._told.add(word)
            if beside:
                warn(logger, BESIDE)
            else:
                warn(logger, FORGOTTEN, word)

    @contextlib.contextmanager
    def owning(self) -> Iterator[None]:
        """Note for a block that its context has a transaction open, on a connection of its own."""
        token = _owner.set(self)
        try:
            yield
        finally:
            with contextlib.suppress(ValueError):  # the block may be left in another context, and this one is over
                _owner.reset(token)

    def perform(
        self,
        connection: Connection,
        query: str,
        args: object,
        dict_rows: bool | type,
        timeout: float | None,
        deadline: float | None = None,
    ) -> Any:
        """Run one statement on *connection*, and end it on the server when its time is over.

        If the server has a time limit for this kind of statement, the statement gets it. If the statement still runs
        after that, a second connection ends it. In both cases the server's error says that it has undone the statement.

        Raises:
            pymysql.err.OperationalError: 1969, 3024 or 1317 from the server; 2013 if the server did not answer.
        """
        if timeout is not None:
            check_timeout(timeout)
        left = self.loans.left(deadline)
        limits = [seconds for seconds in (timeout, left) if seconds is not None]
        if not limits:
            return connection._run(query, args, dict_rows)
        seconds = max(min(limits), 0.001)
        limited = with_time_limit(query, seconds, self.loans.flavour(connection), connection._version())
        patience = seconds if limited is None else seconds + GRACE
        overtime = LAST_WORD if left is None else min(LAST_WORD, left + OVERTIME - patience)
        overdue = False

        def end(seconds: float) -> bool | None:
            nonlocal overdue
            overdue = True
            return end_on_server(self.driver, connection, seconds, query_only=True)

        try:
            return connection._run_limited(limited or query, args, dict_rows, patience, overtime, end)
        except DriverError as error:
            if overdue or error.args[0] in SERVERS_LIMITS:
                note_limit(error, named_limit(timeout, left))
            note_passed(error, timeout, left)
            raise

    # --- any other work --------------------------------------------------------------------------------------------

    def repeat(
        self, unit: Unit, work: Callable[[Connection, Stage], T], deadline: float | None, call: Call | None = None
    ) -> T:
        """Do *work* on a borrowed connection; retry all of it if that is safe.

        Args:
            unit: What kind of work it is.
            work: Does it, and notes in its second argument how far it is.
            deadline: When the call has to be over.
            call: What the observer is told about it.

        Raises:
            BaseException: The error of the last attempt.
        """
        attempt = partial(self.attempt, unit, work, deadline, call)
        return self.watched(call, partial(self.persist, attempt, deadline, call))

    def persist(self, attempt: Callable[[], T], deadline: float | None, call: Call | None = None) -> T:
        """Make an attempt. While it raises `Failed`, and a retry is safe, allowed and in time, make another one."""
        try:
            return attempt()
        except Failed as failed:
            first = failed
        return self._retry(call, first, attempt, deadline)

    def _retry(self, call: Call | None, first: Failed, attempt: Callable[[], T], deadline: float | None) -> T:
        if call is not None:
            call.missed(first)
            attempt = call.following(attempt)
        return self.retrier.retry(first, attempt, deadline, self._lent)

    def _lent(self) -> int:
        return self.pool.stats().acquired

    def attempt(
        self, unit: Unit, work: Callable[[Connection, Stage], T], deadline: float | None, call: Call | None = None
    ) -> T:
        """Do *work* on a borrowed connection, once.

        Raises:
            Failed: The work failed; the message says how.
        """
        loan = self.loans.borrow(deadline)
        stage = Stage()
        stage.waited = loan.taken_at - loan.started_at
        try:
            done = self.loans.bounded(loan.connection, deadline, partial(work, loan.connection, stage))
        except BaseException as error:
            raise self.loans.failed(loan, error, unit, stage, deadline=deadline) from error
        self.loans.return_loan(loan, deadline)
        if call is not None:
            call.took(loan, done)
        return done

    # --- telling the observer --------------------------------------------------------------------------------------

    def call(self, query: str, args: object = None, kind: str = "statement") -> Call | None:
        """Return a call that begins now, and that the observer is to be told about; None if there is no observer."""
        return None if self.observer is None else Call(query, args, kind=kind, started_at=self.pool.clock.now())

    def watched(self, call: Call | None, work: Callable[[], T]) -> T:
        """Do *work*, and tell the observer how *call*, which it was, has ended."""
        if call is None or self.observer is None:
            return work()
        try:
            done = work()
        except BaseException as error:
            self.ended(call, error)
            raise
        self.ended(call)
        return done

    def ended(self, call: Call | None, error: BaseException | None = None, result: object = None) -> None:
        """Tell the observer that *call* has ended; *result* if it had a connection of its own."""
        if call is None or self.observer is None:
            return
        if result is not None:
            call.returned(result)
        self.observer.done(call.ends(self.pool.clock.now(), error))

    def tell(self, query: str, args: object, error: BaseException) -> None:
        """Tell the observer of a call that came to nothing before it had a connection, or whose error is no failure."""
        self.ended(self.call(query, args), error)
