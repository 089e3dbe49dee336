"""The monitor's own thread: it asks all servers at once, waits for all of them together, and decides.

One server that is frozen delays no other: questions are sent without waiting for answers, connects run in short-lived
threads, and each answer is read when it comes, also one that comes late. A thread that is itself late (its process was
stopped, or another thread held the interpreter) throws the silences of that round away: they may be its own.

Knows probes, `decide` and the time. Does not know pools or borrowers: who wants to know is told, and is held weakly.
"""

from __future__ import annotations

import logging
import selectors
import socket
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol

from improved_db.cluster.changes import changes
from improved_db.cluster.counts import Spells
from improved_db.cluster.lag import Lags
from improved_db.cluster.probe import absence
from improved_db.cluster.symptoms import hint_of
from improved_db.cluster.topology import ClusterState, absent, decide
from improved_db.pool.openers import start_thread

if TYPE_CHECKING:
    from improved_db.clock import Clock
    from improved_db.cluster.newcomers import Newcomers
    from improved_db.cluster.probe import Probe
    from improved_db.cluster.topology import HostFacts, Topology

logger: logging.Logger = logging.getLogger("improved_db.cluster")

#: Seconds in which a server has to answer.
PATIENCE: Final = 1.0
#: Seconds between two rounds while there is no primary, a caller waits, or a change is younger than `RESTLESS`.
SHORT_INTERVAL: Final = 0.25
RESTLESS: Final = 30.0
#: Seconds between two rounds at the least.
SHORTEST: Final = 0.1
#: Seconds without an answer after which a connection is given up. Until then an answer may still come.
LONGEST_SILENCE: Final = 10.0


class Owner(Protocol):
    """Who wants to know."""

    def goes_on(self) -> bool:
        """Say whether there is still a server to look for."""

    def is_wanted(self) -> bool:
        """Say whether a caller waits for a change."""

    def changed(self, before: Topology, after: Topology) -> None:
        """Hear of a new topology."""

    def joined(self, address: str) -> None:
        """Hear of one more server, before it is part of the topology."""


