"""What a failover has lost: which acknowledged writes the new primary does not have.

The server tells the GTID of each commit with its OK. The last ones are kept; after another server was accepted as
primary, and has applied all that it had received, those that its history lacks are lost. An answer that comes from the
old primary when the new one is already accepted is looked up in the same way, before the caller gets it.

Knows GTIDs of commits and the roles. Does not know connections, pools or statements.
"""

from __future__ import annotations

import logging
from collections import deque
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

from improved_db.cluster.gtid import transactions
from improved_db.cluster.views import HostState
from improved_db.errors import PoolTimeout
from improved_db.failures.verdict import Backoff, Fate, Judgement, Verdict
from improved_db.pool.openers import start_thread
from improved_db.wire.exchange import DriverError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from improved_db.clock import Clock
    from improved_db.cluster.gtid import GtidSet
    from improved_db.cluster.routes import Roles
    from improved_db.cluster.views import HostFacts, Topology

logger: logging.Logger = logging.getLogger("improved_db.cluster")

#: How many commits are kept to be looked for.
KEPT: Final = 1024

#: Seconds in which a new primary has to have applied what it had received, and to say what it has.
SETTLING: Final = 10.0
#: Seconds in which it has to say whether it has one write whose answer came late.
LOOKING_UP: Final = 0.5

#: Seconds in which nothing of other servers has come, where a server may not say whether it has applied everything.
STILL: Final = 2.0

#: How many lost writes stand in a log line.
NAMED: Final = 20


@dataclass(frozen=True)
class FailoverReport:
    """What is known of one failover.

    Attributes:
        old: The address of the primary before.
        new: The address of the primary now.
        term: How many primaries there have been, with this one.
        why: The evidence by which it was accepted.
        lost: The GTIDs of writes that were acknowledged to this program, and that the new primary does not have. Of
            the last 1,024 ones at the most.
        checked: Whether they could be looked for; without GTIDs nothing is known of them.
        seconds: How long there was no primary.
    """

    old: str
    new: str
    term: int
    why: str
    lost: tuple[str, ...]
    checked: bool
    seconds: float


class LateAnswer(DriverError):
    """A write was acknowledged by a server that was not the primary any more, and the present one does not have it."""

    judgement: Final = Judgement(
        Verdict.UNKNOWN, Fate.DISCARD, Backoff.CONNECTION, "acknowledged by a server that is not the primary any more"
    )


