"""What each error number says about the statement that got it: one table, to be read beside the servers' manuals.

The first row that fits wins; within a number, special rows come before general ones. Numbers below 2000 and above 2999
are the server's, 2000 to 2999 the client library's (a proxy may send those too). The verdict in a row is for a
statement that was sent whole; `improved_db.failures.verdict` weighs earlier phases.

Sources: the error references of MySQL 8.4 and MariaDB, TiDB's ``errno`` package, the sources of Vitess and ProxySQL,
and the behaviour of MariaDB 10.11 and Galera under fault injection. Numbers that mean different things on different
servers (1020, 1047, 1105, 1317, 1907, 4031, 9007) get the more cautious meaning if the server is not known.

Knows error numbers, SQLSTATEs and message texts. Does not know what will be done about an error.
"""

from __future__ import annotations

import enum
from typing import Final, NamedTuple

from improved_db.sql.server import Flavour


class Verdict(enum.Enum):
    """What is known after a failure, in seven words."""

    NOT_CONNECTED = "not_connected"  #: there was no session yet
    NOT_SENT = "not_sent"  #: the whole command provably never ran; an open transaction is gone with its session
    REFUSED = "refused"  #: the server said "not here" or "not now"; nothing of the command was applied
    TRANSACTION_ROLLED_BACK = "transaction_rolled_back"  #: nothing of the transaction is left
    STATEMENT_ROLLED_BACK = "statement_rolled_back"  #: the transaction is still open, with its locks
    UNKNOWN = "unknown"  #: perhaps applied, perhaps not, perhaps later
    PERMANENT = "permanent"  #: a retry would fail in the same way


class Fate(enum.Enum):
    """What becomes of the connection; a higher number includes the lower ones."""

    KEEP = 0
    ROLLBACK = 1  #: the caller may go on with it; a ROLLBACK comes before the next borrower
    DISCARD = 2
    SUSPECT_ALL = 3  #: and every older connection is pinged before it is lent again
    RETIRE_ALL = 4  #: and no older connection is lent again: the server has changed its role


class Backoff(enum.Enum):
    """Which wait a retry uses."""

    CONTENTION = "contention"  #: locks of other sessions: milliseconds
    CONNECTION = "connection"  #: the network, a restart, a failover: up to seconds
    OVERLOAD = "overload"  #: the server has too much to do: from a second upwards
    OTHER = "other"


class Where(enum.Flag):
    """What the failed command could have made permanent."""

    CONNECT = enum.auto()  #: nothing: there was no session yet
    UNASKED = enum.auto()  #: an error packet with sequence number 0; answers to commands begin at 1
    BODY = enum.auto()  #: nothing yet: a transaction is open and this is not its COMMIT
    SINGLE = enum.auto()  #: itself: a statement that autocommits
    COMMIT = enum.auto()  #: the whole transaction
    DECIDING = SINGLE | COMMIT
    EARLY = CONNECT | BODY | SINGLE
    ANY = CONNECT | BODY | SINGLE | COMMIT


class Row(NamedTuple):
    """One line of the table.

    Attributes:
        code: The error number, unsigned.
        name: Its symbol in the manual of the server it comes from.
        verdict: What is true afterwards if the command was sent whole.
        fate: What becomes of the connection, at least.
        backoff: Which wait a retry uses.
        reason: A few words for logs and error texts.
        where: The situations the row speaks of.
        flavours: The servers the row speaks of; None is all of them.
        texts: The message must contain one of these, in upper or lower case; if there are none, any message fits.
        needs: The name of a `Failure` flag that must be set, or None.
    """

    code: int
    name: str
    verdict: Verdict
    fate: Fate
    backoff: Backoff
    reason: str
    where: Where = Where.ANY
    flavours: frozenset[Flavour] | None = None
    texts: tuple[str, ...] = ()
    needs: str | None = None


def refused_if_early(code: int, name: str, fate: Fate, backoff: Backoff, reason: str) -> tuple[Row, Row]:
    """Return the two rows of an error that says "not now", but may follow an attempt that was executed.

    If the command could have committed, its outcome is unknown; else nothing of it was applied.
    """
    return (
        Row(code, name, Verdict.UNKNOWN, fate, backoff, reason, Where.DECIDING),
        Row(code, name, Verdict.REFUSED, fate, backoff, reason),
    )


