"""What a charset's encoder makes of every character, against the way MySQL's servers cut bytes into characters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from improved_db.wire.values import STRAYS

if TYPE_CHECKING:
    from collections.abc import Callable


def between(byte: int, *ranges: tuple[int, int]) -> bool:
    """Say whether *byte* is in one of *ranges*."""
    return any(low <= byte <= high for low, high in ranges)


def pairs(heads: list[tuple[int, int]], tails: list[tuple[int, int]]) -> Callable[[bytes], int]:
    """Return how a server measures the first character where each has one byte or two."""
    return lambda text: 2 if len(text) > 1 and between(text[0], *heads) and between(text[1], *tails) else 1


def ujis(text: bytes) -> int:
    """As `ismbchar_ujis`: pairs, half-width kana after 0x8E, three bytes after 0x8F."""
    high = [between(byte, (0xA1, 0xFE)) for byte in text[:3]] + [False] * 3
    if high[0] and high[1]:
        return 2
    if text[0] == 0x8E and len(text) > 1 and between(text[1], (0xA1, 0xDF)):
        return 2
    return 3 if text[0] == 0x8F and high[1] and high[2] else 1


def gb18030(text: bytes) -> int:
    """As `ismbchar_gb18030`: pairs, and fours with a digit in the second and the fourth place."""
    if len(text) < 2 or not between(text[0], (0x81, 0xFE)):
        return 1
    if between(text[1], (0x40, 0x7E), (0x80, 0xFE)):
        return 2
    four = len(text) > 3 and between(text[1], (0x30, 0x39)) and between(text[2], (0x81, 0xFE))
    return 4 if four and between(text[3], (0x30, 0x39)) else 1


#: The multibyte charsets that Python has (eucjpms it has not) but for UTF-8, and how their servers measure.
SERVERS: Final[dict[str, Callable[[bytes], int]]] = {
    "big5": pairs([(0xA1, 0xF9)], [(0x40, 0x7E), (0xA1, 0xFE)]),
    "gbk": pairs([(0x81, 0xFE)], [(0x40, 0x7E), (0x80, 0xFE)]),
    "gb2312": pairs([(0xA1, 0xF7)], [(0xA1, 0xFE)]),
    "gb18030": gb18030,
    "sjis": pairs([(0x81, 0x9F), (0xE0, 0xFC)], [(0x40, 0x7E), (0x80, 0xFC)]),
    "cp932": pairs([(0x81, 0x9F), (0xE0, 0xFC)], [(0x40, 0x7E), (0x80, 0xFC)]),
    "ujis": ujis,
    "euckr": pairs([(0x81, 0xFE)], [(0x41, 0x5A), (0x61, 0x7A), (0x81, 0xFE)]),
}

#: The last plane with characters that a charset other than Unicode's own could have.
LAST: Final = 0x2FFFF


def cut(text: bytes, measure: Callable[[bytes], int]) -> list[bytes]:
    """Cut *text* into characters as the server does."""
    characters = []
    while text:
        size = measure(text)
        characters.append(text[:size])
        text = text[size:]
    return characters


#: The largest takes five seconds.
CHARSETS = [pytest.param(name, marks=pytest.mark.soak) if name == "gb18030" else name for name in SERVERS]


@pytest.mark.parametrize("charset", CHARSETS)
def test_no_character_but_the_refused_ones_is_an_escape_or_a_quote_to_the_server(charset: str) -> None:
    """Nor does one take the byte behind it along, be that the backslash that escapes a quote."""
    measure = SERVERS[charset]
    guilty = set()
    for code in range(0x110000 if charset == "gb18030" else LAST + 1):
        try:
            encoded = chr(code).encode(charset)
        except UnicodeEncodeError:
            continue
        seen = cut(encoded + b"\\'", measure)
        if code > 0x7F and (seen[-2:] != [b"\\", b"'"] or any(one in seen[:-2] for one in (b"\\", b"'", b'"', b"`"))):
            guilty.add(chr(code))
        if code <= 0x7F:
            assert encoded == bytes([code])
    assert guilty == set(STRAYS.get(charset, ""))


@pytest.mark.parametrize("charset", ["cp1252", "ascii", "utf8", "koi8_r", "koi8_u", "greek", "hebrew", "tis620"])
def test_charsets_of_single_bytes_and_utf8_have_no_such_character(charset: str) -> None:
    """A character outside ASCII has no byte below 0x80 in them."""
    for code in range(0x80, 0x110000 if charset == "utf8" else LAST + 1):
        try:
            assert min(chr(code).encode(charset)) >= 0x80
        except UnicodeEncodeError:
            continue
    assert charset not in STRAYS
