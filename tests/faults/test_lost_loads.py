"""A bulk load that is cut: all of it or nothing, or else exactly how far it came."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from pymysql.constants import FIELD_TYPE
from pymysql.converters import conversions
from pymysql.err import IntegrityError, MySQLError, OperationalError

from improved_db import ImprovedDb, OutcomeUnknown, RetryPolicy
from tests.fakes import Caller, eventually
from tests.faults.faults import CUT_BEFORE, CUT_WITHIN, SWALLOW_ANSWER_FIN, SWALLOW_ANSWER_RST, inject_err
from tests.faults.harness import Rig, Rival, resent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.faults.proxy import Fault, Session

INSERT = "insert into t (id, n) values (%s, %s)"
NUMBER = 10_000
LOSSES = [CUT_BEFORE, CUT_WITHIN, SWALLOW_ANSWER_RST, SWALLOW_ANSWER_FIN]
DEADLOCK = inject_err(1213, "Deadlock found", "40001")
LOCK_WAIT = inject_err(1205, "Lock wait timeout exceeded")
GOODBYE = inject_err(4031, "idle for too long", sequence=0)


def rows(first: int = 1) -> Iterator[tuple[int, int]]:
    """Yield what is loaded; a generator can be read only once."""
    return ((number, -number) for number in range(first, NUMBER + 1))


def in_chunk(number: int, fault: Fault) -> Fault:
    """Let *fault* happen to one chunk, counted from 1, and to the others nothing."""
    seen = 0

    def chosen(session: Session, packet: bytes) -> None:
        nonlocal seen
        seen += 1
        if seen == number:
            fault(session, packet)
        else:
            session.forward(packet)

    return chosen


def loaded(rig: Rig) -> list[int]:
    """Return the rows that are there."""
    return [row[0] for row in rig.ask("select id from t order by id")]


# --- atomic ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", [*LOSSES, DEADLOCK, LOCK_WAIT, GOODBYE])
@pytest.mark.parametrize("chunk", [1, 3])
def test_a_load_is_retried_as_a_whole_from_a_generator_too(chunk: int, fault: Fault, rig: Rig, db: ImprovedDb) -> None:
    """Half of it twice, or the half that the generator had already given missing, would be the naive ways."""
    rig.proxy.on_query(b"^insert", in_chunk(chunk, fault), times=None)
    done = db.exec_many(INSERT, rows())
    assert done.rowcount == NUMBER
    assert (loaded(rig), resent(db)) == (list(range(1, NUMBER + 1)), 1)


@pytest.mark.parametrize("fault", LOSSES)
def test_a_load_whose_commit_has_no_answer_is_unknown_and_all_or_nothing(
    fault: Fault, rig: Rig, db: ImprovedDb
) -> None:
    """As with any other transaction."""
    rig.proxy.on_query(b"^commit", fault)
    with pytest.raises(OutcomeUnknown):
        db.exec_many(INSERT, rows())
    rig.proxy.wait_until(lambda: rig.proxy.sessions == 0)
    assert (rig.count(), resent(db)) == (NUMBER if fault in {SWALLOW_ANSWER_RST, SWALLOW_ANSWER_FIN} else 0, 0)


def test_a_load_that_never_gets_through_leaves_nothing(rig: Rig) -> None:
    """Every attempt begins anew, and the last one is rolled back like the others."""
    db = rig.db(retry=RetryPolicy(attempts=3))
    rig.proxy.on_query(b"\\(7000,", DEADLOCK, times=None)
    with pytest.raises(OperationalError):
        db.exec_many(INSERT, rows())
    assert (rig.count(), resent(db), db.stats().discarded) == (0, 2, {})


# --- not atomic ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", [DEADLOCK, LOCK_WAIT, GOODBYE])
@pytest.mark.parametrize("chunk", [1, 3])
def test_chunks_go_on_where_they_were_stopped(chunk: int, fault: Fault, rig: Rig, db: ImprovedDb) -> None:
    """Those that are in are in; the one that provably is not is sent again."""
    rig.proxy.on_query(b"^insert", in_chunk(chunk, fault), times=None)
    done = db.exec_many(INSERT, rows(), atomic=False)
    assert done.rowcount == NUMBER
    assert (loaded(rig), resent(db)) == (list(range(1, NUMBER + 1)), 1)


@pytest.mark.parametrize("autocommit", [True, False])
@pytest.mark.parametrize("fault", LOSSES)
def test_a_chunk_without_an_answer_says_which_rows_are_in_and_which_are_in_doubt(
    fault: Fault, autocommit: bool, rig: Rig
) -> None:
    """From there the caller can look, and go on."""
    db = rig.db(autocommit=autocommit)
    rig.proxy.on_query(b"^insert" if autocommit else b"^commit", in_chunk(3, fault), times=None)
    with pytest.raises(OutcomeUnknown) as caught:
        db.exec_many(INSERT, rows(), atomic=False)
    rig.proxy.wait_until(lambda: rig.proxy.sessions == 0)
    acked, doubt = caught.value.acked_rows, caught.value.unknown_rows
    assert acked is not None
    assert doubt is not None
    assert (0 < acked < NUMBER, doubt.start, len(doubt) > 0) == (True, acked, True)
    there = loaded(rig)
    assert there in (list(range(1, acked + 1)), list(range(1, doubt.stop + 1)))
    rig.proxy.clear()
    db.exec_many(INSERT, rows(len(there) + 1), atomic=False)
    assert loaded(rig) == list(range(1, NUMBER + 1))


def test_a_chunk_that_is_refused_leaves_no_doubt(rig: Rig, db: ImprovedDb) -> None:
    """The server has undone it, so going on from the rows that are in gives exactly all of them."""
    rig.ask("insert into t (id) values (7000)")
    with pytest.raises(IntegrityError) as caught:
        db.exec_many(INSERT, rows(), atomic=False)
    acked = caught.value.acked_rows  # type: ignore[attr-defined]  # noted on the driver's error
    assert caught.value.unknown_rows == range(acked, acked)  # type: ignore[attr-defined]  # as above
    assert loaded(rig) == [*range(1, acked + 1), 7000]
    rig.ask("delete from t where id = 7000")
    db.exec_many(INSERT, rows(acked + 1), atomic=False)
    assert loaded(rig) == list(range(1, NUMBER + 1))


def test_a_load_that_finds_no_server_again_still_says_how_far_it_was(rig: Rig) -> None:
    """The last error is about a connection; what the caller needs to know is about the rows."""
    db = rig.db(retry=RetryPolicy(within=0.3), acquire_timeout=0.5)

    def leave(session: Session, packet: bytes) -> None:
        rig.proxy.target = ("127.0.0.1", 1)
        GOODBYE(session, packet)

    rig.proxy.on_query(b"^insert", in_chunk(3, leave), times=None)
    with pytest.raises(MySQLError) as caught:
        db.exec_many(INSERT, rows(), atomic=False)
    assert not isinstance(caught.value, OutcomeUnknown)
    acked = caught.value.acked_rows  # type: ignore[attr-defined]  # noted on whatever ends it
    assert caught.value.unknown_rows == range(acked, acked)  # type: ignore[attr-defined]  # as above
    assert loaded(rig) == list(range(1, acked + 1))
    assert 0 < acked < NUMBER


@pytest.mark.parametrize("engine", ["MyISAM", pytest.param("Aria", marks=pytest.mark.needs("Aria")), "InnoDB"])
def test_a_load_killed_in_the_middle_is_never_retried(engine: str, rig: Rig) -> None:
    """An administrator wanted it to end; and tables without transactions keep the rows that were in by then."""
    db = rig.db(direct=True)
    rig.table("slow (id int)", engine=engine)
    rig.ask("create trigger crawl before insert on slow for each row set @slept = if(new.id > 600, sleep(60), 0)")
    load = Caller(
        lambda: db.exec_many("insert into slow (id) values (%s)", ([n] for n in range(1, 2001)), atomic=False)
    )
    asleep = "select id from information_schema.processlist where state = 'User sleep' and db = database()"
    eventually(lambda: rig.ask(asleep))
    rig.ask("kill query %s", rig.ask(asleep)[0])
    with pytest.raises(OperationalError) as caught:
        load.result()
    acked = caught.value.acked_rows  # type: ignore[attr-defined]  # noted on the driver's error
    doubt = caught.value.unknown_rows  # type: ignore[attr-defined]  # as above
    assert (caught.value.args[0], acked, resent(db)) == (1317, 500, 0)
    there = rig.count("slow")
    assert there == 500 if engine == "InnoDB" else 500 < there < 2000
    if engine != "MyISAM":  # of which the server does not say that it keeps what was written
        assert (len(doubt) > 0) is (engine == "Aria")


@pytest.mark.parametrize("engine", [pytest.param("Aria", marks=pytest.mark.needs("Aria")), "InnoDB"])
def test_a_lock_wait_is_gone_on_from_only_where_it_left_nothing(engine: str, rig: Rig) -> None:
    """A chunk that fills two tables, one of them without transactions, may be in by half."""
    db = rig.db(direct=True, init_command="set innodb_lock_wait_timeout = 0", retry=RetryPolicy(attempts=3))
    rig.table("log (id int)", engine=engine)
    rig.ask("create trigger note before insert on t for each row insert into log values (new.id)")
    with Rival(rig) as rival:
        rival.run("insert into t (id) values (700)")
        with pytest.raises(OperationalError) as caught:
            db.exec_many(INSERT, rows(), atomic=False)
    assert isinstance(caught.value, OutcomeUnknown) is (engine == "Aria")
    assert caught.value.acked_rows == 500  # type: ignore[attr-defined]  # noted on whatever ends it
    assert (rig.count(), resent(db)) == (500, 0 if engine == "Aria" else 2)
    assert rig.count("log") == 500 if engine == "InnoDB" else 500 < rig.count("log") < 1200


def broken(value: str) -> str:
    raise RuntimeError(value)


@pytest.mark.parametrize("decoder", [str, broken])
def test_what_was_kept_is_seen_whatever_the_callers_decoders_make_of_numbers(
    decoder: Callable[[str], str], rig: Rig
) -> None:
    """The warning that a table keeps its rows comes as a number; taken for nothing, the rows would be sent twice."""
    conv = {**conversions, FIELD_TYPE.LONG: decoder}
    db = rig.db(direct=True, init_command="set innodb_lock_wait_timeout = 0", retry=RetryPolicy(attempts=3), conv=conv)
    rig.table("log (id int)", engine="Aria")
    rig.ask("create trigger note before insert on t for each row insert into log values (new.id)")
    with Rival(rig) as rival:
        rival.run("insert into t (id) values (700)")
        with pytest.raises(OutcomeUnknown):
            db.exec_many(INSERT, rows(), atomic=False)
    assert resent(db) == 0