# Short names, so that a line of the table fits on a line.
REFUSED, UNKNOWN, PERMANENT = Verdict.REFUSED, Verdict.UNKNOWN, Verdict.PERMANENT
UNSENT, TX_UNDONE, UNDONE = Verdict.NOT_SENT, Verdict.TRANSACTION_ROLLED_BACK, Verdict.STATEMENT_ROLLED_BACK
KEEP, ROLLBACK, DISCARD, SUSPECT, RETIRE = Fate
LOCKS, NETWORK, LOAD, OTHER = Backoff
CONNECT, UNASKED, BODY, SINGLE, COMMIT = Where.CONNECT, Where.UNASKED, Where.BODY, Where.SINGLE, Where.COMMIT
EARLY, DECIDING = Where.EARLY, Where.DECIDING

_MARIADB: Final = frozenset({Flavour.MARIADB, Flavour.GALERA})
_TIDB: Final = frozenset({Flavour.TIDB})
_VITESS: Final = frozenset({Flavour.VITESS})
_PROXIES: Final = frozenset({Flavour.VITESS, Flavour.PROXYSQL})
#: In MariaDB 1907 means something else; ProxySQL often looks like MySQL.
_PERHAPS_PROXYSQL: Final = frozenset({Flavour.PROXYSQL, Flavour.MYSQL, Flavour.AURORA})

_ABORTED: Final = ("code = aborted", "(exceeded timeout", " ended at ")
_NO_TABLET: Final = (
    "no healthy tablet",
    "no healthy endpoints",
    "primary is not serving",
    "reparent operation in progress",
    "is being resharded",
    "disallowed due to rule",
    "transaction pool connection limit exceeded",
)
_READ_ONLY: Final = ("read-only", "read_only")
#: The reason where a session that we made READ ONLY was to write.
WE_ARE_READ_ONLY: Final = "we are read-only"

DEADLOCKS: Final = (
    Row(1213, "ER_LOCK_DEADLOCK", TX_UNDONE, ROLLBACK, LOCKS, "deadlock"),
    # InnoDB's snapshot isolation, on by default from MariaDB 11.6.2; elsewhere an error of non-transactional engines.
    Row(1020, "ER_CHECKREAD", TX_UNDONE, ROLLBACK, LOCKS, "row changed since it was read", flavours=_MARIADB),
    Row(1020, "ER_CHECKREAD", PERMANENT, DISCARD, OTHER, "row changed since it was read"),
    Row(1206, "ER_LOCK_TABLE_FULL", TX_UNDONE, ROLLBACK, LOAD, "lock table full"),
    Row(3101, "ER_TRANSACTION_ROLLBACK_DURING_COMMIT", TX_UNDONE, ROLLBACK, LOCKS, "certification failed"),
    # 3101 says that certification failed. A hook before COMMIT refuses a write that is too large, each time; and every
    # write of a member that has lost its group, where another member may take it.
    Row(
        3100,
        "ER_RUN_HOOK_ERROR",
        REFUSED,
        RETIRE,
        NETWORK,
        "the member may have lost its group",
        texts=("before_commit",),
        needs="several_servers",
    ),
    Row(3100, "ER_RUN_HOOK_ERROR", PERMANENT, ROLLBACK, OTHER, "the group refused the write", texts=("before_commit",)),
    Row(3100, "ER_RUN_HOOK_ERROR", UNKNOWN, DISCARD, NETWORK, "a hook failed during COMMIT"),
    # Group Replication's deadlock says 149; Galera's loss of quorum says neither, and the write may be in.
    Row(1180, "ER_ERROR_DURING_COMMIT", TX_UNDONE, ROLLBACK, LOCKS, "deadlock at COMMIT", texts=("error 149 ",)),
    Row(1180, "ER_ERROR_DURING_COMMIT", UNKNOWN, RETIRE, NETWORK, "error during COMMIT"),
    Row(1614, "ER_XA_RBDEADLOCK", TX_UNDONE, DISCARD, LOCKS, "deadlock in an XA branch"),
    Row(1613, "ER_XA_RBTIMEOUT", TX_UNDONE, DISCARD, LOCKS, "timeout in an XA branch"),
    Row(1402, "ER_XA_RBROLLBACK", TX_UNDONE, DISCARD, LOCKS, "XA branch rolled back"),
    Row(8002, "ErrForUpdateCantRetry", TX_UNDONE, ROLLBACK, LOCKS, "write conflict"),
    Row(8005, "ErrWriteConflictInTiDB", TX_UNDONE, ROLLBACK, LOCKS, "write conflict"),
    Row(8022, "ErrTxnRetryable", TX_UNDONE, ROLLBACK, LOCKS, "transaction must be retried"),
    Row(8028, "ErrInfoSchemaChanged", TX_UNDONE, ROLLBACK, LOCKS, "schema changed"),
    Row(8147, "ErrLazyUniquenessCheckFailure", TX_UNDONE, ROLLBACK, LOCKS, "late uniqueness check failed"),
    Row(8229, "ErrLockExpire", TX_UNDONE, ROLLBACK, LOCKS, "transaction expired"),
    Row(9007, "ErrWriteConflict", TX_UNDONE, ROLLBACK, LOCKS, "write conflict", flavours=_TIDB),
)

