"""The compiled row reader beside the pure decoders: the same rows of the same bytes, and the same refusals."""

from __future__ import annotations

import random
import struct
import subprocess
import sys
from decimal import Decimal
from importlib.util import find_spec
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymysql import converters
from pymysql.err import InternalError

import improved_db
from improved_db.wire import compiled
from improved_db.wire.decoders import Decoder, check_row, make_decoder, make_splitter
from tests.faults.packets import frame, lenenc

#: How PyMySQL reads a column, and values of it.
COLUMNS: Final[list[tuple[tuple[str | None, Any], list[bytes]]]] = [
    (("ascii", int), [b"-12", b"0042", b"999999999999999999", b"18446744073709551615", b"1_0"]),
    (("ascii", float), [b"1.5", b"0.14285714285714285", b"-1.7976931348623157e308", b"-0", b"1e400", b" 1"]),
    (("ascii", Decimal), [b"1.50", b"-0.000000000000000000000000000001"]),
    (("ascii", converters.convert_datetime), [b"2020-02-29 10:11:12", b"2020-01-01 00:00:00.12", b"0000-00-00"]),
    (("ascii", converters.convert_date), [b"2020-01-01", b"1900-02-29"]),
    (("ascii", converters.convert_timedelta), [b"10:11:12", b"-838:59:59", b"99:99:99"]),
    (("utf8", None), ["grüße".encode(), b"x" * 300, b"", b"\xff"]),
    (("cp1252", None), [b"abc", b"\x80", b"\x81"]),
    (("ascii", None), [b"abc", b"\x80"]),
    (("gbk", None), [b"abc"]),
    ((None, None), [b"\0\xff", b"y" * 70_000]),
]  # fmt: skip

#: Bytes that begin a NULL, a longer length, an EOF, an ERR.
TELLING: Final = (0, 1, 19, 250, 251, 252, 253, 254, 255)

needs_compiler = pytest.mark.skipif(not compiled.compiled, reason="the extension was not built, or is turned off")


def both(columns: list[Any], names: list[str] | None) -> list[Decoder]:
    """Return the compiled decoder and the pure one."""
    found = [make_decoder(columns, names)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compiled, "ROWS", None)
        return [*found, make_decoder(columns, names)]


def outcome(decoder: Decoder, data: bytes) -> tuple[str, str]:
    """Return what a run returns, or that it raises, and the rows it read before."""
    rows: list[Any] = []
    try:
        end = repr(decoder.run(data, 0, 0, rows))
    except Exception:
        end = "raises"  # what it was, `check_row` finds out for both
    return end, repr(rows)


@needs_compiler
def test_damaged_rows_are_the_same_to_both_readers() -> None:
    """A length may say anything; a reader that believes it hands out the memory behind the packet, or crashes."""
    dice = random.Random(8)
    for _ in range(400):
        chosen = [dice.choice(COLUMNS) for _ in range(dice.randrange(1, 7))]
        names = [f"c{number}" for number in range(len(chosen))] if dice.random() < 0.4 else None
        decoders = both([column for column, _ in chosen], names)
        for _ in range(10):
            data = b"".join(frame(number, damaged_row(dice, chosen)) for number in range(3))
            data = data[: dice.choice((len(data), dice.randrange(len(data))))]
            wanted, found = (outcome(decoder, data) for decoder in reversed(decoders))
            assert found == wanted, (chosen, names, data)


def damaged_row(dice: random.Random, chosen: list[tuple[Any, list[bytes]]]) -> bytes:
    """Return the payload of a row in which up to two bytes were changed, or which ends too soon."""
    values = [None if dice.random() < 0.1 else dice.choice(values) for _, values in chosen]
    row = bytearray(b"".join(b"\xfb" if value is None else lenenc(len(value)) + value for value in values))
    for _ in range(dice.choice((0, 0, 1, 2))):
        row[dice.randrange(min(len(row), 400))] = dice.choice((*TELLING, dice.randrange(256)))
    return bytes(row[: dice.choice((len(row), len(row), dice.randrange(len(row)) + 1))])


