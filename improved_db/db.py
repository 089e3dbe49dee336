"""`ImprovedDb`: the one object a program needs for its MySQL or MariaDB server.

Knows what users type and who does it. Does not know locks, sockets or bytes.
"""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
from functools import partial
from typing import TYPE_CHECKING, Any, Concatenate, Literal, ParamSpec, TypeVar, overload

from improved_db.errors import LoanSpent, StatementError
from improved_db.execution.bulk import Loading, run_on
from improved_db.execution.executor import Executor
from improved_db.execution.pipeline import Pipeline, execute_each, pipelined
from improved_db.execution.retry import Retrier
from improved_db.execution.stream import Stream, streamed
from improved_db.execution.transactions import UnitsOfWork
from improved_db.frames.verbs import StreamingFrameVerbs
from improved_db.pool.housekeeper import Housekeeper
from improved_db.pool.loan import Loan
from improved_db.pool.pool import Pool
from improved_db.rows import DictRow, Rows, TupleRow, rows_from
from improved_db.settings.load import load
from improved_db.settings.secret import Secret, seal
from improved_db.settings.signature import shown_as, signature_with_options, typed_as
from improved_db.sql.durability import SHOW_SETTINGS, Finding, findings
from improved_db.wire.connection import Connection
from improved_db.wire.pymysql_driver import OPTIONS, PARAMETERS, PyMySQLDriver

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from contextlib import AbstractContextManager
    from types import TracebackType

    from typing_extensions import Self, Unpack

    from improved_db.execution.progress import Progress
    from improved_db.execution.transaction import Transaction
    from improved_db.pool.stats import Borrowed, Listener, PoolStats
    from improved_db.settings import typed
    from improved_db.settings.settings import Settings
    from improved_db.settings.typed import Config, Options

T = TypeVar("T")
P = ParamSpec("P")


