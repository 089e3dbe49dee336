"""From a failure to what is known: the phase has the last word, and no exception is too strange."""

from __future__ import annotations

import struct

import pymysql.err
import pytest
from hypothesis import given
from hypothesis import strategies as st

from improved_db.failures.decide import Action, Unit, decide
from improved_db.failures.error_table import ROWS
from improved_db.failures.verdict import (
    Backoff,
    Failure,
    Fate,
    Flavour,
    Judgement,
    Phase,
    Verdict,
    flavour_of,
    judge,
    judge_exception,
)

AFTER_SEND = [Phase.AWAIT, Phase.STREAM, Phase.COMMIT]
HY000 = "HY000"


def server_error(code: int, message: str = "", *, sqlstate: str = HY000, phase: Phase = Phase.AWAIT) -> Failure:
    """An error packet in answer to an autocommitting statement of a plain MySQL server."""
    return Failure(phase=phase, code=code, sqlstate=sqlstate, message=message)


@pytest.mark.parametrize("code", [2006, 2013, 2055, 2014, 0, None])
@pytest.mark.parametrize(
    ("phase", "verdict"),
    [
        (Phase.CONNECT, Verdict.NOT_CONNECTED),
        (Phase.CHECKOUT, Verdict.NOT_SENT),
        (Phase.SEND, Verdict.NOT_SENT),
        (Phase.AWAIT, Verdict.UNKNOWN),
        (Phase.STREAM, Verdict.UNKNOWN),
        (Phase.COMMIT, Verdict.UNKNOWN),
    ],
)
def test_a_lost_connection_means_what_its_phase_means(code: int | None, phase: Phase, verdict: Verdict) -> None:
    """One and the same 2013 is harmless before the send and a possible double booking after it."""
    judgement = judge(Failure(phase=phase, code=code))
    assert judgement.verdict is verdict
    assert judgement.fate.value >= Fate.DISCARD.value


@pytest.mark.parametrize("phase", AFTER_SEND)
@pytest.mark.parametrize("code", [2006, 2013])
def test_a_connection_loss_told_by_a_proxy_is_unknown(code: int, phase: Phase) -> None:
    """ProxySQL sends 2013 when its backend dies: the session to the proxy lives, the statement may have run."""
    judgement = judge(server_error(code, phase=phase))
    assert judgement.verdict is Verdict.UNKNOWN
    assert judgement.fate.value >= Fate.DISCARD.value


@pytest.mark.parametrize(
    ("autocommit", "verdict"),
    [(False, Verdict.TRANSACTION_ROLLED_BACK), (True, Verdict.STATEMENT_ROLLED_BACK)],
)
def test_a_first_statement_without_autocommit_is_part_of_a_transaction(autocommit: bool, verdict: Verdict) -> None:
    """The server begins one with it: nothing says so before the statement is answered."""
    timeout = Failure(phase=Phase.AWAIT, code=1205, sqlstate="HY000", autocommit=autocommit, rollback_on_timeout=True)
    assert judge(timeout).verdict is verdict


@pytest.mark.parametrize("code", [1927, 1053, 3169, 4031])
@pytest.mark.parametrize("phase", [Phase.AWAIT, Phase.COMMIT])
@pytest.mark.parametrize("flavour", Flavour)
def test_a_goodbye_with_sequence_number_zero_means_not_executed(code: int, phase: Phase, flavour: Flavour) -> None:
    """The answer to an executed command begins at 1: a goodbye that was on its way already is no answer to ours."""
    judgement = judge(Failure(phase=phase, code=code, sqlstate="08S01", unsolicited=True, flavour=flavour))
    assert judgement.verdict is Verdict.NOT_SENT
    assert judgement.fate.value >= Fate.DISCARD.value


def test_an_unsolicited_error_of_another_kind_proves_nothing() -> None:
    """Only goodbyes are known to be sent unasked; anything else out of turn is a protocol out of step."""
    judgement = judge(Failure(phase=Phase.AWAIT, code=1062, sqlstate="23000", unsolicited=True))
    assert judgement == Judgement(Verdict.UNKNOWN, Fate.DISCARD, Backoff.CONNECTION, "error out of turn")


