"""The monitor on real servers: what it finds, what a frozen server delays, and when its thread begins and ends."""

from __future__ import annotations

import gc
import os
import signal
import socket
import subprocess
import sys
import threading
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from improved_db.clock import MonotonicClock
from improved_db.cluster.monitor import Monitor
from improved_db.wire.pymysql_driver import PyMySQLDriver
from tests.cluster.replicas import MODEST, eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from improved_db.cluster.topology import Topology
    from tests.cluster.replicas import Replicas

THREAD = "improved_db-monitor"


@contextmanager
def looking(drivers: dict[str, PyMySQLDriver], **more: Any) -> Iterator[Monitor]:
    """Look at servers for a while."""
    with closing(Monitor(drivers, clock=MonotonicClock(), **{"interval": 0.2, **more})) as monitor:
        yield monitor


def soon(monitor: Monitor, holds: Any, seconds: float = 20.0) -> bool:
    """Wait until something holds of the topology."""
    return monitor.wait_for(lambda: holds(monitor.topology), MonotonicClock.now() + seconds)


def is_complete(topology: Topology) -> bool:
    """Say whether every server has its role."""
    return topology.primary is not None and len(topology.replicas) == len(topology.hosts) - 1


def running_threads() -> list[str]:
    """Return the threads of monitors."""
    return [thread.name for thread in threading.enumerate() if thread.name == THREAD]


@pytest.mark.parametrize("user", ["root", MODEST])
def test_the_primary_is_found_wherever_it_stands_and_with_few_rights(user: str, replicas: Replicas) -> None:
    """An account with no more than its own tables sees the roles, too."""
    drivers = replicas.drivers(user)
    turned = dict(reversed(drivers.items()))
    for given in (drivers, turned):
        with looking(given) as monitor:
            assert soon(monitor, is_complete)
            assert monitor.topology.primary == replicas.address(0)
            assert monitor.topology.kind == "replication"
            assert monitor.topology.term == 1


def test_nothing_connects_before_it_is_asked(replicas: Replicas) -> None:
    """A handle that is only imported costs the servers nothing."""
    monitor = Monitor(replicas.drivers(), clock=MonotonicClock())
    assert running_threads() == []
    monitor.close()
    assert running_threads() == []


def test_a_frozen_replica_delays_no_other(replicas: Replicas) -> None:
    """While one server does not answer for rounds, the answers of the others stay fresh; it comes back by itself."""
    frozen = replicas.address(1)
    with looking(replicas.drivers()) as monitor:
        assert soon(monitor, is_complete)
        replicas.servers[1].pause()
        try:
            assert soon(monitor, lambda topology: topology.hosts[frozen].state.value == "down")
            facts = [view.facts for view in monitor.topology.hosts.values() if view.address != frozen]
            ages = [MonotonicClock.now() - one.at for one in facts if one is not None]
            assert max(ages) < 1.9, "a round takes at most a second, and the next one begins at once"
            assert monitor.topology.primary == replicas.address(0)
        finally:
            replicas.servers[1].resume()
        assert soon(monitor, is_complete)


def test_a_replica_that_is_behind_says_so_by_its_position(replicas: Replicas) -> None:
    """Lag is measured: a stopped SQL thread says nothing, and an idle primary makes no lag."""
    late = replicas.address(1)

    def lag(topology: Topology) -> float:
        return topology.hosts[late].lag or 0.0

    with looking(replicas.drivers(MODEST)) as monitor:
        assert soon(monitor, is_complete)
        assert soon(monitor, lambda topology: topology.hosts[late].lag == 0.0)
        replicas.run(1, "set global read_only = 1", "stop slave", "change master to master_delay=2", "start slave")
        replicas.run(0, "insert into test.pets () values ()")
        try:
            assert soon(monitor, lambda topology: lag(topology) > 0.5)
            assert soon(monitor, lambda topology: topology.hosts[late].lag == 0.0)
        finally:
            replicas.run(1, "stop slave", "change master to master_delay=0", "start slave")


def test_replicas_of_a_frozen_primary_lag_although_they_say_0(replicas: Replicas) -> None:
    """They hear nothing for a minute before they notice; what they have is what tells."""
    old, follower = replicas.address(0), replicas.address(1)
    with looking(replicas.drivers()) as monitor:
        assert soon(monitor, is_complete)
        replicas.servers[0].pause()
        try:
            assert soon(monitor, lambda topology: (topology.hosts[follower].lag or 0.0) > 1.0)
            view = monitor.topology.hosts[follower]
            assert view.facts is not None
            assert (view.facts.lag, view.facts.replicating, view.role) == (0.0, True, "replica")
        finally:
            replicas.servers[0].resume()
        assert soon(monitor, lambda topology: topology.primary == old and topology.hosts[follower].lag == 0.0)


