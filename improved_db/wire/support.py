"""Which of PyMySQL's private names the fast reader uses; if a release of PyMySQL differs, PyMySQL reads the answers.

Knows PyMySQL's private names. Does not know how to read answers.
"""

from __future__ import annotations

import functools
from typing import Final

import pymysql.connections
import pymysql.cursors

#: Names in the class `pymysql.connections.Connection`, and why.
METHODS: Final = {
    "_read_query_result": "is replaced; it still serves LOAD DATA LOCAL, and a `_rfile` that is no buffer",
    "_read_packet": "reads from the buffer what is not a query result: the handshake, COMMIT, ping",
    "_read_bytes": "reads from `_rfile` with `read(n)`; fewer bytes mean the end",
    "_force_close": "closes the socket and `_rfile` after a failure",
    "_execute_command": "asks `_result` for `unbuffered_active`, `has_next` and `_finish_unbuffered_query`",
}

#: Names of the attributes that `_read_packet` and what it calls use, and why.
ATTRIBUTES: Final = {
    "_rfile": "is the buffer",
    "_sock": "gets the timeout",
    "_next_seq_id": "is the number of the next packet, for both readers",
    "_read_timeout": "is how long an answer may take",
    "_current_timeout": "is the timeout that the socket has now",
    "_result": "is the answer that cursors look at",
    "encoding": "decodes text and names",
}

#: Names that `SSCursor` uses of a result it streams.
STREAMING: Final = {
    "_read_rowdata_packet_unbuffered": "gives the next row",
    "_finish_unbuffered_query": "reads past the rest",
}


def _mentioned(*functions: object) -> set[str]:
    """Return the names of globals and attributes in the Python code of *functions*."""
    codes = [getattr(function, "__code__", None) for function in functions]
    return {name for code in codes if code is not None for name in code.co_names}


def notes_timeout() -> bool:
    """Say whether the installed PyMySQL notes which timeout it has set, for reading and for writing."""
    connection = pymysql.connections.Connection
    methods = (getattr(connection, name, None) for name in ("_read_packet", "_write_bytes"))
    return all("_current_timeout" in _mentioned(method) for method in methods)


@functools.cache
def supported() -> bool:
    """Say whether the installed PyMySQL is built as the fast reader expects; the first call finds out.

    If it is not, a connection keeps PyMySQL's own ``_rfile``, and `improved_db.wire.results.read_query_result` lets
    PyMySQL read everything.
    """
    connection, cursor = pymysql.connections.Connection, pymysql.cursors.SSCursor
    if not all(callable(getattr(connection, name, None)) for name in METHODS):
        return False
    if not hasattr(pymysql.connections, "TEXT_TYPES"):  # the column types whose charset matters
        return False
    reading = _mentioned(connection._read_packet, getattr(connection, "_read_bytes", None))
    streaming = _mentioned(getattr(cursor, "read_next", None), cursor.close)
    return ATTRIBUTES.keys() <= reading and STREAMING.keys() <= streaming
