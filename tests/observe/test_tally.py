"""The table of statements: exact sums, bounded memory, and a word about what was dropped."""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING, Any, NamedTuple

from improved_db.execution.observed import Span
from improved_db.observe.events import Event, Events
from improved_db.observe.tally import FUSE, LONG, Tally
from tests.fakes import FakeClock, run_alone
from tests.unit.test_pool_fork import OPTIONS, in_child

if TYPE_CHECKING:
    from improved_db.observe.statement import Statement


class Result(NamedTuple):
    """What a finished result tells of itself."""

    affected_rows: int


class Table:
    """A tally on a fake clock."""

    def __init__(self, limit: int = 500, **options: Any) -> None:
        self.clock = FakeClock()
        self.events = Events(self.clock.now)
        self.tally = Tally(limit, "shop", now=self.clock.now, wall=self.clock.now, on_event=self.events.add, **options)

    def note(self, query: str, seconds: float = 0.001, rows: int = 1, waited: float = 0.0) -> None:
        """Count a statement that ends now."""
        end = self.clock.now()
        self.tally.note(query, None, Span(end - seconds - waited, end - seconds, end), Result(rows))

    def rows(self) -> dict[str, Statement]:
        """Return the table by form."""
        return {statement.digest: statement for statement in self.tally.statements()}

    def happened(self) -> list[Event]:
        """Return the events so far."""
        return self.events.since()


def test_wait_and_run_are_told_apart() -> None:
    """A pool that is too small and a slow server look the same from outside, and need opposite cures."""
    table = Table()
    table.note("select 1", seconds=1.0, waited=2.0)
    (statement,) = table.tally.statements()
    assert (statement.run_seconds, statement.wait_seconds, statement.wait_share) == (1.0, 2.0, 2 / 3)
    assert (statement.mean, statement.longest, statement.share) == (1.0, 1.0, 1.0)


