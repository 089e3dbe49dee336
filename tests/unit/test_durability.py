"""The durability report: what the settings promise, as sentences."""

from __future__ import annotations

from improved_db.sql.durability import SETTINGS, findings

SAFE = {
    "innodb_flush_log_at_trx_commit": "1",
    "sync_binlog": "1",
    "log_bin": "ON",
    "rpl_semi_sync_master_enabled": "ON",
    "rpl_semi_sync_master_wait_point": "AFTER_SYNC",
    "innodb_rollback_on_timeout": "OFF",
    "innodb_doublewrite": "ON",
    "wsrep_on": "OFF",
    "autocommit": "ON",
    "local_infile": "ON",
    "wait_timeout": "28800",
}


def found(**changed: str) -> list[str]:
    """Return the names of the settings that are reported when *changed* differ from safe ones."""
    return [finding.setting for finding in findings({**SAFE, **changed}, idle_timeout=600.0, min_size=0)]


def test_safe_settings_are_not_reported() -> None:
    """An empty list means that an acknowledged write is there to stay."""
    assert found() == []


def test_each_weak_setting_is_reported() -> None:
    """One setting at a time, each for its own reason."""
    weak = {
        "innodb_flush_log_at_trx_commit": "2",
        "sync_binlog": "0",
        "rpl_semi_sync_master_enabled": "OFF",
        "rpl_semi_sync_master_wait_point": "AFTER_COMMIT",
        "innodb_rollback_on_timeout": "ON",
        "innodb_doublewrite": "OFF",
        "wsrep_on": "ON",
        "autocommit": "OFF",
        "local_infile": "OFF",
        "wait_timeout": "60",
    }
    for name, value in weak.items():
        assert name in found(**{name: value}), name


def test_binary_log_settings_do_not_matter_without_a_binary_log() -> None:
    """A server without replicas has nothing to lose to them."""
    assert found(log_bin="OFF", sync_binlog="0", rpl_semi_sync_master_enabled="OFF") == []


def test_report_asks_for_every_setting_it_reads() -> None:
    """A setting that is not asked for would never be reported."""
    assert set(SAFE) <= set(SETTINGS)


def test_finding_reads_as_a_sentence() -> None:
    """The report is for a person."""
    finding = findings({**SAFE, "sync_binlog": "0"}, idle_timeout=600.0, min_size=0)[0]
    assert str(finding).startswith("sync_binlog=0: ")
