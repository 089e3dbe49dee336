"""What each error number says, row by row, and where we agree with what others have listed."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest

from improved_db.failures.error_table import ROWS, Row, Where
from improved_db.failures.verdict import Backoff, Failure, Fate, Flavour, Judgement, Phase, Verdict, judge

#: "No particular one"; that there is a SQLSTATE at all says that the server spoke.
HY000 = "HY000"
Judged = Callable[..., Judgement]


def in_body(code: int, message: str = "", *, flavour: Flavour = Flavour.MYSQL) -> Judgement:
    """Judge an error packet in answer to a statement in an open transaction."""
    return judge(
        Failure(phase=Phase.AWAIT, code=code, sqlstate=HY000, message=message, flavour=flavour, in_transaction=True)
    )


def at_commit(code: int, message: str = "", *, flavour: Flavour = Flavour.MYSQL) -> Judgement:
    """Judge an error packet in answer to COMMIT."""
    return judge(
        Failure(phase=Phase.COMMIT, code=code, sqlstate=HY000, message=message, flavour=flavour, in_transaction=True)
    )


def alone(code: int, message: str = "", *, flavour: Flavour = Flavour.MYSQL) -> Judgement:
    """Judge an error packet in answer to an autocommitting statement."""
    return judge(Failure(phase=Phase.AWAIT, code=code, sqlstate=HY000, message=message, flavour=flavour))


@pytest.mark.parametrize("code", [1213, 1206, 3101, 8002, 8005, 8022, 8028, 8147, 8229, 1614, 1613, 1402])
@pytest.mark.parametrize("judged", [alone, in_body, at_commit], ids=["alone", "in_body", "at_commit"])
def test_a_deadlock_undoes_the_whole_transaction(code: int, judged: Judged) -> None:
    """Galera and Group Replication report it at COMMIT too."""
    judgement = judged(code)
    assert judgement.verdict is Verdict.TRANSACTION_ROLLED_BACK
    assert judgement.fate.value >= Fate.ROLLBACK.value


def test_a_lock_wait_undoes_the_statement_only() -> None:
    """The earlier statements are still pending, with their locks: a COMMIT now would commit half of the unit."""
    assert in_body(1205) == Judgement(Verdict.STATEMENT_ROLLED_BACK, Fate.ROLLBACK, Backoff.CONTENTION, "lock wait")
    assert alone(1205).verdict is Verdict.STATEMENT_ROLLED_BACK


def test_a_lock_wait_undoes_everything_where_the_server_says_so() -> None:
    """innodb_rollback_on_timeout turns 1205 into a deadlock: what the caller sends next would autocommit."""
    failure = Failure(phase=Phase.AWAIT, code=1205, sqlstate=HY000, in_transaction=True, rollback_on_timeout=True)
    assert judge(failure).verdict is Verdict.TRANSACTION_ROLLED_BACK


def test_a_lock_wait_at_commit_leaves_nothing_after_the_rollback() -> None:
    """A global read lock can time out a COMMIT: it was not done, and the ROLLBACK makes sure of it."""
    judgement = at_commit(1205)
    assert judgement.verdict is Verdict.TRANSACTION_ROLLED_BACK
    assert judgement.fate is Fate.ROLLBACK


@pytest.mark.parametrize("code", [1317, 1969, 3024, 3572, 1028])
def test_a_statement_that_was_stopped_on_request_is_not_retried(code: int) -> None:
    """KILL QUERY, a time limit and NOWAIT are decisions; a retry would overrule them."""
    assert alone(code) == Judgement(Verdict.PERMANENT, Fate.KEEP, Backoff.OTHER, alone(code).reason)
    assert in_body(code).fate is Fate.ROLLBACK
    assert at_commit(code).verdict is Verdict.UNKNOWN


@pytest.mark.parametrize("code", [1637, 1412, 1689, 3058, 3132, 1037, 1041])
@pytest.mark.parametrize("judged", [alone, in_body], ids=["alone", "in_body"])
def test_a_statement_that_found_no_room_may_come_again(code: int, judged: Judged) -> None:
    """Only the statement was undone; the owner of the transaction rolls it back before a retry."""
    assert judged(code).verdict is Verdict.STATEMENT_ROLLED_BACK


@pytest.mark.parametrize("code", [8020, 9004])
def test_a_lock_wait_on_tidb_undoes_the_statement_only(code: int) -> None:
    """The numbers belong to TiDB; from another server they are not retried."""
    assert in_body(code, flavour=Flavour.TIDB).verdict is Verdict.STATEMENT_ROLLED_BACK
    assert in_body(code).verdict is Verdict.PERMANENT


@pytest.mark.parametrize("code", [1040, 1203])
def test_a_full_server_behind_a_proxy_may_have_run_an_earlier_attempt(code: int) -> None:
    """ProxySQL and Vitess retry by themselves and report the last attempt only."""
    assert alone(code).verdict is Verdict.REFUSED
    assert alone(code, flavour=Flavour.PROXYSQL).verdict is Verdict.UNKNOWN
    assert in_body(code, flavour=Flavour.VITESS).verdict is Verdict.REFUSED


@pytest.mark.parametrize("code", [1053, 1135, 3032, 3168])
def test_a_server_that_goes_away_has_refused_what_cannot_commit(code: int) -> None:
    """The transaction dies with the session, so its body may be run again elsewhere; a write of its own may not."""
    assert in_body(code).verdict is Verdict.REFUSED
    assert alone(code).verdict is Verdict.UNKNOWN


@pytest.mark.parametrize("code", [3989, 3796, 3797, 3798, 3799])
def test_a_member_that_is_not_ready_refuses(code: int) -> None:
    """Said before the statement is looked at: another member, or a later moment, will do."""
    assert alone(code).verdict is Verdict.REFUSED


@pytest.mark.parametrize("flavour", [Flavour.MARIADB, Flavour.GALERA])
def test_a_changed_row_is_a_deadlock_on_mariadb(flavour: Flavour) -> None:
    """Snapshot isolation, the default from 11.6.2, reports its conflicts as 1020 and rolls back everything."""
    assert in_body(1020, flavour=flavour).verdict is Verdict.TRANSACTION_ROLLED_BACK


def test_a_changed_row_elsewhere_is_not_run_again_and_its_session_goes() -> None:
    """If it is unknown whether the transaction is gone, nothing may autocommit in its place."""
    assert in_body(1020) == Judgement(Verdict.PERMANENT, Fate.DISCARD, Backoff.OTHER, "row changed since it was read")


@pytest.mark.parametrize(
    ("message", "verdict"),
    [
        ("Got error 149 - 'Lock deadlock; Retry transaction' during COMMIT", Verdict.TRANSACTION_ROLLED_BACK),
        ('Got error 149 "Lock deadlock; Retry transaction" during COMMIT', Verdict.TRANSACTION_ROLLED_BACK),
        ("wsrep: provider status: Not connected to Primary Component", Verdict.UNKNOWN),
        ('Got error 5 "Input/output error" during COMMIT', Verdict.UNKNOWN),
        ("Got error 28 - 'No space left on device' during COMMIT", Verdict.UNKNOWN),
    ],
)
@pytest.mark.parametrize("judged", [alone, at_commit], ids=["alone", "at_commit"])
def test_an_error_during_commit_is_unknown_but_for_a_deadlock(message: str, verdict: Verdict, judged: Judged) -> None:
    """A Galera node that loses its cluster says 1180 for a write that the others have applied."""
    assert judged(1180, message).verdict is verdict


def test_group_replication_tells_before_commit_from_after() -> None:
    """Only the hook that runs before COMMIT proves that nothing was committed; it refuses a large write each time."""
    undone = at_commit(3100, "Error on observer while running replication hook 'before_commit'.")
    unclear = at_commit(3100, "Error on observer while running replication hook 'after_commit'.")
    assert (undone.verdict, unclear.verdict) == (Verdict.PERMANENT, Verdict.UNKNOWN)


def test_a_member_that_lost_its_group_refuses_what_another_member_takes() -> None:
    """A frozen primary that wakes up says 3100 to each write: nothing is applied, and the new primary can run it."""
    failure = Failure(
        Phase.COMMIT,
        3100,
        "HY000",
        "Error on observer while running replication hook 'before_commit'.",
        several_servers=True,
    )
    judgement = judge(failure)
    assert (judgement.verdict, judgement.fate) == (Verdict.REFUSED, Fate.RETIRE_ALL)
    unclear = judge(failure._replace(message="Error on observer while running replication hook 'after_commit'."))
    assert unclear.verdict is Verdict.UNKNOWN


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (1290, "The MariaDB server is running with the --read-only option so it cannot execute this statement"),
        (1290, "The MySQL server is running with the --super-read-only option so it cannot execute this statement"),
        (1836, "Running in read-only mode"),
        (1792, "Cannot execute statement in a READ ONLY transaction."),
        (1874, "InnoDB is in read only mode."),
    ],
)
@pytest.mark.parametrize("judged", [alone, in_body, at_commit], ids=["alone", "in_body", "at_commit"])
def test_a_demoted_server_refuses_and_takes_every_old_connection_with_it(
    code: int, message: str, judged: Judged
) -> None:
    """After a failover every pooled connection is to the wrong server; one error is enough to know."""
    judgement = judged(code, message)
    assert (judgement.verdict, judgement.fate) == (Verdict.REFUSED, Fate.RETIRE_ALL)


@pytest.mark.parametrize("option", ["--secure-file-priv", "--skip-grant-tables", "--skip-networking"])
def test_another_option_that_prevents_a_statement_is_permanent(option: str) -> None:
    """The same 1290 also forbids LOAD DATA: no server will allow it, and the pool has done nothing wrong."""
    message = f"The MySQL server is running with the {option} option so it cannot execute this statement"
    assert alone(1290, message) == Judgement(
        Verdict.PERMANENT, Fate.KEEP, Backoff.OTHER, "forbidden by a server option"
    )


def test_our_own_read_only_session_refuses_for_good() -> None:
    """A write in a transaction we opened READ ONLY is the caller's mistake, not a failover."""
    failure = Failure(phase=Phase.AWAIT, code=1792, sqlstate="25006", read_only_session=True)
    assert judge(failure) == Judgement(Verdict.PERMANENT, Fate.KEEP, Backoff.OTHER, "we are read-only")


