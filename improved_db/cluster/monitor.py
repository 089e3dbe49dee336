"""Who is the primary: one lazy thread for all servers, and what borrowers ask it.

The thread begins when the topology is first asked for. It ends after a minute without a borrower, with `close`, or with
the last reference to the monitor. What it knew then is not forgotten, but decides nothing: the first borrower of the
primary waits for a round, because an old primary may be back.

Knows threads, and how old what is known may be. Does not know how servers are asked, or the rules of a topology.
"""

from __future__ import annotations

import logging
import os
import threading
import weakref
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final

from improved_db.cluster.newcomers import Newcomers
from improved_db.cluster.probe import Probe
from improved_db.cluster.rounds import Rounds
from improved_db.cluster.topology import ClusterState, begin
from improved_db.cluster.views import INTERVAL, HostState
from improved_db.cluster.waiting import Waiters
from improved_db.logs import complain
from improved_db.pool.fork import remember

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from improved_db.clock import Clock
    from improved_db.cluster.probe import ProbeDriver
    from improved_db.cluster.topology import HostView, Kind, Topology

logger: logging.Logger = logging.getLogger("improved_db.cluster")

#: Seconds without a borrower after which the thread ends.
IDLE: Final = 60.0
#: Seconds in which the servers have told who is the primary: a round or two, the last one by their silence.
KNOWN_IN: Final = 3.0


class Monitor:
    """Looks at the servers of one cluster.

    Attributes:
        on_change: Called, in the monitor's thread, with the topologies before and after, when another server is the
            primary. The one before is the last one that had a primary.
        on_gone: Called, in the monitor's thread, with the address of a server that is DOWN now, or in whose place
            another one answers.
        on_join: Called, in the monitor's thread, with the address of a server that was not in the list, before it is
            part of the topology.
    """

    def __init__(
        self,
        drivers: Mapping[str, ProbeDriver],
        *,
        clock: Clock,
        kind: Kind = "auto",
        interval: float = INTERVAL,
        used: Callable[[], int] | None = None,
        idle: float = IDLE,
        invite: Callable[[str], ProbeDriver] | None = None,
    ) -> None:
        """Be ready to look; nothing connects yet.

        Args:
            drivers: What opens connections to each server, by address, in the order of the settings.
            clock: The time.
            kind: What keeps the servers in step; "auto": they say it.
            interval: Seconds between two rounds while all is well.
            used: Returns a number that grows with each borrowing; None: the thread does not end by itself.
            idle: Seconds without a borrower after which the thread ends.
            invite: Returns what opens connections to a server that others name; None: the list alone says which
                servers there are.
        """
        self.on_change: list[Callable[[Topology, Topology], object]] = []
        self.on_gone: list[Callable[[str], object]] = []
        self.on_join: list[Callable[[str], object]] = []
        self._drivers = dict(drivers)
        self._invite = invite
        self._newcomers = None if invite is None else Newcomers(drivers, partial(_newcomer, invite, kind, clock))
        self._clock = clock
        self._kind: Kind = kind
        self._interval = interval
        self._used = used
        self._idle = idle
        self._closed = False
        self._begin()
        remember(self)

    def _begin(self) -> None:
        order = self._drivers if self._newcomers is None else self._newcomers.in_order(self._drivers)
        topology = begin(tuple(order), self._kind, interval=self._interval)
        probes = {address: self._probe(address) for address in topology.hosts}
        self._pid = os.getpid()
        self._probes = probes
        self._waiters = Waiters(self._clock)
        self._waiting: set[object] = set()  # a token for each thread that waits; adding and removing need no lock
        self._rounds = Rounds(topology, probes, self._clock, self._newcomers)
        self._led = topology
        self._on_duty = threading.Lock()  # held by the one thread on duty; guards nothing
        self._thread: threading.Thread | None = None
        self._seen_use = (-1, self._clock.now())
        self._outdated: tuple[Topology, Topology] | None = None

    def _probe(self, address: str) -> Probe:
        discover = self._newcomers is not None
        return Probe(address, self._drivers[address], self._kind, self._clock, discover=discover)

    # --- for borrowers ---------------------------------------------------------------------------------------------

    @property
    def topology(self) -> Topology:
        """What is known now. If that is too old to decide anything, there is no primary until a round is over."""
        if not self._on_duty.locked():
            self.attend()
        topology = self._rounds.topology
        age = self._clock.now() - self._rounds.looked_at
        if topology.primary is None or age <= 3 * self._interval:
            return topology
        return self._without_primary(topology, age)

    def _without_primary(self, topology: Topology, age: float) -> Topology:
        cached = self._outdated
        if cached is None or cached[0] is not topology:
            why = f"the servers were last asked {age:.0f} s ago, and are asked now"
            unsure = replace(topology, state=ClusterState.SEEKING, primary=None, why=why)
            self._outdated = cached = (topology, unsure)
        self._rounds.wake()
        return cached[1]

    @property
    def late(self) -> int:
        """How many rounds were late because this process did not run: their silences did not count."""
        return self._rounds.late

    def has_left(self, address: str, deadline: float, over: Callable[[], bool]) -> bool:
        """Wait until a server that could not be connected to has answered a new question, or has lost its role.

        Args:
            address: The server.
            deadline: When the wait ends at the latest.
            over: Whether the caller waits no longer.

        Returns:
            Whether it is not the primary any more.
        """
        now = self._clock.now()

        def is_known() -> bool:
            view = self._rounds.topology.hosts[address]
            answered = view.state is HostState.UP and view.facts is not None and view.facts.round > now
            return over() or answered or self._rounds.topology.primary != address

        self.wait_for(is_known, min(deadline, now + KNOWN_IN))
        return self._rounds.topology.primary != address

    def seconds(self, state: ClusterState) -> float:
        """Return for how long the cluster was in *state*, since its servers were first asked."""
        return self._rounds.spells.seconds(state, self._clock.now())

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    def wait_for(self, predicate: Callable[[], bool], deadline: float) -> bool:
        """Wait until *predicate* holds, which is asked after each change; False if *deadline* comes first."""
        token = object()
        self._waiting.add(token)  # first, so that a thread which is about to end sees it
        try:
            self.attend()
            return self._waiters.wait_for(predicate, deadline)
        finally:
            self._waiting.discard(token)

    def ask_now(self, address: str, error: BaseException | None) -> None:
        """Look at the servers now, because a statement or a connect on one of them gave an error."""
        self.attend()
        self._rounds.ask_now(address, error)

    def close(self) -> None:
        """End the thread; wake every thread that waits."""
        self._closed = True
        thread = self._thread
        self._rounds.wake()
        self._waiters.wake()
        if thread is not None and thread is not threading.current_thread() and self._pid == os.getpid():
            thread.join(timeout=2.0)

    # --- its thread ------------------------------------------------------------------------------------------------

    def attend(self) -> None:
        """Start the thread, unless it runs."""
        if self._closed or not self._on_duty.acquire(blocking=False):
            return
        wake = self._rounds.wake
        me = weakref.ref(self, lambda _: wake())
        thread = threading.Thread(
            target=_run, args=(me, self._rounds, self._on_duty), name="improved_db-monitor", daemon=True
        )
        self._seen_use = (-1, self._clock.now())
        try:
            thread.start()
        except RuntimeError:  # the system has no more threads; the next borrower retries
            self._on_duty.release()
        else:
            self._thread = thread  # not before it can be joined

    def goes_on(self) -> bool:
        """Say whether the thread has to go on: there is a borrower, or was one not long ago."""
        if self._closed:
            return False
        now = self._clock.now()
        count = -1 if self._used is None else self._used()
        if self._used is None or self._waiting or count != self._seen_use[0]:
            self._seen_use = (count, now)
        return now - self._seen_use[1] < self._idle

    def is_wanted(self) -> bool:
        """Say whether a thread waits for a change."""
        return bool(self._waiting)

    def changed(self, before: Topology, after: Topology) -> None:
        """Tell the listeners of a new primary, then wake the threads that wait."""
        led = self._led
        if after.primary is not None:
            self._led = after
        if after.term != before.term:
            for told in self.on_change:
                _tell(partial(told, led, after))
        for address, view in after.hosts.items():
            if _is_gone(before.hosts[address], view):
                for hears in self.on_gone:
                    _tell(partial(hears, address))
        self.wake()

    def joined(self, address: str) -> None:
        """Take a server among those that a forked child looks at, too, and tell the listeners."""
        assert self._invite is not None
        self._drivers[address] = self._invite(address)
        for told in self.on_join:
            told(address)

    def wake(self) -> None:
        """Let the threads that wait look again."""
        self._waiters.wake()

    def begin_in_child(self) -> None:
        """Start anew in a forked child, and leave the parent's connections alone."""
        self._rounds.abandon()
        self._begin()


