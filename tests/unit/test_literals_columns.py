"""Columns whose literals differ from the others' by one character, or by one value."""

from __future__ import annotations

from typing import Any

import pymysql.connections
import pymysql.err
import pytest

from improved_db.wire.literals import rows_to_sql

PLAIN: Any = pymysql.connections.Connection(defer_connect=True, ssl_disabled=True)
PLAIN.server_status = 0


@pytest.mark.parametrize("value", [float("inf"), float("-inf"), float("nan")])
def test_a_column_of_floats_with_one_that_is_no_number_is_refused(value: float) -> None:
    """Infinity has an n too, and would be sent as a word that is the name of a column."""
    with pytest.raises(pymysql.err.ProgrammingError):
        rows_to_sql("(%s)", [(1.0,), (value,)], PLAIN)


def test_every_character_that_pymysql_escapes_is_escaped_in_a_column() -> None:
    """Control-Z ends a file on Windows; a quote ends the text."""
    assert rows_to_sql("(%s)", [("\\",), ("\0",), ("\n",), ("\r",), ("\x1a",), ('"',), ("'",)], PLAIN) == (
        "('\\\\'),('\\0'),('\\n'),('\\r'),('\\Z'),('\\\"'),('\\'')"
    )


def test_a_memoryview_is_one_value_and_not_a_row_of_numbers() -> None:
    """As bytes are: two bytes do not fill two places."""
    with pytest.raises(pymysql.err.ProgrammingError, match=r"row 0 .* has 1 values"):
        rows_to_sql("(%s, %s)", [memoryview(b"ab")], PLAIN)
