"""PyMySQL's connection reading through a buffer, and nothing else of ours: any difference is the reader's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pymysql.connections

from improved_db.wire.buffer import Buffer
from improved_db.wire.results import read_query_result, read_rows

if TYPE_CHECKING:
    PyMySQLConnection = pymysql.connections.Connection[Any]  # generic in the stubs alone
else:
    PyMySQLConnection = pymysql.connections.Connection


class Wired(PyMySQLConnection):
    """PyMySQL's connection over a buffer."""

    row_kind: type = tuple
    _loading: bytes | None = None
    server_status: int
    _rfile: Any
    _sock: Any
    _result: Any

    def connect(self, sock: Any = None) -> None:
        """Put the buffer in the place of the file once the session is up."""
        super().connect(sock)
        self._rfile.close()
        self._rfile = Buffer(self._sock)

    def _read_query_result(self, unbuffered: bool = False) -> Any:
        return read_query_result(self, unbuffered, self.row_kind)

    @property
    def result(self) -> Any:
        """What the last answer brought."""
        return self._result

    def buffer_size(self) -> int:
        """How many bytes are held."""
        return len(self._rfile.data)


def read_all(wired: Wired, query: str, unbuffered: bool) -> list[Any]:
    """Run a statement and read its rows to the end."""
    wired.query(query, unbuffered=unbuffered)
    return rest_of(wired.result) if unbuffered else list(wired.result.rows)


def rest_of(result: Any, at_once: int = 7) -> list[Any]:
    """Return the rows that a stream still has."""
    return [row for rows in iter(lambda: read_rows(result, at_once), []) for row in rows]


def typed(rows: Any) -> list[Any]:
    """Return values with their types: 1 == 1.0 == True would hide a difference."""
    return [
        [(key, type(value), value) for key, value in (row.items() if isinstance(row, dict) else enumerate(row))]
        for row in rows
    ]
