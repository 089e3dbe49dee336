"""Many rows in one call: from anything that yields them, with any statement, all or none, never too large."""

from __future__ import annotations

import sys
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pymysql
import pytest

from improved_db import ImprovedDb, RetryPolicy, StatementError
from improved_db.testing import TemporaryServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

INSERT = "insert into pets (id, name, age) values (%s, %s, %s)"
ROWS = [(number, f"pet {number}", number % 20) for number in range(1, 10_001)]


@pytest.fixture
def db(database: dict[str, Any]) -> Iterator[ImprovedDb]:
    """A pool on an empty table."""
    with ImprovedDb(database, max_size=2, retry=RetryPolicy(within=2.0)) as made:
        made.execute_query("create table pets (id int primary key auto_increment, name varchar(200), age int)")
        yield made
        assert made.stats().used == 0


def pets(db: ImprovedDb) -> list[tuple[Any, ...]]:
    """Return what is in the table."""
    return list(db.execute_query("select id, name, age from pets order by id"))


# --- what rows may be ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "rows",
    [
        lambda: ROWS,
        lambda: tuple(ROWS),
        lambda: iter(ROWS),
        lambda: (row for row in ROWS),
        lambda: set(ROWS),
        lambda: dict(enumerate(ROWS)).values(),
        lambda: [list(row) for row in ROWS],
        lambda: map(tuple, ROWS),
    ],
    ids=["list", "tuple", "iterator", "generator", "set", "view", "lists", "map"],
)
def test_rows_come_from_any_iterable(db: ImprovedDb, rows: Callable[[], Iterable[Any]]) -> None:
    """What holds rows is the program's business; a generator need never hold all of them."""
    done = db.exec_many(INSERT, rows())
    assert (done, done.rowcount) == ((), len(ROWS))
    assert pets(db) == ROWS


def test_rows_may_be_mappings(db: ImprovedDb) -> None:
    """Rows from csv.DictReader or from a dict cursor go in as they are."""
    rows = [{"age": age, "name": name, "id": number, "more": 1} for number, name, age in ROWS]
    db.exec_many("insert into pets (id, name, age) values (%(id)s, %(name)s, %(age)s)", rows)
    assert pets(db) == ROWS


def test_rows_of_one_column_may_be_lone_values(db: ImprovedDb) -> None:
    """``["a", "b"]`` is one column of two rows, as ``args`` may be a scalar."""
    assert db.exec_many("insert into pets (name) values (%s)", ["ab", "cd", None]).rowcount == 3
    assert [name for _, name, _ in pets(db)] == ["ab", "cd", None]


@pytest.mark.parametrize("rows", [[], (), iter(()), {}.values()])
def test_no_rows_are_no_statement_and_no_error(db: ImprovedDb, rows: Any) -> None:
    """A program need not treat an empty batch as a special case, and it costs no round trip."""
    before = db.stats().acquired
    done = db.exec_many(INSERT, rows)
    assert (done, done.rowcount, done.lastrowid) == ((), 0, 0)
    assert db.stats().acquired == before


def test_rows_and_no_rows_on_a_connection_of_the_callers(db: ImprovedDb) -> None:
    """As on the pool; and the first row of a statement is a row."""
    with db.connection() as connection:
        for rows in ([], ROWS[:3]):
            done = db.execute_query(connection, INSERT, rows, exec_many=True)
            assert (done, done.rowcount) == ((), len(rows))
        first = "select name from pets order by id"
        assert db.execute_query(connection, first, return_one=True) == ("pet 1",)
        assert db.execute_query(connection, f"{first} limit 0", return_one=True) is None


def test_values_of_every_kind_arrive_as_they_were(db: ImprovedDb) -> None:
    """Folding rows into one statement must not change what is in them, whatever a value looks like."""
    db.execute_query(
        "create table kinds (t text, b blob, d decimal(30, 10), f double, w datetime(6), y date, n bigint)"
    )
    texts = ["", "%s", "100 %", "it's", '"', "\\", "\\'", "a\nb\tc\0d\x1a", "naïve — 日本 🐈", "), (", "values (1)"]
    now = datetime.fromisoformat("2013-01-01T23:59:59.123456")
    rows = [
        (text, text.encode(), Decimal("-1.5"), 1e-300, now, now.date(), -(2**63))
        for text in texts
    ] + [(None,) * 7]  # fmt: skip
    db.exec_many("insert into kinds values (%s, %s, %s, %s, %s, %s, %s)", rows)
    assert list(db.execute_query("select * from kinds")) == rows


