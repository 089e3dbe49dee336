"""The door of the pymysql-pool package: what its users type, for 0.3.3 and 0.5.0, on this package's pool.

Knows that package's words, defaults, errors and log lines. Does not know sockets, or how borrowers wait.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, ClassVar, Final, cast

import pymysql.cursors

from improved_db.compat._soft_pool import acquire_patiently, stock
from improved_db.errors import ConfigError, LoanSpent, PoolTimeout
from improved_db.execution.bulk import run_on
from improved_db.execution.handles import PooledConnection
from improved_db.pool.housekeeper import Housekeeper
from improved_db.pool.pool import Pool
from improved_db.settings.load import load
from improved_db.settings.options import checked
from improved_db.settings.secret import Secret, seal
from improved_db.wire import cursors
from improved_db.wire.pymysql_driver import OPTIONS, PyMySQLDriver

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from typing_extensions import Self

    from improved_db.pool.loan import Loan

logger: logging.Logger = logging.getLogger(__name__)

#: The options of a pool; all others are PyMySQL's, and may be secret.
WORDS: Final = frozenset({"size", "maxsize", "name", "pre_create_num", "con_lifetime", "autocommit"})

#: The cursor's methods that ``with connection as cursor`` has.
CURSOR_WORDS: Final = ("execute", "executemany", "fetchone", "fetchmany", "fetchall", "rowcount", "lastrowid")


class GetConnectionFromPoolError(PoolTimeout):
    """No connection was free in the given time; the cause describes the pool."""


class ReturnConnectionToPoolError(LoanSpent):
    """A connection was used or closed after it had been returned to its pool."""


class Cursor(cursors.Cursor):
    """PyMySQL's cursor with pymysql-pool's two shortcuts."""

    def db_query(self, query: str, args: Any = ()) -> Any:
        """Run a statement and return all its rows."""
        self.execute(query, args or None)
        return self.fetchall()

    def db_modify(self, query: str, args: Any = (), exec_many: bool = False) -> dict[str, int | None]:
        """Run a statement, once or for each of *args*; return its ``rowcount`` and ``lastrowid``."""
        if exec_many:
            self.executemany(query, args)
        else:
            self.execute(query, args or None)
        return {"rowcount": self.rowcount, "lastrowid": self.lastrowid}


class DictCursor(cursors.DictCursor, Cursor):  # type: ignore[misc]  # rows of another type, as in PyMySQL
    """The same with rows as dicts."""


#: The attributes of a connection after its return.
_NOTHING: Final = {"_sock": None, "_rfile": None, "_result": None, "_closed": True, "_spent": True}


class Connection(PooledConnection):
    """PyMySQL's connection, with or without a pool.

    In a pool, ``close()`` and the end of a ``with`` block return it; the block commits if it ends without an error, and
    rolls back otherwise. ``with connection as x`` gives the connection, which has a cursor's methods too. After the
    return, a new ``with`` block and `execute_query` borrow again; all else raises `ReturnConnectionToPoolError`.
    """

    __slots__ = ("_blocks", "_parked", "_reader", "home")
    _cursors: ClassVar[Mapping[Any, Any]] = {pymysql.cursors.Cursor: Cursor, pymysql.cursors.DictCursor: DictCursor}
    home: ConnectionPool | None
    _blocks: int  # entered and not yet left
    _parked: bool  # execute_query returned it, and its user may continue with it, or close it
    _reader: Any  # the cursor for CURSOR_WORDS

    def __new__(cls, **_: Any) -> Self:  # noqa: D102  # a handle of a session is made without __init__
        made = super().__new__(cls)
        made.home, made._blocks, made._parked, made._reader = None, 0, False, None
        return made

    def _handle(self, loan: object, home: ConnectionPool | None = None) -> Connection:
        """Return a new object for the same session, lent by *home* under *loan*."""
        fresh: Connection = object.__new__(Connection)
        fresh.__dict__ = self.__dict__
        fresh._loan, fresh.home, fresh._blocks, fresh._parked, fresh._reader = loan, home, 0, False, None
        return fresh

    if TYPE_CHECKING:

        def cursor(self, cursor: Any = None) -> Any: ...  # noqa: D102  # with the two shortcuts

    def execute_query(
        self, query: str, args: Any = (), dictcursor: bool = False, return_one: bool = False, exec_many: bool = False
    ) -> Any:
        """Run one statement, commit, and return the connection to the pool until its next use.

        Inside a ``with`` block the connection stays, and the block commits. Arguments and rows are as in
        `improved_db.ImprovedDb.execute_query` on a connection.
        """
        if self.home is not None and not self._blocks:
            with self:
                self._parked = True
                return self.execute_query(query, args, dictcursor, return_one, exec_many)
        rows = run_on(self, query, args, dictcursor, return_one, exec_many)
        if self.home is None:
            self._commit_if_open()
        return rows

    def close(self) -> None:
        """Return the connection; without a pool, end its session."""
        if self.home is None:
            super().close()
        elif not self._spent:
            self.__dict__, self._reader = dict(_NOTHING), None
            try:
                why = self.home._take_back(self._loan)
            except LoanSpent:  # in a forked child the pool has dropped it already
                why = None
            logger.debug("%s pool(%s)", "Close connection of" if why else "Put connection back to", self.home.name)
        elif self._parked:
            self._parked = False
        else:
            raise self._closed_error()

    def _closed_error(self) -> Exception:
        if self.home is None:
            return super()._closed_error()
        return ReturnConnectionToPoolError(f"this connection has already returned to the pool({self.home.name})")

    def _need_session(self) -> None:
        if not self._parked:
            raise self._closed_error()
        self._borrow_again()

    def _borrow_again(self) -> None:
        loan = cast("ConnectionPool", self.home)._borrow()
        self._loan, self.__dict__, self._blocks, self._parked = loan, loan.connection.__dict__, 0, False

    def __enter__(self) -> Self:
        if self._spent:
            self._borrow_again()
        self._blocks += 1
        return self

    def __exit__(self, *error: object) -> None:
        self._blocks -= 1
        if self._blocks or (self.home is not None and self._spent):
            return
        try:
            if error[0] is None and self.home is not None:
                self._commit_if_open()
        finally:
            self.close()

    def __getattr__(self, name: str) -> Any:
        if name in CURSOR_WORDS:
            self._reader = self._reader or self.cursor()
            return getattr(self._reader, name)
        if self._spent and not name.startswith("__"):
            if not self._parked:
                raise self._closed_error()
            with self:
                self._parked = True
                return object.__getattribute__(self, name)
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")


class _LoggingDriver(PyMySQLDriver):
    """Writes a line to the log for each new connection."""

    def __init__(self, options: Callable[[], Mapping[str, Any]], name: str) -> None:
        super().__init__(options, kind=Connection)
        self._name = name

    def connect(self) -> Connection:
        connection = cast("Connection", super().connect())
        logger.debug("Create new connection in pool(%s)", self._name)
        return connection


class ConnectionPool:
    """Up to *size* connections on demand, and up to *maxsize* for callers that have waited.

    Attributes:
        name: Shown in the log; ``host-port-user-database`` unless given.
        maxsize: The most connections that there can be.
    """

    def __init__(
        self,
        size: int = 10,
        maxsize: int | str | None = 100,
        name: str | None = None,
        pre_create_num: int = 0,
        con_lifetime: float = 3600,
        autocommit: bool = True,
        **kwargs: Any,
    ) -> None:
        """Make a pool; it connects when a caller borrows.

        Args:
            size: How many connections are opened as callers need them.
            maxsize: The most connections, if waiting did not help. A str is 0.3.3's *name*; then *size* is the most.
            name: For the log.
            pre_create_num: How many connections to open now.
            con_lifetime: Seconds after which a connection is replaced; 0 or less: never.
            autocommit: As for PyMySQL; the pool restores it when a connection is returned.
            **kwargs: Every other option of PyMySQL's.

        Raises:
            ConfigError: An option is invalid; the text says what to write instead.
            Exception: The driver's error, if *pre_create_num* connections could not be opened.
        """
        options = seal(kwargs)
        del kwargs  # a traceback shows locals
        if isinstance(maxsize, str):
            name, maxsize = maxsize, size
        self._size = _count("size", size, 1)
        self.maxsize: int = max(_count("maxsize", 100 if maxsize is None else maxsize, 1), self._size)
        parts = {"host": "localhost", "port": 3306, "user": "", "database": ""}
        default = "-".join(str(options.get(part, Secret(other)).value) for part, other in parts.items())
        self.name: str = name or default
        pool = {
            "name": self.name,
            "max_size": self._size,
            "max_lifetime": _lifetime(con_lifetime),
            "lifetime_jitter": 0,
            "idle_timeout": None,
            "autocommit": autocommit,
        }
        settings = load({}, {**options, **seal(pool)}, driver_options=OPTIONS)
        driver = _LoggingDriver(settings.connect.resolve, self.name)
        self._pool: Pool[Any] = Pool(driver, settings.pool, max_idle=self.maxsize)
        self._take_back = self._pool.release
        Housekeeper.look_after(self._pool)
        stock(self._pool, min(_count("pre_create_num", pre_create_num, 0), self.maxsize))

    def get_connection(
        self,
        retry_num: int | None = None,
        retry_interval: float = 0.1,
        pre_ping: bool = False,
        timeout: float | None = None,
    ) -> Connection:
        """Borrow a connection: an idle one, a new one if there are fewer than *size*, or the next to be returned.

        Args:
            retry_num: How many times to wait; 3, at most 10, or 1 with *timeout*.
            retry_interval: Seconds to wait each time. If all these waits fail and there are fewer than *maxsize*
                connections, the caller opens one more.
            pre_ping: Ping the server before the connection is lent.
            timeout: 0.3.3's option: seconds to wait, once and then *retry_num* times more. With it the pool does
                not grow beyond *size*.

        Raises:
            GetConnectionFromPoolError: No connection was free in that time. The driver's errors are raised as they are.
        """
        loan = self._pool.acquire_now(self._size, ping=pre_ping)
        if loan is None:
            loan = self._wait(retry_num, retry_interval, pre_ping, timeout)
        else:
            logger.debug("Get connection from pool(%s)", self.name)
        connection: Connection = loan.connection._handle(loan, self)
        return connection

    def _wait(self, retry_num: int | None, retry_interval: float, ping: bool, timeout: float | None) -> Loan[Any]:
        if timeout is None:
            interval, retries = retry_interval, min(3 if retry_num is None else retry_num, 10)
            waits, most, told = retries, self.maxsize, f", retry_interval={interval}(s)"
        else:
            interval, retries = timeout, 1 if retry_num is None else retry_num
            waits, most, told = retries + 1, self._size, f" within {interval}*{retries + 1} second(s)"
        loan = self._borrow(waits * interval, most, ping, lambda: self._log_retries(retries), told)
        if loan.signal is not None and interval:
            self._log_retries(min(retries, int((loan.taken_at - loan.started_at) / interval)))
        if loan.signal is not None or loan.slot is None or loan.slot.opened_at < loan.started_at:  # not just opened
            logger.debug("Get connection from pool(%s)", self.name)
        return loan

    def _borrow(
        self, patience: float = 0.3, most: int | None = None, ping: bool = False, in_vain: Any = int, told: str = ""
    ) -> Loan[Any]:
        """Borrow without a line in the log, and return the pool's loan."""
        try:
            return acquire_patiently(self._pool, patience, most or self.maxsize, ping=ping, in_vain=in_vain)
        except PoolTimeout as error:
            raise GetConnectionFromPoolError(f"can't get connection from pool({self.name}){told}") from error

    def _log_retries(self, times: int) -> None:
        """Log one line for each failed wait; the pool waited only once for all of them, so the lines come together."""
        for _ in range(times):
            logger.debug("Retry to get connection from pool(%s)", self.name)

    put_connection: staticmethod[[Connection], None] = staticmethod(Connection.close)  # 0.3.3's

    def size(self) -> int:
        """Return how many of *size* connections are not borrowed."""
        return max(self._size - self._pool.stats().used, 0)

    @property
    def total_num(self) -> int:
        """How many connections there are, idle or borrowed."""
        return self._pool.stats().size

    @property
    def available_num(self) -> int:
        """How many connections are idle."""
        return self._pool.stats().idle

    def close(self) -> None:
        """Close for good: idle connections now, borrowed ones when they are returned."""
        self._pool.close(timeout=0.0)


class ConnectionPoolSingleton(ConnectionPool):
    """The one pool of the process, for each subclass one: every later call returns it and ignores its arguments."""

    _pools: ClassVar[dict[type, ConnectionPool]] = {}

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:  # noqa: D102  # see the class
        kwargs = {name: value if name in WORDS else Secret.of(value) for name, value in kwargs.items()}
        if cls not in cls._pools:
            made = super().__new__(cls)
            ConnectionPool.__init__(made, *args, **kwargs)
            if cls._pools.setdefault(cls, made) is not made:
                made.close()  # another thread was first
        return cast("Self", cls._pools[cls])

    def __init__(self, *_: Any, **__: Any) -> None:
        """Leave it to `__new__`, once."""


def _lifetime(given: Any) -> Any:
    never = isinstance(given, (int, float)) and given <= 0
    return checked("max_lifetime", Secret(None if never else given), called="con_lifetime").value


def _count(name: str, value: Any, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ConfigError(f"{name} must be an int of at least {least}")
    return value
