"""The audit of a failover: which acknowledged writes are gone."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from improved_db.clock import MonotonicClock
from improved_db.cluster.failover import FailoverReport, Failovers, LateAnswer, missing
from improved_db.cluster.gtid import history
from improved_db.cluster.monitor import Monitor
from tests.cluster.replicas import eventually

if TYPE_CHECKING:
    from tests.cluster.replicas import Replicas

UUID = "3e11fa47-71ca-11e1-9e33-c80aa9429562"


def test_what_a_history_lacks() -> None:
    """GTIDs of another dialect prove nothing, and a set of several is lost if one of them is."""
    acked = ["0-1-926", "0-1-928", "0-2-932", f"{UUID}:7", ""]
    assert missing(acked, history("0-1-927,0-2-932", "mariadb")) == ("0-1-928",)
    assert missing(acked, history(f"{UUID}:1-6", "mysql")) == (f"{UUID}:7",)
    assert missing([f"{UUID}:1-7,{UUID}:red:1"], history(f"{UUID}:1-7", "mysql")) == (f"{UUID}:1-7,{UUID}:red:1",)


def write(replicas: Replicas, one: int) -> str:
    """Write a row on a server, and return the GTID of its commit, as its client is told."""
    return str(replicas.run(one, "insert into test.pets () values ()", "select @@last_gtid")[0][0])


def test_a_failover_names_exactly_what_it_lost(replicas: Replicas) -> None:
    """Scenario 44: a write that came through is not named, and a lost one not twice."""
    reports: list[FailoverReport] = []
    with closing(Monitor(replicas.drivers(), clock=MonotonicClock(), interval=0.3)) as monitor:
        failovers = Failovers(monitor, MonotonicClock(), reports.append)
        old, new, third = replicas.addresses
        assert monitor.wait_for(lambda: len(monitor.topology.replicas) == 2, MonotonicClock.now() + 20)
        failovers.acked(old, write(replicas, 0))
        replicas.catch_up(1, 2, of=0)
        for one in (1, 2):
            replicas.run(one, "stop slave io_thread")
        lost = tuple(write(replicas, 0) for _ in range(3))
        for gtid in lost:
            failovers.acked(old, gtid)
        replicas.servers[0].kill()
        replicas.promote(1)
        replicas.refollow(2, 1)
        assert eventually(lambda: len(reports) == 1)
        report = reports[0]
        assert (report.old, report.new, report.term, report.lost, report.checked) == (old, new, 2, lost, True)
        assert "takes writes" in report.why
        failovers.acked(new, write(replicas, 1))
        replicas.catch_up(2, of=1)
        replicas.run(1, "set global read_only = 1")
        replicas.promote(2)
        replicas.refollow(1, 2)
        assert eventually(lambda: len(reports) == 2)
        assert (reports[1].new, reports[1].lost, reports[1].checked) == (third, (), True)
        assert (failovers.count, failovers.lost) == (2, 3)


def test_an_answer_of_the_old_primary_is_looked_up_before_it_is_believed(replicas: Replicas) -> None:
    """Scenarios 59, 64: its COMMIT came late; it is a success only if the new primary has it."""
    with closing(Monitor(replicas.drivers(), clock=MonotonicClock(), interval=0.3)) as monitor:
        failovers = Failovers(monitor, MonotonicClock(), None)
        old = replicas.address(0)
        assert monitor.wait_for(lambda: len(monitor.topology.replicas) == 2, MonotonicClock.now() + 20)
        arrived = write(replicas, 0)
        replicas.catch_up(1, 2, of=0)
        replicas.run(0, "set global read_only = 1")
        replicas.promote(1)
        replicas.refollow(2, 1)
        assert monitor.wait_for(lambda: monitor.topology.primary == replicas.address(1), MonotonicClock.now() + 20)
        late = write(replicas, 0)
        failovers.acked(old, arrived)
        with pytest.raises(LateAnswer, match="is the primary, and lacks it"):
            failovers.acked(old, late)


def test_a_listener_that_fails_harms_nothing(replicas: Replicas, caplog: pytest.LogCaptureFixture) -> None:
    """The user's code must not stop the monitor."""

    def fails(report: FailoverReport) -> None:
        raise RuntimeError(report.new)

    with closing(Monitor(replicas.drivers(), clock=MonotonicClock(), interval=0.3)) as monitor:
        Failovers(monitor, MonotonicClock(), fails)
        assert monitor.wait_for(lambda: len(monitor.topology.replicas) == 2, MonotonicClock.now() + 20)
        replicas.servers[0].kill()
        replicas.promote(1)
        assert eventually(lambda: "on_failover failed" in caplog.text)
        assert monitor.wait_for(lambda: monitor.topology.primary == replicas.address(1), MonotonicClock.now() + 20)