def test_a_read_only_replica_refuses_a_write_of_our_read_only_session_for_good() -> None:
    """A replica says that it is read-only before it looks at the session; no other server would run the write."""
    message = "The MariaDB server is running with the --read-only option so it cannot execute this statement"
    for code, text in {1290: message, 1836: "Running in read-only mode"}.items():
        failure = Failure(phase=Phase.AWAIT, code=code, message=text, read_only_session=True)
        assert judge(failure) == Judgement(Verdict.PERMANENT, Fate.KEEP, Backoff.OTHER, "we are read-only")
        assert alone(code, text).verdict is Verdict.REFUSED


def test_a_node_outside_its_cluster_refuses_and_an_unknown_command_does_not() -> None:
    """Galera speaks of its cluster under the number of a protocol error; only the text tells."""
    refused = at_commit(1047, "WSREP has not yet prepared node for application use")
    assert (refused.verdict, refused.fate) == (Verdict.REFUSED, Fate.RETIRE_ALL)
    assert alone(1047, "Unknown command").verdict is Verdict.PERMANENT


def test_4031_is_a_missing_trigger_on_mariadb() -> None:
    """MySQL says "idle for too long" under the number MariaDB uses for a mistake in CREATE TRIGGER."""
    assert alone(4031, flavour=Flavour.MARIADB) == Judgement(
        Verdict.PERMANENT, Fate.KEEP, Backoff.OTHER, "no such trigger"
    )
    assert alone(4031).fate is Fate.DISCARD


