"""Many rows while all around them fails: rows that raise, encoders that raise, a full disk, a network that cuts."""

from __future__ import annotations

import errno
import io
import os
import tempfile
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, Any, Final

import pymysql
import pytest
import tenacity
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pymysql.converters import conversions

from improved_db import ImprovedDb, ImprovedDbError, OutcomeUnknown, RetryPolicy, StatementError
from improved_db.execution import chunks
from tests.faults.faults import CUT_BEFORE, CUT_WITHIN, SWALLOW_ANSWER_FIN, SWALLOW_ANSWER_RST, cut_answer, inject_err
from tests.faults.harness import Rig
from tests.faults.proxy import Cut

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.faults.proxy import Fault, Session

#: No wait between attempts: what is looked for does not depend on it.
AT_ONCE: Final = RetryPolicy(
    contention=tenacity.wait_none(), connection=tenacity.wait_none(), overload=tenacity.wait_none(), budget=10_000
)

TABLE: Final = "t (history int not null, n int not null, v varchar(200) not null, key (history))"
FOLDED: Final = "insert into t values (%s, %s, %s)"
ONE_BY_ONE: Final = "insert into t select %s, %s, %s"


@dataclass
class Unhashable(Exception):  # it is a class of a user's
    """An error that can be no member of a set."""

    text: str = "mine"


#: What code of the caller's may raise, also what looks like an error of the socket's or of the server's.
ERRORS: Final[tuple[Any, ...]] = (
    lambda: ConnectionError("mine"),
    lambda: ConnectionResetError(errno.ECONNRESET, "mine"),
    lambda: TimeoutError("mine"),
    lambda: OSError(errno.EIO, "mine"),
    lambda: EOFError("mine"),
    lambda: StopIteration("mine"),
    lambda: GeneratorExit("mine"),
    lambda: KeyboardInterrupt("mine"),
    lambda: pymysql.err.OperationalError(2013, "mine"),
    lambda: pymysql.err.OperationalError(1213, "mine"),
    lambda: pymysql.err.InterfaceError(0, ""),
    lambda: OutcomeUnknown(2013, "mine"),
    lambda: StatementError("mine"),
    lambda: ValueError("mine"),
    lambda: KeyError("mine"),
    lambda: RuntimeError("mine"),
    Unhashable,
)


def CUT_AFTER(session: Session, packet: bytes) -> None:  # noqa: N802  # as the other faults
    """Give the whole answer, then reset the connection."""
    session.forward(packet)
    session.finish_answers()
    raise Cut(reset=True)


FAULTS: Final[dict[str, Fault]] = {
    "cut before": CUT_BEFORE,
    "cut within": CUT_WITHIN,
    "swallow and reset": SWALLOW_ANSWER_RST,
    "swallow and close": SWALLOW_ANSWER_FIN,
    "cut the answer": cut_answer(3),
    "cut after the answer": CUT_AFTER,
    "a deadlock": inject_err(1213, "Deadlock found", "40001"),
    "a lock wait": inject_err(1205, "Lock wait timeout exceeded"),
    "a shutdown": inject_err(1053, "Server shutdown in progress", "08S01"),
    "a goodbye": inject_err(1927, "Connection was killed", "70100", sequence=0),
}


@dataclass
class Trap:
    """Raises at its *at*-th use, counted from 0, and afterwards too if it *lasts*."""

    at: int | None
    error: Any = None
    lasts: bool = False
    uses: Iterator[int] = field(default_factory=count, repr=False)
    raised: list[Any] = field(default_factory=list, repr=False)

    def spring(self) -> None:
        """Note one use; raise if it is that one."""
        if self.at is None:
            return
        use = next(self.uses)
        if use == self.at or (self.lasts and use > self.at):
            self.raised.append(self.error())
            raise self.raised[-1]


class Disk(io.BytesIO):
    """A file that fails at one of its operations; one that was written late fails when it is closed, too."""

    trap: Trap

    def write(self, data: Any) -> int:
        """Write, or fail."""
        self.trap.spring()
        return super().write(data)

    def read(self, size: int | None = -1) -> bytes:
        """Read, or fail."""
        self.trap.spring()
        return super().read(size)

    def close(self) -> None:
        """Close, and fail perhaps."""
        was_open = not self.closed
        super().close()
        if was_open:
            self.trap.spring()


class Late:
    """A value with an encoder of the user's."""

    def __init__(self, text: str) -> None:
        self.text = text


class Rows:
    """An iterator that may raise in the middle, and goes on if it is asked again: what then comes is one row less."""

    def __init__(self, history: History, number: int) -> None:
        self._rows = iter(
            [
                (number, n, Late(text) if history.late and n % history.late == 0 else text)
                for n, text in history.values()
            ]
        )
        self._trap = history.source

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        row = next(self._rows, None)
        self._trap.spring()
        if row is None:
            raise StopIteration
        return row


@dataclass
class History:
    """One call, and everything that happens to it."""

    way: str
    statement: str
    autocommit: bool
    rows: int
    width: int
    late: int
    chunk: int
    target: int
    source: Trap
    encoder: Trap
    disk: Trap
    network: dict[int, str]

    def values(self) -> list[tuple[int, str]]:
        """Return the number and the text of every row."""
        return [(n, (f"{n}'" * self.width)[: self.width]) for n in range(self.rows)]

    def run(self, db: ImprovedDb, number: int) -> Any:
        """Make the call."""
        return db.exec_many(
            self.statement, Rows(self, number), atomic=self.way != "chunks", exactly_once=self.way == "once"
        )

    def check_class(self, error: BaseException | None) -> None:
        """Complain of an error that is neither what was raised, nor the driver's, nor ours."""
        raised = [*self.source.raised, *self.encoder.raised, *self.disk.raised]
        known = isinstance(error, (pymysql.err.MySQLError, ImprovedDbError)) or any(error is one for one in raised)
        assert error is None or known, repr(error)

    def given(self) -> list[tuple[int, str]]:
        """Return the rows that the iterator gives, if nothing else stops the call: a StopIteration is its end."""
        at = self.source.at
        return self.values() if at is None else self.values()[:at]


