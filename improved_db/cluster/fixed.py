"""Roles that are said, not discovered: ``topology="static"`` and ``"sequential"``, and one address with a reader.

No thread looks at the servers. In a sequence, the first server that can be connected to is the primary; the others are
asked only while it cannot, and it has its place back when it has rested.

Knows what the settings say, and which server could not be connected to. Does not know what servers answer.
"""

from __future__ import annotations

import logging
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from improved_db.cluster.views import ClusterState, HostView, Topology
from improved_db.cluster.waiting import Waiters
from improved_db.logs import warn

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from improved_db.clock import Clock
    from improved_db.cluster.views import Kind
    from improved_db.settings.settings import HostSettings

logger: logging.Logger = logging.getLogger("improved_db.cluster")

#: Seconds that a server of a sequence rests after a failed connect, first and longest.
FIRST_REST: Final = 1.0
LONGEST_REST: Final = 30.0


class Fixed:
    """The roles as they were said.

    Attributes:
        on_change: Called with the topology before and the one after, when another server becomes the primary.
        on_gone: Never called: it is not known whether a server is down.
        on_join: Never called: no server is asked for others.
        late: 0: no server is asked.
    """

    def __init__(self, hosts: Sequence[HostSettings], *, in_order: bool, clock: Clock) -> None:
        """Take the roles of the settings; *in_order*: the first server that works is the primary."""
        self.on_change: list[Callable[[Topology, Topology], object]] = []
        self.late: int = 0
        self.on_gone: list[Callable[[str], object]] = []
        self.on_join: list[Callable[[str], object]] = []
        self._waiters = Waiters(clock)
        self._now = clock.now
        self._in_order = in_order
        self._candidates = [host.address for host in hosts if host.role == "primary" or (in_order and not host.role)]
        self._hosts = hosts
        self._rests: dict[str, tuple[float, float]] = {}  # until when, and how long
        self._topology = self._with(self._candidates[0], 1)

    @property
    def topology(self) -> Topology:
        """Who is what now."""
        if self._rests:
            self._look()
        return self._topology

    def wait_for(self, predicate: Callable[[], bool], deadline: float) -> bool:
        """Wait until *predicate* holds; False if *deadline* comes first."""
        return self._waiters.wait_for(predicate, deadline)

    def ask_now(self, address: str, error: BaseException | None) -> None:
        """Note that a connection to a server failed; in a sequence the next one has its turn."""
        if error is None or not self._in_order or address not in self._candidates:
            return
        now = self._now()
        until, before = self._rests.get(address, (now, 0.0))
        seconds = FIRST_REST if now - until > LONGEST_REST else min(max(before * 2, FIRST_REST), LONGEST_REST)
        self._rests = {**self._rests, address: (now + seconds, seconds)}
        self._look(error)

    def has_left(self, address: str, deadline: float, over: Callable[[], bool]) -> bool:
        """Say whether another server of a sequence has its turn; no answer is waited for."""
        del deadline, over
        return self._topology.primary != address

    def seconds(self, state: ClusterState) -> float:
        """Return 0: what was said is never looked for."""
        del state
        return 0.0

    def wake(self) -> None:
        """Let the threads that wait look again."""
        self._waiters.wake()

    def close(self) -> None:
        """Wake every thread that waits."""
        self._waiters.wake()

    def _look(self, error: BaseException | None = None) -> None:
        now, before = self._now(), self._topology
        fit = [name for name in self._candidates if self._rests.get(name, (0.0, 0.0))[0] <= now]
        first = (fit or self._candidates)[0]
        if first == before.primary:
            return
        after = self._topology = self._with(first, before.term + 1)
        warn(logger, "%s is the primary now, in place of %s%s", first, before.primary, f": {error}" if error else "")
        for told in self.on_change:
            told(before, after)
        self._waiters.wake()

    def _with(self, primary: str, term: int) -> Topology:
        views: dict[str, HostView] = {}
        for host in self._hosts:
            if host.address == primary:
                view = HostView(host.address, role="primary", why="as the settings say")
            elif host.role == "replica":
                view = HostView(host.address, role="replica", why="as the settings say")
            else:
                view = HostView(host.address, why="waits for its turn in the list")
            views[host.address] = view
        kind: Kind = "sequential" if self._in_order else "static"
        return Topology(
            kind,
            MappingProxyType(views),
            ClusterState.STABLE,
            primary,
            term,
            why=f"{primary} is said to be the primary",
        )
