"""The pool and the driver on real sessions: what the next borrower finds, and what the server says there is."""

from __future__ import annotations

import gc
import os
import signal
from typing import TYPE_CHECKING, Any

import pymysql
import pytest

from improved_db import ImprovedDb
from improved_db.errors import PoolTimeout
from improved_db.pool.pool import Pool
from improved_db.settings.settings import PoolSettings
from improved_db.testing import TemporaryServer
from improved_db.wire.pymysql_driver import PyMySQLDriver
from tests.fakes import PATIENCE, Caller, eventually, run_alone

if TYPE_CHECKING:
    from collections.abc import Iterator

    from improved_db.pool.loan import Loan
    from improved_db.wire.connection import Connection
    from tests.capabilities import Capabilities


class Pooled:
    """A pool on real sessions, and an eye on the server's own list of them."""

    def __init__(self, options: dict[str, Any], **settings: Any) -> None:
        self.options = options
        self.pool: Pool[Connection] = Pool(
            PyMySQLDriver(lambda: {**self.options, "autocommit": True}),
            PoolSettings(**{"max_size": 1, "acquire_timeout": PATIENCE, **settings}),
        )

    def sessions(self) -> set[int]:
        """Ask the server for the sessions on the pool's database."""
        query = "SELECT id FROM information_schema.processlist WHERE db = %s"
        return {int(number) for (number,) in self._from_outside(query, self.options["database"])}

    def kill(self, number: int) -> None:
        """End a session from outside, and wait until it is gone."""
        self._from_outside("KILL %s", number)
        eventually(lambda: number not in self.sessions())

    def _from_outside(self, query: str, value: object) -> tuple[Any, ...]:
        options = {**self.options, "database": None, "ssl_disabled": True}
        with pymysql.connect(**options) as connection, connection.cursor() as cursor:
            cursor.execute(query, (value,))
            return tuple(cursor.fetchall())


def session_of(loan: Loan[Connection]) -> int:
    """Ask the server which session a loan has."""
    return int(one(loan, "SELECT CONNECTION_ID()"))


def one(loan: Loan[Connection], query: str) -> Any:
    """Return the first value of the first row."""
    return loan.connection._run(query).rows[0][0]


@pytest.fixture(name="pooled")
def _pooled(database: dict[str, Any]) -> Iterator[Pooled]:
    pooled = Pooled(database)
    yield pooled
    pooled.pool.close()
    eventually(lambda: not pooled.sessions())


def test_session_killed_while_idle_is_replaced_before_it_is_lent(pooled: Pooled) -> None:
    """An administrator, a firewall or a limit of the server's ends sessions; a borrower must not be who finds out."""
    loan = pooled.pool.acquire()
    number = session_of(loan)
    pooled.pool.release(loan)
    pooled.kill(number)
    loan = pooled.pool.acquire()
    assert session_of(loan) != number
    assert pooled.pool.stats().discarded == {"dead": 1}
    pooled.pool.release(loan)


@pytest.mark.parametrize("begin", [None, "BEGIN"])
def test_session_killed_on_loan_costs_that_loan_alone(pooled: Pooled, begin: str | None) -> None:
    """Its borrower gets an error; no other borrower gets the connection."""
    loan = pooled.pool.acquire()
    if begin:
        loan.connection._run(begin)
    pooled.kill(session_of(loan))
    with pytest.raises(pymysql.err.OperationalError):
        loan.connection._run("SELECT 1")
    pooled.pool.release(loan)
    assert pooled.pool.stats().discarded == {"unrestorable": 1}
    loan = pooled.pool.acquire()
    assert one(loan, "SELECT 1") == 1
    pooled.pool.release(loan)


@pytest.mark.parametrize("statement", ["INSERT INTO t VALUES (2)", "INSERT INTO t VALUES (1)", "not SQL at all"])
def test_open_transaction_is_rolled_back_and_the_session_kept(
    pooled: Pooled, statement: str, capabilities: Capabilities
) -> None:
    """Also after an error within it: its rows and its locks are not the next borrower's."""
    loan = pooled.pool.acquire()
    number = session_of(loan)
    loan.connection._run("CREATE TABLE t (a INT PRIMARY KEY) ENGINE=InnoDB")
    loan.connection._run("BEGIN")
    loan.connection._run("INSERT INTO t VALUES (1)")
    try:
        loan.connection._run(statement)
    except pymysql.err.MySQLError:
        pass
    pooled.pool.release(loan)
    loan = pooled.pool.acquire()
    assert session_of(loan) == number
    assert one(loan, "SELECT COUNT(*) FROM t") == 0
    if capabilities.has("@@in_transaction"):
        assert one(loan, "SELECT @@in_transaction") == 0
    pooled.pool.release(loan)


