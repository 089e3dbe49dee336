"""What is retried, and until when: a policy, ours or the user's, can only make retries fewer."""

from __future__ import annotations

import inspect
import logging
import sys
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest
import tenacity
from pymysql.err import OperationalError

from improved_db.errors import ConfigError, OutcomeUnknown, PoolClosed, PoolError, PoolTimeout
from improved_db.execution.retry import SHORTEST_WAIT, Budget, Retrier, RetryPolicy, inside_retry
from improved_db.failures.raising import Failed
from improved_db.failures.verdict import Backoff, Verdict
from improved_db.settings.settings import DEFAULT_RETRY
from tests.fakes import Caller, FakeClock

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType


def failed(
    error: BaseException | None = None,
    *,
    again: bool = True,
    backoff: Backoff = Backoff.CONTENTION,
    verdict: Verdict = Verdict.TRANSACTION_ROLLED_BACK,
) -> Failed:
    """Return what an attempt says that failed."""
    error = error or OperationalError(1213, "Deadlock found")
    return Failed(
        error, again=again, verdict=verdict, backoff=backoff, reason="deadlock", statement="update t set n = 17"
    )


class Attempts:
    """What is tried: fails as it is told, then succeeds."""

    def __init__(self, *failures: BaseException, forever: Callable[[], BaseException] | None = None) -> None:
        self.made = 0
        self._failures = list(failures)
        self._forever = forever

    def __call__(self) -> str:
        """Make one."""
        self.made += 1
        if self._failures:
            raise self._failures.pop(0)
        if self._forever is not None:
            raise self._forever()
        return "done"


class Bench:
    """A retrier with a clock that passes only by waiting."""

    def __init__(self, source: object = DEFAULT_RETRY) -> None:
        self.clock = FakeClock()
        self.pauses: list[float] = []
        self.retrier = Retrier(source, self.clock, self._pause)

    def _pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.clock.advance(seconds)

    def retry(self, attempt: Callable[[], str], first: Failed | None = None, **more: Any) -> str:
        """Go on after a first failure."""
        return self.retrier.retry(first or failed(), attempt, **more)


#: Policies of users, each with something in it that would break a promise if it were taken at its word.
USERS = {
    "no stop and no wait": tenacity.Retrying(),
    "whatever happens": tenacity.Retrying(retry=tenacity.retry_always),
    "any exception at all": tenacity.Retrying(retry=tenacity.retry_if_not_exception_type(ZeroDivisionError)),
    "RetryError": tenacity.Retrying(reraise=False, stop=tenacity.stop_after_attempt(5)),
    "a value instead": tenacity.Retrying(stop=tenacity.stop_after_attempt(5), retry_error_callback=lambda _: None),
    "a decorated function": tenacity.retry(stop=tenacity.stop_after_attempt(5))(lambda: None),
    "ours": RetryPolicy(),
}


@pytest.fixture(params=list(USERS))
def bench(request: pytest.FixtureRequest) -> Bench:
    """One bench for each policy."""
    return Bench(USERS[request.param])


def test_what_is_safe_is_tried_until_it_succeeds(bench: Bench) -> None:
    """The point of it all."""
    attempts = Attempts(failed(), failed())
    assert bench.retry(attempts) == "done"
    assert (attempts.made, len(bench.pauses)) == (3, 3)


def test_what_is_unsafe_is_never_retried(bench: Bench) -> None:
    """Whatever a policy says: it does not know what was on the wire."""
    attempts = Attempts(failed(), failed(OperationalError(2013, "lost"), again=False))
    with pytest.raises(OperationalError, match="lost"):
        bench.retry(attempts)
    assert attempts.made == 2
    with pytest.raises(OperationalError):
        bench.retry(attempts, failed(again=False))
    assert attempts.made == 2