def test_a_stopped_replica_is_unfit_until_it_runs(replicas: Replicas) -> None:
    """A read-only server that does not replicate is stale for ever."""
    stopped = replicas.address(2)
    with looking(replicas.drivers()) as monitor:
        assert soon(monitor, is_complete)
        replicas.run(2, "stop slave")
        try:
            assert soon(monitor, lambda topology: topology.hosts[stopped].role == "unfit")
            assert monitor.topology.hosts[stopped].why == "does not replicate"
        finally:
            replicas.run(2, "start slave")
        assert soon(monitor, is_complete)


def test_two_names_of_one_server_are_one(replicas: Replicas) -> None:
    """The second one is no replica; the text says what to do."""
    drivers = replicas.drivers()
    drivers["again"] = next(iter(replicas.drivers().values()))  # a driver of its own, as each host has
    with looking(drivers) as monitor:
        why = f"is the same server as {replicas.address(0)}; keep one of them in the list"
        assert soon(monitor, lambda topology: topology.hosts["again"].why == why)
        assert monitor.topology.hosts["again"].role == "unfit"


def test_a_server_that_refuses_the_account_is_down_and_says_why(replicas: Replicas) -> None:
    """A wrong password on one host is that host's; the others serve."""
    drivers = replicas.drivers(MODEST)
    strange = replicas.drivers("a stranger")
    drivers[replicas.address(2)] = strange[replicas.address(2)]
    with looking(drivers) as monitor:
        assert soon(monitor, lambda topology: topology.primary == replicas.address(0))
        assert monitor.topology.hosts[replicas.address(2)].state.value == "down"
        assert "Access denied" in monitor.topology.hosts[replicas.address(2)].error


def test_many_errors_are_one_question(replicas: Replicas) -> None:
    """A thousand statements that fail together must not ask a server a thousand times."""
    with looking(replicas.drivers(), interval=30.0) as monitor:
        assert soon(monitor, is_complete)

        def questions() -> int:
            return int(replicas.run(1, "show global status like 'Com_show_status'")[0][1])

        before = questions()
        for _ in range(1000):
            monitor.ask_now(replicas.address(1), OSError("it broke"))
        assert eventually(lambda: questions() > before)
        assert questions() - before < 20


def test_a_statement_that_says_read_only_demotes_the_primary_until_it_is_asked(replicas: Replicas) -> None:
    """The error of one borrower is news for all; the server's own word then decides."""
    with looking(replicas.drivers(), interval=30.0) as monitor:
        assert soon(monitor, is_complete)
        refusal = RuntimeError(1290, "The MariaDB server is running with the --read-only option")
        replicas.servers[0].pause()  # or its own word may come before this test has looked
        try:
            monitor.ask_now(replicas.address(0), refusal)
            assert soon(monitor, lambda topology: topology.primary is None)
            assert "says it is read-only" in monitor.topology.why
        finally:
            replicas.servers[0].resume()
        assert soon(monitor, is_complete)
        assert monitor.topology.term == 1


def test_close_wakes_those_who_wait_and_leaves_nothing(replicas: Replicas) -> None:
    """Also while one server takes connections and says nothing: a black hole."""
    with socket.create_server(("127.0.0.1", 0)) as hole:
        drivers = replicas.drivers(MODEST, connect_timeout=1.0)
        drivers["hole"] = _driver_to(hole.getsockname()[1])
        monitor = Monitor(drivers, clock=MonotonicClock(), interval=0.2)
        assert soon(monitor, lambda topology: topology.primary is not None)
        waiter = threading.Thread(target=lambda: monitor.wait_for(lambda: monitor.closed, MonotonicClock.now() + 60))
        waiter.start()
        assert eventually(monitor.is_wanted)
        monitor.close()
        waiter.join(10)
        assert not waiter.is_alive()
        assert running_threads() == []
        assert eventually(lambda: sessions(replicas) == 0)


def _driver_to(port: int) -> PyMySQLDriver:
    return PyMySQLDriver(lambda: {"host": "127.0.0.1", "port": port, "user": "root", "connect_timeout": 1.0})


