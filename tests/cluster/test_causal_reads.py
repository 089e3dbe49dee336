"""Reads on replicas see what was written before, without a round trip more, on MariaDB's own replication."""

from __future__ import annotations

import select
import socket
import threading
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from pymysql.err import MySQLError

from improved_db import Host, ImprovedDb
from improved_db.observe import prometheus
from tests.fakes import Caller, eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.cluster.replicas import Replicas

NEWEST = "select max(id) from t"


class Turns:
    """A relay that counts how often the client speaks after the server has: the round trips of one server."""

    def __init__(self, url: str) -> None:
        self._target = ("127.0.0.1", urlsplit(url).port or 0)
        self._door = socket.create_server(("127.0.0.1", 0))
        self.url = url.replace(str(self._target[1]), str(self._door.getsockname()[1])) + "?ssl_disabled=1"
        self.count = 0
        threading.Thread(target=self._welcome, daemon=True).start()

    def _welcome(self) -> None:
        while True:
            try:
                client, _ = self._door.accept()
            except OSError:
                return
            threading.Thread(target=self._relay, args=(client,), daemon=True).start()

    def _relay(self, client: socket.socket) -> None:
        with client, socket.create_connection(self._target) as server:
            spoke = server
            while True:
                for side in select.select([client, server], [], [])[0]:
                    data = side.recv(65536)
                    if not data:
                        return
                    self.count += side is client and spoke is server
                    spoke = side
                    (server if side is client else client).sendall(data)

    def close(self) -> None:
        """Take no more clients."""
        self._door.close()


@pytest.fixture
def urls(replicas: Replicas) -> list[str]:
    """The servers, with an empty table t on each."""
    replicas.run(0, "create table test.t (id int primary key)")
    replicas.catch_up(1, 2, of=0)
    return [server.url for server in replicas.servers]


def listed(urls: list[str]) -> list[str | Host]:
    return [urls[0], *(Host(url, role="replica") for url in urls[1:])]


@pytest.fixture
def db(urls: list[str]) -> Iterator[ImprovedDb]:
    """The roles are said, so that nothing but statements goes over the wire."""
    with ImprovedDb(listed(urls), max_size=4, acquire_timeout=20, causal_timeout=0.5) as made:
        yield made


@pytest.fixture
def standing(replicas: Replicas) -> Iterator[Callable[[], None]]:
    """Stop the replicas where they are; they go on after the test."""

    def stop() -> None:
        for one in (1, 2):
            replicas.run(one, "stop slave sql_thread")

    yield stop
    for one in (1, 2):
        replicas.run(one, "start slave sql_thread")


def test_what_was_written_is_read_on_a_replica_at_once(urls: list[str]) -> None:
    """Without the wait most of these are stale; and a pair costs as many round trips without it."""
    turns = {}
    for causal in (True, False):
        relays = [Turns(url) for url in urls]
        with ImprovedDb(listed([relay.url for relay in relays]), causal_reads=causal) as db:
            db.execute_query("delete from t")
            for _ in range(4):
                db.reader.fetch_value(NEWEST)
            begun = sum(relay.count for relay in relays)
            stale = 0
            for number in range(200):
                db.execute_query("insert into t values (%s)", number)
                stale += db.reader.fetch_value(NEWEST) != number
            turns[causal] = sum(relay.count for relay in relays) - begun
            assert (stale == 0) or not causal
            served = [stats.acquired for stats in db.stats().by_host.values()]
        for relay in relays:
            relay.close()
        assert served[0] < 210
    assert turns == {True: 400, False: 400}


@pytest.mark.soak
def test_ten_thousand_writes_are_read_at_once(db: ImprovedDb) -> None:
    """By four threads, of which each reads what it has written itself."""

    def work(mine: int) -> int:
        stale = 0
        for number in range(mine, 10_000, 4):
            db.execute_query("insert into t values (%s)", number)
            stale += db.reader.fetch_value("select count(*) from t where id = %s", number) != 1
        return stale

    workers = [Caller(lambda mine=mine: work(mine)) for mine in range(4)]  # type: ignore[misc]
    assert sum(worker.result() for worker in workers) == 0


