"""What a read has to see: the writes of this program, and those that a token stands for.

A Galera tells no GTID with its OK. There, a node is asked to apply what the cluster had committed before the read. It
is asked once after each use of the primary.

Knows writes, tokens and the kind of a cluster. Does not know connections, or which server answers.
"""

from __future__ import annotations

import contextlib
import itertools
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final

from improved_db.cluster.causal import NOTHING, SYNC, Write, Writes, from_token, newest, token_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from improved_db.cluster.causal import Written
    from improved_db.cluster.gtid import GtidSet
    from improved_db.cluster.routes import Roles

#: The token of a Galera: whatever was committed before the read.
SYNC_TOKEN: Final = SYNC.encode()


class Needs:
    """What the reads of one cluster have to see."""

    def __init__(self, roles: Roles, *, causal_reads: bool) -> None:
        """Tell it by the writes that are noted; not by this program's own, unless *causal_reads*."""
        self._roles = roles
        self._causal = causal_reads
        self._writes = Writes()
        self._uses = itertools.count(1)
        self._used = NOTHING  # the primary of a Galera
        self._after: ContextVar[bytes] = ContextVar("improved_db_after", default=b"")

    def note(self, gtids: str) -> None:
        """Note a commit on the primary."""
        self._writes.note(gtids)

    def note_use(self) -> None:
        """Note that a connection to the primary was returned: it may have written."""
        if self._roles.topology.kind == "galera":
            self._used = self._next()

    def keep(self, history: GtidSet) -> None:
        """Forget what a new primary does not have."""
        self._writes.keep(history)

    def _next(self) -> Written:
        return {SYNC: Write(next(self._uses), "", SYNC)}

    def now(self) -> Written | None:
        """Return the writes that a read of this thread has to see; None if its token is none of ours."""
        token = self._after.get()
        if self._roles.topology.kind == "galera":
            return self._next() if token == SYNC_TOKEN else None if token else self._used if self._causal else NOTHING
        own = self._writes.now if self._causal else NOTHING
        if not token:
            return own
        after = from_token(token)
        return None if after is None else newest(own, after)

    def token(self) -> bytes:
        """Return the writes as bytes."""
        return SYNC_TOKEN if self._roles.topology.kind == "galera" else token_of(self._writes.now)

    @contextlib.contextmanager
    def seeing(self, token: bytes) -> Iterator[None]:
        """Let the reads of the block see what *token* stands for; if it is no token of ours, the primary answers."""
        mark = self._after.set(token)
        try:
            yield
        finally:
            self._after.reset(mark)