def test_the_deadline_ends_every_policy_with_the_error_of_the_last_attempt(bench: Bench) -> None:
    """Neither RetryError nor a value: a failed write that returned None would be a lost one."""
    numbers = count(1)
    attempts = Attempts(forever=lambda: failed(OperationalError(1213, f"deadlock {next(numbers)}")))
    with pytest.raises(OperationalError) as caught:
        bench.retry(attempts, deadline=0.9)
    assert caught.value.args == (1213, f"deadlock {attempts.made}")
    assert bench.clock.now() < 0.9


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(), ValueError("mine"), tenacity.TryAgain()])
def test_an_error_that_is_not_ours_to_judge_is_raised_at_once(error: BaseException, bench: Bench) -> None:
    """Ctrl-C means stop, and so does what a caller's function raises, even when it is tenacity's own exception."""
    attempts = Attempts(failed(), error)
    with pytest.raises(type(error)) as caught:
        bench.retry(attempts)
    assert (caught.value, attempts.made) == (error, 2)


def test_a_closed_pool_ends_the_pause_and_everything(bench: Bench) -> None:
    """The caller gets the error at once, and no attempt meets what is no longer there."""
    attempts = Attempts()

    def closed(_: float) -> None:
        raise PoolClosed("closed")

    retrier = Retrier(RetryPolicy(), bench.clock, closed)
    with pytest.raises(PoolClosed):
        retrier.retry(failed(), attempts)
    assert attempts.made == 0


def test_no_policy_is_a_hot_loop(bench: Bench) -> None:
    """By default tenacity waits for nothing between attempts, which is an attack on the server."""
    with pytest.raises(OperationalError):
        bench.retry(Attempts(forever=failed), deadline=0.5)
    assert min(bench.pauses) >= SHORTEST_WAIT


# --- ours ------------------------------------------------------------------------------------------------------------


def test_none_never_retries() -> None:
    """First attempt only."""
    attempts = Attempts()
    error = OperationalError(1213, "deadlock")
    with pytest.raises(OperationalError) as caught:
        Bench(None).retry(attempts, failed(error))
    assert (caught.value, attempts.made) == (error, 0)


@pytest.mark.parametrize("backoff", [Backoff.CONTENTION, Backoff.OVERLOAD, Backoff.CONNECTION])
def test_attempts_limit_all_retries_where_they_are_given(backoff: Backoff) -> None:
    """A statement that runs into the same limit of a proxy each time piles up on the server."""
    bench = Bench(RetryPolicy(attempts=4, within=10.0, overload=tenacity.wait_fixed(0.1)))
    attempts = Attempts(forever=lambda: failed(backoff=backoff))
    with pytest.raises(OperationalError):
        bench.retry(attempts, failed(backoff=backoff))
    assert attempts.made == 3


@pytest.mark.parametrize("backoff", [Backoff.CONTENTION, Backoff.CONNECTION])
def test_time_alone_limits_retries_where_no_attempts_are_given(backoff: Backoff) -> None:
    """A failover takes as long as it takes, and ten attempts at a deadlock run out on a busy machine."""
    bench = Bench(RetryPolicy(within=10.0))
    attempts = Attempts(forever=lambda: failed(backoff=backoff))
    with pytest.raises(OperationalError):
        bench.retry(attempts, failed(backoff=backoff))
    assert attempts.made > 10
    assert bench.clock.now() > 5.0


def test_the_time_of_a_policy_counts_from_the_start_of_the_call() -> None:
    """The first attempt may have taken most of it."""
    bench = Bench(RetryPolicy(within=4.0))
    bench.clock.advance(3.9)
    first = failed(backoff=Backoff.CONNECTION)
    first.started_at = 0.0
    with pytest.raises(OperationalError):
        bench.retry(Attempts(forever=lambda: failed(backoff=Backoff.CONNECTION)), first)
    assert bench.clock.now() <= 4.0


def test_one_attempt_is_a_policy() -> None:
    bench = Bench(RetryPolicy(attempts=1))
    with pytest.raises(OperationalError):
        bench.retry(Attempts(forever=failed))
    assert bench.pauses == []


def test_no_wait_of_a_policy_is_shorter_than_a_few_milliseconds() -> None:
    """Tenacity's own default is a hot loop."""
    bench = Bench(RetryPolicy(attempts=11, contention=tenacity.wait_none()))
    with pytest.raises(OperationalError):
        bench.retry(Attempts(forever=lambda: failed(backoff=Backoff.CONTENTION)), failed(backoff=Backoff.CONTENTION))
    assert bench.clock.now() == pytest.approx(10 * 0.005)


