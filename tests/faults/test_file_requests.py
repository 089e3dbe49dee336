"""A server may ask for a file of the client in place of any answer; it gets none that the caller has not named."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pymysql
import pytest

import improved_db
from improved_db import ImprovedDb
from tests.faults import fake_server, packets

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SECRET = b"the client's secret"


class Thief:
    """Answers with a request for a file, and keeps what it gets."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.got: list[bytes] = []

    def __call__(self, peer: fake_server.Peer) -> None:
        """Ask, and read until the client says that it was all."""
        peer.send(b"\xfb" + str(self.path).encode())
        while len(packet := peer.read()) > 4:
            self.got.append(packet[4:])
        peer.send(packets.ok(), sequence=(packet[3] + 1) & 255)


@pytest.fixture
def thief(tmp_path: Path) -> Thief:
    """One who knows where a secret is."""
    path = tmp_path / "secret.txt"
    path.write_bytes(SECRET)
    return Thief(path)


@pytest.fixture
def server() -> Iterator[fake_server.FakeServer]:
    """A scripted server."""
    with fake_server.FakeServer() as running:
        yield running


def run_some(db: ImprovedDb) -> None:
    """Run a read, a write and a transaction."""
    db.execute_query("select 1")
    db.execute_query("insert into t values (1)")
    db.run_transaction(lambda tx: tx.execute_query("select 2"))


OPTIONS: dict[str, Any] = {"max_size": 1, "retry": None, "acquire_timeout": 5, "read_timeout": 5}


@pytest.mark.parametrize("moment", ["^set ", "^start", "^commit", "^select", "^insert"])
@pytest.mark.parametrize("local_infile", [False, True])
def test_no_statement_but_load_data_is_answered_with_a_file(
    server: fake_server.FakeServer, thief: Thief, moment: str, *, local_infile: bool
) -> None:
    """PyMySQL sends any file to any server that asks, once local_infile is on."""
    server.on(moment, thief)
    server.on("^start", fake_server.ok(status=packets.IN_TRANSACTION))
    server.on("select 2", fake_server.rows(["2"], [["2"]], packets.IN_TRANSACTION))
    options = {**server.connect_options, **OPTIONS, "local_infile": local_infile}
    with ImprovedDb(options) as db:
        with pytest.raises(pymysql.err.MySQLError):
            run_some(db)
        assert SECRET not in thief.got


@pytest.mark.parametrize("moment", ["^set ", "^begin", "^commit"])
def test_load_rows_sends_its_rows_and_nothing_else(
    server: fake_server.FakeServer, thief: Thief, moment: str, tmp_path: Path
) -> None:
    """A rogue server answered COMMIT with a file request, got the file, and load_rows reported success."""
    rows = Thief(tmp_path / "rows")
    server.on("^load data", rows)
    server.on(moment, thief)
    with ImprovedDb({**server.connect_options, **OPTIONS}) as db, pytest.raises(pymysql.err.MySQLError):
        db.load_rows("t", [(1, "a"), (2, "b")])
    assert SECRET not in thief.got


def test_a_load_data_of_the_callers_own_sends_the_file_it_names(server: fake_server.FakeServer, thief: Thief) -> None:
    """The option of PyMySQL's keeps its meaning."""
    server.on("load data", thief)
    with improved_db.Connection(**server.connect_options, local_infile=True) as connection:
        for comment in ("", "/* nightly */ ", "-- nightly\n"):
            connection.cursor().execute(f"{comment}load data local infile '{thief.path}' into table t")
    assert thief.got == [SECRET] * 3


def test_a_load_data_of_the_callers_own_sends_no_other_file(
    server: fake_server.FakeServer, thief: Thief, tmp_path: Path
) -> None:
    """The server names the file in its request; it may name another one."""
    server.on("load data", thief)
    connection = improved_db.Connection(**server.connect_options, local_infile=True)
    with pytest.raises(pymysql.err.MySQLError):
        connection.cursor().execute(f"load data local infile '{tmp_path / 'mine.csv'}' into table t")
    assert SECRET not in thief.got
