"""The line: who is served next, who is refused, and who no longer counts."""

from __future__ import annotations

import threading
from collections import Counter

import pytest

from improved_db.errors import PoolTimeout, TooManyWaiting
from tests.fakes import PATIENCE, Caller, FakePool, ThreadedPool, eventually


def note_turn(threaded: ThreadedPool, served: list[str]) -> None:
    """Borrow and return a connection; add the name of this thread to those that were served."""
    loan = threaded.pool.acquire()
    served.append(threading.current_thread().name)
    threaded.pool.release(loan)


def test_line_is_first_come_first_served() -> None:
    """Without an order one caller waits until its timeout while others come and go."""
    threaded = ThreadedPool(max_size=1)
    loan = threaded.pool.acquire()
    served: list[str] = []
    callers = threaded.in_line(12, lambda: note_turn(threaded, served))
    threaded.pool.release(loan)
    for caller in callers:
        caller.result()
    assert served == [f"borrower {position}" for position in range(1, 13)]
    threaded.pool.close()


def test_newcomer_does_not_overtake() -> None:
    """A connection that came back belongs to the caller that waited for it, not to the one that runs just then."""
    threaded = ThreadedPool(max_size=1)
    loan = threaded.pool.acquire()
    (waiting,) = threaded.in_line(1, threaded.pool.acquire)
    threaded.pool.release(loan)
    with pytest.raises(PoolTimeout):
        threaded.pool.acquire(0)
    threaded.pool.release(waiting.result())
    threaded.pool.close()


def test_eight_threads_on_one_connection_are_served_alike() -> None:
    """Pools that notify all and let the quickest win serve one thread hundreds of times and the others once."""
    threaded = ThreadedPool(max_size=1)
    served: Counter[str] = Counter()
    enough = threading.Event()
    together = threading.Barrier(8)

    def borrow_again_and_again() -> None:
        name = threading.current_thread().name
        together.wait(PATIENCE)
        while not enough.is_set():
            loan = threaded.pool.acquire()
            served[name] += 1
            eventually(lambda: threaded.pool.stats().waiting >= 7 or enough.is_set())
            threaded.pool.release(loan)

    callers = [Caller(borrow_again_and_again, name=f"thread {number}") for number in range(8)]
    eventually(lambda: sum(served.values()) >= 160)
    counts = sorted(served.values())
    enough.set()
    for caller in callers:
        caller.result()
    assert len(counts) == 8
    assert counts[-1] - counts[0] <= 0.1 * counts[-1]
    threaded.pool.close()


def test_line_serves_in_turns_of_its_length() -> None:
    """With a full line no caller is served twice before each was served once: the order, not only the counts."""
    threaded = ThreadedPool(max_size=1)
    rounds, people = 40, 5
    served: list[int] = []

    def borrow_in_turn(number: int) -> None:
        for _ in range(rounds):
            loan = threaded.pool.acquire()
            served.append(number)
            eventually(lambda: threaded.pool.stats().waiting == people - 1 or len(served) > (rounds - 1) * people)
            threaded.pool.release(loan)

    first = threaded.pool.acquire()
    callers = []
    for number in range(people):
        callers += threaded.in_line(1, lambda number=number: borrow_in_turn(number))  # type: ignore[misc]
    threaded.pool.release(first)
    for caller in callers:
        caller.result()
    assert served == list(range(people)) * rounds
    threaded.pool.close()


def test_full_line_refuses_exactly_the_next() -> None:
    """Load has to be shed while those in line can still be served in time."""
    threaded = ThreadedPool(max_size=1, max_waiting=3)
    loan = threaded.pool.acquire()
    callers = threaded.in_line(3, threaded.pool.acquire)
    with pytest.raises(TooManyWaiting, match=r"3 borrowers are waiting already \(max_waiting=3\)"):
        threaded.pool.acquire()
    assert threaded.pool.stats().refused == 1
    threaded.pool.release(loan)
    for caller in callers:
        threaded.pool.release(caller.result())
    threaded.pool.close()


def test_borrowers_whose_connection_is_on_its_way_do_not_count_as_waiting() -> None:
    """A pool with room must not refuse a caller only because connecting takes a moment."""
    threaded = ThreadedPool(max_size=2, max_waiting=0)
    connecting = threading.Event()
    threaded.driver.before_connect = lambda: _wait(connecting)
    callers = threaded.in_line(2, threaded.pool.acquire)
    with pytest.raises(TooManyWaiting):
        threaded.pool.acquire()
    connecting.set()
    for caller in callers:
        threaded.pool.release(caller.result())
    threaded.pool.close()


def test_timed_out_borrower_no_longer_counts() -> None:
    """Where the dead stay in line, a pool sheds load although no caller waits."""
    fake = FakePool(max_size=1, max_waiting=2)
    loan = fake.pool.acquire(1)
    for _ in range(5):
        with pytest.raises(PoolTimeout):
            fake.pool.acquire(1)
        assert fake.pool.stats().waiting == 0
    assert fake.pool.stats().refused == 0
    fake.pool.release(loan)


def test_interrupted_borrower_no_longer_counts() -> None:
    """Ctrl-C in line leaves neither a place in it nor a hole in the pool."""
    fake = FakePool(max_size=1)
    loan = fake.pool.acquire(1)
    fake.in_seconds(1, _interrupt)
    with pytest.raises(KeyboardInterrupt):
        fake.pool.acquire(5)
    assert fake.pool.stats().waiting == 0
    fake.pool.release(loan)
    assert fake.pool.acquire(1).connection is loan.connection