def sessions(replicas: Replicas) -> int:
    """Return how many sessions the account of the tests has."""
    text = f"select count(*) from information_schema.processlist where user = '{MODEST}'"
    return sum(int(replicas.run(one, text)[0][0]) for one in range(3))


def test_a_monitor_that_is_dropped_ends(replicas: Replicas) -> None:
    """A handle that goes out of scope leaves no thread and no connection."""
    monitor = Monitor(replicas.drivers(MODEST), clock=MonotonicClock(), interval=0.2)
    assert soon(monitor, is_complete)
    assert running_threads() == [THREAD]
    del monitor
    gc.collect()
    assert eventually(lambda: running_threads() == [])
    assert eventually(lambda: sessions(replicas) == 0)


def test_without_borrowers_the_thread_ends_and_the_next_one_waits_for_a_round(replicas: Replicas) -> None:
    """What was true before the pause decides nothing: an old primary may be back."""
    borrowings = 0
    with looking(replicas.drivers(), used=lambda: borrowings, idle=0.3) as monitor:
        assert monitor.topology.primary is None
        assert soon(monitor, lambda topology: topology.primary is not None)
        assert eventually(lambda: running_threads() == [])
        replicas.run(0, "set global read_only = 1")
        try:
            borrowings += 1
            assert eventually(lambda: monitor.topology.state.value == "seeking" and running_threads() == [THREAD])
            borrowings += 1
            assert soon(monitor, lambda topology: "read-only" in topology.why)
        finally:
            replicas.run(0, "set global read_only = 0")
        assert soon(monitor, lambda topology: topology.primary == replicas.address(0))
        assert monitor.topology.term == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this system")
def test_a_forked_child_looks_for_itself_and_leaves_the_parents_connections_alone(replicas: Replicas) -> None:
    """The child begins cold; the parent does not notice."""
    with looking(replicas.drivers()) as monitor:
        assert soon(monitor, is_complete)
        child = os.fork()
        if child == 0:
            found = monitor.topology.primary is None and soon(monitor, is_complete)
            os._exit(0 if found else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        before = monitor.topology.hosts[replicas.address(0)].facts
        assert before is not None
        assert soon(monitor, lambda topology: topology.hosts[replicas.address(0)].facts.at > before.at + 0.3)
        assert all(view.state.value == "up" for view in monitor.topology.hosts.values())


LATE = """
import logging, sys, time
from improved_db.clock import MonotonicClock
from improved_db.cluster.monitor import Monitor
from improved_db.wire.pymysql_driver import PyMySQLDriver

ports = [int(port) for port in sys.argv[1:]]
drivers = {
    str(port): PyMySQLDriver(lambda port=port: {"host": "127.0.0.1", "port": port, "user": "root"}) for port in ports
}
monitor = Monitor(drivers, clock=MonotonicClock(), interval=0.1)
lines = []
logger = logging.getLogger("improved_db.cluster")
logger.setLevel(logging.INFO)
handler = logging.Handler()
handler.emit = lambda record: lines.append(record.getMessage())
logger.addHandler(handler)
monitor.wait_for(lambda: len(monitor.topology.replicas) == 2, time.monotonic() + 20)
print("ready", flush=True)
sys.stdin.readline()
asked_at = time.monotonic()
fresh = lambda: all(view.facts.asked_at > asked_at for view in monitor.topology.hosts.values())
monitor.wait_for(fresh, asked_at + 20)
suspected = [line for line in lines if " is suspect" in line]
topology = monitor.topology
print(suspected, topology.primary == str(ports[0]), topology.term, monitor.late > 0)
monitor.close()
"""


def test_a_process_that_was_stopped_takes_no_server_for_silent(replicas: Replicas) -> None:
    """After SIGSTOP, a laptop's sleep or a long hold of the interpreter, it was this process that was silent."""
    ports = [str(server.port) for server in replicas.servers]
    process = subprocess.Popen(
        [sys.executable, "-c", LATE, *ports], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        replicas.servers[1].pause()  # so that no answer is there when the process goes on
        threading.Event().wait(0.4)  # a round has begun, and is not over
        process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)
        threading.Event().wait(1.5)  # longer than a server may take to answer
        process.send_signal(signal.SIGCONT)
        replicas.servers[1].resume()
        process.stdin.write("go\n")
        process.stdin.flush()
        assert process.stdout.readline() == "[] True 1 True\n"