def test_1907_is_a_proxys_timeout_except_on_mariadb() -> None:
    """ProxySQL kills what takes too long, and how far it got is unknown; MariaDB means a generated column."""
    assert alone(1907, flavour=Flavour.PROXYSQL).verdict is Verdict.UNKNOWN
    assert alone(1907, flavour=Flavour.MARIADB).verdict is Verdict.PERMANENT


@pytest.mark.parametrize("code", [9001, 9002, 9003, 9005, 9012, 9013, 8027, 8120, 8252])
@pytest.mark.parametrize("flavour", [Flavour.TIDB, Flavour.PROXYSQL, Flavour.MYSQL])
def test_a_backend_timeout_is_unknown_where_it_could_have_committed(code: int, flavour: Flavour) -> None:
    """ProxySQL's 9001 may follow a first attempt that ran, TiKV's a write that is still on its way."""
    assert alone(code, flavour=flavour).verdict is Verdict.UNKNOWN
    assert at_commit(code, flavour=flavour).verdict is Verdict.UNKNOWN
    assert in_body(code, flavour=flavour).verdict is Verdict.REFUSED


def test_9007_is_a_write_conflict_on_tidb_only() -> None:
    """Elsewhere the number says something else, and something else is not run again."""
    assert alone(9007, flavour=Flavour.TIDB).verdict is Verdict.TRANSACTION_ROLLED_BACK
    assert alone(9007, flavour=Flavour.PROXYSQL).verdict is Verdict.PERMANENT


