"""Work on a borrowed connection: borrow, run, return; on a failure judge, then return what is left.

Knows the pool, the verdicts and the retrier. Does not know sockets, locks or what users type.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

from improved_db.errors import ImprovedDbError, StatementError
from improved_db.execution.ending import end as end_on_server
from improved_db.failures.decide import Action, Unit, decide
from improved_db.failures.raising import CallersOwn, Failed, causes, error_for
from improved_db.failures.verdict import Backoff, Fate, Flavour, Judgement, Phase, Verdict, flavour_of, judge_exception
from improved_db.sql.statement import is_read_only, with_time_limit
from improved_db.wire.connection import RESTORE_TIMEOUT
from improved_db.wire.exchange import DriverError
from improved_db.wire.pymysql_driver import END_TIMEOUT

if TYPE_CHECKING:
    from collections.abc import Callable

    from improved_db.execution.multiplex import Multiplexer
    from improved_db.execution.retry import Retrier
    from improved_db.pool.loan import Loan
    from improved_db.pool.pool import Pool
    from improved_db.wire.connection import Connection
    from improved_db.wire.pymysql_driver import PyMySQLDriver

T = TypeVar("T")
logger: logging.Logger = logging.getLogger("improved_db.retry")

#: Seconds the server gets to end an overdue statement by itself before we do it from a second connection.
GRACE: Final = 0.2

#: Seconds a call may go on after its deadline, to end on the server what it began and to hear what became of it.
OVERTIME: Final = 0.5

#: The same after the ``timeout`` of a statement, which is no deadline of the call: its caller wants to know whether the
#: statement was undone, and a server may take a while to undo it.
LAST_WORD: Final = 2.0

#: Seconds to wait for KILL where nothing depends on it.
KILL_WAIT: Final = 0.2

UNDONE: Final = frozenset({Verdict.TRANSACTION_ROLLED_BACK, Verdict.STATEMENT_ROLLED_BACK})


class Stage:
    """How far a unit of work is: the code that does it notes it, and a failure is judged by it.

    Attributes:
        in_transaction: A transaction of ours is open.
        at_commit: Its COMMIT is on the wire.
        read_only: It is one that we said is READ ONLY.
        committed_part: A statement has committed part of it already.
        kept_part: Tables without transactions have kept part of it.
        statement: What was sent last, before its arguments were put in.
    """

    in_transaction = False
    at_commit = False
    read_only = False
    committed_part = False
    kept_part = False
    statement = ""


class Executor:
    """Runs units of work on connections of one pool."""

    def __init__(
        self,
        pool: Pool[Connection],
        driver: PyMySQLDriver,
        retrier: Retrier,
        *,
        autocommit: bool,
        limit: float | None = None,
    ) -> None:
        """Run on *pool*'s connections, which *driver* opens.

        Args:
            pool: Where connections come from.
            driver: Ends statements and sessions for which no caller waits any more.
            retrier: Tries again.
            autocommit: Whether a single statement commits by itself; else it is committed here.
            limit: Seconds a whole call may take, line and sleeps included.
        """
        self.pool = pool
        self.driver = driver
        self.retrier = retrier
        self._autocommit = autocommit
        self._limit = limit
        #: Combines the reads of a crowd; None: each goes alone.
        self.multiplexer: Multiplexer | None = None
        self._flavours: dict[str, Flavour] = {}

    def deadline(self) -> float | None:
        """Return when a call that starts now has to be over."""
        return None if self._limit is None else self.pool.clock.now() + self._limit

    def left(self, deadline: float | None) -> float | None:
        """Return how many seconds are left until *deadline*, at least a thousandth; None where there is none."""
        return None if deadline is None else max(deadline - self.pool.clock.now(), 0.001)

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
            idempotent: As the contract has it: None, True or False.
            timeout: Seconds the statement may run.

        Returns:
            The finished result.

        Raises:
            PoolError: No connection could be had.
            OutcomeUnknown: It may or may not have been applied.
            pymysql.err.MySQLError: What the server or the driver said.
        """
        deadline = None if self._limit is None else self.deadline()
        crowd = self.multiplexer
        if crowd is not None and crowd.crowded and timeout is None and deadline is None and idempotent is not False:
            return self._run_in_crowd(crowd, query, args, dict_rows, idempotent)
        try:  # as `persist` does, without the cost of a closure for a success
            return self._attempt(query, args, dict_rows, idempotent, timeout, deadline)
        except Failed as failed:
            first = failed
        attempt = partial(self._attempt, query, args, dict_rows, idempotent, timeout, deadline)
        return self.retrier.retry(first, attempt, deadline, self._lent)

    def _run_in_crowd(
        self, crowd: Multiplexer, query: str, args: object, dict_rows: bool | type, idempotent: bool | None
    ) -> Any:
        first = None
        if query in crowd.short and isinstance(dict_rows, bool):  # columns go alone
            read = crowd.run(query, args, dict_rows)
            if read.error is not None:
                raise read.error
            if read.outcome is not None:
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
        """Run one statement, as `run` does, until *deadline*; *first*: how its first attempt failed elsewhere."""
        attempt = partial(self._attempt, query, args, dict_rows, idempotent, None, deadline)
        if first is None:
            return self.persist(attempt, deadline)
        return self.retrier.retry(first, attempt, deadline, self._lent)

    def may_share(self, connection: Connection) -> bool:
        """Say whether several statements may be written at once: each commits by itself, and the server takes them."""
        return self._autocommit and connection._pipelines

    def _attempt(
        self,
        query: str,
        args: object,
        dict_rows: bool | type,
        idempotent: bool | None,
        timeout: float | None,
        deadline: float | None,
    ) -> Any:
        loan = self.borrow(deadline)
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
                self.bounded(connection, deadline, connection._commit_if_open)
        except BaseException as error:
            unit = Unit.READ if is_read_only(query) else Unit.WRITE if self._autocommit else Unit.TRANSACTION
            stage = Stage()
            stage.at_commit, stage.statement = committing, query
            raise self.failed(loan, error, unit, stage, idempotent, deadline=deadline) from error
        if deadline is None:
            self.pool.release(loan)
        else:
            self.return_loan(loan, deadline)
        return result

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

        The server's own limit is used where it has one for this statement; whatever is still running then is ended
        from a second connection. Either way the server's error says that the statement was undone.

        Raises:
            pymysql.err.OperationalError: 1969, 3024 or 1317 from the server; 2013 where it did not even answer that.
        """
        left = self.left(deadline)
        limits = [seconds for seconds in (timeout, left) if seconds is not None]
        if not limits:
            return connection._run(query, args, dict_rows)
        seconds = max(min(limits), 0.001)
        limited = with_time_limit(query, seconds, self._flavour(connection), connection._version())
        patience = seconds if limited is None else seconds + GRACE
        overtime = LAST_WORD if left is None else min(LAST_WORD, left + OVERTIME - patience)
        end = partial(end_on_server, self.driver, connection, query_only=True)
        return connection._run_limited(limited or query, args, dict_rows, patience, overtime, end)

    def bounded(self, connection: Connection, deadline: float | None, exchange: Callable[[], T]) -> T:
        """Run *exchange*, whose every write to and read from *connection* ends by *deadline*."""
        left = self.left(deadline)
        if left is None:
            return exchange()
        done: T = connection._within(left, exchange)
        return done

    # --- any unit of work ------------------------------------------------------------------------------------------

    def repeat(self, unit: Unit, work: Callable[[Connection, Stage], T], deadline: float | None) -> T:
        """Do *work* on a borrowed connection; retry all of it where that is safe.

        Args:
            unit: What it is.
            work: Does it, and notes in its second argument how far it is.
            deadline: When everything has to be over.

        Raises:
            BaseException: The error of the last attempt.
        """
        return self.persist(partial(self.attempt, unit, work, deadline), deadline)

    def persist(self, attempt: Callable[[], T], deadline: float | None) -> T:
        """Make an attempt, and others while it raises `Failed` and another one is safe, allowed and in time."""
        try:
            return attempt()
        except Failed as failed:
            first = failed
        return self.retrier.retry(first, attempt, deadline, self._lent)

    def _lent(self) -> int:
        return self.pool.stats().acquired

    def attempt(self, unit: Unit, work: Callable[[Connection, Stage], T], deadline: float | None) -> T:
        """Do *work* on a borrowed connection, once.

        Raises:
            Failed: It failed, and how.
        """
        loan = self.borrow(deadline)
        stage = Stage()
        try:
            done = self.bounded(loan.connection, deadline, partial(work, loan.connection, stage))
        except BaseException as error:
            raise self.failed(loan, error, unit, stage, deadline=deadline) from error
        self.return_loan(loan, deadline)
        return done

    def borrow(self, deadline: float | None, *, note_place: bool = False) -> Loan[Connection]:
        """Borrow a connection; an error that another attempt may mend arrives as `Failed`."""
        timeout = self.pool.settings.acquire_timeout
        if deadline is not None:
            timeout = min(timeout, max(deadline - self.pool.clock.now(), 0.0))
        try:
            return self.pool.acquire(timeout, note_place=note_place)
        except ImprovedDbError:
            raise
        except Exception as error:
            judgement = judge_exception(error, phase=Phase.CONNECT)
            # An address that never answered is a mistake until proven an outage.
            known = self.pool.ever_opened or judgement.backoff is Backoff.OVERLOAD
            again = judgement.verdict is Verdict.NOT_CONNECTED and known
            raise Failed.judged(error, judgement, again=again) from error

    # --- failures --------------------------------------------------------------------------------------------------

    def failed(
        self,
        loan: Loan[Connection],
        error: BaseException,
        unit: Unit,
        stage: Stage,
        idempotent: bool | None = None,
        *,
        deadline: float | None = None,
    ) -> Failed:
        """Judge a failure on a loan of ours, return the loan, all soon after *deadline*, and say what follows.

        Raises:
            BaseException: *error* itself, where no retry can help: an interrupt, or arguments that do not fit.
        """
        told, own = (error.made_of, error.error) if isinstance(error, CallersOwn) else (error, error)
        if told is None or isinstance(told, StatementError):
            self.return_loan(loan, deadline)
            raise own from own.__cause__
        judgement = self.judge(loan.connection, told, stage)
        failed_at = self.pool.clock.now()
        self.end_if_given_up(loan.connection, told)
        if (judgement.verdict in UNDONE or unit is Unit.BULK_CHUNKS) and unit is not Unit.READ:
            end = self.pool.clock.now() + RESTORE_TIMEOUT if deadline is None else deadline + KILL_WAIT
            stage.kept_part = self.bounded(loan.connection, end, partial(_keeps_part, loan.connection))
        self.return_judged(loan, judgement, deadline)
        if not isinstance(error, Exception):
            raise error
        decision = decide(
            judgement.verdict,
            unit,
            idempotent=idempotent,
            kept_part=stage.kept_part,
            committed_part=stage.committed_part,
            at_commit=stage.at_commit,
        )
        last = decision.finally_
        # The caller gets what the caller made of it, unless that could be taken for a no.
        final = own if own is not told and last is not Action.RAISE_UNKNOWN else error_for(last, told)
        message = Failed.judged(final, judgement, again=decision.again, statement=stage.statement)
        message.started_at = loan.started_at
        if unit is not Unit.BULK_CHUNKS:  # each attempt at those begins further on
            message.lasted = failed_at - loan.taken_at
        return message

    def end_if_given_up(self, connection: Connection, error: BaseException, *, streaming: bool = False) -> None:
        """End a session whose server is still at it, with its locks, because it was us who stopped waiting."""
        if (streaming or connection._phase is Phase.AWAIT) and _given_up(error) and not connection._overdue:
            # After Ctrl-C the program may end, and its threads with it.
            end_on_server(self.driver, connection, KILL_WAIT if isinstance(error, Exception) else END_TIMEOUT)

    def judge(self, connection: Connection, error: BaseException, stage: Stage) -> Judgement:
        """Say what is true after *error* on *connection*."""
        phase = connection._phase or Phase.AWAIT
        if stage.at_commit and phase is Phase.AWAIT:
            phase = Phase.COMMIT
        return judge_exception(
            error,
            phase=phase,
            flavour=self._flavour(connection),
            in_transaction=stage.in_transaction,
            autocommit=self._autocommit,
            read_only_session=stage.read_only,
            rollback_on_timeout=self.driver.rollback_on_timeout,
        )

    def return_loan(self, loan: Loan[Connection], deadline: float | None) -> None:
        """Return a loan; what it takes to make its session new again is over soon after *deadline*."""
        connection, driver = loan.connection, self.driver
        unfit = False
        if deadline is not None and driver.restores_if_needed and not driver.is_clean(connection):
            unfit = not self.bounded(connection, deadline + KILL_WAIT, partial(driver.restore, connection))
        self.pool.release(loan, "unrestorable" if unfit else None)

    def return_judged(self, loan: Loan[Connection], judgement: Judgement, deadline: float | None = None) -> None:
        """Return a loan, and let the pool know what the failure says about its other connections."""
        if judgement.fate in {Fate.SUSPECT_ALL, Fate.RETIRE_ALL}:
            self.pool.invalidate(loan, retire=judgement.fate is Fate.RETIRE_ALL)
        if judgement.fate in {Fate.KEEP, Fate.ROLLBACK}:
            self.return_loan(loan, deadline)
        else:
            self.pool.release(loan, judgement.reason)

    def _flavour(self, connection: Connection) -> Flavour:
        version = connection.server_version
        if version not in self._flavours:
            self._flavours[version] = flavour_of(version)
        return self._flavours[version]


def _given_up(error: BaseException) -> bool:
    """Say whether it was us who stopped waiting, by a time limit or an interrupt, and not the connection that ended."""
    return not isinstance(error, Exception) or any(isinstance(link, TimeoutError) for link in causes(error))


def _keeps_part(connection: Connection) -> bool:
    """Roll back, and say whether something may be left all the same; of a session that is gone nothing is asked."""
    try:
        return connection._is_settled() and not connection._undo()
    except Exception as error:  # the server did not say, and so nothing may be taken for undone
        if not isinstance(error, DriverError):
            logger.warning("it is not known whether the rollback left anything: %s", type(error).__name__)
        return True
