"""What servers say, as they were recorded, and what is read from it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from improved_db.cluster.facts import kind_of, questions_for

if TYPE_CHECKING:
    from improved_db.cluster.answers import Answer, Row

UUID, OTHER = "dd7260de-ea74-11f1-9b87-02fc00000001", "e94c12f5-ea74-11f1-9b87-02fc00000001"


def pairs(**told: str) -> list[Row]:
    """Return the rows of SHOW STATUS."""
    return [{"variable_name": name, "value": value} for name, value in told.items()]


def read(told: Row, version: str, *answers: Answer, **more: Any) -> dict[str, Any]:
    """Return what is read, without what was not told."""
    questions = questions_for(told, version, **more)
    assert len(answers) == len(questions.all)
    facts = questions.facts("db1", 7.0, answers)
    fields = {name: getattr(facts, name) for name in type(facts).__dataclass_fields__}
    return {
        name: value for name, value in fields.items() if value not in (None, "", ()) and name not in {"at", "address"}
    }


MARIADB, MYSQL = "10.11.19-MariaDB-log", "9.7.4-2"
MARIADB_PRIMARY: list[Answer] = [
    [{"read_only": "0", "server_id": "1", "slave_pos": "", "binlog_state": "0-1-5"}],
    pairs(Slaves_connected="2", Slaves_running="0"),
]
MARIADB_REPLICA: list[Answer] = [
    [{"read_only": "1", "server_id": "2", "slave_pos": "0-1-5", "binlog_state": "0-1-3,1-7-2"}],
    pairs(Slaves_connected="0", Slaves_running="1"),
]
MARIADB_STATUS = {
    "master_host": "127.0.0.1",
    "master_port": "16515",
    "slave_io_running": "Yes",
    "slave_sql_running": "Yes",
    "seconds_behind_master": "0",
    "master_server_id": "1",
    "gtid_io_pos": "0-1-5",
    "gtid_slave_pos": "0-1-5",
}


def test_mariadb() -> None:
    """Recorded on 10.11.19; 1227 comes in place of the status where the account has no SLAVE MONITOR."""
    primary = read({}, MARIADB, *MARIADB_PRIMARY, [])
    assert str(primary.pop("history")) == "0-1-5"
    assert primary == {
        "reachable": True, "kind": "replication", "dialect": "mariadb", "server_id": "1", "read_only": False,
        "replicating": False, "drained": True, "replicas": 2,
    }  # fmt: skip
    modest = read({}, MARIADB, *MARIADB_REPLICA, 1227)
    assert str(modest.pop("history")) == "0-1-5,1-7-2"
    assert modest == {
        "reachable": True, "kind": "replication", "dialect": "mariadb", "server_id": "2", "read_only": True,
        "replicating": True, "source": ("origin:1",), "replicas": 0,
    }  # fmt: skip
    rows: Answer = [MARIADB_STATUS]
    assert read({}, MARIADB, *MARIADB_REPLICA, rows).items() >= {
        "source": ("id:1", "at:127.0.0.1:16515"), "replicating": True, "drained": True, "lag": 0.0,
    }.items()  # fmt: skip


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"slave_io_running": "Connecting", "seconds_behind_master": ""}, {"replicating": True, "drained": True}),
        ({"slave_io_running": "No"}, {"replicating": False}),
        ({"slave_sql_running": "No"}, {"replicating": False}),
        ({"gtid_io_pos": "0-1-9"}, {"replicating": True, "drained": False}),
        ({"master_server_id": "0"}, {"source": ("at:127.0.0.1:16515",)}),
    ],
)
def test_the_state_of_a_replica(change: Row, expected: dict[str, Any]) -> None:
    """A replica that is stopped or not drained says so; one that waits for its source still replicates."""
    assert read({}, MARIADB, *MARIADB_REPLICA, [{**MARIADB_STATUS, **change}]).items() >= expected.items()


def test_a_read_only_mode_of_newer_servers_is_read_only() -> None:
    """MariaDB 12 says NO_LOCK and NO_LOCK_NO_ADMIN too."""
    state = {"read_only": "NO_LOCK_NO_ADMIN", "server_id": "1", "slave_pos": "", "binlog_state": ""}
    assert read({}, MARIADB, [state], [], 1227)["read_only"] is True


def mysql(**change: str) -> list[Answer]:
    """Return what MySQL says of itself."""
    state = {"read_only": "0", "super_read_only": "0", "innodb_read_only": "0", "offline_mode": "0"}
    return [[{**state, "server_uuid": UUID, "executed": f"{UUID}:1-5,\n{OTHER}:1-3", **change}]]


def test_mysql() -> None:
    """Recorded on 9.7.4; 1227 comes in place of the status where the account has no REPLICATION CLIENT."""
    said = read({}, MYSQL, *mysql(), 1227)
    assert str(said.pop("history")) == f"{UUID}:1-5,{OTHER}:1-3"
    assert said == {
        "reachable": True, "kind": "replication", "dialect": "mysql", "server_id": UUID, "read_only": False,
    }  # fmt: skip
    assert read({}, MYSQL, *mysql(super_read_only="1"), 1227)["read_only"] is True
    assert read({}, MYSQL, *mysql(offline_mode="1"), 1227)["unfit"] == "is in offline mode"
    status = {
        "source_host": "db1",
        "source_port": "3306",
        "replica_io_running": "Yes",
        "replica_sql_running": "Yes",
        "seconds_behind_source": "4",
        "source_server_id": "1",
        "source_uuid": OTHER.upper(),
        "retrieved_gtid_set": f"{OTHER}:1-9",
        "executed_gtid_set": f"{OTHER}:1-8",
    }
    assert read({}, MYSQL, *mysql(), [status]).items() >= {
        "source": (f"id:{OTHER}", "at:db1:3306"), "replicating": True, "drained": False, "lag": 4.0,
    }.items()  # fmt: skip
    before = {name.replace("replica_", "slave_").replace("source", "master"): value for name, value in status.items()}
    old = read({}, "8.0.21", *mysql(), [before], older=True)
    assert old.items() >= {"source": (f"id:{OTHER}", "at:db1:3306"), "replicating": True, "lag": 4.0}.items()


@pytest.mark.parametrize("noun", ["replica", "slave"])
@pytest.mark.parametrize(
    ("workers", "kept", "expected"), [("4", "OFF", True), ("4", "ON", False), ("1", "OFF", False), ("0", "OFF", False)]
)
def test_a_replica_with_several_workers_may_commit_in_another_order(
    noun: str, workers: str, kept: str, expected: bool
) -> None:
    """The names are those of MySQL 8.0.26, and the older ones; no server tells both."""
    told = {f"{noun}_parallel_workers": workers, f"{noun}_preserve_commit_order": kept}
    assert read(told, MYSQL, *mysql(), 1227)["unordered"] is expected


def test_the_replicas_of_a_server_are_those_that_say_their_address() -> None:
    """Recorded on 10.11.19 and 9.7.4; an account without the right gets 1227."""
    row = {"server_id": "2", "host": "127.0.0.1", "port": "16516", "master_id": "1"}
    for version, state in ((MARIADB, MARIADB_PRIMARY), (MYSQL, mysql())):
        said = read({}, version, *state, 1227, [row, {**row, "host": ""}], discover=True)
        assert said["peers"] == ("127.0.0.1:16516",)
        assert "peers" not in read({}, version, *state, 1227, 1227, discover=True)


def galera(**change: str) -> dict[str, Any]:
    """Return what is read of a Galera node, recorded on 26.4.23, but for *change*."""
    status = {
        "wsrep_ready": "ON",
        "wsrep_cluster_status": "Primary",
        "wsrep_local_state": "4",
        "wsrep_cluster_conf_id": "3",
        "wsrep_cluster_state_uuid": UUID,
        "wsrep_last_committed": "7",
        "wsrep_incoming_addresses": "127.0.0.1:26010,127.0.0.1:26020,AUTO",
    }
    variables = {
        "wsrep_reject_queries": "NONE",
        "wsrep_desync": "OFF",
        "wsrep_sst_donor_rejects_queries": "OFF",
        "read_only": "OFF",
    }
    told = {"wsrep_on": "ON"}
    return read(
        told,
        MARIADB,
        pairs(**{name: change.get(name, value) for name, value in status.items()}),
        pairs(**{name: change.get(name, value) for name, value in variables.items()}),
    )


def test_galera() -> None:
    """A node outside the quorum says 2^64-1, and wsrep_ready=ON is no proof that queries are served."""
    said = galera()
    assert str(said.pop("history")) == f"{UUID}:1-7"
    assert said == {
        "reachable": True, "kind": "galera", "read_only": False, "view": (UUID, 3),
        "peers": ("127.0.0.1:26010", "127.0.0.1:26020"),
    }  # fmt: skip
    lost = galera(wsrep_cluster_status="non-Primary", wsrep_cluster_conf_id=str(2**64 - 1))
    assert "view" not in lost
    assert "not in the cluster" in lost["unfit"]
    assert "unfit" not in galera(wsrep_local_state="2")
    unfit = {
        name: galera(**{"wsrep_local_state": "2" if "donor" in name else "4", name: value})["unfit"]
        for name, value in {
            "wsrep_ready": "OFF",
            "wsrep_local_state": "1",
            "wsrep_reject_queries": "ALL",
            "wsrep_desync": "ON",
            "wsrep_sst_donor_rejects_queries": "ON",
        }.items()
    }
    assert list(unfit.values()) == [
        "is not ready (wsrep_ready=OFF)",
        "is not synced (wsrep_local_state=1)",
        "rejects queries (wsrep_reject_queries=ALL)",
        "was taken out of step (wsrep_desync=ON)",
        "is not synced (wsrep_local_state=2)",
    ]


def group(*states: str, role: str = "PRIMARY", view: str = "17957:4", **change: str) -> dict[str, Any]:
    """Return what is read of a member of a group, whose other members are in *states*."""
    mine = {"member_id": UUID, "host": "db1", "port": "3306", "state": "ONLINE", "role": role}
    others = [
        {"member_id": f"{number}", "host": f"db{number}", "port": "3306", "state": state, "role": "SECONDARY"}
        for number, state in enumerate(states, 2)
    ]
    stats: Answer = [{"member_id": UUID, "view_id": view, "queue": "2"}]
    return read({"group_replication_group_name": OTHER}, MYSQL, *mysql(), [{**mine, **change}, *others], stats)


def test_group_replication() -> None:
    """Only a member that is online, and sees a majority, counts."""
    said = group("ONLINE", "UNREACHABLE")
    assert said.items() >= {
        "kind": "group", "leads": True, "view": ("17957", 4), "drained": False, "read_only": False,
        "peers": ("db2:3306", "db3:3306"),
    }.items()  # fmt: skip
    assert "unfit" not in said
    assert group("UNREACHABLE", "UNREACHABLE")["unfit"] == "sees no majority of its group"
    assert group("ONLINE", state="RECOVERING")["unfit"] == "is not online in its group (RECOVERING)"
    assert group("ONLINE", role="SECONDARY")["leads"] is False
    modest = read({"group_replication_group_name": OTHER}, MYSQL, *mysql(), 1142, 1142)
    assert (modest["kind"], modest["read_only"], "leads" in modest) == ("group", False, False)


def test_aurora() -> None:
    """A reader's list of servers may be old; its own word is not."""

    def aurora(read_only: str, *rows: Row) -> dict[str, Any]:
        state: Answer = [{"server": "shop-1", "read_only": read_only}]
        return read({"aurora_version": "3.08"}, "8.0.39", state, list(rows))

    mine = {"server": "shop-1", "lag": "18.4", "age": "1"}
    assert aurora("0", mine) == {"reachable": True, "kind": "aurora", "server_id": "shop-1", "read_only": False}
    assert aurora("1", mine)["lag"] == 0.0184
    assert aurora("1", {**mine, "age": "301"})["unfit"] == "is not in its cluster's list of servers any more"
    assert aurora("1", {**mine, "server": "shop-2"})["unfit"]
    assert "unfit" not in aurora("1")


