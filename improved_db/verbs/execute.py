"""What `execute_query` takes and returns, in both of its forms, as type checkers see it.

Knows the shapes of rows. Does not know what runs the statement.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Protocol, overload

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Unpack

    from improved_db.rows import DictRow, Rows, TupleRow
    from improved_db.settings import typed
    from improved_db.sql.composed import Query
    from improved_db.wire.connection import Connection


class ExecuteQuery(Protocol):
    """Run one statement and return its rows; see `ImprovedDb.execute_query`."""

    @overload
    def __call__(
        self,
        query: Query,
        args: Any = None,
        *,
        dictcursor: Literal[False] = False,
        return_one: Literal[False] = False,
        exec_many: bool = False,
        idempotent: bool | None = None,
        timeout: float | None = None,
        exactly_once: bool = False,
        read_only: bool = False,
        after: bytes | None = None,
    ) -> Rows[TupleRow]: ...
    @overload
    def __call__(self, query: Query, args: Any = None, **options: Unpack[typed.DictsOnPool]) -> Rows[DictRow]: ...
    @overload
    def __call__(self, query: Query, args: Any = None, **options: Unpack[typed.OneTupleOnPool]) -> TupleRow | None: ...
    @overload
    def __call__(self, query: Query, args: Any = None, **options: Unpack[typed.OneDictOnPool]) -> DictRow | None: ...
    @overload
    def __call__(self, query: Query, args: Any = None, **options: Unpack[typed.AnyShapeOnPool]) -> Any: ...
    @overload
    def __call__(
        self, connection: Connection, query: Query, args: Any = (), **options: Unpack[typed.Tuples]
    ) -> Rows[TupleRow]: ...
    @overload
    def __call__(
        self, connection: Connection, query: Query, args: Any = (), **options: Unpack[typed.Dicts]
    ) -> Rows[DictRow]: ...
    @overload
    def __call__(
        self, connection: Connection, query: Query, args: Any = (), **options: Unpack[typed.OneTuple]
    ) -> TupleRow | None: ...
    @overload
    def __call__(
        self, connection: Connection, query: Query, args: Any = (), **options: Unpack[typed.OneDict]
    ) -> DictRow | None: ...
    @overload
    def __call__(
        self,
        connection: Connection,
        query: Query,
        args: Any = (),
        dictcursor: bool = ...,
        return_one: bool = ...,
        exec_many: bool = ...,
    ) -> Any: ...


def execute_query_of(function: Callable[..., Any]) -> ExecuteQuery:
    """Return *function*, a method, as what type checkers are to see."""
    seen: Any = function
    verb: ExecuteQuery = seen
    return verb
