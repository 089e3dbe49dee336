"""The quicker cursors against PyMySQL's own, on the same statements: users see no difference."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any

import pymysql
import pymysql.connections
import pytest
from pymysql.cursors import Cursor, DictCursor, SSCursor, SSDictCursor

from improved_db import Connection
from tests.server.wired import typed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: What a cursor shows of its last statement.
SHOWN = ("rowcount", "description", "lastrowid", "warning_count", "rownumber", "arraysize")

MULTI = {"client_flag": pymysql.constants.CLIENT.MULTI_STATEMENTS, "autocommit": True}


class Pair:
    """PyMySQL's connection and ours, each with a database content of its own that is the same."""

    def __init__(self, theirs: Any, ours: Any) -> None:
        self.theirs = theirs
        self.ours = ours

    def both(self, script: Callable[[Any], object], kind: Any = None) -> tuple[list[Any], list[Any]]:
        """Run *script* with a cursor of each; return what it returned or raised, and what the cursor showed then."""
        stories = []
        for connection in (self.theirs, self.ours):
            tell(connection, "DROP TABLE IF EXISTS t")
            tell(connection, "CREATE TABLE t (id INT AUTO_INCREMENT PRIMARY KEY, v VARCHAR(20), u INT UNIQUE)")
            cursor = connection.cursor(kind)
            try:
                outcome = script(cursor)
            except Exception as error:  # compared below
                outcome = (type(error), str(error))
            stories.append([outcome, *looks(cursor)])
            cursor.close()
        return stories[0], stories[1]


def tell(connection: Any, statement: str) -> None:
    """Run a statement on a cursor of PyMySQL's own."""
    with closing(Cursor(connection)) as cursor:
        cursor.execute(statement)


def looks(cursor: Any) -> list[Any]:
    """Return what a cursor shows."""
    return [getattr(cursor, name, "missing") for name in SHOWN]


@pytest.fixture
def pair(database: dict[str, Any]) -> Iterator[Pair]:
    """One connection of each."""
    options = {**database, **MULTI, "ssl_disabled": True}
    with closing(pymysql.connections.Connection(**options)) as theirs, closing(Connection(**options)) as ours:
        tell(theirs, "CREATE PROCEDURE twice(IN a INT) BEGIN SELECT a, a + 1; SELECT a * 2; END")
        yield Pair(theirs, ours)


def step_by_step(*statements: Any) -> Callable[[Any], object]:
    """Return a script that runs statements one after the other, and notes what the cursor shows after each."""

    def script(cursor: Any) -> object:
        story: list[Any] = []
        for statement in statements:
            query, args = statement if isinstance(statement, tuple) else (statement, None)
            try:
                story.append(cursor.execute(query, args))
            except pymysql.err.Error as error:
                story.append((type(error), error.args))
            story.append(looks(cursor))
            try:
                story.append(list(cursor.fetchall()))
            except pymysql.err.Error as error:
                story.append((type(error), error.args))
            story.append(looks(cursor))
        return story

    return script


