"""Answers of a real server with bytes changed, read by us and by PyMySQL: the same rows, or an error."""

from __future__ import annotations

import io
import random
from typing import Any, Final

import pymysql.connections
import pytest
from pymysql.err import MySQLError

from improved_db.wire.buffer import Buffer
from improved_db.wire.columns import VECTOR
from improved_db.wire.results import read_query_result
from tests.fakes import Caller
from tests.unit.recorded import ANSWERS

pytestmark = pytest.mark.usefixtures("row_reader")

#: Few enough for each batch to end long before a thread counts as blocked.
BATCH: Final = 2_000

#: What a damaged answer may end with: PyMySQL's errors, and those of its converters and of text in no encoding. Where
#: PyMySQL raises another one on the same bytes, so may we.
EXPECTED: Final = (MySQLError, ValueError, ArithmeticError)

#: Bytes that begin an OK, NULL, a longer length, an EOF, an ERR.
TELLING: Final = (0, 1, 251, 252, 253, 254, 255)


class Socket:
    """Gives bytes in pieces of one size."""

    def __init__(self, data: bytes, size: int) -> None:
        self._data, self._size, self._place = data, size, 0

    def recv(self, limit: int) -> bytes:
        """Return the next piece."""
        start = self._place
        self._place += min(limit, self._size)
        return self._data[start : self._place]

    def sendall(self, data: bytes) -> None:
        """Ignore every call."""

    def settimeout(self, seconds: float | None) -> None:
        """Take no time."""

    def close(self) -> None:
        """Hold nothing."""


class Plain(pymysql.connections.Connection):
    """PyMySQL's own connection, at the beginning of an answer."""

    _result: Any
    _rfile: Any

    def __init__(self) -> None:
        super().__init__(defer_connect=True, ssl_disabled=True)

    def take(self, data: bytes, size: int) -> None:
        """Let *data* be what comes."""
        self._sock: Any = Socket(data, size)
        self._rfile = io.BytesIO(data)
        self._next_seq_id = 1
        self._read_timeout = self._current_timeout = None
        self._closed = False
        self._result = None
        self.server_status = 0
        self.had_vectors = False  # of which PyMySQL makes something else

    def read_all(self) -> tuple[list[Any], Exception | None]:
        """Return what each result brought until an error came, and that error."""
        found: list[Any] = []
        try:
            more = True
            while more:
                self._affected_rows = self._read_query_result()  # type: ignore[attr-defined]  # left out of the stubs
                result = self._result
                rows = repr(result.rows)  # a float that is not a number is not equal to itself
                self.had_vectors |= any(field.type_code == VECTOR for field in getattr(result, "fields", None) or ())
                found.append((rows, result.description, result.affected_rows, result.insert_id, result.has_next))
                more = result.has_next
        except Exception as error:
            return found, error
        return found, None


class Ours(Plain):
    """The same with our reader."""

    _loading: bytes | None = None

    row_kind = tuple

    def take(self, data: bytes, size: int) -> None:
        """See `Plain`."""
        super().take(data, size)
        self._rfile = Buffer(self._sock)

    def _read_query_result(self, unbuffered: bool = False) -> Any:
        return read_query_result(self, unbuffered, self.row_kind)


def change(data: bytearray, rand: random.Random) -> None:
    """Change a byte, or a few, leave some out, double some or put some in."""
    place, length = rand.randrange(len(data)), rand.randint(1, 4)
    kind = rand.randrange(7)
    if kind < 2:
        data[place] = rand.choice(TELLING)
    elif kind == 2:
        data[place] ^= 1 << rand.randrange(8)
    elif kind == 3:
        data[place : place + length] = rand.randbytes(length)
    elif kind == 4:
        del data[place : place + length]
    elif kind == 5:
        data[place:place] = rand.choice((data[place : place + length], rand.randbytes(length)))
    else:
        del data[place:]


def packets(answer: bytes) -> list[bytearray]:
    """Return the payloads of an answer."""
    found, start = [], 0
    while start < len(answer):
        end = start + 4 + int.from_bytes(answer[start : start + 3], "little")
        found.append(bytearray(answer[start + 4 : end]))
        start = end
    return found


def mutated(rand: random.Random) -> bytes:
    """Return a recorded answer with changes: of its bytes, or of its packets, which are numbered well again."""
    answer = rand.choice(tuple(ANSWERS.values()))
    changes = rand.choice((1, 1, 1, 2, 3, 8))
    if rand.randrange(3) == 0:
        data = bytearray(answer)
        for _ in range(changes):
            change(data or bytearray(1), rand)
        return bytes(data)
    payloads = packets(answer)
    for _ in range(changes):
        place = rand.randrange(len(payloads))
        kind = rand.randrange(12)
        if kind == 0 and len(payloads) > 1:
            del payloads[place]
        elif kind == 1:
            payloads.insert(rand.randrange(len(payloads)), bytearray(payloads[place]))
        elif kind == 2:
            payloads[place] = rand.choice(packets(rand.choice(tuple(ANSWERS.values()))))
        elif payloads[place]:
            change(payloads[place], rand)
    return b"".join(
        len(payload).to_bytes(3, "little") + bytes([number & 255]) + payload
        for number, payload in enumerate(payloads, start=1)
    )


def compare(first: int, number: int) -> int:
    """Read *number* answers, those of the seeds from *first* on; return how many of them both could read."""
    plain, ours, good = Plain(), Ours(), 0
    for seed in range(first, first + number):
        rand = random.Random(seed)
        data, size = mutated(rand), rand.choice((1 << 16, 1 << 16, 100, 7, 1))
        plain.take(data, size)
        ours.take(data, size)
        (theirs, their_error), (mine, my_error) = plain.read_all(), ours.read_all()
        if ours.had_vectors:
            continue
        assert mine == theirs[: len(mine)], f"seed {seed}: other rows"
        if my_error is None:
            assert their_error is None, f"seed {seed}: PyMySQL raises {their_error!r}"
        else:
            assert isinstance(my_error, (*EXPECTED, type(their_error))), f"seed {seed}: {my_error!r}"
        good += my_error is None
    return good


def compare_in_batches(number: int) -> int:
    """Do as `compare`, in threads that are given up when they hang."""
    return sum(Caller(lambda: compare(first, BATCH), dies=True).result() for first in range(0, number, BATCH))  # noqa: B023


def test_recorded_answers_are_read_alike() -> None:
    """What the changes begin with makes sense, and holds rows, errors and several results."""
    plain, ours = Plain(), Ours()
    errors = 0
    for answer in ANSWERS.values():
        plain.take(answer, 1 << 16)
        ours.take(answer, 1 << 16)
        (theirs, their_error), (mine, my_error) = plain.read_all(), ours.read_all()
        assert mine == theirs
        assert repr(my_error) == repr(their_error)
        assert my_error is None or isinstance(my_error, MySQLError)
        errors += my_error is not None
    assert errors == 2


def test_changed_answers_give_pymysqls_rows_or_an_error() -> None:
    """A reader that is quicker must not see rows where there are none, nor wait for what will not come."""
    assert compare_in_batches(30_000) > 3_000


@pytest.mark.soak
def test_million_changed_answers_give_pymysqls_rows_or_an_error() -> None:
    """The same for a longer time."""
    assert compare_in_batches(1_000_000) > 100_000
