"""Answers whose bytes are made here: how they arrive, and what happens when they make no sense.

A real server cannot be made to send these. What PyMySQL makes of the sensible ones is the measure.
"""

from __future__ import annotations

import socket
import warnings
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pymysql.connections
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymysql.cursors import SSCursor
from pymysql.err import InternalError, OperationalError, ProgrammingError

from improved_db.wire.buffer import RECEIVE_SIZE, Buffer
from improved_db.wire.packets import Unsolicited
from improved_db.wire.results import UNKNOWN_ROWS, read_query_result, read_rows
from tests.faults.packets import MORE_RESULTS, eof, err, frame, ok, rows

if TYPE_CHECKING:
    from collections.abc import Iterator

    PyMySQLConnection = pymysql.connections.Connection[Any]  # generic in the stubs alone
else:
    PyMySQLConnection = pymysql.connections.Connection

pytestmark = pytest.mark.usefixtures("row_reader")

VALUES: list[list[str | None]] = [["alpha", "beta"], [None, ""], ["gamma", "delta"]]
EXPECTED = (("alpha", "beta"), (None, ""), ("gamma", "delta"))


class Trickle:
    """A socket that gives its bytes in pieces of chosen sizes, the last size again and again."""

    def __init__(self, data: bytes, sizes: list[int]) -> None:
        self._data, self._sizes = data, sizes

    def recv(self, limit: int) -> bytes:
        """Return the next piece."""
        size = min(limit, self._sizes.pop(0) if len(self._sizes) > 1 else self._sizes[0])
        piece, self._data = self._data[:size], self._data[size:]
        return piece

    def sendall(self, data: bytes) -> None:
        """Ignore every call."""

    def settimeout(self, seconds: float | None) -> None:
        """Take no time."""

    def gettimeout(self) -> float | None:
        """Have no limit."""
        return None

    def close(self) -> None:
        """Hold nothing."""


class Wired(PyMySQLConnection):
    """PyMySQL's connection, reading through a buffer; as `improved_db.Connection` is, and nothing more."""

    row_kind: type = tuple
    _loading: bytes | None = None
    server_status: int
    _result: Any

    def __init__(self, data: bytes, sizes: list[int] | None = None) -> None:
        super().__init__(defer_connect=True, ssl_disabled=True)
        self._sock: Any = Trickle(data, sizes or [RECEIVE_SIZE])
        self._rfile: Any = Buffer(self._sock)
        self._next_seq_id = 1
        self._read_timeout: float | None = None
        self._current_timeout: float | None = None
        self.server_status = 0

    def _read_query_result(self, unbuffered: bool = False) -> Any:
        return read_query_result(self, unbuffered, self.row_kind)

    @property
    def result(self) -> Any:
        """What the last answer brought."""
        return self._result

    @property
    def buffer(self) -> Any:
        """The bytes that are here."""
        return self._rfile


def stream(*payloads: bytes, first: int = 1) -> bytes:
    """Return packets with consecutive sequence numbers."""
    return b"".join(frame(first + number, payload) for number, payload in enumerate(payloads))


ANSWER = stream(*rows(["a", "b"], VALUES, status=3))


@given(sizes=st.lists(st.integers(1, 40), min_size=1, max_size=60))
def test_rows_are_the_same_however_the_bytes_arrive(sizes: list[int]) -> None:
    """A packet may be cut anywhere, also in the middle of its header."""
    with closing(Wired(ANSWER, list(sizes))) as connection:
        assert connection.next_result() == 3
        assert connection.result.rows == EXPECTED
        assert connection.buffer.pending == 0
    with closing(Wired(ANSWER, list(sizes))) as connection:
        assert connection.next_result(unbuffered=True) == UNKNOWN_ROWS
        taken: list[Any] = []
        while batch := read_rows(connection.result, 2):
            assert len(batch) <= 2
            taken += batch
        assert tuple(taken) == EXPECTED
        assert read_rows(connection.result, 2) == []


@given(length=st.integers(0, len(ANSWER) - 1), unbuffered=st.booleans())
def test_an_answer_cut_short_is_a_lost_connection(length: int, unbuffered: bool) -> None:
    """Half a result must not pass for a whole one."""
    connection = Wired(ANSWER[:length])
    with pytest.raises(OperationalError) as caught:
        read_all(connection, unbuffered)
    assert caught.value.args[0] == 2013
    assert not connection.open


def read_all(connection: Wired, unbuffered: bool) -> list[Any]:
    """Read an answer to its end."""
    connection.next_result(unbuffered=unbuffered)
    if unbuffered:
        return [row for batch in iter(lambda: read_rows(connection.result, 100), []) for row in batch]
    return list(connection.result.rows)


def places() -> Iterator[tuple[int, str]]:
    """Yield where in the answer each packet begins."""
    position = 0
    while position < len(ANSWER):
        yield position, f"packet at {position}"
        position += 4 + int.from_bytes(ANSWER[position : position + 3], "little")


