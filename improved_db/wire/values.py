"""Which values and texts the package sends: those that the server reads as exactly the same value.

Knows Python's values and the dangerous characters of charsets. Does not know statements, columns or the socket.
"""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from pymysql import converters
from pymysql.constants import SERVER_STATUS

from improved_db.errors import StatementError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Encoder = Callable[..., str]

_NO_BACKSLASHES: Final = SERVER_STATUS.SERVER_STATUS_NO_BACKSLASH_ESCAPES

#: By encoding, the character outside ASCII that it encodes as a backslash. Texts are escaped before they are encoded,
#: so such a character would escape the quote that ends its literal. PyMySQL's other charsets have no such character.
STRAYS: Final[dict[str, str]] = {"sjis": "\N{YEN SIGN}", "ujis": "\N{YEN SIGN}"}


def refuse_strays(text: str, encoding: str) -> None:
    """Refuse a text with a character that *encoding* turns into a backslash.

    Raises:
        StatementError: The text has such a character.
    """
    if encoding in STRAYS and STRAYS[encoding] in text:
        raise StatementError(
            f"the charset {encoding} has no {STRAYS[encoding]!a} and sends a backslash for it, which would escape the "
            "next character; use charset utf8mb4"
        )


def escape_text(connection: Any, text: str) -> str:
    """Escape *text* as PyMySQL's `_escape_string` does; this function replaces it."""
    if connection.encoding in STRAYS:
        refuse_strays(text, connection.encoding)
    if connection.server_status & _NO_BACKSLASHES:
        return text.replace("'", "''")
    return converters.escape_string(text)


_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.timezone.utc)
_LAST_SECOND: Final = 2**31 - 1

# --- values -----------------------------------------------------------------------------------------------------------


def strict_encoders(encoders: Mapping[Any, Encoder], aware_datetimes: str) -> dict[Any, Encoder]:
    """Return *encoders* with ours in place of those by which PyMySQL would send another value; keep the user's own.

    PyMySQL calls the encoder of ``str`` for every type without an encoder, and never for a ``str`` itself.

    Args:
        encoders: By type, as in PyMySQL's connection.
        aware_datetimes: "refuse", "session" or "utc".
    """
    strict = dict(encoders)
    if strict.get(str) is converters.escape_str:
        strict[str] = escape_other
    if strict.get(dt.datetime) is converters.escape_datetime:
        strict[dt.datetime] = DATETIMES[aware_datetimes]
    if strict.get(dt.time) is converters.escape_time:
        strict[dt.time] = naive_time
    return strict


def escape_other(value: object, encoders: Mapping[Any, Encoder]) -> str:
    """Return the literal of a value whose type has no encoder.

    Raises:
        StatementError: The type is not a subclass of a known type either.
    """
    if isinstance(value, memoryview):
        return f"X'{value.hex()}'"
    plain = plain_value(value)
    encode = encoders.get(type(plain))
    if encode is None or encode is escape_other:
        raise _no_literal(value)
    return encode(plain, encoders)


def plain_value(value: Any) -> Any:
    """Convert a value of a subclass of a known type, or a numpy scalar, to the known type.

    Raises:
        StatementError: The value is neither; or it is pandas' NaT, a subclass of datetime without a time.
    """
    kind = type(value)
    if any(base.__module__ == "numpy" and base.__name__ == "generic" for base in kind.__mro__):
        value = _numpy_value(value)
    for base, make in _PLAIN:
        if isinstance(value, base) and value == value:  # noqa: PLR0124  # NaT is not equal to itself
            return value if type(value) is base else make(value)
        if isinstance(value, float):
            return float(value)  # NaN: the encoder of floats raises an error that names it
    raise _no_literal(value, kind)


def _numpy_value(value: Any) -> object:
    """Convert a numpy scalar to Python's own type; drop its nanoseconds."""
    unit = {"M": "datetime64[us]", "m": "timedelta64[us]"}.get(value.dtype.kind)
    return value.item() if unit is None else value.astype(unit).item()


