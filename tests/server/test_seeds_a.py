"""The first design's door: its two programs word for word, each of its calls, and its three bugs, not copied."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pymysql
import pytest
from pymysql.constants import FIELD_TYPE
from pymysql.converters import conversions

from improved_db import ImprovedDb, PoolTimeout

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture
def config(database: dict[str, Any]) -> dict[str, Any]:
    """A database with the table that the programs use, and users 1 to 3 in it."""
    with ImprovedDb(database) as db:
        db.execute_query("create table user (uid int primary key, name varchar(20), age int)")
        db.execute_query("insert into user values (1, 'a', 10), (2, 'b', 20), (3, 'c', 30)")
    return database


@pytest.fixture
def db(config: dict[str, Any]) -> Iterator[ImprovedDb]:
    """What most tests talk to: a pool of two."""
    with ImprovedDb(config, max_size=2) as made:
        yield made


def is_whole(db: ImprovedDb) -> bool:
    """Whether every connection the pool may have can be had at once, and none is out now."""
    stats = db.stats()
    if stats.used or stats.idle + stats.opening + stats.cold != stats.max_size:
        return False
    taken = [db.pool_get_connection(timeout=5) for _ in range(stats.max_size)]
    for connection in taken:
        db.pool_put_connection(connection)
    return len(taken) == stats.max_size


# --- the two programs ------------------------------------------------------------------------------------------------


def test_multi_thread_program(config: dict[str, Any]) -> None:
    """Programs written for the first design go on as they are."""
    db = ImprovedDb(config)
    db.create_pool()

    def task(uid: int) -> Any:
        return db.execute_query_multiplex(
            db.pool_get_connection(), "select * from user where uid=%s", uid, dictcursor=True, return_one=True
        )

    with ThreadPoolExecutor(max_workers=8) as executor:
        found = list(executor.map(task, [1, 2, 3, 4] * 25))

    users = [{"uid": 1, "name": "a", "age": 10}, {"uid": 2, "name": "b", "age": 20}, {"uid": 3, "name": "c", "age": 30}]
    assert found == [*users, None] * 25
    assert is_whole(db)
    db.close()


def test_single_thread_program(config: dict[str, Any]) -> None:
    """The other half: one connection, which stays the caller's."""
    db = ImprovedDb(config)
    connect = db.connect()
    value_list = [(4, "d", 40), (5, "e", 50)]

    before = db.execute_query(connect, "select * from user")
    db.execute_query(
        connect, "insert into user values (%s,%s,%s)", value_list, dictcursor=True, return_one=True, exec_many=True
    )
    after = db.execute_query(connect, "select * from user")

    assert before == ((1, "a", 10), (2, "b", 20), (3, "c", 30))
    assert after == (*before, (4, "d", 40), (5, "e", 50))
    assert connect.open
    connect.close()
    db.close()


# --- call by call ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make",
    [
        lambda config: ImprovedDb(config, connection_pool=True, pool_init_size=3),
        lambda config: ImprovedDb(config, pool_init_size=3),
    ],
)
def test_a_pool_asked_for_in_the_constructor_is_open_at_once(
    config: dict[str, Any], make: Callable[[dict[str, Any]], ImprovedDb]
) -> None:
    """The first thread should not wait for the first connect."""
    with make(config) as db:
        assert db.stats().idle == 3


def test_create_pool_opens_what_is_asked_for_and_makes_room_for_it(db: ImprovedDb) -> None:
    """``pool_init_size`` was the size of the pool in the first design: more than ``max_size`` raises that."""
    db.create_pool(pool_init_size=1)
    assert (db.stats().idle, db.stats().max_size) == (1, 2)
    db.create_pool(pool_init_size=12)
    assert (db.stats().idle, db.stats().max_size) == (12, 12)


def test_create_pool_says_at_once_what_is_wrong(config: dict[str, Any]) -> None:
    """A wrong password should stop the program where it starts, not in a thread of its pool."""
    with pytest.raises(pymysql.err.OperationalError) as caught, ImprovedDb({**config, "user": "nobody"}) as db:
        db.create_pool()
    assert caught.value.args[0] == 1045


def test_connect_opens_a_connection_outside_the_pool(db: ImprovedDb) -> None:
    """It is the caller's own: the pool has as many as before."""
    with db.connect() as connection:
        assert db.execute_query(connection, "select 1") == ((1,),)
        assert db.stats().size == 0


def test_borrowed_connection_is_pymysqls(db: ImprovedDb) -> None:
    """Programs use cursors of their own on it."""
    connection = db.pool_get_connection(timeout=3, retry_num=1)
    with connection.cursor(pymysql.cursors.DictCursor) as cursor:
        cursor.execute("select uid from user where age > %s order by uid", (15,))
        assert list(cursor.fetchall()) == [{"uid": 2}, {"uid": 3}]
    assert db.stats().used == 1
    db.pool_put_connection(connection)
    assert db.stats().used == 0


def test_execute_query_leaves_the_connection_with_the_caller(db: ImprovedDb) -> None:
    """That is what distinguishes it from the other one."""
    connection = db.pool_get_connection()
    assert db.execute_query(connection, "select name from user where uid = %s", (2,)) == (("b",),)
    assert db.execute_query(connection, "select name from user where uid = %s", 3, False, True) == ("c",)
    assert db.stats().used == 1
    db.pool_put_connection(connection)


