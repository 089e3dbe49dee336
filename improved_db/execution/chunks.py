"""Makes statements of rows, as large as the server accepts, and keeps them until the server has applied them.

Knows rows, statement texts and their sizes. Does not know pools, retries or sockets.
"""

from __future__ import annotations

import contextlib
import logging
import re
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from improved_db.errors import StatementError
from improved_db.failures.raising import CallersOwn, callers_rows
from improved_db.frames.rows import unframed
from improved_db.records import without_records
from improved_db.sql.insert import split_insert
from improved_db.sql.placeholders import LONG, guarded, row_misfit
from improved_db.sql.statement import returns_rows
from improved_db.wire.exchange import QUERY
from improved_db.wire.literals import rows_to_sql
from improved_db.wire.values import refuse_strays

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

    from improved_db.wire.connection import Connection

logger: logging.Logger = logging.getLogger("improved_db.bulk")

#: About how many bytes, and at most how many rows, a statement gets: with these the server was quickest.
TARGET_BYTES: Final = 1_000_000
MOST_ROWS: Final = 4_000
FIRST_ROWS: Final = 500

#: If rows cannot be folded into one statement, this many statements are sent at a time, in a transaction.
TOGETHER: Final = 100

#: Encoded chunks that a retry may need are kept in memory up to this many bytes, and on disk beyond that.
SPOOL_BYTES: Final = 64_000_000

#: Sequences that count as one value.
_SCALARS: Final = (str, bytes, bytearray, memoryview)

#: Whether a statement has a placeholder with a name.
NAMED: Final = re.compile(r"(?<!%)(?:%%)*%\(")

#: What a packet holds besides the statement.
OVERHEAD: Final = 64


class Chunk(NamedTuple):
    """Commands that are sent in one write, and how many rows they bring."""

    commands: tuple[tuple[int, bytes], ...]
    rows: int


def rows_of(rows: Any, query: str | None = None) -> Iterator[Any] | None:
    """Return an iterator over *rows*; None if there are none.

    Args:
        rows: What the caller gave: any iterable of rows, records or a frame.
        query: The statement: if it has ``%(name)s``, records and the rows of a frame become dicts. None: records do,
            the rows of a frame become tuples.

    Raises:
        StatementError: *rows* is not an iterable of rows.
    """
    by_name = query is not None and NAMED.search(query) is not None
    rows = unframed(rows, by_name=by_name)
    if isinstance(rows, (str, bytes, bytearray, Mapping)) or not isinstance(rows, Iterable):
        raise StatementError(
            f"rows must be an iterable of rows, such as a list of tuples, not a {type(rows).__name__}; "
            "for one row write [row]"
        )
    iterator = iter(rows)
    first = list(islice(iterator, 1))
    if not first:
        return None
    if query is None:
        by_name = not isinstance(first[0], tuple)
    return callers_rows(without_records(chain(first, iterator), first[0], by_name=by_name))