def test_each_kind_of_failure_has_its_wait() -> None:
    """Locks are gone in milliseconds, a failover takes seconds, a full server needs rest."""
    waits = {"contention": 0.01, "connection": 0.2, "overload": 3.0}
    bench = Bench(RetryPolicy(**{name: tenacity.wait_fixed(wait) for name, wait in waits.items()}))  # type: ignore[arg-type]
    backoffs = [Backoff.OVERLOAD, Backoff.CONNECTION, Backoff.CONTENTION, Backoff.OTHER]
    bench.retry(Attempts(*(failed(backoff=backoff) for backoff in backoffs[1:])), failed(backoff=backoffs[0]))
    assert bench.pauses == [3.0, 0.2, 0.01, 0.2]


@pytest.mark.parametrize("backoff", list(Backoff))
def test_the_defaults_keep_to_their_order_of_magnitude(backoff: Backoff) -> None:
    """And no two clients wait for the same time, or they would all come back at once."""
    longest = {Backoff.CONTENTION: 1.0, Backoff.CONNECTION: 2.0, Backoff.OVERLOAD: 20.0, Backoff.OTHER: 2.0}[backoff]
    pauses, firsts = [], []
    for _ in range(20):
        bench = Bench(RetryPolicy(within=1000.0))
        bench.retry(Attempts(*(failed(backoff=backoff) for _ in range(5))), failed(backoff=backoff))
        pauses += bench.pauses
        firsts.append(bench.pauses[0])
    assert max(pauses) <= longest
    assert len(set(pauses)) > 50
    if backoff is Backoff.CONTENTION:
        assert max(firsts) < 0.1  # the others hold the lock for milliseconds


def test_within_ends_what_has_no_deadline_and_a_deadline_wins() -> None:
    """Seconds from the beginning of the retries; a call that has a deadline has that."""
    bench = Bench(RetryPolicy(within=2.0, connection=tenacity.wait_fixed(0.5)))
    lost = failed(backoff=Backoff.CONNECTION)
    with pytest.raises(OperationalError):
        bench.retry(Attempts(forever=lambda: lost), lost)
    assert bench.clock.now() == 1.5
    with pytest.raises(OperationalError):
        bench.retry(Attempts(forever=lambda: lost), lost, deadline=1.5 + 4.0)
    assert bench.clock.now() == 1.5 + 3.5


def test_the_last_sleep_ends_before_the_deadline() -> None:
    """Sleeping up to the deadline and giving up then is worse than giving up now."""
    bench = Bench(RetryPolicy(contention=tenacity.wait_fixed(1.0)))
    attempts = Attempts()
    with pytest.raises(OperationalError):
        bench.retry(attempts, deadline=1.0)
    assert (attempts.made, bench.pauses) == (0, [])


def test_nothing_inside_a_retry_retries_by_itself() -> None:
    """Retries within retries multiply: ten times ten attempts, on a server that has trouble already."""
    bench = Bench()
    attempts = Attempts()
    with inside_retry(), pytest.raises(OperationalError):
        bench.retry(attempts)
    assert attempts.made == 0
    assert bench.retry(attempts) == "done"


def test_an_earlier_doubt_is_what_the_caller_gets() -> None:
    """The server may have applied it the first time, even if it did not the second time."""
    text = "lost; it may or may not have been applied"
    for last in (
        failed(OperationalError(2003, "connection refused"), again=False),
        PoolTimeout("line"),
        PoolClosed("closed"),
    ):
        bench = Bench()
        doubt = OutcomeUnknown(2013, text)
        with pytest.raises(OutcomeUnknown) as caught:
            bench.retry(Attempts(last), failed(doubt, verdict=Verdict.UNKNOWN))
        assert caught.value is doubt
        assert caught.value.attempts[0] == "unknown: deadlock at update t set n = ?"
        assert caught.value.__cause__ is (last.error if isinstance(last, Failed) else last)
    assert Bench().retry(Attempts(failed()), failed(OutcomeUnknown(2013, text), verdict=Verdict.UNKNOWN)) == "done"


# --- the user's ------------------------------------------------------------------------------------------------------


class WithItsOwnArguments(tenacity.Retrying):
    """A subclass that tenacity cannot copy."""

    def __init__(self, name: str) -> None:
        super().__init__(stop=tenacity.stop_after_attempt(3))
        self.name = name