def traps(most: int) -> st.SearchStrategy[Trap]:
    """Most of them never spring."""
    armed = st.builds(Trap, st.integers(0, most), st.sampled_from(ERRORS))
    return st.one_of(st.builds(Trap, st.none()), armed, armed)


def full() -> OSError:
    """Return what a full disk says."""
    return OSError(errno.ENOSPC, "No space left on device")


HISTORIES: Final = st.builds(
    History,
    way=st.sampled_from(["atomic", "once", "chunks", "chunks"]),
    statement=st.sampled_from([FOLDED, FOLDED, FOLDED, ONE_BY_ONE]),
    autocommit=st.sampled_from([True, True, False]),
    rows=st.integers(0, 40),
    width=st.integers(0, 60),
    late=st.sampled_from([0, 1, 7]),
    chunk=st.integers(1, 15),
    target=st.sampled_from([200, 1000, 1_000_000]),
    source=traps(40),
    encoder=traps(20),
    disk=st.one_of(st.builds(Trap, st.none()), st.builds(Trap, st.integers(0, 30), st.just(full), st.booleans())),
    network=st.dictionaries(st.integers(0, 12), st.sampled_from(sorted(FAULTS)), max_size=4),
)


class World:
    """A table behind a proxy, and what histories do to it."""

    def __init__(self, rig: Rig, patch: pytest.MonkeyPatch) -> None:
        self._rig = rig
        self._patch = patch
        self._numbers = count(1)
        rig.ask(f"create table {TABLE} engine=InnoDB")
        with rig.db(direct=True) as db:  # makes the table of tokens
            db.run_transaction(lambda tx: tx.execute_query("select 1"), exactly_once=True)
        patch.setattr(tempfile, "SpooledTemporaryFile", lambda *_, **__: self._disk())

    def live(self, history: History) -> None:
        """Let one history happen, and see whether what it said is true."""
        number = next(self._numbers)
        for name in ("FIRST_ROWS", "MOST_ROWS", "TOGETHER"):
            self._patch.setattr(chunks, name, history.chunk)
        self._patch.setattr(chunks, "TARGET_BYTES", history.target)
        self._trap = history.disk
        with self._pool(history) as db:
            error: BaseException | None = None
            rowcount = -1
            self._arm(history.network)
            try:
                rowcount = history.run(db, number).rowcount
            except BaseException as caught:
                error = caught
            finally:
                self._rig.proxy.clear()
            assert db.stats().used == 0
        history.check_class(error)
        rows = sorted(self._rig.ask("select n, v from t where history = %s", (number,)))
        if error is None:
            assert (rows, rowcount) == (history.given(), len(history.given()))
        elif history.way == "chunks":
            check_chunks(history, rows, error)
        else:
            allowed = [[], history.given()] if isinstance(error, OutcomeUnknown) else [[]]
            assert rows in allowed, error

    def _pool(self, history: History) -> ImprovedDb:
        def encode(value: Late, _: object) -> str:
            history.encoder.spring()
            return str(pymysql.converters.escape_string(value.text).join("''"))

        options = {
            **self._rig.options,
            "port": self._rig.proxy.port,
            "autocommit": history.autocommit,
            "read_timeout": 5,
        }
        return ImprovedDb(options, max_size=1, retry=AT_ONCE, conv={**conversions, Late: encode})

    def _disk(self) -> Disk:
        disk = Disk()
        disk.trap = self._trap
        return disk

    def _arm(self, network: dict[int, str]) -> None:
        """Let each fault happen to the command of its number, on whatever connection that comes."""
        commands = count()
        now = -1

        def step() -> bool:
            nonlocal now
            now = next(commands)
            return False

        self._rig.proxy.on_any(step, CUT_BEFORE)
        for at, name in network.items():
            self._rig.proxy.on_any(lambda at=at: now == at, FAULTS[name])  # type: ignore[misc]  # mypy and defaults


def check_chunks(history: History, rows: list[Any], error: BaseException) -> None:
    """Compare what is in with what the error says: these rows from the first, and those perhaps."""
    acked, unknown = error.acked_rows, error.unknown_rows  # type: ignore[attr-defined]  # noted on every error
    assert unknown.start == acked
    assert rows in (history.values()[:acked], history.values()[: unknown.stop]), (error, acked, unknown)


@pytest.mark.parametrize("histories", [500, pytest.param(20_000, marks=pytest.mark.soak)])
def test_a_bulk_load_tells_the_truth_whatever_fails(
    database: dict[str, Any], monkeypatch: pytest.MonkeyPatch, histories: int
) -> None:
    """Success means all rows once; an error of an atomic load none; of another one those that the error names."""
    with Rig(database) as rig:
        world = World(rig, monkeypatch)

        @settings(
            max_examples=histories,
            deadline=None,
            derandomize=bool(os.environ.get("CI")),
            suppress_health_check=list(HealthCheck),
        )
        @given(history=HISTORIES)
        def live(history: History) -> None:
            world.live(history)

        live()
