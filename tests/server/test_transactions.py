"""Transactions: all or nothing, never in part, and never a statement that commits by itself because one has ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from pymysql.err import IntegrityError, MySQLError, OperationalError

from improved_db import (
    ImprovedDb,
    OutcomeUnknown,
    StatementError,
    Transaction,
    TransactionEnded,
    TransactionRolledBack,
)
from tests.faults.harness import Rig, Rival, ends_in, resent, sums

if TYPE_CHECKING:
    from tests.capabilities import Capabilities

pytestmark = pytest.mark.usefixtures("three_rows")

UP = "update t set n = n + 1 where id = %s"


@pytest.fixture
def db(rig: Rig) -> ImprovedDb:
    """A pool that waits for no lock, on the rows of t."""
    return rig.db(direct=True, max_size=2, init_command="set innodb_lock_wait_timeout = 0")


# --- the block -------------------------------------------------------------------------------------------------------


def test_a_block_commits_at_its_end_and_not_before(rig: Rig, db: ImprovedDb) -> None:
    """What others see is all of it or nothing."""
    with db.transaction() as tx:
        tx.execute_query(UP, 1)
        assert tx.execute_query("select n from t where id = 1", return_one=True) == (1,)
        assert tx.execute_query("select n from t where id = 1", dictcursor=True) == ({"n": 1},)
        assert sums(rig) == (0, 0, 0)
        tx.exec_many("insert into t (id) values (%s)", [(7,), (8,)])
    assert sums(rig) == (1, 0, 0, 0, 0)


@pytest.mark.parametrize("error", [LookupError, KeyboardInterrupt, MySQLError])
def test_an_exception_rolls_back_and_is_raised_as_it_is(error: type[BaseException], rig: Rig, db: ImprovedDb) -> None:
    """It is the caller's, whatever class it has: even one of the driver's says nothing about our connection."""
    mine = error("mine")

    def fail(tx: Transaction) -> None:
        tx.execute_query(UP, 1)
        raise mine

    with pytest.raises(error) as caught, db.transaction() as tx:
        fail(tx)
    assert caught.value is mine
    with pytest.raises(error) as caught:
        db.run_transaction(fail)
    assert caught.value is mine
    assert (sums(rig), resent(db), db.stats().used) == ((0, 0, 0), 0, 0)


@pytest.mark.parametrize(
    ("level", "sees_dirty", "sees_committed", "locks"),
    [
        ("read uncommitted", True, True, False),
        ("read-committed", False, True, False),
        ("REPEATABLE READ", False, False, False),
        ("serializable", False, False, True),
    ],
)
def test_isolation_is_the_servers(
    level: str, sees_dirty: bool, sees_committed: bool, locks: bool, rig: Rig, db: ImprovedDb
) -> None:
    """Told by what the transaction sees of others, and holds up."""

    def seen(tx: Transaction) -> bool:
        return bool(tx.execute_query("select n from t where id = 1")[0][0])

    with db.transaction(isolation=level) as tx:
        assert not seen(tx)
        with Rival(rig) as rival:
            if locks:
                rival.run("set innodb_lock_wait_timeout = 0")
                with pytest.raises(OperationalError, match="Lock wait timeout"):
                    rival.run("update t set n = 9 where id = 1")
                return
            rival.run("update t set n = 9 where id = 1")
            assert seen(tx) is sees_dirty
        rig.ask("update t set n = 9 where id = 1")
        assert seen(tx) is sees_committed


def test_isolation_is_for_one_transaction(rig: Rig, db: ImprovedDb) -> None:
    """The next borrower of the connection gets the server's default."""
    with db.transaction(isolation="read uncommitted"):
        pass
    with Rival(rig) as rival, db.transaction() as tx:
        rival.run("update t set n = 9 where id = 1")
        assert tx.execute_query("select n from t where id = 1") == ((0,),)


def test_an_isolation_level_that_there_is_not_is_refused_before_anything_is_sent(db: ImprovedDb) -> None:
    """The text goes into a statement."""
    with pytest.raises(StatementError, match="serializable"), db.transaction(isolation="snapshot; drop table t"):
        pass
    with pytest.raises(StatementError):
        db.run_transaction(lambda tx: tx, isolation="none")
    assert db.stats().used == 0


