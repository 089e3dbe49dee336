"""Several servers whose roles are said: which one answers, and that no read writes."""

from __future__ import annotations

import threading
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from pymysql.err import OperationalError

from improved_db import Host, ImprovedDb, PoolTimeout, ServerRefused
from tests.fakes import Caller, eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.cluster.conftest import Trio

WHO = "select name from who"


@pytest.fixture
def db(trio: Trio) -> Iterator[ImprovedDb]:
    """Server a is the primary, b and c are replicas."""
    with ImprovedDb(trio.hosts(), name="shop", max_size=4, acquire_timeout=20) as made:
        yield made


def spread(read: Callable[[], str], times: int) -> Counter[str]:
    return Counter(read() for _ in range(times))


def test_every_read_goes_to_the_primary_unless_a_replica_is_asked_for(db: ImprovedDb) -> None:
    """A program that gets a second address reads nothing stale."""
    assert spread(lambda: db.fetch_value(WHO), 20) == {"a": 20}
    assert db.execute_query(WHO) == (("a",),)
    with db.transaction(read_only=True) as tx:
        assert tx.execute_query(WHO) == (("a",),)
    with db.stream(WHO) as rows:
        assert list(rows) == [("a",)]
    with db.connection() as connection, connection.cursor() as cursor:
        cursor.execute(WHO)
        assert cursor.fetchone() == ("a",)
    assert {host: stats.acquired > 0 for host, stats in db.stats().by_host.items()} == {
        host.host: host.role == "primary" for host in db.hosts()
    }


def test_a_connection_for_other_libraries_is_one_to_the_primary(db: ImprovedDb) -> None:
    """They write through it, and close it themselves."""
    connection = db.dbapi_connection()
    with connection.cursor() as cursor:
        cursor.execute(WHO)
        assert cursor.fetchone() == ("a",)
    assert db.stats().used == 1
    connection.close()
    assert db.stats().used == 0
    assert db.fetch_value("select @@autocommit") == 1


def test_reads_one_after_the_other_are_spread_evenly(db: ImprovedDb) -> None:
    """Where no two reads are under way at once, too."""
    counts = spread(lambda: db.reader.fetch_value(WHO), 400)
    assert counts["a"] == 0
    assert abs(counts["b"] - 200) <= 10


def test_reads_of_a_crowd_are_spread_evenly(trio: Trio) -> None:
    """Sixteen threads, two replicas, within five in a hundred; other work may slow one server down: three tries."""
    counts: Counter[str] = Counter()
    for _ in range(3):
        counts = spread_of_a_crowd(trio)
        assert counts["b"] + counts["c"] == 3200
        if abs(counts["b"] - 1600) <= 80:
            return
    raise AssertionError(f"uneven three times: {counts}")


def spread_of_a_crowd(trio: Trio) -> Counter[str]:
    """Return how many of 3,200 reads of sixteen threads each replica has answered."""
    with ImprovedDb(trio.hosts(), max_size=16) as db:
        seen: list[str] = []
        together = threading.Barrier(16)

        def work() -> None:
            with db.reader.transaction():  # so that connections are there
                together.wait()
            db.reader.fetch_value(WHO)
            together.wait()
            seen.extend(db.reader.fetch_value(WHO) for _ in range(200))

        threads = [Caller(work, dies=True) for _ in range(16)]
        for thread in threads:
            thread.result()
    return Counter(seen)


def test_weight_and_zone_direct_reads(trio: Trio) -> None:
    """A larger machine gets more; the replica next door is preferred to the one far away."""
    with ImprovedDb(trio.hosts(c=3.0)) as db:
        assert 70 <= spread(lambda: db.reader.fetch_value(WHO), 100)["c"] <= 80
    hosts: list[str | Host] = [
        trio.url("a"),
        Host(trio.url("b"), role="replica", zone="x"),
        Host(trio.url("c"), role="replica", zone="y"),
    ]
    with ImprovedDb(hosts, zone="y") as db:
        assert spread(lambda: db.reader.fetch_value(WHO), 20) == {"c": 20}


