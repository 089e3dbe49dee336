"""One server of several: a pool for the primary lane, one for the reader lane, and its share in the reads.

The sessions of the reader lane are READ ONLY from their set-up on, whatever the server's role is: so the server refuses
a write in a read, also where the primary answers because no replica can, and also after a replica has become the
primary. The pool of the primary lane exists while its server is the primary. Its end wakes the borrowers who wait in
it, and they go where the topology then says.

Knows pools and the options of one server. Does not know roles, or which read goes where.
"""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from improved_db.cluster.balance import Share
from improved_db.cluster.causal import Reach
from improved_db.pool.housekeeper import Housekeeper
from improved_db.pool.pool import Pool
from improved_db.pool.snapshot import summed
from improved_db.wire.causal import CausalConnection
from improved_db.wire.pymysql_driver import PyMySQLDriver

if TYPE_CHECKING:
    from collections.abc import Callable

    from improved_db.pool.snapshot import PoolStats
    from improved_db.pool.stats import Listener
    from improved_db.settings.settings import HostSettings, PoolSettings, Settings
    from improved_db.wire.connection import Connection

Purpose: TypeAlias = Literal["primary", "reader"]

PRIMARY: Final = "primary"
READER: Final = "reader"


class Server:
    """One server.

    Attributes:
        address: Its name in logs, errors and statistics.
        host: What the settings say of it.
        share: Its part in the reads.
        reach: What it is known to have.
        drivers: What opens its connections, by lane.
        listeners: The user's, for pools that are made later.
        suspended: Whether such pools lend nothing at first.
        tell: Hears of the events of such pools.
        look: Gets such pools, to have their times told.
    """

    def __init__(
        self,
        host: HostSettings,
        settings: Settings,
        on_gtid: Callable[[str, str], object],
        in_step: Callable[[], bool],
    ) -> None:
        """Describe one server; nothing connects yet.

        Args:
            host: What the settings say of it.
            settings: All of them.
            on_gtid: Called with the address and the GTID of each commit of the primary lane.
            in_step: Whether the sessions of the reader lane wait by themselves for what the group has committed.
        """
        self.address: str = host.address
        self.host: HostSettings = host
        self.share: Share = Share(host.weight, host.zone)
        self.reach: Reach = Reach()
        self.listeners: list[Listener] = []
        self.suspended: bool = False
        self.tell: Callable[..., object] | None = None
        self.look: Callable[[Pool[Connection]], object] | None = None

        def track(connection: CausalConnection) -> None:
            connection._on_gtid = partial(on_gtid, host.address)

        def keep_in_step(connection: CausalConnection) -> None:
            connection._in_step = in_step()

        self.drivers: dict[Purpose, PyMySQLDriver] = {
            purpose: PyMySQLDriver(
                host.connect.resolve,
                reset=settings.reset,
                kind=CausalConnection,
                configure=settings.configure,
                aware_datetimes=settings.aware_datetimes,
                pipelining=settings.pipelining,
                address=host.address,
                read_only=purpose == READER,
                dress=track if purpose == PRIMARY else keep_in_step,
            )
            for purpose in (PRIMARY, READER)
        }
        size = host.max_size or settings.pool.max_size
        self.settings: PoolSettings = dataclasses.replace(
            settings.pool, max_size=size, min_size=min(settings.pool.min_size, size)
        )
        self._pools: dict[Purpose, Pool[Connection]] = {}
        self._closed: list[Pool[Connection]] = []
        self._over = False
        self._past: list[PoolStats] = []  # of pools that are closed, and have all connections back

    def driver(self) -> PyMySQLDriver:
        """Return a driver that knows the server's limits and identity, if one of them has connected."""
        known = [driver for driver in self.drivers.values() if driver.idle_limit is not None]
        return known[0] if known else self.drivers[PRIMARY]

    # --- its pools -------------------------------------------------------------------------------------------------

    def primary(self) -> Pool[Connection]:
        """Return the pool of the primary lane."""
        return self._pools.get(PRIMARY) or self._begin(PRIMARY, self.settings)

    def reader(self, size: int | None = None) -> Pool[Connection]:
        """Return the pool of the reader lane.

        Args:
            size: How many connections it may have, where the server is the primary; None: as many as on a replica.
        """
        most = size or self.settings.max_size
        least = 0 if size is not None else self.settings.min_size
        pool = self._pools.get(READER)
        if pool is None:
            return self._begin(READER, dataclasses.replace(self.settings, max_size=most, min_size=least))
        if pool.settings.max_size != most:
            pool.resize(most, least)
        return pool

    def half(self) -> int:
        """Return half of its slots, at least one."""
        return max(self.settings.max_size // 2, 1)

    def adopt(self, pool: Pool[Connection]) -> None:
        """Let *pool* be that of the primary lane: it was there before."""
        self._pools[PRIMARY] = pool

    def pools(self) -> list[Pool[Connection]]:
        """Return the pools that are there."""
        return list(self._pools.values())

    def every(self) -> list[Pool[Connection]]:
        """Return those too that are closed, and may have connections in use."""
        return [*self._pools.values(), *self._closed]

    def load(self) -> int:
        """Return how many borrowers have or want a connection of the reader lane."""
        pool = self._pools.get(READER)
        return 0 if pool is None else pool.load

    def _begin(self, purpose: Purpose, settings: PoolSettings) -> Pool[Connection]:
        name = f"{settings.name} at {self.address}" + (" (read-only)" if purpose == READER else "")
        made: Pool[Connection] = Pool(self.drivers[purpose], dataclasses.replace(settings, name=name))
        pool = self._pools.setdefault(purpose, made)  # another thread may have been first
        if pool is made:
            for listener in self.listeners:
                pool.add_listener(listener)
            if self.tell is not None:
                pool.tell_events(self.tell, self.look)
            Housekeeper.look_after(pool)
            if self.suspended:
                pool.suspend()
        return pool

    def retire(self, purpose: Purpose, *, force: bool) -> None:
        """Close a pool: borrowers who wait in it go elsewhere, connections in use are closed when they are returned.

        Args:
            purpose: Which one.
            force: Cut the connections in use, so that calls blocked on them raise an error.
        """
        pool = self._pools.pop(purpose, None)
        if pool is not None:
            self._closed.append(pool)
            pool.close(0.0, force=force)

    def resize(self, max_size: int, min_size: int | None = None) -> None:
        """Change how many connections there may be, unless its own settings say so."""
        most = self.host.max_size or max_size
        least = min(self.settings.min_size if min_size is None else min_size, most)
        self.settings = dataclasses.replace(self.settings, max_size=most, min_size=least)
        for purpose, pool in list(self._pools.items()):
            if purpose == PRIMARY:
                pool.resize(most, least)

    def close(self) -> list[Pool[Connection]]:
        """Note that it is over, and return the pools that are there, which have to be closed."""
        self._over = True
        return self.pools()

    # --- looking ---------------------------------------------------------------------------------------------------

    def stats(self) -> PoolStats:
        """Return every gauge and counter of its pools, also of those that are closed."""
        for pool in list(self._closed):
            now = pool.stats()
            if now.used == 0 and pool in self._closed:
                self._closed.remove(pool)
                self._past.append(_gone(now))
        ended = [_gone(pool.stats()) for pool in self._closed]
        if len(self._past) > 1:
            self._past = [summed(self.address, self._past)]
        live = [pool.stats() for pool in self.pools()]
        found = summed(self.address, [*live, *ended, *self._past])
        if live or self._over:
            return dataclasses.replace(found, closed=self._over)
        size, least = self.settings.max_size, self.settings.min_size  # no pool was needed yet
        return dataclasses.replace(found, max_size=size, min_size=least, cold=size, closed=False)


def _gone(stats: PoolStats) -> PoolStats:
    """Return the counters of a pool that is closed: it has no slots any more."""
    return dataclasses.replace(stats, max_size=0, min_size=0, cold=0)
