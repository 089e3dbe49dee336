"""What the owner of a pool does with it, and what can be seen of it: open, wait, resize, drain, suspend, close, look.

Knows the pool's state and its one lock. Does not know how a borrower is served: that is `pool`.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import threading
import weakref
from typing import TYPE_CHECKING, TypeVar

from improved_db.errors import PoolClosed, PoolTimeout
from improved_db.pool.opening import FIRST_PAUSE, LONGEST_PAUSE, Opening, own_copy
from improved_db.pool.slot import Loan, SlotState
from improved_db.pool.stats import Borrowed, PoolStats

if TYPE_CHECKING:
    from collections.abc import Callable

    from improved_db.clock import Clock
    from improved_db.pool.driver import Driver
    from improved_db.settings.settings import PoolSettings

C = TypeVar("C")
logger = logging.getLogger("improved_db.pool")


class Lifecycle(Opening[C]):
    """The owner's side of a pool."""

    def __init__(
        self, driver: Driver[C], settings: PoolSettings, clock: Clock, spawn: Callable[[Callable[[], None]], None]
    ) -> None:
        super().__init__(driver, settings, clock, spawn)
        _remember(self)

    # --- the owner's verbs -----------------------------------------------------------------------------------------

    def wait(self, timeout: float = 30.0, *, at_least: int = 1, patient: bool = True) -> None:
        """Wait until ``min_size`` connections, or *at_least* that many, are up.

        Args:
            timeout: Seconds.
            at_least: How many have to be up.
            patient: Keep trying while the server is not there; else the first connect error is raised.

        Raises:
            PoolTimeout: They were not up in time; the last connect error is the cause.
            PoolClosed: The pool is closed.
        """
        started_at = self._now()
        pause = FIRST_PAUSE
        target = max(at_least, self._rack.min_size)
        while True:
            with self._lock:
                self._ensure_open()
                if self._rack.connected >= target:
                    return
                openers = self._rack.grow(self._new_loan, at_least=target)
            self._start(openers)
            self._watch(lambda: self._rack.opening == 0 or self._closed, started_at + timeout)
            left = started_at + timeout - self._now()
            if not patient and self._last_error is not None and self._rack.connected < target:
                raise own_copy(self._last_error)
            if left <= 0 and self._rack.connected < target:
                have = self._rack.connected
                raise PoolTimeout(
                    f"pool {self.settings.name!r}: {have} of {target} connections after {timeout:g} s"
                ) from self._last_error
            if self._rack.connected < target and self._last_error is not None:
                self.clock.sleep(min(pause, max(left, 0.0)))
                pause = min(pause * 2, LONGEST_PAUSE)

    def replenish(self) -> None:
        """Start opening what is missing to ``min_size``, and what those in line need."""
        with self._lock:
            openers = [] if self._closed else self._rack.grow(self._new_loan)
        self._start(openers)

    def resize(self, max_size: int, min_size: int | None = None) -> None:
        """Change how many connections there may be; those above the new size go when they come back."""
        kept = self.settings.min_size if min_size is None else min_size
        settings = dataclasses.replace(self.settings, max_size=max_size, min_size=min(kept, max_size))
        with self._lock:
            self._ensure_open()
            self.settings = settings
            self._rack.min_size = settings.min_size
            dropped = self._rack.resize(max_size)
            self._count("resized", len(dropped))
            openers = self._rack.grow(self._new_loan)
        self._close_all(dropped)
        self._start(openers)

    def drain(self) -> None:
        """Replace every connection: idle ones now, lent ones when they come back."""
        with self._lock:
            self._ensure_open()
            self._generation += 1
            self._retire_below = self._generation
            idle = self._rack.clear()
            self._count("drained", len(idle))
            openers = self._rack.grow(self._new_loan)
        self._close_all(idle)
        self._start(openers)

    def recover(self) -> None:
        """Take back the slots of borrowers that vanished, and serve those in line with them."""
        with self._lock:
            lost = self._rack.recover()
            openers = [] if self._closed else self._rack.grow(self._new_loan)
            self._wake_watchers()
        self._bury(lost)
        self._start(openers)

    def suspend(self) -> None:
        """Serve nobody until `resume`: borrowers wait in line, each until its own deadline."""
        with self._lock:
            self._ensure_open()
            self._rack.suspended = True

    def resume(self) -> None:
        """Serve those who waited, in their order."""
        with self._lock:
            self._ensure_open()
            self._rack.suspended = False
            self._rack.serve(self._now())
            openers = self._rack.grow(self._new_loan)
        self._start(openers)

    def pause(self, seconds: float) -> None:
        """Sleep, as a retry does, unless the pool is closed first.

        Raises:
            PoolClosed: It is.
        """
        self._watch(lambda: self._closed, self._now() + seconds)
        self._ensure_open()

    def close(self, timeout: float = 5.0, *, force: bool = False) -> list[Borrowed]:
        """Close the pool for good. Everybody in line is woken; idle connections are closed now, lent ones on return.

        Args:
            timeout: Seconds to wait for borrowers in other threads; the caller's own loans are not waited for.
            force: Cut the connections that are still out then, so that whoever is blocked on one gets an error.

        Returns:
            Who still holds a connection; also logged.
        """
        deadline = self._now() + timeout
        me = threading.current_thread()
        with self._lock:
            self._closed = True
            self._rack.fail_all(PoolClosed(f"pool {self.settings.name!r} was closed"))
            idle = self._rack.clear()
            self._count("closed", len(idle))
            self._wake_watchers()
        self._close_all(idle)
        self.on_closed()
        self.recover()
        self._watch(lambda: all(slot.thread is me for slot in self._rack.busy()), deadline)
        left = self.borrowed()
        if left:
            logger.warning("pool %r closed while lent to: %s", self.settings.name, "; ".join(map(str, left)))
        if left and force:
            with self._lock:
                out = [slot.connection for slot in self._rack.busy() if slot.state is SlotState.LENT]
            for connection in out:
                if connection is not None:
                    self._driver.cut(connection)
        return left

    # --- looking ---------------------------------------------------------------------------------------------------

    @property
    def ever_opened(self) -> bool:
        """Whether a connection was ever opened: an address that never answered is a mistake until proven an outage."""
        return self._rack.counters.opened > 0

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    def stats(self) -> PoolStats:
        """Return every gauge and counter, as of one instant."""
        with self._lock:
            rack, counters = self._rack, self._rack.counters
            return PoolStats(
                name=self.settings.name,
                max_size=rack.max_size,
                min_size=rack.min_size,
                idle=len(rack.warm),
                used=rack.used,
                opening=rack.opening,
                cold=len(rack.cold),
                waiting=len(rack.line),
                acquired=counters.acquired,
                acquired_at_once=counters.acquired - counters.waited,
                waited=counters.waited,
                wait_seconds=counters.wait_seconds,
                use_seconds=counters.use_seconds,
                timed_out=counters.timed_out,
                refused=counters.refused,
                opened=counters.opened,
                open_seconds=counters.open_seconds,
                open_errors=counters.open_errors,
                discarded=dict(counters.discarded),
                retired=dict(counters.retired),
                lost=counters.lost,
                leaks=counters.leaks,
                closed=self._closed,
            )

    def borrowed(self, longer_than: float = 0.0) -> list[Borrowed]:
        """Return the loans that have been out for *longer_than* seconds, the oldest first."""
        return [borrowed for _, borrowed in self.loans_out(longer_than)]

    def loans_out(self, longer_than: float = 0.0) -> list[tuple[Loan[C], Borrowed]]:
        """Return the loans that have been out for *longer_than* seconds with what can be told of each."""
        now = self._now()
        with self._lock:
            held = [(slot, slot.loan()) for slot in self._rack.busy() if slot.loan is not None]
        out = [(slot, loan) for slot, loan in held if loan is not None and not loan.upkeep]
        out.sort(key=lambda pair: pair[1].taken_at)
        return [
            (loan, Borrowed(thread=loan.thread.name, seconds=now - loan.taken_at, place=tuple(slot.where())))
            for slot, loan in out
            if now - loan.taken_at >= longer_than
        ]

    def count_leak(self, loan: Loan[C]) -> bool:
        """Note that a loan has been reported as held for too long; False if it was before."""
        with self._lock:
            if loan.reported:
                return False
            loan.reported = True
            self._rack.counters.leaks += 1
            return True

    def _timeout(self, loan: Loan[C], why: str = "") -> PoolTimeout:
        stats = self.stats()
        out = self.borrowed()
        mine = sum(borrowed.thread == loan.thread.name for borrowed in out)
        hints = [why] if why else []
        if self._last_error is not None:
            hints.append(f"last connect error: {self._last_error}")
        if mine:
            hints.append(f"this thread itself holds {mine} of them: give one back, or raise max_size")
        if out:
            hints.append("held longest: " + "; ".join(map(str, out[:3])))
        return PoolTimeout(
            f"pool {stats.name!r}: no connection after {self._now() - loan.started_at:.2f} s "
            f"(size={stats.size}/{stats.max_size} idle={stats.idle} used={stats.used} opening={stats.opening} "
            f"waiting={stats.waiting})" + "".join(f"; {hint}" for hint in hints)
        )

    def _close_all(self, connections: list[C]) -> None:
        for connection in connections:
            self._driver.close(connection)

    def _bury(self, lost: list[tuple[list[str], C | None]]) -> None:
        for where, connection in lost:
            place = " <- ".join(where) or "a call that was interrupted"
            logger.warning("pool %r: a connection never came back; borrowed at %s", self.settings.name, place)
            if connection is not None:
                self._driver.abandon(connection)

    def _begin_in_child(self) -> None:
        """Start cold in a forked child: drop our copies of the parent's sockets without a word on them."""
        for slot in self._rack.slots:
            slot.loan = None  # what the parent had lent out is nobody's here
            if slot.connection is not None:
                self._driver.abandon(slot.connection)
        self._begin()


#: Every pool of this process, for the one hook that a fork calls; set up by the first pool, never at import.
_pools: weakref.WeakSet[Lifecycle[object]] = weakref.WeakSet()
_hooked = False


def _remember(pool: Lifecycle[C]) -> None:
    global _hooked
    _pools.add(pool)  # type: ignore[arg-type]  # a set of pools of anything
    if not _hooked and hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_after_fork_in_child)
    _hooked = True


def _after_fork_in_child() -> None:
    for pool in list(_pools):
        pool._begin_in_child()  # ours, and nobody else's to call
