"""What servers with a vote are asked, and what their answers say: Galera, Group Replication, Aurora.

Knows variables, status and tables of these. Does not know what follows from them for other servers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from improved_db.cluster.answers import first, flag, number, pairs
from improved_db.cluster.facts_of_replication import MYSQL, read_mysql
from improved_db.cluster.gtid import GtidSet

if TYPE_CHECKING:
    from collections.abc import Sequence

    from improved_db.cluster.answers import Answer, Row

GALERA: Final = (
    (
        "SHOW GLOBAL STATUS WHERE Variable_name IN ('wsrep_ready', 'wsrep_cluster_status', 'wsrep_local_state', "
        "'wsrep_cluster_conf_id', 'wsrep_cluster_state_uuid', 'wsrep_last_committed', 'wsrep_incoming_addresses')"
    ),
    (
        "SHOW GLOBAL VARIABLES WHERE Variable_name IN ('wsrep_reject_queries', 'wsrep_desync', "
        "'wsrep_sst_donor_rejects_queries', 'read_only', 'wsrep_node_name')"
    ),
)

#: The second and third need SELECT on performance_schema.
GROUP: Final = (
    *MYSQL,
    (
        "SELECT member_id AS member_id, member_host AS host, member_port AS port, member_state AS state, "
        "member_role AS role FROM performance_schema.replication_group_members"
    ),
    (
        "SELECT member_id AS member_id, view_id AS view_id, count_transactions_remote_in_applier_queue AS queue "
        "FROM performance_schema.replication_group_member_stats"
    ),
)

AURORA: Final = (
    "SELECT @@aurora_server_id AS server, @@innodb_read_only AS read_only",
    (
        "SELECT server_id AS server, replica_lag_in_milliseconds AS lag, "
        "TIMESTAMPDIFF(SECOND, last_update_timestamp, NOW()) AS age FROM information_schema.replica_host_status"
    ),
)

#: States of a Galera node; only a synced one, or a donor that may be asked, has all of the data.
_SYNCED, _DONOR = 4, 2
#: Seconds after which a row about an Aurora reader is out of date.
_AURORA_AGE: Final = 300


def read_galera(answers: Sequence[Answer]) -> dict[str, Any]:
    """Return what a Galera node says, by the names of `HostFacts`; *answers* are to `GALERA`."""
    status, variables = pairs(answers[0]), pairs(answers[1])
    in_cluster = status.get("wsrep_cluster_status") == "Primary"
    state, vote = status.get("wsrep_cluster_state_uuid", ""), number(status.get("wsrep_cluster_conf_id"))
    committed = number(status.get("wsrep_last_committed")) or 0
    peers = [peer.strip() for peer in status.get("wsrep_incoming_addresses", "").split(",")]
    return {
        "kind": "galera",
        "read_only": flag(variables.get("read_only")),
        "view": (state, vote) if in_cluster and vote is not None else None,
        "history": GtidSet("mysql", {state: ((1, committed),)} if committed > 0 else {}),
        "peers": tuple(peer for peer in peers if peer and peer != "AUTO"),
        "unfit": _unfit_in_galera(status, variables, in_cluster=in_cluster),
    }


def _unfit_in_galera(status: Row, variables: Row, *, in_cluster: bool) -> str:
    if not in_cluster:
        return "is not in the cluster (wsrep_cluster_status is not Primary)"
    if not flag(status.get("wsrep_ready")):
        return "is not ready (wsrep_ready=OFF)"
    state = number(status.get("wsrep_local_state"))
    rejects = flag(variables.get("wsrep_sst_donor_rejects_queries"))
    if state != _SYNCED and (state != _DONOR or rejects):
        return f"is not synced (wsrep_local_state={state})"
    if variables.get("wsrep_reject_queries", "NONE").upper() != "NONE":
        return f"rejects queries (wsrep_reject_queries={variables['wsrep_reject_queries']})"
    return "was taken out of step (wsrep_desync=ON)" if flag(variables.get("wsrep_desync")) else ""


def read_group(answers: Sequence[Answer]) -> dict[str, Any]:
    """Return what a member of a group says, by the names of `HostFacts`; *answers* are to `GROUP`."""
    said = {**read_mysql(answers[:1]), "kind": "group"}
    members, stats = answers[1], answers[2]
    if not isinstance(members, list):
        return said  # without the right to see the tables, what is read-only does not lead
    me = said["server_id"]
    mine = next((row for row in members if row["member_id"].lower() == me), None)
    own = next((row for row in stats if row["member_id"].lower() == me), {}) if isinstance(stats, list) else {}
    group, _, vote = own.get("view_id", "").rpartition(":")
    queue = number(own.get("queue"))
    return {
        **said,
        "leads": mine is not None and mine.get("role") == "PRIMARY",
        "view": (group, int(vote)) if group and vote.isdigit() else None,
        "drained": None if queue is None else queue == 0,
        "peers": tuple(f"{row['host']}:{row['port']}" for row in members if row is not mine),
        "unfit": said["unfit"] or _unfit_in_group(mine, members),
    }


def _unfit_in_group(mine: Row | None, members: list[Row]) -> str:
    if mine is None or mine.get("state") != "ONLINE":
        return f"is not online in its group ({'no member' if mine is None else mine.get('state')})"
    reached = [row for row in members if row.get("state") != "UNREACHABLE"]
    return "" if 2 * len(reached) > len(members) else "sees no majority of its group"


def read_aurora(answers: Sequence[Answer]) -> dict[str, Any]:
    """Return what an Aurora server says, by the names of `HostFacts`; *answers* are to `AURORA`.

    Only the server's own word says whether it is the writer: a reader's list of the others may be old.
    """
    state = first(answers[0])
    rows = answers[1] if isinstance(answers[1], list) else []
    mine = next((row for row in rows if row["server"] == state["server"]), None)
    read_only = flag(state["read_only"])
    age, lag = (None, None) if mine is None else (number(mine["age"]), _milliseconds(mine["lag"]))
    is_old = bool(read_only) and rows != [] and (age is None or age > _AURORA_AGE)
    return {
        "kind": "aurora",
        "server_id": state["server"],
        "read_only": read_only,
        "lag": lag if read_only else None,
        "unfit": "is not in its cluster's list of servers any more" if is_old else "",
    }


def _milliseconds(text: str) -> float | None:
    try:
        return float(text) / 1000
    except ValueError:
        return None
