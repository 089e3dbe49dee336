"""The rack and the line by themselves: each move, and what it leaves behind."""

from __future__ import annotations

import threading

import pytest

from improved_db.pool.loan import Loan
from improved_db.pool.rack import Rack
from improved_db.pool.slot import Slot, SlotState


def new_loan(deadline: float = 100.0) -> Loan[str]:
    """Return a borrower that came at 0."""
    return Loan(None, 0.0, deadline)


def stand(rack: Rack[str], loan: Loan[str], *, first: bool = False, max_waiting: int | None = None) -> bool:
    """Let *loan* stand in line; say whether it was admitted."""
    signal = threading.Lock()
    loan.signal = signal
    return rack.enqueue(loan, signal.acquire, first=first, max_waiting=max_waiting)


def was_woken(loan: Loan[str]) -> bool:
    """Say whether a borrower that stood in line was woken."""
    assert loan.signal is not None
    return loan.signal.acquire(blocking=False)


def warm_rack(number: int, max_size: int | None = None) -> Rack[str]:
    """Return a rack with *number* idle connections, called a, b, c; the first is the oldest."""
    rack: Rack[str] = Rack(max_size or number, 0, 10)
    for name in "abcdefgh"[:number]:
        (opener,) = rack.grow(new_loan, at_least=rack.connected + 1)
        slot = slot_of(opener)
        slot.connection = name
        rack.give(slot, 0.0)
    return rack


def slot_of(loan: Loan[str]) -> Slot[str]:
    """Return the slot that a loan must have by now."""
    assert loan.slot is not None
    return loan.slot


def places(rack: Rack[str]) -> tuple[int, int, int, int]:
    """Return how many slots are idle, lent, with openers, and cold; they have to add up."""
    counted = (len(rack.idle), rack.used, rack.opening, len(rack.cold))
    assert sum(counted) == len(rack.slots)
    states = [slot.state for slot in rack.slots]
    order = (SlotState.IDLE, SlotState.USED, SlotState.OPENING, SlotState.COLD)
    assert tuple(states.count(state) for state in order) == counted
    return counted


def test_slots_go_round_and_stay_as_many() -> None:
    """Cold, opening, idle, lent, idle, cold: counts that are derived cannot drift."""
    rack: Rack[str] = Rack(1, 0, 1)
    assert places(rack) == (0, 0, 0, 1)
    (opener,) = rack.grow(new_loan, at_least=1)
    assert places(rack) == (0, 0, 1, 0)
    rack.give(slot_of(opener), 0.0)
    assert places(rack) == (1, 0, 0, 0)
    loan = new_loan()
    assert rack.take(loan)
    assert places(rack) == (0, 1, 0, 0)
    rack.give(slot_of(loan), 0.0)
    assert places(rack) == (1, 0, 0, 0)
    rack.make_cold(rack.idle[0])
    assert places(rack) == (0, 0, 0, 1)


def test_opener_that_gives_up_leaves_a_cold_slot() -> None:
    """And is no longer counted as opening."""
    rack: Rack[str] = Rack(2, 0, 2)
    opener, _ = rack.grow(new_loan, at_least=2)
    assert rack.make_cold(slot_of(opener)) is None
    assert places(rack) == (0, 0, 1, 1)


def test_taking_prefers_the_warmest() -> None:
    """Last in, first out."""
    rack = warm_rack(3)
    loan = new_loan()
    assert rack.take(loan)
    assert slot_of(loan).connection == "c"


def test_nothing_is_taken_from_a_suspended_rack() -> None:
    """Idle or not."""
    rack = warm_rack(1)
    rack.suspended = True
    assert not rack.take(new_loan())
    assert places(rack) == (1, 0, 0, 0)


def test_maintenance_takes_the_longest_idle_of_those_that_are_due() -> None:
    """And puts it back where it was: at the far end, as idle as before."""
    rack = warm_rack(3)
    rack.idle[0].idle_since = 7.0
    loan = new_loan()
    assert rack.take_idle(loan, lambda slot: slot.connection != "b")
    slot = slot_of(loan)
    assert slot.connection == "a"
    rack.give(slot, 50.0, used=False)
    assert (rack.idle[0], slot.idle_since) == (slot, 7.0)
    assert not rack.take_idle(new_loan(), lambda _: False)


def test_line_is_served_in_order() -> None:
    """Each by one return, and no other borrower is woken."""
    rack = warm_rack(1)
    owner, first, second = new_loan(), new_loan(), new_loan()
    rack.take(owner)
    stand(rack, first)
    stand(rack, second)
    rack.give(slot_of(owner), 1.0)
    assert (was_woken(first), was_woken(second)) == (True, False)
    rack.give(slot_of(first), 2.0)
    assert was_woken(second)
    assert places(rack) == (0, 1, 0, 0)


