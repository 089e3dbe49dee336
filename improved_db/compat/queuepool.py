"""The door of the MySQLdb QueuePool snippet: a pool over any DB-API driver, and a manager of such pools.

Nobody waits here: who finds no idle connection opens one, in its own thread, and at most ``pool_size`` are kept.

Knows the snippet's words. Does not know sockets or the other doors.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from improved_db.compat._dbapi_driver import DBAPIDriver
from improved_db.compat._handles import GuardedConnection, PooledConnection
from improved_db.errors import LoanSpent
from improved_db.pool.loan import Loan
from improved_db.pool.pool import Pool
from improved_db.settings.options import ALIASES, checked
from improved_db.settings.secret import Options, Sealed, Secret, frozen, seal
from improved_db.settings.settings import PoolSettings
from improved_db.wire.pymysql_driver import PyMySQLDriver

if TYPE_CHECKING:
    from collections.abc import Callable

    from improved_db.pool.driver import Driver


class QueuePool:
    """A pool over any DB-API driver that keeps up to ``pool_size`` connections."""

    def __init__(
        self,
        creator: Callable[[], Any] | Driver[Any],
        pool_size: int = 5,
        recycle: float | None = None,
        name: str = "queue",
    ) -> None:
        """Make an empty pool.

        Args:
            creator: Returns a new DB-API connection, or is a whole `improved_db.driver.Driver`.
            pool_size: The most connections that are kept.
            recycle: Seconds since its last use after which an idle connection is replaced instead of lent; None: never.
            name: For the log.

        Raises:
            ConfigError: *pool_size* is no int of at least 1, or *recycle* no number of seconds above 0.
        """
        size = checked("max_size", Secret(pool_size), called="pool_size").value
        idle = checked("idle_timeout", Secret(recycle), called="recycle").value
        settings = PoolSettings(name=name, max_size=size, idle_timeout=idle, max_lifetime=None, ping_idle_after=None)
        driver = DBAPIDriver(creator) if callable(creator) else creator
        self._pool: Pool[Any] = Pool(driver, settings, max_idle=pool_size)

    def connect(self) -> Any:
        """Borrow a connection: an idle one, or a new one if there is none. Its ``close`` gives it back."""
        loan = self._pool.acquire_now(float("inf"))  # nobody is refused
        assert loan is not None
        raw = loan.connection
        # Not isinstance(): a tracer's proxy passes for what it stands for, and a handle of that would go untraced.
        return raw._handle(loan) if issubclass(type(raw), PooledConnection) else GuardedConnection(raw, loan)

    def return_conn(self, conn: Any, *, discard: str | None = None) -> None:
        """Take a connection back; if ``pool_size`` are idle already it is closed, with a warning in the log.

        One that was returned before stays where it is; *discard* says why it must not be used again, if so.

        Raises:
            LoanSpent: It is not from this pool.
        """
        loan = getattr(conn, "_loan", None)
        if not isinstance(loan, Loan) or loan.pool is not self._pool:
            raise LoanSpent("this connection is not from this pool; return what connect() gave you")
        with contextlib.suppress(LoanSpent):
            conn.give_back(discard)

    def close(self, conn: Any) -> None:
        """Take a connection back, as `return_conn` does, and end its session."""
        self.return_conn(conn, discard="closed")

    def size(self) -> int:
        """Return how many connections are kept at the most."""
        return self._pool.settings.max_size

    def __len__(self) -> int:
        """Return how many connections are idle now."""
        return self._pool.stats().idle

    len = __len__

    def clear(self) -> None:
        """Close the idle connections."""
        self._pool.clear()

    def dispose(self) -> None:
        """Close for good: idle connections now, borrowed ones when they come back."""
        self._pool.close(timeout=0.0)

    def __bool__(self) -> bool:
        return True  # without idle connections, too


class PoolManager:
    """Pools by what is connected to: one for each distinct set of options."""

    _driver_of_creator: type[DBAPIDriver] = DBAPIDriver

    def __init__(
        self, pool_size: int = 8, recycle: float | None = 30, creator: Callable[..., Any] | None = None
    ) -> None:
        """Make a manager without pools.

        Args:
            pool_size: As for `QueuePool`, for each pool.
            recycle: As for `QueuePool`.
            creator: Returns a DB-API connection for the arguments of `connect`; None for `improved_db.Connection`.
        """
        QueuePool(object, pool_size, recycle)  # refuses what cannot be meant
        self._pool_size = pool_size
        self._recycle = recycle
        self._creator = creator
        self._pools: dict[Sealed, QueuePool] = {}

    def connect(self, *args: Any, **kw: Any) -> Any:
        """Borrow a connection that was opened with just these arguments, the driver's. Its ``close`` gives it back."""
        sealed, options = tuple(map(Secret.of, args)), seal(kw)
        del args, kw  # a traceback shows locals
        options = {ALIASES.get(name, name): value for name, value in options.items()}
        key = Secret((frozen(sealed), frozen(options)))
        pool = self._pools.get(key)
        if pool is None:
            pool = self._pools.setdefault(key, self._new_pool(sealed, options))
        return pool.connect()

    def _new_pool(self, args: tuple[Sealed, ...], options: Options) -> QueuePool:
        creator = self._creator

        def plain() -> dict[str, Any]:
            return {name: sealed.value for name, sealed in options.items()}

        def make() -> Any:
            assert creator is not None
            return creator(*(sealed.value for sealed in args), **plain())

        if creator is None and args:
            raise TypeError("PyMySQL takes its options by name: host=..., user=..., password=..., database=...")
        driver = PyMySQLDriver(plain, kind=PooledConnection) if creator is None else self._driver_of_creator(make)
        return QueuePool(
            driver, self._pool_size, self._recycle, name=str(options.get("host", Secret("localhost")).value)
        )

    def close_connection(self, conn: Any) -> None:
        """Give a connection back to the pool it is from; one that is from none is left alone."""
        if isinstance(getattr(conn, "_loan", None), Loan):
            with contextlib.suppress(LoanSpent):
                conn.give_back()

    def dispose(self) -> None:
        """Close every pool for good."""
        for pool in list(self._pools.values()):
            pool.dispose()
