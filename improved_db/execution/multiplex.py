"""Short reads of many threads in one round trip, on one connection, instead of a wait for a connection each.

If there are more threads than connections, each statement costs two more switches between threads. So in such a crowd
a read joins the reads that wait. The thread of one of them leads: it borrows one connection as any borrower does,
writes all the reads together, reads the answers in order and wakes the other threads. Meanwhile more reads join, and
the thread of the first of them leads next. One group runs at a time.

A read joins only if all this holds: it is a SELECT (WITH, VALUES, TABLE) that provably only reads and does not change
its session, it has no time limit, it is autocommitted, the server accepts several commands at once, and its text has
proved short. If the leader fails or is interrupted, the others retry their reads once. All other statements run as if
this module did not exist.

Knows the executor and which reads wait. Does not know bytes, or what users type.
"""

from __future__ import annotations

import threading
from collections import deque
from os import getpid
from typing import TYPE_CHECKING, Any, Final

from improved_db.clock import FOREVER
from improved_db.critical import Reentered, Section, critical
from improved_db.execution.batch import Exchange, Statement, bind
from improved_db.failures.raising import Failed
from improved_db.pool.fork import remember
from improved_db.sql.statement import is_read_only

if TYPE_CHECKING:
    from collections.abc import Callable

    from improved_db.execution.executor import Executor
    from improved_db.pool.loan import Loan
    from improved_db.wire.connection import Connection

#: The most statements of one group.
LARGEST: Final = 64

#: A statement counts as short if it takes at most this many seconds longer than the quickest one.
SHORT: Final = 0.00015

#: Of the last LOOKED_AT times that a text ran alone, PROOFS have to be short before it is combined; some of them are
#: long only because threads wait for each other. At most KNOWN texts are remembered.
PROOFS: Final = 4
LOOKED_AT: Final = 16
KNOWN: Final = 1_000

#: The most characters of a text that is remembered.
LONGEST: Final = 4_000

#: A crowd is over after this many groups in a row that the pool's connections could have served; or after this many
#: statements in a row that may not join a group.
FEW: Final = 16
OTHERS: Final = 64

#: A text is no longer short after this many slow groups in a row: on a busy machine one slow group says nothing.
SLOW: Final = 8

#: How a statement begins that may join a group.
BEGINNINGS: Final = frozenset(["sel", "wit", "val", "tab"])


class Joined(Statement):
    """One read of one thread.

    Attributes:
        signal: What the thread sleeps on; released when the outcome is there, or when the thread is to lead.
        leads: Whether the thread is to lead.
        group: If the thread leads, the reads that it runs.
        failed: How the read failed in its group, if it may be retried alone.
        alone: Whether it has to be run alone.
        started_at: When its thread began to wait.
        taken_at: When its group was sent.
        ended_at: When its outcome was there.
    """

    started_at: float = 0.0
    taken_at: float = 0.0
    ended_at: float = 0.0
    leads: bool = False
    alone: bool = False
    failed: Failed | None = None

    def __init__(self, query: str, args: object, dict_rows: bool, now: Callable[[], float]) -> None:
        super().__init__(query, args, dict_rows=dict_rows)
        self._now = now
        self.signal: threading.Lock = threading.Lock()
        self.signal.acquire()
        self.group: list[Joined] = [self]

    def settle(self, outcome: Any = None, error: BaseException | None = None) -> None:
        """Note the outcome and wake the thread."""
        super().settle(outcome, error)
        self.ended_at = self._now()
        self.wake()

    def wake(self) -> None:
        """Wake the thread, once."""
        try:
            self.signal.release()
        except RuntimeError:  # it was woken before
            pass


