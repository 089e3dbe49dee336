"""A call that blocks, made in a thread for a coroutine that may be cancelled meanwhile.

A thread cannot be cancelled, but it can be stopped where it waits. If it waits for a connection, or sleeps before a
retry, it is told to stop. If it has a connection, that is taken away and cut, and its session is ended on the server.

Knows threads, loans and how a session is ended. Does not know coroutines, or what a call does.
"""

from __future__ import annotations

import contextlib
from concurrent.futures import Future, wait
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from improved_db.pool.loan import begin_errand
from improved_db.pool.revoking import Revoking
from improved_db.wire.ending import mark

if TYPE_CHECKING:
    from collections.abc import Callable

    from improved_db.execution.executor import Executor
    from improved_db.pool.loan import Errand, Loan
    from improved_db.wire.connection import Connection

T = TypeVar("T")

#: Seconds between two looks for a connection that the thread may just have been given: the first and the longest.
FIRST_LOOK: Final = 0.0005
LONGEST_LOOK: Final = 0.02

#: Seconds for a thread to leave a connection that was cut.
LEAVE_TIMEOUT: Final = 1.0


class Cancelled(Exception):
    """The outcome of a call whose caller was cancelled."""


class Call(Generic[T]):
    """One call, for one thread to make and for another to cancel.

    Attributes:
        future: Its outcome.
        undo: What undoes it, however far it got.
    """

    def __init__(
        self,
        executor: Executor,
        work: Callable[[], T],
        *,
        undo: Callable[[], object] | None = None,
        connection: Connection | None = None,
    ) -> None:
        """Be ready to be run.

        Args:
            executor: Whose connections it borrows.
            work: What to do.
            undo: What to do after it if its caller was cancelled, however far the work got.
            connection: What it works on, if that was borrowed before.
        """
        self.future: Future[T] = Future()
        self._executor = executor
        self._work = work
        self.undo: Callable[[], object] | None = undo
        self._connection = connection
        # There is one token: who takes it decides whether the call was over or was cancelled.
        self._token: SimpleQueue[None] = SimpleQueue()
        self._token.put(None)
        self._errand: Errand | None = None

    # --- in its thread ---------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Do the work, and tell the outcome to the future."""
        result: Any = None
        failure: BaseException | None = None
        self._errand = begin_errand(self._executor.pool.clock.now())
        if not self._token.empty():  # else it was cancelled before it had a thread
            try:
                result = self._work()
            except BaseException as error:
                failure = error
        if not self._take_token():
            if self.undo is not None:
                with contextlib.suppress(BaseException):
                    self.undo()
            failure = Cancelled()
        if failure is None:
            self.future.set_result(result)
        else:
            self.future.set_exception(failure)

    def _take_token(self) -> bool:
        try:
            self._token.get_nowait()
        except Empty:
            return False
        return True

    # --- in another thread -----------------------------------------------------------------------------------------

    def cancel(self) -> bool:
        """Let the call begin nothing more, without waiting; False if it is over."""
        if not self._take_token():
            return False
        if self._errand is not None:
            for pool in self._executor.pool.members():
                Revoking(pool).dismiss(self._errand)
            self._executor.pool.look_again()
        return True

    def end(self) -> None:
        """End a cancelled call on the server and free its slot; return when the call is over."""
        pause = FIRST_LOOK
        while not self.future.done():
            for pool in self._executor.pool.members():
                for _, loan in pool.reports.holders():
                    if self._holds(loan):
                        Revoking(pool).revoke(loan, self._cut)
            wait([self.future], pause)  # its thread may just have been given a connection
            pause = min(pause * 2, LONGEST_LOOK)

    def _holds(self, loan: Loan[Connection]) -> bool:
        if self._connection is not None:
            return loan.slot is not None and loan.slot.connection is self._connection
        return self._errand is not None and self._errand.has(loan)

    def _cut(self, connection: Connection) -> None:
        session = mark(connection)
        self._executor.driver.cut(connection)
        self._executor.driver.end(session)
        wait([self.future], LEAVE_TIMEOUT)
