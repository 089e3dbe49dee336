"""The row decoders against PyMySQL's converters, for every input and not only for what servers send."""

from __future__ import annotations

import functools
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pymysql import converters
from pymysql.err import InternalError

from improved_db.wire.decoders import SKIP, WIDEST, check_row, make_decoder
from tests.faults.packets import frame, lenenc

if TYPE_CHECKING:
    from collections.abc import Callable

    from improved_db.wire.decoders import Decoder


pytestmark = pytest.mark.usefixtures("row_reader")


def packed(*values: bytes | None) -> bytes:
    """Return the payload of a row."""
    return b"".join(b"\xfb" if value is None else lenenc(len(value)) + value for value in values)


def outcome(function: Callable[[Any], Any], value: Any) -> tuple[str, str]:
    """Return the type and value of a result; an exception counts as one, whatever it is."""
    try:
        result = function(value)
    except Exception:
        return "raises", ""
    return type(result).__name__, repr(result)


def same_as_pymysql(converter: Callable[[Any], Any], raw: bytes) -> None:
    """Compare a column of standard type with what PyMySQL makes of it, with and without ``use_unicode``."""

    def decoded(value: bytes) -> Any:
        return converter(value.decode("ascii"))

    for encoding, expected in (("ascii", decoded), (None, converter)):
        decoder = make_decoder([(encoding, converter), (None, None)])
        wanted = outcome(lambda value: (expected(value), b""), raw)  # noqa: B023
        assert outcome(decoder.one, packed(raw, b"")) == wanted
        assert outcome(functools.partial(run_one, decoder), packed(raw, b"")) == wanted


def run_one(decoder: Decoder, payload: bytes) -> Any:
    """Return the row of *payload* as it comes from a run."""
    rows: list[Any] = []
    data = frame(3, payload)
    assert decoder.run(data, 0, 3, rows) == (len(data), 4)
    return rows[0]


def digits(pattern: str) -> st.SearchStrategy[bytes]:
    """Bytes that match *pattern*."""
    return st.from_regex(pattern, fullmatch=True).map(str.encode)


YEAR = "([0-9]{4}|0000|2020)"
DATE = f"{YEAR}-?(0[0-9]|1[0-3]|W[0-9]{{2}})-?([0-3][0-9]|[1-7])?"
CLOCK = r"([01][0-9]|2[0-5]):?[0-6][0-9](:?[0-6][0-9])?"
ZONE = r"(Z|[+-][0-2][0-9](:?[0-5][0-9])?)?"


@given(st.one_of(digits(rf"{DATE}[ T_]{CLOCK}([.,][0-9]{{0,7}})?{ZONE}"), digits(DATE), st.binary(max_size=30)))
@example(b"2020-01-01 10:00:00")
@example(b"0000-00-00 00:00:00")
@example(b"2020-02-30 10:00:00")
@example(b"2020-01-01T10:00:00")
@example(b"2020-01-01\xe910:00:00")
@example(b"2020-W01-1 10:00:00")
@example(b"2020-01-01 10:00+01")
@example(b"2020-01-01 24:00:00")
@example(b"2020-01-01 24:00:00.000000")
@example(b"20200101T10:00:00.1")
@example(b"2020-01-01 10:00:00.123+01")
@example(b"2020-01-01 10:00:00.12345Z")
@example(b"2020-01-01 10:00:00.5")
@example(b"2020-01-01 10:00:00.")
@example(b"2020-01-01 10:00:00,123456")
@example(b"2020-01-01 10:00:00.1234567")
@example("2020-01-0\N{ARABIC-INDIC DIGIT ONE} 10:00:00".encode())
def test_datetimes_are_read_as_pymysql_reads_them(raw: bytes) -> None:
    """`fromisoformat` takes more than PyMySQL, and something else in each Python version."""
    same_as_pymysql(converters.convert_datetime, raw)


@given(st.one_of(digits(DATE), st.binary(max_size=12)))
@example(b"0000-00-00")
@example(b"2020-W01-1")
@example(b"9999-12-31")
@example(b"2020-1-1")
def test_dates_are_read_as_pymysql_reads_them(raw: bytes) -> None:
    """A zero date stays text, and a week is no date."""
    same_as_pymysql(converters.convert_date, raw)


@given(st.one_of(digits(r"-?[0-9]{1,3}:[0-9]{1,2}:[0-9]{1,2}(\.[0-9]{0,7})?"), st.binary(max_size=12)))
@example(b"-00:00:01")
@example(b"838:59:59.999999")
@example(b"99:99:99")
@example(b"+1:00:00")
@example(b" 1:00:00")
def test_times_are_read_as_pymysql_reads_them(raw: bytes) -> None:
    """TIME is a duration with a sign, and longer than a day."""
    same_as_pymysql(converters.convert_timedelta, raw)


@given(st.one_of(digits(r"-?[0-9 _+.eE]{0,40}"), st.binary(max_size=12), st.text(max_size=8).map(str.encode)))
@example(b"-170141183460469231731687303715884105728")
@example(b"1e-320")
@example("\u0661\u0662".encode())
@example(b"\xa01")
@example(b"NaN")
@example(b"0.000000000000000000000000000001")
def test_numbers_are_read_as_pymysql_reads_them(raw: bytes) -> None:
    """Reading them from bytes saves a decoding; it must not save, or add, anything else."""
    same_as_pymysql(int, raw)
    same_as_pymysql(float, raw)
    same_as_pymysql(Decimal, raw)