@pytest.mark.parametrize("unbuffered", [False, True])
@pytest.mark.parametrize("position", [place for place, _ in places()], ids=[name for _, name in places()])
def test_a_packet_out_of_sequence_closes_the_connection(position: int, unbuffered: bool) -> None:
    """A gap means that packets are missing or are the answer to something else."""
    number = ANSWER[position + 3]
    for wrong in {0, number - 1, number + 1, 255} - {number}:
        connection = Wired(ANSWER[: position + 3] + bytes([wrong]) + ANSWER[position + 4 :])
        with pytest.raises(InternalError, match=f"got {wrong} expected {number}"):
            read_all(connection, unbuffered)
        assert not connection.open


@pytest.mark.parametrize("unbuffered", [False, True])
@pytest.mark.parametrize("change", [-5, -2, -1, 1, 2, 60])
@pytest.mark.parametrize("text", [b"alpha", b"beta", b"gamma", b"delta"])
def test_a_wrong_length_of_a_value_closes_the_connection(text: bytes, change: int, unbuffered: bool) -> None:
    """Bytes of one value must never show up in another."""
    place = ANSWER.index(bytes([len(text)]) + text)
    damaged = bytes([max(len(text) + change, 0)])
    connection = Wired(ANSWER[:place] + damaged + ANSWER[place + 1 :])
    with pytest.raises(InternalError, match="malformed"):
        read_all(connection, unbuffered)
    assert not connection.open


@pytest.mark.parametrize(
    "answer",
    [
        stream(b""),
        stream(b"\x00\x01"),  # half an OK
        stream(b"\xfe\0\0\2\0"),  # an EOF to begin with
        stream(b"\xff\x01"),  # an ERR without a code
        stream(b"\x01", b"\x03def", *rows(["a"], [])[2:]),  # half a column definition
        stream(*rows(["a"], [])[:2], b"\x05hello", eof()),  # no EOF after the definitions
        stream(b"\x02", *rows(["a"], [])[1:], eof()),  # fewer definitions than announced
        stream(*rows(["a"], [])[:3], b""),  # an empty row
        stream(*rows(["a"], [])[:3], b"\xfe\0"),  # half an EOF
        stream(*rows(["a"], [["x"]])[:4], b"\xfe" + b"\xff" * 20),  # a value of 2**64 bytes
    ],
)
def test_nonsense_closes_the_connection(answer: bytes) -> None:
    """After it, where the next answer begins is unknown."""
    connection = Wired(answer + stream(ok()))
    with pytest.raises(InternalError):
        connection.next_result()
    assert not connection.open


def test_a_server_that_asks_for_a_file_unasked_gets_none() -> None:
    """It waits for the file, and would take the next statement for it."""
    connection = Wired(stream(b"\xfb/etc/passwd"))
    with pytest.raises(InternalError, match="asked for a file"):
        connection.query("select 1")
    assert not connection.open


def test_an_error_instead_of_an_answer_leaves_the_connection_ready() -> None:
    """A typing error in a statement costs no connection."""
    with closing(Wired(stream(err(1064, "You have an error")) + stream(ok(3)))) as connection:
        with pytest.raises(ProgrammingError) as caught:
            connection.next_result()
        assert caught.value.args == (1064, "You have an error")
        assert caught.value.sqlstate == "HY000"
        assert connection.open
        assert connection.query("update") == 3


@pytest.mark.parametrize("unbuffered", [False, True])
@pytest.mark.parametrize("before", [1, 2, 3, 4, 5, 6])
def test_an_error_in_the_middle_of_a_result_ends_it_and_nothing_else(before: int, unbuffered: bool) -> None:
    """A query killed or timed out on the way ends with an error packet, and the session goes on."""
    data = stream(*rows(["a", "b"], VALUES)[:before], err(1317, "interrupted", "70100")) + stream(ok(7))
    with closing(Wired(data)) as connection:
        with pytest.raises(OperationalError) as caught:
            read_all(connection, unbuffered)
        assert caught.value.args[0] == 1317
        assert connection.open
        assert connection.result is None or not connection.result.unbuffered_active
        assert connection.query("update") == 7


@pytest.mark.parametrize("code", [1053, 1927, 4031])
def test_a_goodbye_is_told_from_an_answer(code: int) -> None:
    """The statement was not run; PyMySQL says "lost connection" instead, which leaves that open."""
    connection = Wired(frame(0, err(code, "bye", "08S01")))
    with pytest.raises(Unsolicited) as caught:
        connection.next_result()
    assert caught.value.args == (code, "bye")
    assert caught.value.sqlstate == "08S01"
    assert caught.value.unsolicited
    assert not connection.open


def test_a_goodbye_among_the_rows_is_one_too() -> None:
    """A server that shuts down does not wait for the end of a result."""
    connection = Wired(stream(*rows(["a", "b"], VALUES)[:5]) + frame(0, err(1053, "bye")))
    with pytest.raises(Unsolicited):
        read_all(connection, unbuffered=True)
    assert not connection.open


