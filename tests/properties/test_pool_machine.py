"""All invariants of the pool at once: whatever is done to it in whatever order, they hold after each step."""

from __future__ import annotations

import dataclasses
import gc
import os
from typing import TYPE_CHECKING, Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from improved_db.errors import LoanSpent, PoolClosed, PoolError
from improved_db.pool.housekeeper import Housekeeper
from tests.fakes import FakeConnection, FakePool

if TYPE_CHECKING:
    from collections.abc import Callable

    from improved_db.pool.loan import Loan

COUNTERS = (
    "acquired", "acquired_at_once", "waited", "wait_seconds", "use_seconds", "timed_out", "refused", "opened",
    "open_seconds", "open_errors", "lost", "leaks",
)  # fmt: skip


class Interrupt(SystemExit):
    """What a signal handler raises. Not a KeyboardInterrupt, with which Hypothesis would end instead of reporting."""


#: What a borrower may meet, where the pool itself is whole.
MET = (PoolError, ConnectionRefusedError, Interrupt, BrokenPipeError)


class PoolMachine(RuleBasedStateMachine):
    """One thread does everything; other borrowers come and go while it waits."""

    @initialize(
        max_size=st.integers(1, 4),
        min_size=st.integers(0, 2),
        max_opening=st.integers(1, 3),
        max_waiting=st.sampled_from([None, None, 0, 1]),
        ping_idle_after=st.sampled_from([None, 0.0, 30.0]),
        max_lifetime=st.sampled_from([None, 100.0]),
    )
    def make_a_pool(self, max_size: int, min_size: int, **options: Any) -> None:
        """Make a pool of some size."""
        self.fake = FakePool(max_size=max_size, min_size=min(min_size, max_size), **options)
        self.pool, self.driver = self.fake.pool, self.fake.driver
        self.housekeeper = Housekeeper(self.pool)  # without a thread: time here is the test's
        self.held: list[Loan[FakeConnection]] = []
        self.spent: list[Loan[FakeConnection]] = []
        self.restored: dict[int, int] = {}
        self.before = self.pool.stats()
        self.suspended = False
        self.stranger = FakePool(max_size=1).pool.acquire(1)

    # --- borrowing ---------------------------------------------------------------------------------------------------

    def borrow(self, timeout: float) -> None:
        """Borrow, if that can be done now, and look at what came."""
        closed = self.pool.closed
        try:
            loan = self.pool.acquire(timeout)
        except MET as error:
            if isinstance(error, PoolClosed) and not closed:
                raise
            return
        connection = loan.connection
        assert connection.open
        assert connection.alive
        assert connection.number not in {other.connection.number for other in self.held}
        assert connection.clean or connection.restored > self.restored.get(connection.number, -1)
        self.restored[connection.number] = connection.restored
        connection.clean = connection.number % 2 == 1  # these go home without a restore
        self.held.append(loan)

    @rule(timeout=st.sampled_from([0.0, 0.5, 10.0]))
    def acquire(self, timeout: float) -> None:
        """Borrow, while no other thread does anything."""
        self.borrow(timeout)

    @precondition(lambda self: self.held or self.suspended)
    @rule(
        events=st.lists(
            st.sampled_from(["return", "break", "vanish", "interrupt", "grow", "resume", "come", "drain"]), max_size=3
        )
    )
    def acquire_while_things_happen(self, events: list[str]) -> None:
        """Stand in line, while others return, break, vanish, come, or a signal interrupts."""
        for second, event in enumerate(events, 1):
            self.fake.in_seconds(second, lambda event=event: self.happen(event))  # type: ignore[misc]
        self.borrow(5.0)
        for _ in range(len(events) + 1):
            self.tolerate(lambda: self.fake.clock.advance(10))

    def happen(self, event: str) -> None:
        """Let one thing happen in another thread, so to speak."""
        if event == "interrupt":
            raise Interrupt
        if self.pool.closed:
            return
        deeds: dict[str, Callable[[], object]] = {
            "return": lambda: self.give_one_back(None),
            "break": lambda: self.give_one_back("broken"),
            "vanish": self.vanish,
            "grow": lambda: self.pool.resize(min(self.pool.settings.max_size + 1, 5)),
            "resume": self.resume,
            "come": lambda: self.borrow(1.5),
            "drain": self.pool.drain,
        }
        deeds[event]()

    # --- giving back -------------------------------------------------------------------------------------------------

    def give_back(self, loan: Loan[FakeConnection], discard: str | None) -> None:
        """Return a loan; it is spent however that ends."""
        self.spent.append(loan)
        try:
            self.pool.release(loan, discard)
        except MET:  # of its restoration, or of an opener that it made room for
            pass

    def vanish(self) -> None:
        """Lose all loans, and make a round."""
        self.held.clear()
        self.housekeeper.round(self.pool)

    def give_one_back(self, discard: str | None) -> None:
        """Return the last loan, if there is one."""
        if self.held:
            self.give_back(self.held.pop(), discard)

    @precondition(lambda self: self.held)
    @rule(
        index=st.integers(0, 9),
        discard=st.sampled_from([None, None, "broken"]),
        restorable=st.sampled_from([True, True, False]),
        error=st.sampled_from([None, None, None, BrokenPipeError, Interrupt]),
    )
    def release(self, index: int, discard: str | None, restorable: bool, error: type[BaseException] | None) -> None:
        """Give a loan back, in whatever condition."""
        loan = self.held.pop(index % len(self.held))
        loan.connection.restorable = restorable
        if error is not None:
            self.driver.restore_errors.append(error())
        self.give_back(loan, discard)
        self.driver.restore_errors.clear()
        assert self.refuses(loan)

    @precondition(lambda self: self.spent)
    @rule(index=st.integers(0, 99), discard=st.sampled_from([None, "broken"]))
    def release_again(self, index: int, discard: str | None) -> None:
        """Return a spent loan, whichever borrower has its connection by now."""
        assert self.refuses(self.spent[index % len(self.spent)], discard)

    @rule()
    def release_a_strangers(self) -> None:
        """Give back what another pool lent."""
        assert self.refuses(self.stranger)

    def refuses(self, loan: Loan[FakeConnection], discard: str | None = None) -> bool:
        """Say whether the pool refuses a loan."""
        try:
            self.pool.release(loan, discard)
        except LoanSpent:
            return True
        return False

    @precondition(lambda self: self.held)
    @rule(index=st.integers(0, 9))
    def forget(self, index: int) -> None:
        """Drop a loan without returning it."""
        del self.held[index % len(self.held)]

    @rule()
    def recover(self) -> None:
        """Look for what was dropped."""
        self.driver.connect_errors.clear()
        gc.collect(1)  # an interrupt leaves its traceback, and what that holds, in a cycle
        self.pool.recover()
        stats = self.pool.stats()
        assert (stats.used, stats.opening) == (len(self.held), 0)

    # --- what goes wrong ---------------------------------------------------------------------------------------------

    @rule(errors=st.lists(st.sampled_from([ConnectionRefusedError, Interrupt]), min_size=1, max_size=3))
    def server_will_refuse(self, errors: list[type[BaseException]]) -> None:
        """Let the next connects fail."""
        self.driver.connect_errors[:] = [error() for error in errors]

    @rule(index=st.integers(0, 9), what=st.sampled_from(["alive", "answers"]))
    def die_in_the_rack(self, index: int, what: str) -> None:
        """Let an idle connection die, with or without a sign."""
        held = {loan.connection.number for loan in self.held}
        idle = [connection for connection in self.driver.open if connection.number not in held]
        if idle:
            setattr(idle[index % len(idle)], what, False)
            self.fake.clock.advance(0.001)  # an answer of this very moment is believed

    @rule()
    def interrupt_the_next_ping(self) -> None:
        """Let Ctrl-C come while a connection is being pinged."""

        def once() -> None:
            self.driver.before_ping = lambda: None
            raise Interrupt

        self.driver.before_ping = once

    @precondition(lambda self: self.held)
    @rule(index=st.integers(0, 9), retire=st.booleans())
    def outage(self, index: int, retire: bool) -> None:
        """Let a borrower find out that the server is gone, or has become read-only."""
        self.pool.invalidate(self.held[index % len(self.held)], retire=retire)

    # --- the owner, and time -----------------------------------------------------------------------------------------

    @precondition(lambda self: not self.pool.closed)
    @rule(max_size=st.integers(1, 5), min_size=st.sampled_from([None, 0, 1]))
    def resize(self, max_size: int, min_size: int | None) -> None:
        """Make the pool larger or smaller."""
        self.tolerate(lambda: self.pool.resize(max_size, min_size))

    @precondition(lambda self: not self.pool.closed)
    @rule()
    def drain(self) -> None:
        """Replace everything."""
        self.tolerate(self.pool.drain)

    @precondition(lambda self: not self.pool.closed)
    @rule()
    def suspend(self) -> None:
        """Serve no borrower for now."""
        self.pool.suspend()
        self.suspended = True

    @precondition(lambda self: not self.pool.closed)
    @rule()
    def resume(self) -> None:
        """Serve again."""
        self.suspended = False
        self.tolerate(self.pool.resume)

    @rule(seconds=st.sampled_from([0.1, 10.0, 40.0, 700.0]))
    def wait_a_while(self, seconds: float) -> None:
        """Let time pass."""
        self.fake.clock.advance(seconds)

    @rule()
    def keep_house(self) -> None:
        """Make a round."""
        self.tolerate(lambda: self.housekeeper.round(self.pool))

    @precondition(lambda self: self.pool.stats().acquired > 20 and not self.pool.closed)
    @rule()
    def close(self) -> None:
        """End it; what is out is returned, or not, afterwards."""
        self.pool.close(0)
        stats = self.pool.stats()
        assert (stats.idle, stats.waiting) == (0, 0)

    @staticmethod
    def tolerate(deed: Callable[[], object]) -> None:
        """Do something in which Ctrl-C may come."""
        try:
            deed()
        except Interrupt:
            pass

    # --- what has to hold --------------------------------------------------------------------------------------------

    @invariant()
    def every_slot_is_in_one_place(self) -> None:
        """I1: the sum is the size; a surplus after a shrink is lent, every slot of it."""
        stats = self.pool.stats()
        total = stats.idle + stats.used + stats.opening + stats.cold
        assert total >= stats.max_size
        assert total == stats.max_size or (stats.idle, stats.cold) == (0, 0)
        assert stats.size <= max(stats.max_size, self.before.size)
        assert stats.used >= len(self.held)

    @invariant()
    def sessions_are_those_that_are_counted(self) -> None:
        """I1, I9: no connection is open that the pool does not count, and none is counted that is closed."""
        stats = self.pool.stats()
        assert len(self.driver.open) == stats.idle + stats.used

    @invariant()
    def nobody_is_left_behind(self) -> None:
        """I5, I6: between two steps no borrower waits."""
        assert self.pool.stats().waiting == 0

    @invariant()
    def borrowers_keep_what_they_have(self) -> None:
        """I4, I10: a loan that is out has an open connection that no other loan has."""
        assert all(loan.connection.open for loan in self.held)
        assert len({loan.connection.number for loan in self.held}) == len(self.held)

    @invariant()
    def counters_only_grow(self) -> None:
        """What has happened has happened."""
        stats = self.pool.stats()
        for name in COUNTERS:
            assert getattr(stats, name) >= getattr(self.before, name), name
        for name in ("discarded", "retired"):
            now, then = getattr(stats, name), getattr(self.before, name)
            assert all(now[reason] >= number for reason, number in then.items())
        self.before = dataclasses.replace(stats)

    def teardown(self) -> None:
        """End whatever is left: afterwards nothing is open, and every slot can be accounted for."""
        if not hasattr(self, "pool"):
            return
        self.driver.connect_errors.clear()
        self.driver.before_ping = lambda: None
        for loan in self.held:
            self.pool.release(loan)
        self.held.clear()
        if not self.pool.closed:
            self.pool.resume()
            gc.collect(1)
            self.pool.recover()
            loans = [self.pool.acquire(10.0) for _ in range(self.pool.stats().max_size)]
            assert len(self.driver.open) == len(loans)
            for loan in loans:
                self.pool.release(loan)
        self.pool.close()
        stats = self.pool.stats()
        assert (stats.size, stats.cold) == (0, stats.max_size)
        assert self.driver.open == []


PoolMachine.TestCase.settings = settings(
    max_examples=500,
    stateful_step_count=60,
    deadline=None,
    derandomize=bool(os.environ.get("CI")),
    suppress_health_check=[HealthCheck.too_slow],
)


TestPoolMachine = PoolMachine.TestCase
