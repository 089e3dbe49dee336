"""Which server gets the next read: even at any load, by weight, without those that fail."""

from __future__ import annotations

import random
from collections import Counter
from typing import TYPE_CHECKING

from improved_db.cluster.balance import OVERLOADED, RAMP, Share, choose

if TYPE_CHECKING:
    from collections.abc import Callable


class Servers:
    """Some servers of a test: their shares, their reads under way, a clock and dice that repeat."""

    def __init__(self, *shares: Share, zone: str | None = None) -> None:
        self.shares = shares
        self.under_way: Counter[int] = Counter()
        self.now = 100.0
        self.zone = zone
        self.dice: Callable[[], float] = random.Random(7).random

    def choose(self) -> int:
        """Return the number of the server that gets the next read."""
        chosen = choose(
            range(len(self.shares)), self.shares.__getitem__, self.under_way.__getitem__, self.now, self.dice, self.zone
        )
        assert chosen is not None
        return chosen

    def spread(self, reads: int) -> list[float]:
        """Return the part of each server in so many reads, one after the other."""
        counts = Counter(self.choose() for _ in range(reads))
        return [counts[number] / reads for number in range(len(self.shares))]

    def crowd(self, reads: int, threads: int, lasts: Callable[[int], int]) -> list[float]:
        """Return the same for reads of *threads* at a time; *lasts* says for how many others one of a server lasts."""
        counts: Counter[int] = Counter()
        ends: list[tuple[int, int]] = []
        for turn in range(reads):
            while len(ends) >= threads or (ends and min(ends)[0] <= turn):
                done = min(ends)
                ends.remove(done)
                self.under_way[done[1]] -= 1
            number = self.choose()
            counts[number] += 1
            self.under_way[number] += 1
            ends.append((turn + lasts(number), number))
        return [counts[number] / reads for number in range(len(self.shares))]


def near(found: list[float], expected: list[float]) -> bool:
    """Say whether shares are within five in a hundred of what they have to be."""
    return all(abs(one - other) <= 0.05 * other for one, other in zip(found, expected, strict=True))


def test_reads_one_after_the_other_are_spread_evenly() -> None:
    """A script that reads in a loop uses each replica alike, though no two of its reads are under way at once."""
    assert Servers(Share(), Share()).spread(1000) == [0.5, 0.5]
    assert near(Servers(Share(), Share(), Share()).spread(3000), [1 / 3] * 3)
    assert near(Servers(*(Share() for _ in range(7))).spread(7000), [1 / 7] * 7)


def test_reads_of_a_crowd_are_spread_evenly() -> None:
    """Sixteen threads over two or three replicas that are equally fast."""
    assert near(Servers(Share(), Share()).crowd(10_000, 16, lambda _: 16), [0.5, 0.5])
    assert near(Servers(Share(), Share(), Share()).crowd(10_000, 16, lambda _: 16), [1 / 3] * 3)


def test_weights_decide_the_shares_at_any_load() -> None:
    """A machine that is three times as large gets three times the reads, also if there is only one at a time."""
    assert near(Servers(Share(1), Share(3)).spread(1000), [0.25, 0.75])
    assert near(Servers(Share(1), Share(1), Share(2)).spread(4000), [0.25, 0.25, 0.5])
    assert near(Servers(*(Share() for _ in range(5)), Share(5)).spread(10_000), [0.1] * 5 + [0.5])
    assert near(Servers(Share(1), Share(3)).crowd(10_000, 16, lambda _: 16), [0.25, 0.75])


def test_slow_server_loses_its_share() -> None:
    """What waits for a slow server is what counts, not an average of the past."""
    slow, fast = Servers(Share(), Share()).crowd(10_000, 16, lambda number: 160 if number == 0 else 8)
    assert slow < 0.3
    assert fast > 0.7


