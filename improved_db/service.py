"""`Service`: the pool half of `ImprovedDb`: settings, connections, life cycle, numbers.

Knows the settings, the driver and the pool. Does not know statements.
"""

from __future__ import annotations

import contextlib
import dataclasses
from typing import TYPE_CHECKING, Any

from improved_db.errors import LoanSpent
from improved_db.execution.retry import Retrier
from improved_db.pool.housekeeper import Housekeeper
from improved_db.pool.loan import Loan
from improved_db.pool.pool import Pool
from improved_db.settings.load import load
from improved_db.settings.secret import Secret, seal
from improved_db.wire.pymysql_driver import OPTIONS, PyMySQLDriver

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from typing_extensions import Self

    from improved_db.pool.stats import Borrowed, Listener, PoolStats
    from improved_db.settings.settings import Settings
    from improved_db.wire.connection import Connection


class Service:
    """A pool of connections to one server, and what its owner does with it."""

    def __init__(self, config: Any = None, **options: Any) -> None:
        """Read the settings; nothing connects yet, unless ``min_size`` or ``connection_pool`` asks for it.

        Args:
            config: A dict of PyMySQL's options, a URL (``mysql://user:password@host:3306/database?charset=utf8mb4``),
                a callable that returns either (asked again at each connect), or None: ``$IMPROVED_DB_URL``, then the
                option file (``~/.my.cnf``).
            **options: Every option of `improved_db.settings.settings.PoolSettings` (``max_size=10``, ``min_size=0``,
                ``acquire_timeout=30.0`` seconds ...), ``retry`` (a `RetryPolicy`, a `tenacity.Retrying` or None),
                ``deadline`` (seconds for a whole call), ``aware_datetimes`` ("refuse" those with a time zone, or write
                the time in the "session"'s time zone, or in "utc"), and every option of PyMySQL (``host``, ``user``,
                ``password``, ``database``, ``autocommit=True`` ...). They win over *config*.

        Raises:
            ConfigError: Something given cannot be meant; the text says what to write instead.
        """
        config, options = Secret.of(config), seal(options)  # a traceback shows locals
        self._settings: Settings = load(config, options, driver_options=OPTIONS)
        pool = self._settings.pool
        self._driver = PyMySQLDriver(
            self._settings.connect.resolve,
            reset=pool.reset,
            configure=pool.configure,
            aware_datetimes=self._settings.aware_datetimes,
        )
        self._pool: Pool[Connection] = Pool(self._driver, dataclasses.replace(pool, configure=None))
        Housekeeper.look_after(self._pool)
        self._retrier = Retrier(self._settings.retry_source, self._pool.clock, self._pool.pause)
        self._server: Any = None  # of `ephemeral`
        if self._settings.connection_pool or self._settings.pool_init_size:
            self.create_pool()
        elif self._settings.pool.min_size:
            self._pool.replenish()

    # --- connections -----------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def connection(self, timeout: float | None = None) -> Iterator[Connection]:
        """Lend a connection for a ``with`` block; leaving the block gives it back, rolled back where it was left open.

        Args:
            timeout: Seconds to wait for one; ``acquire_timeout`` if None.
        """
        connection = self.pool_get_connection(timeout)
        try:
            yield connection
        finally:
            self.pool_put_connection(connection)

    def connect(self) -> Connection:
        """Open a connection of the caller's own, outside the pool: close it yourself."""
        return self._driver.connect()

    def create_pool(self, pool_init_size: int | None = None) -> None:
        """Open connections now instead of with the first use.

        Args:
            pool_init_size: How many; None for the ``pool_init_size`` or ``min_size`` of the settings, at least one.

        Raises:
            Exception: What the driver said, if one cannot be opened.
        """
        wanted = pool_init_size or self._settings.pool_init_size or 1
        if wanted > self._pool.settings.max_size:
            self._pool.resize(wanted)
        self._pool.wait(self._pool.settings.acquire_timeout, at_least=wanted, patient=False)

    def pool_get_connection(self, timeout: float | None = None, retry_num: int = 1) -> Connection:
        """Borrow a connection; give it back with `pool_put_connection`.

        Args:
            timeout: Seconds to wait at a time; ``acquire_timeout`` if None.
            retry_num: How many times to wait.

        Raises:
            PoolTimeout: None could be had in ``timeout * retry_num`` seconds.
        """
        patience = None if timeout is None else timeout * max(retry_num, 1)
        loan = self._pool.acquire(patience, note_place=True)
        loan.outlive_thread()
        return loan.connection.handle(loan)

    def pool_put_connection(self, connection: Connection) -> None:
        """Give a borrowed connection back; it must not be used afterwards.

        Raises:
            LoanSpent: It was given back before, or is not from this pool.
        """
        loan = getattr(connection, "loan", None)
        if not isinstance(loan, Loan) or loan.pool is not self._pool:
            raise LoanSpent("this connection is not from this pool; close() one that connect() opened")
        connection.spend()
        self._pool.release(loan)

    # --- the pool --------------------------------------------------------------------------------------------------

    def ping(self) -> bool:
        """Ask the server for a sign of life, over a pooled connection; say whether it gave one.

        Raises:
            PoolError: No connection could be had.
        """
        loan = self._pool.acquire(note_place=True)
        alive = False
        try:
            alive = self._pool.still_answers(loan)
        finally:
            self._pool.release(loan, None if alive else "ping")
        return alive

    def wait(self, timeout: float = 30.0) -> None:
        """Wait until ``min_size`` connections, at least one, are up; keep trying while the server is not there.

        Args:
            timeout: Seconds.

        Raises:
            PoolTimeout: They were not; the last connect error is the cause.
        """
        self._pool.wait(timeout)

    def stats(self) -> PoolStats:
        """Return every gauge and counter of the pool and of the retries, as of one instant."""
        return dataclasses.replace(self._pool.stats(), retries=dict(self._retrier.counts))

    def borrowed(self) -> list[Borrowed]:
        """Return who holds a connection now, since when and where it was borrowed; the oldest first."""
        return self._pool.borrowed()

    def add_listener(self, listener: Listener) -> None:
        """Let *listener* hear the times connections are waited for, used and opened."""
        self._pool.listeners.append(listener)

    def drain(self) -> None:
        """Replace every connection: idle ones now, lent ones when they come back."""
        self._pool.drain()

    def resize(self, max_size: int, min_size: int | None = None) -> None:
        """Change how many connections there may be; those above the new size go when they come back."""
        self._pool.resize(max_size, min_size)

    def suspend(self) -> None:
        """Serve nobody until `resume`: borrowers wait in line, each until its own deadline."""
        self._pool.suspend()

    def resume(self) -> None:
        """Serve those who waited, in their order."""
        self._pool.resume()

    def close(self, timeout: float = 5.0, *, force: bool = False) -> list[Borrowed]:
        """Close for good. Everybody in line is woken; idle connections close now, lent ones when they come back.

        Args:
            timeout: Seconds to wait for borrowers in other threads.
            force: Cut the connections that are still out then.

        Returns:
            Who still holds a connection; also logged.
        """
        left = self._pool.close(timeout, force=force)
        if self._server is not None:
            self._server.close()
        return left

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._pool.closed

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        if "_pool" not in self.__dict__:  # a traceback shows it while the settings are still being read
            return f"<{type(self).__name__} without settings>"
        stats = self._pool.stats()
        state = "closed" if stats.closed else f"{stats.size}/{stats.max_size} connections, {stats.waiting} waiting"
        return f"<{type(self).__name__} {stats.name} {state}>"
