"""INSERT and REPLACE statements whose rows can go together into one.

Knows enough SQL to find the parentheses after VALUES. Does not know values or connections.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from improved_db.sql.template import parse_template
from improved_db.sql.tokens import tokens_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from improved_db.sql.tokens import Token

#: What may follow the parentheses: an alias, ON DUPLICATE KEY UPDATE, RETURNING.
_AFTER: Final = frozenset({"AS", "ON", "RETURNING"})

#: These make an INSERT without VALUES, or one whose rows depend on the row before.
_NOT_BEFORE: Final = frozenset({"SELECT", "SET"})
_NOT_INSIDE: Final = frozenset({"SELECT", "LAST_INSERT_ID", "ROW_COUNT"})


class Insert(NamedTuple):
    """The parts of an INSERT or REPLACE; ``%%`` has become ``%`` in *prefix* and *postfix*.

    Attributes:
        prefix: Up to VALUES, included.
        values: The parentheses with the placeholders, as they were.
        postfix: What follows them, without a semicolon at the end.
    """

    prefix: str
    values: str
    postfix: str


def split_insert(query: str) -> Insert | None:
    """Split an INSERT or REPLACE ... VALUES (...), so that one statement can carry many rows.

    The parentheses may hold anything: constants, functions, parentheses in quotes.

    Returns:
        None if *query* is another statement, or if its rows must go one by one: placeholders outside the parentheses,
        several groups of parentheses, a row that depends on the one before, unclear quoting.
    """
    tokens = [token for token in tokens_of(query, filled=True) if token.kind != "comment"]
    if not tokens or tokens[0].key not in {"INSERT", "REPLACE"} or tokens[-1].kind == "unclear":
        return None
    opening = _find_values(tokens)
    closing = _find_closing(tokens, opening)
    if not opening or not closing or any(token.key in _NOT_INSIDE for token in tokens[opening:closing]):
        return None
    rest = tokens[closing + 1 :]
    end = rest.pop().start if rest and rest[-1].key == ";" else len(query)
    if rest and (rest[0].key not in _AFTER or any(token.key == ";" for token in rest)):
        return None
    start, stop = tokens[opening].start, tokens[closing].end
    prefix, postfix = parse_template(query[:start]), parse_template(query[stop:end])
    if prefix is None or postfix is None or prefix.width or postfix.width or parse_template(query[start:stop]) is None:
        return None
    return Insert(prefix.pieces[0], query[start:stop], postfix.pieces[0])


def _find_values(tokens: Sequence[Token]) -> int:
    """Return the index of the parenthesis after VALUES, 0 if there is none."""
    depth = 0
    for index, token in enumerate(tokens[:-1]):
        depth += (token.key == "(") - (token.key == ")")
        if depth == 0 and tokens[index - 1].key not in {".", "@"}:
            if token.key in _NOT_BEFORE:
                return 0
            if token.key in {"VALUES", "VALUE"} and tokens[index + 1].key == "(":
                return index + 1
    return 0


def _find_closing(tokens: Sequence[Token], opening: int) -> int:
    """Return the index of the parenthesis that closes the one at *opening*, 0 if there is none."""
    depth = 0
    for index in range(opening, len(tokens)):
        depth += (tokens[index].key == "(") - (tokens[index].key == ")")
        if depth == 0:
            return index
    return 0
