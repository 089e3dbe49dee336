"""Servers that stop, freeze, refuse, fill up or change their role, and come back."""

from __future__ import annotations

import os
import signal
import threading
from typing import TYPE_CHECKING

import pytest
import tenacity
from pymysql.err import MySQLError, OperationalError

from improved_db import ImprovedDb, OutcomeUnknown, PoolTimeout, RetryPolicy, ServerRefused, Transaction
from improved_db.pool.loan import all_frames
from improved_db.testing import TemporaryServer
from tests.fakes import PATIENCE, Caller, eventually
from tests.faults.fake_server import FakeServer, close, err, raw, turn_away
from tests.faults.faults import Gate, delay, inject_err
from tests.faults.harness import Rig, in_threads, resent
from tests.faults.packets import COM_PING, COM_QUIT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.faults.fake_server import Response

INSERT = "insert into t (id) values (%s)"


@pytest.fixture
def own_server() -> Iterator[TemporaryServer]:
    """A server that a test may stop."""
    with TemporaryServer(tcp=True, options=["--max-connections=5"]) as running:
        yield running


@pytest.fixture
def own(own_server: TemporaryServer) -> Iterator[Rig]:
    """A proxy in front of it."""
    with Rig(own_server.connect_options) as made:
        made.table()
        yield made


# --- the server stops ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stop", [TemporaryServer.restart, TemporaryServer.kill])
def test_a_restart_between_two_writes_is_not_noticed(
    stop: Callable[[TemporaryServer], None], own_server: TemporaryServer, own: Rig
) -> None:
    """Every idle connection is dead; each is seen to be before anything is written on it, and no ping is needed."""
    db = own.db(max_size=3)
    in_threads(3, lambda number: db.execute_query(INSERT, number))
    stop(own_server)
    own_server.start()
    own.proxy.wait_until(lambda: own.proxy.sessions == 0)
    pings = own.proxy.commands(COM_PING)
    in_threads(3, lambda number: db.execute_query(INSERT, 10 + number))
    assert (own.count(), own.proxy.commands(COM_PING), resent(db)) == (6, pings, 0)


def test_an_outage_is_waited_for_and_not_longer_than_the_policy_says(own_server: TemporaryServer, own: Rig) -> None:
    """Nothing can have been sent while no server is there, so waiting for the server is always safe."""
    db = own.db(direct=True)
    short = own.db(direct=True, retry=RetryPolicy(within=0.3), acquire_timeout=0.3)
    own_server.stop()
    with pytest.raises((OperationalError, PoolTimeout)):
        short.execute_query(INSERT, 0)
    write = Caller(lambda: db.execute_query(INSERT, 1))
    together = Caller(lambda: db.run_transaction(lambda tx: tx.execute_query(INSERT, 2)))
    load = Caller(lambda: db.exec_many(INSERT, [(3,), (4,)]))
    eventually(lambda: db.stats().open_errors >= 2)
    own_server.start()
    for caller in (write, together, load):
        caller.result()
    assert own.count() == 4


def test_an_address_that_never_answered_is_a_mistake_and_told_at_once() -> None:
    """A wrong port is no outage: waiting half a minute to say so would only hide it."""
    with FakeServer() as fake:
        fake.refuse()
        with ImprovedDb(fake.connect_options) as db, pytest.raises(OperationalError) as caught:
            db.execute_query("select 1")
        assert caught.value.args[0] == 2003
        assert resent(db) == 0
    with ImprovedDb(host="no-such-host.invalid", user="u") as db, pytest.raises(OperationalError) as caught:
        db.execute_query("select 1")
    assert caught.value.args[0] == 2003


def test_a_frozen_server_is_waited_for_until_the_deadline_and_writes_nothing_twice(
    own_server: TemporaryServer, own: Rig
) -> None:
    """SIGSTOP, a full disk, a hypervisor that migrates: the socket is open, and no server answers."""
    db = own.db(direct=True, max_size=2, deadline=0.5)
    patient = own.db(direct=True, max_size=1)
    own_server.pause()
    with pytest.raises(OutcomeUnknown):
        db.execute_query(INSERT, 1)
    with pytest.raises(MySQLError):
        db.execute_query("select 1")
    late = Caller(lambda: patient.execute_query(INSERT, 2))
    eventually(lambda: patient.stats().used == 1)
    own_server.resume()
    assert late.result().rowcount == 1
    assert db.execute_query("select 1") == ((1,),)
    eventually(lambda: not own.running("insert into t"))
    assert own.value("select count(*) from t where id = 1") <= 1
    assert (own.value("select count(*) from t where id = 2"), db.stats().used) == (1, 0)


