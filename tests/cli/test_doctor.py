"""``improved-db doctor``: each rule finds what is set up badly, and is silent when it is set right."""

from __future__ import annotations

import contextlib
import json
import resource
import shutil
import socket
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import pymysql
import pytest

from improved_db.cli.doctor import RULES
from improved_db.testing import TemporaryServer
from tests.canary import CANARY
from tests.cli.running import Shell, on_terminal
from tests.server.test_tls import make_certificate

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

GOOD: Final = (
    "--innodb-flush-log-at-trx-commit=1", "--innodb-buffer-pool-size=128M", "--sql-mode=STRICT_TRANS_TABLES",
    "--lock-wait-timeout=60", "--innodb-lock-wait-timeout=10", "--character-set-server=utf8mb4", "--slow-query-log=ON",
    "--slow-query-log-file=slow", "--innodb-print-all-deadlocks=ON", "--performance-schema=ON", "--local-infile=1",
    "--max-connections=100", "--max-user-connections=90", "--wait-timeout=28800", "--default-time-zone=+00:00",
)  # fmt: skip
BAD: Final = (
    "--innodb-rollback-on-timeout=ON", "--log-bin=binlog", "--binlog-format=STATEMENT", "--sync-binlog=0",
    "--skip-name-resolve=OFF",
    "--version=10.3.39-MariaDB-ProxySQL", "--innodb-buffer-pool-size=16M", "--performance-schema=OFF",
)  # fmt: skip


class Case(NamedTuple):
    """How one rule is made to find something.

    Attributes:
        rule: Its name.
        bad: Statements that set the server up badly.
        good: Statements that undo them.
        seen: A part of what is found.
        query: Options in the URL, instead of statements.
        more: Options of the command.
    """

    rule: str
    bad: str
    good: str
    seen: str
    query: str = ""
    more: tuple[str, ...] = ()


def setting(rule: str, name: str, bad: str, good: str, seen: str | None = None) -> Case:
    """Return the case of a rule that looks at a global setting."""
    return Case(rule, f"set global {name} = {bad}", f"set global {name} = {good}", seen or f"{name} is ")


CASES: Final = (
    setting("strict-mode", "sql_mode", "''", "'STRICT_TRANS_TABLES'"),
    setting("read-only", "read_only", "1", "0", "read_only is ON"),
    setting("odd-quotes", "sql_mode", "'STRICT_TRANS_TABLES,ANSI_QUOTES'", "'STRICT_TRANS_TABLES'", "ANSI_QUOTES"),
    setting("max-connections", "max_connections", "12", "100", "max_size is 10"),
    setting("user-connections", "max_user_connections", "5", "90", "max_size is 10"),
    setting("wait-timeout", "wait_timeout", "300", "28800", "idle_timeout is 600"),
    setting("lock-wait", "innodb_lock_wait_timeout", "50", "5", "innodb_lock_wait_timeout is 50"),
    setting("ddl-wait", "lock_wait_timeout", "86400", "60", "lock_wait_timeout is 86400 s"),
    setting("packet", "max_allowed_packet", "1048576", "67108864", "max_allowed_packet is 1.04858e+06"),
    setting("slow-readers", "net_write_timeout", "5", "60", "net_write_timeout is 5 s"),
    setting("durability", "innodb_flush_log_at_trx_commit", "2", "1", "innodb_flush_log_at_trx_commit is 2"),
    setting("isolation", "tx_isolation", "'READ-UNCOMMITTED'", "'REPEATABLE-READ'", "READ-UNCOMMITTED"),
    setting("checks-off", "foreign_key_checks", "0", "1", "foreign_key_checks is OFF"),
    setting("init-connect", "init_connect", "'set @a = 1'", "''", "init_connect is 10 characters"),
    setting("time-zone", "time_zone", "'+05:00'", "'+00:00'", "time_zone is +05:00"),
    setting("no-local", "local_infile", "0", "1", "local_infile is OFF"),
    setting("blind", "slow_query_log", "0", "1", "slow_query_log is OFF"),
    setting("no-limit", "max_statement_time", "0", "60", "max_statement_time is 0"),
    Case("anonymous", "create user ''@'%'", "drop user ''@'%'", "account is ''@'%'"),
    Case("schema-charset", "alter database test character set latin1", "alter database test character set utf8mb4",
         "database test is latin1"),
    Case("table-charset", "create table old (id int primary key) charset=latin1", "drop table old",
         "table old is latin1_swedish_ci"),
    Case("engines", "create table old (id int primary key) engine=MyISAM", "drop table old", "table old is MyISAM"),
    Case("primary-keys", "create table old (id int)", "drop table old", "table old is no primary key"),
    Case("full-counters", "create table old (id tinyint auto_increment primary key) auto_increment=120",
         "drop table old", "column old.id is tinyint"),
    Case("charset", "", "", "charset is latin1", query="charset=latin1"),
    Case("clock", "", "", "clock is ", query="init_command=set+timestamp=1000000000"),
    Case("fleet", "", "", "max_size is 10", more=("--processes", "9")),
    Case("zone-tables", "", "", "mysql.time_zone is empty"),
)  # fmt: skip
#: The rules that have a test of their own below.
ELSEWHERE: Final = {
    "tls", "tls-unverified", "option-file", "password-in-arguments", "empty-password", "rights", "files", "crowded",
    "proxy", "old", "binlog-format", "small-cache", "name-resolve",
}  # fmt: skip
#: A cluster is needed for this one.
UNTRIED: Final = {"galera"}


