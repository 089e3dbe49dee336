"""What is known of the statements of one form: frozen snapshots for callers.

Knows names and numbers. Does not know how they were counted.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from improved_db.observe.histogram import quantile

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """All calls whose statement has one normal form.

    Attributes:
        id: 16 hexadecimal digits that name the form in its database: the same in every process, at any time.
        digest: The normal form: the statement without its values.
        summary: Its operations and their targets, as in ``"SELECT orders customers"``; or its name in a
            file of aiosql.
        verb: Its first word, as in ``"SELECT"``.
        calls: How often it was called, failures included; retries are part of a call.
        rows: Rows that it returned or changed, in sum.
        batched: Sets of arguments that `exec_many` sent with it, in sum.
        errors: Calls that failed.
        errors_by_verdict: The same, by the value of the `Verdict`.
        errors_by_code: The same, by the server's error number as text, or by the name of the error's class; at most
            eight, then ``"other"``.
        retries: Retries of this statement, or of a transaction that failed at it.
        retries_by_verdict: The same, by verdict.
        unknown: Calls that may or may not have been applied.
        slow: Calls that took as long as ``slow_query_threshold``, or longer.
        texts: About how many different texts it had, 100 at the most. Many texts have their values in them.
        run_seconds: How long its calls had a connection, in sum: server, network and the decoding of rows.
        wait_seconds: How long they waited for one, in sum.
        longest: The longest of its runs, in seconds.
        longest_at: When that was: seconds since 1970; 0.0 if it never ran.
        first_at: When it was first called: seconds since 1970.
        last_at: When it was last called, within a second.
        share: Which part of the run seconds of all statements is its, from 0 to 1.
        places: From where it was called, as ``file:line in function``: at most three, looked at about once a second.
        counts: How many runs were in each bucket of `improved_db.observe.histogram.BOUNDS`.
    """

    id: str
    digest: str
    summary: str
    verb: str
    calls: int
    rows: int
    batched: int
    errors: int
    errors_by_verdict: Mapping[str, int]
    errors_by_code: Mapping[str, int]
    retries: int
    retries_by_verdict: Mapping[str, int]
    unknown: int
    slow: int
    texts: int
    run_seconds: float
    wait_seconds: float
    longest: float
    longest_at: float
    first_at: float
    last_at: float
    share: float
    places: tuple[str, ...]
    counts: tuple[int, ...]

    @property
    def mean(self) -> float:
        """Seconds a call ran, on the average."""
        return self.run_seconds / self.calls if self.calls else 0.0

    @property
    def p50(self) -> float:
        """Seconds that half of the calls did not run longer than, within 6 %."""
        return quantile(self.counts, 0.5)

    @property
    def p99(self) -> float:
        """Seconds that 99 of 100 calls did not run longer than, within 6 %."""
        return quantile(self.counts, 0.99)

    @property
    def wait_share(self) -> float:
        """Which part of its time it waited for a connection, from 0 to 1."""
        total = self.wait_seconds + self.run_seconds
        return self.wait_seconds / total if total else 0.0

    def quantile(self, share: float) -> float:
        """Return the seconds that *share* (0 to 1) of the calls did not run longer than, within 6 %."""
        return quantile(self.counts, share)


class Statements(tuple[Statement, ...]):  # noqa: SLOT001  # a tuple with slots cannot hold more than its items
    """Statements in the order that was asked for, and what they are part of.

    Attributes:
        since: When the counting began: seconds since 1970.
        purged: How many forms were dropped to bound the memory; their calls are in rows such as ``(rest) SELECT``.
        unread: Whether, in this second, new texts come so fast that they are not read, but counted by their first word
            in rows of their own, ``(unread texts) SELECT``.
        run_seconds: How long all statements ran, in sum; also those beyond *limit*.
    """

    since: float = 0.0
    purged: int = 0
    unread: bool = False
    run_seconds: float = 0.0
