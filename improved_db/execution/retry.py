"""What is retried, until when, and after which waits: the only module that knows tenacity.

The first attempt runs before any of this, so a success costs nothing. An attempt that failed arrives here as `Failed`,
which already says whether a retry is safe: a policy, ours or the user's, can only make retries fewer.

Knows policies, waits, the budget and the deadline. Does not know pools, SQL or drivers.
"""

from __future__ import annotations

import contextlib
import contextvars
import dataclasses
import logging
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

import tenacity
from tenacity.nap import sleep as tenacity_sleep

from improved_db.critical import Reentered, Section, critical
from improved_db.errors import ConfigError, OutcomeUnknown, VerdictError
from improved_db.failures.raising import Failed
from improved_db.failures.verdict import Backoff
from improved_db.logs import warn
from improved_db.settings.settings import DEFAULT_RETRY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tenacity.wait import wait_base

    from improved_db.clock import Clock

T = TypeVar("T")
logger: logging.Logger = logging.getLogger("improved_db.retry")

#: The fewest seconds between two attempts, whatever a policy says: tenacity's own default does not wait at all.
SHORTEST_WAIT: Final = 0.005

#: Waits with full jitter: locks are released within milliseconds, a failover takes seconds, a full server needs rest.
CONTENTION: Final = tenacity.wait_random_exponential(multiplier=0.01, max=1.0)
CONNECTION: Final = tenacity.wait_random_exponential(multiplier=0.05, max=2.0)
OVERLOAD: Final = tenacity.wait_random_exponential(multiplier=1.0, max=20.0)

#: Set while a function of the user's runs inside a retry of ours: only the outermost call retries.
_inside: contextvars.ContextVar[bool] = contextvars.ContextVar("improved_db_inside_retry", default=False)


@contextlib.contextmanager
def inside_retry() -> Iterator[None]:
    """Run the block as part of a retry of ours: no call in it retries by itself."""
    token = _inside.set(True)
    try:
        yield
    finally:
        _inside.reset(token)


@dataclasses.dataclass(frozen=True, kw_only=True)
class RetryPolicy:
    """How often, and for how long, to retry what is safe to retry.

    Attributes:
        attempts: The most attempts of one call, whatever made them fail; None for as many as time and budget allow.
        within: Seconds from the start of a call after which it is not retried, if the call has no deadline. It holds
            for deadlocks and lock waits too, because on a busy machine no number of attempts is enough for certain.
        contention: The wait before a retry after a deadlock or a lock wait timeout.
        connection: The wait before a retry after a lost or refused connection.
        overload: The wait before a retry after the server said that it is too full.
        budget: How many points the retries of all threads may use. A retry costs 5 points, after an overload 10, after
            contention 1; each connection that the pool lends gives 1 point back. If too few points are left, errors
            are raised at once.
    """

    attempts: int | None = None
    within: float = 30.0
    contention: wait_base = CONTENTION
    connection: wait_base = CONNECTION
    overload: wait_base = OVERLOAD
    budget: int = 500

    def __post_init__(self) -> None:
        """Refuse what would never make an attempt.

        Raises:
            ConfigError: *attempts* is not an int of at least 1, or *within* is not a number of seconds.
        """
        attempts: object = self.attempts
        within: object = self.within
        if attempts is not None and (not isinstance(attempts, int) or isinstance(attempts, bool) or attempts < 1):
            raise ConfigError(f"attempts must be an int of at least 1, or None, not {attempts!r}")
        if isinstance(within, bool) or not isinstance(within, (int, float)) or not within >= 0:
            raise ConfigError(f"within must be seconds, at least 0, not {within!r}")

    def retrying(self) -> tenacity.Retrying:
        """Return this policy as an object of tenacity's."""
        waits = {
            Backoff.CONTENTION: self.contention,
            Backoff.CONNECTION: self.connection,
            Backoff.OVERLOAD: self.overload,
        }

        def wait(state: tenacity.RetryCallState) -> float:
            return waits.get(_failed(state).backoff, self.connection)(state)

        def stop(state: tenacity.RetryCallState) -> bool:
            return self.attempts is not None and state.attempt_number >= self.attempts

        return tenacity.Retrying(wait=wait, stop=stop)