@pytest.mark.parametrize(
    ("message", "body", "deciding"),
    [
        ("vttablet: rpc error: code = Aborted desc = x", Verdict.TRANSACTION_ROLLED_BACK, Verdict.UNKNOWN),
        ("transaction 12: ended at 2026-01-01 (unlocked)", Verdict.TRANSACTION_ROLLED_BACK, Verdict.UNKNOWN),
        ("query was killed (exceeded timeout: 30s)", Verdict.TRANSACTION_ROLLED_BACK, Verdict.UNKNOWN),
        ("target: ks.0.primary: no healthy tablet available", Verdict.REFUSED, Verdict.UNKNOWN),
        ("primary is not serving, there is a reparent operation in progress", Verdict.REFUSED, Verdict.UNKNOWN),
        ("aborted due to Seamless Scaling. Please retry", *[Verdict.TRANSACTION_ROLLED_BACK] * 2),
        ("vttablet: rpc error: code = Unavailable desc = closing", Verdict.PERMANENT, Verdict.UNKNOWN),
        ("unsupported: cross-shard query", Verdict.PERMANENT, Verdict.PERMANENT),
    ],
)
def test_the_unknown_error_is_what_its_text_says(message: str, body: Verdict, deciding: Verdict) -> None:
    """Vitess packs a cluster's whole life into 1105; if the text is not known, be careful."""
    assert in_body(1105, message, flavour=Flavour.VITESS).verdict is body
    assert alone(1105, message, flavour=Flavour.VITESS).verdict is deciding


def test_vitess_cancels_under_the_number_of_kill_query() -> None:
    """A deadline of the tablet's in a write that autocommits is no proof that it was undone."""
    assert in_body(1317, flavour=Flavour.VITESS).verdict is Verdict.TRANSACTION_ROLLED_BACK
    assert alone(1317, flavour=Flavour.VITESS).verdict is Verdict.UNKNOWN
    assert alone(1317).verdict is Verdict.PERMANENT


@pytest.mark.parametrize("code", [1062, 1045, 1205, 1213])
def test_partial_dml_takes_the_transaction_with_it(code: int) -> None:
    """Vitess ends the transaction on what looks like a mere duplicate key: its session must not go on."""
    text = "transaction rolled back to reverse changes of partial DML execution: target: ks.-80: Duplicate entry"
    judgement = in_body(code, text, flavour=Flavour.VITESS)
    assert (judgement.verdict, judgement.fate) == (Verdict.PERMANENT, Fate.DISCARD)


def test_a_broken_vitess_transaction_is_unknown_at_commit() -> None:
    """A commit over several shards may have been done in part."""
    assert at_commit(1317, "VT15001: transaction error").verdict is Verdict.UNKNOWN
    assert in_body(1317, "VT15001: transaction error").verdict is Verdict.TRANSACTION_ROLLED_BACK


@pytest.mark.parametrize(
    ("sqlstate", "verdict", "fate"),
    [
        ("40001", Verdict.TRANSACTION_ROLLED_BACK, Fate.ROLLBACK),
        ("40000", Verdict.TRANSACTION_ROLLED_BACK, Fate.ROLLBACK),
        ("40003", Verdict.UNKNOWN, Fate.DISCARD),
        ("XA102", Verdict.TRANSACTION_ROLLED_BACK, Fate.DISCARD),
        ("08S01", Verdict.UNKNOWN, Fate.DISCARD),
        ("08004", Verdict.UNKNOWN, Fate.DISCARD),
        ("42000", Verdict.PERMANENT, Fate.KEEP),
        ("HY000", Verdict.PERMANENT, Fate.KEEP),
    ],
)
def test_an_unlisted_number_is_read_by_its_sqlstate(sqlstate: str, verdict: Verdict, fate: Fate) -> None:
    """Servers invent numbers faster than tables grow; classes 40 and 08 keep their meaning."""
    judgement = judge(Failure(phase=Phase.AWAIT, code=31999, sqlstate=sqlstate))
    assert (judgement.verdict, judgement.fate) == (verdict, fate)


def test_an_unlisted_error_at_commit_is_unknown() -> None:
    """Only a known answer proves that a COMMIT was not done."""
    assert at_commit(1026).verdict is Verdict.UNKNOWN
    assert at_commit(1062, flavour=Flavour.TIDB).verdict is Verdict.PERMANENT


