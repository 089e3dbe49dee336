"""Whether a statement provably leaves its session as it was, but for a transaction.

If one may not, the session is reset before the next borrower gets it. Statements not listed here touch the session:
CALL, SET, USE, FLUSH, LOCK, PREPARE, EXECUTE, DO, HANDLER, XA. The text does not tell what a stored function or a
trigger does within a listed statement.

Knows the first words of statements and what sets user variables or takes locks. Does not know connections.
"""

from __future__ import annotations

import functools
import re
from typing import Final

from improved_db.sql.tokens import clear_tokens

#: The first three letters of the statements that leave a session as it was, in lower case: SELECT, WITH, TABLE, VALUES,
#: INSERT, REPLACE, REPAIR, UPDATE, DELETE, TRUNCATE, COMMIT, ROLLBACK, START, SAVEPOINT, RELEASE, SHOW, DESCRIBE,
#: EXPLAIN, ALTER, DROP, RENAME, ANALYZE, OPTIMIZE, CHECK, KILL, GRANT, REVOKE, LOAD.
KEEPING: Final = frozenset(
    b"sel wit tab val ins rep upd del tru com rol sta sav rel sho des exp alt dro ren ana opt che kil gra rev".split()
)

#: A search for a byte is faster than one for a text of one byte.
AT, LOW_LINE = b"@_"

_WORDS: Final = frozenset(
    [
        "SELECT",
        "WITH",
        "TABLE",
        "VALUES",
        "INSERT",
        "REPLACE",
        "REPAIR",
        "UPDATE",
        "DELETE",
        "TRUNCATE",
        "COMMIT",
        "ROLLBACK",
        "START",
        "SAVEPOINT",
        "RELEASE",
        "SHOW",
        "DESCRIBE",
        "DESC",
        "EXPLAIN",
        "ALTER",
        "DROP",
        "RENAME",
        "ANALYZE",
        "OPTIMIZE",
        "CHECK",
        "CHECKSUM",
        "KILL",
        "GRANT",
        "REVOKE",
        "LOAD",
    ]
)
_LOCKS: Final = frozenset({"GET_LOCK", "RELEASE_LOCK", "RELEASE_ALL_LOCKS"})

#: A longer text that may touch the session counts as one that does: reading it would cost more than the reset.
_LONG: Final = 10_000

#: Charsets in which the bytes of other characters are never those of ASCII characters.
_PLAIN: Final = frozenset({"utf8", "utf-8", "latin1", "cp1252", "ascii"})

#: How a statement with a time limit begins (`statement.with_time_limit`).
_LIMITED: Final = re.compile(rb"SET STATEMENT max_statement_time=[0-9.]+ FOR ")
_QUOTED: Final = re.compile(rb"'[^'\\]*'|\"[^\"\\]*\"|`[^`]*`")
_LOCKING: Final = re.compile(rb"get_lock|release_lock|release_all_locks", re.IGNORECASE)


#: Statements whose only effect is on their session; not SET GLOBAL and its like.
_FORGOTTEN: Final = r"""(?ix) \s* (?:
    (?P<one> begin (?! \s+ not\b ) | use | lock | prepare ) \b
  | (?P<start> start ) \s+ transaction \b
  | (?P<set> set ) \s+ (?! (?: global | persist | persist_only | password | statement | default | resource ) \b
                        | @@ (?: global | persist | persist_only ) \b )
)"""


def forgotten(query: str) -> str:
    """Return the first word of a statement that changes nothing but its session, such as SET; "" for any other."""
    found = re.match(_FORGOTTEN, query)
    return "" if found is None else found[found.lastgroup or 0].upper()


def is_suspect(sql: bytes) -> bool:
    """Say whether a statement has a character or word that may set a user variable or take a named lock."""
    return AT in sql or (LOW_LINE in sql and b"_lock" in sql.lower())


def touches(sql: bytes, encoding: str) -> bool:
    """Say whether a statement may change its session, in more than a transaction.

    Args:
        sql: The statement as it is sent.
        encoding: Of its text.

    Returns:
        True if in doubt.
    """
    limited = _LIMITED.match(sql)
    if limited is not None:
        sql = sql[limited.end() :]
    keeping = sql[:3].lower() in KEEPING
    if keeping and not is_suspect(sql):
        return False
    if len(sql) > _LONG or encoding not in _PLAIN:
        return True
    if keeping and not any(mark in sql for mark in (b"\\", b"/*", b"--", b"#")):
        bare = _QUOTED.sub(b"", sql)
        return b"@" in bare.replace(b"@@", b"") or b":=" in bare or _LOCKING.search(bare) is not None
    return _touches(sql.decode("latin1"))


@functools.lru_cache(256)
def _touches(text: str) -> bool:
    tokens = clear_tokens(text)
    keys = [token.key for token in tokens]
    if keys[:2] == ["SET", "STATEMENT"] and "FOR" in keys:  # its setting lasts for one statement only
        keys = keys[keys.index("FOR") + 1 :]
    if not keys or not {"@", ":=", ";"}.isdisjoint(keys) or not _LOCKS.isdisjoint(keys):
        return True
    verb = next((key for key in keys if key != "("), "")
    if verb == "BEGIN":  # BEGIN NOT ATOMIC is a block of statements
        return keys[1:] not in ([], ["WORK"])
    if verb == "CREATE":
        return "TEMPORARY" in keys[1:4]
    return verb not in _WORDS