def test_a_goodbye_in_the_middle_of_a_stream_is_not_not_sent() -> None:
    """Rows have come, so the statement has run, whatever the sequence number says."""
    judgement = judge(Failure(phase=Phase.STREAM, code=1053, sqlstate="08S01", unsolicited=True))
    assert judgement.verdict is Verdict.UNKNOWN


@pytest.mark.parametrize("code", [1927, 1053, 3169, 4031, 1158, 1159, 1160, 1161, 1080, 1152, 1184, 3032, 3168])
@pytest.mark.parametrize("phase", [Phase.AWAIT, Phase.COMMIT])
def test_a_goodbye_in_answer_to_a_write_is_unknown(code: int, phase: Phase) -> None:
    """With sequence number 1 the command was read, and may have been executed."""
    judgement = judge(server_error(code, phase=phase))
    assert judgement.verdict is Verdict.UNKNOWN
    assert judgement.fate.value >= Fate.DISCARD.value


@pytest.mark.parametrize("code", [1040, 1203, 1129, 1135, 1042, 1043, 1053, 1152, 3032, 2002, 2003, 2013, 2026])
def test_nobody_home_is_not_connected(code: int) -> None:
    """If a session could not begin, the server has nothing of it: every unit may be retried."""
    judgement = judge(Failure(phase=Phase.CONNECT, code=code))
    assert judgement.verdict is Verdict.NOT_CONNECTED
    assert judgement.fate.value >= Fate.DISCARD.value


@pytest.mark.parametrize("code", [1045, 1044, 1049, 1130, 1251, 1698, 2059, 2061, 3118, 3159, 1193])
def test_being_turned_away_at_the_door_is_permanent(code: int) -> None:
    """Trying a wrong password for thirty seconds locks accounts and helps no caller."""
    judgement = judge(Failure(phase=Phase.CONNECT, code=code))
    assert judgement.verdict is Verdict.PERMANENT
    assert judgement.fate is Fate.DISCARD


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (2003, "Can't connect to MySQL server on 'db' ([SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed)"),
        (2026, "SSL is required but the server doesn't support it"),
    ],
)
def test_a_tls_that_cannot_be_is_permanent(code: int, message: str) -> None:
    """A certificate does not become valid by asking again; a refused TCP connection may."""
    assert judge(Failure(phase=Phase.CONNECT, code=code, message=message)).verdict is Verdict.PERMANENT


def test_an_error_before_the_whole_command_left_is_not_sent_but_for_permanent_ones() -> None:
    """A server may answer 1153 while we still write: too large today is too large tomorrow."""
    assert judge(server_error(1053, phase=Phase.SEND)).verdict is Verdict.NOT_SENT
    assert judge(server_error(1153, phase=Phase.SEND)) == Judgement(
        Verdict.PERMANENT, Fate.DISCARD, Backoff.OTHER, "larger than max_allowed_packet"
    )


def test_a_number_that_pymysql_made_negative_is_read_as_the_server_meant_it() -> None:
    """PyMySQL unpacks the error number as a signed short."""
    negative = Failure(phase=Phase.AWAIT, code=40001 - 0x10000, sqlstate="40001")
    assert judge(negative).verdict is Verdict.TRANSACTION_ROLLED_BACK
    disguised = pymysql.err.OperationalError(1213 - 0x10000, "", sqlstate=HY000)
    assert judge_exception(disguised, phase=Phase.AWAIT).reason == "deadlock"


@pytest.mark.parametrize(
    ("phase", "verdict"),
    [(Phase.CONNECT, Verdict.NOT_CONNECTED), (Phase.AWAIT, Verdict.UNKNOWN), (Phase.COMMIT, Verdict.UNKNOWN)],
)
def test_packets_out_of_step_are_judged_by_their_phase(phase: Phase, verdict: Verdict) -> None:
    """PyMySQL puts a text where the number should be; int(args[0]) would crash on the one error that matters."""
    error = pymysql.err.InternalError("Packet sequence number wrong - got 2 expected 1")
    judgement = judge_exception(error, phase=phase)
    assert (judgement.verdict, judgement.fate) == (verdict, Fate.DISCARD)