class Encoder:
    """Makes chunks of rows, as large as is quick and as the server accepts.

    Attributes:
        query: The statement for one row.
    """

    def __init__(self, query: str, rows: Iterator[Any], *, in_one: bool) -> None:
        """Find out how *query* can be folded.

        Args:
            query: The statement for one row.
            rows: The rows.
            in_one: Whether all rows are one transaction: then a statement may be sent before the last one is answered.
        """
        if returns_rows(query):
            raise StatementError("exec_many discards results: use execute_query for one SELECT, execute_each for many")
        self.query = query
        self._insert = None if len(query) <= LONG and guarded(query) else split_insert(query)
        self._rows = rows
        self._held: list[Any] = []
        self._made = 0
        self._size = FIRST_ROWS if self._insert else TOGETHER if in_one else 1
        if self._insert is None and not in_one:
            logger.warning(
                "this statement cannot be folded, so with atomic=False each row is sent, and waited for, by itself"
            )

    def chunk(self, connection: Connection, max_packet: int) -> Chunk | None:
        """Encode the next chunk for *connection*; None when there are no more rows.

        Raises:
            StatementError: A row does not fit the statement, or the server's ``max_allowed_packet`` bytes.
        """
        rows = self._held + list(islice(self._rows, max(self._size - len(self._held), 0)))
        if not rows:
            return None
        self._held = rows  # until they are encoded: an error loses none of them
        rows = [row if isinstance(row, (tuple, list, Mapping)) else _as_row(row) for row in rows]
        statements = self._encode(rows, connection)
        limit = min(TARGET_BYTES, max_packet - OVERHEAD)
        left: list[Any] = []
        while self._insert and len(rows) > 1 and len(statements[0]) > limit:
            fitting = max(1, len(rows) * limit // (len(statements[0]) + 1))
            rows, left = rows[:fitting], rows[fitting:] + left
            statements = self._encode(rows, connection)
        largest = max(map(len, statements))
        if largest > max_packet - OVERHEAD:
            raise StatementError(
                f"row {self._made + 1} takes {largest:,} bytes, more than the server's max_allowed_packet of "
                f"{max_packet:,}; raise that on the server, or split the row"
            )
        if self._insert:
            self._size = max(1, min(MOST_ROWS, len(rows) * TARGET_BYTES // len(statements[0])))
        self._made += len(rows)
        self._held = left
        return Chunk(tuple((QUERY, statement) for statement in statements), len(rows))

    def _encode(self, rows: Sequence[Any], connection: Connection) -> tuple[bytes, ...]:
        try:
            if self._insert is None:
                return tuple(connection._bind(self.query, row) for row in rows)
            values = rows_to_sql(self._insert.values, rows, connection, lone_lists=False)
            text = f"{self._insert.prefix}{values}{self._insert.postfix}"
            refuse_strays(text, connection.encoding)
            return (text.encode(connection.encoding),)
        except CallersOwn:
            raise
        except (TypeError, ValueError, KeyError, connection.ProgrammingError) as error:  # StatementError included
            complaint = self._complaint(rows, connection, error)
        except BaseException as error:
            raise CallersOwn(error) from error
        raise complaint

    def _complaint(self, rows: Sequence[Any], connection: Connection, error: Exception) -> StatementError:
        """Find the first row that does not fit, and return the error for it."""
        for number, row in enumerate(rows, self._made + 1):
            wrong = None if self._insert is None else row_misfit(self._insert.values, row)
            if wrong is not None:
                return StatementError(f"row {number} {wrong}")
            try:
                connection._bind(self.query, row)
            except StatementError as reason:
                complaint = StatementError(f"row {number}: {reason}")
                complaint.__cause__ = reason
                return complaint
        if isinstance(error, UnicodeError):  # the text of the error would show the statement
            return StatementError(f"the charset {connection.encoding} cannot encode the statement")
        return StatementError(f"rows {self._made + 1} to {self._made + len(rows)}: {error}")


def _as_row(value: Any) -> Any:
    """Return a scalar as a row of one column, and any other sequence as it is."""
    return value if isinstance(value, Sequence) and not isinstance(value, _SCALARS) else (value,)


class Backlog(Protocol):
    """The encoded chunks that this attempt or a retry may have to send, oldest first.

    Attributes:
        acked: How many rows are committed.
        before: How many were committed when this attempt began.
    """

    acked: int
    before: int

    @property
    def in_doubt(self) -> int:
        """How many rows the oldest chunk without an answer has."""

    def begin(self) -> int:
        """Begin an attempt; return how many rows earlier attempts have changed for good."""

    def add(self, chunk: Chunk) -> None:
        """Keep *chunk*."""

    def acknowledge(self, chunk: Chunk, rowcount: int) -> None:
        """Note that the server has *chunk*, and how many rows have been changed so far."""

    def __iter__(self) -> Iterator[Chunk]:
        """Iterate over the chunks that a retry has to send."""

    def __enter__(self) -> Self:
        """Return itself."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Drop all chunks."""


class Spooled:
    """For one transaction: a retry needs every row, so all chunks are kept, and on disk if they are large."""

    acked: int
    before: int
    in_doubt: int = 0

    def __init__(self) -> None:
        self.acked = self.before = 0
        import pickle  # noqa: PLC0415  # both are slow to import, and only this class needs them
        import tempfile  # noqa: PLC0415  # as above

        self._dump, self._load = pickle.dump, pickle.load
        self._file = tempfile.SpooledTemporaryFile(max_size=SPOOL_BYTES)  # noqa: SIM115  # closed by __exit__
        self._count = 0

    def begin(self) -> int:
        """Begin at the first row."""
        return 0

    def add(self, chunk: Chunk) -> None:
        """Keep *chunk* behind the others."""
        self._file.seek(0, 2)
        self._dump(tuple(chunk), self._file, protocol=5)
        self._count += 1

    def acknowledge(self, chunk: Chunk, rowcount: int) -> None:
        """Drop nothing: a retry of the transaction needs every chunk."""

    def __iter__(self) -> Iterator[Chunk]:
        position = 0
        for _ in range(self._count):
            self._file.seek(position)
            commands, rows = self._load(self._file)
            position = self._file.tell()
            yield Chunk(commands, rows)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(OSError):  # writing the last bytes may fail; no row depends on them
            self._file.close()


class Unacked:
    """For chunks that commit one by one: only those without an answer are kept, so memory does not grow."""

    acked: int
    before: int

    def __init__(self) -> None:
        self._waiting: deque[Chunk] = deque()
        self._rowcount = 0
        self.acked = self.before = 0

    @property
    def in_doubt(self) -> int:
        """How many rows the oldest chunk without an answer has."""
        return self._waiting[0].rows if self._waiting else 0

    def begin(self) -> int:
        """Begin after the rows that are committed."""
        self.before = self.acked
        return self._rowcount

    def add(self, chunk: Chunk) -> None:
        """Keep *chunk* until it has an answer."""
        self._waiting.append(chunk)

    def acknowledge(self, chunk: Chunk, rowcount: int) -> None:
        """Drop *chunk*: it is committed."""
        self._waiting.popleft()
        self.acked += chunk.rows
        self._rowcount = rowcount

    def __iter__(self) -> Iterator[Chunk]:
        return iter(tuple(self._waiting))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._waiting.clear()