def test_each_reading_verb_of_the_reader_asks_a_replica(db: ImprovedDb) -> None:
    """Rows, dicts, streams, pipelines, many statements, transactions."""
    reader = db.reader
    answers = [
        reader.execute_query(WHO)[0][0],
        reader.execute_query(WHO, dictcursor=True)[0]["name"],
        (reader.execute_query(WHO, return_one=True) or ("nobody",))[0],
        db.execute_query(WHO, read_only=True)[0][0],
        reader.run_transaction(lambda tx: tx.fetch_value(WHO)),
        next(iter(reader.execute_each("select name from who where name <> %s", ["z"])))[0][0],
    ]
    with reader.stream(WHO) as rows:
        answers += [name for (name,) in rows]
    with reader.pipeline() as pipe:
        handle = pipe.execute_query(WHO)
    answers.append(handle.result()[0][0])
    with reader.transaction() as tx:
        pair = [tx.fetch_value(WHO), tx.fetch_value(WHO)]
    assert pair[0] == pair[1]
    assert set(answers) == {"b", "c"}
    for verb in ("exec_many", "load_rows", "connection"):
        with pytest.raises(AttributeError, match=f"a reader only reads: {verb} is a verb of ImprovedDb itself"):
            getattr(reader, verb)


@pytest.mark.parametrize("fallen", [False, True])
def test_server_refuses_a_hidden_write_of_a_reader(trio: Trio, fallen: bool) -> None:
    """A stored function, a plain INSERT, in every verb; also for a user whom read_only does not stop, and also where
    the primary answers because no replica can.
    """
    with ImprovedDb(trio.hosts(), max_size=4, acquire_timeout=20) as db:
        if fallen:
            for name in ("b", "c"):
                trio.servers[name].kill()
        reader: Any = db.reader
        for statement in ("select hidden(1)", "insert into written values (2)", "create table more (id int)"):
            tries: list[Callable[[str], Any]] = [
                reader.execute_query,
                lambda query: db.execute_query(query, read_only=True),
                lambda query: reader.run_transaction(lambda tx: tx.execute_query(query)),
                lambda query: list(reader.execute_each(query + " -- %s", [1])),
            ]
            for attempt in tries:
                with pytest.raises(OperationalError) as caught:
                    attempt(statement)
                assert caught.value.args[0] == 1792
        with pytest.raises(OperationalError) as caught, reader.stream("select hidden(3)") as rows:
            list(rows)
        assert caught.value.args[0] == 1792
        assert reader.fetch_value(WHO) in ({"a"} if fallen else {"b", "c"})
    for name in ("b", "c") if fallen else ():
        trio.servers[name].restart()
    assert trio.written() == {"a": 0, "b": 0, "c": 0}


def test_session_that_a_reader_changed_is_read_only_again(trio: Trio) -> None:
    """A reset makes a session new; what made it READ ONLY is part of that."""
    with ImprovedDb(trio.hosts(), max_size=1) as db:
        for _ in range(4):
            db.reader.execute_query("set @a = 1")
        for _ in range(4):
            with pytest.raises(OperationalError, match="1792"):
                db.reader.execute_query("insert into written values (1)")
    assert trio.written() == {"a": 0, "b": 0, "c": 0}


def test_dead_replica_is_no_error_of_a_read(db: ImprovedDb, trio: Trio) -> None:
    """The other replica answers; then, when that one is gone too, the primary; and the replicas when they are back."""
    for _ in range(10):
        db.reader.fetch_value(WHO)
    trio.servers["b"].kill()
    assert set(spread(lambda: db.reader.fetch_value(WHO), 30)) == {"c"}
    trio.servers["c"].kill()
    assert set(spread(lambda: db.reader.fetch_value(WHO), 10)) == {"a"}
    assert [host.ejected_for > 0 for host in db.hosts()] == [False, True, True]
    for name in ("b", "c"):
        trio.servers[name].restart()
    eventually(lambda: {db.reader.fetch_value(WHO) for _ in range(20)} == {"b", "c"})
    assert set(spread(lambda: db.fetch_value(WHO), 10)) == {"a"}


def test_reads_that_need_a_replica_say_which_servers_there_are(trio: Trio) -> None:
    """read_preference="replica": the primary is spared, whatever happens."""
    with ImprovedDb(trio.hosts(), read_preference="replica", retry=None) as db:
        for name in ("b", "c"):
            trio.servers[name].kill()
        with pytest.raises(OperationalError, match="2002"):
            db.reader.fetch_value(WHO)
        assert db.fetch_value("select name from who for update") == "a"
    with ImprovedDb(trio.url("a"), topology="static", read_preference="replica") as db:
        with pytest.raises(ServerRefused, match=r"no replica may answer: .* is said to be the primary; .*: primary"):
            db.reader.fetch_value(WHO)
        with pytest.raises(PoolTimeout, match=r"no server was a replica in 0\.1 s"):
            db.wait(0.1, role="replica")