def test_eight_threads_lose_no_call() -> None:
    """No lock is taken after a query, so that the sums must be right without one."""
    table, threads, times = Table(), 8, 20_000
    start = threading.Barrier(threads)

    def work() -> None:
        start.wait()
        for _ in range(times):
            table.note("select a from t where id = %s", seconds=1.0, rows=3, waited=1.0)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        workers = [threading.Thread(target=work) for _ in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    finally:
        sys.setswitchinterval(interval)
    (statement,) = table.tally.statements()
    calls = threads * times
    assert (statement.calls, statement.rows) == (calls, 3 * calls)
    assert (statement.run_seconds, statement.wait_seconds) == (calls, calls)


def test_a_program_that_writes_values_into_its_texts_has_one_row_for_them() -> None:
    """Others keep each such text for ever, until the program has no memory left."""
    table = Table()
    for number in range(5_000):
        if number % 100 == 0:
            table.clock.advance(1.0)
        table.note(f"select name from pets where id = {number}")
    (statement,) = table.tally.statements()
    assert (statement.digest, statement.calls, statement.texts) == ("SELECT name FROM pets WHERE id = ?", 5_000, 100)


def test_a_flood_of_forms_is_purged_and_the_sums_stay() -> None:
    """The table is bounded, the heaviest statement survives, and what was dropped is still counted."""
    table = Table(limit=500)
    for number in range(4_000):
        if number % 100 == 0:
            table.clock.advance(1.0)
            table.note("select heavy from t", seconds=5.0)
        table.note(f"select c{number} from t")
    found = table.tally.statements()
    forms = [statement for statement in found if not statement.digest.startswith("(")]
    assert (len(forms) <= 500, forms[0].digest) == (True, "SELECT heavy FROM t")
    assert (sum(statement.calls for statement in found), found.purged > 3_000) == (4_040, True)
    rest = table.rows()["(rest) SELECT"]
    assert (rest.calls, rest.verb) == (found.purged, "SELECT")
    assert {event.kind for event in table.happened()} == {"purged"}


def test_new_texts_that_come_too_fast_are_not_read_for_the_rest_of_the_second() -> None:
    """Reading a text takes longer than counting it: the program must not pay for what it does not want."""
    table = Table()
    table.clock.advance(0.5)
    for number in range(FUSE + 50):
        table.note(f"select c{number} from t")
    found = table.tally.statements()
    assert (found.unread, table.rows()["(unread texts) SELECT"].calls, len(found)) == (True, 50, FUSE + 1)
    table.note("secret_name is no word of SQL")
    assert table.rows()["(unread texts) OTHER"].calls == 1
    table.clock.advance(1.0)
    table.note("select one_more from t")
    assert (table.tally.statements().unread, "SELECT one_more FROM t" in table.rows()) == (False, True)
    assert [(event.kind, event.details) for event in table.happened()] == [("fuse", {"texts": FUSE})]


def test_very_long_texts_are_counted_and_not_kept() -> None:
    """Megabytes of values are no key of a table."""
    table = Table()
    for _ in range(3):
        table.note("insert into t values " + "(1), " * LONG + "(1)")
    (statement,) = table.tally.statements()
    assert (statement.digest, statement.calls) == ("INSERT INTO t VALUES (...)", 3)


def test_slow_calls_are_counted_and_told() -> None:
    """What is slow is decided by one comparison after each query."""
    told: list[str] = []
    table = Table(slow_after=1.0, on_slow=lambda *call: told.append(call[1]))
    table.note("select 1", seconds=0.999)
    table.note("select 2 from t", seconds=0.5, waited=0.5)
    assert (told, table.rows()["SELECT ? FROM t"].slow, table.rows()["SELECT ?"].slow) == (["select 2 from t"], 1, 0)


def test_a_table_that_is_reset_is_empty() -> None:
    """Before an experiment."""
    table = Table()
    table.note("select 1")
    table.clock.advance(5.0)
    table.tally.reset()
    assert (list(table.tally.statements()), table.tally.statements().since) == ([], 5.0)


def child_counts_anew() -> None:
    """Fork with something in the table."""
    table = Table()
    table.note("select 1")

    def check() -> None:
        assert list(table.tally.statements()) == []
        table.note("select 2 from t")
        assert [(row.digest, row.calls) for row in table.tally.statements()] == [("SELECT ? FROM t", 1)]

    in_child(check)
    assert [(row.digest, row.calls) for row in table.tally.statements()] == [("SELECT ?", 1)]


def test_a_forked_child_counts_from_zero() -> None:
    """Each worker of a server is shown once, not with its parent's sums."""
    run_alone(child_counts_anew, *OPTIONS)


# --- events ----------------------------------------------------------------------------------------------------------


def test_events_that_repeat_within_a_second_are_one() -> None:
    """An outage of a minute must not push out what came before it."""
    clock = FakeClock()
    events = Events(clock.now, kept=3)
    for _ in range(5):
        events.add("timeout", fold="", seconds=clock.now())
        clock.advance(0.5)
    clock.advance(1.0)
    events.add("timeout", fold="", seconds=9.0)
    events.add("closed", reason="ping")
    seen = events.since()
    assert [(event.seq, event.kind, event.times) for event in seen] == [
        (1, "timeout", 5), (2, "timeout", 1), (3, "closed", 1)
    ]  # fmt: skip
    assert (seen[0].at, seen[0].until, str(seen[0])) == (0.0, 2.0, "timeout x5 seconds=0.0")


def test_only_the_latest_events_are_kept_and_slow_statements_push_out_no_others() -> None:
    """Memory is bounded; a flood of one kind is not the end of the others."""
    clock = FakeClock()
    events = Events(clock.now, kept=3)
    for number in range(5):
        events.add("closed", reason=str(number))
    for number in range(300):
        events.add("slow", statement=str(number))
    assert [event.details["reason"] for event in events.since(kind="closed")] == ["2", "3", "4"]
    assert (len(events.since(kind="slow")), len(events.since()), len(events.since(after=305))) == (200, 203, 0)