class WellBehaved(tenacity.Retrying):
    """A subclass that tenacity can."""


async def coroutine() -> None:
    """Do nothing, later."""


@pytest.mark.parametrize(
    ("source", "says"),
    [
        (WithItsOwnArguments("mine"), "WithItsOwnArguments cannot be copied"),
        (tenacity.AsyncRetrying(), "AsyncRetrying cannot wait in a thread"),
        (tenacity.retry(coroutine), "AsyncRetrying cannot wait in a thread"),
        (tenacity.stop_after_attempt(3), "not stop_after_attempt"),
        (tenacity.retry, "not function"),
        (3, "not int"),
        (RetryPolicy, "not the class RetryPolicy"),
    ],
)
def test_what_is_no_policy_is_refused_when_it_is_given(source: object, says: str) -> None:
    """Not when the first deadlock happens, in the night."""
    with pytest.raises(ConfigError, match=says):
        Bench(source)


def test_a_policy_may_try_less() -> None:
    """By its stop, by its retry, or by being switched off."""
    for policy, expected in [
        (WellBehaved(stop=tenacity.stop_after_attempt(3)), 2),
        (tenacity.Retrying(retry=tenacity.retry_if_exception_type(KeyError)), 0),
        (tenacity.Retrying(retry=tenacity.retry_never), 0),
        (tenacity.Retrying(stop=tenacity.stop_after_attempt(1)), 0),
        *(
            [(tenacity.Retrying(enabled=False), 0)]
            if "enabled" in inspect.signature(tenacity.Retrying).parameters
            else []
        ),
    ]:
        attempts = Attempts(forever=failed)
        with pytest.raises(OperationalError):
            Bench(policy).retry(attempts)
        assert attempts.made == expected


def test_hooks_of_a_policy_see_every_attempt() -> None:
    """The first one too, although it was made before tenacity was entered."""
    seen: list[tuple[str, int]] = []
    policy = tenacity.Retrying(
        wait=tenacity.wait_fixed(0.25),
        before=lambda state: seen.append(("before", state.attempt_number)),
        after=lambda state: seen.append(("after", state.attempt_number)),
        before_sleep=lambda state: seen.append(("sleep", state.attempt_number)),
    )
    bench = Bench(policy)
    bench.retry(Attempts(failed()))
    assert seen == [
        *[("before", 1), ("after", 1), ("sleep", 1)],
        *[("before", 2), ("after", 2), ("sleep", 2)],
        ("before", 3),
    ]
    assert bench.pauses == [0.25, 0.25]


def test_a_hook_that_uses_the_same_policy_does_not_disturb_it() -> None:
    """Sharing tenacity's object, the inner call's end would be the outer one's: None, and no exception."""
    policy = tenacity.Retrying(stop=tenacity.stop_after_attempt(3), after=lambda _: inner())
    bench = Bench(policy)
    depth = count()

    def inner() -> None:
        if next(depth) == 0:
            assert bench.retry(Attempts(failed())) == "done"

    with pytest.raises(OperationalError, match="outer"):
        bench.retry(Attempts(forever=lambda: failed(OperationalError(1213, "outer"))))


def test_a_policys_own_sleep_is_used() -> None:
    """A program on an event loop of its own sleeps in its own way."""
    slept: list[float] = []
    bench = Bench(tenacity.Retrying(sleep=slept.append, wait=tenacity.wait_fixed(0.5)))
    bench.retry(Attempts())
    assert (slept, bench.pauses) == ([0.5], [])


# --- the budget ------------------------------------------------------------------------------------------------------


def test_a_spent_budget_raises_at_once(caplog: pytest.LogCaptureFixture) -> None:
    """When nothing succeeds, a thousand clients that all try ten times are the outage."""
    bench = Bench(RetryPolicy(budget=20))
    lost = failed(backoff=Backoff.CONNECTION)
    attempts = Attempts(forever=lambda: lost)
    with caplog.at_level(logging.WARNING, logger="improved_db.retry"), pytest.raises(OperationalError):
        bench.retry(attempts, lost)
    assert attempts.made == 4
    assert "budget is spent" in caplog.text
    with pytest.raises(OperationalError):
        bench.retry(attempts, lost)
    assert attempts.made == 4


