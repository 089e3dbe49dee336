"""A ledger: what each write was said to have become, and what it has become.

Knows what may be claimed of a write. Does not know faults.
"""

from __future__ import annotations

import enum
import threading
from collections import Counter
from time import monotonic
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from pymysql.err import MySQLError

from improved_db import OutcomeUnknown

if TYPE_CHECKING:
    from collections.abc import Callable

    from improved_db import ImprovedDb, Transaction

#: How many rows of counters the transactions fight over.
COUNTERS = 3


class Claim(enum.Enum):
    """What the caller was told of a write."""

    ACKNOWLEDGED = "acknowledged"
    REFUSED = "refused"
    UNKNOWN = "unknown"


class Entry(NamedTuple):
    """One write."""

    number: int
    claim: Claim
    in_transaction: bool


class Books(Protocol):
    """The server whose rows are the truth."""

    def ask(self, query: str) -> tuple[tuple[Any, ...], ...]:
        """Run one statement, and return its rows."""


class Ledger:
    """Writers that note what they were told, and the question whether it was true.

    Attributes:
        longest: How long the slowest call took, in seconds.
    """

    def __init__(self, db: ImprovedDb, pause: float = 0.0) -> None:
        """Write by *db*; each writer rests for *pause* seconds after each write."""
        self.longest = 0.0
        self._pause = pause
        self._db = db
        self._entries: list[Entry] = []
        self._stop = threading.Event()

    @staticmethod
    def make_tables(books: Books) -> None:
        """Make them. No key is unique: what is written twice is to be seen twice."""
        books.ask("create table ledger (number bigint not null, half tinyint not null, key (number)) engine=InnoDB")
        books.ask("create table counters (id int primary key, n bigint not null) engine=InnoDB")
        books.ask(f"insert into counters values {', '.join(f'({number}, 0)' for number in range(COUNTERS))}")

    def stop(self) -> None:
        """Let every writer end with the write it is at."""
        self._stop.set()

    def note(self, number: int, claim: Claim, *, in_transaction: bool = False) -> None:
        """Note what was claimed of a write."""
        self._entries.append(Entry(number, claim, in_transaction))

    @property
    def length(self) -> int:
        """How many writes have been claimed something of."""
        return len(self._entries)

    # --- writers ---------------------------------------------------------------------------------------------------

    def write_rows(self, writer: int) -> None:
        """Insert one row after the other, each by itself."""
        self._write(writer, self._insert, in_transaction=False)

    def write_transactions(self, writer: int) -> None:
        """Do one transaction after the other, exactly once: two rows, and one more in a counter that all fight over."""
        self._write(writer, self._transact, in_transaction=True)

    def _write(self, writer: int, write: Callable[[int], object], *, in_transaction: bool) -> None:
        number = writer * 1_000_000_000
        while not self._stop.wait(self._pause):
            number += 1
            started_at = monotonic()
            claim = Claim.ACKNOWLEDGED
            try:
                write(number)
            except OutcomeUnknown:
                claim = Claim.UNKNOWN
            except MySQLError:
                claim = Claim.REFUSED
            self.longest = max(self.longest, monotonic() - started_at)
            self.note(number, claim, in_transaction=in_transaction)

    def _insert(self, number: int) -> None:
        self._db.execute_query("insert into ledger values (%s, 1)", number)

    def _transact(self, number: int) -> None:
        def work(tx: Transaction) -> None:
            tx.execute_query("insert into ledger values (%s, 1)", number)
            tx.execute_query("update counters set n = n + 1 where id = %s", number % COUNTERS)
            tx.execute_query("insert into ledger values (%s, 2)", number)

        self._db.run_transaction(work, exactly_once=True)

    # --- the question ----------------------------------------------------------------------------------------------

    def lies(self, books: Books, lost: int = 0) -> list[str]:
        """Return every claim that is not true; so many acknowledged writes may be *lost*, because it was said so."""
        found = Counter((number, half) for number, half in books.ask("select number, half from ledger"))
        missing = {entry for entry in self._entries if entry.claim is Claim.ACKNOWLEDGED and not found[entry.number, 1]}
        excused = missing if len(missing) <= lost else set()
        lies = [line for entry in self._entries if entry not in excused for line in _lies_about(entry, found)]
        lies += [f"{number} was never written" for number, _ in found.keys() - self._claimed()]
        counted = books.ask("select sum(n) from counters")[0][0]
        transactions = sum(found[entry.number, 1] for entry in self._entries if entry.in_transaction)
        if counted != transactions:
            lies.append(f"{transactions} transactions have counted to {counted}")
        return lies

    def claims(self) -> Counter[Claim]:
        """Count what was claimed."""
        return Counter(entry.claim for entry in self._entries)

    def _claimed(self) -> set[tuple[int, int]]:
        return {(entry.number, half) for entry in self._entries for half in ((1, 2) if entry.in_transaction else (1,))}


def _lies_about(entry: Entry, found: Counter[tuple[int, int]]) -> list[str]:
    there = found[entry.number, 1]
    allowed = {Claim.ACKNOWLEDGED: {1}, Claim.REFUSED: {0}, Claim.UNKNOWN: {0, 1}}[entry.claim]
    lies = [] if there in allowed else [f"{entry.number} is there {there} times, and was {entry.claim.value}"]
    if entry.in_transaction and found[entry.number, 2] != there:
        lies.append(f"{entry.number} is there by half")
    return lies