def test_an_exception_carries_its_sqlstate_text_and_sequence_number_along() -> None:
    """Whether the server said it, what it said and whether it was asked: each changes the verdict."""
    asked = pymysql.err.OperationalError(1053, "Server shutdown in progress", sqlstate="08S01")
    unasked = pymysql.err.OperationalError(1053, "Server shutdown in progress", sqlstate="08S01")
    vars(unasked)["unsolicited"] = True
    read_only = pymysql.err.OperationalError(1290, "running with the --read-only option", sqlstate=HY000)
    verdicts = [judge_exception(error, phase=Phase.AWAIT).verdict for error in (asked, unasked, read_only)]
    assert verdicts == [Verdict.UNKNOWN, Verdict.NOT_SENT, Verdict.REFUSED]


def test_a_closed_connection_has_sent_nothing() -> None:
    """InterfaceError(0, '') is how PyMySQL says that there is no socket to write to."""
    judgement = judge_exception(pymysql.err.InterfaceError(0, ""), phase=Phase.CHECKOUT)
    assert (judgement.verdict, judgement.fate) == (Verdict.NOT_SENT, Fate.DISCARD)


def test_a_misused_driver_is_the_callers_mistake_and_harms_no_connection() -> None:
    """A closed cursor would be closed at the second attempt too."""
    judgement = judge_exception(pymysql.err.ProgrammingError("Cursor closed"), phase=Phase.CHECKOUT)
    assert judgement == Judgement(Verdict.PERMANENT, Fate.KEEP, Backoff.OTHER, "not a server error")


@pytest.mark.parametrize("phase", [Phase.SEND, Phase.AWAIT, Phase.STREAM, Phase.COMMIT])
@pytest.mark.parametrize(
    "error", [ValueError("bad date"), UnicodeDecodeError("utf-8", b"\xff", 0, 1, ""), MemoryError()]
)
def test_a_foreign_exception_is_raised_as_it_is_and_costs_the_connection(error: Exception, phase: Phase) -> None:
    """A converter that fails in the middle of a result leaves the rest of it for the next borrower to read."""
    judgement = judge_exception(error, phase=phase)
    assert (judgement.verdict, judgement.fate) == (Verdict.PERMANENT, Fate.DISCARD)


@pytest.mark.parametrize("phase", Phase)
@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(1), GeneratorExit()])
def test_an_interruption_is_never_run_again(error: BaseException, phase: Phase) -> None:
    """Ctrl-C between a send and its answer would hand the answer to the next borrower."""
    judgement = judge_exception(error, phase=phase)
    assert judgement == Judgement(Verdict.PERMANENT, Fate.DISCARD, Backoff.OTHER, "interrupted")


BARE_ERRORS = [ConnectionResetError(104, "reset"), TimeoutError("timed out"), EOFError()]


@pytest.mark.parametrize("error", BARE_ERRORS)
def test_a_bare_socket_error_while_connecting_is_a_lost_connection(error: Exception) -> None:
    """An errno is no MySQL error number, even where it looks like one."""
    assert judge_exception(error, phase=Phase.CONNECT).verdict is Verdict.NOT_CONNECTED


@pytest.mark.parametrize("error", BARE_ERRORS)
@pytest.mark.parametrize("phase", [Phase.SEND, Phase.AWAIT, Phase.COMMIT, Phase.STREAM])
def test_a_bare_error_once_connected_says_nothing_about_the_connection(error: Exception, phase: Phase) -> None:
    """The wire makes a driver's error of what the socket raises; the caller's full disk is no lost answer."""
    assert judge_exception(error, phase=phase).verdict is Verdict.PERMANENT


@pytest.mark.parametrize("error", [struct.error("unpack"), IndexError(), ValueError("int"), AssertionError()])
def test_a_garbled_greeting_is_not_connected(error: Exception) -> None:
    """Behind a proxy that is starting up anything may come first; nothing has been asked of it yet."""
    assert judge_exception(error, phase=Phase.CONNECT).verdict is Verdict.NOT_CONNECTED


def test_a_missing_python_package_is_permanent_while_connecting() -> None:
    """'cryptography' does not install itself while we wait."""
    error = RuntimeError("'cryptography' package is required")
    assert judge_exception(error, phase=Phase.CONNECT).verdict is Verdict.PERMANENT