def test_a_black_hole_is_left_after_connect_timeout(rig: Rig) -> None:
    """It accepts, and says nothing: the time limit is for the whole handshake, not for each of its packets."""
    db = rig.db(connect_timeout=0.2, retry=RetryPolicy(within=0.5), acquire_timeout=1.0)
    rig.proxy.cut_all()
    rig.proxy.stall()
    with pytest.raises((OperationalError, PoolTimeout)):
        db.execute_query("select 1")
    assert db.stats().open_errors >= 1
    rig.proxy.flow()
    assert db.execute_query("select 1") == ((1,),)


# --- it refuses ------------------------------------------------------------------------------------------------------

BAD_BEGINNINGS: dict[str, Response] = {
    "1040 in place of the greeting": turn_away(1040, "Too many connections"),
    "1040 with sequence number 1": turn_away(1040, "Too many connections", sequence=1),
    "1040 with sequence number 2": turn_away(1040, "Too many connections", "08004", sequence=2),
    "hangs up": close(),
    "resets": close(reset=True),
    "garbage": raw(b"\x20\x00\x00\x00HTTP/1.1 400 Bad Request, or so.."),
    "an empty packet": raw(b"\x00\x00\x00\x00"),
    "1042": turn_away(1042, "Can't get hostname for your address"),
}


@pytest.mark.parametrize("beginning", BAD_BEGINNINGS)
def test_a_handshake_that_fails_is_no_session_and_a_write_can_wait_for_a_better_one(beginning: str, rig: Rig) -> None:
    """Whatever it looks like on the wire: before the greeting nothing of ours was sent."""
    with FakeServer(greeting=BAD_BEGINNINGS[beginning]) as bad:
        db = rig.db(retry=RetryPolicy(overload=tenacity.wait_fixed(0.05)))
        good, rig.proxy.target = rig.proxy.target, ("127.0.0.1", bad.port)
        rig.proxy.cut_all()
        write = Caller(lambda: db.execute_query(INSERT, 1))
        eventually(lambda: db.stats().open_errors >= 2)
        rig.proxy.target = good
        assert write.result().rowcount == 1
    assert (rig.count(), rig.proxy.forwarded(b"^insert")) == (1, 1)


@pytest.mark.needs("a password without TLS")
def test_a_password_that_was_changed_is_told_at_once(rig: Rig) -> None:
    """Trying a wrong password again and again locks accounts."""
    rig.ask("drop user if exists tenant@'127.0.0.1'")
    rig.ask("create user tenant@'127.0.0.1' identified by 'old'")
    rig.ask("grant all on *.* to tenant@'127.0.0.1'")
    password = ["old"]
    db = rig.db(user="tenant", password=lambda: password[0], max_size=1)
    rig.ask("alter user tenant@'127.0.0.1' identified by 'new'")
    rig.proxy.cut_all()
    with pytest.raises(OperationalError) as caught:
        db.execute_query("select 1")
    assert (caught.value.args[0], resent(db)) == (1045, 0)
    password[0] = "new"
    assert db.execute_query("select current_user()") == (("tenant@127.0.0.1",),)


def test_a_config_that_is_asked_again_finds_the_server_that_has_moved(rig: Rig) -> None:
    """DNS, service discovery, a file: wherever the address comes from, it is asked for at each connect."""
    ports = [rig.proxy.port]
    with ImprovedDb(lambda: {**rig.options, "port": ports[0]}) as db:
        db.execute_query(INSERT, 1)
        rig.proxy.refuse()
        rig.proxy.cut_all()
        write = Caller(lambda: db.execute_query(INSERT, 2))
        eventually(lambda: db.stats().open_errors >= 1)
        ports[0] = rig.options["port"]
        write.result()
    assert rig.count() == 2


def test_more_threads_than_the_server_has_room_for_all_get_through(own: Rig) -> None:
    """Five connections for a pool that wants twenty: those who find no room wait for those who have."""
    db = own.db(direct=True, max_size=20, max_opening=4, retry=RetryPolicy(overload=tenacity.wait_random(0.01, 0.05)))

    def work(number: int) -> None:
        for round_ in range(5):
            db.execute_query(INSERT, number * 100 + round_)

    in_threads(20, work)
    db.close()
    assert own.count() == 100