def test_an_hourly_limit_on_writes_is_not_waited_for() -> None:
    """No deadline is an hour away."""
    text = "User 'u' has exceeded the '{}' resource (current value: 3)"
    assert alone(1226, text.format("max_updates_per_hour")).verdict is Verdict.PERMANENT
    assert alone(1226, text.format("max_questions")).verdict is Verdict.REFUSED


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.code}-{row.name}")
def test_every_row_of_the_table_can_be_reached(row: Row) -> None:
    """A row behind a more general one of the same number would be a promise that no code keeps."""
    situations = {
        Where.CONNECT: (Phase.CONNECT, False, False),
        Where.UNASKED: (Phase.AWAIT, False, True),
        Where.BODY: (Phase.AWAIT, True, False),
        Where.SINGLE: (Phase.AWAIT, False, False),
        Where.COMMIT: (Phase.COMMIT, True, False),
    }
    # While connecting every verdict but PERMANENT is NOT_CONNECTED, so a row is better told by its other places.
    places = row.where & ~Where.CONNECT or row.where
    connecting = places is Where.CONNECT and row.verdict is not Verdict.PERMANENT
    expected = (Verdict.NOT_CONNECTED if connecting else row.verdict, row.backoff, row.reason)
    seen = set()
    for where, (phase, in_transaction, unsolicited) in situations.items():
        for flavour, flag, text in itertools.product(Flavour, [False, True], row.texts or [""]):
            failure = Failure(
                phase=phase,
                code=row.code,
                sqlstate=HY000,
                message=f"...{text.upper()}...",
                unsolicited=unsolicited,
                flavour=flavour,
                in_transaction=in_transaction,
                read_only_session=flag,
                rollback_on_timeout=flag,
                several_servers=flag,
            )
            judgement = judge(failure)
            if where & places:
                seen.add((judgement.verdict, judgement.backoff, judgement.reason))
    assert expected in seen


@pytest.mark.parametrize("code", [1927, 2006, 2013, 2014, 2045, 2055, 4031, 1053, 1080, 1152, 1184, 3169])
def test_what_others_call_a_disconnect_never_goes_back_to_the_pool(code: int) -> None:
    """SQLAlchemy's is_disconnect, Rails' ConnectionFailed and HikariCP's evictions, as far as they are right."""
    for sqlstate in (None, HY000):
        judgement = judge(Failure(phase=Phase.AWAIT, code=code, sqlstate=sqlstate))
        assert judgement.verdict is Verdict.UNKNOWN
        assert judgement.fate.value >= Fate.DISCARD.value


@pytest.mark.parametrize("code", [2006, 2013, 2055, 2003, 2002, 1053, 1152, 1184, 3168])
def test_a_lost_server_makes_every_older_connection_suspect(code: int) -> None:
    """A restart kills all of them at once; finding that out one error at a time costs one error each."""
    assert alone(code).fate is Fate.SUSPECT_ALL


@pytest.mark.parametrize("code", [1040, 1042, 1205, 1213, 1614])
def test_what_others_call_transient_is_not_permanent(code: int) -> None:
    """MySqlConnector's IsTransient."""
    assert alone(code).verdict is not Verdict.PERMANENT


@pytest.mark.parametrize(
    "code",
    [
        1022,
        1048,
        1054,
        1062,
        1064,
        1146,
        1364,
        1406,
        1264,
        1265,
        1366,
        1451,
        1452,
        1216,
        1217,
        1305,
        1142,
        1143,
        1227,
        1046,
        1148,
        1149,
        3819,
        4025,
        8001,
        8004,
        8025,
        8175,
        9006,
        1038,
        65000,
    ],
)
def test_a_mistake_in_the_statement_is_permanent_and_keeps_the_connection(code: int) -> None:
    """A duplicate key is no reason to reconnect, and no reason to retry."""
    assert alone(code) == Judgement(Verdict.PERMANENT, Fate.KEEP, Backoff.OTHER, "server error")
    assert in_body(code).fate is Fate.ROLLBACK


@pytest.mark.parametrize(
    ("code", "backoff"),
    [
        (1213, Backoff.CONTENTION),
        (1020, Backoff.CONTENTION),
        (1205, Backoff.CONTENTION),
        (1040, Backoff.OVERLOAD),
        (1203, Backoff.OVERLOAD),
        (1206, Backoff.OVERLOAD),
        (9003, Backoff.OVERLOAD),
        (2013, Backoff.CONNECTION),
        (1053, Backoff.CONNECTION),
        (1836, Backoff.CONNECTION),
        (1064, Backoff.OTHER),
    ],
)
def test_each_trouble_has_its_own_wait(code: int, backoff: Backoff) -> None:
    """A deadlock is over in milliseconds; a full server needs seconds, and fewer of us."""
    assert alone(code, flavour=Flavour.MARIADB).backoff is backoff
