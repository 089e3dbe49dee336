"""The doctor's rules about the server: settings that lose data, stall programs or let strangers in.

Knows settings of MySQL and MariaDB and what they mean. Does not know how findings are shown.
"""

from __future__ import annotations

import datetime as dt
import re
from typing import TYPE_CHECKING, Final

from improved_db.cli.findings import Found, Level, Rule
from improved_db.sql.server import Flavour

if TYPE_CHECKING:
    from collections.abc import Iterator

    from improved_db.cli.findings import Patient

_MIB: Final = 2**20
_HOUR: Final = 3600
_UTC: Final = frozenset({"UTC", "+00:00", "GMT", "ETC/UTC"})
#: The last month in which the makers mend a branch.
_ENDS: Final = {
    Flavour.MARIADB: {"10.3": "2023-05", "10.4": "2024-06", "10.5": "2025-06", "10.6": "2026-07", "10.11": "2028-02"},
    Flavour.MYSQL: {"5.6": "2021-02", "5.7": "2023-10", "8.0": "2026-04", "8.4": "2032-04"},
}
#: What to type for a finding of `check_durability`.
_DURABLE: Final = {
    "innodb_flush_log_at_trx_commit": "SET GLOBAL innodb_flush_log_at_trx_commit = 1",
    "sync_binlog": "SET GLOBAL sync_binlog = 1",
    "innodb_rollback_on_timeout": "innodb_rollback_on_timeout = OFF in the server's option file, and restart it",
    "innodb_doublewrite": "innodb_doublewrite = ON in the server's option file, and restart it",
    "autocommit": "SET GLOBAL autocommit = ON",
}


def strict_mode(patient: Patient) -> Iterator[Found]:
    """Values that do not fit are refused."""
    mode = patient.text("sql_mode")
    if "STRICT_TRANS_TABLES" not in mode and "STRICT_ALL_TABLES" not in mode:
        why = "a value that does not fit its column is cut or becomes zero, with no error"
        yield Found("sql_mode", mode, why, "SET GLOBAL sql_mode = CONCAT(@@GLOBAL.sql_mode, ',STRICT_TRANS_TABLES')")


def odd_quotes(patient: Patient) -> Iterator[Found]:
    """Modes that change where a text ends."""
    for name in ("NO_BACKSLASH_ESCAPES", "ANSI_QUOTES"):
        if name in patient.text("sql_mode").split(","):
            why = "statements with quotes or backslashes in them mean something else than under other servers"
            yield Found("sql_mode", name, why, f"SET GLOBAL sql_mode = REPLACE(@@GLOBAL.sql_mode, '{name}', '')")


def read_only(patient: Patient) -> Iterator[Found]:
    """Writes are refused."""
    if patient.is_on("read_only"):
        why = "this is a replica, or locked: every write is refused (error 1290)"
        yield Found("read_only", "ON", why, "connect to the primary, or SET GLOBAL read_only = OFF")


def crowded(patient: Patient) -> Iterator[Found]:
    """How near to its limit the server has been."""
    limit, most = patient.number("max_connections"), float(patient.status.get("max_used_connections", 0))
    if limit and most > 0.8 * limit:
        why = f"{most:g} connections were open at once since the server started; it refuses more than {limit:g}"
        yield Found("max_connections", f"{limit:g}", why, f"SET GLOBAL max_connections = {int(2 * most)}")


def ddl_wait(patient: Patient) -> Iterator[Found]:
    """How long ALTER TABLE waits for open transactions, and everything else for it."""
    wait = patient.number("lock_wait_timeout")
    if wait is not None and wait >= _HOUR:
        why = "ALTER TABLE waits so long for one forgotten transaction, and all other statements on that table with it"
        yield Found("lock_wait_timeout", f"{wait:g} s", why, "SET GLOBAL lock_wait_timeout = 60")


def packet(patient: Patient) -> Iterator[Found]:
    """The longest statement."""
    size = patient.number("max_allowed_packet")
    if size is not None and size < 16 * _MIB:
        why = "a longer statement or value is refused, and bulk loads need more round trips"
        yield Found("max_allowed_packet", f"{size:g}", why, f"SET GLOBAL max_allowed_packet = {64 * _MIB}")