@pytest.fixture(scope="module", name="patient")
def _patient() -> Iterator[TemporaryServer]:
    """A server that is set up well."""
    with TemporaryServer(tcp=True, options=GOOD) as server:
        yield server


def ask(server: TemporaryServer, *statements: str) -> None:
    """Run statements as an administrator."""
    options: dict[str, Any] = {"unix_socket": server.socket, "user": "root", "database": "test", "ssl_disabled": True}
    with pymysql.connect(**options) as connection, connection.cursor() as cursor:
        for statement in filter(None, statements):
            cursor.execute(statement)


@pytest.fixture(name="doctor")
def _doctor(patient: TemporaryServer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Shell:
    monkeypatch.delenv("IMPROVED_DB_URL", raising=False)
    monkeypatch.setenv("HOME", "/nonexistent")
    return Shell(patient.url, capsys)


def findings(doctor: Shell, url: str, *more: str) -> dict[str, str]:
    """Return what the doctor says, by rule."""
    ran = doctor.bare("doctor", "-u", url, "--format", "jsonl", "--fail-on", "never", *more)
    assert ran.code == 0, ran.err
    lines: list[dict[str, Any]] = [json.loads(line) for line in ran.out.splitlines()]
    assert all(line["why"] and line["do"] and line["level"] == RULES[line["rule"]].level.name.lower() for line in lines)
    told: dict[str, str] = {}
    for line in lines:
        told[line["rule"]] = told.get(line["rule"], "") + f"{line['setting']} is {line['value']}\n"
    return told


@contextlib.contextmanager
def badly(server: TemporaryServer, case: Case) -> Iterator[None]:
    """Set the server up badly for a ``with`` block."""
    ask(server, case.bad)
    try:
        yield
    finally:
        ask(server, case.good)


@pytest.mark.needs("a limit for any statement")
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.rule)
def test_rule_finds_what_is_bad_and_only_that(case: Case, patient: TemporaryServer, doctor: Shell) -> None:
    """A rule that is never silent is not read."""
    only = ("--only", case.rule)
    if case.good.startswith("set"):
        ask(patient, case.good)
    if case.rule != "zone-tables":  # which are empty on every new server
        assert findings(doctor, patient.url, *only) == {}
    with badly(patient, case):
        url = f"{patient.url}?{case.query}" if case.query else patient.url
        assert case.seen in findings(doctor, url, *only, *case.more)[case.rule]


def test_every_rule_has_its_test() -> None:
    """A rule without one may be dead."""
    assert {case.rule for case in CASES} | ELSEWHERE | UNTRIED == RULES.keys()
    assert not {case.rule for case in CASES} & (ELSEWHERE | UNTRIED)


def test_an_account_that_may_everything_or_has_no_password(
    patient: TemporaryServer, doctor: Shell, tmp_path: Path
) -> None:
    """The account of a program should have neither; where its password stands matters, too."""
    ask(
        patient,
        f"create user app@'127.0.0.1' identified by '{CANARY}'",
        "grant select, insert on test.* to app@'127.0.0.1'",
    )
    try:
        only = [part for rule in ("rights", "empty-password", "password-in-arguments", "option-file")
                for part in ("--only", rule)]  # fmt: skip
        assert findings(doctor, patient.url, *only).keys() == {"rights", "empty-password"}
        as_app = patient.url.replace("root@", f"app:{CANARY}@")
        assert findings(doctor, as_app, *only).keys() == {"password-in-arguments"}
        file = tmp_path / "my.cnf"
        file.write_text(f"[client]\nuser=app\npassword={CANARY}\n")
        file.chmod(0o644)
        url = f"mysql://127.0.0.1:{patient.port}/test?read_default_file={file}"
        assert findings(doctor, url, *only) == {"option-file": f"{file} is mode 644\n"}
        file.chmod(0o600)
        assert findings(doctor, url, *only) == {}
        ran = doctor.bare("doctor", "-u", url, "--format", "json", "--fail-on", "never")
        assert CANARY not in ran.out + ran.err
        assert "could not look: 1142" in ran.out  # of the accounts without a name
    finally:
        ask(patient, "drop user app@'127.0.0.1'")


