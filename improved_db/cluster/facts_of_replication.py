"""What servers of plain replication are asked, and what their answers say: MariaDB and MySQL.

An account that has no more than rights on its own tables may ask for the role and the position. Whom a replica follows
is for accounts with SLAVE MONITOR (MariaDB) or REPLICATION CLIENT (MySQL); without it, the origin of the last
transaction has to do.

Knows variables and status of MariaDB and MySQL. Does not know what follows from them for other servers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from improved_db.cluster.answers import first, flag, number, pairs
from improved_db.cluster.gtid import history

if TYPE_CHECKING:
    from collections.abc import Sequence

    from improved_db.cluster.answers import Answer, Row
    from improved_db.cluster.gtid import GtidSet

MARIADB: Final = (
    (
        "SELECT @@global.read_only AS read_only, @@global.server_id AS server_id, "
        "@@global.gtid_slave_pos AS slave_pos, @@global.gtid_binlog_state AS binlog_state"
    ),
    "SHOW GLOBAL STATUS WHERE Variable_name IN ('Slaves_running', 'Slaves_connected')",
)
MARIADB_REPLICATION: Final = "SHOW ALL SLAVES STATUS"
#: Who replicates from here, by ``report_host``; before MySQL 8.0.22, and for every MariaDB.
REPLICAS_BEFORE: Final = "SHOW SLAVE HOSTS"

MYSQL: Final = (
    (
        "SELECT @@global.read_only AS read_only, @@global.super_read_only AS super_read_only, "
        "@@global.innodb_read_only AS innodb_read_only, @@global.offline_mode AS offline_mode, "
        "@@global.server_uuid AS server_uuid, @@global.gtid_executed AS executed"
    ),
)
#: Before 8.0.22 it is SHOW SLAVE STATUS.
MYSQL_REPLICATION: Final = "SHOW REPLICA STATUS"
MYSQL_REPLICATION_BEFORE: Final = "SHOW SLAVE STATUS"
MYSQL_REPLICAS: Final = "SHOW REPLICAS"


def read_mariadb(answers: Sequence[Answer]) -> dict[str, Any]:
    """Return what a MariaDB says, by the names of `HostFacts`.

    Args:
        answers: To `MARIADB`, and to `MARIADB_REPLICATION` where that may be asked.
    """
    state, status = first(answers[0]), pairs(answers[1])
    applied = history(state["slave_pos"], "mariadb")
    said = _replication(answers[2] if len(answers) > 2 else None)
    running = number(status.get("slaves_running"))
    return {
        "kind": "replication",
        "dialect": "mariadb",
        "server_id": state["server_id"],
        "read_only": flag(state["read_only"]),
        "history": history(state["binlog_state"], "mariadb").union(applied),
        "replicas": number(status.get("slaves_connected")),
        **(
            {"replicating": None if running is None else running > 0, "source": _origins(applied)}
            if said is None
            else said
        ),
    }


def read_mysql(answers: Sequence[Answer]) -> dict[str, Any]:
    """Return what a MySQL says, by the names of `HostFacts`.

    Args:
        answers: To `MYSQL`, and to `MYSQL_REPLICATION` where that may be asked.
    """
    state = first(answers[0])
    said = _replication(answers[1] if len(answers) > 1 else None)
    flags = [flag(state.get(name)) for name in ("read_only", "super_read_only", "innodb_read_only")]
    return {
        "kind": "replication",
        "dialect": "mysql",
        "server_id": state["server_uuid"].lower(),
        "read_only": any(flags) if flags[0] is not None else None,
        "history": history(state["executed"], "mysql"),
        "unfit": "is in offline mode" if flag(state.get("offline_mode")) else "",
        **(said or {}),
    }


def _replication(answer: Answer | None) -> dict[str, Any] | None:
    """Return what SHOW REPLICA STATUS says; None where the account may not ask."""
    if not isinstance(answer, list):
        return None
    rows = [_renamed(row) for row in answer]
    running = [row for row in rows if flag(row.get("sql_running")) and row.get("io_running", "").lower() != "no"]
    behind = [number(row.get("seconds_behind")) for row in running]
    told = [seconds for seconds in behind if seconds is not None]
    return {
        "replicating": bool(running),
        "source": tuple(name for row in running or rows for name in _names(row)),
        "drained": all(_is_drained(row) or not flag(row.get("sql_running")) for row in rows),
        "lag": float(max(told)) if told and len(told) == len(running) else None,
    }


def _renamed(row: Row) -> Row:
    """Return the columns by the words that both dialects share."""
    words = {"slave_io_running": "io_running", "replica_io_running": "io_running", "slave_sql_running": "sql_running",
             "replica_sql_running": "sql_running", "seconds_behind_master": "seconds_behind",
             "seconds_behind_source": "seconds_behind", "source_server_id": "master_server_id",
             "source_uuid": "master_uuid", "source_host": "master_host", "source_port": "master_port"}  # fmt: skip
    return {words.get(name, name): value for name, value in row.items()}


def _names(row: Row) -> tuple[str, ...]:
    """Return how a replica names its source."""
    ids = [row.get("master_uuid", "").lower()] if "master_uuid" in row else [row.get("master_server_id", "")]
    return (*(f"id:{one}" for one in ids if one not in {"", "0"}), f"at:{row['master_host']}:{row['master_port']}")


def _origins(applied: GtidSet) -> tuple[str, ...]:
    """Return which servers wrote the last transactions that a MariaDB has applied."""
    return tuple(sorted({f"origin:{server}" for server, _ in applied.newest().values()}))


def read_replicas(answer: Answer) -> tuple[str, ...]:
    """Return the replicas of a server that say their own address (``report_host``), as ``host:port``."""
    rows = answer if isinstance(answer, list) else []
    return tuple(f"{row['host']}:{row['port']}" for row in rows if row.get("host") and row.get("port"))


def _is_drained(row: Row) -> bool:
    """Say whether a replica has applied everything that it had received."""
    if "gtid_io_pos" in row:
        return history(row.get("gtid_slave_pos", ""), "mariadb").contains(history(row["gtid_io_pos"], "mariadb"))
    return history(row.get("executed_gtid_set", ""), "mysql").contains(
        history(row.get("retrieved_gtid_set", ""), "mysql")
    )
