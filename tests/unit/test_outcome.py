"""From a verdict to the error the caller gets."""

from __future__ import annotations

import pytest
from pymysql.err import IntegrityError, OperationalError

from improved_db import OutcomeUnknown, ServerRefused, TransactionLost, TransactionRolledBack, VerdictError
from improved_db.failures.decide import Action
from improved_db.failures.raising import CallersOwn, Failed, callers_rows, error_for
from improved_db.failures.verdict import Phase, judge_exception

RAISES = [action for action in Action if action.name.startswith("RAISE")]


@pytest.mark.parametrize(
    ("what", "kind", "says"),
    [
        (Action.RAISE_UNKNOWN, OutcomeUnknown, "may or may not have been applied"),
        (Action.RAISE_REFUSED, ServerRefused, "nothing was applied"),
        (Action.RAISE_LOST, TransactionLost, "nothing of the transaction is left"),
        (Action.RAISE_ROLLED_BACK, TransactionRolledBack, "rolled the whole transaction back"),
    ],
)
def test_ours_say_what_is_known_and_keep_what_the_driver_said(
    what: Action, kind: type[VerdictError], says: str
) -> None:
    """Code written for PyMySQL looks at the number, and a person at the text."""
    theirs = OperationalError(2013, "Lost connection")
    theirs.sqlstate = "HY000"
    ours = error_for(what, theirs)
    assert isinstance(ours, kind)
    assert isinstance(ours, OperationalError)
    assert (ours.args[0], ours.sqlstate, ours.__cause__) == (2013, "HY000", theirs)
    assert "Lost connection" in str(ours)
    assert says in str(ours)


def test_every_action_that_raises_has_an_error() -> None:
    """One that had none would raise the driver's error, and say less than is known."""
    error = OperationalError(2013, "lost")
    assert [action for action in RAISES if error_for(action, error) is error] == [Action.RAISE]


@pytest.mark.parametrize("error", [OSError("cut"), OperationalError(), OperationalError("no number"), ValueError(7)])
def test_an_error_without_a_number_is_no_obstacle(error: Exception) -> None:
    """PyMySQL puts a text where the number belongs when packets are out of step."""
    ours = error_for(Action.RAISE_UNKNOWN, error)
    assert isinstance(ours, OutcomeUnknown)
    assert ours.__cause__ is error


def test_a_failure_tells_what_without_the_values() -> None:
    """This line goes to the log."""
    error = IntegrityError(1062, "Duplicate entry 'ada@example.org' for key 'email'")
    judgement = judge_exception(error, phase=Phase.AWAIT)
    failed = Failed.judged(error, judgement, again=False, statement="insert into people values ('ada@example.org', 36)")
    assert failed.story() == "permanent: server error at insert into people values (...)"
    assert Failed.judged(error, judgement, again=False).story() == "permanent: server error"
    assert failed.error is error


@pytest.mark.parametrize("error", [OperationalError(2013, "theirs"), KeyboardInterrupt(), StopIteration()])
def test_what_the_callers_rows_raise_is_marked_as_theirs(error: BaseException) -> None:
    """An iterator may read from another database: its lost connection is not ours."""

    class Rows:
        def __init__(self) -> None:
            self.left = [1, 2]

        def __iter__(self) -> Rows:
            return self

        def __next__(self) -> int:
            if not self.left:
                raise error
            return self.left.pop()

    got: list[int] = []
    rows = callers_rows(Rows())
    if isinstance(error, StopIteration):
        assert list(rows) == [2, 1]
        return
    with pytest.raises(CallersOwn) as caught:
        got.extend(rows)
    assert caught.value.error is error