def test_preference_sends_plain_reads_to_replicas_and_everything_else_to_the_primary(trio: Trio) -> None:
    """What describes one server, locks, or is not known to only read, stays on the primary."""
    with ImprovedDb(trio.hosts(), read_preference="replica_preferred") as db:
        assert set(spread(lambda: db.fetch_value(WHO), 20)) == {"b", "c"}
        with db.stream(WHO) as rows:
            assert set(rows) < {("b",), ("c",)}
        assert db.fetch_value("select name from who for update") == "a"
        assert db.fetch_value("select hidden(1)") == 1
        with db.transaction() as tx:
            assert tx.fetch_value(WHO) == "a"
        db.execute_query("insert into written values (2)")
    assert trio.written() == {"a": 2, "b": 0, "c": 0}
    with ImprovedDb(trio.hosts(), read_preference="primary_preferred") as db:
        assert set(spread(lambda: db.fetch_value(WHO), 10)) == {"a"}
    with ImprovedDb(trio.hosts(), read_preference="nearest") as db:
        assert set(spread(lambda: db.fetch_value(WHO), 30)) == {"a", "b", "c"}


def test_statement_is_ended_on_the_server_where_it_runs(trio: Trio) -> None:
    """KILL goes by number, and each server has one of that number: the sleep on the replica ends, no other."""
    running = "select count(*) from information_schema.processlist where info like 'select sleep(30)%%'"
    with ImprovedDb(trio.hosts(), max_size=2) as db, trio.direct("a") as other:
        sleeper = Caller(lambda: other.fetch_value("select sleep(1)"))
        with pytest.raises(OperationalError) as caught:
            db.reader.execute_query("call slow()", timeout=0.3)
        assert caught.value.args[0] in {1317, 1969}
        assert sleeper.result() == 0
    counts = []
    for name in ("b", "c"):
        with trio.direct(name) as one:
            counts.append(one.fetch_value(running))
    assert counts == [0, 0]


def test_owner_verbs_reach_every_pool(trio: Trio) -> None:
    """Suspend, resume, resize, drain, borrowed, close: what is true of one pool is true of all."""
    db = ImprovedDb(trio.hosts(), name="shop", max_size=2)
    db.wait(10)
    db.wait(10, role="replica")
    assert repr(db).startswith("<ImprovedDb shop primary=")
    assert " term=1 replicas=2/2, 2/" in repr(db)
    db.suspend()
    reads = [Caller(lambda: db.reader.fetch_value(WHO)), Caller(lambda: db.fetch_value(WHO))]
    eventually(lambda: db.stats().waiting == 2)
    db.resume()
    assert reads[1].result() == "a"
    assert reads[0].result() in {"b", "c"}
    assert db.stats().max_size == 6
    db.resize(3)
    held = db.pool_get_connection()
    assert [one.thread for one in db.borrowed()] == [threading.current_thread().name]
    db.drain()
    db.pool_put_connection(held)
    assert db.stats().retired["drained"] >= 2
    assert db.ping()
    assert db.close() == []
    assert (db.closed, db.stats().closed, db.stats().size) == (True, True, 0)
    assert repr(db) == "<ImprovedDb shop closed>"


def test_close_wakes_every_caller_that_waits(trio: Trio) -> None:
    """In whichever pool: close() does not wait for their deadlines."""
    db = ImprovedDb(trio.hosts(), max_size=1, acquire_timeout=60)
    held = db.pool_get_connection()
    with db.reader.transaction(), db.reader.transaction():
        callers = [Caller(lambda: db.fetch_value(WHO)), Caller(lambda: db.reader.fetch_value(WHO))]
        eventually(lambda: db.stats().waiting == 2)
        db.close(0.0)
        for caller in callers:
            with pytest.raises(OperationalError, match="closed"):
                caller.result()
    db.pool_put_connection(held)
    assert db.stats().size == 0


def test_one_address_has_a_reader_too(trio: Trio) -> None:
    """A program that runs on three servers runs on a developer's one; the pool is the one that was there."""
    with ImprovedDb(trio.url("a"), max_size=4) as db:
        assert db.fetch_value(WHO) == "a"
        assert db.reader.fetch_value(WHO) == db.execute_query(WHO, read_only=True)[0][0] == "a"
        with pytest.raises(OperationalError, match="1792"):
            db.reader.execute_query("select hidden(1)")
        assert db.execute_query("select hidden(2)") == ((2,),)
        assert (db.stats().max_size, db.stats().size) == (6, 2)
        assert [(host.role, host.served) for host in db.hosts()] == [("primary", 5)]
        db.wait(5, role="primary")
    assert db.stats().size == 0
    assert trio.written()["a"] == 1
