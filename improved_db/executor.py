"""One statement on a borrowed connection: borrow, run, give back; on a failure judge, then give back what is left.

Knows the pool, the verdicts and the retrier. Does not know sockets, locks or what users type.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from improved_db.errors import (
    ImprovedDbError,
    OutcomeUnknown,
    ServerRefused,
    StatementError,
    TransactionLost,
    TransactionRolledBack,
    VerdictError,
)
from improved_db.matrix import Action, Unit, action, giving_up
from improved_db.retry import Failed, Retrier
from improved_db.statement import is_read_only
from improved_db.verdict import Fate, Flavour, Judgement, Kind, Phase, Verdict, flavour_of, judge_exception

if TYPE_CHECKING:
    from improved_db.pool import Pool
    from improved_db.slot import Loan
    from improved_db.wire.connection import Connection

#: What each action that raises gives the caller; RAISE is the driver's own error.
ERRORS: dict[Action, tuple[type[VerdictError], str]] = {
    Action.RAISE_UNKNOWN: (OutcomeUnknown, "the statement may or may not have been applied"),
    Action.RAISE_REFUSED: (ServerRefused, "the server does not run this now; nothing was applied"),
    Action.RAISE_LOST: (TransactionLost, "the session ended before COMMIT; nothing of the transaction is left"),
    Action.RAISE_ROLLED_BACK: (TransactionRolledBack, "the server rolled the whole transaction back"),
}


class Executor:
    """Runs single statements on connections of one pool."""

    def __init__(
        self, pool: Pool[Connection], retrier: Retrier, *, autocommit: bool, limit: float | None = None
    ) -> None:
        """Run on *pool*'s connections; *limit*: seconds a whole call may take, line and sleeps included."""
        self.pool = pool
        self.retrier = retrier
        self._autocommit = autocommit
        self._limit = limit
        self._flavours: dict[str, Flavour] = {}

    def deadline(self) -> float | None:
        """Return when a call that starts now has to be over."""
        return None if self._limit is None else self.pool.clock.now() + self._limit

    def run(self, query: str, args: object, dict_rows: bool, idempotent: bool | None, timeout: float | None) -> Any:
        """Run one statement; try again what is safe to try again.

        Args:
            query: The statement.
            args: Values for its placeholders.
            dict_rows: Rows as dicts.
            idempotent: As the contract has it: None, True or False.
            timeout: Seconds the statement may run.

        Raises:
            PoolError: No connection could be had.
            OutcomeUnknown: It may or may not have been applied.
            pymysql.err.MySQLError: What the server or the driver said.
        """
        deadline = None if self._limit is None else self.deadline()
        try:
            return self._attempt(query, args, dict_rows, idempotent, timeout, deadline)
        except Failed as failed:
            first = failed
        attempt = partial(self._attempt, query, args, dict_rows, idempotent, timeout, deadline)
        return self.retrier.again(first, attempt, deadline)

    def _attempt(
        self,
        query: str,
        args: object,
        dict_rows: bool,
        idempotent: bool | None,
        timeout: float | None,
        deadline: float | None,
    ) -> Any:
        loan = self.borrow(deadline)
        connection = loan.connection
        at_commit = False
        try:
            if timeout is None and deadline is None:
                result = connection.run(query, args, dict_rows)
            else:
                left = None if deadline is None else deadline - self.pool.clock.now()
                work = partial(connection.run, query, args, dict_rows)
                result = connection.within(_shorter(timeout, left), work)
            if not self._autocommit:
                at_commit = True
                connection.commit_if_open()
        except BaseException as error:
            unit = Unit.READ if is_read_only(query) else Unit.WRITE if self._autocommit else Unit.TRANSACTION
            raise self.failed(loan, error, unit, idempotent=idempotent, at_commit=at_commit) from error
        self.pool.release(loan)
        return result

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
            known = self.pool.ever_opened or judgement.kind is Kind.OVERLOAD
            again = judgement.verdict is Verdict.NOT_CONNECTED and known
            raise _as_failed(error, judgement, again=again) from error

    def failed(
        self,
        loan: Loan[Connection],
        error: BaseException,
        unit: Unit,
        *,
        idempotent: bool | None = None,
        at_commit: bool = False,
        implicit_commit: bool = False,
        in_transaction: bool = False,
    ) -> Failed:
        """Judge a failure on a loan of ours, give the loan back, and return what follows.

        Raises:
            BaseException: *error* itself, where it is nobody's to retry: an interrupt, or arguments that do not fit.
        """
        connection = loan.connection
        if isinstance(error, StatementError):
            self.pool.release(loan)
            raise error
        phase = connection.phase or Phase.AWAIT
        if at_commit and phase is Phase.AWAIT:
            phase = Phase.COMMIT
        judgement = judge_exception(
            error,
            phase=phase,
            flavour=self._flavour(connection),
            in_transaction=in_transaction,
            autocommit=self._autocommit,
        )
        self._give_back(loan, judgement)
        if not isinstance(error, Exception):
            raise error
        facts: dict[str, Any] = {
            "idempotent": idempotent,
            "at_commit": at_commit,
            "implicit_commit": implicit_commit,
        }
        now = action(judgement.verdict, unit, **facts)
        last = giving_up(judgement.verdict, unit, **facts)
        final = error_for(last if now in {Action.RETRY, Action.RESUME} else now, error)
        return _as_failed(final, judgement, again=now in {Action.RETRY, Action.RESUME})

    def _give_back(self, loan: Loan[Connection], judgement: Judgement) -> None:
        if judgement.fate in {Fate.SUSPECT_ALL, Fate.RETIRE_ALL}:
            self.pool.invalidate(loan, retire=judgement.fate is Fate.RETIRE_ALL)
        keep = judgement.fate in {Fate.KEEP, Fate.ROLLBACK}
        self.pool.release(loan, None if keep else judgement.reason)

    def _flavour(self, connection: Connection) -> Flavour:
        version = connection.server_version
        if version not in self._flavours:
            self._flavours[version] = flavour_of(version)
        return self._flavours[version]


def _shorter(timeout: float | None, left: float | None) -> float:
    return min(seconds for seconds in (timeout, left) if seconds is not None)


def error_for(what: Action, error: BaseException) -> BaseException:
    """Return what the caller gets: the driver's error, or ours with the driver's number, text and cause."""
    if what not in ERRORS:
        return error
    kind, meaning = ERRORS[what]
    code = error.args[0] if error.args and isinstance(error.args[0], int) else 0
    text = error.args[1] if len(error.args) > 1 else str(error)
    ours = kind(code, f"{text}; {meaning}", sqlstate=getattr(error, "sqlstate", None))
    ours.__cause__ = error
    return ours


def _as_failed(error: BaseException, judgement: Judgement, *, again: bool) -> Failed:
    return Failed(error, again=again, verdict=judgement.verdict, kind=judgement.kind, reason=judgement.reason)
