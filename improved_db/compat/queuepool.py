"""The door of the MySQLdb QueuePool snippet: a pool over any DB-API driver, and a manager of such pools.

No call waits: if no connection is idle, the caller opens one in its own thread. At most ``pool_size`` are kept.

Knows the snippet's words. Does not know sockets or the other doors.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from improved_db.compat._dbapi_driver import DBAPIDriver
from improved_db.compat._handles import ConnectionProxy
from improved_db.errors import LoanSpent
from improved_db.execution.handles import PooledConnection
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
            pool_size: The most idle connections to keep.
            recycle: Seconds since its last use after which an idle connection is replaced instead of lent; None: never.
            name: For the log.

        Raises:
            ConfigError: *pool_size* is not an int of at least 1, or *recycle* not a number of seconds above 0.
        """
        size = checked("max_size", Secret(pool_size), called="pool_size").value
        idle = checked("idle_timeout", Secret(recycle), called="recycle").value
        settings = PoolSettings(name=name, max_size=size, idle_timeout=idle, max_lifetime=None, ping_idle_after=None)
        driver = DBAPIDriver(creator) if callable(creator) else creator
        self._pool: Pool[Any] = Pool(driver, settings, max_idle=pool_size)

    def connect(self) -> Any:
        """Borrow a connection: an idle one, or a new one if none is idle. Its ``close`` returns it."""
        loan = self._pool.acquire_now(float("inf"))  # without a limit, so there is always one
        assert loan is not None
        raw = loan.connection
        # Not isinstance(): a tracer's proxy has the class of what it wraps, and a handle would bypass the tracer.
        return raw._handle(loan) if issubclass(type(raw), PooledConnection) else ConnectionProxy(raw, loan)

    def return_conn(self, conn: Any, *, discard: str | None = None) -> None:
        """Take a connection back; if ``pool_size`` are idle already it is closed, with a warning in the log.

        If it was returned before, nothing happens. *discard* is a reason to close it instead of keeping it.

        Raises:
            LoanSpent: It is not a connection of this pool.
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
        """Return how many idle connections the pool keeps at most."""
        return self._pool.settings.max_size

    def __len__(self) -> int:
        """Return how many connections are idle now."""
        return self._pool.stats().idle

    len = __len__

    def clear(self) -> None:
        """Close the idle connections."""
        self._pool.clear()

    def dispose(self) -> None:
        """Close for good: idle connections now, borrowed ones when they are returned."""
        self._pool.close(timeout=0.0)

    def __bool__(self) -> bool:
        return True  # also without idle connections


class PoolManager:
    """One pool for each distinct set of options."""

    _driver_of_creator: type[DBAPIDriver] = DBAPIDriver

    def __init__(
        self, pool_size: int = 8, recycle: float | None = 30, creator: Callable[..., Any] | None = None
    ) -> None:
        """Make a manager; it opens pools when they are needed.

        Args:
            pool_size: As for `QueuePool`, for each pool.
            recycle: As for `QueuePool`.
            creator: Returns a DB-API connection for the arguments of `connect`; None for `improved_db.Connection`.
        """
        QueuePool(object, pool_size, recycle)  # raises ConfigError if an option is invalid
        self._pool_size = pool_size
        self._recycle = recycle
        self._creator = creator
        self._pools: dict[Sealed, QueuePool] = {}

    def connect(self, *args: Any, **kw: Any) -> Any:
        """Borrow a connection that was opened with exactly these arguments of the driver; its ``close`` returns it."""
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
        """Return a connection to its pool; if it is from no pool, do nothing."""
        if isinstance(getattr(conn, "_loan", None), Loan):
            with contextlib.suppress(LoanSpent):
                conn.give_back()

    def dispose(self) -> None:
        """Close every pool for good."""
        for pool in list(self._pools.values()):
            pool.dispose()