@needs_compiler
def test_damaged_rows_split_into_columns_as_they_do_into_rows() -> None:
    """A frame is read from lengths that a server sent, too; and its values are those of the rows."""
    dice = random.Random(8)
    for _ in range(1_000):
        chosen = [dice.choice(COLUMNS) for _ in range(dice.randrange(1, 7))]
        split = make_splitter(len(chosen))
        assert split is not None
        packets = [damaged_row(dice, chosen) for _ in range(dice.choice((0, 1, 2, 3, 9, 70)))]
        if dice.random() < 0.5:
            packets = [packet for packet in packets if row_of(packet, len(chosen)) is not None]
        rows = [row_of(packet, len(chosen)) for packet in packets]
        if None in rows:
            with pytest.raises(InternalError):
                split(packets)
        else:
            columns = [values_of(column, len(rows)) for column in split(packets)]
            assert columns == [list(values) for values in zip(*rows, strict=True)] or not rows


def row_of(packet: bytes, columns: int) -> tuple[bytes | None, ...] | None:
    """Return the bytes of each value, None if the row does not fill its packet."""
    try:
        check_row(packet, 0, len(packet), columns)
    except InternalError:
        return None
    found: tuple[bytes | None, ...] = make_decoder([(None, None)] * columns).one(packet)
    return found


def values_of(column: bytes, rows: int) -> list[bytes | None]:
    """Return the values of a column as `split` returns them."""
    bits = (rows + 63) // 64 * 8
    offsets = struct.unpack_from(f"={rows + 1}i", column, bits)
    data = column[bits + 4 * (rows + 1) :]
    there = [column[number // 8] >> number % 8 & 1 for number in range(rows)]
    assert len(data) == offsets[-1]
    return [
        data[start:end] if is_there else None for start, end, is_there in zip(offsets, offsets[1:], there, strict=False)
    ]


@needs_compiler
def test_only_packets_are_split() -> None:
    """A frame of rows that another reader read is refused, not read as bytes."""
    split = make_splitter(1)
    assert split is not None
    wrong: Any = [(1,)]
    with pytest.raises(TypeError):
        split(wrong)


@needs_compiler
@given(st.one_of(st.floats().map(repr), st.from_regex(r"-?[0-9]{0,20}\.?[0-9]{0,20}", fullmatch=True)))
def test_doubles_are_the_nearest_ones(text: str) -> None:
    """A double that is off by its last bit is not equal to the one that was stored."""
    results = []
    for decoder in both([("ascii", float)], None):
        rows: list[Any] = []
        try:
            decoder.run(frame(0, lenenc(len(text)) + text.encode()), 0, 0, rows)
        except ValueError:
            results.append(b"")
        else:
            results.append(struct.pack("d", rows[0][0]))
    assert results[0] == results[1]


@needs_compiler
def test_a_double_halfway_between_two_goes_to_the_even_one() -> None:
    """The hardest case of rounding: n / 2**e with an n of 54 bits."""
    dice = random.Random(8)
    decoder = make_decoder([("ascii", float)])
    for _ in range(2_000):
        places = dice.randrange(1, 5)
        number = str(dice.randrange(2**53, 2**54) | 1)
        digits = str(int(number) * 5**places)
        text = f"{digits[:-places]}.{digits[-places:]}"
        rows: list[Any] = []
        decoder.run(frame(0, lenenc(len(text)) + text.encode()), 0, 0, rows)
        assert rows == [(float(text),)]


@needs_compiler
def test_a_converter_of_a_user_leaves_the_whole_row_to_python() -> None:
    """It may do anything, and is called as PyMySQL calls it."""
    for columns in ([("ascii", str.upper), ("ascii", int)], [("gbk", None)], [(None, Decimal)]):
        fast, pure = both(columns, None)
        assert type(fast.run) is type(pure.run)


@pytest.mark.parametrize(("value", "expected"), [("1", False), ("0", improved_db.compiled), ("", improved_db.compiled)])
def test_a_variable_turns_the_compiled_reader_off(value: str, expected: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user who suspects it can find out without a build of their own, and sees which one runs."""
    if find_spec("improved_db.wire._rows") is not None and value != "1":
        expected = True
    monkeypatch.setenv(compiled.PURE_VARIABLE, value)
    program = "import improved_db; print(improved_db.compiled)"
    printed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == str(expected)