def test_timed_out_borrower_swallows_no_connection() -> None:
    """A connection that is handed to no caller is gone."""
    fake = FakePool(max_size=1)
    loan = fake.pool.acquire(1)
    with pytest.raises(PoolTimeout):
        fake.pool.acquire(2)
    fake.pool.release(loan)
    assert fake.pool.stats().idle == 1
    assert fake.pool.acquire(0).connection is loan.connection


def test_no_borrower_is_served_after_its_deadline() -> None:
    """Who has given up would hold a connection that no caller uses."""
    fake = FakePool(max_size=1)
    late = fake.pool.acquire(1)
    fake.in_seconds(5, lambda: fake.pool.release(late))
    with pytest.raises(PoolTimeout):
        fake.pool.acquire(5)
    assert fake.pool.stats().idle == 1


def test_connection_that_comes_back_before_the_deadline_is_had() -> None:
    """One instant earlier it is in time."""
    fake = FakePool(max_size=1)
    loan = fake.pool.acquire(1)
    fake.in_seconds(4.999, lambda: fake.pool.release(loan))
    assert fake.pool.acquire(5).connection is loan.connection


def test_discarded_connection_is_replaced_for_who_waits() -> None:
    """Where only a good return wakes the line, one broken connection strands every caller in it."""
    fake = FakePool(max_size=1)
    loan = fake.pool.acquire(1)
    fake.in_seconds(1, lambda: fake.pool.release(loan, "broken"))
    other = fake.pool.acquire(5)
    assert other.connection is not loan.connection
    assert fake.clock.now() == 1.0


def test_several_broken_returns_starve_no_waiter() -> None:
    """Each discard opens again for those in line, also when all come at once."""
    threaded = ThreadedPool(max_size=3, max_opening=1)
    loans = [threaded.pool.acquire() for _ in range(3)]
    callers = threaded.in_line(6, lambda: threaded.pool.release(threaded.pool.acquire()))
    for loan in loans:
        threaded.pool.release(loan, "broken")
    for caller in callers:
        caller.result()
    assert threaded.pool.stats().discarded == {"broken": 3}
    threaded.pool.close()


def test_invalidation_does_not_strand_the_line() -> None:
    """A drain while others wait closes what comes back, and they still get one."""
    fake = FakePool(max_size=1)
    loan = fake.pool.acquire(1)
    fake.in_seconds(1, fake.pool.drain)
    fake.in_seconds(2, lambda: fake.pool.release(loan))
    other = fake.pool.acquire(5)
    assert other.connection is not loan.connection
    assert fake.clock.now() == 2.0


def test_borrower_whose_connection_proved_unfit_is_served_before_those_behind_it() -> None:
    """It stood in line already; an unfit connection must not send it to the end."""
    unfit: list[object] = []

    def check(connection: object) -> None:
        if connection in unfit:
            raise ValueError("unfit")

    threaded = ThreadedPool(max_size=1, check=check)
    loan = threaded.pool.acquire()
    served: list[str] = []
    callers = threaded.in_line(3, lambda: note_turn(threaded, served))
    unfit.append(loan.connection)
    threaded.driver.before_connect = lambda: eventually(lambda: threaded.pool.stats().waiting == 3)
    threaded.pool.release(loan)
    for caller in callers:
        caller.result()
    assert served == ["borrower 1", "borrower 2", "borrower 3"]
    assert threaded.pool.stats().discarded == {"check": 1}
    threaded.pool.close()


def test_borrower_that_was_served_is_not_refused_for_its_second_try() -> None:
    """`max_waiting` refuses newcomers; a caller that was let in stays in."""
    fake = FakePool(max_size=1, max_waiting=0)
    fake.fill()[0].alive = False
    fake.clock.advance(1)
    assert fake.pool.acquire(1).connection.number == 2


def test_overload_is_over_when_the_load_is() -> None:
    """A pool that was asked for ten times what it has serves at once again when it is asked for what it has."""
    fake = FakePool(max_size=3, max_waiting=5)
    loans = fake.borrow(3)
    for _ in range(30):
        with pytest.raises(PoolTimeout):
            fake.pool.acquire(0.1)
    for loan in loans:
        fake.pool.release(loan)
    before = fake.pool.stats()
    for _ in range(10):
        for loan in fake.borrow(3):
            fake.pool.release(loan)
    after = fake.pool.stats()
    assert after.acquired_at_once - before.acquired_at_once == 30
    assert (after.waited, after.opened, after.timed_out) == (before.waited, 3, 30)


def test_fifty_waiters_all_get_their_turn() -> None:
    """Many waiters on few connections: all are served, with no more connections than there may be."""
    threaded = ThreadedPool(max_size=3)
    callers = [Caller(lambda: threaded.pool.release(threaded.pool.acquire())) for _ in range(50)]
    for caller in callers:
        caller.result()
    stats = threaded.pool.stats()
    assert stats.acquired == 50
    assert stats.opened <= 3
    threaded.pool.close()


def _wait(event: threading.Event) -> None:
    assert event.wait(PATIENCE)


def _interrupt() -> None:
    raise KeyboardInterrupt