class Failovers:
    """Counts failovers, and finds what they have lost.

    Attributes:
        count: How many failovers there were.
        lost: How many acknowledged writes were lost.
        on_settled: Called with what a new primary has, when it has applied all that it had received.
    """

    def __init__(self, roles: Roles, clock: Clock, on_failover: Callable[[FailoverReport], object] | None) -> None:
        """Hear of every new primary of *roles*; *on_failover* gets a report of each failover."""
        self.count: int = 0
        self.lost: int = 0
        self.on_settled: list[Callable[[GtidSet], object]] = []
        self._roles = roles
        self._now = clock.now
        self._on_failover = on_failover
        self._acked: deque[str] = deque(maxlen=KEPT)
        roles.on_change.append(self._changed)

    def acked(self, address: str, gtids: str) -> None:
        """Note a commit that a server has acknowledged; its answer is on its way to the caller.

        Args:
            address: Which server.
            gtids: What it has told.

        Raises:
            LateAnswer: Another server is the primary now, and does not have it.
        """
        accepted = self._roles.topology.accepted
        if accepted is None or accepted.address == address or not gtids:
            self._acked.append(gtids)
        elif not self._is_on(accepted.address, gtids):
            raise LateAnswer(0, f"{address} acknowledged {gtids}, but {accepted.address} is the primary, and lacks it")

    def _is_on(self, primary: str, gtids: str) -> bool:
        facts = self._news_of(primary, self._now(), self._now() + LOOKING_UP)
        return facts is not None and facts.history is not None and not missing([gtids], facts.history)

    def settle(self, deadline: float) -> None:
        """Wait until the primary has applied what it had received from the one before it.

        Until then a commit that it does not have may still appear.

        Raises:
            PoolTimeout: It has not by *deadline*.
        """
        topology = self._roles.topology
        if topology.term <= 1 or topology.primary is None:
            return
        if self._news_of(topology.primary, self._now(), deadline) is None:
            raise PoolTimeout(f"{topology.primary} has not yet applied what it received before it became the primary")

    def _news_of(self, address: str, since: float, deadline: float) -> HostFacts | None:
        """Return the first answer to a question asked after *since*, with all applied that was received."""
        still = _Still()

        def news() -> HostFacts | None:
            view = self._roles.topology.hosts.get(address)
            facts = None if view is None or view.state is not HostState.UP else view.facts
            return facts if facts is not None and facts.round >= since and still.is_settled(facts) else None

        self._roles.ask_now(address, None)
        self._roles.wait_for(lambda: news() is not None, deadline)
        return news()

    def _changed(self, before: Topology, after: Topology) -> None:
        if before.primary is None or after.primary is None:
            return
        self.count += 1
        look = partial(self._look, before, after, tuple(self._acked))
        try:
            start_thread(look)
        except RuntimeError:
            logger.exception("what the failover to %s has lost is not known: the system has no thread", after.primary)

    def _look(self, before: Topology, after: Topology, acked: tuple[str, ...]) -> None:
        """Find what is lost, and report it; a failover that comes meanwhile has its own report."""
        assert before.primary is not None
        assert after.primary is not None
        accepted_at = self._now()
        facts = self._news_of(after.primary, accepted_at, accepted_at + SETTLING)
        history = None if facts is None else facts.history
        lost = () if history is None else missing(acked, history)
        if history is not None:
            for hears in self.on_settled:
                hears(history)
        for gtids in lost:  # each is reported once; the others may be lost in a later failover
            self._acked.remove(gtids)
        report = FailoverReport(
            old=before.primary,
            new=after.primary,
            term=after.term,
            why=after.why,
            lost=lost,
            checked=history is not None and bool(acked),
            seconds=max(accepted_at - _last_seen(before), 0.0),
        )
        self.lost += len(lost)
        self._tell(report)

    def _tell(self, report: FailoverReport) -> None:
        if report.lost:
            more = f" and {len(report.lost) - NAMED} more" if len(report.lost) > NAMED else ""
            text = "term %d: %s lacks %d writes that %s had acknowledged: %s%s"
            named = ", ".join(report.lost[:NAMED])
            logger.error(text, report.term, report.new, len(report.lost), report.old, named, more)
        if self._on_failover is not None:
            try:
                self._on_failover(report)
            except Exception:
                logger.exception("on_failover failed")


class _Still:
    """Says whether a server has applied what it had received: by its own word, or because nothing comes any more."""

    def __init__(self) -> None:
        self._others: GtidSet | None = None
        self._since = 0.0

    def is_settled(self, facts: HostFacts) -> bool:
        """Look at one answer after the other."""
        if facts.drained is not None:
            return facts.drained
        if facts.kind != "replication" or facts.replicating is False or facts.history is None:
            return True
        others = facts.history.minus(facts.history.written_by(facts.server_id or ""))
        if others != self._others:
            self._others, self._since = others, facts.at
        return facts.at - self._since >= STILL


def missing(gtids: Iterable[str], history: GtidSet) -> tuple[str, ...]:
    """Return which of the commits a history lacks, in their order."""
    lost: list[str] = []
    for text in gtids:
        try:
            one = transactions(text, history.dialect)
        except ValueError:  # of another kind of server, or of none
            continue
        if not history.contains(one):
            lost.append(text)
    return tuple(lost)


def _last_seen(before: Topology) -> float:
    view = before.hosts.get(before.primary or "")
    return view.facts.at if view is not None and view.facts is not None else 0.0
