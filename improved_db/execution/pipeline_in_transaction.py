"""Several statements of one transaction in one round trip.

If the server rolls the transaction back at one of them, the statements after that one are already on their way. Two
things keep them from doing harm. The session's autocommit is off, so none of them commits by itself. And they run
inside a savepoint: if the transaction is gone, the release of the savepoint fails, whatever the error number said.

Knows a transaction and its connection. Does not know how statements are collected.
"""

from __future__ import annotations

from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from improved_db.errors import TransactionRolledBack
from improved_db.execution.batch import Statement, Window, bind, interrupted
from improved_db.execution.observed import Shares
from improved_db.execution.transaction_state import REFUSALS, State
from improved_db.failures.decide import Action, Unit, decide
from improved_db.failures.raising import CallersOwn, error_for
from improved_db.wire.exchange import DriverError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from improved_db.execution.transaction import Transaction
    from improved_db.failures.verdict import Judgement
    from improved_db.wire.connection import Connection

HOLD: Final = "SET autocommit = 0"
SAVEPOINT: Final = "SAVEPOINT improved_db_pipeline"
RELEASE: Final = "RELEASE SAVEPOINT improved_db_pipeline"


def run_in(tx: Transaction, statements: Sequence[Statement]) -> None:
    """Run *statements* in *tx*, in their order, and settle each.

    Raises:
        BaseException: An interrupt; every statement is settled then, too, and the transaction is lost.
    """
    left = deque(statements)
    try:
        while left:
            _run_some(tx, left)
    except BaseException as error:
        for statement in statements:
            if not statement.done:
                statement.settle(error=error if isinstance(error, Exception) else interrupted(statement))
        if not isinstance(error, Exception):
            raise


def _run_some(tx: Transaction, left: deque[Statement]) -> None:
    sharing: list[Statement] = []
    if tx._connection._pipelines and tx.state is State.OPEN:
        while left and bind(tx._connection, left[0]):
            statement = left.popleft()
            if not statement.done:
                sharing.append(statement)
    if len(sharing) > 1:
        _share(tx, sharing)
        return
    alone = sharing or [left.popleft() for _ in range(min(len(left), 1))]
    for one in alone:
        try:
            one.settle(tx._told(one.args, partial(tx._perform, one.query, one.args, one.dict_rows, None)))
        except Exception as error:
            one.settle(error=error)


def _share(tx: Transaction, statements: list[Statement]) -> None:
    connection = tx._connection
    hold, savepoint, release = (_own(connection, text) for text in (HOLD, SAVEPOINT, RELEASE))
    connection._touched = True  # so that the pool resets the session, which turns autocommit on
    answers: list[tuple[Statement, Any]] = []
    shares = Shares(tx._executor, tx._stage.waited)
    tx._stage.waited = 0.0
    tx._guarded(partial(_exchange, tx, deque([hold, savepoint, *statements, release]), answers, shares))
    errors = [answer for _, answer in answers if isinstance(answer, DriverError)]
    guards = [answer for _, answer in (*answers[:2], answers[-1])]
    fatal = next((error for error in errors if error in guards or _rolls_back(tx, error)), None)
    if fatal is not None:
        tx.state = State.ROLLED_BACK_BY_SERVER
        tx._failure = errors[0]
        tx._judgement = _judged(tx, errors[0])
    over = any(isinstance(answer, DriverError) for answer in guards[:2])
    for statement, answer in answers[2:-1]:
        if over:  # the server ran it in another transaction, which the owner rolls back
            statement.settle(error=_refusal())
        elif not isinstance(answer, DriverError):
            statement.settle(answer)
        else:
            over = fatal is not None
            final = error_for(Action.RAISE_ROLLED_BACK, answer) if over else answer
            statement.settle(error=final)
            shares.failed(statement.query, statement.args, final, _judged(tx, answer).verdict)


def _judged(tx: Transaction, error: BaseException) -> Judgement:
    return tx._executor.loans.judge(tx._connection, error, tx._stage)


def _rolls_back(tx: Transaction, error: BaseException) -> bool:
    return decide(_judged(tx, error).verdict, Unit.CALLER_STATEMENT).now is Action.RAISE_ROLLED_BACK


def _exchange(tx: Transaction, waiting: deque[Statement], answers: list[tuple[Statement, Any]], shares: Shares) -> None:
    tx._stage.statement = waiting[2].query
    ours = (waiting[0], waiting[1], waiting[-1])
    window = Window(tx._connection, waiting)

    def read() -> None:
        for statement, answer in window.answers():
            answers.append((statement, answer))
            if statement not in ours and not isinstance(answer, DriverError):
                shares.answered(statement.query, statement.args, answer)

    try:
        tx._executor.loans.bounded(tx._connection, tx._deadline, read)
    except CallersOwn:
        tx.state = State.LOST  # the answers after it are unread
        raise


def _refusal() -> Exception:
    kind, text = REFUSALS[State.ROLLED_BACK_BY_SERVER]
    assert kind is TransactionRolledBack
    return kind(0, text)


def _own(connection: Connection, text: str) -> Statement:
    statement = Statement(text, None)
    statement.sql = text.encode(connection.encoding)
    return statement