SCRIPTS: dict[str, Callable[[Any], object]] = {
    "nothing yet": looks,
    "fetch before execute": lambda cursor: cursor.fetchone(),
    "rows": step_by_step("SELECT 1 AS a, 'x' AS b UNION ALL SELECT 2, NULL", "SELECT 1 WHERE 0", "DO 0"),
    "changes": step_by_step(
        "INSERT INTO t (v) VALUES ('a'), ('b')", "UPDATE t SET v = 'c'", "UPDATE t SET v = 'c'", "SELECT * FROM t",
        "DELETE FROM t", "INSERT INTO t (v) VALUES ('d')", "SELECT LAST_INSERT_ID()",
    ),
    "warnings": step_by_step(
        "SET sql_mode = ''", "SELECT 1 / 0, CAST('x' AS INT)", "INSERT INTO t (v) VALUES (REPEAT('x', 50))", "DO 1"
    ),
    "arguments": step_by_step(
        ("SELECT %s, %s", ("a'b", None)), ("SELECT %s", [1.5]), ("SELECT %(x)s, %(y)s", {"x": b"\0", "y": 2}),
        ("SELECT '%%'", ()), ("SELECT '100%'", None),
    ),
    "arguments that do not fit": step_by_step(
        ("SELECT %s", ()), ("SELECT %s", (1, 2)), ("SELECT %s, %s", (1,)), "SELECT 1"
    ),
    "errors": step_by_step(
        "SELECT 1", "SELECT * FROM no_such_table", "INSERT INTO t (u) VALUES (7)", "INSERT INTO t (u) VALUES (7)",
        "SELEKT", "", "SELECT 2",
    ),
    "error at first": step_by_step("SELEKT", "SELECT 1"),
    "several results, the next statement comes too early": step_by_step(
        "SELECT 1; SELECT 2; SELECT 3", "SELECT 4", "DO 1; SELECT 5", "SELECT 6"
    ),
    "error in the second of several": step_by_step("SELECT 1; SELECT * FROM no_such_table; SELECT 3", "SELECT 4"),
    "one by one": lambda cursor: (cursor.execute("SELECT 1 UNION SELECT 2 UNION SELECT 3"), [
        (cursor.fetchone(), cursor.rownumber) for _ in range(5)
    ]),
    "many": lambda cursor: (cursor.execute("SELECT 1 UNION SELECT 2 UNION SELECT 3"), [
        (cursor.fetchmany(), cursor.fetchmany(2), cursor.fetchmany(9), cursor.rownumber) for _ in range(2)
    ]),
    "iteration": lambda cursor: (cursor.execute("SELECT 1 UNION SELECT 2"), list(cursor), list(cursor)),
    "scroll": lambda cursor: (
        cursor.execute("SELECT 1 UNION SELECT 2 UNION SELECT 3"), cursor.scroll(2), cursor.fetchone(),
        cursor.scroll(0, "absolute"), cursor.fetchall(), cursor.scroll(9),
    ),
    "nextset": lambda cursor: (
        cursor.execute("SELECT 1; INSERT INTO t (v) VALUES ('a'), ('b'); SELECT 3 AS c; DO 0"),
        [(looks(cursor), list(cursor.fetchall()), cursor.nextset()) for _ in range(6)],
    ),
    "procedure": lambda cursor: (
        cursor.callproc("twice", (5,)),
        [(looks(cursor), list(cursor.fetchall()), cursor.nextset()) for _ in range(5)],
        cursor.execute("SELECT @_twice_0"), cursor.fetchall(),
    ),
    "procedure whose results are left": lambda cursor: (
        cursor.callproc("twice", (5,)), cursor.execute("SELECT 9"), cursor.fetchall()
    ),
    "no such procedure": lambda cursor: cursor.callproc("no_such_procedure", (1, "a")),
    "executemany": lambda cursor: (
        cursor.executemany("INSERT INTO t (v, u) VALUES (%s, %s)", [("a", 1), ("b", None), ("c", 3)]), looks(cursor),
        cursor.executemany("UPDATE t SET v = %s WHERE u = %s", [("x", 1), ("y", 3), ("z", 99)]), looks(cursor),
        cursor.executemany("INSERT INTO t (u) VALUES (%s)", []), looks(cursor),
        cursor.executemany("INSERT INTO t (v, u) VALUES (%(v)s, %(u)s) ON DUPLICATE KEY UPDATE v = 'd'",
                           [{"v": "p", "u": 1}, {"v": "q", "u": 8}]), looks(cursor),
        cursor.execute("SELECT * FROM t"), cursor.fetchall(),
    ),
    "executemany that fails": lambda cursor: cursor.executemany("INSERT INTO t (u) VALUES (%s)", [(1,), (2,), (1,)]),
    "executemany in several statements": lambda cursor: (
        cursor.__setattr__("max_stmt_length", 100),
        cursor.executemany("INSERT INTO t (v, u) VALUES (%s, %s)", [(f"value {i}", i) for i in range(20)]),
        looks(cursor), cursor.execute("SELECT COUNT(*) FROM t"), cursor.fetchall(),
    ),
    "mogrify": lambda cursor: (
        cursor.mogrify("SELECT %s", ("ä'",)), cursor.mogrify("SELECT '%'"), cursor.mogrify("%(a)s", {"a": None}),
    ),
    "names twice": lambda cursor: (
        cursor.execute("SELECT a.id, b.id, 1 AS id, 2 AS `id` FROM t a JOIN t b"), cursor.fetchall(),
        cursor.execute("INSERT INTO t (v) VALUES ('a')"), cursor.execute("SELECT a.id, b.id FROM t a JOIN t b"),
        cursor.fetchall(),
    ),
    "block": lambda cursor: (cursor.__enter__() is cursor, cursor.execute("SELECT 1; SELECT 2"), cursor.__exit__()),
    "closed": lambda cursor: (cursor.execute("SELECT 1"), cursor.close(), cursor.close(), cursor.fetchall(),
                              cursor.execute("SELECT 2")),
    "sizes": lambda cursor: (cursor.setinputsizes(1), cursor.setoutputsizes(1), cursor.max_stmt_length),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:.*deprecated:DeprecationWarning")
@pytest.mark.parametrize("kind", [None, Cursor, DictCursor], ids=["default", "tuples", "dicts"])
@pytest.mark.parametrize("name", SCRIPTS)
def test_cursor_behaves_as_pymysqls(pair: Pair, name: str, kind: Any) -> None:
    """Each method, each attribute, after success, after an error, and with results left unread."""
    theirs, ours = pair.both(SCRIPTS[name], kind)
    assert ours == theirs
    again = pair.both(step_by_step("SELECT 'the connection goes on'"), kind)
    assert again[0] == again[1]


def test_values_have_pymysqls_types(pair: Pair) -> None:
    """1 == 1.0 == True would hide a difference."""
    query = "SELECT 1, 1.0, 1e0, TRUE, NULL, 'x', x'00', DATE '2020-01-02', TIME '01:02:03', b'1'"
    for kind in (Cursor, DictCursor):
        theirs, ours = pair.both(lambda cursor: (cursor.execute(query), typed(cursor.fetchall()))[1], kind)
        assert ours == theirs


def test_rows_come_in_the_container_that_pymysql_uses(pair: Pair) -> None:
    """A tuple of tuples, a list of dicts; empty ones too."""
    for kind in (Cursor, DictCursor):
        for query in ("SELECT 1", "SELECT 1 WHERE 0", "DO 0"):
            theirs, ours = pair.both(lambda cursor: (cursor.execute(query), type(cursor.fetchall())), kind)  # noqa: B023  # run at once
            assert ours == theirs


def test_cursor_is_cleared_by_an_error(pair: Pair) -> None:
    """Rows of an earlier statement must not pass for the answer of one that failed."""

    def script(cursor: Any) -> object:
        cursor.execute("SELECT 1 AS a")
        with pytest.raises(pymysql.err.ProgrammingError):
            cursor.execute("SELECT * FROM no_such_table")
        return list(cursor.fetchall()), cursor.description, cursor.rowcount

    theirs, ours = pair.both(script)
    assert ours == theirs
    assert ours[0] == ([], None, 0)


def test_closing_reads_the_results_that_are_left(pair: Pair) -> None:
    """Otherwise the next statement on the connection would get them for its answer."""
    for connection in (pair.theirs, pair.ours):
        cursor = connection.cursor()
        cursor.execute("SELECT 1; SELECT 2; SELECT 3")
        cursor.close()
        with connection.cursor() as following:
            following.execute("SELECT 4")
            assert following.fetchall() == ((4,),)


def test_two_cursors_of_one_connection_keep_their_rows(pair: Pair) -> None:
    """The rows of a plain cursor are with it, not with the connection."""
    for connection in (pair.theirs, pair.ours):
        one, other = connection.cursor(), connection.cursor()
        one.execute("SELECT 1 UNION SELECT 2")
        other.execute("SELECT 3")
        assert (one.fetchall(), other.fetchall()) == (((1,), (2,)), ((3,),))
        assert (one.nextset(), other.nextset()) == (None, None)
        one.close()
        other.close()


def test_cursors_are_pymysqls_for_isinstance(pair: Pair) -> None:
    """Libraries ask which kind of rows to expect."""
    for kind, asked in ((None, Cursor), (Cursor, Cursor), (DictCursor, DictCursor), (DictCursor, Cursor)):
        with pair.ours.cursor(kind) as cursor:
            assert isinstance(cursor, asked)
            assert cursor.connection is pair.ours
    with pair.ours.cursor() as cursor:
        assert not isinstance(cursor, DictCursor)


def test_cursorclass_of_the_connection_is_what_cursor_gives(database: dict[str, Any]) -> None:
    """And it stays the class that the user named."""
    with closing(Connection(**database, cursorclass=DictCursor, ssl_disabled=True)) as connection:
        assert connection.cursorclass is DictCursor
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1 AS a")
            rows: Any = cursor.fetchall()
            assert rows == [{"a": 1}]
        with connection.cursor(Cursor) as cursor:
            cursor.execute("SELECT 1 AS a")
            assert cursor.fetchall() == ((1,),)


class Shouting(Cursor):
    """A user's own."""

    def execute(self, query: str, args: object = None) -> int:
        """Make it loud."""
        return super().execute(query.upper(), args)


class Ordered(DictCursor):
    """A user's own, with another kind of dict."""

    class dict_type(dict[str, Any]):  # noqa: N801  # PyMySQL's name
        """A dict."""


def test_cursor_class_of_a_users_own_stays_as_it_is(pair: Pair) -> None:
    """What it overrides is called; its type is its type."""
    for kind in (Shouting, Ordered, SSCursor, SSDictCursor):
        with pair.ours.cursor(kind) as cursor:
            assert type(cursor) is kind
    theirs, ours = pair.both(lambda cursor: (cursor.execute("select 'a' as b"), cursor.fetchall()), Shouting)
    assert ours == theirs
    assert ours[0][1] == (("A",),)
    theirs, ours = pair.both(lambda cursor: (cursor.execute("select 1 as a"), cursor.fetchall()), Ordered)
    assert ours == theirs
    with pair.ours.cursor(Ordered) as cursor:
        cursor.execute("SELECT 1 AS a")
        assert type(cursor.fetchone()) is Ordered.dict_type


def test_result_that_a_stream_left_is_read_before_the_next_statement(pair: Pair) -> None:
    """PyMySQL warns of it and goes on; so do we."""
    stories = []
    for connection in (pair.theirs, pair.ours):
        stream = connection.cursor(SSCursor)
        stream.execute("SELECT 1 UNION SELECT 2 UNION SELECT 3")
        first = stream.fetchone()
        with connection.cursor() as cursor, pytest.warns(UserWarning, match="unbuffered"):
            cursor.execute("SELECT 4")
        stories.append((first, cursor.fetchall()))
        stream.close()
    assert stories[0] == stories[1] == ((1,), ((4,),))


def test_cursor_without_a_connection_says_that_it_is_closed(pair: Pair) -> None:
    """Not that None has no attribute."""
    cursor: Any = pair.ours.cursor()
    cursor.close()
    attempts: list[Callable[[], object]] = [
        lambda: cursor.execute("SELECT 1"), lambda: cursor.mogrify("%s", (1,)), lambda: cursor.callproc("p"),
        lambda: cursor.executemany("INSERT INTO t (u) VALUES (%s)", [(1,)]), cursor.nextset,
    ]  # fmt: skip
    for attempt in attempts:
        with pytest.raises(pymysql.err.ProgrammingError, match="Cursor closed"):
            attempt()


def test_statement_on_a_lost_session_leaves_the_cursor_cleared(database: dict[str, Any]) -> None:
    """As after an error of the server's."""
    stories = []
    options = {**database, "ssl_disabled": True}
    for connection in (pymysql.connections.Connection(**options), Connection(**options)):
        cursor: Any = connection.cursor()
        cursor.execute("SELECT 1")
        with pytest.raises(pymysql.err.OperationalError):
            cursor.execute("KILL CONNECTION_ID()")
        stories.append((looks(cursor), list(cursor.fetchall())))
        with pytest.raises(pymysql.err.Error):
            cursor.execute("SELECT 2")
        cursor.close()
        connection.close()
    assert stories[0] == stories[1]