# --- what statements may be ------------------------------------------------------------------------------------------


def test_on_duplicate_key_update(db: ImprovedDb) -> None:
    """What follows VALUES belongs to every chunk."""
    db.exec_many(INSERT, ROWS[:5000])
    db.exec_many(f"{INSERT} on duplicate key update age = values(age) + 100, name = concat(name, '%%')", ROWS)
    assert pets(db) == [(n, f"{name}%" if n <= 5000 else name, age + 100 * (n <= 5000)) for n, name, age in ROWS]


def test_functions_and_constants_in_values(db: ImprovedDb) -> None:
    """A row is more than its placeholders."""
    query = "insert into pets (id, name, age) values (%s, concat(upper(%s), ' (', '%%s', ')'), if(%s > 10, 1, 0))"
    db.exec_many(query, ROWS)
    assert pets(db) == [(number, f"{name.upper()} (%s)", int(age > 10)) for number, name, age in ROWS]


@pytest.mark.parametrize("verb", ["REPLACE INTO", "insert ignore into", "/* hint */ INSERT\n\tINTO"])
def test_other_spellings_of_insert(db: ImprovedDb, verb: str) -> None:
    """They are folded too, or sent one by one; what is in the table is the same."""
    db.exec_many(f"{verb} pets (id, name, age)\nVALUES\n(%s,%s , %s)\n", ROWS[:1000])
    assert pets(db) == ROWS[:1000]


def test_update_and_delete_statements(db: ImprovedDb) -> None:
    """They cannot be folded: one statement for each row, still in one transaction."""
    db.exec_many(INSERT, ROWS[:1000])
    updated = db.exec_many("update pets set age = age + %s where id = %s", [(100, n) for n in range(1, 501)])
    deleted = db.exec_many("delete from pets where id = %s", range(501, 1001))
    assert (updated.rowcount, deleted.rowcount) == (500, 500)
    assert pets(db) == [(number, name, age + 100) for number, name, age in ROWS[:500]]


def test_insert_select_is_sent_row_by_row(db: ImprovedDb) -> None:
    """VALUES is not where every INSERT has its placeholders."""
    db.exec_many("insert into pets (id, name, age) select %s, %s, %s from dual", ROWS[:300])
    assert pets(db) == ROWS[:300]


# --- all or none, or chunk by chunk ----------------------------------------------------------------------------------


@pytest.mark.parametrize("place", [0, 4999, 9999])
def test_atomic_leaves_nothing_behind_after_an_error(db: ImprovedDb, place: int) -> None:
    """Half a batch is worse than none: the program cannot tell which half."""
    rows = [*ROWS[:place], (-1, "x" * 201, 1), *ROWS[place:]]
    with pytest.raises(pymysql.err.DataError):
        db.exec_many(INSERT, rows)
    assert pets(db) == []


def test_not_atomic_says_exactly_which_rows_are_in(db: ImprovedDb) -> None:
    """A load of hours goes on where it stopped: from row number ``acked_rows``."""
    rows = [*ROWS[:9000], (-1, "x" * 201, 1), *ROWS[9000:]]
    with pytest.raises(pymysql.err.DataError) as caught:
        db.exec_many(INSERT, rows, atomic=False)
    acked: int = caught.value.acked_rows  # type: ignore[attr-defined]  # noted on the driver's own error
    assert 0 < acked <= 9000
    assert pets(db) == rows[:acked]


SOURCE_ERRORS = [ValueError, OSError, TimeoutError, EOFError, ConnectionResetError, pymysql.err.OperationalError]


def broken(error: type[BaseException]) -> Iterator[Any]:
    """Yield rows until *error*."""
    yield from ROWS[:9000]
    raise error("from the source")


@pytest.mark.parametrize("error", [*SOURCE_ERRORS, KeyboardInterrupt])
def test_an_error_of_the_source_leaves_nothing_behind(db: ImprovedDb, error: type[BaseException]) -> None:
    """Rows read from a file or a socket fail like a connection does; a retry of the load would go on without them."""
    with pytest.raises(error, match="from the source"):
        db.exec_many(INSERT, broken(error))
    assert pets(db) == []
    assert db.stats().retries == {}