# --- it changes its role ---------------------------------------------------------------------------------------------


def test_a_server_that_turns_read_only_is_waited_for(rig: Rig) -> None:
    """A failover does this to the old primary before there is a new one: nothing was applied, so waiting is safe."""
    rig.ask("drop user if exists tenant@'127.0.0.1'")
    rig.ask("create user tenant@'127.0.0.1'")
    rig.ask("grant select, insert, create on *.* to tenant@'127.0.0.1'")
    db = rig.db(direct=True, user="tenant", max_size=4, retry=RetryPolicy(connection=tenacity.wait_fixed(0.02)))
    stop = threading.Event()
    acknowledged = [0] * 4

    def write(number: int) -> None:
        while not stop.is_set():
            row = number * 1_000_000 + acknowledged[number]
            if number % 2:
                db.execute_query(INSERT, row)
            else:
                db.run_transaction(Transaction.execute_query, INSERT, row)
            acknowledged[number] += 1

    writers = [Caller(lambda number=number: write(number)) for number in range(4)]  # type: ignore[misc]
    eventually(lambda: min(acknowledged) > 10)
    rig.ask("set global read_only = 1")
    eventually(lambda: db.stats().retries.get("refused", 0) > 10)
    frozen = sum(acknowledged)
    rig.ask("set global read_only = 0")
    eventually(lambda: sum(acknowledged) > frozen + 100)
    stop.set()
    for writer in writers:
        writer.result()
    assert rig.count() == sum(acknowledged)
    assert db.stats().retired["drained"] >= 1


def test_a_server_that_stays_read_only_is_named_for_it(rig: Rig) -> None:
    """`ServerRefused` says that nothing was applied, whatever the driver's class for the number is."""
    db = rig.db(retry=RetryPolicy(within=0.2))
    rig.proxy.on_query(b"^insert|^commit", inject_err(1290, "running with the --read-only option"), times=None)
    with pytest.raises(ServerRefused, match="nothing was applied") as caught:
        db.execute_query(INSERT, 1)
    assert (caught.value.verdict, caught.value.args[0]) == ("refused", 1290)
    assert len(caught.value.attempts) > 1
    with pytest.raises(ServerRefused):
        db.run_transaction(lambda tx: tx.execute_query("select 1"))
    assert rig.count() == 0


# --- proxies and other servers ---------------------------------------------------------------------------------------

MYSQL, TIDB, VITESS, PROXYSQL, MARIADB = (
    "8.0.35",
    "8.0.11-TiDB-v7.5.0",
    "8.0.30-Vitess",
    "8.0.25 (ProxySQL)",
    "5.5.5-10.11.6-MariaDB",
)


@pytest.mark.parametrize(
    ("version", "answer", "outcome"),
    [
        (TIDB, err(9007, "Write conflict"), "again"),
        (TIDB, err(8022, "Error: KV error safe to retry"), "again"),
        (TIDB, err(9001, "PD server timeout"), "unknown"),
        (PROXYSQL, err(9001, "Max connect timeout reached while reaching hostgroup 0"), "unknown"),
        (PROXYSQL, err(2013, "Lost connection to server during query"), "unknown"),
        (MYSQL, err(4031, "The client was disconnected by the server because of inactivity"), "unknown"),
        (MYSQL, err(4031, "The client was disconnected", sequence=0), "again"),
        (MARIADB, err(4031, "Referenced trigger does not exist"), "raised"),
        (VITESS, err(1062, "transaction rolled back to reverse changes of partial DML execution: Duplicate"), "raised"),
        (VITESS, err(1105, "vttablet: rpc error: code = Aborted desc = transaction 1: ended at ..."), "unknown"),
        (VITESS, err(1105, "no healthy tablet available"), "unknown"),
        (VITESS, err(1317, "context deadline exceeded"), "unknown"),
        (MARIADB, err(1317, "Query execution was interrupted", "70100"), "raised"),
        (MARIADB, err(1020, "Record has changed since last read in table 't'"), "again"),
        (MARIADB, err(1047, "WSREP has not yet prepared node for application use", "08S01"), "again"),
        (MARIADB, err(1047, "Unknown command", "08S01"), "raised"),
        (MARIADB, err(1180, "Got error 5 'Not connected to Primary Component' during COMMIT"), "unknown"),
        (MYSQL, err(1180, "Got error 149 - 'Lock deadlock; Retry transaction' during COMMIT"), "again"),
        (MYSQL, err(3101, "Plugin instructed the server to rollback the current transaction.", "40000"), "again"),
        (MYSQL, err(65000, "a new error"), "raised"),
        (MYSQL, err(65000, "a new error", "40001"), "again"),
    ],
)
def test_each_server_is_understood_in_its_own_words(version: str, answer: Response, outcome: str) -> None:
    """The same number says different things, and where it may say either, the more cautious one is believed."""
    with FakeServer(version) as fake:
        fake.on("^insert", answer, times=1)
        with ImprovedDb(fake.connect_options, max_size=1) as db:
            if outcome == "again":
                db.execute_query(INSERT, 1)
            else:
                with pytest.raises(OutcomeUnknown if outcome == "unknown" else MySQLError) as caught:
                    db.execute_query(INSERT, 1)
                assert (type(caught.value) is OutcomeUnknown) is (outcome == "unknown")
            assert (fake.count("^insert"), db.stats().used) == (2 if outcome == "again" else 1, 0)