def test_what_a_borrower_has_set_is_not_the_next_ones(pooled: Pooled) -> None:
    """Variables, the default database, temporary tables, autocommit: the session comes as it was opened."""
    loan = pooled.pool.acquire()
    number, database = session_of(loan), one(loan, "SELECT DATABASE()")
    for statement in (
        "SET @a = 1, SESSION sql_mode = ''",
        "CREATE TEMPORARY TABLE mine (a INT)",
        "SET autocommit = 0",
        "USE mysql",
    ):
        loan.connection._run(statement)
    pooled.pool.release(loan)
    loan = pooled.pool.acquire()
    assert session_of(loan) == number
    assert one(loan, "SELECT @a") is None
    assert one(loan, "SELECT @@autocommit") == 1
    assert one(loan, "SELECT @@sql_mode") == one(loan, "SELECT @@global.sql_mode")
    assert one(loan, "SELECT DATABASE()") == database
    with pytest.raises(pymysql.err.ProgrammingError):
        loan.connection._run("SELECT * FROM mine")
    pooled.pool.release(loan)


@pytest.mark.parametrize("begin", [None, "BEGIN"])
def test_half_read_stream_is_cut_and_not_drained(pooled: Pooled, begin: str | None) -> None:
    """Ten million rows that the caller does not want are not read only to be dropped; the server stops sending them."""
    loan = pooled.pool.acquire()
    number = session_of(loan)
    if begin:
        loan.connection._run(begin)
    loan.connection._start_stream("SELECT seq FROM seq_1_to_10000000")
    assert len(loan.connection._next_rows(3)) == 3
    pooled.pool.release(loan)
    assert pooled.pool.stats().discarded == {"unrestorable": 1}
    eventually(lambda: number not in pooled.sessions())
    loan = pooled.pool.acquire()
    assert one(loan, "SELECT 1") == 1
    pooled.pool.release(loan)


def test_unread_second_result_is_not_the_next_borrowers(pooled: Pooled) -> None:
    """The caller that asked for it has gone; the next borrower would take its rows for the answer to another query."""
    pooled.options["client_flag"] = pymysql.constants.CLIENT.MULTI_STATEMENTS
    loan = pooled.pool.acquire()
    with loan.connection.cursor() as cursor:
        cursor.execute("SELECT 1; SELECT 2")
        loan.connection.query("SELECT 3; SELECT 4")
    pooled.pool.release(loan)
    loan = pooled.pool.acquire()
    assert one(loan, "SELECT 5") == 5
    pooled.pool.release(loan)


def test_server_lists_no_more_sessions_than_the_pool_may_have(database: dict[str, Any]) -> None:
    """Sixteen threads that borrow and break; a session that was hung up may be listed until the server notices."""
    pooled = Pooled(database, max_size=3)

    def work(number: int) -> None:
        for turn in range(12):
            loan = pooled.pool.acquire()
            assert one(loan, f"SELECT {turn}") == turn
            pooled.pool.release(loan, "broken" if (turn + number) % 5 == 0 else None)

    callers = [Caller(lambda number=number: work(number)) for number in range(16)]  # type: ignore[misc]
    while any(caller.blocked for caller in callers):
        assert pooled.pool.stats().size <= 3
        eventually(lambda: len(pooled.sessions()) <= 3)
    for caller in callers:
        caller.result()
    assert 1 <= len(pooled.sessions()) <= 3
    pooled.pool.close()
    eventually(lambda: not pooled.sessions())


def test_min_size_is_what_the_server_lists_after_wait(database: dict[str, Any]) -> None:
    """Ready means connected and logged in, not asked for."""
    pooled = Pooled(database, min_size=3, max_size=5)
    pooled.pool.wait(PATIENCE)
    assert len(pooled.sessions()) == 3
    pooled.pool.close()
    eventually(lambda: not pooled.sessions())


def test_sessions_of_an_abandoned_pool_end(database: dict[str, Any]) -> None:
    """Programs do not close everything; a collected connection tells only the server."""
    pooled = Pooled(database, max_size=2)
    loans = [pooled.pool.acquire(), pooled.pool.acquire()]
    pooled.pool.release(loans.pop())
    assert len(pooled.sessions()) == 2
    del pooled.pool, loans
    eventually(lambda: gc.collect() is None or not pooled.sessions())