def test_own_zone_is_preferred_while_it_has_a_server_that_works() -> None:
    """Reads stay in the data centre; if it has none, another one answers."""
    near_one, far = Share(zone="a"), Share(zone="b")
    assert Servers(near_one, far, zone="a").spread(100) == [1.0, 0.0]
    assert Servers(Share(zone="a"), Share(zone="b"), zone="c").spread(100) == [0.5, 0.5]
    servers = Servers(near_one, far, Share(zone="b"), zone="a")
    for _ in range(3):
        near_one.failed(servers.now, 0.5)
    assert servers.spread(100)[0] == 0.0


def test_third_failure_in_a_row_ejects_for_longer_each_time() -> None:
    """One lost connection is chance; a server that refuses each one gets rest, twice as long each time, to 30 s."""
    one = Share()
    now, rests = 100.0, []
    for _ in range(7):
        assert one.failed(now, 0.5) is None
        one.succeeded()
        assert [one.failed(now, 0.5) for _ in range(2)] == [None, None]
        rest = one.failed(now, 0.5)
        assert rest is not None
        assert one.is_ejected(now)
        rests.append(rest)
        now = one.ejected_until
        assert not one.is_ejected(now)
    assert rests == [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]
    for _ in range(2):
        one.failed(now + 100, 0.5)
    assert one.failed(now + 100, 0.5) == 1.0


def test_ejected_server_gets_no_reads_and_a_good_answer_ends_that() -> None:
    """It comes back with a small part of its share, which grows."""
    servers = Servers(Share(), Share())
    one = servers.shares[0]
    for _ in range(3):
        one.failed(servers.now, 0.5)
    assert servers.spread(50) == [0.0, 1.0]
    one.answered(servers.now)
    assert 0.05 <= servers.spread(200)[0] <= 0.12
    servers.now += RAMP / 2
    assert 0.30 <= servers.spread(200)[0] <= 0.38
    servers.now += RAMP / 2
    assert near(servers.spread(200), [0.5, 0.5])


def test_new_server_begins_with_a_tenth_and_catches_up_on_nothing() -> None:
    """A replica that joins has cold caches: no burst, though the others have answered thousands of reads."""
    servers = Servers(Share(), Share())
    servers.spread(5000)
    late = Share()
    late.came(servers.now)
    servers.shares = (*servers.shares, late)
    assert servers.spread(300)[2] <= 0.06
    servers.now += RAMP
    assert near(servers.spread(3000), [1 / 3] * 3)


def test_if_all_are_ejected_they_are_used_where_nothing_else_can_answer() -> None:
    """No reads at all would be worse; but if the primary can answer, no read waits for a dead server."""
    servers = Servers(Share(), Share())
    for share in servers.shares:
        for _ in range(3):
            share.failed(servers.now, 0.5)
    servers.now += 0.5
    assert sum(part > 0 for part in servers.spread(300)) == 2
    shares = servers.shares.__getitem__
    assert choose(range(2), shares, lambda _: 0, servers.now, servers.dice, last_resort=False) is None
    assert choose(range(2), shares, lambda _: 0, servers.now + 1, servers.dice, last_resort=False) is not None
    only = Servers(Share())
    for _ in range(3):
        only.shares[0].failed(only.now, 0.5)
    assert only.choose() == 0


def test_retry_goes_to_another_server() -> None:
    """The one that has just failed comes last, though it is not ejected yet, and has its share again soon."""
    servers = Servers(Share(), Share())
    servers.shares[0].failed(servers.now, 0.5)
    assert servers.spread(10) == [0.0, 1.0]
    servers.now += 1.0
    assert servers.spread(10)[0] > 0


def test_server_with_too_many_connections_rests_for_a_second() -> None:
    """It is not ejected, so that two such servers are no panic, and the last one is asked all the same."""
    servers = Servers(Share(), Share())
    servers.shares[0].overloaded(servers.now)
    assert servers.spread(10) == [0.0, 1.0]
    servers.shares[1].overloaded(servers.now)
    assert servers.spread(10)[0] > 0
    servers.now += OVERLOADED
    assert servers.spread(10)[0] > 0


def test_no_server_is_no_choice() -> None:
    """The caller decides what that means."""
    assert choose([], lambda _: Share(), lambda _: 0, 0.0, random.random) is None