STATEMENT_ONLY: Final = (
    Row(1205, "ER_LOCK_WAIT_TIMEOUT", TX_UNDONE, ROLLBACK, LOCKS, "lock wait", BODY, needs="rollback_on_timeout"),
    # Whether the server has rolled back by itself depends on the lock; the ROLLBACK of the fate makes it certain.
    Row(1205, "ER_LOCK_WAIT_TIMEOUT", TX_UNDONE, ROLLBACK, LOCKS, "lock wait at COMMIT", COMMIT),
    Row(1205, "ER_LOCK_WAIT_TIMEOUT", UNDONE, ROLLBACK, LOCKS, "lock wait", EARLY),
    Row(1637, "ER_TOO_MANY_CONCURRENT_TRXS", UNDONE, ROLLBACK, LOAD, "too many transactions", EARLY),
    Row(1412, "ER_TABLE_DEF_CHANGED", UNDONE, ROLLBACK, LOCKS, "table changed since the snapshot", EARLY),
    Row(1689, "ER_LOCK_ABORTED", UNDONE, ROLLBACK, LOCKS, "lock wait aborted", EARLY),
    Row(3058, "ER_USER_LOCK_DEADLOCK", UNDONE, KEEP, LOCKS, "deadlock of user locks", EARLY),
    Row(3132, "ER_LOCKING_SERVICE_DEADLOCK", UNDONE, KEEP, LOCKS, "deadlock of service locks", EARLY),
    Row(8020, "ErrTableLocked", UNDONE, ROLLBACK, LOCKS, "table locked", EARLY, _TIDB),
    Row(9004, "ErrResolveLockTimeout", UNDONE, ROLLBACK, LOCKS, "lock wait", EARLY, _TIDB),
    Row(1037, "ER_OUTOFMEMORY", UNDONE, ROLLBACK, LOAD, "server out of memory", EARLY),
    Row(1041, "ER_OUT_OF_RESOURCES", UNDONE, ROLLBACK, LOAD, "server out of resources", EARLY),
    # A KILL, a limit or NOWAIT asked for these, so a retry would be wrong. At COMMIT they prove nothing.
    Row(1317, "ER_QUERY_INTERRUPTED", TX_UNDONE, DISCARD, LOCKS, "aborted", BODY, _VITESS),
    Row(1317, "ER_QUERY_INTERRUPTED", UNKNOWN, DISCARD, NETWORK, "cancelled or timed out", DECIDING, _VITESS),
    Row(1317, "ER_QUERY_INTERRUPTED", PERMANENT, KEEP, OTHER, "killed", EARLY),
    Row(1907, "query timeout", UNKNOWN, DISCARD, NETWORK, "killed by the proxy", flavours=_PERHAPS_PROXYSQL),
    Row(1969, "ER_STATEMENT_TIMEOUT", PERMANENT, KEEP, OTHER, "statement timeout", EARLY),
    Row(3024, "ER_QUERY_TIMEOUT", PERMANENT, KEEP, OTHER, "statement timeout", EARLY),
    Row(1028, "ER_FILSORT_ABORT", PERMANENT, KEEP, OTHER, "sort aborted", EARLY),
    Row(3572, "ER_LOCK_NOWAIT", PERMANENT, KEEP, OTHER, "locked, and the caller said NOWAIT", EARLY),
)

