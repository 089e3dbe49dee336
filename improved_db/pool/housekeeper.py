"""One thread for each pool, for what no call would notice: age, idleness, silence, loss and loans held for too long.

The thread starts with the first connection and ends when there is nothing left to watch. It holds the pool weakly, so
that an abandoned pool can die. It borrows each connection that it works on, one at a time, as callers do.

Knows the pool and its settings. Does not know SQL, retries or any driver.
"""

from __future__ import annotations

import gc
import logging
import os
import threading
import weakref
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from improved_db.logs import complain, warn

if TYPE_CHECKING:
    from improved_db.pool.pool import Pool
    from improved_db.pool.slot import Slot
    from improved_db.pool.stats import Borrowed

C = TypeVar("C")
logger: logging.Logger = logging.getLogger("improved_db.pool")

#: The longest and the shortest time between two rounds, in seconds.
PERIOD: Final = 5.0
SHORTEST_PERIOD: Final = 0.05

#: The longest time between two rounds while borrowers wait, in seconds.
PERIOD_OF_WAITING: Final = 0.5

#: If borrowers still wait after a collection of garbage, the next one comes after this many times its duration.
COLLECTING_SHARE: Final = 50

#: The share of the server's idle limit after which a connection that must be kept is pinged.
KEEPALIVE_SHARE: Final = 0.5


