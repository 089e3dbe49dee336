"""From a server's answers to its `HostFacts`: which statements it is asked, and who reads the answers.

Knows every kind of cluster by name. Does not know connections, or the rules of a topology.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from improved_db.cluster import facts_of_replication as replication
from improved_db.cluster import facts_of_votes as votes
from improved_db.cluster.answers import flag, number
from improved_db.cluster.views import HostFacts
from improved_db.sql.server import Flavour, flavour_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from improved_db.cluster.answers import Answer, Row
    from improved_db.cluster.views import Kind

#: What a server is asked once for each connection, to know what to ask it from then on.
DISCOVER: Final = (
    "SHOW GLOBAL VARIABLES WHERE Variable_name IN ('version', 'version_comment', 'wsrep_on', 'aurora_version', "
    "'group_replication_group_name', 'server_uuid', 'tidb_current_ts', 'replica_parallel_workers', "
    "'slave_parallel_workers', 'replica_preserve_commit_order', 'slave_preserve_commit_order')"
)


class Questions(NamedTuple):
    """What one server is asked in each round.

    Attributes:
        kind: What keeps it in step with others, by its own settings.
        statements: In their order.
        optional: One more, which the account may have no right to ask.
        read: Reads the answers.
        replicas: The last one, which asks for the addresses of the replicas. The account may have no right to ask it.
        unordered: Whether the server may commit what it replicates in another order than its source did.
    """

    kind: Kind
    statements: tuple[str, ...]
    optional: str | None
    read: Callable[[Sequence[Answer]], dict[str, Any]]
    replicas: str | None = None
    unordered: bool | None = None

    @property
    def all(self) -> tuple[str, ...]:
        """Every statement."""
        return (*self.statements, *(more for more in (self.optional, self.replicas) if more is not None))

    def facts(self, address: str, at: float, answers: Sequence[Answer], **known: Any) -> HostFacts:
        """Return what the answers say.

        Args:
            address: Which server.
            at: When it answered.
            answers: To `all`.
            **known: What else is known of it.

        Raises:
            ValueError: An answer makes no sense, or the server refused the first question.
        """
        if isinstance(answers[0], int):
            raise ValueError(f"error {answers[0]} came in answer to {self.statements[0][:40]!r}...")
        try:
            said = self.read(answers if self.replicas is None else answers[:-1])
        except (KeyError, IndexError) as error:
            raise ValueError(f"the answer has no {error}") from error
        if self.replicas is not None:
            said["peers"] = replication.read_replicas(answers[-1])
        return HostFacts(address, at, **{**known, **said}, unordered=self.unordered)


def kind_of(told: Row, version: str) -> Kind:
    """Return what keeps a server in step with others.

    Args:
        told: The answer to `DISCOVER`, by name in lower case.
        version: Of its greeting.
    """
    words = f"{version} {told.get('version', '')} {told.get('version_comment', '')}".lower()
    flavour = flavour_of(words)
    if flavour is Flavour.TIDB or "tidb_current_ts" in told:
        return "equal"
    if flavour in {Flavour.PROXYSQL, Flavour.VITESS} or "maxscale" in words:
        return "sequential"
    if told.get("wsrep_on", "OFF").upper() in {"ON", "1"}:
        return "galera"
    if told.get("aurora_version"):
        return "aurora"
    return "group" if told.get("group_replication_group_name") else "replication"


def questions_for(
    told: Row, version: str, *, kind: Kind = "auto", older: bool = False, discover: bool = False
) -> Questions:
    """Return what to ask a server from now on.

    Args:
        told: The answer to `DISCOVER`.
        version: Of its greeting.
        kind: What the settings say; "auto": what the server says.
        older: It is a MySQL before 8.0.22, or one that does not know SHOW REPLICA STATUS.
        discover: Whether the addresses of its replicas are asked for.
    """
    own = kind_of(told, version)
    asked = own if kind in {"auto", "static"} else kind
    if asked == "galera" and own == "galera":
        return Questions("galera", votes.GALERA, None, votes.read_galera)
    if asked == "group":
        return Questions("group", votes.GROUP, None, votes.read_group)
    if asked == "aurora":
        return Questions("aurora", votes.AURORA, None, votes.read_aurora)
    if asked in {"equal", "sequential"}:
        return Questions(asked, ("SELECT 1 AS one",), None, lambda _: {"kind": asked, "read_only": False})
    if "mariadb" in f"{version} {told.get('version', '')}".lower():
        replicas = replication.REPLICAS_BEFORE if discover else None
        return Questions(own, replication.MARIADB, replication.MARIADB_REPLICATION, replication.read_mariadb, replicas)
    status = replication.MYSQL_REPLICATION_BEFORE if older else replication.MYSQL_REPLICATION
    listing = replication.REPLICAS_BEFORE if older else replication.MYSQL_REPLICAS
    replicas = listing if discover else None
    return Questions(own, replication.MYSQL, status, replication.read_mysql, replicas, _is_unordered(told))


def _is_unordered(told: Row) -> bool | None:
    """Say whether a MySQL has several workers, and lets each commit when it can; 8.0.26 has renamed the variables."""
    workers, kept = (
        next((told[f"{noun}_{name}"] for noun in ("replica", "slave") if f"{noun}_{name}" in told), "")
        for name in ("parallel_workers", "preserve_commit_order")
    )
    return None if flag(kept) is None else (number(workers) or 0) > 1 and not flag(kept)