@given(st.lists(st.one_of(st.none(), st.binary(max_size=300)), min_size=1, max_size=6))
def test_values_of_any_length_are_found(values: list[bytes | None]) -> None:
    """A length takes one, three, four or nine bytes, and NULL takes none."""
    columns = [(None, None)] * len(values)
    payload = packed(*values)
    rows: list[Any] = []
    assert make_decoder(columns).one(payload) == tuple(values)
    data = frame(255, payload) + frame(0, payload)
    assert make_decoder(columns, [str(i) for i in range(len(values))]).run(data, 0, 255, rows) == (len(data), 1)
    assert rows == [{str(i): value for i, value in enumerate(values)}] * 2
    check_row(payload, 0, len(payload), len(columns))


@pytest.mark.parametrize("size", [250, 251, 65535, 65536, 70000])
def test_long_values_are_found(size: int) -> None:
    """The form of a length changes at these sizes."""
    decoder = make_decoder([("utf8", None), ("latin1", None), ("ascii", int)])
    payload = packed(b"x" * size, b"y" * size, b"1" * 100)
    assert decoder.one(payload) == run_one(decoder, payload) == ("x" * size, "y" * size, int("1" * 100))


@pytest.mark.parametrize("names", [False, True])
@pytest.mark.parametrize("width", [1, WIDEST, WIDEST + 1, 1000])
def test_rows_of_any_width_are_read(width: int, names: bool) -> None:
    """Very wide rows are read without a decoder of their own, which would take longer to make than to use."""
    values = [None if number % 7 == 3 else str(number) for number in range(width)]
    payload = packed(*(None if value is None else value.encode() for value in values))
    keys = [f"c{number}" for number in range(width)] if names else None
    decoder = make_decoder([("utf8", None)] * width, keys)
    expected = dict(zip(keys, values, strict=True)) if keys else tuple(values)
    assert decoder.one(payload) == run_one(decoder, payload) == expected


def test_a_run_stops_in_front_of_what_is_no_plain_row() -> None:
    """An end, an error, half a packet or a gap is for others to judge, and must still be there for them."""
    decoder = make_decoder([("utf8", None)])
    good = frame(7, packed(b"one"))
    for follow in (
        b"",
        frame(8, b"\xfe\0\0\2\0"),
        frame(8, b"\xffx"),
        frame(9, packed(b"x")),
        frame(8, packed(b"x"))[:-1],
    ):
        for run in (decoder.run, SKIP.run):
            rows: list[Any] = []
            assert run(good + follow, 0, 7, rows) == (len(good), 8)
            assert rows == ([("one",)] if run is decoder.run else [])


def test_a_run_leaves_a_row_in_several_packets_alone() -> None:
    """Its first packet looks like a row of its own; it may be here as a whole, together with rows before it."""
    decoder = make_decoder([(None, None)])
    long = packed(b"x" * (0xFFFFFF - 4))
    assert len(long) == 0xFFFFFF
    good = frame(7, packed(b"one"))
    data = good + frame(8, long) + frame(9, b"") + frame(10, packed(b"two"))
    for run in (decoder.run, SKIP.run):
        assert run(data, 0, 7, []) == (len(good), 8)
        assert run(data, len(good), 8, []) == (len(good), 8)
    assert decoder.one(long) == (b"x" * (0xFFFFFF - 4),)


@pytest.mark.parametrize(
    "payload",
    [
        packed(b"a"),  # a value too few
        packed(b"a", b"b", b"c"),  # a value too many
        b"\x01a\x05b",  # runs over the end
        b"\x01a\xfc\x01",  # half a length
        b"\x01a\xffb",  # no length at all
        b"\x01a\xfe\xff\xff\xff\xff\xff\xff\xff\xff",  # a length that fits nothing
        b"\xfb",
    ],
)
def test_a_row_that_does_not_fill_its_packet_is_never_returned(payload: bytes) -> None:
    """Taking bytes of the next packet for a value would be silently wrong data."""
    decoder = make_decoder([("utf8", None), ("utf8", None)])
    rows: list[Any] = []
    with pytest.raises((InternalError, IndexError)):
        decoder.run(frame(0, payload) + frame(1, packed(b"next", b"row")), 0, 0, rows)
    assert rows == []
    with pytest.raises((InternalError, IndexError)):
        decoder.one(payload)
    with pytest.raises(InternalError):
        check_row(payload, 0, len(payload), 2)


def test_names_from_the_server_are_never_source_code() -> None:
    """A column can be called anything."""
    names = ["'); raise SystemExit #", "class", "\N{SNOWMAN}", "a\nb", "{0}"]
    decoder = make_decoder([("utf8", None)] * 5, names)
    payload = packed(*[b"x"] * 5)
    assert decoder.one(payload) == run_one(decoder, payload) == dict.fromkeys(names, "x")


def test_converters_of_users_get_what_pymysql_gives_them() -> None:
    """A converter sees text in the column's encoding, or bytes, and never a NULL."""
    seen: list[Any] = []

    class Unhashable:
        __hash__ = None  # type: ignore[assignment]  # as a list or a dataclass with __call__ has it

        def __call__(self, value: Any) -> Any:
            seen.append(value)
            return value

    keep = Unhashable()
    decoder = make_decoder([("ascii", keep), ("utf8", keep), (None, keep), ("cp1252", keep), ("ascii", keep)])
    for read in (decoder.one, functools.partial(run_one, decoder)):
        seen.clear()
        read(packed(b"1", "é".encode(), b"\xff", b"\x80", None))
        assert seen == ["1", "é", b"\xff", "€"]