def test_read_only_has_the_server_refuse_writes_at_once(rig: Rig, db: ImprovedDb) -> None:
    """The server is not read-only: waiting for another one, or replacing connections, does not help."""
    calls: list[Transaction] = []

    def write(tx: Transaction) -> None:
        calls.append(tx)
        tx.execute_query(UP, 1)

    with pytest.raises(MySQLError) as caught:
        db.run_transaction(write, read_only=True)
    assert (caught.value.args[0], len(calls), resent(db)) == (1792, 1, 0)
    with pytest.raises(MySQLError), db.transaction(read_only=True) as tx:
        write(tx)
    assert db.run_transaction(lambda tx: tx.execute_query("select 1"), read_only=True, exactly_once=True) == ((1,),)
    assert (sums(rig), db.stats().retired, db.stats().discarded) == ((0, 0, 0), {}, {})


# --- savepoints ------------------------------------------------------------------------------------------------------


def test_a_savepoint_undoes_what_is_in_its_block_alone(rig: Rig, db: ImprovedDb) -> None:
    """Nested ones too, in any order."""
    with db.transaction() as tx:
        tx.execute_query(UP, 1)
        with ends_in(LookupError), tx.savepoint() as same:
            assert same is tx
            tx.execute_query(UP, 2)
            raise LookupError
        with tx.savepoint():
            tx.execute_query(UP, 2)
            with ends_in(IntegrityError), tx.savepoint():
                tx.execute_query(UP, 3)
                tx.execute_query("insert into t (id) values (1)")
            with tx.savepoint():
                tx.execute_query(UP, 2)
    assert sums(rig) == (1, 2, 0)


# --- on_commit -------------------------------------------------------------------------------------------------------


def test_on_commit_runs_in_order_after_the_commit_when_the_connection_is_free(rig: Rig, db: ImprovedDb) -> None:
    """A mail must not go out for what was rolled back, nor before it is there to be read."""
    seen: list[object] = []
    with db.transaction() as tx:
        tx.execute_query(UP, 1)
        tx.on_commit(lambda: seen.append((sums(rig), db.stats().used)))
        tx.on_commit(lambda: seen.append("second"))
        with ends_in(LookupError), tx.savepoint():
            tx.on_commit(lambda: seen.append("undone with its savepoint"))
            raise LookupError
        assert seen == []
    assert seen == [((1, 0, 0), 0), "second"]


def test_on_commit_is_for_commits_only(db: ImprovedDb) -> None:
    """Neither an exception nor a transaction that is over calls anything."""
    seen: list[str] = []
    with ends_in(LookupError), db.transaction() as tx:
        tx.on_commit(lambda: seen.append("rolled back"))
        raise LookupError
    with pytest.raises(TransactionRolledBack):
        tx.on_commit(lambda: seen.append("too late"))
    assert seen == []


def test_on_commit_runs_once_however_often_the_transaction_is_replayed(rig: Rig, db: ImprovedDb) -> None:
    """It is where side effects go, because the function itself may run many times."""
    seen: list[int] = []
    with Rival(rig) as rival:
        rival.run("update t set n = 9 where id = 1")

        def work(tx: Transaction) -> None:
            attempt = len(handles)
            handles.append(tx)
            tx.on_commit(lambda: seen.append(attempt))
            if attempt == 2:
                rival.release()
            tx.execute_query(UP, 1)

        handles: list[Transaction] = []
        db.run_transaction(work)
    assert (seen, len(handles), sums(rig)) == ([2], 3, (1, 0, 0))


@pytest.mark.parametrize("exactly_once", [False, True])
def test_an_error_in_on_commit_stops_neither_the_others_nor_the_commit(
    exactly_once: bool, rig: Rig, db: ImprovedDb
) -> None:
    """The transaction is in; the caller hears of the first error when all have run."""
    seen: list[str] = []

    def fail(text: str) -> None:
        seen.append(text)
        raise LookupError(text)

    def work(tx: Transaction) -> None:
        tx.execute_query(UP, 1)
        tx.on_commit(lambda: fail("first"))
        tx.on_commit(lambda: fail("second"))

    with pytest.raises(LookupError, match="first"):
        db.run_transaction(work, exactly_once=exactly_once)
    assert (seen, sums(rig), resent(db), db.stats().used) == (["first", "second"], (1, 0, 0), 0, 0)