# --- interrupts and forks --------------------------------------------------------------------------------------------


def test_an_interrupt_while_an_answer_is_on_its_way_costs_the_connection(rig: Rig) -> None:
    """The rest of the answer would be the next borrower's."""

    class Interrupted(BaseException):
        """What a framework raises into a thread that it wants to end."""

    def interrupt(_: object) -> None:
        raise Interrupted

    db = rig.db(max_size=1, conv={246: interrupt})
    with pytest.raises(Interrupted):
        db.execute_query("select 1.5 from seq_1_to_1000")
    assert db.execute_query("select 'fine'") == (("fine",),)
    assert (sum(db.stats().discarded.values()), resent(db), db.stats().used) == (1, 0, 0)


def test_an_interrupt_while_a_statement_is_being_sent_costs_the_connection(rig: Rig) -> None:
    """Half of a statement is with the server: whatever came next would be taken for its other half."""

    class Interrupted(BaseException):
        """What a signal handler of the program's raises."""

    heard: list[int] = []

    def interrupt(number: int, _: object) -> None:
        if not heard:
            heard.append(number)
            raise Interrupted

    rig.ask("create table big (note longtext)")
    db = rig.db(max_size=1)
    rig.proxy.stall()

    main_thread = threading.main_thread().ident
    assert main_thread is not None

    def send_signal() -> None:
        eventually(lambda: all_frames()[main_thread].f_code.co_name == "_write_bytes")
        while not heard:  # one that comes just before the thread blocks is handled after it: send another
            signal.pthread_kill(main_thread, signal.SIGUSR1)
            threading.Event().wait(0.01)

    before = signal.signal(signal.SIGUSR1, interrupt)
    sender = Caller(send_signal)
    try:
        with pytest.raises(Interrupted):
            db.execute_query("insert into big values (%s)", ("x" * 14_000_000,))
        sender.result()
    finally:
        sender.join(2 * PATIENCE)  # its signal would end pytest once the handler is gone
        signal.signal(signal.SIGUSR1, before)
        rig.proxy.flow()
    assert db.execute_query("select 'fine'") == (("fine",),)
    assert (rig.count("big"), sum(db.stats().discarded.values()), resent(db)) == (0, 1, 0)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_opens_connections_of_its_own(rig: Rig) -> None:
    """Two processes on one socket read each other's answers."""
    db = rig.db(max_size=2)
    gate = Gate(rig.proxy)
    rig.proxy.on_query(b"'parent'", delay(gate))
    busy = Caller(lambda: db.execute_query("select 'parent'"))
    rig.proxy.wait_until(lambda: gate.waiting == 1)
    quits = rig.proxy.commands(COM_QUIT)
    child = os.fork()
    if child == 0:
        os._exit(0 if db.execute_query("select 'child'") == (("child",),) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    gate.open()
    assert busy.result() == (("parent",),)
    assert db.execute_query("select 'parent'") == (("parent",),)
    assert rig.proxy.commands(COM_QUIT) == quits
    assert db.stats().discarded == {}
