"""Which of several servers gets the next read: of two at random the less busy one; what fails often rests.

Pure: the caller tells the time and rolls the dice. Of two that are equally busy, the one with the smaller `Share.dealt`
is chosen. That number grows by ``1 / weight`` with each choice, so that reads one after the other are spread exactly by
weight, where the number of reads under way says nothing.

There are no averages of query times: they differ by what is asked, not by the server that answers.

Knows loads, weights, zones and failures of connections. Does not know pools, roles or what a read is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

#: Failures in a row, each of a connection, after which a server is ejected.
PATIENCE: Final = 3

#: Seconds of the first and the longest ejection; each is twice the one before.
FIRST_REST: Final = 1.0
LONGEST_REST: Final = 30.0

#: Seconds without an ejection after which the next one is a first one again.
FORGIVEN_AFTER: Final = 60.0

#: Seconds that a server which said "too many connections" gets no read.
OVERLOADED: Final = 1.0

#: Seconds after a failure in which the other servers are preferred.
WARY: Final = 1.0

#: Two servers are about equally busy if their loads differ by no more than this part of their sum. A borrower that
#: comes straight back finds its server a little less busy each time: without this, a crowd would stay where it is.
TOLERANCE: Final = 0.5

#: Reads that a server catches up on, at most, after it was busier than the others.
CATCH_UP: Final = 1000

#: Seconds in which the share of a server that comes, or comes back, grows to its weight, and where it begins.
RAMP: Final = 10.0
RAMP_START: Final = 0.1


class Share:
    """What one client knows of one server's part in the reads.

    Threads change it without a lock: a count that is lost in a race moves one read.

    Attributes:
        weight: Its share, against that of the others.
        zone: Where it is.
        dealt: Grows by ``1 / weight`` with each read.
        failures: Of connections, in a row.
        ejected_until: When its ejection ends.
        overloaded_until: When it may be asked again after it said "too many connections".
        was_out: Whether it got no reads for a while, so that its `dealt` is too small.
    """

    # fmt: off
    __slots__ = ("_came_at", "_failed_at", "_rest", "_rested_at", "dealt", "ejected_until", "failures",
                 "overloaded_until", "was_out", "weight", "zone")
    # fmt: on

    def __init__(self, weight: float = 1.0, zone: str | None = None) -> None:
        self.weight: float = weight
        self.zone: str | None = zone
        self.dealt: float = 0.0
        self.failures: int = 0
        self.ejected_until: float = float("-inf")
        self.overloaded_until: float = float("-inf")
        self.was_out: bool = False
        self._failed_at = float("-inf")
        self._came_at = float("-inf")
        self._rest = FIRST_REST
        self._rested_at = float("-inf")

    def weight_at(self, now: float) -> float:
        """Return its weight, less while it has only just come."""
        age = now - max(self._came_at, self.ejected_until)
        return self.weight if age >= RAMP else self.weight * (RAMP_START + (1 - RAMP_START) * max(age, 0.0) / RAMP)

    def came(self, now: float) -> None:
        """Note that it has become eligible: it begins with a small part, and catches up on nothing."""
        self._came_at = now
        self.was_out = True

    def served(self, now: float) -> None:
        """Note that it got a read."""
        self.dealt += 1.0 / self.weight_at(now)

    def succeeded(self) -> None:
        """Note that a connection to it works."""
        self.failures = 0

    def failed(self, now: float, jitter: float) -> float | None:
        """Note that a connection to it failed: it could not be opened, or it was lost.

        Args:
            now: The time.
            jitter: A random number from 0 to 1, so that many clients do not come back together.

        Returns:
            For how many seconds it is ejected now; None if it is not.
        """
        self.failures += 1
        self._failed_at = now
        if self.failures < PATIENCE or now < self.ejected_until:
            return None
        if now - self._rested_at > FORGIVEN_AFTER:
            self._rest = FIRST_REST
        seconds = self._rest * (0.75 + 0.5 * jitter)
        self._rest = min(self._rest * 2, LONGEST_REST)
        self.ejected_until = self._rested_at = now + min(seconds, LONGEST_REST)
        self.failures = 0
        self.was_out = True
        return self.ejected_until - now

    def overloaded(self, now: float) -> None:
        """Note that it said "too many connections"."""
        self.overloaded_until = now + OVERLOADED

    def answered(self, now: float) -> None:
        """Note a good answer over a new connection: an ejection ends early."""
        self.ejected_until = min(self.ejected_until, now)
        self.failures = 0

    def is_ejected(self, now: float) -> bool:
        """Say whether it gets no reads for now."""
        return now < self.ejected_until

    def is_wary(self, now: float) -> bool:
        """Say whether a connection to it has just failed."""
        return self.failures > 0 and now - self._failed_at < WARY


H = TypeVar("H")


def choose(
    eligible: Sequence[H],
    share: Callable[[H], Share],
    load: Callable[[H], float],
    now: float,
    random: Callable[[], float],
    zone: str | None = None,
    *,
    last_resort: bool = True,
) -> H | None:
    """Return the server for the next read, and note that it gets it.

    Args:
        eligible: Those that role and lag allow.
        share: What is known of each.
        load: How many reads it has under way, with those that wait.
        now: The time.
        random: Returns random numbers from 0 to 1.
        zone: Servers of this zone are preferred, if there are any.
        last_resort: Whether an ejected server is better than none: no other one can answer.

    Returns:
        One of *eligible*; None if there is none.
    """
    fit = in_zone(fit_of(eligible, share, now, last_resort=last_resort), share, zone)
    if not fit:
        return None
    if len(fit) == 1:
        chosen = fit[0]
    else:
        _forget_debts([share(one) for one in fit], now)
        chosen = _better(two_of(fit, share, now, random), share, load, now)
    share(chosen).served(now)
    return chosen


def _forget_debts(shares: Sequence[Share], now: float) -> None:
    """Let a server that was out catch up on nothing, and one that was busy for long not on everything."""
    step = max(1.0 / share.weight_at(now) for share in shares)
    most = max(share.dealt for share in shares)
    for share in shares:
        share.dealt = max(share.dealt, most if share.was_out else most - step * CATCH_UP)
        share.was_out = False


def fit_of(eligible: Sequence[H], share: Callable[[H], Share], now: float, *, last_resort: bool = True) -> Sequence[H]:
    """Return the servers that are not ejected; if all of them are, and *last_resort*, all.

    Of these, the ones that said "too many connections" or failed just now come last.
    """
    kept = [one for one in eligible if not share(one).is_ejected(now)] or (list(eligible) if last_resort else [])
    calm = [one for one in kept if now >= share(one).overloaded_until] or kept
    return [one for one in calm if not share(one).is_wary(now)] or calm


def in_zone(fit: Sequence[H], share: Callable[[H], Share], zone: str | None) -> Sequence[H]:
    """Return the servers of a zone; all of them, if it has none."""
    return fit if zone is None else [one for one in fit if share(one).zone == zone] or fit


def two_of(fit: Sequence[H], share: Callable[[H], Share], now: float, random: Callable[[], float]) -> tuple[H, H]:
    """Return two different servers of two or more, at random by their weights."""
    if len(fit) == 2:
        return fit[0], fit[1]
    weights = [share(one).weight_at(now) for one in fit]
    first = _pick(weights, random())
    weights[first] = 0.0
    return fit[first], fit[_pick(weights, random())]


def _pick(weights: Sequence[float], dice: float) -> int:
    left = dice * sum(weights)
    for index, weight in enumerate(weights):
        left -= weight
        if left < 0 and weight:
            return index
    return max(range(len(weights)), key=weights.__getitem__)


def _better(two: tuple[H, H], share: Callable[[H], Share], load: Callable[[H], float], now: float) -> H:
    """Return the less busy one; of two that are about equally busy, the one that was dealt less."""
    first, second = two
    weights = share(first).weight_at(now), share(second).weight_at(now)
    loads = load(first) / weights[0], load(second) / weights[1]
    if abs(loads[0] - loads[1]) > TOLERANCE * (loads[0] + loads[1]):
        return first if loads[0] < loads[1] else second
    return first if share(first).dealt <= share(second).dealt else second