def test_each_way_to_write_and_to_read_keeps_the_promise(db: ImprovedDb) -> None:
    """Transactions, many rows, pipelines; streams, transactions and pipelines that read."""
    writes: list[Callable[[int], Any]] = [
        lambda number: db.exec_many("insert into t values (%s)", [[number]]),
        lambda number: db.exec_many("insert into t values (%s)", [[number]], atomic=False),
        lambda number: db.run_transaction(lambda tx: tx.execute_query("insert into t values (%s)", number)),
        lambda number: db.load_rows("t", [[number]]),
        lambda number: list(db.execute_each("insert into t values (%s)", [number])),
        lambda number: db.execute_query("insert into t values (%s)", number, exactly_once=True),
    ]

    def by_connection(number: int) -> None:
        with db.connection() as connection:
            connection.begin()
            connection.cursor().execute("insert into t values (%s)", (number,))
            connection.commit()

    def by_stream() -> Any:
        with db.reader.stream(NEWEST) as rows:
            return next(iter(rows))[0]

    def by_transaction() -> Any:
        with db.reader.transaction() as tx:
            return tx.fetch_value(NEWEST)

    def by_pipeline() -> Any:
        with db.reader.pipeline() as pipe:
            first, second = pipe.execute_query(NEWEST), pipe.execute_query(NEWEST)
        assert first.result() == second.result()
        return first.result()[0][0]

    reads: list[Callable[[], Any]] = [
        by_stream,
        by_transaction,
        by_pipeline,
        lambda: db.reader.run_transaction(lambda tx: tx.fetch_value(NEWEST)),
        lambda: db.reader.fetch_all(NEWEST, row_type=dict)[0]["max(id)"],
        lambda: db.execute_query(NEWEST, read_only=True)[0][0],
        lambda: next(iter(db.reader.execute_each(NEWEST + " where id <> %s", [-1])))[0][0],
        lambda: db.reader.fetch_value(NEWEST, timeout=5),
    ]
    number = 0
    for write in [*writes, by_connection]:
        for read in reads:
            number += 1
            write(number)
            assert read() == number
    served = [stats.acquired for stats in db.stats().by_host.values()]
    assert min(served[1:]) > 10, "replicas have answered"


def test_handle_without_autocommit_notes_its_commits(urls: list[str]) -> None:
    """The GTID comes with COMMIT, not with the statement."""
    with ImprovedDb(listed(urls), autocommit=False) as db:
        for number in range(20):
            db.execute_query("insert into t values (%s)", number)
            assert db.reader.fetch_value(NEWEST) == number


def test_replica_that_stands_still_is_waited_for_once(db: ImprovedDb, standing: Callable[[], None]) -> None:
    """Then the primary answers at once, in every way to read."""
    db.reader.fetch_value(NEWEST)
    standing()
    db.execute_query("insert into t values (1)")
    for _ in range(4):  # two replicas, one wait each
        assert db.reader.fetch_value(NEWEST) == 1
    before = db.stats().by_host
    with db.reader.transaction() as tx:
        assert tx.fetch_value(NEWEST) == 1
    with db.reader.stream(NEWEST) as rows:
        assert list(rows) == [(1,)]
    with db.reader.pipeline() as pipe:
        handle = pipe.execute_query(NEWEST)
    assert handle.result() == ((1,),)
    after = db.stats().by_host
    assert [after[host].acquired - before[host].acquired for host in after][1:] == [0, 0]
    assert sum(stats.discarded.get("the replica was behind", 0) for stats in after.values()) == 2


