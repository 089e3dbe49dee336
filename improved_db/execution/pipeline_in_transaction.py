"""Several statements of one transaction in one round trip.

If the server rolls a transaction back in the middle of them, the statements behind that one are on their way already.
Two things keep them from doing harm: the session's autocommit is off, so that none of them commits by itself; and a
savepoint stands around them, whose release fails if its transaction is gone, whatever the error number said.

Knows a transaction and its connection. Does not know how statements are collected.
"""

from __future__ import annotations

from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from improved_db.errors import TransactionRolledBack
from improved_db.execution.pipeline import Handle, Pipeline, Window, bind, interrupted
from improved_db.execution.transaction_state import REFUSALS, State
from improved_db.failures.decide import Action, Unit, decide
from improved_db.failures.raising import CallersOwn, error_for
from improved_db.wire.exchange import DriverError

if TYPE_CHECKING:
    from improved_db.execution.transaction import Transaction
    from improved_db.wire.connection import Connection

HOLD: Final = "SET autocommit = 0"
SAVEPOINT: Final = "SAVEPOINT improved_db_pipeline"
RELEASE: Final = "RELEASE SAVEPOINT improved_db_pipeline"


def run_in(tx: Transaction, handles: list[Handle[Any]]) -> None:
    """Run the statements of *handles* in *tx*, in their order, and settle each handle.

    Raises:
        BaseException: An interrupt; every handle is settled then, too, and the transaction is lost.
    """
    left = deque(handles)
    try:
        while left:
            _run_some(tx, left)
    except BaseException as error:
        for handle in handles:
            if not handle.done:
                handle.settle(error=error if isinstance(error, Exception) else interrupted(handle))
        if not isinstance(error, Exception):
            raise


def _run_some(tx: Transaction, left: deque[Handle[Any]]) -> None:
    sharing: list[Handle[Any]] = []
    if tx._connection._pipelines and tx.state is State.OPEN:
        while left and bind(tx._connection, left[0]):
            handle = left.popleft()
            if not handle.done:
                sharing.append(handle)
    if len(sharing) > 1:
        _share(tx, sharing)
        return
    alone = sharing or [left.popleft() for _ in range(min(len(left), 1))]
    for one in alone:
        try:
            one.settle(tx._guarded(partial(tx._perform, one.query, one.args, one.dict_rows, None)))
        except Exception as error:
            one.settle(error=error)


def _share(tx: Transaction, handles: list[Handle[Any]]) -> None:
    connection = tx._connection
    hold, savepoint, release = (_own(connection, text) for text in (HOLD, SAVEPOINT, RELEASE))
    connection._touched = True  # autocommit comes back with a new session
    answers: list[tuple[Handle[Any], Any]] = []
    tx._guarded(partial(_exchange, tx, deque([hold, savepoint, *handles, release]), answers))
    errors = [answer for _, answer in answers if isinstance(answer, DriverError)]
    fatal = next((error for error in errors if error is answers[-1][1] or _rolls_back(tx, error)), None)
    if fatal is not None:
        tx.state = State.ROLLED_BACK_BY_SERVER
        tx._failure = errors[0]
        tx._judgement = tx._executor.judge(connection, errors[0], tx._standing)
    over = False
    for handle, answer in answers[2:-1]:
        if over:  # the server ran it in another transaction, which its owner rolls back
            handle.settle(error=_refusal())
        elif not isinstance(answer, DriverError):
            handle.settle(answer)
        else:
            over = fatal is not None
            handle.settle(error=error_for(Action.RAISE_ROLLED_BACK, answer) if over else answer)


def _rolls_back(tx: Transaction, error: BaseException) -> bool:
    judgement = tx._executor.judge(tx._connection, error, tx._standing)
    return decide(judgement.verdict, Unit.CALLER_STATEMENT).now is Action.RAISE_ROLLED_BACK


def _exchange(tx: Transaction, waiting: deque[Handle[Any]], answers: list[tuple[Handle[Any], Any]]) -> None:
    tx._standing.statement = waiting[2].query
    window = Window(tx._connection, waiting)
    try:
        tx._executor.bounded(tx._connection, tx._deadline, lambda: answers.extend(window.answers()))
    except CallersOwn:
        tx.state = State.LOST  # the answers behind it are unread
        raise


def _refusal() -> Exception:
    kind, text = REFUSALS[State.ROLLED_BACK_BY_SERVER]
    assert kind is TransactionRolledBack
    return kind(0, text)


def _own(connection: Connection, text: str) -> Handle[Any]:
    handle: Handle[Any] = Handle(
        Pipeline(lambda _: None), text, None, dict_rows=False, return_one=False, idempotent=None
    )
    handle.sql = text.encode(connection.encoding)
    return handle