def test_more_than_256_packets_count_on_from_0() -> None:
    """The sequence number is one byte."""
    values: list[list[str | None]] = [[str(number)] for number in range(1000)]
    with closing(Wired(stream(*rows(["n"], values)))) as connection:
        connection.next_result()
        assert connection.result.rows == tuple((str(number),) for number in range(1000))


def test_the_status_after_a_select_reaches_the_connection() -> None:
    """Whether a transaction is open decides what a pool has to do with a connection that comes back."""
    for unbuffered in (False, True):
        with closing(Wired(ANSWER)) as connection:
            read_all(connection, unbuffered)
            assert connection.server_status == 3
            assert connection.result.server_status == 3


@pytest.mark.parametrize("unbuffered", [False, True])
def test_several_answers_come_one_after_the_other(unbuffered: bool) -> None:
    """A procedure answers with results and an OK, and the sequence numbers go on."""
    first = rows(["a"], [["x"]], status=MORE_RESULTS)
    with closing(Wired(stream(*first) + stream(ok(5, 70_000), first=1 + len(first)))) as connection:
        assert read_all(connection, unbuffered) == [("x",)]
        assert connection.result.has_next
        assert connection.next_result() == 5
        assert connection.result.insert_id == 70_000
        assert not connection.result.has_next


def test_a_stream_left_alone_reads_nothing() -> None:
    """A finalizer that reads from a socket can block for ever, in any thread."""
    connection = Wired(stream(*rows(["a", "b"], VALUES)), [60])
    with closing(connection), warnings.catch_warnings():
        warnings.simplefilter("error")
        connection.next_result(unbuffered=True)
        before = connection.buffer.pending
        connection._result = None
        assert connection.buffer.pending == before


def test_a_stream_read_past_its_end_leaves_the_connection_ready() -> None:
    """`SSCursor.close` does it, and so does the next statement."""
    cut = ANSWER[:-9] + stream(err(1969, "time is up"), first=ANSWER[-6])
    for answer in (ANSWER, cut):  # PyMySQL, too, is silent if a time limit ended rows that were not wanted
        with closing(Wired(answer + stream(ok(9)))) as connection:
            cursor = connection.cursor(SSCursor)
            cursor.execute("select")
            cursor.close()
            assert not connection.result.unbuffered_active
            assert connection.query("update") == 9


def test_a_stream_whose_connection_is_gone_says_so() -> None:
    """Its rows cannot be had any more; closing it is no error."""
    connection = Wired(ANSWER)
    connection.next_result(unbuffered=True)
    result = connection.result
    connection.close()
    with pytest.raises(pymysql.err.InterfaceError):
        read_rows(result, 1)
    assert not result.unbuffered_active


@pytest.mark.parametrize("unbuffered", [False, True])
@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError, OSError, EOFError, OperationalError, IndexError])
def test_whatever_else_happens_closes_the_connection(error: type[BaseException], unbuffered: bool) -> None:
    """Rows of this answer are still on the way: a later statement would take them for its own."""

    def fail(_: object) -> object:
        raise error("from a converter")

    connection = Wired(ANSWER)
    connection.decoders = {**connection.decoders, 253: fail}
    with pytest.raises(error, match="from a converter"):
        read_all(connection, unbuffered)
    assert not connection.open
    connection = Wired(ANSWER)
    connection.next_result()
    assert connection.result.rows == EXPECTED  # what was worked out for other converters is not used here
    connection.close()


def test_memory_stays_constant_while_streaming() -> None:
    """The point of a stream is a result that is larger than memory."""
    values: list[list[str | None]] = [["x" * 100]] * 20_000
    with closing(Wired(stream(*rows(["a"], values)), [50_000])) as connection:
        connection.next_result(unbuffered=True)
        count = largest = 0
        while batch := read_rows(connection.result, 100):
            count += len(batch)
            largest = max(largest, len(connection.buffer.data))
        assert count == 20_000
        assert largest < 100_000
        assert len(connection.buffer.data) == 0


def test_a_buffer_reads_as_a_file_does() -> None:
    """PyMySQL's own reader works over it, and takes fewer bytes for the end."""
    left, right = socket.socketpair()
    with left, right:
        buffer = Buffer(right)
        left.sendall(b"abcdef")
        assert buffer.read(4) == b"abcd"
        assert buffer.pending == 2
        left.sendall(b"gh")
        buffer.fill()
        assert buffer.pending == 4
        left.close()
        assert buffer.read(10) == b"efgh"
        assert buffer.read(1) == b""
        with pytest.raises(EOFError):
            buffer.fill()
        buffer.close()
        assert buffer.pending == 0


def test_a_silent_server_is_a_lost_connection() -> None:
    """An answer that comes after its time would be taken for that to the next statement."""
    left, right = socket.socketpair()
    with left:
        connection = Wired(b"")
        connection._sock, connection._rfile = right, Buffer(right)
        connection._read_timeout = 0.01
        with pytest.raises(OperationalError, match="timed out") as caught:
            connection.query("select 1")
        assert caught.value.args[0] == 2013
        assert not connection.open
