"""Short reads of many threads in one round trip, on one connection, where they would wait for connections of their own.

More threads than connections cost each statement two more switches between threads. So in a crowd a read joins those
that wait: one of their threads leads, borrows one connection as any borrower does, writes all of them at once, reads
the answers in order and wakes their owners. Meanwhile others join; the next of them leads then. One group at a time
runs.

Only what may be combined is: a SELECT (WITH, VALUES, TABLE) that provably reads and leaves its session as it was,
without a time limit, autocommitted, on a server that takes several commands at once, and whose text has proved short.
An interrupt or a failure of the leader costs the others one retry of their reads. All else goes as without this module.

Knows the executor and who waits. Does not know bytes, or what users type.
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
    from improved_db.execution.executor import Executor
    from improved_db.pool.loan import Loan
    from improved_db.wire.connection import Connection

#: The most statements of one group.
LARGEST: Final = 64

#: Seconds that a statement may take on the server, beyond what the quickest one takes, to count as short.
SHORT: Final = 0.00015

#: How many of the last times that a text ran alone have to be short before it is combined; how many texts are known.
#: Threads that wait for each other make some of the times long.
PROOFS: Final = 4
LOOKED_AT: Final = 16
KNOWN: Final = 1_000

#: Characters of a text that is remembered at the most.
LONGEST: Final = 4_000

#: How many groups in a row, none of which needed more connections than there are, end a crowd; and how many statements
#: in a row that may not join a group.
FEW: Final = 16
OTHERS: Final = 64

#: How many slow groups in a row make a text a long one: on a busy machine one alone says nothing.
SLOW: Final = 8

#: How a statement begins that may be combined.
BEGINNINGS: Final = frozenset(["sel", "wit", "val", "tab"])


class Joined(Statement):
    """One read of one thread.

    Attributes:
        signal: What the thread sleeps on; released when the outcome is there, or when the thread is to lead.
        leads: Whether the thread is to lead.
        group: If the thread leads, the reads that it runs.
        failed: How the read failed in its group, if it may be retried alone.
        alone: Whether it has to be run alone.
    """

    leads: bool = False
    alone: bool = False
    failed: Failed | None = None

    def __init__(self, query: str, args: object, dict_rows: bool) -> None:
        super().__init__(query, args, dict_rows=dict_rows)
        self.signal: threading.Lock = threading.Lock()
        self.signal.acquire()
        self.group: list[Joined] = [self]

    def settle(self, outcome: Any = None, error: BaseException | None = None) -> None:
        """Note the outcome and wake the thread."""
        super().settle(outcome, error)
        self.wake()

    def wake(self) -> None:
        """Wake the thread, once."""
        try:
            self.signal.release()
        except RuntimeError:  # it was woken before
            pass


class Multiplexer:
    """Combines the reads of one pool's crowds.

    Attributes:
        crowded: Whether there is a crowd: a borrower had to wait, and there were more reads than connections since.
        short: The texts that have proved short.
        groups: How many groups have been made.
    """

    def __init__(self, executor: Executor) -> None:
        self._executor: Executor = executor
        self.groups: int = 0
        self.begin_in_child()
        remember(self)

    def begin_in_child(self) -> None:
        """Start anew, at first and in a forked child: the threads that waited are the parent's."""
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
        """Run one statement alone, in a crowd or after a wait for its connection, and note what it took."""
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
            The read, settled; or `alone` or `failed`: its thread has to run it.

        Raises:
            PoolError: The pool lends no connection to the group.
        """
        if self._pid != getpid():  # a fork that runs no hooks
            self.begin_in_child()
        pool, read, groups = self._executor.pool, Joined(query, args, dict_rows), self.groups
        started_at = pool.clock.now()
        deadline = started_at + pool.settings.acquire_timeout
        try:
            self._join(read)
            if not read.leads and not pool.clock.wait(read.signal, deadline - started_at):
                if self._time_out(read, groups):
                    raise pool.waited_in_vain(started_at)
                pool.clock.wait(read.signal, FOREVER)  # it is on its way, as a statement alone would be
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
        """Hand over the lead, and wake the group; an interrupt meanwhile has to wait, or the others would for ever."""
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
        """Take a text for long again if the reads of its groups took long on the average, several times in a row."""
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
        """Take what waits; if all of it could have connections of its own for a while, the crowd is over."""
        self.groups += 1
        few = 1 + len(self._waiting) <= self._executor.pool.settings.max_size
        self._few = self._few + 1 if few else 0
        if self._few >= FEW:
            self.crowded, self._few = False, 0
        while self._waiting and len(mine.group) < LARGEST:
            mine.group.append(self._waiting[0])  # before it leaves: an interrupt may come between
            del self._waiting[0]

    @critical
    def _pass_on(self, mine: Joined) -> None:
        """Let the next read's thread lead."""
        self._hand_over(mine)

    @critical
    def _leave(self, read: Joined) -> None:
        """Stop waiting, or leading, as a thread that was interrupted."""
        if read in self._waiting:
            self._waiting.remove(read)
        self._hand_over(read)

    @critical
    def _time_out(self, read: Joined, groups: int) -> bool:
        """Stop waiting because time is up; False if the read is in a group by now, or its thread is to lead."""
        if read not in self._waiting:
            return False
        self._waiting.remove(read)
        if groups == self.groups:  # none was made meanwhile: perhaps the leader was lost on its way
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