def test_statistics_tell_how_reads_were_answered(urls: list[str], standing: Callable[[], None]) -> None:
    """By a replica that had the write, by one that was waited for, or by the primary."""
    with ImprovedDb(listed(urls), causal_timeout=20) as db:
        db.execute_query("insert into t values (1)")
        assert [db.reader.fetch_value(NEWEST) for _ in range(8)] == [1] * 8
        assert (db.stats().causal_waited, db.stats().causal_free) == (2, 6), "each replica is waited for once"
        assert (db.stats().causal_fallback, db.stats().fallback_reads) == (0, 0)
    with ImprovedDb(listed(urls), causal_timeout=0.1) as db:
        standing()
        db.execute_query("insert into t values (2)")
        assert [db.reader.fetch_value(NEWEST) for _ in range(8)] == [2] * 8
        assert (db.stats().causal_waited, db.stats().causal_free) == (2, 0)
        assert (db.stats().causal_fallback, db.stats().fallback_reads) == (8, 8)
        text = prometheus.text()
    lines = [line for line in text.splitlines() if line.startswith("improved_db_cluster_causal_reads_total")]
    assert [line.rpartition(" ")[2] for line in lines] == ["8.0", "0.0", "2.0"], "fallback, free, waited"


@pytest.mark.parametrize("read", ["transaction", "stream", "pipeline", "retry=None"])
def test_wait_in_vain_is_no_error_of_any_verb(urls: list[str], standing: Callable[[], None], read: str) -> None:
    """The first read that waits in vain is answered by the primary, whatever the policy of retries."""
    options: dict[str, Any] = {"retry": None} if read == "retry=None" else {}
    with ImprovedDb(listed(urls), causal_timeout=0.1, **options) as db:
        standing()
        db.execute_query("insert into t values (1)")
        if read == "transaction":
            with db.reader.transaction() as tx:
                found = tuple(tx.fetch_all(NEWEST))
        elif read == "stream":
            with db.reader.stream(NEWEST) as rows:
                found = tuple(rows)
        elif read == "pipeline":
            with db.reader.pipeline() as pipe:
                handles = [pipe.execute_query(NEWEST) for _ in range(3)]
            assert handles[0].result() == handles[2].result()
            found = tuple(handles[1].result())
        else:
            found = tuple(db.reader.fetch_all(NEWEST))
        assert found == ((1,),)


def test_readers_that_wait_take_half_of_the_slots_at_most(urls: list[str], standing: Callable[[], None]) -> None:
    """Thirty-two threads read while the replicas stand still: none times out, and all see what was written."""
    with ImprovedDb(listed(urls), max_size=4, causal_timeout=2.0, acquire_timeout=20) as db:
        standing()
        db.execute_query("insert into t values (1)")
        readers = [Caller(lambda: db.reader.fetch_value(NEWEST)) for _ in range(32)]
        eventually(lambda: db.stats().waiting == 0)
        assert [reader.result() for reader in readers] == [1] * 32
        assert db.stats().timed_out == 0
        waited = sum(stats.discarded.get("the replica was behind", 0) for stats in db.stats().by_host.values())
        assert 1 <= waited <= 4, "two slots of each replica"


def test_what_a_replica_does_not_have_yet_is_read_on_the_primary(
    urls: list[str], replicas: Replicas, standing: Callable[[], None]
) -> None:
    """Scenario 37: a new column or table, on a replica that lags; what no server has is the error that it is."""
    with ImprovedDb(listed(urls), causal_reads=False) as db:
        standing()
        db.execute_query("insert into t values (1)")
        db.execute_query("alter table t add column name varchar(9) default 'new'")
        assert db.reader.fetch_value("select name from t") == "new"
        with db.reader.stream("select name from t") as rows:
            assert list(rows) == [("new",)]
        with db.reader.pipeline() as pipe:
            handle = pipe.execute_query("select name from t")
        assert handle.result() == (("new",),)
        assert db.stats().schema_lag == 3
        for statement in ("select nothing from t", "select * from nowhere"):
            with pytest.raises(MySQLError) as caught:
                db.reader.execute_query(statement)
            assert caught.value.args[0] in {1054, 1146}
        with db.reader.transaction() as tx, pytest.raises(MySQLError, match="1054"):
            tx.execute_query("select name from t")
    replicas.run(0, "alter table test.t drop column name")


