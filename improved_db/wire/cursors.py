"""PyMySQL's two plain cursors, with fewer steps between a statement and its rows.

Knows the internals of PyMySQL's cursor. Does not know the socket or the session.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pymysql.cursors
from pymysql import err
from pymysql.constants import COMMAND

from improved_db.wire.values import refuse_strays

if TYPE_CHECKING:

    class Base(pymysql.cursors.Cursor):  # PyMySQL's own methods
        """PyMySQL's cursor with the names that its stubs leave out."""

        connection: Any
        warning_count: int
        _result: Any
        _rows: Any

        def _get_db(self) -> Any: ...
        def _clear_result(self) -> None: ...
        def _do_get_result(self) -> None: ...

else:
    Base = pymysql.cursors.Cursor


class Cursor(Base):
    """`pymysql.cursors.Cursor`."""

    # PyMySQL's __init__ sets each of these in each cursor.
    warning_count: int = 0
    connection: Any
    lastrowid: Any
    description: Any = None
    rownumber = 0
    rowcount: int = -1
    arraysize = 1
    _executed: Any = None
    _result: Any = None
    _rows: Any = None

    def __init__(self, connection: Any) -> None:
        self.connection = connection

    def execute(self, query: str | bytes, args: Any = None) -> int:
        """Run a statement; return how many rows it changed or has."""
        connection = self.connection
        if not connection:
            raise err.ProgrammingError("Cursor closed")
        if self._result is not None:
            while self.nextset():
                pass
            self._clear_result()
        if args is not None:
            query = self.mogrify(query, args)  # type: ignore[arg-type]  # bytes without arguments only, as in PyMySQL
        sql: Any = query
        if isinstance(query, str):
            # Strictly: a lone surrogate would be sent as half a character, which the server joins with the next byte.
            sql = query.encode(connection.encoding)
            refuse_strays(query, connection.encoding)
        try:
            connection._execute_command(COMMAND.COM_QUERY, sql)
            connection._affected_rows = connection._read_query_result()
        except BaseException:
            self._clear_result()
            raise
        self._do_get_result()
        self._executed = query
        return self.rowcount

    def _do_get_result(self) -> None:
        self._result = result = self.connection._result
        self.rowcount = result.affected_rows
        self.warning_count = result.warning_count
        self.description = result.description
        self.lastrowid = result.insert_id
        self._rows = result.rows

    def close(self) -> None:
        """Let go of the connection; if there are more results, read them first."""
        if self._result is None or not self._result.has_next:
            self.connection = None
        else:
            super().close()


class DictCursor(pymysql.cursors.DictCursor, Cursor):  # type: ignore[misc]  # rows of another type, as in PyMySQL
    """`pymysql.cursors.DictCursor`."""


#: PyMySQL's classes and ours; a user's subclasses stay as they are.
QUICKER: Final[dict[Any, type[Cursor]]] = {pymysql.cursors.Cursor: Cursor, pymysql.cursors.DictCursor: DictCursor}
