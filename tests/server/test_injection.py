"""No argument becomes SQL, whatever the charset makes of it."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import pymysql.cursors
import pytest

import improved_db

CURSORS = [
    pymysql.cursors.Cursor,
    pymysql.cursors.DictCursor,
    pymysql.cursors.SSCursor,
    pymysql.cursors.SSDictCursor,
]


@pytest.mark.parametrize("kind", CURSORS)
def test_half_a_character_from_a_surrogate_is_not_sent(database: dict[str, Any], kind: type[Any]) -> None:
    """In gbk it would take the backslash along that escapes the quote behind it."""
    evil = b"\xbf' or 1=1 -- ".decode("utf-8", "surrogateescape")
    with closing(improved_db.Connection(**database, charset="gbk")) as connection:
        cursor = connection.cursor(kind)
        with pytest.raises(UnicodeEncodeError):
            cursor.execute("select 1 from (select 'x' n union select 'y') t where n = %s", (evil,))
        cursor.execute("select 1 as one")
        assert len(cursor.fetchall()) == 1
