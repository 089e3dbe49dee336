"""The adapters for aiosql (``improved-db[aiosql]``), which loads statements from files and gives each a name.

Importing this module registers them with aiosql, as ``"improved_db"`` and ``"improved_db_aio"``:

    import aiosql, improved_db.aiosql
    queries = aiosql.from_path("queries/", "improved_db")
    queries.get_user(db, uid=42)

A query takes an `ImprovedDb` or a `Transaction`, and its name stands in logs and statistics. A percent sign is written
once in all of them, whether they have parameters or not.

Knows what aiosql asks of a driver, and the verbs. Does not know files, or how a statement is run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import aiosql
from aiosql.utils import VAR_REF

from improved_db.errors import StatementError
from improved_db.sql.labels import name_statement
from improved_db.sql.tokens import tokens_of

if TYPE_CHECKING:
    import re
    from collections.abc import AsyncIterator, Callable, Iterator
    from contextlib import AbstractAsyncContextManager, AbstractContextManager

    from aiosql.types import SQLOperationType

    from improved_db.aio import AsyncImprovedDb, AsyncStream, AsyncTransaction
    from improved_db.db import ImprovedDb
    from improved_db.execution.stream import Stream
    from improved_db.execution.transaction import Transaction
    from improved_db.rows import Rows

__all__ = ["Adapter", "AsyncAdapter"]


class _Texts:
    """What both adapters make of the texts in the files."""

    def process_sql(self, query_name: str, op_type: SQLOperationType, sql: str) -> str:  # noqa: ARG002  # aiosql passes it
        """Write ``:name`` as ``%(name)s``, and note the name of the query."""
        if any(found["var_name"] for found in VAR_REF.finditer(sql)):
            sql = VAR_REF.sub(_placeholder, sql.replace("%", "%%"))
        name_statement(sql, query_name)
        return sql


class Adapter(_Texts):
    """Runs queries on an `ImprovedDb` or in a `Transaction`."""

    def __init__(self, row_type: Callable[..., Any] = tuple) -> None:
        """Return rows as *row_type* makes them: ``aiosql.from_path(..., kwargs={"row_type": dict})``."""
        self._row_type = row_type

    def select(
        self,
        conn: ImprovedDb | Transaction,
        query_name: str,  # noqa: ARG002  # aiosql passes it to all
        sql: str,
        parameters: Any,
        record_class: Callable[..., Any] | None = None,
    ) -> Rows[Any]:
        """Return all rows; the statement has run then."""
        return conn.fetch_all(sql, parameters or None, row_type=record_class or self._row_type)

    def select_one(
        self,
        conn: ImprovedDb | Transaction,
        query_name: str,  # noqa: ARG002
        sql: str,
        parameters: Any,
        record_class: Callable[..., Any] | None = None,
    ) -> Any:
        """Return the first row, or None (``^``)."""
        return conn.fetch_one(sql, parameters or None, row_type=record_class or self._row_type)

    def select_value(
        self,
        conn: ImprovedDb | Transaction,
        query_name: str,  # noqa: ARG002
        sql: str,
        parameters: Any,
    ) -> Any:
        """Return the first column of the first row, or None (``$``)."""
        return conn.fetch_value(sql, parameters or None)

    def select_cursor(
        self,
        conn: ImprovedDb | Transaction,
        query_name: str,  # noqa: ARG002
        sql: str,
        parameters: Any,
    ) -> AbstractContextManager[Stream[Any]]:
        """Lend a stream of the rows, as `ImprovedDb.stream` does (``_cursor``)."""
        return conn.stream(sql, parameters or None)

    def insert_update_delete(
        self,
        conn: ImprovedDb | Transaction,
        query_name: str,  # noqa: ARG002
        sql: str,
        parameters: Any,
    ) -> int:
        """Return how many rows were changed (``!``)."""
        return conn.execute_query(sql, parameters or None).rowcount

    def insert_update_delete_many(
        self,
        conn: ImprovedDb | Transaction,
        query_name: str,  # noqa: ARG002
        sql: str,
        parameters: Any,
    ) -> int:
        """Run it for many parameters, as `ImprovedDb.exec_many` does; return how many rows were changed (``*!``)."""
        return conn.exec_many(sql, parameters).rowcount

    def insert_returning(
        self,
        conn: ImprovedDb | Transaction,
        query_name: str,  # noqa: ARG002
        sql: str,
        parameters: Any,
    ) -> Any:
        """Return what RETURNING gives, a value or a row; without it the AUTO_INCREMENT value (``<!``)."""
        return _returned(conn.execute_query(sql, parameters or None))

    def execute_script(self, conn: ImprovedDb | Transaction, sql: str) -> str:
        """Run the statements of a script one after the other (``#``)."""
        for statement in statements_of(sql):
            conn.execute_query(statement)
        return "DONE"


class AsyncAdapter(_Texts):
    """Runs queries on an `AsyncImprovedDb` or in an `AsyncTransaction`; each method is as that of `Adapter`."""

    is_aio_driver = True

    def __init__(self, row_type: Callable[..., Any] = tuple) -> None:
        """Return rows as *row_type* makes them."""
        self._row_type = row_type

    async def select(
        self,
        conn: AsyncImprovedDb | AsyncTransaction,
        query_name: str,  # noqa: ARG002  # aiosql passes it to all
        sql: str,
        parameters: Any,
        record_class: Callable[..., Any] | None = None,
    ) -> AsyncIterator[Any]:
        """Yield all rows."""
        for row in await conn.fetch_all(sql, parameters or None, row_type=record_class or self._row_type):
            yield row

    async def select_one(
        self,
        conn: AsyncImprovedDb | AsyncTransaction,
        query_name: str,  # noqa: ARG002
        sql: str,
        parameters: Any,
        record_class: Callable[..., Any] | None = None,
    ) -> Any:
        """Return the first row, or None (``^``)."""
        return await conn.fetch_one(sql, parameters or None, row_type=record_class or self._row_type)

    async def select_value(
        self,
        conn: AsyncImprovedDb | AsyncTransaction,
        query_name: str,  # noqa: ARG002
        sql: str,
        parameters: Any,
    ) -> Any:
        """Return the first column of the first row, or None (``$``)."""
        return await conn.fetch_value(sql, parameters or None)

    def select_cursor(
        self,
        conn: AsyncImprovedDb | AsyncTransaction,
        query_name: str,  # noqa: ARG002
        sql: str,
        parameters: Any,
    ) -> AbstractAsyncContextManager[AsyncStream[Any]]:
        """Lend a stream of the rows, as `ImprovedDb.stream` does (``_cursor``)."""
        return conn.stream(sql, parameters or None)

    async def insert_update_delete(
        self,
        conn: AsyncImprovedDb | AsyncTransaction,
        query_name: str,  # noqa: ARG002
        sql: str,
        parameters: Any,
    ) -> int:
        """Return how many rows were changed (``!``)."""
        return (await conn.execute_query(sql, parameters or None)).rowcount

    async def insert_update_delete_many(
        self,
        conn: AsyncImprovedDb | AsyncTransaction,
        query_name: str,  # noqa: ARG002
        sql: str,
        parameters: Any,
    ) -> int:
        """Run it for many parameters, as `ImprovedDb.exec_many` does; return how many rows were changed (``*!``)."""
        return (await conn.exec_many(sql, parameters)).rowcount

    async def insert_returning(
        self,
        conn: AsyncImprovedDb | AsyncTransaction,
        query_name: str,  # noqa: ARG002
        sql: str,
        parameters: Any,
    ) -> Any:
        """Return what RETURNING gives, a value or a row; without it the AUTO_INCREMENT value (``<!``)."""
        return _returned(await conn.execute_query(sql, parameters or None))

    async def execute_script(self, conn: AsyncImprovedDb | AsyncTransaction, sql: str) -> str:
        """Run the statements of a script one after the other (``#``)."""
        for statement in statements_of(sql):
            await conn.execute_query(statement)
        return "DONE"


def _placeholder(found: re.Match[str]) -> str:
    return f"{found['lead']}%({found['var_name']})s" if found["var_name"] else found[0]


def _returned(rows: Rows[Any]) -> Any:
    if not rows:
        return rows.lastrowid
    return rows[0][0] if len(rows[0]) == 1 else rows[0]


def statements_of(script: str) -> Iterator[str]:
    """Yield the statements of a script, which semicolons separate.

    Raises:
        StatementError: It is not clear to every server where a statement ends.
    """
    start = 0
    for token in tokens_of(script):
        if token.kind == "unclear":
            raise StatementError(
                f"the script is not clear at {token.text!r}, character {token.start}: run its statements one by one"
            )
        if token.key == ";":
            yield script[start : token.start]
            start = token.end
    if script[start:].strip():
        yield script[start:]


_ADAPTERS: dict[str, Any] = {"improved_db": Adapter, "improved_db_aio": AsyncAdapter}
for _name, _adapter in _ADAPTERS.items():
    aiosql.register_adapter(_name, _adapter)
