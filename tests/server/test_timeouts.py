"""Time limits: what takes too long is ended on the server too, and the connection goes on."""

from __future__ import annotations

import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from pymysql.err import MySQLError, OperationalError

import improved_db
from improved_db import ImprovedDb, OutcomeUnknown, PoolTimeout, Transaction, TransactionLost
from tests.fakes import Caller, eventually
from tests.faults.faults import STALL
from tests.faults.harness import Rig, Rival, resent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from improved_db.testing import TemporaryServer

#: Numbers of the errors by which MariaDB says that the time of a statement is over, and that another session killed it.
#: MariaDB's and MySQL's number for the end of a limit of their own, and that of a KILL.
OVER, KILLED = {1969, 3024}, 1317

#: A statement that the server itself limits, and two that it does not.
# Of several rows: a single sleep that is ended is no error to MySQL, and its statement is done.
SLOW_READ = "select sleep(60) from seq_1_to_3"
SLOW_WRITE = "insert into t (id) select sleep(60) + seq from seq_1_to_3"
UNLIMITED = ["create table slow select sleep(60) as n from seq_1_to_3", "call nap()"]


@pytest.fixture
def rig(server: TemporaryServer, database: dict[str, Any]) -> Iterator[Rig]:
    """An empty table t, and a procedure that takes a minute."""
    with Rig(database) as made:
        made.table()
        made.ask(f"create procedure nap() {SLOW_WRITE}")
        yield made


@pytest.fixture
def db(rig: Rig) -> ImprovedDb:
    """A pool of one connection."""
    return rig.db(direct=True, max_size=1)


def code_of(error: BaseException) -> object:
    """Return the number the server gave."""
    return error.args[0]


def insert_in_a_block(db: ImprovedDb) -> None:
    """Do so."""
    with db.transaction() as tx:
        tx.execute_query("insert into t (id) values (1)")


def insert_in_a_function(db: ImprovedDb) -> None:
    """Do so."""
    db.run_transaction(lambda tx: tx.execute_query("insert into t (id) values (1)"))


# --- timeout= of a statement -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "query", [SLOW_READ, pytest.param(SLOW_WRITE, marks=pytest.mark.needs("a limit for any statement"))]
)
def test_the_server_keeps_the_time_where_it_can(query: str, rig: Rig) -> None:
    """No second connection is needed, and its error says that the statement was undone."""
    db = rig.db(max_size=1)
    session = db.execute_query("select connection_id()")
    opened = rig.proxy.connections
    with pytest.raises(MySQLError) as caught:
        db.execute_query(query, timeout=0.1)
    assert code_of(caught.value) in OVER
    assert db.execute_query("select connection_id()") == session
    assert (rig.count(), rig.proxy.connections, resent(db), db.stats().discarded) == (0, opened, 0, {})


@pytest.mark.parametrize("query", UNLIMITED)
def test_what_the_server_does_not_limit_is_ended_from_a_second_connection(query: str, rig: Rig, db: ImprovedDb) -> None:
    """KILL QUERY ends the statement and leaves the session: the pool is as it was."""
    session = db.execute_query("select connection_id()")
    with pytest.raises(MySQLError) as caught:
        db.execute_query(query, timeout=0.1)
    assert code_of(caught.value) == KILLED
    assert db.execute_query("select connection_id()") == session
    assert not rig.running("sleep(60)")
    stats = db.stats()
    assert (stats.size, stats.opened, stats.discarded, stats.retries) == (1, 1, {}, {})


@pytest.mark.parametrize("query", [SLOW_READ, SLOW_WRITE, "call nap()"])
def test_a_limit_in_a_transaction_leaves_it_open(query: str, rig: Rig, db: ImprovedDb) -> None:
    """One statement was undone; what to do about the rest is its owner's decision."""
    with db.transaction() as tx:
        tx.execute_query("insert into t (id) values (1)")
        with pytest.raises(MySQLError) as caught:
            tx.execute_query(query, timeout=0.1)
        assert code_of(caught.value) in {*OVER, KILLED}
        tx.execute_query("insert into t (id) values (2)")
    assert (rig.count(), db.stats().discarded) == (2, {})


@pytest.mark.parametrize("query", ["select seq from seq_1_to_3", "show tables", "do 1"])
def test_a_limit_that_is_not_reached_changes_nothing(query: str, db: ImprovedDb) -> None:
    """Neither the rows nor their kind."""
    plain = db.execute_query(query)
    limited = db.execute_query(query, timeout=10)
    assert (limited, limited.columns, limited.rowcount) == (plain, plain.columns, plain.rowcount)
    assert db.execute_query(query, dictcursor=True, timeout=10) == db.execute_query(query, dictcursor=True)


def test_a_statement_killed_by_another_session_is_raised_and_not_retried(rig: Rig, db: ImprovedDb) -> None:
    """An operator decided it: a retry would undo the decision."""
    session = db.execute_query("select connection_id()")
    for query in (SLOW_READ, SLOW_WRITE):
        call = Caller(partial(db.execute_query, query))
        rig.ask("kill query %s", (rig.await_running("sleep(60)"),))
        with pytest.raises(OperationalError) as caught:
            call.result()
        assert code_of(caught.value) == KILLED
    assert db.execute_query("select connection_id()") == session
    assert (rig.count(), resent(db), db.stats().discarded) == (0, 0, {})