def test_sessions_end_with_the_block(database: dict[str, Any]) -> None:
    """`ImprovedDb` is closed where its block is left, by an exception as well."""
    pooled = Pooled(database)
    with pytest.raises(ZeroDivisionError), ImprovedDb(database, max_size=3, min_size=2) as db:  # noqa: PT012
        db.wait()
        assert len(pooled.sessions()) == 2
        _ = 1 / 0
    assert db.closed
    eventually(lambda: not pooled.sessions())


def test_drain_leaves_no_session_of_before(database: dict[str, Any]) -> None:
    """Idle ones end at once, lent ones on return, and those that follow are new."""
    pooled = Pooled(database, max_size=2)
    idle, lent = pooled.pool.acquire(), pooled.pool.acquire()
    before = {session_of(idle), session_of(lent)}
    pooled.pool.release(idle)
    pooled.pool.drain()
    eventually(lambda: pooled.sessions() == {session_of(lent)})
    pooled.pool.release(lent)
    eventually(lambda: not pooled.sessions())
    loan = pooled.pool.acquire()
    assert session_of(loan) not in before
    pooled.pool.release(loan)
    pooled.pool.close()


def test_options_that_raise_are_a_connect_error_and_asked_again(pooled: Pooled) -> None:
    """A token service that is down for a moment costs that connect, not the pool."""
    options = dict(pooled.options)
    pooled.options.clear()
    pooled.options["port"] = "not a number"
    with pytest.raises((TypeError, ValueError)):
        pooled.pool.acquire()
    assert pooled.pool.stats().cold == 1
    pooled.options.clear()
    pooled.options.update(options)
    loan = pooled.pool.acquire()
    assert one(loan, "SELECT 1") == 1
    pooled.pool.release(loan)


def test_frozen_server_costs_a_borrower_its_timeout_and_not_more() -> None:
    """A ping that is never answered, a handshake that never begins: each gets what is left of the caller's time."""
    with TemporaryServer(tcp=True) as server:
        pooled = Pooled({**server.connect_options, "connect_timeout": 1}, ping_idle_after=0.0)
        pooled.pool.release(pooled.pool.acquire())
        server.pause()
        with pytest.raises(PoolTimeout):
            pooled.pool.acquire(0.3)
        assert pooled.pool.stats().discarded == {"ping": 1}
        server.resume()
        loan = pooled.pool.acquire()
        assert one(loan, "SELECT 1") == 1
        pooled.pool.release(loan)
        pooled.pool.close()


def test_forced_close_ends_a_call_that_is_blocked_on_its_session() -> None:
    """A program can end although one of its statements would run for another minute."""
    with TemporaryServer() as server:
        pooled = Pooled(server.connect_options)

        def sleep_long() -> None:
            loan = pooled.pool.acquire()
            try:
                loan.connection._run("SELECT SLEEP(300)")
            finally:
                pooled.pool.release(loan)

        sleeper = Caller(sleep_long)
        eventually(lambda: pooled.pool.stats().used == 1 and len(pooled.sessions()) == 1)
        (left,) = pooled.pool.close(0, force=True)
        assert left.thread == sleeper.name
        with pytest.raises(pymysql.err.OperationalError):
            sleeper.result()
        assert pooled.pool.stats().size == 0


def fork_with_sessions() -> None:
    """Fork with an idle and a lent session; let the child borrow, close its pool, and end."""
    with TemporaryServer() as server:
        pooled = Pooled(server.connect_options, max_size=2)
        idle, lent = pooled.pool.acquire(), pooled.pool.acquire()
        numbers = {session_of(idle), session_of(lent)}
        pooled.pool.release(idle)
        child = os.fork()
        if child == 0:
            signal.alarm(20)
            loan = pooled.pool.acquire()
            fresh = session_of(loan) not in numbers
            pooled.pool.release(loan)
            pooled.pool.close()
            os._exit(0 if fresh else 1)
        assert os.waitpid(child, 0)[1] == 0
        eventually(lambda: pooled.sessions() == numbers)
        assert session_of(lent) in numbers
        pooled.pool.release(lent)
        loans = [pooled.pool.acquire(), pooled.pool.acquire()]
        assert {session_of(loan) for loan in loans} == numbers
        for loan in loans:
            pooled.pool.release(loan)
        pooled.pool.close()


def test_childs_end_is_not_the_end_of_the_parents_sessions() -> None:
    """No QUIT of the child's travels over a socket of the parent's."""
    run_alone(fork_with_sessions, "-W", "ignore:.*multi-threaded:DeprecationWarning")