def test_second_try_stands_at_the_head() -> None:
    """A borrower that was served an unfit connection is the next."""
    rack = warm_rack(1)
    owner, behind, again = new_loan(), new_loan(), new_loan()
    rack.take(owner)
    stand(rack, behind)
    stand(rack, again, first=True, max_waiting=0)
    rack.give(slot_of(owner), 1.0)
    assert (was_woken(again), was_woken(behind)) == (True, False)


def test_borrower_past_its_deadline_is_passed_over() -> None:
    """It is woken to find nothing; the next one is served."""
    rack = warm_rack(1)
    owner, late, alive = new_loan(), new_loan(deadline=5.0), new_loan()
    rack.take(owner)
    stand(rack, late)
    stand(rack, alive)
    rack.give(slot_of(owner), 5.0)
    assert was_woken(late)
    assert late.slot is None
    assert was_woken(alive)
    assert slot_of(alive).connection == "a"
    assert not rack.waiters


def test_borrower_may_leave_from_the_middle_of_the_line() -> None:
    """As one does that times out; the others keep their places."""
    rack = warm_rack(1)
    owner, *loans = (new_loan() for _ in range(4))
    rack.take(owner)
    for loan in loans:
        stand(rack, loan)
    del rack.waiters[loans[1]]
    rack.give(slot_of(owner), 1.0)
    rack.give(slot_of(loans[0]), 2.0)
    assert slot_of(loans[2]).connection == "a"
    assert loans[1].slot is None


def test_every_waiter_is_told_of_a_failure() -> None:
    """Each is woken once, with the reason."""
    rack: Rack[str] = Rack(1, 0, 1)
    loans = [new_loan() for _ in range(3)]
    for loan in loans:
        stand(rack, loan)
    error = OSError("down")
    rack.fail_all(error)
    assert [loan.error for loan in loans] == [error] * 3
    assert all(was_woken(loan) for loan in loans)
    assert not rack.waiters


def test_line_is_full_when_max_waiting_stand_behind_those_who_will_be_served() -> None:
    """Cold slots and openers are places too."""
    rack: Rack[str] = Rack(2, 0, 1)
    for _ in range(3):
        assert stand(rack, new_loan(), max_waiting=1)
        rack.grow(new_loan)
    assert not stand(rack, new_loan(), max_waiting=1)
    assert (len(rack.waiters), rack.counters.refused) == (3, 1)


@pytest.mark.parametrize(
    ("waiting", "min_size", "at_least", "max_opening", "openers"),
    [
        (0, 0, 0, 9, 0), (2, 0, 0, 9, 2), (9, 0, 0, 9, 4), (9, 0, 0, 3, 3),
        (0, 3, 0, 9, 3), (1, 3, 0, 9, 3), (0, 0, 2, 9, 2),
    ],
)  # fmt: skip
def test_as_many_openers_as_are_needed(
    waiting: int, min_size: int, at_least: int, max_opening: int, openers: int
) -> None:
    """For those in line, for `min_size`, or for who asks beforehand: never their sum, never beyond the limits."""
    rack: Rack[str] = Rack(4, min_size, max_opening)
    for _ in range(waiting):
        stand(rack, new_loan())
    assert len(rack.grow(new_loan, at_least)) == openers
    assert rack.grow(new_loan, at_least) == []


def test_suspended_rack_opens_for_min_size_only() -> None:
    """Those in line wait for the end of the suspension, not for connections."""
    rack: Rack[str] = Rack(4, 1, 4)
    rack.suspended = True
    stand(rack, new_loan())
    stand(rack, new_loan())
    assert len(rack.grow(new_loan)) == 1


def test_lost_slots_are_found_by_their_loans() -> None:
    """Collected loans are lost, living ones are not."""
    rack = warm_rack(2)
    kept, lost = new_loan(), new_loan()
    rack.take(kept)
    rack.take(lost)
    del lost
    assert rack.recover() == [((), "a")]
    assert places(rack) == (0, 1, 0, 1)
    assert rack.counters.lost == 1


@pytest.mark.parametrize(
    ("max_size", "left"), [(6, (2, 1, 0, 3)), (4, (2, 1, 0, 1)), (2, (1, 1, 0, 0)), (1, (0, 1, 0, 0))]
)
def test_resize_takes_cold_slots_first_and_lent_ones_never(max_size: int, left: tuple[int, int, int, int]) -> None:
    """Three connections, one of them lent, in a rack of five."""
    rack = warm_rack(3, max_size=5)
    rack.take(new := new_loan())
    rack.resize(max_size)
    assert places(rack) == left
    assert slot_of(new).connection == "c"


def test_surplus_slot_leaves_when_its_connection_does() -> None:
    """A rack that was shrunk while lent reaches its size with the returns."""
    rack = warm_rack(2)
    first, second = new_loan(), new_loan()
    rack.take(first)
    rack.take(second)
    rack.resize(1)
    assert rack.make_cold(slot_of(first)) == "b"
    assert places(rack) == (0, 1, 0, 0)
    assert rack.make_cold(slot_of(second)) == "a"
    assert places(rack) == (0, 0, 0, 1)
