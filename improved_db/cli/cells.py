"""One value as text: for a table that a person reads, for a file, and for JSON.

Knows the values that rows have. Does not know rows, formats or terminals.
"""

from __future__ import annotations

import datetime as dt
import json
import math
import unicodedata
from decimal import Decimal


def text_of(value: object) -> str:
    """Return a value as files have it: bytes as ``0x00FF``, dates and times as MySQL writes them, decimals exact."""
    if isinstance(value, str):
        return value
    if isinstance(value, (bytes, bytearray)):
        return "0x" + value.hex().upper()
    if isinstance(value, dt.datetime):
        return value.isoformat(sep=" ")
    if isinstance(value, dt.timedelta):
        return time_of(value)
    return format(value, "f") if isinstance(value, Decimal) else str(value)


def time_of(value: dt.timedelta) -> str:
    """Return a TIME as MySQL writes it: ``-838:59:59.000001``."""
    micros = abs(value) // dt.timedelta(microseconds=1)
    seconds, fraction = divmod(micros, 1_000_000)
    text = f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
    return ("-" if value < dt.timedelta(0) else "") + text + (f".{fraction:06}" if fraction else "")


def json_of(value: object) -> str:
    """Return a value as JSON: every digit of a decimal, bytes as a hexadecimal text, dates and times in ISO's form."""
    if value is None or isinstance(value, (bool, str, int)):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, float):
        return repr(value) if math.isfinite(value) else "null"
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, (dict, list, tuple)):
        return json.dumps(value, ensure_ascii=False, default=text_of)
    text = value.isoformat() if isinstance(value, (dt.datetime, dt.date)) else text_of(value)
    return json.dumps(text, ensure_ascii=False)


def shown(value: object) -> str:
    """Return a value for a terminal: on one line, and without a character that would steer the terminal."""
    text = "NULL" if value is None else text_of(value)
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def width(text: str) -> int:
    """Return how many columns a text takes on a terminal."""
    if text.isascii():
        return len(text)
    wide = sum(unicodedata.east_asian_width(char) in "WF" for char in text)
    return len(text) + wide - sum(unicodedata.combining(char) > 0 for char in text)


def padded(text: str, columns: int, *, right: bool = False) -> str:
    """Return a text filled up with spaces, behind it or in front of it."""
    space = " " * max(columns - width(text), 0)
    return space + text if right else text + space