# --- deadline= of a pool ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("query", [SLOW_READ, SLOW_WRITE, *UNLIMITED])
def test_a_deadline_ends_a_statement(query: str, rig: Rig) -> None:
    """On the server too, and without another attempt: there is no time for one."""
    db = rig.db(direct=True, deadline=0.2)
    with pytest.raises(MySQLError) as caught:
        db.execute_query(query)
    assert code_of(caught.value) in {*OVER, KILLED}
    eventually(lambda: not rig.running("sleep(60)"))
    assert (rig.count(), resent(db), db.stats().used) == (0, 0, 0)


def test_a_deadline_ends_the_wait_for_a_connection(rig: Rig) -> None:
    """Whatever acquire_timeout says."""
    db = rig.db(direct=True, max_size=1, deadline=0.2, acquire_timeout=3600)
    with db.connection(), pytest.raises(PoolTimeout):
        db.execute_query("select 1")


def test_a_deadline_ends_a_transaction_with_its_statements(rig: Rig) -> None:
    """It counts from the beginning, not from each statement; what was done is rolled back."""
    db = rig.db(direct=True, deadline=0.25)

    def work(tx: Transaction) -> None:
        tx.execute_query("insert into t (id) values (1)")
        tx.execute_query("call nap()")

    with pytest.raises(MySQLError):
        db.run_transaction(work)
    with pytest.raises(MySQLError), db.transaction() as tx:
        work(tx)
    eventually(lambda: not rig.running("sleep(60)"))
    assert (rig.count(), db.stats().used) == (0, 0)


@pytest.mark.needs("backup stages")
@pytest.mark.parametrize("insert", [insert_in_a_block, insert_in_a_function])
def test_a_deadline_ends_a_commit_that_hangs(insert: Callable[[ImprovedDb], None], rig: Rig) -> None:
    """With what it means for a COMMIT; and its session does not go on to hold its locks."""
    db = rig.db(direct=True, deadline=0.4)
    with Rival(rig) as backup:
        backup.release()
        for stage in ("start", "flush", "block_ddl", "block_commit"):
            backup.run(f"backup stage {stage}")
        with pytest.raises(OutcomeUnknown):
            insert(db)
        eventually(lambda: not rig.running("commit"))
        backup.run("backup stage end")
    assert (rig.count(), db.stats().used) == (0, 0)


def test_a_deadline_ends_a_transaction_on_a_network_that_is_silent(rig: Rig) -> None:
    """No FIN, no RST: only the clock tells."""
    db = rig.db(deadline=0.5)
    rig.proxy.on_query(b"^insert", STALL)
    with pytest.raises(TransactionLost):
        db.run_transaction(lambda tx: tx.exec_many("insert into t (id) values (%s)", [(1,), (2,)]))
    rig.proxy.on_query(b"^start", STALL)
    with pytest.raises(OperationalError), db.transaction():
        pass
    rig.proxy.on_query(b"^insert", STALL)
    with pytest.raises(TransactionLost):
        db.exec_many("insert into t (id) values (%s)", [(1,), (2,)])
    assert db.stats().used == 0


def test_a_server_that_does_not_listen_is_told_once(rig: Rig) -> None:
    """Each attempt to end what it does takes time that the caller does not have."""
    db = rig.db(deadline=0.2)
    opened = rig.proxy.connections
    rig.proxy.stall()
    with pytest.raises(OperationalError, match="timed out"):
        db.execute_query(SLOW_READ)
    assert rig.proxy.connections == opened + 1


def test_a_read_timeout_of_the_drivers_is_heeded_within_a_deadline(rig: Rig) -> None:
    """The shorter one wins."""
    db = rig.db(direct=True, read_timeout=0.2, deadline=60)
    with pytest.raises(MySQLError) as caught:
        db.execute_query("call nap()")
    assert code_of(caught.value) == KILLED
    db.run_transaction(lambda tx: tx.execute_query("insert into t (id) values (1)"))
    assert rig.count() == 1


# --- Ctrl-C ----------------------------------------------------------------------------------------------------------

PROGRAM = f"""
import sys
from improved_db import ImprovedDb

SLOW_READ, SLOW_WRITE = {SLOW_READ!r}, {SLOW_WRITE!r}

def transaction(db):
    with db.transaction() as tx:
        tx.execute_query("insert into t (id) values (1)")
        tx.execute_query(SLOW_READ)

ways = {{
    "statement": lambda db: db.execute_query(SLOW_READ),
    "write": lambda db: db.execute_query(SLOW_WRITE),
    "limited": lambda db: db.execute_query(SLOW_READ, timeout=50),
    "block": transaction,
    "function": lambda db: db.run_transaction(lambda tx: tx.execute_query(SLOW_WRITE)),
}}
with ImprovedDb(sys.argv[1], max_size=1) as db:
    try:
        ways[sys.argv[2]](db)
    except KeyboardInterrupt:
        assert db.execute_query("select 'fine'") == (("fine",),)
        assert db.stats().used == 0
        assert not db.stats().retries
        print("interrupted")
"""


@pytest.mark.parametrize("way", ["statement", "write", "limited", "block", "function"])
def test_ctrl_c_ends_the_statement_on_the_server_too(way: str, rig: Rig) -> None:
    """Who stops a program because a query takes too long does not want the query to go on without it."""
    url = "mysql://{user}@{host}:{port}/{database}?ssl_disabled=true".format(**rig.options)
    program = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", PROGRAM, url, way],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(improved_db.__file__).parent.parent,
    )
    try:
        rig.await_running("sleep(60)")
        program.send_signal(signal.SIGINT)
        said, complaints = program.communicate(timeout=30)
    finally:
        program.kill()
        program.wait()
    assert (said.strip(), complaints) == ("interrupted", "")
    eventually(lambda: not rig.running("sleep(60)"))
    assert rig.count() == 0
