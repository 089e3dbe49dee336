r"""The lexer: a statement cut into tokens, as every server and every ``sql_mode`` reads it.

If a server could read a piece in another way than we do (depending on its version, ``sql_mode`` or character set), the
piece is unclear: ``/*! ... */``, for example, or ``'\''``, which ends elsewhere under NO_BACKSLASH_ESCAPES.

Texts are templates as PyMySQL takes them: ``%s`` and ``%(name)s`` stand for one value each.

Knows the tokens of MySQL's and MariaDB's SQL. Does not know what statements mean.
"""

from __future__ import annotations

import re
from itertools import islice
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

# Patterns stay texts until they are used, which most programs never do; `re` keeps them compiled from then on.
_LEXEME: Final = r"""(?xs)
    (?P<space>   [ \t\n\r\f\v]+ )
  | (?P<comment> --(?=[\x00-\x20\x7f])[^\n\0]* | \#[^\n\0]*
               | /\*\+[^'"`]*?\*/ | /\*(?![!+]|M!).*?\*/ )
  | (?P<text>    [xXbBnN]?'[^'\\]*(?:(?:''|\\[^'])[^'\\]*)*' | "[^"\\]*(?:(?:""|\\[^"])[^"\\]*)*" )
  | (?P<name>    `[^`]*(?:``[^`]*)*` )
  | (?P<setting> @@(?i:global\.[a-z0-9_]+|(?:(?:session|local)\.)?(?:version|version_comment|version_compile_os
               |version_compile_machine|hostname|port|socket|datadir|basedir|tmpdir|server_id|server_uuid|read_only
               |super_read_only|innodb_read_only|innodb_version|max_allowed_packet|max_connections|wait_timeout
               |interactive_timeout|lower_case_table_names|system_time_zone))(?![\w$.]) )
  | (?P<value>   %(?:\([A-Za-z0-9_]+\))?s(?![\w$])
               | [0-9]+\.[0-9]*[eE][-+]?[0-9]+(?![\w$]) | [0-9]+[eE][-+][0-9]+(?![\w$]) | [0-9]+\.[0-9]+(?![\w$])
               | [0-9][0-9A-Za-z_$\x80-\U0010ffff]* )
  | (?P<named>   %\([^()]*\)s(?![\w$]) )
  | (?P<word>    [A-Za-z_\x80-\U0010ffff][0-9A-Za-z_$\x80-\U0010ffff]* )
  | (?P<mark>    %% | %(?!\() | := | /(?!\*) | [-!&()*+,.:;<=>?@^{|}~] )
  | (?P<unclear> . )
    """
#: Texts that PyMySQL can perhaps put arguments into: every % begins a conversion.
_FORMATTABLE: Final = r"[^%]*(?:%[-#0-9 +.*]*[%(hlLdiouxXeEfFgGcrsa][^%]*)*"


class Token(NamedTuple):
    """A piece of a statement that has a meaning of its own."""

    kind: str  # a group of _LEXEME
    text: str
    key: str  # a word in upper case, a mark as it is, else ""
    gap: bool  # white space or a comment stands before it
    start: int
    end: int


def tokens_of(query: str, *, filled: bool = False) -> Iterator[Token]:
    """Cut a text into tokens, comments included; the first unclear one is the last.

    Args:
        query: The statement.
        filled: Whether arguments will be put in, so that placeholders may have any name, such as ``%(first name)s``;
            if not, that text is an expression.
    """
    gap = False
    for match in re.finditer(_LEXEME, query):
        kind, text = str(match.lastgroup), match.group()
        if kind == "named":
            kind = "value" if filled else "unclear"
        elif kind in {"word", "value"} and not text.isprintable():
            kind = "unclear"  # some character sets have spaces that others take for letters
        if kind != "space":
            yield Token(kind, text, _key(kind, text), gap, *match.span())
        if kind == "unclear":
            return
        gap = kind in {"space", "comment"}


def _key(kind: str, text: str) -> str:
    if kind == "word" and text.isascii():
        return text.upper()
    return text if kind == "mark" else ""


def clear_tokens(query: str) -> list[Token]:
    """Return the tokens of a text without its comments and its last semicolon; none if a piece is unclear."""
    tokens = list(tokens_of(query))
    if not tokens or tokens[-1].kind == "unclear":
        return []
    # The value of a placeholder inside quotes or a comment can end them. LIKE '%s%' has no placeholder: its last %
    # shows that no arguments are put into this text.
    quoted = (token.text for token in tokens if token.kind in {"comment", "text", "name"})
    if re.fullmatch(_FORMATTABLE, query) and any("%" in text.replace("%%", "") for text in quoted):
        return []
    tokens = [token for token in tokens if token.kind != "comment"]
    return tokens[:-1] if tokens and tokens[-1].key == ";" else tokens


def first_words(query: str, number: int) -> list[str]:
    """Return the first *number* tokens in upper case, without comments; "" for one that is missing or not a word."""
    words = (token.key if token.kind == "word" else "" for token in tokens_of(query) if token.kind != "comment")
    found = list(islice(words, number))
    return found + [""] * (number - len(found))