def test_token_carries_to_another_program(urls: list[str], standing: Callable[[], None]) -> None:
    """A job reads what the request that queued it had written; what is no token is answered by the primary."""
    with ImprovedDb(listed(urls)) as one, ImprovedDb(listed(urls), causal_timeout=0.1) as other:
        assert one.causal_token() == b""
        one.execute_query("insert into t values (1)")
        token = one.causal_token()
        assert other.execute_query(NEWEST, after=token) == ((1,),)
        assert other.reader.execute_query(NEWEST, after=token, return_one=True) == (1,)
        with other.reader.transaction(after=token) as tx:
            assert tx.fetch_value(NEWEST) == 1
        standing()
        one.execute_query("insert into t values (2)")
        assert other.reader.fetch_value(NEWEST) == 1, "nothing was asked for"
        assert other.reader.execute_query(NEWEST, after=one.causal_token()) == ((2,),)
        served = [stats.acquired for stats in other.stats().by_host.values()]
        assert other.reader.execute_query(NEWEST, after=b"garbage") == ((2,),)
        assert other.stats().by_host[other.hosts()[0].host].acquired == served[0] + 1
    with ImprovedDb(urls[0]) as single:
        assert single.causal_token() == b""
        assert single.execute_query(NEWEST, after=token) == ((2,),)


def test_primary_is_never_asked_to_wait(urls: list[str], replicas: Replicas) -> None:
    """MASTER_GTID_WAIT on the primary waits for its whole time, and then says no."""
    with ImprovedDb(listed(urls), read_preference="primary_preferred") as db:
        replicas.run(0, "set global log_output='table'", "truncate mysql.general_log", "set global general_log=1")
        db.execute_query("insert into t values (1)")
        assert [db.fetch_value(NEWEST), db.reader.fetch_value(NEWEST)] == [1, 1]
        replicas.run(0, "set global general_log=0")
    seen = "select count(*) from mysql.general_log where argument like '%{}%'"
    assert replicas.run(0, seen.format("max(id)")) == ((2,),)
    assert replicas.run(0, seen.format("GTID\\_WAIT(")) == ((0,),)


@pytest.mark.parametrize("pipelining", ["auto", False])
def test_a_frozen_replica_is_waited_for_no_longer_than_one_that_lags(
    urls: list[str], replicas: Replicas, pipelining: Any
) -> None:
    """It does not look at the time that it was told; the program does."""
    with ImprovedDb(listed(urls), pipelining=pipelining, causal_timeout=0.1, deadline=20) as db:
        assert [db.reader.fetch_value("select 1") for _ in range(2)] == [1, 1]
        for one in (1, 2):
            replicas.servers[one].pause()
        db.execute_query("insert into t values (1)")
        assert [db.reader.fetch_value(NEWEST) for _ in range(3)] == [1, 1, 1]
        assert db.stats().fallback_reads == 3
        assert db.stats().used == 0
        for one in (1, 2):
            replicas.servers[one].resume()


def test_server_that_takes_one_command_at_a_time_is_asked_first(urls: list[str], standing: Callable[[], None]) -> None:
    """pipelining=False: one round trip more, and the same rows."""
    with ImprovedDb(listed(urls), pipelining=False, causal_timeout=0.1) as db:
        for number in range(5):
            db.execute_query("insert into t values (%s)", number)
            assert db.reader.fetch_value(NEWEST) == number
        standing()
        db.execute_query("insert into t values (5)")
        assert db.reader.fetch_value(NEWEST) == 5