class ImprovedDb(StreamingFrameVerbs):
    """A pool of connections to one server and the verbs to use it, from as many threads as you like.

    ``db.execute_query("select ...")`` borrows a connection, runs the statement, reads the rows, returns the
    connection, and retries what is safe to retry. Nothing connects before the first use, unless ``min_size``,
    `create_pool` or `wait` ask for it. Use it as a context manager, or call `close`.
    """

    @shown_as(signature_with_options(PARAMETERS))
    def __init__(self, config: Config | Callable[[], Config] | None = None, **options: Unpack[Options]) -> None:
        """Read the settings; nothing connects yet, unless ``min_size`` or ``connection_pool`` asks for it.

        Args:
            config: A dict of PyMySQL's options, a URL (``mysql://user:password@host:3306/database?charset=utf8mb4``),
                a callable that returns either (asked again at each connect), or None: ``$IMPROVED_DB_URL``, then the
                option file (``~/.my.cnf``).
            **options: The options of the pool (``max_size=10``, ``min_size=0``,
                ``acquire_timeout=30.0`` seconds ...), ``retry`` (a `RetryPolicy`, a `tenacity.Retrying` or None),
                ``deadline`` (seconds for a whole call), ``aware_datetimes`` ("refuse" those with a time zone, or write
                the time in the "session"'s time zone, or in "utc"), and every option of PyMySQL (``host``, ``user``,
                ``password``, ``database``, ``autocommit=True`` ...). They win over *config*.

        Raises:
            ConfigError: An option has an invalid value, or there is none of that name; the text says what to write
                instead.
        """
        source, given = Secret.of(config), seal(options)
        del config, options  # a traceback shows the locals of this frame
        self._settings: Settings = load(source, given, driver_options=OPTIONS)
        pool = self._settings.pool
        self._driver = PyMySQLDriver(
            self._settings.connect.resolve,
            reset=pool.reset,
            configure=pool.configure,
            aware_datetimes=self._settings.aware_datetimes,
            pipelining=self._settings.pipelining,
        )
        self._pool: Pool[Connection] = Pool(self._driver, dataclasses.replace(pool, configure=None))
        Housekeeper.look_after(self._pool)
        self._retrier = Retrier(self._settings.retry_source, self._pool.clock, self._pool.pause)
        autocommit = bool(self._settings.connect.get("autocommit", True))
        limit = self._settings.deadline
        self._executor = Executor(self._pool, self._driver, self._retrier, autocommit=autocommit, limit=limit)
        self._loading = Loading(self._executor)
        self._units = UnitsOfWork(self._executor)
        self._server: Any = None  # of `ephemeral`
        if self._settings.connection_pool or self._settings.pool_init_size:
            self.create_pool()
        elif pool.min_size:
            self._pool.replenish()

    @classmethod
    def ephemeral(cls, **options: Unpack[Options]) -> Self:
        """Return an `ImprovedDb` on a private throw-away server, started from the installed binary, gone at `close`.

        Args:
            **options: As for the class; the address is the server's own.

        Raises:
            ServerNotFound: Neither mariadbd nor mysqld is installed; the text says what to type.
        """
        from improved_db.testing import TemporaryServer  # noqa: PLC0415  # only who asks for a server pays for it

        sealed: Any = seal(options)
        del options
        server = TemporaryServer()
        try:
            db = cls(server.url, **sealed)
        except BaseException:
            server.close()
            raise
        db._server = server
        return db

    # --- queries ---------------------------------------------------------------------------------------------------

    def _execute(
        self,
        query: str,
        args: Any = None,
        *,
        dictcursor: bool = False,
        return_one: bool = False,
        exec_many: bool = False,
        idempotent: bool | None = None,
        timeout: float | None = None,
        exactly_once: bool = False,
    ) -> Any:
        if exec_many:
            rows = self.exec_many(query, args, exactly_once=exactly_once)
        elif exactly_once:
            rows = self.run_transaction(
                lambda tx: tx.execute_query(query, args, dictcursor=dictcursor, timeout=timeout), exactly_once=True
            )
        else:
            rows = rows_from(self._executor.run(query, args, dictcursor, idempotent, timeout))
        return (rows[0] if rows else None) if return_one else rows

    @overload
    def execute_query(
        self,
        query: str,
        args: Any = None,
        *,
        dictcursor: Literal[False] = False,
        return_one: Literal[False] = False,
        exec_many: bool = False,
        idempotent: bool | None = None,
        timeout: float | None = None,
        exactly_once: bool = False,
    ) -> Rows[TupleRow]: ...
    @overload
    def execute_query(self, query: str, args: Any = None, **options: Unpack[typed.DictsOnPool]) -> Rows[DictRow]: ...
    @overload
    def execute_query(
        self, query: str, args: Any = None, **options: Unpack[typed.OneTupleOnPool]
    ) -> TupleRow | None: ...
    @overload
    def execute_query(self, query: str, args: Any = None, **options: Unpack[typed.OneDictOnPool]) -> DictRow | None: ...
    @overload
    def execute_query(self, query: str, args: Any = None, **options: Unpack[typed.AnyShapeOnPool]) -> Any: ...
    @overload
    def execute_query(
        self, connection: Connection, query: str, args: Any = (), **options: Unpack[typed.Tuples]
    ) -> Rows[TupleRow]: ...
    @overload
    def execute_query(
        self, connection: Connection, query: str, args: Any = (), **options: Unpack[typed.Dicts]
    ) -> Rows[DictRow]: ...
    @overload
    def execute_query(
        self, connection: Connection, query: str, args: Any = (), **options: Unpack[typed.OneTuple]
    ) -> TupleRow | None: ...
    @overload
    def execute_query(
        self, connection: Connection, query: str, args: Any = (), **options: Unpack[typed.OneDict]
    ) -> DictRow | None: ...
    @overload
    def execute_query(
        self,
        connection: Connection,
        query: str,
        args: Any = (),
        dictcursor: bool = ...,
        return_one: bool = ...,
        exec_many: bool = ...,
    ) -> Any: ...
    @shown_as(inspect.signature(_execute))
    def execute_query(self, *positional: Any, **keywords: Any) -> Any:  # noqa: D417  # those of `_execute` are shown
        """Run one statement and return its rows.

        ``execute_query(query, args=None, ...)`` borrows a connection, returns it, and retries what is safe to retry.
        ``execute_query(connection, query, args=(), dictcursor=False, return_one=False, exec_many=False)`` runs on a
        connection of the caller's, leaves it with the caller, and retries nothing.

        Args:
            query: The statement, with ``%s`` or ``%(name)s`` placeholders if there are *args*.
            args: A sequence, a mapping, or one scalar; with *exec_many* any iterable of those.
            dictcursor: Rows as dicts instead of tuples.
            return_one: The first row or None, instead of all rows.
            exec_many: Run the statement for each of *args*, as the method of that name does.
            idempotent: None: retried after an unknown outcome only if provably read-only. True: running it twice
                is the same as once. False: never sent again once bytes have left.
            timeout: Seconds the statement may run.
            exactly_once: As for `run_transaction`.

        Returns:
            `Rows`: a tuple of rows with ``rowcount``, ``lastrowid``, ``columns`` and ``warning_count``.

        Raises:
            PoolTimeout: No connection could be had in time.
            OutcomeUnknown: The answer was lost, and the statement may or may not have been applied.
            StatementError: The arguments do not fit the statement; nothing was sent.
            pymysql.err.MySQLError: What the server or the driver said.
        """
        if positional and isinstance(positional[0], str):
            if not keywords and len(positional) <= 2:  # the way of most queries
                return rows_from(self._executor.run(*positional))
            return self._execute(*positional, **keywords)
        if "query" in keywords and not positional and "connection" not in keywords:
            return self._execute(**keywords)
        return run_on(*positional, **keywords)

    @typed_as(execute_query)
    def execute_query_multiplex(self, *positional: Any, **keywords: Any) -> Any:
        """Run one statement, as `execute_query` does; a connection given is returned to the pool, whatever happens."""
        connection = positional[0] if positional else keywords.get("connection")
        if not isinstance(connection, Connection):
            return self.execute_query(*positional, **keywords)
        try:
            return run_on(*positional, **keywords)
        finally:
            self.pool_put_connection(connection)

    def exec_many(
        self,
        query: str,
        rows: Iterable[Any],
        *,
        atomic: bool = True,
        progress: bool | Progress | None = None,
        exactly_once: bool = False,
    ) -> Rows[TupleRow]:
        """Run one statement for many rows, as few large statements.

        Args:
            query: Usually ``insert into t (a, b) values (%s, %s)``.
            rows: Any iterable of sequences or mappings, a generator included; an empty one is no statement. A DataFrame
                of pandas or polars, an Arrow Table or RecordBatchReader: its columns, by name for ``%(name)s``.
            atomic: All rows in one transaction, which is retried as a whole where that is safe. False commits chunk by
                chunk, and an error's ``acked_rows`` says how many rows, from the first, are in.
            progress: True for a bar on stderr (tqdm's, if installed), or a callable that gets the number of rows done
                and the total, None if unknown.
            exactly_once: As for `run_transaction`; only for *atomic*.

        Returns:
            Empty `Rows` with the ``rowcount`` of all statements and the ``lastrowid`` of the last.

        Raises:
            StatementError: *rows* is not rows, or a row does not fit the statement or the server's
                ``max_allowed_packet``.
            OutcomeUnknown: The answer to COMMIT, or to a chunk, was lost.
        """
        if exactly_once and not atomic:
            raise StatementError("exactly_once needs atomic=True: one token stands for one transaction")
        replayed = partial(self._units.replayed, exactly_once=True) if exactly_once else None
        return self._loading.run(query, rows, atomic=atomic, progress=progress, replayed=replayed)

    def load_rows(
        self,
        table: str,
        rows: Iterable[Any],
        columns: Sequence[str] | None = None,
        *,
        progress: bool | Progress | None = None,
        strict: bool = True,
    ) -> Rows[TupleRow]:
        """Load rows by LOAD DATA LOCAL, in one transaction, straight from the iterable.

        The server has less to parse than with `exec_many`, the client more to write: measure before you choose. It runs
        on a connection of its own that allows this for this call alone. Where the server refuses, the rows go by
        `exec_many`, and a warning says so.

        Args:
            table: ``table`` or ``database.table``.
            rows: Any iterable of sequences, or of mappings, whose keys are the columns; or a frame, as for `exec_many`.
            columns: Of which columns the rows are; None for all of the table's, or for the names of a frame.
            progress: As for `exec_many`.
            strict: A value that does not fit its column is an error, whatever the sql_mode, and nothing is loaded into
                a table with transactions. False leaves it to the server, which cuts and zeroes in LOAD DATA and counts
                warnings.

        Returns:
            Empty `Rows` with ``rowcount`` and ``warning_count``.

        Raises:
            StatementError: *rows* is not rows, or a row does not fit *columns* or the table.
            OutcomeUnknown: The answer to COMMIT was lost.
        """
        return self._loading.load_rows(table, rows, columns, progress, strict)

    @overload
    def stream(
        self, query: str, args: Any = None, *, dictcursor: Literal[False] = False, batch_size: int = 1000
    ) -> AbstractContextManager[Stream[TupleRow]]: ...
    @overload
    def stream(
        self, query: str, args: Any = None, *, dictcursor: Literal[True], batch_size: int = 1000
    ) -> AbstractContextManager[Stream[DictRow]]: ...
    @overload
    def stream(
        self, query: str, args: Any = None, *, dictcursor: bool = False, batch_size: int = 1000
    ) -> AbstractContextManager[Stream[Any]]: ...
    def stream(
        self, query: str, args: Any = None, *, dictcursor: bool = False, batch_size: int = 1000
    ) -> AbstractContextManager[Stream[Any]]:
        """Run one statement and iterate over its rows as the server sends them, with constant memory.

        Starting it is retried where that is safe; once rows have come, nothing is. Leaving the block early closes
        the connection instead of reading the rest.

        Args:
            query: The statement.
            args: As for `execute_query`.
            dictcursor: Rows as dicts.
            batch_size: The most rows that are decoded at a time.
        """
        return streamed(self._executor, query, args, dict_rows=dictcursor, batch_size=batch_size)

    def _fetch_packets(self, query: str, args: Any, timeout: float | None) -> Any:
        return self._executor.run(query, args, bytes, None, timeout)

    def _stream_packets(self, query: str, args: Any) -> AbstractContextManager[Stream[Any]]:
        return streamed(self._executor, query, args, dict_rows=bytes, batch_size=10_000)

    def pipeline(self) -> AbstractContextManager[Pipeline]:
        """Collect statements in a ``with`` block and send them in one round trip.

        Each statement is as if `execute_query` had run it by itself, in the order of the block: it has its own outcome,
        and an error does not stop the next one. Leaving the block sends what was not sent before; asking a handle for
        its ``result()`` does so earlier. An error that is not asked for is raised at the end of the block.

        Statements other than plain SELECT, INSERT, UPDATE, DELETE, REPLACE, SHOW, EXPLAIN go alone, and so do all of
        them if the server takes one command at a time (``pipelining``). If the connection is lost, reads without an
        answer are retried, and writes are `OutcomeUnknown`; a write that the server refuses is not retried.

        Returns:
            A context manager that gives a `Pipeline`.
        """
        return pipelined(self._executor)

    def execute_each(
        self, query: str, args_iterable: Iterable[Any], *, row_type: type[Any] = tuple, batch_size: int = 100
    ) -> Iterator[Rows[Any]]:
        """Run one statement for each of many arguments, many in a round trip, and yield the rows of each in order.

        Args:
            query: The statement.
            args_iterable: For each execution the arguments, as for `execute_query`; any iterable.
            row_type: tuple or dict.
            batch_size: How many executions are taken from the iterable, and held, at a time.

        Raises:
            pymysql.err.MySQLError: What the server or the driver said of an execution, when its turn comes; later ones
                of its batch may have run.
            BaseException: What the iterable raised, after the rows of the executions before.
        """
        return execute_each(self._executor, query, args_iterable, row_type=row_type, batch_size=batch_size)

    # --- transactions ----------------------------------------------------------------------------------------------

    def transaction(
        self, *, isolation: str | None = None, read_only: bool = False
    ) -> AbstractContextManager[Transaction]:
        """Begin a transaction of the caller's own: commit at the end of the block, rollback on an exception.

        Nothing in it is ever retried. Once the server has rolled it back, or its session is lost, every further
        statement is refused instead of committing by itself.

        Args:
            isolation: "read uncommitted", "read committed", "repeatable read" or "serializable"; None for the
                session's own.
            read_only: Have the server refuse writes.

        Raises:
            TransactionRolledBack: The server rolled it back (a deadlock, for example).
            TransactionLost: The session ended before COMMIT.
            OutcomeUnknown: The answer to COMMIT was lost.
        """
        return self._units.owned(isolation, read_only)

    @overload
    def run_transaction(self, fn: Callable[Concatenate[Transaction, P], T], *args: P.args, **kwargs: P.kwargs) -> T: ...
    @overload
    def run_transaction(self, fn: Callable[..., T], *args: Any, exactly_once: bool, **kwargs: Any) -> T: ...
    @overload
    def run_transaction(self, fn: Callable[..., T], *args: Any, isolation: str | None, **kwargs: Any) -> T: ...
    @overload
    def run_transaction(self, fn: Callable[..., T], *args: Any, read_only: bool, **kwargs: Any) -> T: ...
    def run_transaction(  # type: ignore[misc]  # a keyword of *fn* with the name of one of ours is not passed on
        self,
        fn: Callable[..., T],
        *args: Any,
        exactly_once: bool = False,
        isolation: str | None = None,
        read_only: bool = False,
        **kwargs: Any,
    ) -> T:
        """Call ``fn(tx, *args, **kwargs)`` in a transaction and commit; retry all of it where that is safe.

        Args:
            fn: The work; its statements go through *tx*. It may run more than once, each time with a fresh *tx*: what
                must happen once goes to ``tx.on_commit``.
            *args: Passed on.
            exactly_once: Write a token row in the same transaction (table ``improved_db_outcomes``, made on first
                use), which turns a lost answer to COMMIT into a known one.
            isolation: As for `transaction`.
            read_only: As for `transaction`.
            **kwargs: Passed on.

        Returns:
            What *fn* returned in the attempt that was committed.

        Raises:
            OutcomeUnknown: The answer to COMMIT was lost, and nothing could tell.
            Exception: What *fn* raised, after a rollback; or the error of the last attempt.
        """

        def work(tx: Transaction) -> T:
            return fn(tx, *args, **kwargs)

        return self._units.replayed(work, exactly_once=exactly_once, isolation=isolation, read_only=read_only)

    def purge_outcomes(self, older_than: float = 86400.0) -> int:
        """Remove the tokens of ``exactly_once`` that are older than *older_than* seconds; return how many.

        Args:
            older_than: Longer than any call may take.
        """
        return self._units.outcomes.purge(older_than)

    def check_durability(self) -> list[Finding]:
        """Return what in the server's settings weakens the promise that an acknowledged write is there to stay.

        Returns:
            A list to be read by a person, each with the setting, its value and what it means; empty if all is well.
        """
        rows = self._execute(SHOW_SETTINGS)
        pool = self._pool.settings
        return findings(dict(rows), idle_timeout=pool.idle_timeout, min_size=pool.min_size)

    # --- connections -----------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def connection(self, timeout: float | None = None) -> Iterator[Connection]:
        """Lend a connection for a ``with`` block; leaving the block returns it, and rolls back what was left open.

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
        """Borrow a connection; return it with `pool_put_connection`.

        Args:
            timeout: Seconds to wait at a time; ``acquire_timeout`` if None.
            retry_num: How many times to wait.

        Raises:
            PoolTimeout: None could be had in ``timeout * retry_num`` seconds.
        """
        patience = None if timeout is None else timeout * max(retry_num, 1)
        loan = self._pool.acquire(patience, note_place=True)
        loan.outlive_thread()
        return loan.connection._handle(loan)

    def pool_put_connection(self, connection: Connection) -> None:
        """Return a borrowed connection; it must not be used afterwards.

        Raises:
            LoanSpent: It was returned before, or is not from this pool.
        """
        loan = getattr(connection, "_loan", None)
        if not isinstance(loan, Loan) or loan.pool is not self._pool:
            raise LoanSpent("this connection is not from this pool; close() one that connect() opened")
        connection._spend()
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
        """Lend no connection until `resume`: callers wait, each until its own deadline."""
        self._pool.suspend()

    def resume(self) -> None:
        """Serve the callers that waited, in their order."""
        self._pool.resume()

    def close(self, timeout: float = 5.0, *, force: bool = False) -> list[Borrowed]:
        """Close for good. Waiting callers get `PoolClosed`; idle connections close now, lent ones when they return.

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
