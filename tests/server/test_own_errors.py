"""An error that the caller's own code or disk raises says nothing about the connection, whatever its class."""

from __future__ import annotations

import errno
import tempfile
from typing import TYPE_CHECKING, Any

import pymysql
import pytest
from pymysql.constants import FIELD_TYPE
from pymysql.converters import conversions

from improved_db import ImprovedDb, StatementError

if TYPE_CHECKING:
    from collections.abc import Iterator

INSERT = "insert into t (a, s) values (%s, %s)"
CLASSES = [ConnectionResetError, TimeoutError, EOFError, pymysql.err.OperationalError, RuntimeError]


@pytest.fixture
def db(database: dict[str, Any]) -> Iterator[ImprovedDb]:
    """A pool with an empty table."""
    with ImprovedDb(database, max_size=2, ssl_disabled=True) as made:
        made.execute_query("create table t (a int, s varchar(2000))")
        yield made
        assert made.stats().used == 0


class Lazy:
    """A value whose text is made late, and once not at all."""

    def __init__(self, error: type[Exception], fails_at: int) -> None:
        self.error = error
        self.fails_at = fails_at
        self.calls = 0

    def __call__(self, *_: object) -> str:
        """Stand in for the encoder of a type."""
        self.calls += 1
        if self.calls == self.fails_at:
            raise self.error(2013, "my own source hiccuped")
        return "'lazy'"


class Mine:
    """A type with an encoder of the user's."""


def lazy_db(db: ImprovedDb, database: dict[str, Any], encoder: Lazy) -> ImprovedDb:
    """Return another pool, with *encoder* for values of `Mine`."""
    return ImprovedDb(database, max_size=2, ssl_disabled=True, conv={**conversions, Mine: encoder})


@pytest.mark.parametrize("atomic", [True, False])
@pytest.mark.parametrize("error", CLASSES)
def test_an_encoder_that_fails_once_loses_no_row(
    db: ImprovedDb, database: dict[str, Any], error: type[Exception], *, atomic: bool
) -> None:
    """A load that was retried behind the rows already taken reported success without them."""
    encoder = Lazy(error, 1000)
    with lazy_db(db, database, encoder) as other, pytest.raises(error, match="my own source hiccuped") as caught:
        other.exec_many(INSERT, ((number, Mine()) for number in range(3000)), atomic=atomic)
    acked = 0 if atomic else caught.value.acked_rows  # type: ignore[attr-defined]  # noted on the encoder's own error
    assert db.execute_query("select count(*), count(distinct a) from t") == ((acked, acked),)
    assert encoder.calls <= 1000


def test_a_full_disk_under_the_spooled_rows_loses_no_row(db: ImprovedDb, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rows are kept on disk for a retry; a disk that is full for a moment is not taken for a lost answer."""
    real = tempfile.SpooledTemporaryFile.write
    calls: list[int] = []

    def write(self: Any, data: bytes) -> int:
        calls.append(len(data))
        if len(calls) == 4:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(self, data)

    monkeypatch.setattr(tempfile.SpooledTemporaryFile, "write", write)
    with pytest.raises(OSError, match="No space left"):
        db.exec_many(INSERT, ((number, "x" * 500) for number in range(20_000)))
    assert db.execute_query("select count(*) from t") == ((0,),)
    assert db.stats().retries == {}


@pytest.mark.parametrize("statement", ["insert into t values (1, %s)", "select %s"])
@pytest.mark.parametrize("error", CLASSES)
def test_an_encoder_that_fails_is_called_once_and_nothing_is_sent(
    db: ImprovedDb, database: dict[str, Any], error: type[Exception], statement: str
) -> None:
    """If no byte of an INSERT was sent, it is not in doubt; a SELECT is not retried."""
    encoder = Lazy(error, 1)
    with lazy_db(db, database, encoder) as other:
        with pytest.raises(error, match="my own source hiccuped"):
            other.execute_query(statement, (Mine(),))
        with other.connection() as connection:
            encoder.calls = 0
            with pytest.raises(error, match="my own source"):
                other.execute_query(connection, statement, (Mine(),))
        assert other.stats().discarded == {}
        assert other.stats().retries == {}
    assert db.execute_query("select * from t") == ()


@pytest.mark.parametrize("error", CLASSES[:3])
def test_a_decoder_that_fails_is_called_once(db: ImprovedDb, database: dict[str, Any], error: type[Exception]) -> None:
    """The answer had come; the decoder's own ConnectionError does not mean that the connection is lost."""
    calls: list[object] = []

    def decode(value: object) -> object:
        calls.append(value)
        raise error("the decoder's own")

    with (
        ImprovedDb(database, ssl_disabled=True, conv={**conversions, FIELD_TYPE.VAR_STRING: decode}) as other,
        pytest.raises(error, match="the decoder's own"),
    ):
        other.execute_query("select 'a'")
    assert len(calls) == 1


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "\ud800", {"a": 1}])
def test_a_value_that_cannot_be_written_costs_no_connection_and_no_transaction(db: ImprovedDb, value: object) -> None:
    """Nothing was sent, so the transaction goes on."""
    with pytest.raises(StatementError):
        db.execute_query("select %s", (value,))
    with pytest.raises(StatementError):
        db.exec_many(INSERT, [(1, value)])
    with db.transaction() as tx:
        tx.execute_query(INSERT, (1, "kept"))
        with pytest.raises(StatementError):
            tx.execute_query("select %s", (value,))
    assert db.execute_query("select s from t") == (("kept",),)
    assert db.stats().discarded == {}


@pytest.mark.parametrize("error", [*CLASSES, KeyboardInterrupt])
def test_an_error_of_the_rows_is_the_callers_own_where_load_data_is_refused(
    db: ImprovedDb, error: type[BaseException]
) -> None:
    """The rows go by INSERT then; a Ctrl-C must stay a Ctrl-C."""

    def rows() -> Iterator[tuple[int, str]]:
        yield 1, "a"
        raise error("from the source")

    before = db.execute_query("select @@global.local_infile")[0][0]
    db.execute_query("set global local_infile = 0")
    try:
        with pytest.raises(error, match="from the source"):
            db.load_rows("t", rows())
    finally:
        db.execute_query(f"set global local_infile = {before}")
    assert db.execute_query("select * from t") == ()
