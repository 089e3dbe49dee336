"""A watch: what runs in a block, and which statements repeat in it, for tests and for the search for an N+1.

Knows the calls of its block. Does not know other blocks, connections or servers.
"""

from __future__ import annotations

import contextvars
import hashlib
import secrets
from typing import TYPE_CHECKING, Any, NamedTuple

from improved_db.errors import RepeatedStatements
from improved_db.pool.loan import callers_place, describe_place
from improved_db.sql.normal import normal_form

if TYPE_CHECKING:
    from improved_db.execution.observed import Call

#: The watches of the code that runs now, the innermost last.
watching: contextvars.ContextVar[tuple[Watch, ...]] = contextvars.ContextVar("improved_db_watching", default=())

#: Arguments are compared by a hash that only this process can make.
_SALT = secrets.token_bytes(16)


class Seen(NamedTuple):
    """What a watch has seen of one statement.

    Attributes:
        digest: Its normal form.
        calls: How often it was called.
        distinct: How many different texts and arguments it was called with.
        rows: Rows that it returned or changed, in sum.
        errors: Calls that failed.
        seconds: How long it waited and ran, in sum.
        places: From where it was called, as ``file:line in function``, the most frequent first.
    """

    digest: str
    calls: int
    distinct: int
    rows: int
    errors: int
    seconds: float
    places: tuple[str, ...]

    def __str__(self) -> str:
        where = f" at {self.places[0]}" if self.places else ""
        return f"{self.calls:5} calls {self.distinct:5} different {self.seconds:8.3f} s  {self.digest}{where}"


class _Sums:
    def __init__(self) -> None:
        self.calls = self.rows = self.errors = 0
        self.seconds = 0.0
        self.keys: set[bytes] = set()
        self.places: dict[Any, int] = {}


class Watch:
    """What has run in the block so far; it counts on while the block goes on."""

    def __init__(self) -> None:
        self._sums: dict[str, _Sums] = {}

    def hear(self, call: Call) -> None:
        """Count a call that has ended."""
        sums = self._sums.setdefault(normal_form(call.query), _Sums())
        sums.calls += 1
        sums.rows += call.rows
        sums.errors += call.error is not None
        sums.seconds += call.wait + call.run
        sums.keys.add(_key(call))
        for place in callers_place():
            sums.places[place] = sums.places.get(place, 0) + 1

    @property
    def calls(self) -> int:
        """How many statements were called."""
        return sum(sums.calls for sums in self._sums.values())

    @property
    def statements(self) -> list[Seen]:
        """What was seen of each statement, in the order of their first calls."""
        return [_seen(form, sums) for form, sums in self._sums.items()]

    def similar(self, at_least: int = 2) -> list[Seen]:
        """Return the statements that were called *at_least* so often, the most frequent first: an N+1 is one."""
        found = [seen for seen in self.statements if seen.calls >= at_least]
        return sorted(found, key=lambda seen: -seen.calls)

    def duplicates(self) -> list[Seen]:
        """Return the statements that were called more than once with the same arguments, the most frequent first."""
        return [seen for seen in self.similar() if seen.distinct < seen.calls]

    def check(self, at_most: int = 10) -> None:
        """Raise an error if a statement was called more often than *at_most*.

        Raises:
            RepeatedStatements: One was; the text is a table of those that were, without their arguments.
        """
        found = self.similar(at_most + 1)
        if found:
            lines = "\n".join(map(str, found))
            raise RepeatedStatements(f"called more often than {at_most} times in the block:\n{lines}")


def _seen(form: str, sums: _Sums) -> Seen:
    places = sorted(sums.places.items(), key=lambda item: -item[1])
    shown = tuple(text for place, _ in places for text in describe_place((place,), None))
    return Seen(form, sums.calls, len(sums.keys), sums.rows, sums.errors, sums.seconds, shown)


def _key(call: Call) -> bytes:
    """Return what is the same for two calls with the same text and arguments."""
    try:
        given = repr(call.args)
    except Exception:  # the caller's own __repr__
        given = str(id(call.args))
    if call.batch is not None:  # its arguments were an iterator
        given = secrets.token_hex(8)
    return hashlib.blake2b(f"{call.query}\0{given}".encode("utf-8", "surrogatepass"), key=_SALT, digest_size=8).digest()
