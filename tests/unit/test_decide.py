"""What may be done after each verdict, cell by cell."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from improved_db.failures.decide import Action, Unit, decide
from improved_db.failures.error_table import Verdict

AGAIN, RESUME, RAISE = Action.RETRY, Action.RESUME, Action.RAISE
REFUSED, LOST, UNDONE, UNKNOWN = (
    Action.RAISE_REFUSED,
    Action.RAISE_LOST,
    Action.RAISE_ROLLED_BACK,
    Action.RAISE_UNKNOWN,
)
CELLS = {
    Unit.READ: [AGAIN, AGAIN, AGAIN, AGAIN, AGAIN, AGAIN, RAISE],
    Unit.WRITE: [AGAIN, AGAIN, AGAIN, AGAIN, AGAIN, UNKNOWN, RAISE],
    Unit.CALLER_STATEMENT: [RAISE, LOST, REFUSED, UNDONE, RAISE, LOST, RAISE],
    Unit.TRANSACTION: [AGAIN, AGAIN, AGAIN, AGAIN, AGAIN, AGAIN, RAISE],
    Unit.BULK_ATOMIC: [AGAIN, AGAIN, AGAIN, AGAIN, AGAIN, AGAIN, RAISE],
    Unit.BULK_CHUNKS: [RESUME, RESUME, RESUME, RESUME, RESUME, UNKNOWN, RAISE],
}


@pytest.mark.parametrize(
    ("unit", "verdict", "expected"),
    [(unit, verdict, cell) for unit, cells in CELLS.items() for verdict, cell in zip(Verdict, cells, strict=True)],
)
def test_the_matrix(unit: Unit, verdict: Verdict, expected: Action) -> None:
    """The contract: seven verdicts, six units of work."""
    assert decide(verdict, unit).now is expected


@pytest.mark.parametrize("unit", [Unit.CALLER_STATEMENT, Unit.TRANSACTION, Unit.BULK_ATOMIC])
def test_a_lost_commit_is_never_replayed(unit: Unit) -> None:
    """The one place where a transaction is ambiguous: it may be in, or come in later."""
    assert decide(Verdict.UNKNOWN, unit, at_commit=True).now is UNKNOWN


@pytest.mark.parametrize("verdict", [Verdict.NOT_SENT, Verdict.REFUSED, Verdict.TRANSACTION_ROLLED_BACK])
def test_a_commit_that_was_not_done_may_be_replayed(verdict: Verdict) -> None:
    """Galera's certification failure comes at COMMIT, and is an ordinary deadlock."""
    assert decide(verdict, Unit.TRANSACTION, at_commit=True).now is AGAIN


def test_a_callers_transaction_is_over_after_any_failed_commit() -> None:
    """No handle may go on after its COMMIT, not even one that only lost a lock wait."""
    assert decide(Verdict.STATEMENT_ROLLED_BACK, Unit.CALLER_STATEMENT, at_commit=True).now is UNDONE


@pytest.mark.parametrize(
    ("unit", "expected"),
    [
        (Unit.READ, AGAIN),
        (Unit.WRITE, AGAIN),
        (Unit.CALLER_STATEMENT, UNKNOWN),
        (Unit.TRANSACTION, AGAIN),
        (Unit.BULK_ATOMIC, AGAIN),
        (Unit.BULK_CHUNKS, RESUME),
    ],
)
def test_what_the_caller_calls_idempotent_is_resent(unit: Unit, expected: Action) -> None:
    """Twice is the same as once, says the caller; but nothing of a caller's transaction is ever resent."""
    assert decide(Verdict.UNKNOWN, unit, idempotent=True, at_commit=True).now is expected


@pytest.mark.parametrize("unit", [Unit.READ, Unit.WRITE, Unit.BULK_CHUNKS])
@pytest.mark.parametrize("verdict", Verdict)
def test_what_must_not_be_resent_is_not_once_it_may_have_arrived(verdict: Verdict, unit: Unit) -> None:
    """idempotent=False is the caller's word, and stronger than any proof of ours."""
    may = decide(verdict, unit, idempotent=False).now in {AGAIN, RESUME}
    assert may is (verdict in {Verdict.NOT_CONNECTED, Verdict.NOT_SENT})