REFUSALS: Final = (
    Row(1040, "ER_CON_COUNT_ERROR", UNKNOWN, KEEP, LOAD, "too many connections", DECIDING, _PROXIES),
    Row(1040, "ER_CON_COUNT_ERROR", REFUSED, KEEP, LOAD, "too many connections"),
    Row(1203, "ER_TOO_MANY_USER_CONNECTIONS", UNKNOWN, KEEP, LOAD, "too many connections", DECIDING, _PROXIES),
    Row(1203, "ER_TOO_MANY_USER_CONNECTIONS", REFUSED, KEEP, LOAD, "too many connections of this user"),
    Row(1226, "ER_USER_LIMIT_REACHED", PERMANENT, KEEP, OTHER, "hourly limit reached", texts=("max_updates",)),
    Row(1226, "ER_USER_LIMIT_REACHED", REFUSED, KEEP, LOAD, "limit of this user reached"),
    Row(1129, "ER_HOST_IS_BLOCKED", REFUSED, DISCARD, LOAD, "host blocked after many connect errors"),
    Row(1135, "ER_CANT_CREATE_THREAD", REFUSED, DISCARD, LOAD, "no thread left", CONNECT | BODY),
    Row(1135, "ER_CANT_CREATE_THREAD", UNKNOWN, DISCARD, LOAD, "no thread left", DECIDING),
    # If the server goes down while a statement runs, it normally undoes the statement, which is no proof.
    Row(1053, "ER_SERVER_SHUTDOWN", UNSENT, SUSPECT, NETWORK, "server shutting down", UNASKED),
    *refused_if_early(1053, "ER_SERVER_SHUTDOWN", SUSPECT, NETWORK, "server shutting down"),
    *refused_if_early(3032, "ER_SERVER_OFFLINE_MODE", SUSPECT, NETWORK, "server offline"),
    *refused_if_early(3168, "ER_SERVER_ISNT_AVAILABLE", SUSPECT, NETWORK, "server not available"),
    # Galera asks "am I part of the cluster?" before it looks at the command, COMMIT included.
    Row(1047, "ER_UNKNOWN_COM_ERROR", REFUSED, RETIRE, NETWORK, "node not in the cluster", texts=("wsrep",)),
    Row(1047, "ER_UNKNOWN_COM_ERROR", PERMANENT, KEEP, OTHER, "unknown command"),
    # A replica that is read-only says so before it looks at the session.
    Row(
        *(1290, "ER_OPTION_PREVENTS_STATEMENT", PERMANENT, KEEP, OTHER, WE_ARE_READ_ONLY),
        texts=_READ_ONLY,
        needs="read_only_session",
    ),
    Row(1290, "ER_OPTION_PREVENTS_STATEMENT", REFUSED, RETIRE, NETWORK, "server is read-only", texts=_READ_ONLY),
    Row(1290, "ER_OPTION_PREVENTS_STATEMENT", PERMANENT, KEEP, OTHER, "forbidden by a server option"),
    Row(1836, "ER_READ_ONLY_MODE", PERMANENT, KEEP, OTHER, WE_ARE_READ_ONLY, needs="read_only_session"),
    Row(1836, "ER_READ_ONLY_MODE", REFUSED, RETIRE, NETWORK, "server is read-only"),
    Row(1792, "ER_CANT_EXECUTE_IN_READ_ONLY", PERMANENT, KEEP, OTHER, WE_ARE_READ_ONLY, needs="read_only_session"),
    Row(1792, "ER_CANT_EXECUTE_IN_READ_ONLY", REFUSED, RETIRE, NETWORK, "server is read-only"),
    Row(1874, "ER_INNODB_READ_ONLY", REFUSED, RETIRE, NETWORK, "server is read-only"),
    Row(3989, "ER_SCHEMA_READ_ONLY", REFUSED, KEEP, NETWORK, "schema is read-only"),
    Row(3098, "ER_BEFORE_DML_VALIDATION_ERROR", PERMANENT, KEEP, OTHER, "not allowed under group replication"),
    Row(3796, "ER_GRP_TRX_CONSISTENCY_NOT_ALLOWED", REFUSED, DISCARD, NETWORK, "member cannot be consistent"),
    Row(3797, "ER_GRP_TRX_CONSISTENCY_BEFORE", REFUSED, DISCARD, NETWORK, "member cannot be consistent", EARLY),
    Row(3798, "ER_GRP_TRX_CONSISTENCY_AFTER_ON_TRX_BEGIN", REFUSED, DISCARD, NETWORK, "member behind", EARLY),
    Row(3799, "ER_GRP_TRX_CONSISTENCY_BEGIN_NOT_ALLOWED", REFUSED, DISCARD, NETWORK, "member behind", EARLY),
    # ProxySQL's timeouts and TiDB's share numbers; both may follow an attempt that was executed.
    *refused_if_early(9001, "connect timeout, or ErrPDServerTimeout", ROLLBACK, NETWORK, "backend timeout"),
    *refused_if_early(9002, "connect failures, or ErrTiKVServerTimeout", ROLLBACK, NETWORK, "backend timeout"),
    *refused_if_early(9003, "ErrTiKVServerBusy", ROLLBACK, LOAD, "storage busy"),
    *refused_if_early(9005, "replication lag, or ErrRegionUnavailable", ROLLBACK, NETWORK, "no backend"),
    *refused_if_early(9012, "ErrTiFlashServerTimeout", ROLLBACK, NETWORK, "storage timeout"),
    *refused_if_early(9013, "ErrTiFlashServerBusy", ROLLBACK, LOAD, "storage busy"),
    *refused_if_early(8027, "ErrInfoSchemaExpired", ROLLBACK, NETWORK, "schema lease expired"),
    *refused_if_early(8120, "ErrGetStartTS", ROLLBACK, NETWORK, "no timestamp"),
    *refused_if_early(8252, "ErrResourceGroupThrottled", ROLLBACK, LOAD, "quota used up"),
    # ER_UNKNOWN_ERROR means what its text says. A retrying proxy may say "no tablet" after a first, executed attempt.
    Row(1105, "ER_UNKNOWN_ERROR", TX_UNDONE, DISCARD, NETWORK, "scaling", texts=("aborted due to seamless scaling",)),
    Row(1105, "ER_UNKNOWN_ERROR", TX_UNDONE, DISCARD, LOCKS, "aborted by the tablet", BODY, texts=_ABORTED),
    Row(1105, "ER_UNKNOWN_ERROR", UNKNOWN, DISCARD, NETWORK, "aborted by the tablet", DECIDING, texts=_ABORTED),
    Row(1105, "ER_UNKNOWN_ERROR", UNKNOWN, DISCARD, NETWORK, "no tablet", DECIDING, texts=_NO_TABLET),
    Row(1105, "ER_UNKNOWN_ERROR", REFUSED, DISCARD, NETWORK, "no tablet", texts=_NO_TABLET),
    Row(1105, "ER_UNKNOWN_ERROR", UNKNOWN, DISCARD, NETWORK, "tablet error", DECIDING, _VITESS, ("rpc error",)),
)

