"""Which Arrow type a column gets, and how its texts become values of that type.

Knows MySQL's column types and Arrow's. Does not know packets or connections.
"""

from __future__ import annotations

import datetime as dt
from typing import Any, Final

from pymysql.constants import FIELD_TYPE, FLAG

from improved_db.errors import StatementError
from improved_db.frames.libraries import library

#: Bits of the integer types.
_WIDTHS: Final = {
    FIELD_TYPE.TINY: 8,
    FIELD_TYPE.SHORT: 16,
    FIELD_TYPE.INT24: 32,
    FIELD_TYPE.LONG: 32,
    FIELD_TYPE.LONGLONG: 64,
}
_DECIMALS: Final = (FIELD_TYPE.DECIMAL, FIELD_TYPE.NEWDECIMAL)
_DATES: Final = (FIELD_TYPE.DATE, FIELD_TYPE.NEWDATE)
_DATETIMES: Final = (FIELD_TYPE.DATETIME, FIELD_TYPE.TIMESTAMP)
#: The most digits that Arrow's decimals of 128 and of 256 bits have.
_DIGITS: Final = (38, 76)

_TIME: Final = r"^(?P<sign>-?)(?P<hours>\d+):(?P<minutes>\d\d):(?P<seconds>\d\d)\.?(?P<rest>\d*)$"


def type_of(field: Any, encoding: str | None) -> Any:
    """Return the pyarrow.DataType of a column.

    Args:
        field: PyMySQL's `FieldDescriptorPacket`.
        encoding: What its text is encoded with; None for bytes.
    """
    arrow, code = library("pyarrow"), field.type_code
    if code in _WIDTHS:
        unsigned = "u" if field.flags & FLAG.UNSIGNED else ""
        return getattr(arrow, f"{unsigned}int{_WIDTHS[code]}")()
    if code in _DECIMALS:
        return _decimal(arrow, field)
    if code in _DATES:
        return arrow.date32()
    if code in _DATETIMES:
        return arrow.timestamp("us")
    simple = {
        FIELD_TYPE.FLOAT: arrow.float32,
        FIELD_TYPE.DOUBLE: arrow.float64,
        FIELD_TYPE.YEAR: arrow.int16,
        FIELD_TYPE.BIT: arrow.uint64,
        FIELD_TYPE.NULL: arrow.null,
        FIELD_TYPE.GEOMETRY: arrow.binary,
    }
    if code in simple:
        return simple[code]()
    if code == FIELD_TYPE.TIME:
        return arrow.duration("us")
    return arrow.binary() if encoding is None else arrow.string()


def _decimal(arrow: Any, field: Any) -> Any:
    """Return the type of a DECIMAL, whose length in characters counts its sign and its point."""
    point, sign = field.scale > 0, not field.flags & FLAG.UNSIGNED
    digits = min(max(field.length - point - sign, field.scale, 1), _DIGITS[1])
    make = arrow.decimal128 if digits <= _DIGITS[0] else arrow.decimal256
    return make(digits, field.scale)


def cast(raw: Any, field: Any, encoding: str | None, kind: Any, *, null_dates: bool) -> Any:
    """Return the values of a column.

    Args:
        raw: Their bytes, as a pyarrow.BinaryArray.
        field: As for `type_of`.
        encoding: As for `type_of`.
        kind: What `type_of` said.
        null_dates: Make dates that are none NULL.

    Raises:
        StatementError: A value is none of the type; the text names the column.
    """
    arrow, code = library("pyarrow"), field.type_code
    if kind == arrow.binary():
        return raw
    if code == FIELD_TYPE.BIT:
        return arrow.array([None if bits is None else int.from_bytes(bits, "big") for bits in raw.to_pylist()], kind)
    try:
        if kind == arrow.string():
            return _text(arrow, raw, str(encoding))
        text = raw.cast(arrow.string())
        if code == FIELD_TYPE.TIME:
            return _durations(arrow, text, kind)
        if code in _DATES or code in _DATETIMES:
            return _dates(arrow, text, field.name, kind, null_dates=null_dates)
        return arrow.nulls(len(raw)) if code == FIELD_TYPE.NULL else text.cast(kind)
    except (arrow.ArrowInvalid, UnicodeDecodeError) as error:
        reason = "text in another charset" if kind == arrow.string() else error
        raise StatementError(f"column {field.name!r} has a value that is no {kind}: {reason}") from error


def _text(arrow: Any, raw: Any, encoding: str) -> Any:
    if encoding in {"utf8", "ascii"}:  # the cast looks whether it is UTF-8
        return raw.cast(arrow.string())
    texts = [None if value is None else value.decode(encoding) for value in raw.to_pylist()]
    return arrow.array(texts, arrow.string())


def _durations(arrow: Any, text: Any, kind: Any) -> Any:
    """Return TIMEs, which may be negative and have three digits of hours, as microseconds."""
    compute, whole = arrow.compute, arrow.int64()
    parts = compute.extract_regex(text, _TIME)
    if parts.null_count > text.null_count:
        raise arrow.ArrowInvalid("not a time")
    part = {name: compute.struct_field(parts, name) for name in ("sign", "hours", "minutes", "seconds", "rest")}
    hours, minutes, seconds = (part[name].cast(whole) for name in ("hours", "minutes", "seconds"))
    minutes = compute.add(compute.multiply(hours, 60), minutes)
    seconds = compute.add(compute.multiply(minutes, 60), seconds)
    rest = compute.utf8_rpad(part["rest"], 6, "0").cast(whole)
    span = compute.add(compute.multiply(seconds, 1_000_000), rest)
    return compute.if_else(compute.equal(part["sign"], "-"), compute.negate(span), span).cast(kind)


def _dates(arrow: Any, text: Any, name: str, kind: Any, *, null_dates: bool) -> Any:
    """Return DATEs or DATETIMEs; a year, month or day of zero is no date."""
    compute = arrow.compute
    zero = compute.or_(compute.starts_with(text, "0000"), compute.match_substring(text, "-00"))
    if compute.any(zero).as_py():
        if not null_dates:
            value = compute.filter(text, zero)[0].as_py()
            raise StatementError(f'column {name!r} has {value!r}, which is no date; give zero_dates="null" for NULL')
        text = compute.if_else(zero, arrow.scalar(None, arrow.string()), text)
    try:
        return text.cast(kind)
    except arrow.ArrowInvalid:
        if not null_dates:
            raise
    return arrow.array([value if _is_date(value) else None for value in text.to_pylist()], arrow.string()).cast(kind)


def _is_date(text: str | None) -> bool:
    """Say whether there is such a day: ALLOW_INVALID_DATES lets a server keep February 31."""
    try:
        dt.date.fromisoformat((text or "")[:10])
    except ValueError:
        return False
    return True