class Rounds:
    """The questions of one thread.

    Attributes:
        topology: What is known now; one reference, replaced as a whole.
        looked_at: When the last round was over.
        late: How many rounds were late by this process's own fault.
        spells: How long the cluster was in each state.
    """

    def __init__(
        self, topology: Topology, probes: dict[str, Probe], clock: Clock, newcomers: Newcomers | None = None
    ) -> None:
        """Be ready to ask.

        Args:
            topology: What is known.
            probes: What asks each server.
            clock: The time.
            newcomers: Who else may join; None: no server.
        """
        self.topology: Topology = topology
        self.looked_at: float = float("-inf")
        self.late: int = 0
        self.spells: Spells = Spells()
        self._probes = probes
        self._newcomers = newcomers
        self._now = clock.now
        self._lags = Lags()
        self._hints: deque[tuple[str, BaseException]] = deque()
        self._asked = False
        self._began_at = float("-inf")
        self._changed_at = float("-inf")
        self._was_late = False
        self._ended = False
        self._opening: set[str] = set()
        self._opened: deque[tuple[Probe, BaseException | None]] = deque()
        self._selector: selectors.BaseSelector | None = None
        self._watched: dict[str, int] = {}
        self._bells: tuple[socket.socket, ...] = ()  # what is written to the last one wakes the thread

    # --- from other threads ----------------------------------------------------------------------------------------

    def ask_now(self, address: str, error: BaseException | None) -> None:
        """Begin a round at once, or as soon as the last one is long enough ago; many calls are one."""
        if error is not None and len(self._hints) < 100:
            self._hints.append((address, error))
        self._asked = True
        self.wake()

    def wake(self) -> None:
        """Let the thread look up."""
        bells = self._bells
        try:
            if bells:
                bells[-1].send(b"!")
        except OSError:  # it is full, so the thread will look up; or it has ended
            pass

    def _open(self, probe: Probe) -> None:
        failure: BaseException | None = None
        try:
            probe.open()
        except Exception as error:
            failure = error.with_traceback(None)
        self._opened.append((probe, failure))
        self.wake()
        if self._ended:
            probe.close()

    # --- in the thread ---------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Get ready; the thread calls it first."""
        self._ended = False
        while self._opened:
            self._opening.discard(self._opened.popleft()[0].address)
        self._bells = socket.socketpair()
        for bell in self._bells:
            bell.setblocking(False)
        self._watched = {}
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._bells[0], selectors.EVENT_READ)

    def round(self, owner: Owner) -> None:
        """Ask every server, and wait until all have answered, or have had their time."""
        self._began_at, self._asked = began_at, _ = self._now(), False
        self.spells.enter(self.topology.state, began_at)
        self._take_hints(owner)
        self._look_for_newcomers()
        due = set(self.topology.hosts)
        self._publish(self._ask_all(), owner, due)
        deadline = began_at + PATIENCE
        while due and (left := deadline - self._now()) > 0 and owner.goes_on():
            self._publish(self._collect(left), owner, due)
        self._publish(self._collect(0), owner, due)  # what came meanwhile is not late
        if self._now() - deadline > self._allowance():
            self._was_late = True
        if not self._was_late:
            self._publish({address: self._silence(address) for address in due if owner.goes_on()}, owner, due)
        else:
            self.late += 1
        self._was_late = False
        self.looked_at = self._now()
        self.topology = self._lags.measured(self.topology, self.looked_at)

    def rest(self, owner: Owner) -> None:
        """Wait until the next round; late answers and new connections are taken in meanwhile."""
        ends_at = self._now() + self._pause(owner)
        while owner.goes_on():
            now = self._now()
            until = min(ends_at, self._began_at + SHORTEST) if self._asked else ends_at
            if now >= until:
                break
            self._publish(self._collect(until - now), owner, set())
        self._was_late = self._now() - ends_at > self._allowance()

    def end(self) -> None:
        """Close every connection; one that is being opened closes itself."""
        self._ended = True
        for probe in self._probes.values():
            probe.close()
        self._close_own()

    def abandon(self) -> None:
        """Close this process's ends of all sockets, and send nothing: they belong to the parent process."""
        for probe in self._probes.values():
            probe.abandon()
        self._close_own()

    def _close_own(self) -> None:
        if self._selector is not None:
            self._selector.close()
        bells, self._bells = self._bells, ()
        for bell in bells:
            bell.close()

    def _allowance(self) -> float:
        return 2 * self.topology.interval

    def _pause(self, owner: Owner) -> float:
        hurried = (
            self.topology.state is not ClusterState.STABLE
            or owner.is_wanted()
            or self._now() - self._changed_at < RESTLESS
        )
        return min(SHORT_INTERVAL, self.topology.interval) if hurried else self.topology.interval

    def _take_hints(self, owner: Owner) -> None:
        """Let the errors of statements count, one for each server: many errors are one outage."""
        hints: dict[str, HostFacts] = {}
        while self._hints:
            address, error = self._hints.popleft()
            view = self.topology.hosts.get(address)
            hint = None if view is None else hint_of(view, error, self._now())
            if hint is not None:
                hints[address] = hint
        self._publish(hints, owner, set())

    def _ask_all(self) -> dict[str, HostFacts]:
        facts: dict[str, HostFacts] = {}
        for probe in self._probes.values():
            if probe.address in self._opening:
                continue
            if probe.is_open and probe.asked_at is None:
                self._ask(probe, facts)
            elif probe.is_open and self._began_at - (probe.asked_at or 0.0) > LONGEST_SILENCE:
                self._forget(probe)
            if not probe.is_open:
                self._start_opening(probe, facts)
        return facts

    def _start_opening(self, probe: Probe, facts: dict[str, HostFacts]) -> None:
        self._opening.add(probe.address)
        try:
            start_thread(partial(self._open, probe))
        except RuntimeError as error:  # the system has no more threads: that says nothing about the server
            self._opening.discard(probe.address)
            facts[probe.address] = absent(probe.address, self._now(), "overloaded", f"it could not be asked: {error}")

    def _ask(self, probe: Probe, facts: dict[str, HostFacts]) -> None:
        lost = probe.ask(self._began_at)
        if lost is not None:
            self._forget(probe)
            facts[probe.address] = lost

    def _forget(self, probe: Probe) -> None:
        descriptor = self._watched.pop(probe.address, None)
        if descriptor is not None and self._selector is not None:
            self._selector.unregister(descriptor)
        probe.abandon()

    def _collect(self, seconds: float) -> dict[str, HostFacts]:
        """Wait until something comes, at most *seconds*, and return what it says."""
        facts: dict[str, HostFacts] = {}
        assert self._selector is not None
        for key, _ in self._selector.select(seconds):
            probe = key.data
            if probe is None:
                self._hear()
                self._take_opened(facts)
                continue
            said = probe.take()
            if said is not None:
                facts[probe.address] = said
                if not said.reachable:
                    self._forget(probe)
                    self._asked = True  # a session that ends is a reason to look at all of them
        return facts

    def _hear(self) -> None:
        try:
            while self._bells[0].recv(4096):
                pass
        except BlockingIOError:
            pass

    def _take_opened(self, facts: dict[str, HostFacts]) -> None:
        while self._opened:
            probe, failure = self._opened.popleft()
            self._opening.discard(probe.address)
            if failure is not None:
                facts[probe.address] = absence(probe.address, self._now(), failure)
            if not probe.is_open or self._selector is None:
                continue
            self._watched[probe.address] = descriptor = probe.fileno()
            self._selector.register(descriptor, selectors.EVENT_READ, probe)
            self._ask(probe, facts)

    def _look_for_newcomers(self) -> None:
        """Ask the servers that others name who they are, as long as others name them."""
        if self._newcomers is None:
            return
        named = self._newcomers.named(self.topology)
        for address in self._probes.keys() - self.topology.hosts.keys() - named - self._opening:
            self._dismiss(address)
        for address in named - self._probes.keys():
            self._probes[address] = self._newcomers.probe(address)

    def _dismiss(self, address: str) -> None:
        self._forget(self._probes[address])
        del self._probes[address]

    def _without_strangers(self, facts: dict[str, HostFacts], owner: Owner) -> dict[str, HostFacts]:
        """Let newcomers join that have said who they are, and return what servers have said that are part of it."""
        for address in sorted(facts.keys() - self.topology.hosts.keys()):
            assert self._newcomers is not None
            if not facts[address].reachable:
                continue
            if not self._newcomers.is_new(self.topology, facts[address]):
                self._dismiss(address)
                continue
            logger.info("%s is named by other servers, and is one of the servers from now on", address)
            owner.joined(address)
            self.topology = self._newcomers.with_one(self.topology, address)
        return {address: news for address, news in facts.items() if address in self.topology.hosts}

    def _silence(self, address: str) -> HostFacts:
        return absent(address, self._now(), "silent", f"{address} did not answer within {PATIENCE:g} s")

    def _publish(self, facts: dict[str, HostFacts], owner: Owner, due: set[str]) -> None:
        """Decide on what is new, and let the owner know."""
        due.difference_update(facts)
        facts = self._without_strangers(facts, owner)
        if not facts:
            return
        before = self.topology
        after = self.topology = decide(before, facts, self._now())
        if (after.term, after.state) != (before.term, before.state):
            self._changed_at = self._now()
            self.spells.enter(after.state, self._changed_at)
        for level, line in changes(before, after):
            logger.log(level, "%s", line)
        owner.changed(before, after)