@pytest.mark.parametrize(
    ("told", "version", "expected"),
    [
        ({}, MARIADB, "replication"),
        ({"wsrep_on": "OFF"}, MARIADB, "replication"),
        ({"wsrep_on": "ON"}, MARIADB, "galera"),
        ({"group_replication_group_name": ""}, MYSQL, "replication"),
        ({"group_replication_group_name": OTHER}, MYSQL, "group"),
        ({"aurora_version": "3.08.0"}, "8.0.39", "aurora"),
        ({}, "8.0.11-TiDB-v7.5.0", "equal"),
        ({"version_comment": "(ProxySQL)"}, "8.0.30", "sequential"),
        ({}, "8.0.30-Vitess", "sequential"),
        ({}, "10.11.6-MariaDB-maxscale", "sequential"),
    ],
)
def test_what_keeps_a_server_in_step(told: Row, version: str, expected: str) -> None:
    """The server's own settings say it."""
    assert kind_of(told, version) == expected


def test_an_answer_without_sense_is_an_error_that_says_so() -> None:
    """Silence must not be read as a position without transactions."""
    questions = questions_for({}, MARIADB)
    senseless: list[list[Answer]] = [[1064, [], []], [[], [], []], [[{"read_only": "0"}], [], []]]
    for answers in senseless:
        with pytest.raises(ValueError, match="answer"):
            questions.facts("db1", 0.0, answers)
    state = {"read_only": "0", "server_id": "1", "slave_pos": "?", "binlog_state": ""}
    with pytest.raises(ValueError, match="domain-server-sequence"):
        questions.facts("db1", 0.0, [[state], [], []])
    proxy = questions_for({}, "8.0.30-Vitess")
    assert proxy.facts("db1", 0.0, [[{"one": "1"}]]).read_only is False
    assert proxy.all == ("SELECT 1 AS one",)