LOST: Final = (
    Row(1927, "ER_CONNECTION_KILLED", UNSENT, DISCARD, NETWORK, "connection killed", UNASKED),
    Row(1927, "ER_CONNECTION_KILLED", UNKNOWN, DISCARD, NETWORK, "connection killed"),
    Row(3169, "ER_SESSION_WAS_KILLED", UNSENT, DISCARD, NETWORK, "session killed", UNASKED),
    Row(3169, "ER_SESSION_WAS_KILLED", UNKNOWN, DISCARD, NETWORK, "session killed"),
    Row(4031, "ER_CLIENT_INTERACTION_TIMEOUT", UNSENT, DISCARD, NETWORK, "idle for too long", UNASKED),
    Row(4031, "ER_REFERENCED_TRG_DOES_NOT_EXIST", PERMANENT, KEEP, OTHER, "no such trigger", flavours=_MARIADB),
    Row(4031, "ER_CLIENT_INTERACTION_TIMEOUT", UNKNOWN, DISCARD, NETWORK, "idle for too long"),
    Row(1042, "ER_BAD_HOST_ERROR", UNKNOWN, DISCARD, NETWORK, "server cannot resolve our address"),
    Row(1043, "ER_HANDSHAKE_ERROR", UNKNOWN, DISCARD, NETWORK, "bad handshake"),
    Row(1080, "ER_FORCING_CLOSE", UNKNOWN, DISCARD, NETWORK, "connection closed by force"),
    Row(1152, "ER_ABORTING_CONNECTION", UNKNOWN, SUSPECT, NETWORK, "connection aborted"),
    Row(1184, "ER_NEW_ABORTING_CONNECTION", UNKNOWN, SUSPECT, NETWORK, "connection aborted"),
    Row(1158, "ER_NET_READ_ERROR", UNKNOWN, DISCARD, NETWORK, "server lost the stream"),
    Row(1159, "ER_NET_READ_INTERRUPTED", UNKNOWN, DISCARD, NETWORK, "server lost the stream"),
    Row(1160, "ER_NET_ERROR_ON_WRITE", UNKNOWN, DISCARD, NETWORK, "server lost the stream"),
    Row(1161, "ER_NET_WRITE_INTERRUPTED", UNKNOWN, DISCARD, NETWORK, "server lost the stream"),
    Row(2002, "CR_CONNECTION_ERROR", UNKNOWN, SUSPECT, NETWORK, "cannot connect"),
    Row(2003, "CR_CONN_HOST_ERROR", PERMANENT, DISCARD, OTHER, "certificate", CONNECT, texts=("certificate_verify",)),
    Row(2003, "CR_CONN_HOST_ERROR", UNKNOWN, SUSPECT, NETWORK, "cannot connect"),
    Row(2006, "CR_SERVER_GONE_ERROR", UNKNOWN, SUSPECT, NETWORK, "connection lost"),
    Row(2013, "CR_SERVER_LOST", UNKNOWN, SUSPECT, NETWORK, "connection lost"),
    Row(2055, "CR_SERVER_LOST_EXTENDED", UNKNOWN, SUSPECT, NETWORK, "connection lost"),
    Row(2014, "CR_COMMANDS_OUT_OF_SYNC", UNKNOWN, DISCARD, NETWORK, "protocol out of step"),
    Row(2027, "CR_MALFORMED_PACKET", UNKNOWN, DISCARD, NETWORK, "malformed packet"),
    Row(2026, "CR_SSL_CONNECTION_ERROR", PERMANENT, DISCARD, OTHER, "no TLS here", CONNECT, texts=("is required",)),
    Row(2026, "CR_SSL_CONNECTION_ERROR", UNKNOWN, DISCARD, NETWORK, "TLS failed"),
    Row(2059, "CR_AUTH_PLUGIN_CANNOT_LOAD", PERMANENT, DISCARD, OTHER, "no such authentication plugin", CONNECT),
    Row(2061, "CR_AUTH_PLUGIN_ERR", PERMANENT, DISCARD, OTHER, "authentication plugin failed", CONNECT),
    Row(1153, "ER_NET_PACKET_TOO_LARGE", PERMANENT, DISCARD, OTHER, "larger than max_allowed_packet"),
)