def _is_gone(before: HostView, after: HostView) -> bool:
    """Say whether a server went DOWN, or its name has moved to another server."""
    if after.state is HostState.DOWN:
        return before.state is not HostState.DOWN
    old, new = (None if view.facts is None else view.facts.identity for view in (before, after))
    return old is not None and new is not None and old != new


def _newcomer(invite: Callable[[str], ProbeDriver], kind: Kind, clock: Clock, address: str) -> Probe:
    """Return what asks a server that may join; a function, because the thread must not hold the monitor."""
    return Probe(address, invite(address), kind, clock, discover=True)


def _tell(listener: Callable[[], object]) -> None:
    try:
        listener()
    except Exception:
        complain(logger, "a listener to changes of the cluster failed")


def _run(monitor: weakref.ref[Monitor], rounds: Rounds, on_duty: threading.Lock) -> None:
    """Look at the servers until it is not needed any more; between two looks the monitor is held weakly."""
    owner = _Weakly(monitor)
    try:
        rounds.begin()
        while owner.goes_on():
            try:
                rounds.round(owner)
            except Exception:
                complain(logger, "a round of questions failed; the next one is in a moment")
            owner.wake()
            rounds.rest(owner)
    finally:
        rounds.end()
        on_duty.release()
    owner.again()


class _Weakly:
    """A monitor, for its own thread."""

    def __init__(self, monitor: weakref.ref[Monitor]) -> None:
        self._monitor = monitor

    def goes_on(self) -> bool:
        monitor = self._monitor()
        return monitor is not None and monitor.goes_on()

    def is_wanted(self) -> bool:
        monitor = self._monitor()
        return monitor is not None and monitor.is_wanted()

    def changed(self, before: Topology, after: Topology) -> None:
        monitor = self._monitor()
        if monitor is not None:
            monitor.changed(before, after)

    def joined(self, address: str) -> None:
        monitor = self._monitor()
        if monitor is not None:
            monitor.joined(address)

    def wake(self) -> None:
        monitor = self._monitor()
        if monitor is not None:
            monitor.wake()

    def again(self) -> None:
        """Start anew if a thread began to wait while this one was about to end."""
        monitor = self._monitor()
        if monitor is not None and monitor.is_wanted():
            monitor.attend()
