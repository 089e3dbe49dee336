"""`ImprovedDb`: the one object a program needs for its MySQL or MariaDB server.

Knows what users type and which module does it. Does not know locks, sockets or bytes.
"""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import logging
from functools import partial
from typing import TYPE_CHECKING, Any, Concatenate, Literal, NoReturn, ParamSpec, TypeVar, overload

from improved_db.errors import LoanSpent, StatementError
from improved_db.rows import DictRow, Rows, TupleRow, rows_from
from improved_db.settings.arguments import check_role, check_sizes, check_wait
from improved_db.settings.load import load
from improved_db.settings.secret import Secret, seal
from improved_db.settings.signature import shown_as, signature_with_options
from improved_db.sql.composed import compose, is_composed
from improved_db.verbs.execute import execute_query_of
from improved_db.verbs.names import OF_DATABASE, Block, missing
from improved_db.verbs.queries import Queries
from improved_db.wire.connection import Connection
from improved_db.wire.pymysql_driver import OPTIONS, PARAMETERS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager
    from types import TracebackType

    from typing_extensions import Self, Unpack

    from improved_db.cluster.cluster import Cluster
    from improved_db.cluster.status import HostStatus
    from improved_db.execution.pipeline import Pipeline
    from improved_db.execution.progress import Progress
    from improved_db.execution.reader import Reader
    from improved_db.execution.stream import Stream
    from improved_db.execution.transaction import Transaction
    from improved_db.execution.transactional import Decorator
    from improved_db.observe.events import Event
    from improved_db.observe.page.monitor import Monitor
    from improved_db.observe.statement import Statements
    from improved_db.observe.watch import Watch
    from improved_db.pool.snapshot import PoolStats
    from improved_db.pool.stats import Borrowed, Listener
    from improved_db.settings.settings import Settings
    from improved_db.settings.typed import Config, Options
    from improved_db.sql.composed import Query
    from improved_db.sql.durability import Finding

S = TypeVar("S")
T = TypeVar("T")
logger: logging.Logger = logging.getLogger("improved_db.pool")
P = ParamSpec("P")


def run_on(*positional: Any, **keywords: Any) -> Any:
    """Run a statement on a connection of the caller's: the second form of `execute_query`."""
    from improved_db.execution import bulk  # noqa: PLC0415  # with its first use

    return bulk.run_on(*positional, **keywords)


