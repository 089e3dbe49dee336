"""`ImprovedDb`: the one object a program needs for its MySQL or MariaDB server.

Knows what users type and who does it. Does not know locks, sockets or bytes.
"""

from __future__ import annotations

import contextlib
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

from improved_db.errors import StatementError
from improved_db.execution.bulk import Loading, run_on
from improved_db.execution.executor import Executor
from improved_db.execution.stream import Stream, streamed
from improved_db.execution.transactions import UnitsOfWork
from improved_db.rows import Rows
from improved_db.service import Service
from improved_db.settings.secret import Secret, seal
from improved_db.sql.durability import SETTINGS, Finding, findings
from improved_db.wire.connection import Connection

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from improved_db.execution.progress import Progress
    from improved_db.execution.transaction import Transaction

T = TypeVar("T")


class ImprovedDb(Service):
    """A pool of connections to one server and the verbs to use it, from as many threads as you like.

    ``db.execute_query("select ...")`` borrows a connection, runs the statement, reads the rows, gives the connection
    back, and tries again what is safe to try again. Nothing connects before the first use, unless ``min_size``,
    `create_pool` or `wait` ask for it. Use it as a context manager, or call `close`.
    """

    def __init__(self, config: Any = None, **options: Any) -> None:
        """Read the settings, as `Service` does: a dict, a URL, keyword arguments.

        Raises:
            ConfigError: Something given cannot be meant; the text says what to write instead.
        """
        config, options = Secret.of(config), seal(options)  # a traceback shows the locals of this frame
        super().__init__(config, **options)
        autocommit = bool(self._settings.connect.get("autocommit", True))
        limit = self._settings.deadline
        self._executor = Executor(self._pool, self._driver, self._retrier, autocommit=autocommit, limit=limit)
        self._loading = Loading(self._executor)
        self._units = UnitsOfWork(self._executor)

    @classmethod
    def ephemeral(cls, **options: Any) -> ImprovedDb:
        """Return an `ImprovedDb` on a private throw-away server, started from the installed binary, gone at `close`.

        Args:
            **options: As for the class; the address is the server's own.

        Raises:
            ServerNotFound: Neither mariadbd nor mysqld is installed; the text says what to type.
        """
        from improved_db.testing import TemporaryServer  # noqa: PLC0415  # only who asks for a server pays for it

        options = seal(options)
        server = TemporaryServer()
        try:
            db = cls(server.url, **options)
        except BaseException:
            server.close()
            raise
        db._server = server
        return db

    # --- queries ---------------------------------------------------------------------------------------------------

    @overload
    def execute_query(
        self,
        query: str,
        args: Any = None,
        *,
        dictcursor: bool = False,
        return_one: Literal[False] = False,
        exec_many: bool = False,
        idempotent: bool | None = None,
        timeout: float | None = None,
        exactly_once: bool = False,
    ) -> Rows: ...
    @overload
    def execute_query(
        self,
        query: str,
        args: Any = None,
        *,
        dictcursor: bool = False,
        return_one: bool,
        exec_many: bool = False,
        idempotent: bool | None = None,
        timeout: float | None = None,
        exactly_once: bool = False,
    ) -> Any: ...
    @overload
    def execute_query(
        self,
        connection: Connection,
        query: str,
        args: Any = (),
        dictcursor: bool = False,
        return_one: bool = False,
        exec_many: bool = False,
    ) -> Any: ...
    def execute_query(self, *positional: Any, **keywords: Any) -> Any:
        """Run one statement and return its rows.

        ``execute_query(query, args=None, *, dictcursor=False, return_one=False, exec_many=False, idempotent=None,
        timeout=None)`` borrows a connection, gives it back, and tries again what is safe to try again.
        ``execute_query(connection, query, args=(), dictcursor=False, return_one=False, exec_many=False)`` runs on a
        connection of the caller's, leaves it with the caller, and tries nothing again.

        Args:
            *positional: As above.
            **keywords: As above. *args*: a sequence, a mapping, or one scalar; with *exec_many* any iterable of those.
                *dictcursor*: rows as dicts. *return_one*: the first row or None. *idempotent*: None = tried again
                after an unknown outcome only if provably read-only; True = running it twice is the same as once;
                False = never sent again once bytes have left. *timeout*: seconds the statement may run.
                *exactly_once*: as for `run_transaction`.

        Returns:
            `Rows`: a tuple of rows (tuples, or dicts) with ``rowcount``, ``lastrowid``, ``columns`` and
            ``warning_count``; with *return_one* one row or None.

        Raises:
            PoolTimeout: No connection could be had in time.
            OutcomeUnknown: The answer was lost, and the statement may or may not have been applied.
            StatementError: The arguments do not fit the statement; nothing was sent.
            pymysql.err.MySQLError: What the server or the driver said.
        """
        if positional and isinstance(positional[0], str):
            if not keywords and len(positional) <= 2:  # the way of most queries
                return Rows.of(self._executor.run(*positional))
            return self._execute(*positional, **keywords)
        if "query" in keywords and not positional and "connection" not in keywords:
            return self._execute(**keywords)
        return self._execute_on(*positional, **keywords)

    @overload
    def execute_query_multiplex(
        self,
        query: str,
        args: Any = None,
        *,
        dictcursor: bool = False,
        return_one: Literal[False] = False,
        exec_many: bool = False,
        idempotent: bool | None = None,
        timeout: float | None = None,
        exactly_once: bool = False,
    ) -> Rows: ...
    @overload
    def execute_query_multiplex(
        self,
        query: str,
        args: Any = None,
        *,
        dictcursor: bool = False,
        return_one: bool,
        exec_many: bool = False,
        idempotent: bool | None = None,
        timeout: float | None = None,
        exactly_once: bool = False,
    ) -> Any: ...
    @overload
    def execute_query_multiplex(
        self,
        connection: Connection,
        query: str,
        args: Any = (),
        dictcursor: bool = False,
        return_one: bool = False,
        exec_many: bool = False,
    ) -> Any: ...
    def execute_query_multiplex(self, *positional: Any, **keywords: Any) -> Any:
        """Run one statement, as `execute_query` does; a connection given goes back to the pool, whatever happens.

        Args:
            *positional: As for `execute_query`.
            **keywords: As for `execute_query`.

        Returns:
            As `execute_query`.
        """
        connection = positional[0] if positional else keywords.get("connection")
        if not isinstance(connection, Connection):
            return self.execute_query(*positional, **keywords)
        try:
            return self._execute_on(*positional, **keywords)
        finally:
            self.pool_put_connection(connection)

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
            rows = Rows.of(self._executor.run(query, args, dictcursor, idempotent, timeout))
        return (rows[0] if rows else None) if return_one else rows

    def _execute_on(
        self,
        connection: Connection,
        query: str,
        args: Any = (),
        dictcursor: bool = False,
        return_one: bool = False,
        exec_many: bool = False,
    ) -> Any:
        if not isinstance(connection, Connection):
            raise StatementError(
                f"execute_query takes a statement, or a connection of improved_db and a statement, not a "
                f"{type(connection).__name__}; get a connection from connect() or connection()"
            )
        return run_on(connection, query, args, dictcursor, return_one, exec_many)

    def exec_many(
        self,
        query: str,
        rows: Iterable[Any],
        *,
        atomic: bool = True,
        progress: bool | Progress | None = None,
        exactly_once: bool = False,
    ) -> Rows:
        """Run one statement for many rows, as few large statements.

        Args:
            query: Usually ``insert into t (a, b) values (%s, %s)``.
            rows: Any iterable of sequences or mappings, a generator included; an empty one is no statement.
            atomic: All rows in one transaction, made again as a whole where that is safe. False commits chunk by
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
    ) -> Rows:
        """Load rows by LOAD DATA LOCAL, in one transaction, straight from the iterable.

        The server has less to parse than with `exec_many`, the client more to write: measure before you choose. It runs
        on a connection of its own that allows this for this call alone. Where the server refuses, the rows go by
        `exec_many`, and a warning says so.

        Args:
            table: ``table`` or ``database.table``.
            rows: Any iterable of sequences, or of mappings, whose keys are the columns.
            columns: Of which columns the rows are; None for all of the table's.
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

    @contextlib.contextmanager
    def stream(
        self, query: str, args: Any = None, *, dictcursor: bool = False, batch_size: int = 1000
    ) -> Iterator[Stream]:
        """Run one statement and iterate over its rows as the server sends them, with constant memory.

        Starting it is tried again where that is safe; once rows have come, nothing is. Leaving the block early closes
        the connection instead of reading the rest.

        Args:
            query: The statement.
            args: As for `execute_query`.
            dictcursor: Rows as dicts.
            batch_size: The most rows that are decoded at a time.
        """
        with streamed(self._executor, query, args, dict_rows=dictcursor, batch_size=batch_size) as stream:
            yield stream

    # --- transactions ----------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def transaction(self, *, isolation: str | None = None, read_only: bool = False) -> Iterator[Transaction]:
        """Begin a transaction of the caller's own: commit at the end of the block, rollback on an exception.

        Nothing in it is ever tried again. Once the server has rolled it back, or its session is lost, every further
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
        with self._units.owned(isolation, read_only) as tx:
            yield tx

    def run_transaction(
        self,
        fn: Callable[..., T],
        *args: Any,
        exactly_once: bool = False,
        isolation: str | None = None,
        read_only: bool = False,
        **kwargs: Any,
    ) -> T:
        """Call ``fn(tx, *args, **kwargs)`` in a transaction and commit; do all of it again where that is safe.

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
        names = ", ".join(f"'{name}'" for name in SETTINGS)
        rows = self._execute(f"SHOW GLOBAL VARIABLES WHERE Variable_name IN ({names})")
        pool = self._pool.settings
        return findings(dict(rows), idle_timeout=pool.idle_timeout, min_size=pool.min_size)
