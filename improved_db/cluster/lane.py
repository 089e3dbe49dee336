"""A lane: lends connections of several servers with the verbs of one pool, so that the executor cannot tell.

Each loan is borrowed anew, and so a retry goes where the topology then says. A server that cannot be connected to is no
error of a read while another one can answer it.

Knows routes, pools and the time of a call. Does not know roles, or how a route is found.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from improved_db.errors import ImprovedDbError, PoolClosed, PoolTimeout

if TYPE_CHECKING:
    from collections.abc import Callable

    from improved_db.clock import Clock
    from improved_db.pool.loan import Loan
    from improved_db.pool.pool import Pool
    from improved_db.pool.snapshot import PoolStats
    from improved_db.pool.stats import Borrowed
    from improved_db.settings.settings import PoolSettings
    from improved_db.wire.connection import Connection


class Route(Protocol):
    """Finds the pool for a loan, and hears what became of it."""

    def pool(self, deadline: float, tried: set[str]) -> tuple[str, Pool[Connection]]:
        """Return the address of a server and its pool; wait until *deadline* for one, if there is none.

        Args:
            deadline: When the borrower gives up.
            tried: Servers that this borrower could not connect to.

        Raises:
            ServerRefused: There is none.
        """

    def holds(self, address: str, loan: Loan[Connection]) -> bool:
        """Say whether a loan from that server's pool may be used, now that it is there."""

    def returned(self, loan: Loan[Connection]) -> None:
        """Forget a loan that is about to be returned."""

    def failed(self, address: str, error: BaseException, tried: set[str], deadline: float) -> bool:
        """Note that a server could not be connected to; say whether to ask for a server once more."""

    def current(self) -> list[Pool[Connection]]:
        """Return the pools that the lane lends from now."""


class Lane:
    """Several pools as one.

    Attributes:
        settings: Those that all pools share.
        clock: The time.
    """

    def __init__(
        self,
        route: Route,
        settings: PoolSettings,
        clock: Clock,
        *,
        pause: Callable[[float], None],
        stats: Callable[[], PoolStats],
        is_closed: Callable[[], bool],
        every: Callable[[], list[Pool[Connection]]],
        wake: Callable[[], None],
    ) -> None:
        """Lend by *route*.

        Args:
            route: Finds a pool for each loan.
            settings: Those that all pools share.
            clock: The time.
            pause: Sleeps between two attempts.
            stats: Returns the numbers of all pools.
            is_closed: Whether they are closed.
            every: Returns all of them, also those that are closed and may have connections in use.
            wake: Wakes the threads that wait for a change of the roles.
        """
        self.settings: PoolSettings = settings
        self.clock: Clock = clock
        self.pause: Callable[[float], None] = pause
        self.stats: Callable[[], PoolStats] = stats
        self._route = route
        self._is_closed = is_closed
        self._every, self._wake = every, wake
        self._opened = False

    def acquire(
        self, timeout: float | None = None, *, note_place: bool = False, ping: bool = False
    ) -> Loan[Connection]:
        """Borrow a connection, as `Pool.acquire` does, from the server that is right when it is there.

        Raises:
            ServerRefused: There is no server that may answer.
        """
        now = self.clock.now
        deadline = now() + (self.settings.acquire_timeout if timeout is None else timeout)
        tried: set[str] = set()
        while True:
            address, pool = self._route.pool(deadline, tried)
            try:
                loan = pool.acquire(max(deadline - now(), 0.0), note_place=note_place, ping=ping)
            except PoolClosed:
                if self._is_closed():
                    raise
                continue  # the server lost its role while the borrower waited
            except ImprovedDbError:
                raise
            except Exception as error:
                if self._route.failed(address, error, tried, deadline):
                    continue
                error.__dict__["host"] = address
                raise
            try:
                holds = self._route.holds(address, loan)
            except BaseException:
                pool.release(loan, "interrupted")
                raise
            if holds:
                self._opened = True
                return loan
            pool.release(loan)

    def release(self, loan: Loan[Connection], discard: str | None = None) -> str | None:
        """Return a loan to its pool."""
        self._route.returned(loan)
        return self._pool_of(loan).release(loan, discard)

    def owns(self, loan: Loan[Connection]) -> bool:
        """Say whether a loan has to be returned here."""
        return any(loan.pool is pool for pool in self._every())

    def invalidate(self, loan: Loan[Connection], *, retire: bool) -> None:
        """Suspect the connections to the loan's server."""
        self._pool_of(loan).invalidate(loan, retire=retire)

    def still_answers(self, loan: Loan[Connection], timeout: float | None = None) -> bool:
        """Ping the server over a connection that the caller holds."""
        return self._pool_of(loan).still_answers(loan, timeout)

    @property
    def closed(self) -> bool:
        """Whether the pools are closed."""
        return self._is_closed()

    def look_again(self) -> None:
        """Let threads that wait for a primary, or sleep before a retry, look whether they still have to."""
        self._wake()

    def members(self) -> list[Pool[Connection]]:
        """Return the pools, also those that are closed and may have connections in use."""
        return self._every()

    def borrowed(self) -> list[Borrowed]:
        """Return the open loans, the oldest first."""
        return sorted((one for pool in self._every() for one in pool.borrowed()), key=lambda one: -one.seconds)

    def waited_in_vain(self, started_at: float) -> PoolTimeout:
        """Count, and return the error of, a caller that waited since *started_at* for a share in another's loan."""
        for pool in self._route.current():
            return pool.waited_in_vain(started_at)
        return PoolTimeout(f"no connection after {self.clock.now() - started_at:.2f} s, and no server to connect to")

    @property
    def ever_opened(self) -> bool:
        """Whether a connection was ever lent: if no address ever answered, they are probably wrong, not down."""
        return self._opened

    @property
    def is_full(self) -> bool:
        """Whether another borrower has to wait for a connection."""
        return all(pool.is_full for pool in self._route.current())

    @staticmethod
    def _pool_of(loan: Loan[Connection]) -> Pool[Connection]:
        pool: Pool[Connection] = loan.pool  # type: ignore[assignment]  # a loan does not know what its pool is
        return pool
