"""What the server's settings promise about a write it has acknowledged.

Knows settings of MySQL, MariaDB and Galera, and what they mean. Does not know connections.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


class Finding(NamedTuple):
    """One setting that weakens a promise.

    Attributes:
        setting: Its name on the server, or of ours.
        value: Its value.
        meaning: What may happen because of it, and what to set instead.
    """

    setting: str
    value: str
    meaning: str

    def __str__(self) -> str:
        return f"{self.setting}={self.value}: {self.meaning}"


class _Check(NamedTuple):
    setting: str
    weak: Callable[[str, Mapping[str, str]], bool]
    meaning: str


def _is_on(value: str) -> bool:
    return value.upper() in {"ON", "1", "YES"}


def _logs(settings: Mapping[str, str]) -> bool:
    return _is_on(settings.get("log_bin", "OFF"))


def _semi_sync(settings: Mapping[str, str]) -> bool:
    names = ("rpl_semi_sync_master_enabled", "rpl_semi_sync_source_enabled")
    return any(_is_on(settings.get(name, "OFF")) for name in names)


_AFTER_COMMIT: Final = "a reader may see a commit that a failover loses; set AFTER_SYNC"
_SEMI_SYNC: Final = (
    "replication is asynchronous: a failover may lose commits that were acknowledged; enable semi-synchronous "
    "replication, or accept it"
)

CHECKS: Final = (
    _Check(
        "innodb_flush_log_at_trx_commit",
        lambda value, _: value != "1",
        "a power loss may lose about a second of acknowledged commits (0: a crash of the server too); set 1",
    ),
    _Check(
        "sync_binlog",
        lambda value, settings: value != "1" and _logs(settings),
        "a power loss may lose binary log events that replicas need; set 1",
    ),
    _Check("rpl_semi_sync_master_enabled", lambda value, all_: not _is_on(value) and _logs(all_), _SEMI_SYNC),
    _Check("rpl_semi_sync_source_enabled", lambda value, all_: not _is_on(value) and _logs(all_), _SEMI_SYNC),
    _Check(
        "rpl_semi_sync_master_wait_point",
        lambda value, all_: value.upper() != "AFTER_SYNC" and _semi_sync(all_),
        _AFTER_COMMIT,
    ),
    _Check(
        "rpl_semi_sync_source_wait_point",
        lambda value, all_: value.upper() != "AFTER_SYNC" and _semi_sync(all_),
        _AFTER_COMMIT,
    ),
    _Check(
        "innodb_rollback_on_timeout",
        lambda value, _: _is_on(value),
        "a lock wait timeout rolls back the whole transaction, not only the statement",
    ),
    _Check(
        "innodb_doublewrite",
        lambda value, _: not _is_on(value) and not value.upper().startswith("DETECT"),
        "a power loss may leave torn pages; set ON",
    ),
    _Check(
        "wsrep_on",
        lambda value, _: _is_on(value),
        "Galera: a commit in flight when the quorum is lost has an unknown outcome; write to one node at a time",
    ),
    _Check(
        "autocommit",
        lambda value, _: not _is_on(value),
        "sessions other than ours begin a transaction with their first statement",
    ),
    _Check(
        "local_infile",
        lambda value, _: not _is_on(value),
        "load_rows() falls back to exec_many()",
    ),
)

#: The settings to ask the server for.
SETTINGS: Final = tuple(sorted({check.setting for check in CHECKS} | {"log_bin", "wait_timeout"}))
#: The statement that asks for them.
SHOW_SETTINGS: Final = f"SHOW GLOBAL VARIABLES WHERE Variable_name IN {SETTINGS}"


def findings(settings: Mapping[str, str], *, idle_timeout: float | None, min_size: int) -> list[Finding]:
    """Return what weakens the promises, in the order of `CHECKS`.

    Args:
        settings: The server's global variables; missing ones are skipped.
        idle_timeout: Seconds after which the pool closes an idle connection; None means never.
        min_size: How many idle connections it keeps.
    """
    found = [
        Finding(check.setting, settings[check.setting], check.meaning)
        for check in CHECKS
        if check.setting in settings and check.weak(settings[check.setting], settings)
    ]
    limit = float(settings.get("wait_timeout", "inf"))
    if (idle_timeout is None or idle_timeout > limit) and not min_size:
        meaning = f"the server ends idle sessions before our idle_timeout of {idle_timeout} s; set it lower"
        found.append(Finding("wait_timeout", settings["wait_timeout"], meaning))
    return found
