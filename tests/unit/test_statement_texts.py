"""What else a statement's text tells: whether it commits, how it is shown in a log, how it is limited in time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymysql.converters import escape_string

from improved_db.sql.server import Flavour
from improved_db.sql.statement import digest, ends_transaction, with_time_limit

MARIADB_10_11 = (Flavour.MARIADB, (10, 11, 6))
MYSQL_8 = (Flavour.MYSQL, (8, 0, 36))


def doubled(text: str, quote: str) -> str:
    """Quote as every sql_mode reads it."""
    return quote + text.replace(quote, quote * 2) + quote


@pytest.mark.parametrize(
    ("query", "how"),
    [
        ("commit", "COMMIT"),
        ("COMMIT AND CHAIN", "COMMIT"),
        ("  /* now */ -- c\n # d\n commit", "COMMIT"),
        ("begin", "COMMIT"),
        ("begin work", "COMMIT"),
        ("start transaction read only", "COMMIT"),
        ("rollback", "ROLLBACK"),
        ("rollback work", "ROLLBACK"),
        ("rollback and chain", "ROLLBACK"),
        ("rollback to a", ""),
        ("rollback to savepoint a", ""),
        ("rollback work to savepoint a", ""),
        ("begin not atomic select 1; end", ""),
        ("savepoint a", ""),
        ("commitment", ""),
        ("`commit`", ""),
        ("insert into t values ('commit')", ""),
        ("select 1", ""),
        ("", ""),
        ("'", ""),
    ],
)
def test_statements_that_end_a_transaction_are_told_by_their_words(query: str, how: str) -> None:
    """COMMIT AND CHAIN leaves a transaction open, as the server's flag has it: another one."""
    assert ends_transaction(query) == how


def test_only_the_beginning_of_a_long_statement_is_read() -> None:
    """It is asked of every statement in a transaction, a load of a megabyte included."""
    assert ends_transaction("commit /* " + "x" * 20_000) == "COMMIT"


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("select  1\n+ 2", "select ? + ?"),
        ("select * from t where id=%s and b=%(b)s", "select * from t where id=? and b=?"),
        ("select 'it''s', \"q\", x'41', N'n', 0x41, 1.5e-3, .5", "select ?, ?, ?, ?, ?, ?, .?"),
        ("select t1.a from t1 where utf8 = _utf8'x'", "select t1.a from t1 where utf8 = _utf8?"),
        ("select a from t where b in (1, -2, %s)", "select a from t where b in (...)"),
        ("insert into t (a, b) values (1,'x'), (2,'y')", "insert into t (a, b) values (...), ..."),
        ("select /* request 5 */ a -- secret\n from `t`", "select a from `t`"),
        ("select `two\nlines` from t", "select ? from t"),
        ("select 'it\\'s a secret' from t", "select ..."),
        ("select /*! 5 */ 1", "select ..."),
        ("select a from t where b in (" + "123, " * 5000 + "4)", "select a from t where b in (...) ..."),
        ("", ""),
    ],
)
def test_a_digest_shows_the_statement_without_its_values(query: str, expected: str) -> None:
    """Log lines about one statement should look alike, whatever its values."""
    assert digest(query) == expected


def test_a_long_digest_is_cut() -> None:
    """A log line is to be read."""
    shown = digest("select " + ", ".join(f"column_{'x' * 20}" for _ in range(20)) + " from t")
    assert len(shown) == 120
    assert shown.endswith("...")


@given(
    value=st.text(),
    way=st.sampled_from(["doubled", "backslashes", "double quotes"]),
    pad=st.just(0) | st.integers(9_900, 10_010),
    tail=st.sampled_from([" and b = 2", "'", "", ") -- c", "/*"]),
)
def test_no_string_gets_into_a_digest(value: str, way: str, pad: int, tail: str) -> None:
    """Logs are read by more people than the data."""
    value = f"§{value}§"
    quotes = {
        "doubled": doubled(value, "'"),
        "backslashes": f"'{escape_string(value)}'",
        "double quotes": doubled(value, '"'),
    }
    assert "§" not in digest(f"select a{' ' * pad} from t where a = {quotes[way]}{tail}")
    assert "§" not in digest(f"insert into t values (1, {' ' * pad}{quotes[way]}){tail}")


NUMBERS = (
    st.integers().map(str)
    | st.floats(allow_nan=False, allow_infinity=False).map(str)
    | st.decimals(allow_nan=False, allow_infinity=False).map(str)
    | st.binary(min_size=1).map(lambda value: f"0x{value.hex()}")
)