def slow_readers(patient: Patient) -> Iterator[Found]:
    """How long the server waits for the reader of a stream."""
    wait = patient.number("net_write_timeout")
    if wait is not None and wait < 60:
        why = "a program that works longer than this between two rows of db.stream() loses its connection"
        yield Found("net_write_timeout", f"{wait:g} s", why, "SET GLOBAL net_write_timeout = 60")


def durability(patient: Patient) -> Iterator[Found]:
    """What `check_durability` says of acknowledged writes."""
    for finding in patient.durability:
        if finding.setting in _DURABLE:
            yield Found(finding.setting, finding.value, finding.meaning, _DURABLE[finding.setting])


def no_local(patient: Patient) -> Iterator[Found]:
    """Whether load_rows can use LOAD DATA."""
    if patient.is_off("local_infile"):
        yield Found("local_infile", "OFF", "load_rows() has to send INSERT instead", "SET GLOBAL local_infile = ON")


def galera(patient: Patient) -> Iterator[Found]:
    """A cluster that all nodes write to."""
    if patient.is_on("wsrep_on"):
        why = "a COMMIT may fail with a deadlock (error 1213), and its outcome is unknown if the quorum is lost"
        yield Found("wsrep_on", "ON", why, "write to one node at a time; db.run_transaction() retries what is safe")


def isolation(patient: Patient) -> Iterator[Found]:
    """Reads of what may never be committed."""
    level = patient.text("transaction_isolation") or patient.text("tx_isolation")
    if level == "READ-UNCOMMITTED":
        why = "a program sees rows that are rolled back later"
        yield Found("transaction_isolation", level, why, "SET GLOBAL TRANSACTION ISOLATION LEVEL READ COMMITTED")


def checks_off(patient: Patient) -> Iterator[Found]:
    """Constraints that new sessions do not check."""
    for name in ("foreign_key_checks", "unique_checks", "check_constraint_checks"):
        if patient.is_off(name):
            yield Found(name, "OFF", "rows that break a constraint are taken", f"SET GLOBAL {name} = ON")


def init_connect(patient: Patient) -> Iterator[Found]:
    """Statements that each new session runs, but not an administrator's."""
    text = patient.text("init_connect")
    if text:
        why = "each connection but an administrator's runs it: a program may behave otherwise for other accounts"
        yield Found("init_connect", f"{len(text)} characters", why, "SET GLOBAL init_connect = ''; use configure=")


def time_zone(patient: Patient) -> Iterator[Found]:
    """NOW() in a zone with summer time."""
    name = patient.text("time_zone")
    real = patient.text("system_time_zone") if name == "SYSTEM" else name
    if real.upper() not in _UTC:
        why = "NOW() and TIMESTAMP columns follow that zone; where clocks are set back, an hour occurs twice"
        yield Found("time_zone", f"{name} ({real})" if real != name else name, why, "SET GLOBAL time_zone = '+00:00'")


def zone_tables(patient: Patient) -> Iterator[Found]:
    """Names of time zones."""
    if patient.rows("select convert_tz('2020-01-01 00:00:00', 'UTC', 'Europe/Paris')")[0][0] is None:
        why = "CONVERT_TZ() with the name of a zone returns NULL"
        yield Found("mysql.time_zone", "empty", why, "mysql_tzinfo_to_sql /usr/share/zoneinfo | mysql -u root mysql")


def rights(patient: Patient) -> Iterator[Found]:
    """What a stolen password could do."""
    for (grant,) in patient.rows("show grants"):
        if re.match(r"GRANT (ALL PRIVILEGES|.*\bSUPER\b.*) ON \*\.\*", grant):
            why = "a program with this account can change everything on the server, and so can a thief of it"
            do = "CREATE USER app ...; GRANT SELECT, INSERT, UPDATE, DELETE ON shop.* TO app"
            yield Found("account", patient.account, why, do)
            return


def anonymous(patient: Patient) -> Iterator[Found]:
    """Accounts without a name."""
    for (host,) in patient.rows("select host from mysql.user where user = ''"):
        why = "every program that reaches the server may log in without a name"
        yield Found("account", f"''@'{host}'", why, f"DROP USER ''@'{host}'")