def test_execute_query_multiplex_gives_the_connection_back(db: ImprovedDb) -> None:
    """Otherwise the fourth call of a pool of three would wait for ever."""
    for _ in range(10):
        rows = db.execute_query_multiplex(db.pool_get_connection(timeout=3), "select uid from user order by uid")
        assert rows == ((1,), (2,), (3,))
    assert is_whole(db)


@pytest.mark.parametrize("args", [2, "2", (2,), [2], {"uid": 2}])
def test_args_may_be_a_scalar_a_sequence_or_a_mapping(db: ImprovedDb, args: object) -> None:
    """``uid`` was passed as it is, and PyMySQL takes the others."""
    placeholder = "%(uid)s" if isinstance(args, dict) else "%s"
    query = f"select name from user where uid = {placeholder}"
    assert db.execute_query(query, args) == (("b",),)
    assert db.execute_query_multiplex(db.pool_get_connection(), query, args) == (("b",),)


def test_no_match_is_an_empty_tuple_or_none(db: ImprovedDb) -> None:
    """Programs test the one with ``==`` or ``not``, the other with ``is None``."""
    nobody = "select * from user where uid = 99"
    assert db.execute_query_multiplex(db.pool_get_connection(), nobody) == ()
    assert db.execute_query_multiplex(db.pool_get_connection(), nobody, return_one=True) is None
    assert db.execute_query(nobody, dictcursor=True) == ()
    assert db.execute_query(nobody, dictcursor=True, return_one=True) is None


def test_64_threads_on_4_connections(config: dict[str, Any]) -> None:
    """Far more threads than connections is the normal case."""
    with ImprovedDb(config, max_size=4) as db, ThreadPoolExecutor(64) as threads:
        rows = list(threads.map(lambda _: db.execute_query("select 1"), range(2000)))
        assert rows == [((1,),)] * 2000
        assert db.stats().opened <= 4
        assert is_whole(db)


# --- exceptions ------------------------------------------------------------------------------------------------------

FAILURES = [
    ("select * form user", pymysql.err.ProgrammingError, 1064),
    ("select * from nobody", pymysql.err.ProgrammingError, 1146),
    ("insert into user values (1, 'again', 1)", pymysql.err.IntegrityError, 1062),
    ("insert into user (uid, age) values (7, 99999999999999)", pymysql.err.DataError, 1264),
    ("select nothing from user", pymysql.err.OperationalError, 1054),
    ("signal sqlstate '0A000' set mysql_errno = 1235", pymysql.err.NotSupportedError, 1235),
]


@pytest.mark.parametrize(("query", "kind", "code"), FAILURES)
def test_errors_reach_the_caller_as_they_are_and_the_connection_goes_back(
    db: ImprovedDb, query: str, kind: type[Exception], code: int
) -> None:
    """Programs look at PyMySQL's classes and numbers, and the next query needs the connection."""
    for _ in range(3):
        with pytest.raises(kind) as caught:
            db.execute_query_multiplex(db.pool_get_connection(timeout=5), query)
        assert caught.value.args[0] == code
        assert type(caught.value) is kind
    assert is_whole(db)


def test_a_connection_that_dies_under_its_query_makes_room_for_another(db: ImprovedDb) -> None:
    """It cannot go back, but its place in the pool must."""
    for _ in range(3):
        with pytest.raises(pymysql.err.OperationalError):
            db.execute_query_multiplex(db.pool_get_connection(timeout=5), "kill connection_id()")
    assert is_whole(db)


# --- the three bugs --------------------------------------------------------------------------------------------------


def test_bug_an_empty_pool_raises_and_never_gives_none(db: ImprovedDb) -> None:
    """The first design returned None after its last retry, and the program failed far from the cause."""
    taken = [db.pool_get_connection() for _ in range(2)]
    with pytest.raises(PoolTimeout) as caught:
        db.pool_get_connection(timeout=0.01, retry_num=2)
    assert "size=2/2" in str(caught.value)
    for connection in taken:
        db.pool_put_connection(connection)
    assert is_whole(db)


class OddError(Exception):
    """No driver's error."""


@pytest.mark.parametrize("error", [OddError(), KeyboardInterrupt(), SystemExit(), MemoryError()], ids=repr)
def test_bug_no_exception_whatever_loses_a_connection(config: dict[str, Any], error: BaseException) -> None:
    """The first design gave back after four kinds of errors; after any other the pool was one smaller for ever."""

    def fail(_: object, __: object = None) -> str:
        raise error

    conv = {**conversions, OddError: fail, FIELD_TYPE.DATE: fail}
    before_sending, while_reading = ("select %s", (OddError(),)), ("select date('2013-01-01')", ())
    with ImprovedDb(config, max_size=2, conv=conv) as db:
        for query, args in [before_sending, while_reading] * 3:
            with pytest.raises(type(error)) as caught:
                db.execute_query_multiplex(db.pool_get_connection(timeout=5), query, args)
            assert caught.value is error
        assert is_whole(db)


def test_bug_a_dead_connection_is_noticed_before_it_is_used(config: dict[str, Any]) -> None:
    """The first design never looked: after a night without work the first query of each connection failed."""
    with ImprovedDb(config, max_size=2, retry=None) as db, ImprovedDb(config) as killer:
        connection = db.pool_get_connection()
        number = connection.thread_id()
        db.pool_put_connection(connection)
        killer.execute_query(f"kill {number}")
        while killer.execute_query("select 1 from information_schema.processlist where id = %s", number):
            pass

        assert db.execute_query("select count(*) from user") == ((3,),)
        assert sum(db.stats().discarded.values()) == 1