class Budget:
    """A token bucket: retries take from it, and loans fill it; only failures touch it."""

    COSTS: Final = {Backoff.CONTENTION: 1, Backoff.CONNECTION: 5, Backoff.OVERLOAD: 10, Backoff.OTHER: 5}

    def __init__(self, capacity: int) -> None:
        self._capacity = self._left = capacity
        self._lent = 0
        self.section: Section = Section()

    @property
    def ratio(self) -> float:
        """Which part of it was left when it was last looked at, from 0 to 1."""
        return self._left / self._capacity if self._capacity > 0 else 0.0

    @property
    def left(self) -> int:
        """How much was left after the last retry that asked for it."""
        return self._left

    @critical
    def spend(self, backoff: Backoff, lent: int) -> bool:
        """Pay for one retry, when the pool has made *lent* loans so far; return False if too little is left."""
        self._left = min(self._capacity, self._left + max(lent - self._lent, 0))
        self._lent = max(lent, self._lent)
        if self._left < self.COSTS[backoff]:
            return False
        self._left -= self.COSTS[backoff]
        return True

    @critical
    def refund(self, amount: int) -> None:
        """Return what a retry that succeeded has cost."""
        self._left = min(self._capacity, self._left + amount)


class Retrier:
    """Retries, under one policy."""

    def __init__(self, source: object, clock: Clock, pause: Callable[[float], None]) -> None:
        """Bind a policy.

        Args:
            source: What the user gave as ``retry=``: a `RetryPolicy`, a `tenacity.Retrying`, a function decorated with
                `tenacity.retry`, None (no retries) or `DEFAULT_RETRY`.
            clock: Tells the time.
            pause: Sleeps between attempts; raises an error if the pool is closed meanwhile.

        Raises:
            ConfigError: *source* is something else.
        """
        ours = RetryPolicy() if source is DEFAULT_RETRY else source
        self._policy = _bindable(ours)
        self._within = ours.within if isinstance(ours, RetryPolicy) else RetryPolicy.within
        self.budget: Budget = Budget(ours.budget if isinstance(ours, RetryPolicy) else RetryPolicy.budget)
        self._clock = clock
        self._pause = pause
        self.counts: dict[str, int] = {}
        #: Hears of each attempt that follows a failed one: how that failed, its number, and the seconds between them.
        self.on_retry: Callable[[Failed, int, float], object] | None = None
        self.section: Section = Section()

    def retry(
        self,
        first: Failed,
        attempt: Callable[[], T],
        deadline: float | None = None,
        lent: Callable[[], int] = lambda: 0,
    ) -> T:
        """Retry after a failed first attempt, if that is safe, allowed and in time.

        Args:
            first: How the first attempt failed.
            attempt: Makes another attempt; raises `Failed` if that fails too.
            deadline: When the whole call has to be over; None for the time that the policy allows.
            lent: Returns how many loans the pool has made so far; they fill the budget.

        Raises:
            OutcomeUnknown: The server may have applied an earlier attempt, and none has succeeded since.
            BaseException: The error of the last attempt.
        """
        if first.at_once and first.again:
            try:
                return attempt()
            except Failed as failed:
                first = failed
        attempts = _Attempts(first, attempt)
        if self._policy is None or not first.again or _inside.get():
            raise attempts.last_error()
        started_at = self._clock.now() if first.started_at is None else first.started_at
        end = started_at + self._within if deadline is None else deadline
        policy, pause = self._policy, self._pause
        retrying = policy.copy(
            retry=tenacity.retry_all(_is_safe, policy.retry),
            wait=lambda state: max(policy.wait(state), SHORTEST_WAIT),
            # After TryAgain tenacity does not ask `retry`; here it is an error of the caller's like any other.
            stop=lambda state: not _is_safe(state) or policy.stop(state) or not self._may_go_on(state, end, lent),
            sleep=policy.sleep if policy.sleep is not tenacity_sleep else pause,
            before_sleep=lambda state: self._note(state, policy.before_sleep),
            reraise=True,
            retry_error_callback=None,
        )
        try:
            result = retrying(attempts)
        except Exception as error:
            if attempts.doubt is None or attempts.doubt is error:  # by identity: an error may define its own ==
                raise
            raise attempts.doubt from error
        with contextlib.suppress(Reentered):
            self.budget.refund(Budget.COSTS[attempts.failed.backoff])
        return result

    def _may_go_on(self, state: tenacity.RetryCallState, end: float, lent: Callable[[], int]) -> bool:
        if self._clock.now() + state.upcoming_sleep >= end:
            return False
        try:
            paid = self.budget.spend(_failed(state).backoff, lent())
        except Reentered:  # a finalizer called in the middle of this thread's own payment
            return False
        if paid:
            return True
        warn(logger, "the retry budget is spent: until statements succeed again, errors are raised without a retry")
        return False

    def _note(self, state: tenacity.RetryCallState, also: Callable[[Any], object] | None) -> None:
        failed = _failed(state)
        failed.pause = state.upcoming_sleep
        with contextlib.suppress(Reentered):
            self._count(failed.verdict.value)
        if self.on_retry is not None:
            self.on_retry(failed, state.attempt_number, state.upcoming_sleep)
        warn(
            logger,
            "attempt %d failed (%s); retrying in %.3f s",
            state.attempt_number,
            failed.story(),
            state.upcoming_sleep,
        )
        if also is not None:
            also(state)

    @critical
    def _count(self, verdict: str) -> None:
        self.counts[verdict] = self.counts.get(verdict, 0) + 1