def _no_literal(value: object, kind: type | None = None) -> StatementError:
    name = (kind or type(value)).__name__
    return StatementError(f"no literal for a value of type {name}; convert the value, or add the type to conv=")


#: Known types, subclasses before their bases, and how to convert a value of a user's subclass to each.
_PLAIN: Final[tuple[tuple[type, Callable[[Any], Any]], ...]] = (
    (bool, bool),
    (int, int),
    (float, float),
    (str, str.__str__),
    (bytes, bytes),
    (Decimal, Decimal),
    (
        dt.datetime,
        lambda at: dt.datetime(
            at.year, at.month, at.day, at.hour, at.minute, at.second, at.microsecond, at.tzinfo, fold=at.fold
        ),
    ),
    (dt.date, lambda day: dt.date(day.year, day.month, day.day)),
    (dt.time, lambda at: dt.time(at.hour, at.minute, at.second, at.microsecond, at.tzinfo, fold=at.fold)),
    (dt.timedelta, lambda span: dt.timedelta(span.days, span.seconds, span.microseconds)),
)


def naive_or_refused(value: dt.datetime, _encoders: object = None) -> str:
    """Return the literal of a datetime without a time zone.

    Raises:
        StatementError: It has a time zone.
    """
    if is_aware(value):
        raise StatementError(
            "a datetime with a time zone, which no column can hold; make it naive, or set the option "
            "aware_datetimes='utc' or 'session'"
        )
    return converters.escape_datetime(value)


def naive_or_utc(value: dt.datetime, _encoders: object = None) -> str:
    """Return the literal of a datetime; one with a time zone is converted to UTC.

    Raises:
        StatementError: Its time in UTC is before the year 1 or after the year 9999.
    """
    if is_aware(value):
        try:
            value = value.astimezone(dt.timezone.utc)
        except OverflowError as error:
            raise StatementError("a datetime whose year in UTC is before 1 or after 9999") from error
    return converters.escape_datetime(value)


def naive_or_in_session(value: dt.datetime, _encoders: object = None) -> str:
    """Return the literal of a datetime; the server converts one with a time zone to the session's time zone.

    Raises:
        StatementError: The server could not convert it.
    """
    return f"FROM_UNIXTIME({unix_time(value)})" if is_aware(value) else converters.escape_datetime(value)


def is_aware(value: dt.datetime) -> bool:
    """Say whether a datetime has a time zone with a known offset."""
    return value.tzinfo is not None and value.utcoffset() is not None


def unix_time(value: dt.datetime) -> str:
    """Return the seconds since 1970 in UTC, with six decimals, of a datetime with a time zone.

    Raises:
        StatementError: It is not after the first instant of 1970, for which MariaDB 11 returns NULL; or it is after
            2038-01-19 03:14:07, the last second of servers that count in 32 bits.
    """
    microseconds = (value - _EPOCH) // dt.timedelta(microseconds=1)
    seconds, rest = divmod(microseconds, 1_000_000)
    if microseconds <= 0 or seconds >= _LAST_SECOND:
        raise StatementError(
            "a datetime with a time zone before 1970-01-01 00:00:00.000001 or after 2038-01-19 03:14 in UTC, which "
            "servers cannot convert to the session's time zone; make it naive, or set aware_datetimes='utc'"
        )
    return f"{seconds}.{rest:06d}"


def naive_time(value: dt.time, _encoders: object = None) -> str:
    """Return the literal of a time without a time zone.

    Raises:
        StatementError: It has a time zone.
    """
    if value.tzinfo is not None:
        raise StatementError("a time with a time zone, which no column can hold; make it naive")
    return converters.escape_time(value)


#: By the option ``aware_datetimes``.
DATETIMES: Final[dict[str, Encoder]] = {
    "refuse": naive_or_refused,
    "session": naive_or_in_session,
    "utc": naive_or_utc,
}