@pytest.mark.parametrize("error", SOURCE_ERRORS)
def test_an_error_of_the_source_says_which_rows_are_in(db: ImprovedDb, error: type[Exception]) -> None:
    """The same, chunk by chunk: what is in stays in, and the program can go on from there."""
    with pytest.raises(error, match="from the source") as caught:
        db.exec_many(INSERT, broken(error), atomic=False)
    acked: int = caught.value.acked_rows  # type: ignore[attr-defined]  # noted on the source's own error
    assert 0 < acked <= 9000
    assert pets(db) == ROWS[:acked]
    assert db.stats().retries == {}


@pytest.mark.parametrize("error", SOURCE_ERRORS)
def test_an_error_of_the_progress_callable_is_the_programs_too(db: ImprovedDb, error: type[Exception]) -> None:
    """If the terminal has gone away, the server has not."""

    def tell(done: int, _: int | None) -> None:
        if done > 5000:
            raise error("from the bar")

    with pytest.raises(error, match="from the bar"):
        db.exec_many(INSERT, ROWS, progress=tell)
    assert pets(db) == []
    assert db.stats().retries == {}


def test_on_a_connection_in_a_transaction_it_becomes_part_of_it(db: ImprovedDb) -> None:
    """The transaction belongs to the caller, and so does its end."""
    with db.connection() as connection:
        connection.begin()
        db.execute_query(connection, INSERT, ROWS, exec_many=True)
        assert db.execute_query(connection, "select count(*) from pets") == ((len(ROWS),),)
        connection.rollback()
    assert pets(db) == []


def test_on_a_connection_outside_a_transaction_it_is_one_of_its_own(db: ImprovedDb) -> None:
    """Half of it must not stay there because the connection was the caller's."""
    with db.connection() as connection:
        with pytest.raises(pymysql.err.IntegrityError):
            db.execute_query(connection, INSERT, [*ROWS, ROWS[0]], exec_many=True)
        assert not connection._in_transaction()
        assert pets(db) == []
        assert db.execute_query(connection, INSERT, ROWS, exec_many=True).rowcount == len(ROWS)
    assert pets(db) == ROWS


# --- progress --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("make", "total"), [(list, len(ROWS)), (iter, None)])
@pytest.mark.parametrize("atomic", [True, False])
def test_progress_is_told_to_a_callable(
    db: ImprovedDb, make: Callable[[Any], Iterable[Any]], total: int | None, atomic: bool
) -> None:
    """Rows done only grow and end with all of them; the total is known if the rows know their number."""
    told: list[tuple[int, int | None]] = []
    db.exec_many(INSERT, make(ROWS), atomic=atomic, progress=lambda done, of: told.append((done, of)))
    assert {of for _, of in told} == {total}
    done = [number for number, _ in told]
    assert done == sorted(set(done))
    assert done[-1] == len(ROWS)
    assert len(done) > 1


def test_progress_true_draws_on_stderr_and_nothing_else_draws(
    db: ImprovedDb, capsys: pytest.CaptureFixture[str]
) -> None:
    """The program's output is its own; a bar that the caller did not ask for is noise."""
    db.exec_many(INSERT, ROWS[:5000])
    assert capsys.readouterr() == ("", "")
    db.exec_many(INSERT, ROWS[5000:], progress=True)
    out, err = capsys.readouterr()
    assert out == ""
    assert "rows" in err
    assert "100" in err


def _in_transaction(db: ImprovedDb, rows: Iterable[Any], **options: Any) -> object:
    with db.transaction() as tx:
        return tx.exec_many(INSERT, rows, **options)


#: The verbs that take many rows: each gets the pool, rows, and options.
VERBS: list[Callable[..., object]] = [
    lambda db, rows, **options: db.exec_many(INSERT, rows, **options),
    lambda db, rows, **options: db.exec_many(INSERT, rows, exactly_once=True, **options),
    lambda db, rows, **options: db.exec_many(INSERT, rows, atomic=False, **options),
    lambda db, rows, **options: db.load_rows("pets", rows, ["id", "name", "age"], **options),
    _in_transaction,
]