class Housekeeper(Generic[C]):
    """Keeps one pool in order."""

    def __init__(self, pool: Pool[C], period: float = PERIOD) -> None:
        """Hold *pool* weakly; `attend` starts the thread."""
        self._period = period
        self._compared = False
        self._served = 0  # borrowers, by the last round
        self._collect_from = 0.0  # when garbage may be collected again
        self._fresh_start()
        self._pool = weakref.ref(pool, self._wake)

    @classmethod
    def look_after(cls, pool: Pool[C], period: float = PERIOD) -> Housekeeper[C]:
        """Give *pool* a housekeeper, whose thread starts when a connection is opened."""
        # Its thread must not import: a fork in the middle of that leaves the child a module that is locked for ever.
        import improved_db.pool.snapshot  # noqa: F401, PLC0415  # what `Pool.stats` needs, not at import of the package

        housekeeper = cls(pool, period)
        pool.reports.on_opened = housekeeper.attend
        pool.reports.on_closed = housekeeper.stop
        return housekeeper

    def _fresh_start(self) -> None:
        self._pid = os.getpid()
        self._on_duty = threading.Lock()  # held by the one thread on duty; guards nothing
        self._alarm = threading.Lock()  # released to wake it
        self._alarm.acquire()
        self._thread: threading.Thread | None = None

    def attend(self) -> None:
        """Start the thread, unless it runs; the pool calls this whenever it has opened a connection."""
        if self._pid != os.getpid():
            self._fresh_start()
        if self._on_duty.acquire(blocking=False):
            thread = threading.Thread(target=self._run, name="improved_db-housekeeper", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # the system has no more threads; the next connection retries
                self._on_duty.release()
            else:
                self._thread = thread  # not before it can be joined

    def stop(self) -> None:
        """End the thread, and wait for its end unless it is the caller."""
        thread = self._thread
        self._wake()
        if thread is not None and thread is not threading.current_thread() and self._pid == os.getpid():
            thread.join(timeout=1.0)

    def _wake(self, _: object = None) -> None:
        try:
            self._alarm.release()
        except RuntimeError:  # another thread released it first
            pass

    def _run(self) -> None:
        try:
            while (pause := self._visit()) is not None:
                self._alarm.acquire(timeout=pause)
        finally:
            self._on_duty.release()
        pool = self._pool()
        if pool is not None and not pool.closed and pool.stats().size > 0:
            self.attend()  # a connection was opened while this thread, about to end, was still on duty

    def _visit(self) -> float | None:
        pool = self._pool()
        if pool is None or pool.closed:
            return None
        try:
            return self.round(pool)
        except Exception:
            complain(
                logger, "pool %r: housekeeping failed; the next round is in %g s", pool.settings.name, self._period
            )
            return self._period

    def round(self, pool: Pool[C]) -> float | None:
        """Do everything that is due now.

        Returns:
            Seconds until the next round; None when there is nothing to watch.
        """
        self._compare_with_server(pool)
        self._collect_for_starving(pool)
        pool.recover()
        self._tidy_idle(pool)
        pool.replenish()
        self._report_long_loans(pool)
        pool.reports.on_round()
        stats = pool.stats()
        if stats.size == 0 and stats.min_size == 0:
            return None
        times = (pool.settings.idle_timeout, pool.settings.max_lifetime, pool.settings.leak_warn_after, keepalive(pool))
        shortest = min((time for time in times if time is not None), default=self._period)
        longest = min(self._period, PERIOD_OF_WAITING) if stats.waiting else self._period
        return max(min(longest, shortest / 2), SHORTEST_PERIOD)

    def _compare_with_server(self, pool: Pool[C]) -> None:
        """If the server ends idle sessions before the pool does, warn once."""
        if self._compared or pool.idle_limit is None:
            return
        self._compared = True
        for name in ("keepalive", "idle_timeout"):
            ours = getattr(pool.settings, name)
            if ours is not None and ours >= pool.idle_limit:
                warn(
                    logger,
                    "pool %r: %s is %g s, but the server ends idle sessions after %g s (wait_timeout); set it lower",
                    pool.settings.name,
                    name,
                    ours,
                    pool.idle_limit,
                )

    def _collect_for_starving(self, pool: Pool[C]) -> None:
        """Collect garbage if borrowers wait and none was served since the last round.

        Abandoned generators and tracebacks leave loans in reference cycles, which only the collector frees. It starts
        when a thread allocates; but all threads of this program may be waiting for these loans.
        """
        stats = pool.stats()
        starving = stats.waiting > 0 and stats.acquired == self._served
        self._served = stats.acquired
        began_at = pool.clock.now()
        if starving and gc.isenabled() and began_at >= self._collect_from:
            gc.collect()
            now = pool.clock.now()
            self._collect_from = now + max(self._period, COLLECTING_SHARE * (now - began_at))

    def _tidy_idle(self, pool: Pool[C]) -> None:
        now = pool.clock.now()
        silence = keepalive(pool)

        def reason(slot: Slot[C]) -> str | None:
            if now >= slot.expires_at:
                return "max_lifetime"
            longest = pool.settings.idle_timeout
            if longest is not None and now - slot.idle_since >= longest and pool.has_spare():
                return "idle_timeout"
            return "keepalive" if silence is not None and now - slot.checked_at >= silence else None

        while (loan := pool.borrow_idle(lambda slot: reason(slot) is not None)) is not None:
            assert loan.slot is not None
            why = reason(loan.slot)
            if why == "keepalive":
                why = "interrupted"
                try:
                    why = None if pool.still_answers(loan) else "ping"
                finally:
                    pool.release(loan, why)
            else:
                pool.release(loan, why)

    def _report_long_loans(self, pool: Pool[C]) -> None:
        limit = pool.settings.leak_warn_after
        if limit is None:
            return
        for loan, borrowed in pool.loans_out(longer_than=limit):
            if pool.count_leak(loan):
                self._report(pool, borrowed)

    def _report(self, pool: Pool[C], borrowed: Borrowed) -> None:
        warn(
            logger,
            "pool %r: a connection has been held for %.1f s, by %s; borrowed at %s",
            pool.settings.name,
            borrowed.seconds,
            borrowed.thread,
            " <- ".join(borrowed.place),
        )
        where = borrowed.place[0] if borrowed.place else ""
        pool.reports.tell("leak", thread=borrowed.thread, seconds=round(borrowed.seconds, 3), place=where)
        if pool.settings.on_leak is not None:
            pool.settings.on_leak(borrowed)


def keepalive(pool: Pool[C]) -> float | None:
    """Return after how many seconds of silence an idle connection is pinged; None: never."""
    if pool.settings.keepalive is not None:
        return pool.settings.keepalive
    return None if pool.idle_limit is None else pool.idle_limit * KEEPALIVE_SHARE
