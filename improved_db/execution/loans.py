"""The loans of the executor: borrow a connection; return it, and after a failure judge first and return what is left.

Knows the pool, the verdicts and how to end a session on the server. Does not know what a statement is for, or when and
how often a retry comes.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

from improved_db.errors import ImprovedDbError, StatementError, VerdictError
from improved_db.execution.ending import end as end_on_server
from improved_db.execution.stage import Stage
from improved_db.failures.decide import Action, Unit, decide
from improved_db.failures.raising import SERVERS_LIMITS, CallersOwn, Failed, causes, error_for, explained, note_limit
from improved_db.failures.verdict import Backoff, Fate, Flavour, Judgement, Phase, Verdict, flavour_of, judge_exception
from improved_db.logs import warn
from improved_db.wire.connection import RESTORE_TIMEOUT
from improved_db.wire.exchange import DriverError
from improved_db.wire.pymysql_driver import END_TIMEOUT

if TYPE_CHECKING:
    from collections.abc import Callable

    from improved_db.execution.lane import Lane, LaneDriver
    from improved_db.pool.loan import Loan
    from improved_db.wire.connection import Connection

T = TypeVar("T")
logger: logging.Logger = logging.getLogger("improved_db.retry")

#: Seconds that a caller waits for a KILL on which nothing depends.
KILL_WAIT: Final = 0.2

#: If a statement failed with one of these, a table without transactions may have kept a part of it.
#: Errors after a wait, which may have been for a lock.
WAITED: Final = frozenset({1205, 1317, *SERVERS_LIMITS})
HOLDS_ANOTHER: Final = "this thread holds another connection of the pool: its transaction may have the lock"

UNDONE: Final = frozenset({Verdict.TRANSACTION_ROLLED_BACK, Verdict.STATEMENT_ROLLED_BACK})


class Loans:
    """Borrows connections of one pool for the executor, and returns them.

    Attributes:
        on_failure: Hears of each failure on a connection, and whether it was in a transaction; returns how it is judged
            where there are several servers. None where there is one.
        term: Returns a number that grows when another server becomes the primary.
        settle: Waits until a new primary has applied what it had received, at most until the instant that it gets.
    """

    def __init__(self, pool: Lane, driver: LaneDriver, *, autocommit: bool) -> None:
        """Lend *pool*'s connections, which *driver* opens and ends.

        Args:
            pool: The pool.
            driver: Its driver.
            autocommit: Whether a statement outside a transaction commits by itself.
        """
        self._pool = pool
        self._driver = driver
        self._autocommit = autocommit
        self._flavours: dict[str, Flavour] = {}
        self.on_failure: Callable[[Connection, BaseException, Judgement, bool], Judgement] | None = None
        self.term: Callable[[], int] = lambda: 0
        self.settle: Callable[[float], object] = lambda _: None

    # --- borrow, and keep to the deadline --------------------------------------------------------------------------

    def borrow(self, deadline: float | None, *, note_place: bool = False) -> Loan[Connection]:
        """Borrow a connection.

        Raises:
            PoolError: The pool lends none.
            Failed: The pool could not connect; the message says whether a retry may help.
        """
        timeout = self._pool.settings.acquire_timeout
        if deadline is not None:
            timeout = min(timeout, max(deadline - self._pool.clock.now(), 0.0))
        try:
            return self._pool.acquire(timeout, note_place=note_place)
        except ImprovedDbError:
            raise
        except Exception as error:
            judgement = judge_exception(error, phase=Phase.CONNECT)
            # If an address has never answered, we take it for a mistake and not for an outage.
            known = self._pool.ever_opened or judgement.backoff is Backoff.OVERLOAD
            again = judgement.verdict is Verdict.NOT_CONNECTED and known
            message = Failed.judged(error, judgement, again=again)
            message.host = getattr(error, "host", "")
            raise message from error

    def prepared(self, deadline: float | None, prepare: Callable[[Connection], object]) -> Loan[Connection]:
        """Borrow a connection for a caller who keeps it, and prepare it for that caller.

        Args:
            deadline: When that has to be over.
            prepare: Sends what the caller would otherwise send first; so a failure may be retried.

        Raises:
            PoolError: The pool lends none.
            Failed: The connection could not be prepared.
        """
        loan = self.borrow(deadline, note_place=True)
        loan.outlive_thread()
        try:
            self.bounded(loan.connection, deadline, partial(prepare, loan.connection))
        except BaseException as error:
            raise self.failed(loan, error, Unit.READ, Stage(), deadline=deadline) from error
        return loan

    def left(self, deadline: float | None) -> float | None:
        """Return how many seconds are left until *deadline*, at least a thousandth; None if there is no deadline."""
        return None if deadline is None else max(deadline - self._pool.clock.now(), 0.001)

    def bounded(self, connection: Connection, deadline: float | None, exchange: Callable[[], T]) -> T:
        """Run *exchange*; each of its writes to *connection*, and each read, ends by *deadline*."""
        left = self.left(deadline)
        if left is None:
            return exchange()
        done: T = connection._within(left, exchange)
        return done

    def flavour(self, connection: Connection) -> Flavour:
        """Return which kind of server *connection* has."""
        version = connection.server_version
        if version not in self._flavours:
            self._flavours[version] = flavour_of(version)
        return self._flavours[version]

    # --- return ----------------------------------------------------------------------------------------------------

    def return_loan(self, loan: Loan[Connection], deadline: float | None) -> None:
        """Return a loan. If its session has to be restored first, that ends soon after *deadline*."""
        connection, driver = loan.connection, self._driver
        unfit = False
        if deadline is not None and driver.restores_if_needed and not driver.is_clean(connection):
            unfit = not self.bounded(connection, deadline + KILL_WAIT, partial(driver.restore, connection))
        self._pool.release(loan, "unrestorable" if unfit else None)

    def return_judged(self, loan: Loan[Connection], judgement: Judgement, deadline: float | None = None) -> None:
        """Return a loan after a failure, and tell the pool what the failure says about its other connections."""
        if judgement.fate in {Fate.SUSPECT_ALL, Fate.RETIRE_ALL}:
            self._pool.invalidate(loan, retire=judgement.fate is Fate.RETIRE_ALL)
        if judgement.fate in {Fate.KEEP, Fate.ROLLBACK}:
            self.return_loan(loan, deadline)
        else:
            self._pool.release(loan, judgement.reason)

    # --- after a failure -------------------------------------------------------------------------------------------

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
        """Judge a failure on a loan, return the loan, and say what may follow; all of it soon after *deadline*.

        Args:
            loan: The loan; it is spent afterwards.
            error: What was raised.
            unit: What a retry would run.
            stage: How far the work was.
            idempotent: As for `ImprovedDb.execute_query`.
            deadline: When the call has to be over.

        Raises:
            BaseException: *error* itself, if no retry can help: an interrupt, or arguments that do not fit.
        """
        told, own = (error.made_of, error.error) if isinstance(error, CallersOwn) else (error, error)
        if told is None or isinstance(told, StatementError):
            self.return_loan(loan, deadline)
            raise own from own.__cause__
        judgement = self.judge(loan.connection, told, stage)
        failed_at = self._pool.clock.now()
        self.end_if_given_up(loan.connection, told)
        if (judgement.verdict in UNDONE or unit is Unit.BULK_CHUNKS) and unit is not Unit.READ:
            end = self._pool.clock.now() + RESTORE_TIMEOUT if deadline is None else deadline + KILL_WAIT
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
        if deadline is not None and isinstance(told, DriverError) and _given_up(told):
            note_limit(told, "the deadline of the call")
        # If the caller's code made an error of its own out of ours, the caller gets that one: but not if the outcome is
        # unknown, because a caller could read it as "not applied".
        final = own if own is not told and last is not Action.RAISE_UNKNOWN else error_for(last, told)
        final = explained(final, told, stage.statement, judgement.verdict)
        if isinstance(final, DriverError) and final.args[0] in WAITED and self._holds_another(loan.thread.name):
            final.args = (final.args[0], f"{final.args[1]}; {HOLDS_ANOTHER}", *final.args[2:])
        message = Failed.judged(final, judgement, again=decision.again, statement=stage.statement)
        message.started_at = loan.started_at
        message.failed_at = failed_at
        message.waited, message.ran = loan.taken_at - loan.started_at, failed_at - loan.taken_at
        message.host = self.name_host(final, loan.connection)
        if unit is not Unit.BULK_CHUNKS:  # each attempt of those begins behind the rows that are already committed
            message.lasted = failed_at - loan.taken_at
        return message

    def name_host(self, error: BaseException, connection: Connection) -> str:
        """Let an error of ours say on which of several servers it happened; return that server; of one, nothing."""
        host = "" if self.on_failure is None else connection._address
        if isinstance(error, VerdictError):
            error.host = host
        return host

    def _holds_another(self, thread: str) -> bool:
        return any(borrowed.thread == thread for borrowed in self._pool.borrowed())

    def judge(self, connection: Connection, error: BaseException, stage: Stage) -> Judgement:
        """Say what is known after *error* on *connection*."""
        phase = connection._phase or Phase.AWAIT
        if stage.at_commit and phase is Phase.AWAIT:
            phase = Phase.COMMIT
        told: Judgement | None = getattr(error, "judgement", None)
        judgement = told or judge_exception(
            error,
            phase=phase,
            flavour=self.flavour(connection),
            in_transaction=stage.in_transaction,
            autocommit=self._autocommit,
            read_only_session=stage.read_only or connection._read_only,
            rollback_on_timeout=self._driver.rollback_on_timeout,
            several_servers=self.on_failure is not None,
        )
        if self.on_failure is not None:
            judgement = self.on_failure(connection, error, judgement, stage.in_transaction)
        return judgement

    def end_if_given_up(self, connection: Connection, error: BaseException, *, streaming: bool = False) -> None:
        """If we stopped waiting while the server still works, end its session, which may hold locks."""
        if (streaming or connection._phase is Phase.AWAIT) and _given_up(error) and not connection._overdue:
            # After Ctrl-C the program may end, and its threads with it.
            end_on_server(self._driver, connection, KILL_WAIT if isinstance(error, Exception) else END_TIMEOUT)


def _given_up(error: BaseException) -> bool:
    """Say whether we stopped waiting, by a time limit or an interrupt; if not, the connection ended first."""
    return not isinstance(error, Exception) or any(isinstance(link, TimeoutError) for link in causes(error))


def _keeps_part(connection: Connection) -> bool:
    """Roll back, and say whether the server may have kept something; if the session is gone, ask the server nothing."""
    try:
        return connection._is_settled() and not connection._undo()
    except Exception as error:  # the server did not say, so we cannot assume that everything is undone
        if not isinstance(error, DriverError):
            warn(logger, "it is not known whether the rollback left anything: %s", type(error).__name__)
        return True