@pytest.mark.parametrize("verb", VERBS)
def test_the_caller_may_say_how_many_rows_a_generator_has(db: ImprovedDb, verb: Callable[..., object]) -> None:
    """A bar without an end tells no one when the load is done."""
    told: list[tuple[int, int | None]] = []
    verb(db, (row for row in ROWS[:600]), total=1200, progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (600, 1200)
    assert pets(db) == ROWS[:600]


@pytest.mark.parametrize("verb", VERBS)
def test_an_invalid_total_is_refused_before_a_row_is_taken(db: ImprovedDb, verb: Callable[..., object]) -> None:
    rows = iter(ROWS)
    for total, says in [(-1, "not -1"), (1.5, "not a float"), ("9", "not a str"), (True, "not a bool")]:
        with pytest.raises(StatementError, match="total must be") as caught:
            verb(db, rows, total=total)
        assert says in str(caught.value)
    assert next(rows) == ROWS[0]
    assert pets(db) == []


def test_the_plain_bar_shows_the_share_of_a_total(
    db: ImprovedDb, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    db.exec_many(INSERT, iter(ROWS[:600]), progress=True, total=1200)
    assert capsys.readouterr().err.endswith("600 rows of 1,200 (50 %)\n")


# --- sizes -----------------------------------------------------------------------------------------------------------

PACKET = 1 << 20


@pytest.fixture(scope="module")
def narrow() -> Iterator[TemporaryServer]:
    """A server that takes a megabyte at a time, and no more."""
    with TemporaryServer(options=["--max-allowed-packet=1M"]) as server:
        yield server


@pytest.fixture
def small(narrow: TemporaryServer) -> Iterator[ImprovedDb]:
    """A pool on it, with a table for long texts."""
    with ImprovedDb(narrow.url, max_size=2, retry=RetryPolicy(within=2.0)) as db:
        db.execute_query("create table texts (id int primary key, text longtext)")
        yield db
        db.execute_query("drop table texts")


@pytest.mark.parametrize("length", [10, 3_000, 300_000, 500_000, 1_000_000])
@pytest.mark.parametrize("atomic", [True, False])
def test_chunks_fit_the_server(small: ImprovedDb, length: int, atomic: bool) -> None:
    """A statement that is too large costs the connection; how many rows fit depends on the rows."""
    count = min(20_000, 5_000_000 // length)
    rows = [(number, str(number % 10) * length) for number in range(count)]
    assert small.exec_many("insert into texts values (%s, %s)", rows, atomic=atomic).rowcount == count
    held = small.execute_query("select count(*), min(length(text)), max(length(text)) from texts")
    assert held == ((count, length, length),)
    assert small.stats().discarded == {}


def test_rows_that_grow_suddenly_still_fit(small: ImprovedDb) -> None:
    """The size of a chunk is a guess from the one before it."""
    rows = [(number, "x" * (10 if number < 5_000 else 200_000)) for number in range(5_020)]
    small.exec_many("insert into texts values (%s, %s)", rows)
    assert small.execute_query("select count(*) from texts where length(text) = 200000") == ((20,),)


@pytest.mark.parametrize("text", ["'" * 600_000, "\0" * 600_000, b"\x00" * 600_000], ids=["quotes", "zeros", "bytes"])
def test_what_counts_is_the_size_on_the_wire(small: ImprovedDb, text: str | bytes) -> None:
    """Escapes and hexadecimal double what a value takes."""
    with pytest.raises(StatementError, match=r"1,2\d\d,\d\d\d bytes"):
        small.exec_many("insert into texts values (%s, %s)", [(1, "a"), (2, text)])
    assert small.execute_query("select count(*) from texts") == ((0,),)


@pytest.mark.parametrize("atomic", [True, False])
def test_a_row_that_no_packet_takes(small: ImprovedDb, atomic: bool) -> None:
    """Sent all the same, it would end the connection, and the error would say no more than that."""
    rows = [(1, "a"), (2, "b"), (3, "x" * PACKET), (4, "d")]
    with pytest.raises(StatementError) as caught:
        small.exec_many("insert into texts values (%s, %s)", rows, atomic=atomic)
    assert "row 3 takes 1,0" in str(caught.value)
    assert f"max_allowed_packet of {PACKET:,}" in str(caught.value)
    stats = small.stats()
    assert (stats.used, stats.discarded, stats.retries) == (0, {}, {})


def test_a_single_statement_that_no_packet_takes(small: ImprovedDb) -> None:
    """It is not retried, and the next statement has a connection that works."""
    with pytest.raises(pymysql.err.MySQLError) as caught:
        small.execute_query("insert into texts values (1, %s)", "x" * 2 * PACKET)
    assert "packet" in str(caught.value) or "gone away" in str(caught.value)
    assert small.stats().retries == {}
    assert small.execute_query("select count(*) from texts") == ((0,),)
