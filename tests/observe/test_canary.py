"""A value of the user's: in arguments, in the text of a statement, in the server's own error. Nothing here shows it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest
from pymysql.err import MySQLError

from improved_db import ImprovedDb, OutcomeUnknown, RepeatedStatements
from improved_db.observe import prometheus
from improved_db.observe.spool import VARIABLE
from tests.faults.faults import SWALLOW_ANSWER_RST, inject_err

if TYPE_CHECKING:
    from pathlib import Path

    from improved_db.observe.watch import Watch
    from tests.faults.harness import Rig


CANARY = "c4n4ryvalue"
NUMBER = 987654321

#: Statements with the values in their text, each in another way.
TEXTS = [
    f"select '{CANARY}', {NUMBER}",
    f'select "{CANARY}"',
    f"select 'it''s {CANARY}', x'{CANARY.encode().hex()}', -{NUMBER}.5e3",
    f"select 'it\\'s', '{CANARY}'",
    f"select 1 /* {CANARY} */ -- {CANARY}",
    f"select 1 # {CANARY}\n",
    f"select /*! '{CANARY}' */ 1",
    f"select * from name where name in ('a', '{CANARY}', %s)",
    f"insert into name values ('{CANARY}')",
    f"insert into name values ('{CANARY}')",  # once more: a duplicate, whose error has the value in it
    f"select '{CANARY}' from no_such_table_here",
    f"select syntax error '{CANARY}'",
    f"select '{CANARY}",
    f"set @a = '{CANARY}'",
    f"set password for nobody = password('{CANARY}')",
    f"create user nobody identified by '{CANARY}'",
    f"alter user nobody identified by '{CANARY}'",
    f"grant all on *.* to nobody identified by '{CANARY}'",
    f"insert into number values ('{CANARY}')",
    f"select * from name where name = '{'x' * 1990}{CANARY}'",
]


def use(db: ImprovedDb, rig: Rig) -> Watch:
    """Send the values in every way, through every verb."""
    with db.watch() as seen:
        for text in TEXTS:
            for args in (None, (CANARY,)):
                with _whatever():
                    db.execute_query(text, args)
        for _ in range(2):
            with _whatever():
                db.exec_many("insert into name values (%s)", [(f"{CANARY} 2",), (f"{CANARY} 3",)])
        with _whatever():
            db.load_rows("number", [(CANARY,)])
        with db.stream("select %s from name", CANARY) as rows:
            list(rows)
        with _whatever(), db.transaction() as tx:
            tx.execute_query("select %(a)s, 1", {"a": CANARY})
            tx.execute_query("insert into name values (%s)", CANARY)
        with _whatever(), db.pipeline() as pipe:
            pipe.execute_query("select %s", CANARY)
            pipe.execute_query("insert into name values (%s)", CANARY)
        rig.proxy.on_query(b"^update", inject_err(1213, "40001", f"Deadlock found at {CANARY}"))
        db.execute_query("update name set name = %s where name = 'x'", CANARY)
        rig.proxy.on_query(b"^replace", SWALLOW_ANSWER_RST)
        with pytest.raises(OutcomeUnknown):
            db.execute_query("replace into name values (%s)", CANARY)
        with db.connection(), db.connection(), _whatever():
            db.execute_query("select %s", CANARY)
    return seen


class _whatever:  # noqa: N801  # reads as pytest.raises does
    """Any error of the server's, or none."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> bool:
        return error is None or isinstance(error, (MySQLError, TimeoutError))


def test_no_value_is_in_anything_that_is_shown(
    rig: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Logs, traces and pages are read by people who must not see the data, and kept where it must not be."""
    pytest.importorskip("opentelemetry.sdk")
    pytest.importorskip("prometheus_client")
    from tests.observe.test_otel import Traces, traced  # noqa: PLC0415  # needs the SDK

    monkeypatch.setenv(VARIABLE, str(tmp_path / "spool"))
    rig.ask("create table name (name varchar(60) primary key)")
    rig.ask("create table number (n int)")
    traces = Traces()
    caplog.set_level(logging.DEBUG)
    db = rig.db(name="shop", max_size=2, acquire_timeout=0.3, slow_query_threshold=0.0, leak_warn_after=0.01)
    with traced(db, traces, returned_rows=True, pool_times=True, sql_comment={"application": "test"}):
        seen = use(db, rig)
        metrics = str(traces.points())
    shown = {
        "log": "\n".join(f"{record.getMessage()} {vars(record)}" for record in caplog.records),
        "spans": "".join(span.to_json() for span in traces.spans()),
        "metrics": metrics,
        "text": prometheus.text(top=100),
        "statements": str(db.statements(limit=None)),
        "events": str(db.events()),
        "watch": f"{seen.statements} {vars(seen)}",
        "check": _check(seen),
    }
    for path in (tmp_path / "spool").glob("*.json"):
        shown[path.name] = path.read_text()
    assert all(shown.values()), {name: len(text) for name, text in shown.items()}
    found = [name for name, text in shown.items() if _has_value(text)]
    assert found == []
    assert len(traces.clients()) > 2 * len(TEXTS)
    assert {event.kind for event in db.events()} >= {"slow", "retry", "unknown", "opened", "closed"}


def _has_value(text: str) -> bool:
    return any(value in text for value in (CANARY, str(NUMBER), CANARY.encode().hex()))


def _check(seen: Any) -> str:
    with pytest.raises(RepeatedStatements) as caught:
        seen.check(at_most=1)
    return f"{caught.value!r} {vars(caught.value)}"
