"""PyMySQL's two plain cursors, with fewer steps between a statement and its rows.

Knows PyMySQL's cursor from the inside. Does not know the socket or the session.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pymysql.cursors

if TYPE_CHECKING:

    class Base(pymysql.cursors.Cursor):  # PyMySQL's own methods
        """PyMySQL's cursor with the names that its stubs leave out."""

        connection: Any
        _result: Any

        def _get_db(self) -> Any: ...
        def _clear_result(self) -> None: ...
        def _do_get_result(self) -> None: ...

else:
    Base = pymysql.cursors.Cursor


class Cursor(Base):
    """`pymysql.cursors.Cursor`."""

    def execute(self, query: str, args: Any = None) -> int:
        """Run a statement; return how many rows it changed or has."""
        connection = self._get_db()
        if self._result is not None:
            while self.nextset():
                pass
            self._clear_result()
        if args is not None:
            query = self.mogrify(query, args)
        try:
            connection.query(query)
        except BaseException:
            self._clear_result()
            raise
        self._do_get_result()
        self._executed = query
        return self.rowcount

    def close(self) -> None:
        """Let the connection go, after reading what is left of several results."""
        if self._result is None or not self._result.has_next:
            self.connection = None
        else:
            super().close()


class DictCursor(pymysql.cursors.DictCursor, Cursor):  # type: ignore[misc]  # rows of another type, as in PyMySQL
    """`pymysql.cursors.DictCursor`."""


#: PyMySQL's classes and ours; subclasses of a user's own stay as they are.
QUICKER: Final[dict[Any, type[Cursor]]] = {pymysql.cursors.Cursor: Cursor, pymysql.cursors.DictCursor: DictCursor}