def test_a_process_that_may_not_open_enough_files(patient: TemporaryServer, doctor: Shell) -> None:
    """A connection is an open file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1000, hard))
    try:
        assert findings(doctor, patient.url, "--only", "files") == {}
        told = findings(doctor, f"{patient.url}?max_size=480", "--only", "files")
        assert told == {"files": "ulimit -n is 1000\n"}
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_server_that_was_nearly_full(patient: TemporaryServer, doctor: Shell) -> None:
    """Nine of ten connections were taken once."""
    assert findings(doctor, patient.url, "--only", "crowded") == {}
    with contextlib.ExitStack() as open_:
        for _ in range(9):
            open_.enter_context(pymysql.connect(unix_socket=patient.socket, user="root", ssl_disabled=True))
    with badly(patient, setting("crowded", "max_connections", "10", "100")):
        assert findings(doctor, patient.url, "--only", "crowded") == {"crowded": "max_connections is 10\n"}


@pytest.mark.needs("a limit for any statement")
def test_what_only_a_restart_can_change(doctor: Shell) -> None:
    """A server that says it is old and behind a proxy, with a binary log of statements."""
    with TemporaryServer(tcp=True, options=BAD) as server:
        told = findings(doctor, server.url)
    assert told["durability"].splitlines() == [
        "innodb_flush_log_at_trx_commit is 2", "sync_binlog is 0", "innodb_rollback_on_timeout is ON",
    ]  # fmt: skip
    assert told["old"] == told["proxy"] == "version is 10.3.39-MariaDB-ProxySQL\n"
    assert told["binlog-format"] == "binlog_format is STATEMENT\n"
    assert told["small-cache"] == "innodb_buffer_pool_size is 1.67772e+07\n"
    assert told["name-resolve"] == "skip_name_resolve is OFF\n"
    assert "performance_schema is OFF" in told["blind"]


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificate")
def test_a_server_on_another_machine_needs_tls_that_proves_something(doctor: Shell, tmp_path: Path) -> None:
    """On this machine alone nothing can be read on the way."""
    address = own_address()
    key, certificate = make_certificate(tmp_path, "server")
    options = ["--bind-address=0.0.0.0", f"--ssl-cert={certificate}", f"--ssl-key={key}", "--loose-skip-ssl=0"]
    only = ("--only", "tls", "--only", "tls-unverified")
    with TemporaryServer(tcp=True, options=options) as server:
        ask(server, f"create user app@'{address}' identified by 'x'")
        near, far = server.url, f"mysql://app:x@{address}:{server.port}/"
        assert findings(doctor, near, *only) == {}
        assert findings(doctor, f"{far}?ssl_mode=DISABLED", *only) == {"tls": "TLS is no\n"}
        assert findings(doctor, f"{far}?ssl_mode=REQUIRED", *only) == {"tls-unverified": "ssl_verify_cert is no\n"}
        assert findings(doctor, f"{far}?ssl_mode=VERIFY_CA&ssl_ca={certificate}", *only) == {}


def own_address() -> str:
    """Return an address of this machine that is not the loopback's."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing
        except OSError:
            pytest.skip("this machine has no address but the loopback's")
        return str(probe.getsockname()[0])


def test_report_for_people_and_exit_codes(patient: TemporaryServer, doctor: Shell) -> None:
    """Each finding says what to type; a script chooses from which level on it fails."""
    only = ("--only", "strict-mode")
    assert doctor("doctor", *only) == (0, "", "1 rules: 0 bad, 0 warn, 0 info\n")
    with badly(patient, next(case for case in CASES if case.rule == "strict-mode")):
        ran = doctor("doctor", *only)
        assert ran.code == 1
        assert ran.out.splitlines() == [
            "bad   strict-mode: sql_mode",
            "      a value that does not fit its column is cut or becomes zero, with no error",
            "      type: SET GLOBAL sql_mode = CONCAT(@@GLOBAL.sql_mode, ',STRICT_TRANS_TABLES')",
        ]
        assert doctor("doctor", *only, "--fail-on", "never").code == 0
        shown = on_terminal("doctor", "-u", doctor.url, *only).out
        assert shown.startswith("\x1b[31mbad  \x1b[0m \x1b[1mstrict-mode\x1b[0m: sql_mode\n")
    assert doctor("doctor", "--only", "zone-tables").code == 0
    assert doctor("doctor", "--only", "zone-tables", "--fail-on", "info").code == 1
    wrong = doctor("doctor", "--only", "strict-mod")
    assert (wrong.code, wrong.out) == (2, "")
    assert "there is no rule 'strict-mod', did you mean strict-mode?" in wrong.err
    listed = json.loads(doctor.bare("doctor", "--rules", "--format", "json").out)
    assert [row["rule"] for row in listed] == list(RULES)
    assert all(row["looks at"] for row in listed)