def test_a_spent_budget_is_filled_again_by_work_that_needs_no_retry() -> None:
    """Those who succeed at once never come here; if they did not count, one outage would end retries for good."""
    bench = Bench(RetryPolicy(budget=10))
    lost = failed(backoff=Backoff.CONNECTION)
    with pytest.raises(OperationalError):
        bench.retry(Attempts(forever=lambda: lost), lost, lent=lambda: 0)
    with pytest.raises(OperationalError):
        bench.retry(Attempts(), lost, lent=lambda: 4)
    assert bench.retry(Attempts(), lost, lent=lambda: 5) == "done"
    assert bench.retrier.budget.left <= 10


def test_a_budget_is_never_more_than_full() -> None:
    """A quiet year does not pay for a storm."""
    budget = Budget(10)
    assert budget.spend(Backoff.OVERLOAD, 1_000_000)
    assert (budget.left, budget.spend(Backoff.CONTENTION, 1_000_000)) == (0, False)
    budget.refund(100)
    assert budget.left == 10


def test_work_is_counted_once_however_late_its_count_comes() -> None:
    """Threads read the pool's counter before they get here: one that comes late with an older number fills nothing."""
    budget = Budget(20)
    assert budget.spend(Backoff.OVERLOAD, 10)
    assert budget.spend(Backoff.OVERLOAD, 4)
    assert not budget.spend(Backoff.CONTENTION, 10)
    assert budget.left == 0


def test_a_retry_that_succeeds_is_returned_to_the_budget() -> None:
    """Deadlocks that are mended are no outage: a busy program would run out of retries otherwise."""
    bench = Bench(RetryPolicy(budget=10))
    lost = failed(backoff=Backoff.CONNECTION)
    for _ in range(5):
        assert bench.retry(Attempts(), lost) == "done"
    assert bench.retrier.budget.left == 10


# --- what is told ----------------------------------------------------------------------------------------------------


def test_each_retry_is_logged_once_and_counted_without_values(caplog: pytest.LogCaptureFixture) -> None:
    """A log is read by more people than may read the data."""
    bench = Bench(RetryPolicy(contention=tenacity.wait_fixed(0.25)))
    with caplog.at_level(logging.WARNING, logger="improved_db"):
        bench.retry(Attempts(failed(backoff=Backoff.CONNECTION, verdict=Verdict.NOT_SENT), failed()))
    first, second, third = [record.getMessage() for record in caplog.records]
    assert first == ("attempt 1 failed (transaction_rolled_back: deadlock at update t set n = ?); retrying in 0.250 s")
    assert second.startswith("attempt 2 failed (not_sent: ")
    assert third.startswith("attempt 3 failed (transaction_rolled_back: ")
    assert "17" not in caplog.text
    assert bench.retrier.counts == {"transaction_rolled_back": 2, "not_sent": 1}


def test_an_error_with_a_verdict_tells_its_story() -> None:
    """Who reads the report of an outage asks what was tried."""
    lost = failed(OutcomeUnknown(2013, "lost"), again=False, verdict=Verdict.UNKNOWN, backoff=Backoff.CONNECTION)
    with pytest.raises(OutcomeUnknown) as caught:
        Bench().retry(Attempts(failed(), lost))
    assert [line.split(":")[0] for line in caught.value.attempts] == [
        "transaction_rolled_back",
        "transaction_rolled_back",
        "unknown",
    ]


def test_budget_survives_a_call_from_the_middle_of_its_own_bookkeeping() -> None:
    """A finalizer whose query fails, while its thread pays for a retry: it is not retried, and all goes on."""
    budget = Budget(10)
    refused: list[bool] = []

    def visit(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_code.co_name == "spend":
            sys.setprofile(None)
            try:
                budget.spend(Backoff.CONTENTION, 0)
            except PoolError:
                refused.append(True)

    sys.setprofile(visit)
    try:
        assert budget.spend(Backoff.CONTENTION, 0)
    finally:
        sys.setprofile(None)
    assert (refused, budget.left) == ([True], 9)
    assert Caller(lambda: budget.spend(Backoff.CONTENTION, 0)).result()