class _Attempts(Generic[T]):
    """The function that tenacity calls. Its first call only raises the failure that we already have.

    Attributes:
        failed: The last failure.
        doubt: The last failure whose statement the server may have applied all the same.
    """

    __name__ = "statement"
    doubt: OutcomeUnknown | None = None

    def __init__(self, first: Failed, attempt: Callable[[], T]) -> None:
        self.failed = first
        self._attempt = attempt
        self._told = False
        self._story = [first.story()]

    def __call__(self) -> T:
        if not self._told:
            self._told = True
            raise self.last_error()
        try:
            return self._attempt()
        except Failed as failed:
            if failed.again and failed.repeats(self.failed):
                failed.again = False
                warn(
                    logger,
                    "the connection was lost twice after %.1f s, so the statement is not retried: a limit on the way "
                    "(an idle limit, a read_timeout) seems to end it, and each copy may run on; %s",
                    failed.lasted,
                    failed.story(),
                )
            self.failed = failed
            self._story.append(failed.story())
            raise self.last_error() from failed.error.__cause__

    def last_error(self) -> BaseException:
        error = self.failed.error
        if isinstance(error, OutcomeUnknown):
            self.doubt = error
        for told in (error, self.doubt):
            if isinstance(told, VerdictError):
                told.attempts = tuple(self._story)
        return error


def _failed(state: tenacity.RetryCallState) -> Failed:
    assert isinstance(state.fn, _Attempts)
    return state.fn.failed


def _is_safe(state: tenacity.RetryCallState) -> bool:
    failed = _failed(state)
    return failed.again and state.outcome is not None and state.outcome.exception() is failed.error


def _bindable(source: object) -> tenacity.Retrying | None:
    """Return the policy as an object of tenacity's that can be copied.

    Raises:
        ConfigError: It is no policy, or `copy` does not work on it.
    """
    if isinstance(source, RetryPolicy):
        return source.retrying()
    candidate = getattr(source, "retry", None) if callable(source) and hasattr(source, "retry_with") else source
    if candidate is None:
        return None
    if not isinstance(candidate, tenacity.Retrying):
        given = f"the class {source.__name__}" if isinstance(source, type) else type(source).__name__
        raise ConfigError(
            f"retry must be a RetryPolicy, a tenacity.Retrying or None, not {given}"
            + ("; AsyncRetrying cannot wait in a thread" if isinstance(candidate, tenacity.AsyncRetrying) else "")
        )
    try:
        candidate.copy(reraise=True)
    except TypeError as error:
        raise ConfigError(
            f"retry: {type(candidate).__name__} cannot be copied ({error}); its __init__ must take tenacity's arguments"
        ) from error
    return candidate
