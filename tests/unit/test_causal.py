"""What has been written, by GTID, and how an OK packet tells it."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType
from typing import Any

import pytest

from improved_db.cluster.causal import (
    LONGEST_TOKEN,
    NOTHING,
    Reach,
    Write,
    Writes,
    can_be_waited_for,
    from_token,
    newest,
    token_of,
    wait_for,
    written,
)
from improved_db.cluster.gtid import history
from improved_db.cluster.views import ClusterState, HostFacts, HostView, Topology, begin
from improved_db.pool.loan import Loan
from improved_db.wire.causal import CausalConnection

UUID = "3e11fa47-71ca-11e1-9e33-c80aa9429562"
OTHER = "4f11fa47-71ca-11e1-9e33-c80aa9429562"


def view(address: str, position: str, server: str, at: float = 0.0) -> HostView:
    dialect: Any = "mysql" if ":" in position else "mariadb"
    return HostView(address, facts=HostFacts(address, at, server_id=server, history=history(position, dialect)))


def cluster(*views: HostView) -> Topology:
    """Return a topology whose primary is the first of *views*."""
    made = begin(tuple(one.address for one in views))
    hosts = MappingProxyType({one.address: one for one in views})
    return replace(made, hosts=hosts, state=ClusterState.STABLE, primary=views[0].address, term=1)


def test_greatest_number_of_each_origin_is_kept() -> None:
    """Threads hear of their commits in any order."""
    writes = Writes()
    for text in ("0-1-5", "0-1-7", "0-1-6", "3-1-2", "nonsense", ""):
        writes.note(text)
    assert writes.now == {"0": Write(7, "1", "0-1-7"), "3": Write(2, "1", "3-1-2")}
    assert newest(writes.now, written("0-2-9")) == {"0": Write(9, "2", "0-2-9"), "3": Write(2, "1", "3-1-2")}
    assert newest(NOTHING, writes.now) is writes.now
    assert written(f"{UUID}:5-7,\n{OTHER}:2") == {
        UUID: Write(7, "", f"{UUID}:7"), OTHER: Write(2, "", f"{OTHER}:2")
    }  # fmt: skip


def test_token_is_what_was_written_and_comes_back() -> None:
    """It goes through a cookie or a job queue."""
    for text in ("0-1-7,3-1-2", f"{UUID}:7,{OTHER}:2"):
        token = token_of(written(text))
        assert token == text.encode()
        assert from_token(token) == written(text)
    assert from_token(b"") == NOTHING


@pytest.mark.parametrize(
    "token", [b"garbage", b"0-1", b"\xff\xfe", b"0-1-5'; drop table t", b"1" * (LONGEST_TOKEN + 1)]
)
def test_anything_else_is_no_token(token: bytes) -> None:
    """It comes from outside, and part of it goes into a statement."""
    assert from_token(token) is None


def test_wait_is_that_of_the_servers_kind() -> None:
    """Both return 0 if the replica has everything in time."""
    assert wait_for(written("0-1-7,3-1-2"), 0.5) == "SELECT MASTER_GTID_WAIT('0-1-7,3-1-2', 0.500)"
    assert wait_for(written(f"{UUID}:7"), 1) == f"SELECT WAIT_FOR_EXECUTED_GTID_SET('{UUID}:7', 1.000)"
    # a replica whose workers commit in any order: the newest write alone says nothing of those before it
    whole = wait_for(written(f"{UUID}:7"), 1, unordered=True)
    assert whole == f"SELECT WAIT_FOR_EXECUTED_GTID_SET('{UUID}:1-7', 1.000)"
    assert wait_for(written("0-1-7"), 0.5, unordered=True) == "SELECT MASTER_GTID_WAIT('0-1-7', 0.500)"


def test_write_of_a_former_primary_counts_only_if_the_present_one_has_it() -> None:
    """A replica counts numbers alone: a lost 0-1-930 would be taken for reached once 0-2-930 is there."""
    after = cluster(view("b", "0-1-925,0-2-940", "2"), view("c", "0-1-925,0-2-939", "3"))
    assert can_be_waited_for(written("0-1-925"), after)
    assert not can_be_waited_for(written("0-1-930"), after)
    assert can_be_waited_for(written("0-2-950"), after), "the present primary's own, newer than its last answer"
    assert not can_be_waited_for(written("7-1-1"), after)
    assert can_be_waited_for(written(f"{UUID}:9"), cluster(view("b", f"{UUID}:1-5", UUID)))
    assert can_be_waited_for(written("0-1-930"), cluster(HostView("b")))


def test_own_writes_that_a_new_primary_lacks_are_forgotten() -> None:
    """They are lost: a read that waited for them would wait for ever."""
    writes = Writes()
    writes.note("0-1-930,1-1-4")
    writes.keep(history("0-1-925,0-2-940,1-1-4", "mariadb"))
    assert writes.now == {"1": Write(4, "1", "1-1-4")}
    writes.note(f"{UUID}:7")
    writes.keep(history(f"{UUID}:1-7", "mysql"))
    assert writes.now == {UUID: Write(7, "", f"{UUID}:7")}


def test_server_is_known_to_have_what_it_waited_for_or_said() -> None:
    """The next reads are free."""
    reach, needed = Reach(), written("0-1-7")
    loan: Loan[Any] = Loan(None, 0.0, 0.0)
    assert not reach.has(needed, None)
    reach.waits.add(loan)
    reach.got(needed, loan)
    assert reach.has(needed, None)
    assert reach.waits == set()
    assert not reach.has(written("0-1-8"), view("b", "0-1-7", "2"))
    assert reach.has(written("0-1-8"), view("b", "0-1-3,0-2-9", "2", at=1.0))
    reach.forget()
    assert not reach.has(needed, None)
    assert Reach().has(written(f"{UUID}:5"), view("b", f"{UUID}:1-5:9", UUID))
    assert not Reach().has(written(f"{UUID}:9"), view("b", f"{UUID}:1-5:9", UUID)), "there is a gap before 9"


def test_server_that_was_too_late_is_left_alone_for_longer_each_time() -> None:
    """A replica that stands still costs one wait, not one for each read."""
    reach = Reach()
    rests = []
    for _ in range(4):
        reach.missed(100.0)
        rests.append(reach.late_until - 100.0)
    assert rests == [5.0, 10.0, 20.0, 30.0]


class Session(CausalConnection):
    """A connection without a server, whose server tells changes."""

    def __init__(self) -> None:
        super().__init__(defer_connect=True)
        self.server_capabilities: int = self.client_flag
        self.heard: list[str] = []
        self._on_gtid = self.heard.append


def lenenc(data: bytes) -> bytes:
    return bytes([len(data)]) + data


@pytest.mark.parametrize(
    ("changes", "heard"),
    [
        (b"\x00" + lenenc(lenenc(b"last_gtid") + lenenc(b"0-1-7")), ["0-1-7"]),
        (b"\x03" + lenenc(b"\x00" + lenenc(f"{UUID}:7".encode())), [f"{UUID}:7"]),
        (b"\x00" + lenenc(lenenc(b"autocommit") + lenenc(b"ON")) + b"\x02" + lenenc(b"1"), []),
        (b"\x01" + lenenc(lenenc(b"shop")) + b"\x00" + lenenc(lenenc(b"last_gtid") + lenenc(b"1-2-3")), ["1-2-3"]),
        (b"", []),
    ],
)
def test_gtids_are_heard_in_the_changes_of_an_ok_packet(changes: bytes, heard: list[str]) -> None:
    """Behind the server's own words, which stay what they are."""
    session = Session()
    message = lenenc(b"Rows matched: 1") + lenenc(changes)
    assert session._without_changes(0x4002, message) == b"Rows matched: 1"
    assert session.heard == heard
    assert session._without_changes(0x0002, lenenc(b"words")) == b"words"


@pytest.mark.parametrize("cut", range(1, 22))
def test_changes_that_are_cut_off_harm_nothing(cut: int) -> None:
    """The statement is done, and its answer read: a strange OK packet is a line in the log, not an error."""
    session = Session()
    message = lenenc(b"") + lenenc(b"\x00" + lenenc(lenenc(b"last_gtid") + lenenc(b"0-1-7")))
    session._without_changes(0x4002, message[:cut])
    assert set(session.heard) <= {"0-1-7", ""}