def test_a_read_that_must_not_be_resent_has_an_unknown_outcome() -> None:
    """A SELECT of a function that writes is a write."""
    assert decide(Verdict.UNKNOWN, Unit.READ, idempotent=False).now is UNKNOWN
    assert decide(Verdict.UNKNOWN, Unit.READ, idempotent=False).finally_ is UNKNOWN
    assert decide(Verdict.UNKNOWN, Unit.READ).finally_ is RAISE


@pytest.mark.parametrize("verdict", [Verdict.STATEMENT_ROLLED_BACK, Verdict.TRANSACTION_ROLLED_BACK])
@pytest.mark.parametrize("unit", [Unit.WRITE, Unit.BULK_CHUNKS, Unit.TRANSACTION, Unit.BULK_ATOMIC])
def test_an_engine_without_transactions_undoes_nothing(verdict: Verdict, unit: Unit) -> None:
    """MyISAM keeps the rows written before the error: a retry would write them twice."""
    assert decide(verdict, unit, kept_part=True).now is UNKNOWN
    assert decide(verdict, Unit.READ, kept_part=True).now is AGAIN


@pytest.mark.parametrize("unit", [Unit.TRANSACTION, Unit.BULK_ATOMIC, Unit.CALLER_STATEMENT])
@pytest.mark.parametrize(
    "verdict", [Verdict.NOT_SENT, Verdict.REFUSED, Verdict.TRANSACTION_ROLLED_BACK, Verdict.UNKNOWN]
)
def test_after_an_implicit_commit_nothing_is_replayed_or_called_undone(verdict: Verdict, unit: Unit) -> None:
    """CREATE TABLE has committed the first half; "nothing is left" would be a lie, a replay its repetition."""
    assert decide(verdict, unit, committed_part=True).now is UNKNOWN


def test_a_callers_transaction_stays_open_after_a_lock_wait_whatever_it_has_committed() -> None:
    """Only the statement was undone; what follows is its owner's decision."""
    assert decide(Verdict.STATEMENT_ROLLED_BACK, Unit.CALLER_STATEMENT, committed_part=True).now is RAISE


@pytest.mark.parametrize(
    ("verdict", "unit", "expected"),
    [
        (Verdict.NOT_CONNECTED, Unit.WRITE, RAISE),
        (Verdict.NOT_SENT, Unit.WRITE, RAISE),
        (Verdict.REFUSED, Unit.WRITE, REFUSED),
        (Verdict.UNKNOWN, Unit.WRITE, UNKNOWN),
        (Verdict.TRANSACTION_ROLLED_BACK, Unit.WRITE, RAISE),
        (Verdict.TRANSACTION_ROLLED_BACK, Unit.TRANSACTION, UNDONE),
        (Verdict.STATEMENT_ROLLED_BACK, Unit.TRANSACTION, RAISE),
        (Verdict.UNKNOWN, Unit.TRANSACTION, LOST),
        (Verdict.NOT_SENT, Unit.BULK_ATOMIC, LOST),
        (Verdict.UNKNOWN, Unit.BULK_CHUNKS, UNKNOWN),
    ],
)
def test_the_last_word_says_what_is_true(verdict: Verdict, unit: Unit, expected: Action) -> None:
    """When the attempts are used up, the error must not promise more than is known."""
    assert decide(verdict, unit).finally_ is expected


@given(
    st.sampled_from(Verdict),
    st.booleans() | st.none(),
    st.booleans(),
    st.booleans(),
    st.booleans(),
)
def test_a_callers_transaction_is_never_retried(
    verdict: Verdict, idempotent: bool | None, kept: bool, implicit: bool, commit: bool
) -> None:
    """Only its owner knows what else belongs to it."""
    chosen = decide(
        verdict,
        Unit.CALLER_STATEMENT,
        idempotent=idempotent,
        kept_part=kept,
        committed_part=implicit,
        at_commit=commit,
    ).now
    assert chosen not in {AGAIN, RESUME}
    if verdict is Verdict.UNKNOWN and commit:
        assert chosen is UNKNOWN