#: Errors that a retry would get again. Listed so that they are certain at COMMIT too (TiDB checks uniqueness there).
HOPELESS: Final[dict[int, str]] = {
    1022: "ER_DUP_KEY",
    1038: "ER_OUT_OF_SORTMEMORY",
    1044: "ER_DBACCESS_DENIED_ERROR",
    1045: "ER_ACCESS_DENIED_ERROR",
    1046: "ER_NO_DB_ERROR",
    1048: "ER_BAD_NULL_ERROR",
    1049: "ER_BAD_DB_ERROR",
    1054: "ER_BAD_FIELD_ERROR",
    1062: "ER_DUP_ENTRY",
    1064: "ER_PARSE_ERROR",
    1130: "ER_HOST_NOT_PRIVILEGED",
    1142: "ER_TABLEACCESS_DENIED_ERROR",
    1143: "ER_COLUMNACCESS_DENIED_ERROR",
    1146: "ER_NO_SUCH_TABLE",
    1148: "ER_NOT_ALLOWED_COMMAND",
    1149: "ER_SYNTAX_ERROR",
    1192: "ER_LOCK_OR_ACTIVE_TRANSACTION",
    1216: "ER_NO_REFERENCED_ROW",
    1217: "ER_ROW_IS_REFERENCED",
    1223: "ER_CANT_UPDATE_WITH_READLOCK",
    1227: "ER_SPECIFIC_ACCESS_DENIED_ERROR",
    1251: "ER_NOT_SUPPORTED_AUTH_MODE",
    1264: "ER_WARN_DATA_OUT_OF_RANGE",
    1265: "WARN_DATA_TRUNCATED",
    1305: "ER_SP_DOES_NOT_EXIST",
    1364: "ER_NO_DEFAULT_FOR_FIELD",
    1366: "ER_TRUNCATED_WRONG_VALUE_FOR_FIELD",
    1406: "ER_DATA_TOO_LONG",
    1451: "ER_ROW_IS_REFERENCED_2",
    1452: "ER_NO_REFERENCED_ROW_2",
    1698: "ER_ACCESS_DENIED_NO_PASSWORD_ERROR",
    3118: "ER_ACCOUNT_HAS_BEEN_LOCKED",
    3159: "ER_SECURE_TRANSPORT_REQUIRED",
    3819: "ER_CHECK_CONSTRAINT_VIOLATED",
    4025: "ER_CONSTRAINT_FAILED",
    8001: "ErrMemExceedThreshold",
    8004: "ErrTxnTooLarge",
    8025: "ErrEntryTooLarge",
    8175: "ErrMemoryExceedForQuery",
    9006: "hostgroup lock, or ErrGCTooEarly",
}

