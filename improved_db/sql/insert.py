"""INSERT and REPLACE statements whose rows can go together into one.

Knows enough SQL to find the parentheses after VALUES. Does not know values or connections.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from improved_db.sql.template import parse_template

if TYPE_CHECKING:
    from collections.abc import Sequence

#: A quoted string must read the same whether or not the server takes backslashes for escapes: none before its quote.
_LEXEME: Final = r"""(?xs)
      (?P<space>  \s+ | --(?=\s|$)[^\n]* | \#[^\n]* | /\*(?!M?!).*?\*/ )
    | (?P<quoted> '(?:[^'\\]|''|\\[^'])*' | "(?:[^"\\]|""|\\[^"])*" | `(?:[^`]|``)*` )
    | (?P<word>   [^\W\d][\w$]* )
    | (?P<odd>    ['"`] | /\* )
    | (?P<sign>   . )
    """

#: What may follow the parentheses: an alias, ON DUPLICATE KEY UPDATE, RETURNING.
_AFTER: Final = frozenset({"as", "on", "returning"})

#: These make an INSERT without VALUES, or one whose rows look at what the row before them did.
_NOT_BEFORE: Final = frozenset({"select", "set"})
_NOT_INSIDE: Final = frozenset({"select", "last_insert_id", "row_count"})


class Insert(NamedTuple):
    """An INSERT or REPLACE taken apart; ``%%`` has become ``%`` in *prefix* and *postfix*.

    Attributes:
        prefix: Up to and with VALUES.
        values: The parentheses with the placeholders, as they were.
        postfix: What follows them, without a semicolon at the end.
    """

    prefix: str
    values: str
    postfix: str


def split_insert(query: str) -> Insert | None:
    """Take an INSERT or REPLACE ... VALUES (...) apart, so that one statement can carry many rows.

    The parentheses may hold anything: constants, functions, parentheses in quotes.

    Returns:
        None if *query* is no such statement, or if its rows must go one by one: placeholders outside the parentheses,
        several groups of parentheses, a row that depends on the one before, quoting that cannot be told for sure.
    """
    tokens = [token for token in re.finditer(_LEXEME, query) if token.lastgroup != "space"]
    if not tokens or _word(tokens[0]) not in ("insert", "replace") or any(t.lastgroup == "odd" for t in tokens):
        return None
    opening = _find_values(tokens)
    closing = _find_closing(tokens, opening)
    if not opening or not closing or any(_word(token) in _NOT_INSIDE for token in tokens[opening:closing]):
        return None
    rest = tokens[closing + 1 :]
    end = rest.pop().start() if rest and rest[-1][0] == ";" else len(query)
    if rest and (_word(rest[0]) not in _AFTER or any(token[0] == ";" for token in rest)):
        return None
    start, stop = tokens[opening].start(), tokens[closing].end()
    prefix, postfix = parse_template(query[:start]), parse_template(query[stop:end])
    if prefix is None or postfix is None or prefix.width or postfix.width or parse_template(query[start:stop]) is None:
        return None
    return Insert(prefix.pieces[0], query[start:stop], postfix.pieces[0])


def _word(token: re.Match[str]) -> str:
    """Return a word in lower case; nothing for any other token."""
    return token[0].lower() if token.lastgroup == "word" else ""


def _find_values(tokens: Sequence[re.Match[str]]) -> int:
    """Return the index of the parenthesis after VALUES, 0 if there is none."""
    depth = 0
    for index, token in enumerate(tokens[:-1]):
        depth += (token[0] == "(") - (token[0] == ")")
        if depth == 0 and tokens[index - 1][0] not in (".", "@"):
            word = _word(token)
            if word in _NOT_BEFORE:
                return 0
            if word in ("values", "value") and tokens[index + 1][0] == "(":
                return index + 1
    return 0


def _find_closing(tokens: Sequence[re.Match[str]], opening: int) -> int:
    """Return the index of the parenthesis that closes the one at *opening*, 0 if there is none."""
    depth = 0
    for index in range(opening, len(tokens)):
        depth += (tokens[index][0] == "(") - (tokens[index][0] == ")")
        if depth == 0:
            return index
    return 0