@pytest.mark.parametrize(
    ("version", "flavour"),
    [
        ("8.0.35", Flavour.MYSQL),
        ("8.4.0-commercial", Flavour.MYSQL),
        ("5.5.62-0ubuntu0.14.04.1", Flavour.MYSQL),
        ("8.0.35-27", Flavour.MYSQL),
        ("5.5.5-10.11.6-MariaDB-0+deb12u1", Flavour.MARIADB),
        ("11.8.2-MariaDB", Flavour.MARIADB),
        ("10.0.17-MariaDB-wsrep", Flavour.GALERA),
        ("8.0.11-TiDB-v7.5.0", Flavour.TIDB),
        ("8.0.30-Vitess", Flavour.VITESS),
        ("8.0.23-PlanetScale", Flavour.VITESS),
        ("8.0.11 (ProxySQL)", Flavour.PROXYSQL),
        ("8.0.mysql_aurora.3.04.0", Flavour.AURORA),
        ("", Flavour.MYSQL),
    ],
)
def test_the_version_in_the_handshake_names_the_server(version: str, flavour: Flavour) -> None:
    """The same number means different things on different servers."""
    assert flavour_of(version) is flavour


failures = st.builds(
    Failure,
    phase=st.sampled_from(Phase),
    code=st.none() | st.integers() | st.sampled_from([row.code for row in ROWS]),
    sqlstate=st.none() | st.text(max_size=6) | st.sampled_from(["40001", "08S01", "HY000", "XA102", "40003"]),
    message=st.text() | st.sampled_from([text for row in ROWS for text in row.texts]),
    unsolicited=st.booleans(),
    flavour=st.sampled_from(Flavour),
    in_transaction=st.booleans(),
    autocommit=st.booleans(),
    read_only_session=st.booleans(),
    rollback_on_timeout=st.booleans(),
)


@given(failures)
def test_every_failure_gets_a_verdict_its_phase_allows(failure: Failure) -> None:
    """The executor judges in an except clause: it must never get a second exception, nor a verdict beyond proof."""
    judgement = judge(failure)
    if failure.phase is Phase.CONNECT:
        assert judgement.verdict in {Verdict.NOT_CONNECTED, Verdict.PERMANENT}
    elif failure.phase in {Phase.CHECKOUT, Phase.SEND}:
        assert judgement.verdict in {Verdict.NOT_SENT, Verdict.PERMANENT}
    else:
        assert judgement.verdict is not Verdict.NOT_CONNECTED
    if judgement.verdict in {Verdict.NOT_CONNECTED, Verdict.NOT_SENT}:
        assert judgement.fate.value >= Fate.DISCARD.value
    if failure.in_transaction or not failure.autocommit:
        assert judgement.fate is not Fate.KEEP


@given(
    st.none() | st.just(0) | st.integers(2000, 2999),
    st.text(),
    st.sampled_from(Flavour),
    st.sampled_from([Phase.AWAIT, Phase.COMMIT]),
)
def test_a_write_without_an_answer_is_always_unknown(
    code: int | None, message: str, flavour: Flavour, phase: Phase
) -> None:
    """The promise of this package: a write that may have happened is never silently sent again."""
    failure = Failure(phase=phase, code=code, message=message, flavour=flavour, in_transaction=phase is Phase.COMMIT)
    verdict = judge(failure).verdict
    unit = Unit.TRANSACTION if phase is Phase.COMMIT else Unit.WRITE
    assert verdict is Verdict.UNKNOWN
    assert decide(verdict, unit, at_commit=phase is Phase.COMMIT).now is Action.RAISE_UNKNOWN


@given(
    st.sampled_from([Exception, ValueError, OSError, KeyboardInterrupt, *vars(pymysql.err).values()]).filter(
        lambda kind: isinstance(kind, type) and issubclass(kind, BaseException)
    ),
    st.lists(st.none() | st.integers() | st.text() | st.binary() | st.booleans(), max_size=3),
    st.sampled_from(Phase),
)
def test_judging_an_exception_never_raises(kind: type[BaseException], args: list[object], phase: Phase) -> None:
    """Drivers put anything into their arguments."""
    judgement = judge_exception(kind(*args), phase=phase)
    assert phase not in {Phase.CHECKOUT, Phase.SEND} or judgement.verdict in {Verdict.NOT_SENT, Verdict.PERMANENT}