#: Read before the numbers: Vitess puts these texts in front of whichever number the inner error has.
BY_TEXT: Final = (
    Row(0, "", PERMANENT, DISCARD, OTHER, "transaction rolled back", texts=("to reverse changes of partial dml",)),
    Row(0, "", UNKNOWN, DISCARD, NETWORK, "transaction broken", DECIDING, texts=("vt15001", "vt09032")),
    Row(0, "", TX_UNDONE, DISCARD, NETWORK, "transaction broken", BODY, texts=("vt15001", "vt09032")),
)

#: Read after the numbers, for codes that are not listed: the beginning of a SQLSTATE and what it stands for.
BY_SQLSTATE: Final = (
    ("40003", Row(0, "", UNKNOWN, DISCARD, NETWORK, "statement completion unknown")),
    ("40", Row(0, "", TX_UNDONE, ROLLBACK, LOCKS, "transaction rolled back")),
    ("XA1", Row(0, "", TX_UNDONE, DISCARD, LOCKS, "XA branch rolled back")),
    ("08", Row(0, "", UNKNOWN, DISCARD, NETWORK, "connection error")),
)

#: For errors that fit no row.
UNANSWERED: Final = Row(0, "", UNKNOWN, DISCARD, NETWORK, "no answer from the server")
OUT_OF_TURN: Final = Row(0, "", UNKNOWN, DISCARD, NETWORK, "error out of turn")
UNLISTED_AT_COMMIT: Final = Row(0, "", UNKNOWN, DISCARD, OTHER, "unlisted error at COMMIT")
UNLISTED: Final = Row(0, "", PERMANENT, KEEP, OTHER, "server error")

ROWS: Final[tuple[Row, ...]] = (
    *DEADLOCKS,
    *STATEMENT_ONLY,
    *REFUSALS,
    *LOST,
    *(Row(code, name, PERMANENT, KEEP, OTHER, "server error") for code, name in HOPELESS.items()),
)