@given(st.lists(NUMBERS, min_size=1))
def test_no_number_gets_into_a_digest(numbers: list[str]) -> None:
    """An account number is a value, too."""
    shown = digest(f"select a from t where b in ({', '.join(numbers)}) or c = {'+'.join(numbers)}")
    assert not any(character.isdigit() for character in shown)


@pytest.mark.parametrize(
    "query",
    [
        "select 1",
        "/* c */ (select 1) union (select 2);",
        "with c as (select 1) select * from c",
        "insert into t values (%s)",
        "update t set a = f(1)",
        "delete from t where a like '%s%'",
    ],
)
def test_mariadb_limits_any_query_and_change(query: str) -> None:
    """The session stays usable, which it does not when the client cuts the connection."""
    assert with_time_limit(query, 1.5, *MARIADB_10_11) == f"SET STATEMENT max_statement_time=1.500 FOR {query}"


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("select 1", "select /*+ MAX_EXECUTION_TIME(1500) */  1"),
        ("SELECT(1)", "SELECT /*+ MAX_EXECUTION_TIME(1500) */ (1)"),
        (
            "-- select\nselect a from t union select %s",
            "-- select\nselect /*+ MAX_EXECUTION_TIME(1500) */  a from t union select %s",
        ),
    ],
)
def test_mysql_limits_a_read_by_a_hint_after_its_first_select(query: str, expected: str) -> None:
    """Elsewhere the hint is taken for a comment, and nothing is limited."""
    assert with_time_limit(query, 1.5, *MYSQL_8) == expected


@pytest.mark.parametrize(
    ("flavour", "version", "query"),
    [
        (Flavour.MARIADB, (10, 0, 38), "select 1"),
        (Flavour.MARIADB, (10, 11, 6), "call p()"),
        (Flavour.MARIADB, (10, 11, 6), "alter table t add b int"),
        (Flavour.MARIADB, (10, 11, 6), "commit"),
        (Flavour.MARIADB, (10, 11, 6), "select 1; select 2"),
        (Flavour.MARIADB, (10, 11, 6), "/*! select */ 1"),
        (Flavour.MARIADB, (10, 11, 6), ""),
        (Flavour.MARIADB, (10, 11, 6), "select 1" + " + 1" * 3000),
        (Flavour.GALERA, (10, 11, 6), "insert into t values (1)"),
        (Flavour.MYSQL, (5, 6, 51), "select 1"),
        (Flavour.MYSQL, (5, 7, 7), "select 1"),
        (Flavour.MYSQL, (8, 0, 36), "insert into t select 1"),
        (Flavour.MYSQL, (8, 0, 36), "(select 1)"),
        (Flavour.MYSQL, (8, 0, 36), "with c as (select 1) select * from c"),
        (Flavour.MYSQL, (8, 0, 36), "select f()"),
        (Flavour.MYSQL, (8, 0, 36), "select 1 for update"),
        (Flavour.MYSQL, (8, 0, 36), "select /*+ NO_ICP(t) */ a from t"),
        (Flavour.MYSQL, (8, 0, 36), "show tables"),
        (Flavour.TIDB, (8, 0, 11), "select 1"),
        (Flavour.VITESS, (8, 0, 30), "select 1"),
        (Flavour.PROXYSQL, (8, 0, 30), "select 1"),
    ],
)
def test_no_limit_is_promised_that_may_not_be_kept(flavour: Flavour, version: tuple[int, ...], query: str) -> None:
    """None tells the caller to watch the clock itself."""
    assert with_time_limit(query, 1.0, flavour, version) is None


@pytest.mark.parametrize(("flavour", "version"), [(Flavour.GALERA, (10, 11, 6)), (Flavour.AURORA, (8, 0, 36))])
def test_a_flavour_of_the_two_limits_its_reads_too(flavour: Flavour, version: tuple[int, ...]) -> None:
    """They are MariaDB and MySQL inside."""
    assert with_time_limit("select 1", 1.0, flavour, version) is not None


@pytest.mark.parametrize("seconds", [0.0, -1.0, 0.0001])
def test_a_limit_of_nothing_is_the_shortest_one(seconds: float) -> None:
    """To both servers 0 means no limit at all."""
    assert "=0.001 " in str(with_time_limit("select 1", seconds, *MARIADB_10_11))
    assert "(1)" in str(with_time_limit("select 1", seconds, *MYSQL_8))


def test_a_limit_for_ever_is_one_that_the_server_takes() -> None:
    """MariaDB complains about more than a year."""
    assert "=31536000.000 " in str(with_time_limit("select 1", float("inf"), *MARIADB_10_11))
    assert "(31536000000)" in str(with_time_limit("select 1", float("inf"), *MYSQL_8))
