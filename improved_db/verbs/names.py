"""The names that other libraries have for our verbs, and what to write here.

Knows names. Does not know what they do.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import TYPE_CHECKING, Final, Generic, NoReturn, TypeVar

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

T_co = TypeVar("T_co", covariant=True)

_QUERY: Final = "execute_query() runs a statement and returns its rows; a cursor() is a connection's: connection()"
_COMMIT: Final = "each statement commits by itself; for several together write: with db.transaction() as tx"
_RUN: Final = "execute_query() runs a statement and returns its rows"
_LEND: Final = "connection() lends one for a with block"

#: Of a database.
OF_DATABASE: Final[Mapping[str, str]] = {
    **dict.fromkeys(("cursor", "execute", "query", "fetchall", "fetchone", "select"), _QUERY),
    **dict.fromkeys(("executemany", "execute_many", "insert_many"), "exec_many() runs a statement for many rows"),
    **dict.fromkeys(("commit", "rollback", "begin", "autocommit"), _COMMIT),
    **dict.fromkeys(("acquire", "getconn", "get_connection", "get_conn", "session"), _LEND),
    **dict.fromkeys(("release", "putconn"), "pool_put_connection() returns a connection"),
    **dict.fromkeys(("insert", "update", "delete"), "execute_query() runs a statement, exec_many() one for many rows"),
    "dispose": "close() closes the pool, drain() replaces its connections",
}

#: Of a transaction.
OF_TRANSACTION: Final[Mapping[str, str]] = {
    **dict.fromkeys(("cursor", "execute", "query", "fetchall", "fetchone", "select"), _RUN),
    **dict.fromkeys(("executemany", "execute_many", "insert_many"), "exec_many() runs a statement for many rows"),
    **dict.fromkeys(("begin", "start", "transaction"), "the transaction has begun; a part of it is a savepoint()"),
}

#: Of a database for asyncio.
OF_ASYNCIO: Final[Mapping[str, str]] = {
    **dict.fromkeys(("cursor", "execute", "query", "fetchall", "fetchone", "fetchrow", "fetchval", "fetch"), _RUN),
    **dict.fromkeys(("executemany", "execute_many", "insert_many"), "exec_many() runs a statement for many rows"),
    **dict.fromkeys(("commit", "rollback", "begin"), _COMMIT.replace("with", "async with")),
    **dict.fromkeys(("acquire", "connection", "session"), "run_sync(fn) calls fn(db), which may borrow a connection"),
}


def missing(owner: object, name: str, hints: Mapping[str, str]) -> AttributeError:
    """Return the error for an attribute that *owner* does not have."""
    text = f"{type(owner).__name__!r} object has no attribute {name!r}"
    hint = hints.get(name)
    return AttributeError(text if hint is None else f"{text}; {hint}", name=name, obj=owner)


class Block(AbstractContextManager[T_co], Generic[T_co]):
    """A context manager that says so to those who use it without ``with``."""

    def __init__(self, inner: AbstractContextManager[T_co], usage: str) -> None:
        """Stand for *inner*, which is used as *usage* shows."""
        self._inner = inner
        self._usage = usage

    def __enter__(self) -> T_co:
        return self._inner.__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return self._inner.__exit__(kind, error, trace)

    if not TYPE_CHECKING:  # a type checker is to complain by itself

        def __getattr__(self, name: str) -> NoReturn:
            raise AttributeError(f"{name!r} belongs to what the block gives: {self._usage}", name=name, obj=self)

        def __iter__(self) -> NoReturn:
            raise TypeError(f"iterate over what the block gives: {self._usage}")

        async def __aenter__(self) -> NoReturn:
            raise TypeError(f"this block is no asynchronous one: {self._usage}; AsyncImprovedDb has those for asyncio")

        async def __aexit__(self, *_: object) -> None:
            """Never called, but looked for."""


class AsyncBlock(AbstractAsyncContextManager[T_co], Generic[T_co]):
    """An asynchronous context manager that says so to those who use it without ``async with``."""

    def __init__(self, inner: AbstractAsyncContextManager[T_co], usage: str) -> None:
        """Stand for *inner*, which is used as *usage* shows."""
        self._inner = inner
        self._usage = usage

    async def __aenter__(self) -> T_co:
        return await self._inner.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return await self._inner.__aexit__(kind, error, trace)

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> NoReturn:
            raise AttributeError(f"{name!r} belongs to what the block gives: {self._usage}", name=name, obj=self)

        def _refuse(self) -> NoReturn:
            raise TypeError(f"write {self._usage}")

        __aiter__ = __await__ = __iter__ = __enter__ = _refuse

        def __exit__(self, *_: object) -> None:
            """Never called, but looked for."""