class Multiplexer:
    """Combines reads of many threads, for one pool.

    Attributes:
        crowded: Whether there is a crowd: a borrower had to wait, and since then more reads than connections came.
        short: The texts that have proved short.
        groups: How many groups have run or run now.
    """

    def __init__(self, executor: Executor) -> None:
        self._executor: Executor = executor
        self.groups: int = 0
        self.begin_in_child()
        remember(self)

    def begin_in_child(self) -> None:
        """Begin without waiting reads, at first and in a forked child: only the parent has the threads that waited."""
        self.section: Section = Section()
        self._pid: int = getpid()
        self.crowded: bool = False
        self._waiting: deque[Joined] = deque()
        self._led: bool = False
        self.short: set[str] = set()
        self._few: int = 0
        self._others: int = 0
        self._quickest: float = float("inf")
        self._times: dict[str, list[float]] = {}
        self._proofs: dict[str, int] = {}
        self._slow: dict[str, int] = {}

    # --- who may join ----------------------------------------------------------------------------------------------

    def timed(self, loan: Loan[Connection], query: str, args: object, dict_rows: bool | type) -> Any:
        """Run one statement alone, and note how long it took; for a crowd, or after a wait for the connection."""
        connection = loan.connection
        now = self._executor.pool.clock.now
        started_at = now()
        result = connection._run(query, args, dict_rows)
        if connection._pipelines and query[:3].lower() in BEGINNINGS and len(query) <= LONGEST:
            self._note(query, now() - started_at, waited=loan.signal is not None)
        return result

    def _note(self, query: str, seconds: float, *, waited: bool) -> None:
        times = self._times.get(query)
        if times is None:
            if len(self._times) >= KNOWN:
                self._times.clear()
                self._proofs.clear()
                self._slow.clear()
                self.short.clear()
            times = self._times[query] = []
        times.append(seconds)
        del times[:-LOOKED_AT]
        self._quickest = min(self._quickest, seconds)
        proofs = sum(took - self._quickest < SHORT for took in times)
        if proofs >= self._proofs.get(query, PROOFS) and is_read_only(query):
            self.short.add(query)
        if query in self.short:
            self._others = 0
            self.crowded = self.crowded or (waited and self._executor.pool.is_full)
        else:
            self._others += 1
            self.crowded = self.crowded and self._others < OTHERS

    # --- joining ---------------------------------------------------------------------------------------------------

    def run(self, query: str, args: object, dict_rows: bool) -> Joined:
        """Run one read with those of other threads.

        Returns:
            The read. It is settled, or it is `alone` or `failed`: then its thread has to run it.

        Raises:
            PoolError: The pool lends no connection to the group.
        """
        if self._pid != getpid():  # after a fork that ran no hooks
            self.begin_in_child()
        pool, groups = self._executor.pool, self.groups
        read = Joined(query, args, dict_rows, pool.clock.now)
        read.started_at = started_at = pool.clock.now()
        deadline = started_at + pool.settings.acquire_timeout
        try:
            self._join(read)
            if not read.leads and not pool.clock.wait(read.signal, deadline - started_at):
                if self._time_out(read, groups):
                    raise pool.waited_in_vain(started_at)
                pool.clock.wait(
                    read.signal, FOREVER
                )  # it is on its way, and has no deadline from then on, like a statement that runs alone
            if read.leads:
                self._lead(read, deadline)
        except Reentered:
            read.alone = True  # a finalizer's read, in the middle of this very bookkeeping
        except BaseException:
            self._leave(read)
            raise
        return read

    def _lead(self, mine: Joined, deadline: float) -> None:
        loan: Loan[Connection] | None = None
        try:
            loan = self._executor.loans.borrow(deadline)
            self._group(mine)
            self._run_group(loan, mine.group)
        except Failed as failed:  # to connect
            mine.failed = failed
        finally:
            self._end(mine)
            if loan is not None and loan.slot is not None:  # an interrupt came before the exchange had it
                self._executor.pool.release(loan, "interrupted")

    def _end(self, mine: Joined) -> None:
        """Pass the lead on, and wake the group; an interrupt is raised after that, or others would wait for ever."""
        interrupt: BaseException | None = None
        for _ in range(100):
            try:
                self._pass_on(mine)
                for read in mine.group:
                    read.alone = read.alone or (not read.done and read.failed is None)
                    read.wake()
                break
            except BaseException as error:
                interrupt = error
        if interrupt is not None:
            raise interrupt

    def _run_group(self, loan: Loan[Connection], group: list[Joined]) -> None:
        executor = self._executor
        for read in group:
            read.alone = not bind(loan.connection, read)
        together: deque[Statement] = deque(read for read in group if not (read.done or read.alone))
        started_at = executor.pool.clock.now()
        for read in group:
            read.taken_at = started_at
        number = len(together)
        exchange = Exchange(executor, loan, together, others=True)
        try:
            exchange.run(None)
        finally:
            for statement, failed in exchange.retried:
                assert isinstance(statement, Joined)
                statement.failed = failed
        if number > 1:
            self._judge_texts(group, (executor.pool.clock.now() - started_at) / number)

    def _judge_texts(self, group: list[Joined], seconds: float) -> None:
        """If a text's groups were slow several times in a row, on the average of their reads, it is no longer short."""
        for query in {read.query for read in group}:
            slow = self._slow.get(query, 0) + 1 if seconds > 2 * SHORT else 0
            self._slow[query] = slow
            if slow >= SLOW:
                self.short.discard(query)
                self._times[query], self._slow[query] = [], 0
                self._proofs[query] = min(4 * self._proofs.get(query, PROOFS), LOOKED_AT)

    # --- under the lock --------------------------------------------------------------------------------------------

    @critical
    def _join(self, read: Joined) -> None:
        if self._led:
            self._waiting.append(read)
        else:
            self._led = read.leads = True

    @critical
    def _group(self, mine: Joined) -> None:
        """Take the reads that wait; if the connections could serve all reads several times in a row, end the crowd."""
        self.groups += 1
        few = 1 + len(self._waiting) <= self._executor.pool.settings.max_size
        self._few = self._few + 1 if few else 0
        if self._few >= FEW:
            self.crowded, self._few = False, 0
        while self._waiting and len(mine.group) < LARGEST:
            mine.group.append(self._waiting[0])  # first add, then remove: an interrupt may come between the two
            del self._waiting[0]

    @critical
    def _pass_on(self, mine: Joined) -> None:
        """Let the next read's thread lead."""
        self._hand_over(mine)

    @critical
    def _leave(self, read: Joined) -> None:
        """Stop waiting, or leading, because the thread was interrupted."""
        if read in self._waiting:
            self._waiting.remove(read)
        self._hand_over(read)

    @critical
    def _time_out(self, read: Joined, groups: int) -> bool:
        """Stop waiting because time is up; return False if the read is in a group by now, or its thread is to lead."""
        if read not in self._waiting:
            return False
        self._waiting.remove(read)
        if groups == self.groups:  # no group began meanwhile: the leader may be lost
            read.leads = True
            self._hand_over(read)
        return True

    def _hand_over(self, read: Joined) -> None:
        if not read.leads:
            return
        read.leads = self._led = False
        if self._waiting:
            heir = self._waiting.popleft()
            heir.leads = self._led = True
            heir.wake()
