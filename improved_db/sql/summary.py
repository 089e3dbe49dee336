"""The summary of a statement: its operations and their targets, in few words, which name it in a trace.

It follows OpenTelemetry's conventions for databases: as written, in order, nested queries too.

Knows tokens. Does not know connections, or who traces.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from improved_db.sql.keywords import words
from improved_db.sql.labels import name_of
from improved_db.sql.normal import NOTHING, READ
from improved_db.sql.tokens import tokens_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from improved_db.sql.tokens import Token

#: How long a summary is at the most, by the conventions.
LONGEST_SUMMARY: Final = 255

_OPERATIONS: Final = frozenset(["SELECT", "INSERT", "UPDATE", "DELETE", "REPLACE"])
_DEFINITIONS: Final = frozenset(["CREATE", "ALTER", "DROP", "TRUNCATE", "RENAME"])
_OBJECTS: Final = words(
    "TABLE INDEX VIEW DATABASE SCHEMA PROCEDURE FUNCTION TRIGGER SEQUENCE USER ROLE EVENT SERVER TABLESPACE"
)
_IF: Final = words("IF NOT EXISTS")
_SETS: Final = frozenset(["UNION", "EXCEPT", "INTERSECT"])
_BEFORE_A_TABLE: Final = frozenset(["FROM", "JOIN", "STRAIGHT_JOIN", "INTO", "UPDATE", "INSERT", "REPLACE"])
_NOT_A_TABLE: Final = words("IGNORE LOW_PRIORITY QUICK DELAYED HIGH_PRIORITY ONLY LATERAL OUTFILE DUMPFILE")
_CALLS: Final = frozenset(["CALL", "EXEC", "EXECUTE", "LOAD"])
_AFTER_TABLES: Final = words("WHERE SET VALUES VALUE GROUP ORDER HAVING LIMIT ON USING SELECT WINDOW FOR")


def summary(query: str) -> str:
    """Return the operations of a statement and their targets, in order: few words, for the name of a span.

    Args:
        query: The statement.

    Returns:
        As in ``"SELECT orders customers"`` or ``"CREATE TABLE pets"``: at most 255 characters, names and case as
        written. Empty if the text has no words. Of a statement that a program has named, the name.
    """
    if name := name_of(query):
        return name
    tokens = [token for token in tokens_of(query[:READ], filled=True) if token.kind not in {"comment", "unclear"}]
    parts = list(_definition(tokens) if tokens and tokens[0].key in _DEFINITIONS else _parts(tokens))
    if not parts and tokens and tokens[0].kind == "word":
        parts = [tokens[0].text]
    text = " ".join(parts)
    return text if len(text) <= LONGEST_SUMMARY else text[: LONGEST_SUMMARY + 1].rpartition(" ")[0]


def _definition(tokens: list[Token]) -> Iterator[str]:
    """Yield verb, kind of object and name of a statement that defines something."""
    yield tokens[0].text
    for at, token in enumerate(tokens[1:], 1):
        if token.key in _OBJECTS:
            yield token.text
            name = _name(tokens, next((i for i, each in enumerate(tokens) if i > at and each.key not in _IF), at))
            if name:
                yield name
            return
    name = _name(tokens, 1)
    if name and tokens[0].key == "TRUNCATE":
        yield name


def _parts(tokens: list[Token]) -> Iterator[str]:
    before = NOTHING
    queries = [True]  # for each open parenthesis, whether a query is in it, or tables, and not arguments
    listed = False  # whether a comma leads to another table
    for at, token in enumerate(tokens):
        key = token.key
        after = tokens[at + 1].key if at + 1 < len(tokens) else ""
        if key == "(":
            queries.append(after in {"SELECT", "WITH"} or (before.key in _BEFORE_A_TABLE and queries[-1]))
        elif key == ")":
            queries = queries[:-1] or [True]
        if (at == 0 and key in _CALLS) or _begins_an_operation(tokens, at, before, after):
            yield token.text
        listed = listed and key not in _AFTER_TABLES
        if queries[-1] and _leads_to_a_table(before, key, after, listed=listed):
            name = _name(tokens, at + 1 + (key == "INTO" and after == "TABLE"))  # LOAD DATA ... INTO TABLE t
            if name:
                yield name
            listed = listed or key in {"FROM", "JOIN"}
        before = token


def _begins_an_operation(tokens: list[Token], at: int, before: Token, after: str) -> bool:
    """Say whether a word is an operation of its own: the further queries of a UNION belong to the first one."""
    if tokens[at].key not in _OPERATIONS or not _operates(before, tokens[at], after):
        return False
    of_a_set = before.key in _SETS or (before.key in {"ALL", "DISTINCT"} and tokens[at - 2].key in _SETS)
    return not of_a_set


def _operates(before: Token, token: Token, after: str) -> bool:
    """Say whether a word is an operation: not a function, nor part of FOR UPDATE or ON DUPLICATE KEY UPDATE."""
    if before.key == "." or (after == "(" and token.key in {"INSERT", "REPLACE"}):
        return False
    return token.key != "UPDATE" or before.key not in {"FOR", "KEY", "ON"}


def _leads_to_a_table(before: Token, key: str, after: str, *, listed: bool) -> bool:
    if key == "," and listed:
        return True
    if before.key == "." or (key == "UPDATE" and before.key in {"FOR", "KEY", "ON"}) or after == "(":
        return False
    if key in {"INSERT", "REPLACE"}:
        return before is NOTHING and after not in {"INTO", "IGNORE", "LOW_PRIORITY", "DELAYED", "HIGH_PRIORITY"}
    return key in _BEFORE_A_TABLE or (key in _CALLS and key != "LOAD" and before is NOTHING)


def _name(tokens: list[Token], at: int) -> str:
    """Return the name at *at*, with what qualifies it; empty if no name stands there."""
    while at < len(tokens) and tokens[at].key in _NOT_A_TABLE:
        at += 1
    parts: list[str] = []
    while at < len(tokens) and tokens[at].kind in {"word", "name"} and tokens[at].key not in _OPERATIONS:
        parts.append(tokens[at].text)
        if at + 1 >= len(tokens) or tokens[at + 1].key != ".":
            break
        at += 2
    return ".".join(parts)