# --- statements that end a transaction -------------------------------------------------------------------------------

ENDINGS = [
    "create table other (id int)",
    "commit",
    "commit and chain",
    "begin",
    "/* again */ start transaction",
    "lock tables t write",
]


@pytest.mark.parametrize("ending", ENDINGS)
def test_what_comes_after_the_end_is_refused(ending: str, rig: Rig, db: ImprovedDb, capabilities: Capabilities) -> None:
    """It would commit by itself, or belong to another transaction."""
    with ends_in(TransactionEnded), db.transaction() as tx:
        tx.execute_query(UP, 1)
        tx.execute_query(ending)
        tx.execute_query(UP, 2)
    assert sums(rig)[1] == 0
    assert db.execute_query("select @@autocommit") == ((1,),)
    if capabilities.has("@@in_transaction"):
        assert db.execute_query("select @@in_transaction") == ((0,),)


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_transaction_that_was_committed_in_the_middle_is_never_replayed(
    ending: str, rig: Rig, db: ImprovedDb
) -> None:
    """Its first half would be done twice."""
    calls: list[Transaction] = []

    def work(tx: Transaction) -> None:
        calls.append(tx)
        tx.execute_query(UP, 1)
        tx.execute_query(ending)
        tx.execute_query(UP, 2)

    with pytest.raises(TransactionEnded):
        db.run_transaction(work)
    assert (sums(rig), len(calls)) == ((1, 0, 0), 1)


@pytest.mark.parametrize("rollback", ["rollback", "ROLLBACK WORK", "# enough\nrollback and chain"])
def test_a_rollback_by_hand_is_the_end_and_no_error(rollback: str, rig: Rig, db: ImprovedDb) -> None:
    """Its owner has said so. What comes after it would commit by itself, and what waits for a commit never comes."""
    seen: list[str] = []

    def work(tx: Transaction) -> str:
        tx.execute_query(UP, 1)
        tx.on_commit(lambda: seen.append("committed"))
        tx.execute_query(rollback)
        with pytest.raises(TransactionRolledBack):
            tx.execute_query(UP, 2)
        return "decided"

    assert db.run_transaction(work, exactly_once=True) == "decided"
    with db.transaction() as tx:
        work(tx)
    with db.transaction() as tx:
        tx.execute_query("savepoint here")
        tx.execute_query(UP, 1)
        tx.execute_query("rollback to savepoint here")
        tx.execute_query(UP, 3)
    assert (sums(rig), seen, resent(db)) == ((0, 0, 1), [], 0)


def test_a_statement_that_commits_before_it_fails_is_seen_through(rig: Rig, db: ImprovedDb) -> None:
    """DDL commits first and fails then, and its error says nothing of that."""
    with ends_in(TransactionEnded), db.transaction() as tx:
        tx.execute_query(UP, 1)
        with pytest.raises(OperationalError, match="already exists"):
            tx.execute_query("create table t (id int)")
        tx.execute_query(UP, 2)
    assert sums(rig) == (1, 0, 0)


def test_a_lock_wait_of_a_statement_that_has_committed_is_not_replayed(rig: Rig, db: ImprovedDb) -> None:
    """1205 alone is a reason to do it again; after an implicit commit it would be a reason to do it twice."""
    with Rival(rig) as rival:
        rival.run("select * from t where id = 3")  # holds the definition of the table

        def work(tx: Transaction) -> None:
            tx.execute_query("set lock_wait_timeout = 0")
            tx.execute_query(UP, 1)
            tx.execute_query("alter table t add column more int")

        with pytest.raises(OutcomeUnknown):
            db.run_transaction(work)
    assert (sums(rig), resent(db)) == ((1, 0, 0), 0)


def test_ddl_at_the_end_is_no_error(rig: Rig, db: ImprovedDb, caplog: pytest.LogCaptureFixture) -> None:
    """Everything is in; the log says that it was not the end of the block that put it there."""
    with db.transaction() as tx:
        tx.execute_query(UP, 1)
        tx.execute_query("create table other (id int)")
    assert db.run_transaction(lambda tx: tx.execute_query("drop table other"), exactly_once=True) == ()
    assert sums(rig) == (1, 0, 0)
    assert "implicitly" in caplog.text
