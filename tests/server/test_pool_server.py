"""The pool against a server that is killed, stopped, frozen or full: what comes after, and how many sessions."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Any

import pymysql
import pytest

from improved_db import ImprovedDb, ImprovedDbError
from improved_db.testing import TemporaryServer
from tests.fakes import Caller, eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SIZE = 4
READS = 1000
DEADLINE = 20.0


class Watched:
    """A pool of four on a server of its own, and an eye on how many sessions both say there are."""

    def __init__(self, server: TemporaryServer) -> None:
        self.server = server
        self.db = ImprovedDb(server.url, max_size=SIZE, deadline=DEADLINE, acquire_timeout=DEADLINE)
        self.db.execute_query("create user watcher")
        self.db.execute_query("grant process on *.* to watcher")
        self.most_by_pool = self.most_by_server = 0

    def sessions(self) -> list[int]:
        """Ask the server, over a session of another user, for the numbers of the pool's."""
        options = {**self.server.connect_options, "user": "watcher", "database": None, "ssl_disabled": True}
        with pymysql.connect(**options) as connection, connection.cursor() as cursor:
            cursor.execute("select id from information_schema.processlist where user = 'root'")
            return [int(row[0]) for row in cursor.fetchall()]

    def look(self) -> None:
        """Note how many there are."""
        stats = self.db.stats()
        assert stats.idle + stats.used + stats.opening + stats.cold == SIZE
        self.most_by_pool = max(self.most_by_pool, stats.size)
        self.most_by_server = max(self.most_by_server, len(self.sessions()))

    def read_on(self, meanwhile: Callable[[], object] = lambda: None) -> list[object]:
        """Read a thousand times from eight threads, and do something meanwhile; return what came of each."""
        answers: list[object] = []

        def read() -> None:
            for number in range(READS // 8):
                try:
                    answers.append(self.db.execute_query("select %s + 1", number, return_one=True) == (number + 1,))
                except (ImprovedDbError, pymysql.err.MySQLError) as error:
                    answers.append(error)

        readers = [Caller(read) for _ in range(8)]
        meanwhile()
        for reader in readers:
            reader.result()
        return answers


@pytest.fixture(name="watched")
def _watched() -> Iterator[Watched]:
    with TemporaryServer(tcp=True, options=["--max-connections=40"]) as server:
        watched = Watched(server)
        with watched.db:
            yield watched
        assert threading.active_count() < 10


def test_killing_any_session_at_any_moment_costs_no_read(watched: Watched) -> None:
    """An administrator, a proxy or a firewall may end a session at any time; reads are retried."""

    def kill() -> None:
        for _ in range(40):
            watched.look()
            for number in watched.sessions():
                with contextlib.suppress(pymysql.err.OperationalError):  # it is gone, or was our own
                    watched.db.execute_query("kill %s", number, idempotent=True)

    assert watched.read_on(kill) == [True] * READS
    assert watched.most_by_pool <= SIZE
    assert watched.most_by_server <= SIZE


@pytest.mark.parametrize("end", ["shut down", "killed"])
def test_reads_ride_through_a_restart(watched: Watched, end: str) -> None:
    """A server that comes back within the deadline costs waiting, not errors; the pool is as large as before."""

    def restart() -> None:
        watched.look()
        (watched.server.stop if end == "shut down" else watched.server.kill)()
        watched.server.start()
        watched.look()

    assert watched.read_on(restart) == [True] * READS
    watched.look()
    assert watched.most_by_server <= SIZE
    assert watched.db.stats().size <= SIZE


def test_frozen_server_holds_no_borrower_past_the_deadline() -> None:
    """SIGSTOP is a server that neither answers nor hangs up; each read ends in time, and later ones succeed."""
    with TemporaryServer(tcp=True) as server:
        watched = Watched(server)
        with ImprovedDb(server.url, max_size=SIZE, deadline=1.0, connect_timeout=1) as db:
            assert db.execute_query("select 1") == ((1,),)
            server.pause()
            answers = [Caller(lambda: db.execute_query("select 1")) for _ in range(8)]
            for answer in answers:
                with pytest.raises((ImprovedDbError, pymysql.err.MySQLError)):
                    answer.result()
            assert db.stats().size <= SIZE
            server.resume()
            eventually(lambda: db.execute_query("select 1") == ((1,),))
            assert db.stats().used == 0
        watched.db.close()


def test_sessions_that_the_server_ended_for_idleness_are_never_met() -> None:
    """wait_timeout is the commonest way to lose a session; the next borrower must not be the one that finds out."""
    with (
        TemporaryServer(options=["--wait-timeout=1"]) as server,
        ImprovedDb(server.url, max_size=2, keepalive=1000.0) as db,
    ):
        first = db.execute_query("select connection_id()", return_one=True)
        with pymysql.connect(**server.connect_options, ssl_disabled=True) as other, other.cursor() as cursor:
            cursor.execute("set wait_timeout = 100")
            eventually(lambda: cursor.execute("select 1 from information_schema.processlist where id = %s", first) == 0)
        assert db.execute_query("select connection_id()", return_one=True) != first
        assert db.stats().retries == {}


def test_kept_sessions_are_kept_alive_past_the_servers_limit() -> None:
    """min_size means that they are there when they are needed: the housekeeper pings before the server's time is up."""
    with (
        TemporaryServer(options=["--wait-timeout=2"]) as server,
        ImprovedDb(server.url, min_size=1, max_size=2) as db,
    ):
        db.wait()
        first = db.execute_query("select connection_id()", return_one=True)
        with pymysql.connect(**server.connect_options, ssl_disabled=True) as other, other.cursor() as cursor:
            cursor.execute("do sleep(1.5)")  # the server's own clock; nothing here is synchronised by it
            cursor.execute("do sleep(1.5)")
        assert db.execute_query("select connection_id()", return_one=True) == first


def test_full_server_is_waited_for() -> None:
    """Error 1040 at connecting is no error of the query: a place becomes free, and the cause is told if none does."""
    with TemporaryServer(tcp=True, options=["--max-connections=10"]) as server:
        options: dict[str, Any] = {**server.connect_options, "ssl_disabled": True}
        with ImprovedDb(server.url, max_size=2) as first, ImprovedDb(server.url, max_size=2, deadline=0.5) as db:
            first.execute_query("create user guest")
            assert db.execute_query("select 1") == ((1,),)
            db.drain()
            guests = [pymysql.connect(**{**options, "user": "guest", "database": None}) for _ in range(9)]
            with pytest.raises((pymysql.err.OperationalError, ImprovedDbError)):
                Caller(
                    lambda: ImprovedDb(server.url, user="guest", database="", deadline=0.5).execute_query("do 0")
                ).result()
            for guest in guests:
                guest.close()
            eventually(lambda: db.execute_query("select 1") == ((1,),))


def test_rotated_password_is_asked_for_at_each_connect(watched: Watched) -> None:
    """Tokens live for minutes; the pool lives on."""
    passwords = ["first"]
    watched.db.execute_query("create user rotating identified by 'first'")
    options = {
        **watched.server.connect_options,
        "user": "rotating",
        "password": lambda: passwords[-1],
        "database": None,
    }
    with ImprovedDb(options, max_size=1) as db:
        assert db.execute_query("select 1") == ((1,),)
        watched.db.execute_query("alter user rotating identified by 'second'")
        passwords.append("second")
        db.drain()
        assert db.execute_query("select current_user()") == (("rotating@%",),)


def test_with_block_opens_on_use_and_closes_at_its_end(watched: Watched) -> None:
    """Nothing connects before the first use, and nothing is left after the block: no session, no thread."""
    watched.db.execute_query("create user guest")
    query = "select count(*) from information_schema.processlist where user = 'guest'"
    with ImprovedDb(watched.server.url, user="guest", database="", max_size=2) as db:
        assert db.stats().size == 0
        db.execute_query("do 0")
        assert watched.db.execute_query(query) == ((1,),)
    assert (db.closed, db.stats().size, db.stats().cold) == (True, 0, 2)
    eventually(lambda: watched.db.execute_query(query) == ((0,),))
