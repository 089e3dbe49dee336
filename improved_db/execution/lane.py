"""What the executor asks of whatever lends it connections, and of whatever opened them.

One server: a `Pool` and its driver. Several: a lane of `improved_db.cluster`, which chooses a server for each loan. The
executor cannot tell, and has no branch for it.

Knows verbs. Does not know who has them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from improved_db.clock import Clock
    from improved_db.errors import PoolTimeout
    from improved_db.pool.loan import Loan
    from improved_db.pool.pool import Pool
    from improved_db.pool.snapshot import PoolStats
    from improved_db.pool.stats import Borrowed
    from improved_db.settings.settings import PoolSettings
    from improved_db.wire.connection import Connection
    from improved_db.wire.ending import SessionMark


class Lane(Protocol):
    """What lends connections: the verbs of `Pool` that work on a borrowed connection needs."""

    @property
    def settings(self) -> PoolSettings:
        """Sizes and times."""

    @property
    def clock(self) -> Clock:
        """The time."""

    @property
    def ever_opened(self) -> bool:
        """Whether a connection was ever opened."""

    @property
    def is_full(self) -> bool:
        """Whether another borrower has to wait for a connection."""

    @property
    def closed(self) -> bool:
        """Whether the pool is closed."""

    def members(self) -> list[Pool[Connection]]:
        """Return the pools, also those that are closed and may have connections in use."""

    def look_again(self) -> None:
        """Let threads that wait for a primary, or sleep before a retry, look whether they still have to."""

    def borrowed(self) -> list[Borrowed]:
        """Return the open loans, the oldest first."""

    def acquire(
        self, timeout: float | None = None, *, note_place: bool = False, ping: bool = False
    ) -> Loan[Connection]:
        """Borrow a connection, as `Pool.acquire` does."""

    def release(self, loan: Loan[Connection], discard: str | None = None) -> str | None:
        """Return a loan, as `Pool.release` does."""

    def owns(self, loan: Loan[Connection]) -> bool:
        """Say whether a loan has to be returned here."""

    def invalidate(self, loan: Loan[Connection], *, retire: bool) -> None:
        """Suspect the connections to the loan's server."""

    def still_answers(self, loan: Loan[Connection], timeout: float | None = None) -> bool:
        """Ping the server over a connection that the caller holds."""

    def waited_in_vain(self, started_at: float) -> PoolTimeout:
        """Count, and return the error of, a caller that waited since *started_at* for a share in another's loan."""

    def pause(self, seconds: float) -> None:
        """Sleep, as a retry does, unless the pool is closed first."""

    def stats(self) -> PoolStats:
        """Return every gauge and counter."""


class LaneDriver(Protocol):
    """What opened the connections: the verbs of `PyMySQLDriver` that work on a borrowed connection needs."""

    @property
    def restores_if_needed(self) -> bool:
        """Whether a returned session is left as it is where nothing in it has changed."""

    @property
    def rollback_on_timeout(self) -> bool:
        """Whether the server rolls the whole transaction back after a lock wait timeout."""

    @property
    def name(self) -> str:
        """The driver and its version."""

    @property
    def server_version(self) -> str:
        """What the server calls its version; empty before the first connection."""

    def comment_statements(self, comment: Callable[[bytes], bytes] | None) -> None:
        """Let *comment* append a comment to each statement of connections opened from now on."""

    def max_packet(self) -> int:
        """Return the server's ``max_allowed_packet`` in bytes."""

    def connect(self) -> Connection:
        """Open a session."""

    def connect_for_load(self, seconds: float | None = None) -> Connection:
        """Open a session that may LOAD DATA LOCAL."""

    def is_clean(self, connection: Connection) -> bool:
        """Say at once whether nothing is left to be restored."""

    def restore(self, connection: Connection) -> bool:
        """Make the session as good as new."""

    def close(self, connection: Connection) -> None:
        """Say goodbye and close the socket."""

    def cut(self, connection: Connection) -> None:
        """Shut the socket down, so that a thread that is blocked on it gets an error."""

    def end(
        self,
        ghost: SessionMark,
        *,
        query_only: bool = False,
        through: Connection | None = None,
        patience: float = ...,
    ) -> bool:
        """Have its server end a session, or only its statement."""