def binlog_format(patient: Patient) -> Iterator[Found]:
    """Replicas that run the statements again."""
    if patient.is_on("log_bin") and patient.text("binlog_format") == "STATEMENT":
        why = "statements with UUID(), LIMIT or triggers may give other rows on a replica"
        yield Found("binlog_format", "STATEMENT", why, "SET GLOBAL binlog_format = 'ROW'")


def small_cache(patient: Patient) -> Iterator[Found]:
    """InnoDB's cache."""
    size = patient.number("innodb_buffer_pool_size")
    if size is not None and size < 128 * _MIB:
        why = "data that do not fit are read from the disk each time"
        yield Found("innodb_buffer_pool_size", f"{size:g}", why, f"SET GLOBAL innodb_buffer_pool_size = {1024 * _MIB}")


def blind(patient: Patient) -> Iterator[Found]:
    """What nothing will be known about afterwards."""
    if patient.is_off("performance_schema"):
        why = "the server counts no statements; db.statements() still counts those of this program"
        yield Found("performance_schema", "OFF", why, "performance_schema = ON in its option file, and restart it")
    if patient.is_off("slow_query_log"):
        yield Found(
            "slow_query_log", "OFF", "slow statements of others are not logged", "SET GLOBAL slow_query_log = ON"
        )
    if patient.is_off("innodb_print_all_deadlocks"):
        why = "only the last deadlock is kept"
        yield Found("innodb_print_all_deadlocks", "OFF", why, "SET GLOBAL innodb_print_all_deadlocks = ON")


def no_limit(patient: Patient) -> Iterator[Found]:
    """A statement that never ends."""
    for name in ("max_statement_time", "max_execution_time"):
        if patient.number(name) == 0 and patient.settings.deadline is None:
            why = "a statement may run for ever, on the server and in the pool"
            yield Found(name, "0", why, "?deadline=60 in the URL, or timeout= in a call")


def name_resolve(patient: Patient) -> Iterator[Found]:
    """The server asks the name service for each connection."""
    if patient.is_off("skip_name_resolve"):
        why = "if the name service is slow, so is every new connection"
        yield Found("skip_name_resolve", "OFF", why, "skip_name_resolve = ON in its option file, and restart it")


def old(patient: Patient) -> Iterator[Found]:
    """A branch that its makers mend no more."""
    version = patient.text("version")
    branch = ".".join(re.findall(r"\d+", version.removeprefix("5.5.5-"))[:2])
    family = Flavour.MARIADB if "mariadb" in version.lower() else Flavour.MYSQL
    last = _ENDS[family].get(branch, "9999")
    if last < dt.datetime.now(dt.timezone.utc).strftime("%Y-%m"):
        why = f"its makers stopped mending it in {last}, security included"
        yield Found("version", version, why, "plan an upgrade")


RULES: Final = (
    Rule("strict-mode", Level.BAD, strict_mode),
    Rule("read-only", Level.BAD, read_only),
    Rule("anonymous", Level.BAD, anonymous),
    Rule("odd-quotes", Level.WARN, odd_quotes),
    Rule("crowded", Level.WARN, crowded),
    Rule("ddl-wait", Level.WARN, ddl_wait),
    Rule("packet", Level.WARN, packet),
    Rule("slow-readers", Level.WARN, slow_readers),
    Rule("durability", Level.WARN, durability),
    Rule("isolation", Level.WARN, isolation),
    Rule("checks-off", Level.WARN, checks_off),
    Rule("init-connect", Level.WARN, init_connect),
    Rule("time-zone", Level.WARN, time_zone),
    Rule("rights", Level.WARN, rights),
    Rule("binlog-format", Level.WARN, binlog_format),
    Rule("old", Level.WARN, old),
    Rule("zone-tables", Level.INFO, zone_tables),
    Rule("no-local", Level.INFO, no_local),
    Rule("galera", Level.INFO, galera),
    Rule("small-cache", Level.INFO, small_cache),
    Rule("blind", Level.INFO, blind),
    Rule("no-limit", Level.INFO, no_limit),
    Rule("name-resolve", Level.INFO, name_resolve),
)
