"""`Reader`: the verbs that only read, over sessions in which the server refuses every write.

Knows the reading verbs and an executor. Does not know which server answers.
"""

from __future__ import annotations

import contextlib
from functools import partial
from typing import TYPE_CHECKING, Any, Concatenate, Final, ParamSpec, TypeVar, overload

from improved_db.execution.pipeline import Pipeline, execute_each, pipelined, run_each
from improved_db.execution.stream import Stream, streamed
from improved_db.execution.transactions import Transactions
from improved_db.rows import DictRow, Rows, TupleRow, rows_from
from improved_db.sql.composed import compose
from improved_db.verbs.queries import Queries

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from contextlib import AbstractContextManager

    from typing_extensions import Unpack

    from improved_db.execution.executor import Executor
    from improved_db.execution.transaction import Transaction
    from improved_db.settings import typed
    from improved_db.sql.composed import Query

T = TypeVar("T")
P = ParamSpec("P")

#: The verbs of `ImprovedDb` that a reader has not, because they may write or lend a whole session.
NOT_FOR_READERS: Final = frozenset(
    {"exec_many", "load_rows", "connection", "connect", "pool_get_connection", "purge_outcomes", "transactional"}
)


class Reader(Queries):
    """The reading verbs of `ImprovedDb`; with several servers, a replica answers, if one can.

    The server refuses writes in these sessions, also where a stored function hides them, and also where the primary
    answers: with error 1792, or 1290 if it is a replica that is read-only.

    Attributes:
        executor: What runs the statements.
    """

    def __init__(self, executor: Executor, seeing: Callable[[bytes], AbstractContextManager[None]]) -> None:
        """Read by *executor*, whose sessions are READ ONLY; *seeing* lets the reads of a block see a token's writes."""
        self.executor: Executor = executor
        self._seeing = seeing
        self._transactions = Transactions(executor)

    @overload
    def execute_query(
        self, query: Query, args: Any = None, **options: Unpack[typed.TuplesOnReader]
    ) -> Rows[TupleRow]: ...
    @overload
    def execute_query(
        self, query: Query, args: Any = None, **options: Unpack[typed.DictsOnReader]
    ) -> Rows[DictRow]: ...
    @overload
    def execute_query(
        self, query: Query, args: Any = None, **options: Unpack[typed.OneTupleOnReader]
    ) -> TupleRow | None: ...
    @overload
    def execute_query(
        self, query: Query, args: Any = None, **options: Unpack[typed.OneDictOnReader]
    ) -> DictRow | None: ...
    @overload
    def execute_query(self, query: Query, args: Any = None, **options: Unpack[typed.AnyShapeOnReader]) -> Any: ...
    def execute_query(
        self,
        query: Query,
        args: Any = None,
        *,
        dictcursor: bool = False,
        return_one: bool = False,
        idempotent: bool | None = None,
        timeout: float | None = None,
        after: bytes | None = None,
    ) -> Any:
        """Run one statement that only reads, and return its rows; retry what is safe to retry, on any server.

        Args:
            query: The statement.
            args: As for `ImprovedDb.execute_query`.
            dictcursor: Rows as dicts.
            return_one: The first row or None.
            idempotent: As for `ImprovedDb.execute_query`.
            timeout: Seconds the statement may run.
            after: A token of `ImprovedDb.causal_token`, of this program or another one: the read sees what that had
                written.

        Raises:
            ServerRefused: No server may answer; the text names each of them.
            pymysql.err.MySQLError: What the server said; 1792 or 1290 if the statement writes.
        """
        if not isinstance(query, str):
            query, args = compose(query, args)
        with contextlib.nullcontext() if after is None else self._seeing(after):
            rows = rows_from(self.executor.run(query, args, dictcursor, idempotent, timeout))
        return (rows[0] if rows else None) if return_one else rows

    def _result(self, query: Query, args: Any, row_kind: bool | type, timeout: float | None) -> Any:
        if not isinstance(query, str):
            query, args = compose(query, args)
        return self.executor.run(query, args, row_kind, None, timeout)

    def _stream(
        self, query: Query, args: Any, row_kind: bool | type, batch_size: int, timeout: float | None
    ) -> AbstractContextManager[Stream[Any]]:
        if not isinstance(query, str):
            query, args = compose(query, args)
        return streamed(self.executor, query, args, dict_rows=row_kind, batch_size=batch_size, timeout=timeout)

    def pipeline(self) -> AbstractContextManager[Pipeline]:
        """Collect statements that only read, and send them in one round trip; see `ImprovedDb.pipeline`."""
        return pipelined(partial(run_each, self.executor))

    def execute_each(
        self, query: Query, args_iterable: Iterable[Any], *, row_type: type[Any] = tuple, batch_size: int = 300
    ) -> Iterator[Rows[Any]]:
        """Run one statement for each of many arguments; see `ImprovedDb.execute_each`."""
        return execute_each(self.executor, query, args_iterable, row_type=row_type, batch_size=batch_size)

    @contextlib.contextmanager
    def transaction(self, *, isolation: str | None = None, after: bytes | None = None) -> Iterator[Transaction]:
        """Begin a READ ONLY transaction on one server, which sees one state of the data; nothing in it is retried.

        Args:
            isolation: As for `ImprovedDb.transaction`.
            after: As for `execute_query`.
        """
        with contextlib.ExitStack() as stack:
            with contextlib.nullcontext() if after is None else self._seeing(after):
                tx = stack.enter_context(self._transactions.lend(isolation, read_only=True))
            yield tx

    def run_transaction(self, fn: Callable[Concatenate[Transaction, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call ``fn(tx, *args, **kwargs)`` in a READ ONLY transaction; retry all of it if that is safe.

        Returns:
            What *fn* returned.
        """
        return self._transactions.run(lambda tx: fn(tx, *args, **kwargs), read_only=True)

    def __getattr__(self, name: str) -> Any:
        if name in NOT_FOR_READERS:
            raise AttributeError(f"a reader only reads: {name} is a verb of ImprovedDb itself")
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.executor.pool.settings.name}>"
