"""The normal form of a statement, which names it in statistics.

Texts that differ in values, case of keywords, white space and comments have one normal form, and no value of theirs is
in it. It is MySQL's ``DIGEST_TEXT`` where that can be had from a text alone, with three differences: names keep no
backquotes that they do not need, a list after IN is ``(...)`` also if it has one value, and an INSERT of one row is
that of many.

Knows tokens. Does not know connections, arguments, or who counts.
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Final

from improved_db.sql.keywords import CALLED, KEYWORDS
from improved_db.sql.statement import READ_ONLY_FUNCTIONS
from improved_db.sql.tokens import Token, tokens_of

if TYPE_CHECKING:
    from collections.abc import Iterator

#: How many characters of a text are read: reading takes about 0.4 us a character.
READ: Final = 2_000
#: How long a normal form is at the most.
LONGEST: Final = 1_024

#: Stands before the first token, and after the last.
NOTHING: Final = Token("", "", "", gap=False, start=0, end=0)
_PLAIN_NAME: Final = r"`([A-Za-z_][A-Za-z0-9_$]*)`"
_OPERATORS: Final = frozenset(["<=", ">=", "=>", "<>", "!=", "||", "&&", "<<", ">>", "->", ":="])
_SIGNS: Final = frozenset("+-")
_BEFORE_A_SIGN: Final = frozenset("=<>!(,+-*/%|&^~:") | KEYWORDS
_CLOSING: Final = frozenset(",).;")
_OPENING: Final = frozenset("(.@")
_ACCOUNTS: Final = frozenset([("CREATE", "USER"), ("ALTER", "USER"), ("SET", "PASSWORD")])

_ROWS: Final = re.compile(r"(\bVALUES?|\bROW) (\((?:[^()]|\((?:[^()]|\([^()]*\))*\))*\))(?:, (?:ROW )?\2)*")
_CUT_ROWS: Final = re.compile(r"(\bVALUES? (?:ROW )?\((?:[^()]|\([^()]*\))*\)),(?: .*)? \.\.\.\Z")
_LIST: Final = re.compile(r"\(\?(?:, \?)+\)|\(\?(?:, \?)*,? ?\.\.\.")
_IN: Final = re.compile(r"\bIN \(\?\)")
_ONE_VALUE: Final = re.compile(r"\bVALUES \(\?\)")
_REST: Final = re.compile(r"\?(?:, \?)+")


def normal_form(query: str) -> str:
    """Return the statement without its values: one line, at most 1,024 characters.

    Values and placeholders are ``?``, lists of them ``(...)`` or ``?, ...``. If the text is longer than 2,000
    characters, or unclear from some point on, the form ends there in ``...``. Of a statement about accounts only the
    verb and the object are left.

    Args:
        query: The statement, before or after its arguments are put in.
    """
    tokens = [token for token in tokens_of(query[:READ], filled=True) if token.kind != "comment"]
    cut = len(query) > READ
    if tokens and tokens[-1].kind == "unclear":
        del tokens[-1]
        cut = True
    while tokens and tokens[-1].key == ";":
        del tokens[-1]
    if _names_an_account(tokens):
        return " ".join(token.key for token in tokens[:2] if token.key) + " ..."
    text = "".join(_written(tokens)) + (" ..." if cut else "")
    text = _LIST.sub("(...)", text)
    text = _ROWS.sub(r"\1 \2", _ONE_VALUE.sub("VALUES (...)", _ROWS.sub(r"\1 \2", _IN.sub("IN (...)", text))))
    text = _CUT_ROWS.sub(r"\1", text) if cut else text
    text = _REST.sub("?, ...", text)
    return text if len(text) <= LONGEST else text[: LONGEST - 4] + " ..."


def identity(form: str, database: str) -> str:
    """Return 16 hexadecimal digits that name a normal form in a database, in every process and at any time."""
    return hashlib.blake2b(f"{form}\0{database}".encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def _names_an_account(tokens: list[Token]) -> bool:
    keys = [token.key for token in tokens]
    return tuple(keys[:2]) in _ACCOUNTS or "IDENTIFIED" in keys


def _written(tokens: list[Token]) -> Iterator[str]:
    """Yield each token as the form has it, with the space in front of it."""
    before, shown = NOTHING, ""
    ellipsis = False
    for at, token in enumerate(tokens):
        after = tokens[at + 1] if at + 1 < len(tokens) else NOTHING
        if _is_sign(before, token, after) or _is_point(before, token, after):
            continue
        text = _text(before, token, after)
        dots = token.key == after.key == "." and before.key not in _OPENING
        apart = shown and (dots or (ellipsis and token.key not in _CLOSING))
        yield f"{' ' if apart else _space(before, shown, token)}{text}"
        ellipsis = token.key == before.key == "."
        before, shown = token, text


def _is_sign(before: Token, token: Token, after: Token) -> bool:
    """Say whether a sign belongs to the value after it, and is no operator."""
    if token.key not in _SIGNS or not (before is NOTHING or before.key in _BEFORE_A_SIGN):
        return False
    return after.kind in {"value", "text"} or after.key == "?" or (after.key == "." and not after.gap)


def _is_point(before: Token, token: Token, after: Token) -> bool:
    """Say whether a point begins a number, as in ``.5``."""
    named = before.kind in {"word", "name"} and before.key not in KEYWORDS
    return token.key == "." and after.kind == "value" and not after.gap and not named


def _text(before: Token, token: Token, after: Token) -> str:
    kind, text, key = token.kind, token.text, token.key
    if kind in {"text", "value"} or not text.isprintable():
        return "?"
    if before.key in {".", "@"}:
        return _bare(text)
    if kind == "name":
        return _bare(text)
    if key == "NULL":
        return "NULL" if before.key in {"IS", "NOT"} else "?"
    if key in {"TRUE", "FALSE"}:
        return key if before.key in {"IS", "NOT"} else "?"
    calls = after.key == "(" and key in READ_ONLY_FUNCTIONS
    qualifies = after.key == "." and not after.gap
    return key if (key in KEYWORDS or calls) and not qualifies else text


def _bare(text: str) -> str:
    """Return a name without backquotes that it does not need."""
    match = re.fullmatch(_PLAIN_NAME, text)
    return match.group(1) if match is not None and match.group(1).upper() not in KEYWORDS else text


def _space(before: Token, shown: str, token: Token) -> str:
    if not shown or token.key in _CLOSING or before.key in _OPENING:
        return ""
    if token.key == "@" and before.kind == "text":
        return ""
    if token.key == "(":
        named = before.kind in {"word", "name"} and (before.key not in KEYWORDS or before.key in CALLED)
        return "" if named else " "
    if before.kind == token.kind == "mark" and not token.gap and before.text + token.text in _OPERATORS:
        return ""
    return " "