class ImprovedDb(Queries):
    """A pool of connections to one server and the verbs to use it, from as many threads as you like.

    ``db.execute_query("select ...")`` borrows a connection, runs the statement, reads the rows, returns the
    connection, and retries if that is safe. The pool connects at the first use; earlier only if ``min_size``,
    `create_pool` or `wait` asks for it. Use the object as a context manager, or call `close`.
    """

    @shown_as(signature_with_options(PARAMETERS))
    def __init__(self, config: Config | Callable[[], Config] | None = None, **options: Unpack[Options]) -> None:
        """Read the settings; the pool connects now only if ``min_size`` or ``connection_pool`` asks for it.

        Args:
            config: A dict of PyMySQL's options, a URL (``mysql://user:password@host:3306/database?charset=utf8mb4``),
                a callable that returns either (the pool calls it at each connect), or None: ``$IMPROVED_DB_URL``,
                ``$DATABASE_URL``, or ``$MYSQL_HOST`` and its kin with the option file (``~/.my.cnf``).
            **options: The options of the pool (``max_size=10``, ``min_size=0``,
                ``acquire_timeout=30.0`` seconds ...), ``retry`` (a `RetryPolicy`, a `tenacity.Retrying` or None),
                ``deadline`` (seconds for a whole call), ``aware_datetimes`` ("refuse" those with a time zone, or write
                the time in the "session"'s time zone, or in "utc"), and every option of PyMySQL (``host``, ``user``,
                ``password``, ``database``, ``autocommit=True`` ...). They win over *config*.

        Raises:
            ConfigError: An option has an unknown name or an invalid value; the text says what to write instead.
        """
        source, given = Secret.of(config), seal(options)
        del config, options  # a traceback shows the locals of this frame
        self._settings: Settings = load(source, given, driver_options=OPTIONS)
        found = self._settings
        # With the first object, so that the package is imported sooner.
        from improved_db.assembly import Assembly  # noqa: PLC0415
        from improved_db.observe.observer import Observer  # noqa: PLC0415

        self._parts = parts = Assembly(found)
        self._pool, self._driver, self._executor = parts.pools, parts.driver, parts.executor
        self._run = parts.run
        self._observer = Observer(found, parts.pools.clock.now)
        parts.let_look(self._observer)
        self._server: Any = None  # of `ephemeral`
        if found.connection_pool or found.pool_init_size:
            self.create_pool()
        elif found.pool.min_size:
            self._pool.replenish()

    @classmethod
    def ephemeral(cls, **options: Unpack[Options]) -> Self:
        """Return an `ImprovedDb` on a private server, started from the installed binary; `close` stops and removes it.

        Args:
            **options: As for the class, but for the address, which is the server's own.

        Raises:
            ServerNotFound: Neither mariadbd nor mysqld is installed; the text says what to type.
        """
        from improved_db.testing import TemporaryServer  # noqa: PLC0415  # only this method needs it

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
        query: Query,
        args: Any = None,
        *,
        dictcursor: bool = False,
        return_one: bool = False,
        exec_many: bool = False,
        idempotent: bool | None = None,
        timeout: float | None = None,
        exactly_once: bool = False,
        read_only: bool = False,
        after: bytes | None = None,
    ) -> Any:
        if not isinstance(query, str):
            query, args = compose(query, args, many=exec_many)
        if read_only or after is not None:
            if exec_many or exactly_once:
                raise StatementError("read_only and after are for statements that read: no exec_many, no exactly_once")
            wanted: dict[str, Any] = {
                "dictcursor": dictcursor,
                "return_one": return_one,
                "idempotent": idempotent,
                "timeout": timeout,
            }
            return self.reader.execute_query(query, args, after=after, **wanted)
        if exec_many:
            rows = self.exec_many(query, args, exactly_once=exactly_once)
        elif exactly_once:
            rows = self.run_transaction(
                lambda tx: tx.execute_query(query, args, dictcursor=dictcursor, timeout=timeout), exactly_once=True
            )
        else:
            rows = rows_from(self._run(query, args, dictcursor, idempotent, timeout))
        return (rows[0] if rows else None) if return_one else rows

    _execute.__qualname__ = "ImprovedDb.execute_query"  # as a TypeError about a misspelt keyword calls it

    @execute_query_of
    @shown_as(inspect.signature(_execute))
    def execute_query(self, *positional: Any, **keywords: Any) -> Any:  # noqa: D417  # those of `_execute` are shown
        """Run one statement and return its rows.

        ``execute_query(query, args=None, ...)`` borrows a connection, returns it, and retries if that is safe.
        ``execute_query(connection, query, args=(), dictcursor=False, return_one=False, exec_many=False)`` runs on a
        connection of the caller's, leaves it with the caller, and retries nothing.

        Args:
            query: The statement, with ``%s`` or ``%(name)s`` placeholders if there are *args*; or `SQL`; or, from
                Python 3.14 on, a t-string: ``t"select * from user where uid = {uid}"``.
            args: A sequence, a mapping, or one scalar; with *exec_many* any iterable of those.
            dictcursor: Rows as dicts instead of tuples.
            return_one: The first row or None, instead of all rows.
            exec_many: Run the statement for each of *args*, as the method of that name does.
            idempotent: None: if the outcome is unknown, only a provably read-only statement is retried. True: running
                it twice is the same as once, so it is retried. False: it is not retried once bytes were sent.
            timeout: Seconds that the statement may run.
            exactly_once: As for `run_transaction`.
            read_only: Let the server refuse a write, and a replica answer, if there is one; see `reader`.
            after: A token of `causal_token`: read only, and see what its program had written.

        Returns:
            `Rows`: a tuple of rows with ``rowcount``, ``lastrowid``, ``columns`` and ``warning_count``.

        Raises:
            PoolTimeout: The pool could lend no connection in time.
            OutcomeUnknown: The answer was lost, and the server may or may not have applied the statement.
            StatementError: The arguments do not fit the statement; nothing was sent.
            pymysql.err.MySQLError: What the server or the driver said.
        """
        if positional and isinstance(positional[0], str):
            if not keywords and len(positional) <= 2:  # most queries
                return rows_from(self._run(*positional))
            return self._execute(*positional, **keywords)
        if "query" in keywords and not positional and "connection" not in keywords:
            return self._execute(**keywords)
        if positional and is_composed(positional[0]):
            return self._execute(*positional, **keywords)
        return run_on(*positional, **keywords)

    @execute_query_of
    @shown_as(inspect.signature(_execute))
    def execute_query_multiplex(self, *positional: Any, **keywords: Any) -> Any:
        """Run one statement, as `execute_query` does; if a connection is given, return it to the pool in any case."""
        connection = positional[0] if positional else keywords.get("connection")
        if not isinstance(connection, Connection):
            return self.execute_query(*positional, **keywords)
        try:
            return run_on(*positional, **keywords)
        finally:
            self.pool_put_connection(connection)

    def exec_many(
        self,
        query: Query,
        rows: Iterable[Any],
        *,
        atomic: bool = True,
        progress: bool | Progress | None = None,
        total: int | None = None,
        exactly_once: bool = False,
    ) -> Rows[TupleRow]:
        """Run one statement for many rows, as few large statements.

        Args:
            query: Usually ``insert into t (a, b) values (%s, %s)``.
            rows: Any iterable of sequences or mappings, a generator included; if it is empty, the call sends nothing.
                Or a DataFrame of pandas or polars, an Arrow Table or RecordBatchReader, by column name for
                ``%(name)s``.
            atomic: All rows in one transaction, which is retried as a whole if that is safe. False commits chunk by
                chunk, and an error's ``acked_rows`` says how many rows, from the first, are committed.
            progress: True for a bar on stderr (tqdm's, if installed), or a callable that gets the number of rows done
                and the total, which is None if it is unknown.
            total: How many rows there will be, for the bar, if *rows* cannot tell, as a generator. It may be a guess.
            exactly_once: As for `run_transaction`; only for *atomic*.

        Returns:
            Empty `Rows` with the ``rowcount`` of all statements and the ``lastrowid`` of the last.

        Raises:
            StatementError: *rows* is not an iterable of rows, or a row does not fit the statement or the server's
                ``max_allowed_packet``.
            OutcomeUnknown: The answer to COMMIT, or to a chunk, was lost.
        """
        if not isinstance(query, str):
            query, rows = compose(query, rows, many=True)
        if exactly_once and not atomic:
            raise StatementError("exactly_once needs atomic=True: one token stands for one transaction")
        run_transaction = partial(self._parts.transactions().run, exactly_once=True) if exactly_once else None
        return self._parts.bulk_loader().run(
            query, rows, atomic=atomic, progress=progress, total=total, run_transaction=run_transaction
        )

    def load_rows(
        self,
        table: str,
        rows: Iterable[Any],
        columns: Sequence[str] | None = None,
        *,
        progress: bool | Progress | None = None,
        total: int | None = None,
        strict: bool = True,
    ) -> Rows[TupleRow]:
        """Load rows by LOAD DATA LOCAL, in one transaction, straight from the iterable.

        For many rows it takes about half to nine tenths of the time of `exec_many`: the server has less to parse. The
        call opens a connection of its own, because only that one allows LOCAL. If the server refuses LOCAL, the call
        sends the rows as `exec_many` does, and logs a warning.

        Args:
            table: ``table`` or ``database.table``.
            rows: Any iterable of sequences, or of mappings, whose keys are the columns; or a frame, as for `exec_many`.
            columns: The columns of the rows; None for all of the table's, or for the names of a frame.
            progress: As for `exec_many`.
            total: As for `exec_many`.
            strict: If a value does not fit its column, raise an error, whatever the sql_mode; if the table has
                transactions, no row is loaded then. With False the server cuts such values, or makes them zero, and
                counts warnings.

        Returns:
            Empty `Rows` with ``rowcount`` and ``warning_count``.

        Raises:
            StatementError: *rows* is not an iterable of rows, or a row does not fit *columns* or the table.
            OutcomeUnknown: The answer to COMMIT was lost.
        """
        return self._parts.bulk_loader().load_rows(table, rows, columns, progress, strict, total)

    def _result(self, query: Query, args: Any, row_kind: bool | type, timeout: float | None) -> Any:
        if not isinstance(query, str):
            query, args = compose(query, args)
        return self._run(query, args, row_kind, None, timeout)

    def _stream(
        self, query: Query, args: Any, row_kind: bool | type, batch_size: int, timeout: float | None
    ) -> AbstractContextManager[Stream[Any]]:
        if not isinstance(query, str):
            query, args = compose(query, args)
        from improved_db.execution.stream import streamed  # noqa: PLC0415  # with its first use

        executor = self._parts.executor_of(query)
        lent = streamed(executor, query, args, dict_rows=row_kind, batch_size=batch_size, timeout=timeout)
        return Block(lent, "with db.stream(...) as rows")

    def pipeline(self) -> AbstractContextManager[Pipeline]:
        """Collect statements in a ``with`` block and send them in one round trip.

        The server runs the statements in the order of the block. Each has its own outcome, as if `execute_query` had
        run it; if one fails, the next still runs. The end of the block sends what was not sent before; ``result()`` of
        a handle does so earlier. If no ``result()`` has raised an error, the end of the block raises it.

        Only plain SELECT, INSERT, UPDATE, DELETE, REPLACE, SHOW and EXPLAIN share a round trip; other statements run
        alone, and all do if the server accepts one command at a time (``pipelining``). If the connection is lost, reads
        without an answer are retried, and writes without an answer get `OutcomeUnknown`. If the server refuses a write,
        it is not retried.

        Returns:
            A context manager that gives a `Pipeline`.
        """
        from improved_db.execution.pipeline import pipelined, run_each  # noqa: PLC0415  # with its first use

        return Block(pipelined(partial(run_each, self._executor)), "with db.pipeline() as pipeline")

    @overload
    def execute_each(
        self, query: Query, args_iterable: Iterable[Any], *, batch_size: int = 300
    ) -> Iterator[Rows[TupleRow]]: ...
    @overload
    def execute_each(
        self, query: Query, args_iterable: Iterable[Any], *, row_type: type[dict[str, Any]], batch_size: int = 300
    ) -> Iterator[Rows[DictRow]]: ...
    @overload
    def execute_each(
        self, query: Query, args_iterable: Iterable[Any], *, row_type: Callable[..., T], batch_size: int = 300
    ) -> Iterator[Rows[T]]: ...
    def execute_each(
        self, query: Query, args_iterable: Iterable[Any], *, row_type: Callable[..., Any] = tuple, batch_size: int = 300
    ) -> Iterator[Rows[Any]]:
        """Run one statement for each of many arguments, many in a round trip, and yield the rows of each in order.

        Args:
            query: The statement.
            args_iterable: The arguments of each execution, as for `execute_query`; any iterable.
            row_type: As for `fetch_all`.
            batch_size: How many executions are taken from the iterable at a time.

        Raises:
            pymysql.err.MySQLError: What the server or the driver said of an execution, when its turn comes; later
                executions of its batch may have run.
            BaseException: What the iterable raised, after the rows of the earlier executions.
        """
        from improved_db.execution.pipeline import execute_each  # noqa: PLC0415  # with its first use

        return execute_each(self._executor, query, args_iterable, row_type=row_type, batch_size=batch_size)

    @property
    def reader(self) -> Reader:
        """The reading verbs, in sessions whose writes the server refuses; of several servers a replica answers.

        With one server, and where no replica can answer, the primary does, over connections of their own: at most half
        as many as ``max_size``.
        """
        reader = self._parts.reader()
        self._pool = self._parts.pools
        return reader

    def causal_token(self) -> bytes:
        """Return bytes that stand for everything this object has written so far, for a cookie or a job queue.

        Reads of this object on replicas see that anyway. Another program sees it with ``after=``. With one server, and
        where the servers do not tell what they have written (GTIDs), they are empty.
        """
        return self._cluster().needs.token()

    def _cluster(self) -> Cluster:
        self._pool = cluster = self._parts.cluster()
        return cluster

    # --- transactions ----------------------------------------------------------------------------------------------

    def transaction(
        self, *, isolation: str | None = None, read_only: bool = False
    ) -> AbstractContextManager[Transaction]:
        """Begin a transaction of the caller's own; the end of the block commits it, an exception rolls it back.

        Nothing in it is ever retried. If the server has rolled it back, or its session is lost, every later statement
        raises an error; without that, it would commit by itself.

        Args:
            isolation: "read uncommitted", "read committed", "repeatable read" or "serializable"; None for the
                session's own level.
            read_only: Make the server refuse writes.

        Raises:
            TransactionRolledBack: The server rolled it back, for example after a deadlock.
            TransactionLost: The session ended before COMMIT.
            OutcomeUnknown: The answer to COMMIT was lost.
        """
        return Block(self._parts.transactions().lend(isolation, read_only), "with db.transaction() as tx")

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
        """Call ``fn(tx, *args, **kwargs)`` in a transaction and commit; retry all of it if that is safe.

        Args:
            fn: The work; its statements go through *tx*. It may run more than once, each time with a new *tx*: if
                something must happen once, give it to ``tx.on_commit``.
            *args: Passed to *fn*.
            exactly_once: Write a token into a table in the same transaction: if the answer to COMMIT is lost, the token
                tells the outcome. The first use creates the table, ``improved_db_outcomes``.
            isolation: As for `transaction`.
            read_only: As for `transaction`.
            **kwargs: Passed to *fn*.

        Returns:
            What *fn* returned in the attempt that was committed.

        Raises:
            OutcomeUnknown: The answer to COMMIT was lost, and no token tells the outcome.
            Exception: What *fn* raised, after a rollback; or the error of the last attempt.
        """
        work = self._parts.transactions().work(fn, *args, **kwargs)
        return self._parts.transactions().run(work, exactly_once=exactly_once, isolation=isolation, read_only=read_only)

    @overload
    def transactional(self, fn: Callable[Concatenate[Transaction, P], T], /) -> Callable[P, T]: ...
    @overload
    def transactional(self, fn: Callable[Concatenate[S, Transaction, P], T], /) -> Callable[Concatenate[S, P], T]: ...
    @overload
    def transactional(
        self, /, *, exactly_once: bool = False, isolation: str | None = None, read_only: bool = False
    ) -> Decorator: ...
    def transactional(
        self,
        fn: Callable[..., Any] | None = None,
        /,
        *,
        exactly_once: bool = False,
        isolation: str | None = None,
        read_only: bool = False,
    ) -> Any:
        """Decorate ``fn(tx, ...)``: each call runs it in a transaction of its own, as `run_transaction` does.

        Write ``@db.transactional``, or ``@db.transactional(exactly_once=True)``. Callers leave out *tx*: improved_db
        passes it as the first argument, or in a method as the one after ``self`` or ``cls``, which is recognised by
        this name. ``@staticmethod`` and ``@classmethod`` stand above this decorator.

        A call inside another transaction is a transaction of its own, on another connection. For a part of a larger
        transaction, write a function without the decorator and pass it *tx*.

        Args:
            fn: The function; it may run more than once in a call.
            exactly_once: As for `run_transaction`.
            isolation: As for `transaction`.
            read_only: As for `transaction`.

        Returns:
            The function without *tx*; or, with parentheses, what decorates it.

        Raises:
            StatementError: *fn* does not take *tx*, is a coroutine or generator function, or *isolation* is invalid.
        """
        from improved_db.execution.transactional import transactional  # noqa: PLC0415  # with its first use

        return transactional(
            self._parts.transactions(), fn, exactly_once=exactly_once, isolation=isolation, read_only=read_only
        )

    def purge_outcomes(self, older_than: float = 86400.0) -> int:
        """Remove the tokens of ``exactly_once`` that are older than *older_than* seconds; return how many.

        Args:
            older_than: Seconds; more than any call may take.
        """
        return self._parts.transactions().tokens.purge(older_than)

    def check_durability(self) -> list[Finding]:
        """Return which of the server's settings weaken the promise that an acknowledged write lasts.

        Returns:
            A list for people to read, each entry with a setting, its value and what it means; empty if all is well.
        """
        from improved_db.sql.durability import SHOW_SETTINGS, findings  # noqa: PLC0415  # with its first use

        pool = self._pool.settings
        return findings(dict(self._execute(SHOW_SETTINGS)), idle_timeout=pool.idle_timeout, min_size=pool.min_size)

    # --- connections -----------------------------------------------------------------------------------------------

    def connection(self, timeout: float | None = None) -> AbstractContextManager[Connection]:
        """Lend a connection for a ``with`` block; its end returns the connection, and rolls back an open transaction.

        Args:
            timeout: Seconds to wait for a connection; None for ``acquire_timeout``.
        """
        return Block(self._lend_connection(timeout), "with db.connection() as connection")

    @contextlib.contextmanager
    def _lend_connection(self, timeout: float | None) -> Iterator[Connection]:
        connection = self.pool_get_connection(timeout)
        try:
            yield connection
        finally:
            if connection._in_transaction() and not connection.get_autocommit():
                logger.info("the block of a connection ended without commit(): what it left open is rolled back")
            self.pool_put_connection(connection)

    def connect(self) -> Connection:
        """Open a connection of the caller's own, outside the pool; the caller closes it."""
        return self._driver.connect()

    def dbapi_connection(self, *, autocommit: bool = False) -> Connection:
        """Borrow a connection as other libraries expect one: its ``close()`` returns it to the pool.

        ``create_engine("mysql+pymysql://", creator=db.dbapi_connection, poolclass=NullPool)`` lets SQLAlchemy, and so
        pandas, use this pool. ``close()`` also rolls back an open transaction.

        Args:
            autocommit: Whether a statement commits by itself; off by default, as in PEP 249. If that is not what the
                pool was made with, a loan costs two more round trips.

        Raises:
            PoolTimeout: The pool could lend no connection in time.
        """
        from improved_db.execution.handles import lend  # noqa: PLC0415  # with its first use

        return lend(self._executor, autocommit)

    def create_pool(self, pool_init_size: int | None = None) -> None:
        """Open connections now instead of at the first use.

        Args:
            pool_init_size: How many; None for the ``pool_init_size`` or ``min_size`` of the settings, at least one.

        Raises:
            Exception: What the driver said, if it could not open one.
        """
        wanted = pool_init_size or self._settings.pool_init_size or 1
        if wanted > self._pool.settings.max_size:
            self._pool.resize(wanted)
        self._pool.wait(self._pool.settings.acquire_timeout, at_least=wanted, patient=False)

    def pool_get_connection(self, timeout: float | None = None, retry_num: int = 1) -> Connection:
        """Borrow a connection; return it with `pool_put_connection`.

        Args:
            timeout: Seconds to wait at a time; None for ``acquire_timeout``.
            retry_num: How many times to wait.

        Raises:
            PoolTimeout: The pool could lend no connection within ``timeout * retry_num`` seconds.
        """
        if timeout is not None:
            check_wait("connection", timeout)
            timeout *= max(retry_num, 1)
        loan = self._executor.pool.acquire(timeout, note_place=True)
        loan.outlive_thread()
        return loan.connection._handle(loan)

    def pool_put_connection(self, connection: Connection) -> None:
        """Return a borrowed connection; the caller must not use it afterwards.

        Raises:
            LoanSpent: The connection was returned before, or is not from this pool.
        """
        loan = getattr(connection, "_loan", None)
        if loan is None or not self._executor.pool.owns(loan):
            raise LoanSpent("this connection is not from this pool; if connect() opened it, close() it")
        connection._spend()
        self._executor.pool.release(loan)

    # --- the pool --------------------------------------------------------------------------------------------------

    def ping(self, timeout: float = 2.0) -> bool:
        """Say whether the server answers a ping on a connection of the pool, in time.

        It does not raise for a server that is not there, that does not answer, or that is too full.

        Args:
            timeout: Seconds for all of it: to wait for a connection, to open one, and to hear the answer.

        Returns:
            False also if all connections are in use for so long: the program could not use the server, either.

        Raises:
            PoolClosed: The pool is closed.
            pymysql.err.MySQLError: The server is there, and refuses the account or the database.
        """
        from improved_db.execution.health import answers  # noqa: PLC0415  # with its first use

        check_wait("ping", timeout)
        return answers(self._executor, timeout)

    def wait(self, timeout: float = 30.0, *, role: Literal["primary", "replica"] | None = None) -> None:
        """Wait until ``min_size`` connections, at least one, are up; retry while the server does not answer.

        Args:
            timeout: Seconds.
            role: Of several servers, wait for the primary (None) or for one "replica".

        Raises:
            PoolTimeout: The pool could not open them in time; the last connect error is the cause.
        """
        check_wait("wait", timeout)
        check_role("wait", role)
        if role is None:
            self._pool.wait(timeout)
        else:
            self._cluster().wait(timeout, role=role)

    def hosts(self) -> list[HostStatus]:
        """Return what is known of each server: its role, why, how far it is behind, how much it does; asks none."""
        return self._cluster().hosts()

    def stats(self) -> PoolStats:
        """Return every gauge and counter of the pool at one instant, and of the retries."""
        return dataclasses.replace(self._pool.stats(), retries=dict(self._parts.retrier.counts))

    # --- what has run ----------------------------------------------------------------------------------------------

    def statements(self, order: str = "run", limit: int | None = 100) -> Statements:
        """Return what each statement cost, by its normal form: a frozen snapshot.

        Every call of a verb of `ImprovedDb`, `Transaction` or `Pipeline` counts, and each COMMIT; statements on
        connections that the caller borrowed do not. ``statements=500`` says how many forms are kept.

        Args:
            order: The largest first, by "run" (seconds in sum), "wait", "calls", "rows", "mean", "p50", "p99",
                "longest", "errors", "retries", "slow" or "last" (the latest call).
            limit: How many; None for all.

        Raises:
            ConfigError: *order* or *limit* is invalid.
        """
        return self._observer.statements(order, limit)

    def reset_statements(self) -> None:
        """Begin the statistics of statements anew."""
        self._observer.reset()

    def watch(self) -> AbstractContextManager[Watch]:
        """Count what a ``with`` block runs, and find the statements that repeat in it, as an N+1 does.

        Statements of other threads are not counted, unless they run in a copy of the block's context
        (`contextvars.copy_context`). Watches may be nested.

        Returns:
            A context manager that gives a `Watch`.
        """
        return Block(self._observer.watch(), "with db.watch() as seen")

    def monitor(
        self,
        *,
        token: str | None = None,
        auth: Callable[[Mapping[str, str]], object] | None = None,
        public: bool = False,
        allowed_hosts: Sequence[str] = (),
        interval: float = 2.0,
    ) -> Monitor:
        """Return a page about this pool for a browser: charts, statements, errors, who has connections, events.

        ``monitor.wsgi`` and ``monitor.asgi`` are applications to mount anywhere, ``monitor.django_view`` is a view, and
        ``monitor.serve()`` is a server of its own. The page shows no value of a statement and changes nothing.

        Args:
            token: Only requests that have this secret see the page; at least 16 characters.
            auth: A function of the request's headers, by names in lower case, that says whether it may see the page.
            public: Every visitor who reaches the page may see it.
            allowed_hosts: By which host names it may be reached, besides those of the loopback.
            interval: Seconds between two points of the charts.

        Raises:
            ConfigError: Not exactly one of *token*, *auth* and *public* is given, or an argument is invalid.
        """
        from improved_db.observe.page.live import monitor_of  # noqa: PLC0415  # only this method needs it

        source = self._observer, self._parts, self._settings
        return monitor_of(
            *source, token=token, auth=auth, public=public, allowed_hosts=allowed_hosts, interval=interval
        )

    def events(self, after: int = 0, kind: str | None = None) -> list[Event]:
        """Return what has happened, the oldest first: the latest thousand events, and the latest 200 slow calls.

        Args:
            after: Only events with a higher ``seq``.
            kind: Only events of this kind, see `Event`.
        """
        return self._observer.events.since(after, kind)

    def borrowed(self) -> list[Borrowed]:
        """Return the open loans, the oldest first: which thread, for how long, and where in the code it borrowed."""
        return self._pool.borrowed()

    def add_listener(self, listener: Listener) -> None:
        """Report to *listener* how long each wait, use and opening of a connection takes."""
        self._pool.add_listener(listener)

    def drain(self) -> None:
        """Replace every connection: idle ones now, those in use when they are returned."""
        self._pool.drain()

    def resize(self, max_size: int, min_size: int | None = None) -> None:
        """Change how many connections there may be; the pool closes those above the new size when they are returned."""
        check_sizes("resize", max_size, min_size)
        self._pool.resize(max_size, min_size)

    def suspend(self) -> None:
        """Lend no connection until `resume`: callers wait, each until its own deadline."""
        self._pool.suspend()

    def resume(self) -> None:
        """Lend again: the pool serves the callers who waited, first come, first served."""
        self._pool.resume()

    def close(self, timeout: float = 5.0, *, force: bool = False) -> list[Borrowed]:
        """Close for good. Callers who wait get `PoolClosed`; idle connections close now, others on their return.

        Args:
            timeout: Seconds to wait for borrowers in other threads.
            force: Cut the connections that are still in use after that, so that calls blocked on them raise an error.

        Returns:
            The loans that were not returned in time; the log has them too.
        """
        check_wait("close", timeout)
        self._observer.closing()
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

    def __reduce__(self) -> NoReturn:
        raise TypeError("connections do not travel to another process: make an ImprovedDb in each process")

    if not TYPE_CHECKING:  # a type checker knows the names that there are

        def __getattr__(self, name: str) -> NoReturn:
            raise missing(self, name, OF_DATABASE)

    def __repr__(self) -> str:
        if "_pool" not in self.__dict__:  # a traceback may show it before the settings are read
            return f"<{type(self).__name__} without settings>"
        return f"<{type(self).__name__} {self._pool.settings.name} {self._pool.summary()}>"
