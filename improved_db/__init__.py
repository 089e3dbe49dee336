"""improved_db: MySQL and MariaDB for Python programs with threads.

Public is what this package exports, with `improved_db.errors`, `improved_db.aio`, `improved_db.observe.prometheus`,
`improved_db.observe.otel`, `improved_db.testing` and the doors in `improved_db.compat`; every other module is the
package's own and may change with any release.

Knows the public names. Does not know how any of them works.
"""

from logging import NullHandler, getLogger
from typing import TYPE_CHECKING, Any

from improved_db._version import __version__
from improved_db.db import ImprovedDb
from improved_db.errors import (
    AlreadyEnabled,
    ConfigError,
    ImprovedDbError,
    LoanSpent,
    OutcomeUnknown,
    PoolClosed,
    PoolError,
    PoolTimeout,
    RepeatedStatements,
    RowNotFound,
    ServerNotFound,
    ServerRefused,
    StatementError,
    StatementTimeout,
    TooManyWaiting,
    TransactionEnded,
    TransactionLost,
    TransactionRolledBack,
    VerdictError,
)
from improved_db.failures.error_table import Verdict
from improved_db.rows import Rows
from improved_db.sql.composed import SQL, Identifier
from improved_db.wire.compiled import compiled
from improved_db.wire.connection import Connection

if TYPE_CHECKING:
    from improved_db.cluster.failover import FailoverReport
    from improved_db.cluster.status import HostStatus
    from improved_db.compat.dropin import Enabled, enable
    from improved_db.execution.pipeline import Handle, Pipeline
    from improved_db.execution.reader import Reader
    from improved_db.execution.retry import RetryPolicy
    from improved_db.execution.stream import Stream
    from improved_db.execution.transaction import Transaction
    from improved_db.observe.events import Event
    from improved_db.observe.page.monitor import Monitor
    from improved_db.observe.statement import Statement, Statements
    from improved_db.observe.watch import Seen, Watch
    from improved_db.pool.snapshot import PoolStats
    from improved_db.pool.stats import Borrowed, Listener
    from improved_db.settings.hosts import Host
    from improved_db.sql.durability import Finding

__all__ = [
    "SQL",
    "AlreadyEnabled",
    "Borrowed",
    "ConfigError",
    "Connection",
    "Enabled",
    "Event",
    "FailoverReport",
    "Finding",
    "Handle",
    "Host",
    "HostStatus",
    "Identifier",
    "ImprovedDb",
    "ImprovedDbError",
    "Listener",
    "LoanSpent",
    "Monitor",
    "OutcomeUnknown",
    "Pipeline",
    "PoolClosed",
    "PoolError",
    "PoolStats",
    "PoolTimeout",
    "Reader",
    "RepeatedStatements",
    "RetryPolicy",
    "RowNotFound",
    "Rows",
    "Seen",
    "ServerNotFound",
    "ServerRefused",
    "Statement",
    "StatementError",
    "StatementTimeout",
    "Statements",
    "Stream",
    "TooManyWaiting",
    "Transaction",
    "TransactionEnded",
    "TransactionLost",
    "TransactionRolledBack",
    "Verdict",
    "VerdictError",
    "Watch",
    "__version__",
    "compiled",
    "enable",
]

getLogger("improved_db").addHandler(NullHandler())  # else logging prints warnings in programs that set up no logging


#: Names whose modules not every program needs.
_LATER = {
    "Enabled": "compat.dropin",
    "Borrowed": "pool.stats",
    "Finding": "sql.durability",
    "Listener": "pool.stats",
    "RetryPolicy": "execution.retry",
    "Handle": "execution.pipeline",
    "Pipeline": "execution.pipeline",
    "Stream": "execution.stream",
    "Transaction": "execution.transaction",
    "PoolStats": "pool.snapshot",
    "enable": "compat.dropin",
    "Event": "observe.events",
    "FailoverReport": "cluster.failover",
    "Host": "settings.hosts",
    "HostStatus": "cluster.status",
    "Reader": "execution.reader",
    "Monitor": "observe.page.monitor",
    "Seen": "observe.watch",
    "Statement": "observe.statement",
    "Statements": "observe.statement",
    "Watch": "observe.watch",
}


def __getattr__(name: str) -> Any:
    """Import the module of a name with the name's first use (PEP 562)."""
    if name in _LATER:
        from importlib import import_module  # noqa: PLC0415

        return getattr(import_module(f"improved_db.{_LATER[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
