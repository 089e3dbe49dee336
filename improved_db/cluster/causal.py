"""What has been written, and which server has it: read your own writes, and those of the program that gave you a token.

A GTID of MariaDB names its domain, the server that wrote it and a number; a replica counts numbers alone. So a number
stands for the same write only in one history: if another server is the primary now, and does not have that write, the
write is lost, and no replica can be waited for. A GTID of MySQL stands for one write, for ever.

Knows the GTIDs of single writes, and how a server waits for one. Does not know connections, pools or who reads.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from improved_db.cluster import gtid
from improved_db.critical import Reentered, Section, critical

if TYPE_CHECKING:
    from improved_db.cluster.gtid import Dialect, GtidSet
    from improved_db.cluster.views import HostFacts, HostView, Topology
    from improved_db.pool.loan import Loan
    from improved_db.wire.connection import Connection


class Write(NamedTuple):
    """The newest write of one origin.

    Attributes:
        number: Its number: in the domain of MariaDB, of the server of MySQL.
        server: The server that wrote it; of MariaDB only.
        text: The GTID.
    """

    number: int
    server: str
    text: str


#: By domain of MariaDB, or by UUID (and tag) of MySQL. Never changed in place.
Written: TypeAlias = Mapping[str, Write]

NOTHING: Final[Written] = {}

#: In place of an origin: whatever a Galera has committed so far.
SYNC: Final = "wsrep"

#: A token is not longer than this many bytes: it may come from anywhere.
LONGEST_TOKEN: Final = 4096


def written(text: str) -> Written:
    """Read the GTIDs of single writes, as a server tells them, or as a token has them.

    Raises:
        ValueError: The text is none.
    """
    dialect: Dialect = "mysql" if ":" in text else "mariadb"
    found: dict[str, Write] = {}
    for origin, ranges in gtid.transactions(text, dialect).parts.items():
        number = ranges[-1][1]
        if dialect == "mysql":
            found[origin] = Write(number, "", f"{origin}:{number}")
        else:
            domain, _, server = origin.partition("-")
            if domain not in found or found[domain].number < number:
                found[domain] = Write(number, server, f"{origin}-{number}")
    return found


def newest(one: Written, other: Written) -> Written:
    """Return the newest writes of both."""
    if not one or not other:
        return one or other
    both = dict(one)
    for origin, write in other.items():
        if origin not in both or both[origin].number < write.number:
            both[origin] = write
    return both


def token_of(writes: Written) -> bytes:
    """Return the writes as bytes, for a job queue or a cookie."""
    return ",".join(write.text for write in writes.values()).encode()


def from_token(token: bytes) -> Written | None:
    """Return the writes of a token; None if it is not one."""
    if len(token) > LONGEST_TOKEN:
        return None
    try:
        return written(token.decode("ascii"))
    except ValueError:
        return None


def wait_for(writes: Written, seconds: float, *, unordered: bool = False) -> str:
    """Return the statement that waits on a replica until it has the writes; it returns 0 if it has them in time.

    Args:
        writes: The newest one of each origin.
        seconds: How long it waits.
        unordered: Whether the replica may have the newest one before others, so that all of them have to be named.
    """
    if SYNC in writes:
        return "SET STATEMENT wsrep_sync_wait=1 FOR SELECT 0"
    texts = ",".join(
        f"{origin}:1-{write.number}" if unordered and not write.server else write.text
        for origin, write in writes.items()
    )
    verb = "WAIT_FOR_EXECUTED_GTID_SET" if ":" in texts else "MASTER_GTID_WAIT"
    return f"SELECT {verb}('{texts}', {seconds:.3f})"


def has(reached: Mapping[str, int], writes: Written) -> bool:
    """Say whether a server that has reached these numbers has the writes."""
    return all(reached.get(origin, 0) >= write.number for origin, write in writes.items())


def numbers(writes: Written) -> dict[str, int]:
    """Return the numbers of the writes, as `has` compares them."""
    return {origin: write.number for origin, write in writes.items()}


def reached(history: GtidSet) -> dict[str, int]:
    """Return the numbers up to which a server has everything."""
    if history.dialect == "mariadb":
        return {domain: number for domain, (_, number) in history.newest().items()}
    return {origin: ranges[0][1] for origin, ranges in history.parts.items() if ranges[0][0] == 1}


def can_be_waited_for(writes: Written, topology: Topology) -> bool:
    """Say whether the writes are part of the history that the replicas follow.

    A write of MariaDB is, if the present primary has written it, or had it when it was last asked.
    """
    view = topology.hosts.get(topology.primary or "")
    facts = None if view is None else view.facts
    if facts is None or facts.server_id is None:
        return True  # roles that were said: there is nothing to compare with
    for domain, write in writes.items():
        if not write.server or write.server == facts.server_id:
            continue
        ranges = () if facts.history is None else facts.history.parts.get(f"{domain}-{write.server}", ())
        if not ranges or ranges[-1][1] < write.number:
            return False
    return True


class Writes:
    """The newest writes that this program was told are committed.

    Attributes:
        now: All of them; replaced whole with each write.
    """

    def __init__(self) -> None:
        self.now: Written = NOTHING
        self.section: Section = Section()

    def note(self, text: str) -> None:
        """Note the GTIDs of a write."""
        try:
            found = written(text)
        except ValueError:
            return
        try:
            self._add(found)
        except Reentered:
            self.section.postpone(lambda: self._add(found))

    @critical
    def _add(self, found: Written) -> None:
        self.now = newest(self.now, found)

    def keep(self, history: GtidSet) -> None:
        """Forget what a new primary does not have: it is lost, and no server has it."""
        try:
            self._keep(history)
        except Reentered:
            self.section.postpone(lambda: self._keep(history))

    @critical
    def _keep(self, history: GtidSet) -> None:
        self.now = {origin: write for origin, write in self.now.items() if _is_in(history, origin, write)}


def _is_in(history: GtidSet, origin: str, write: Write) -> bool:
    key = f"{origin}-{write.server}" if write.server else origin
    return any(first <= write.number <= last for first, last in history.parts.get(key, ()))


#: Seconds for which a replica that did not get there in time is not waited for: first and longest.
FIRST_REST: Final = 5.0
LONGEST_REST: Final = 30.0


class Reach:
    """What one server is known to have, and who waits for more; changed without a lock, as a count of `Share` is.

    Attributes:
        waits: The loans whose next statement waits for a write.
        late_until: Until when it is not waited for, because it did not get there in time.
    """

    def __init__(self) -> None:
        self.waits: set[Loan[Connection]] = set()
        self.late_until: float = float("-inf")
        self._numbers: dict[str, int] = {}
        self._facts: HostFacts | None = None
        self._rest = FIRST_REST

    def has(self, writes: Written, view: HostView | None) -> bool:
        """Say whether the server is known to have the writes; *view*: with its last answer."""
        if has(self._numbers, writes):
            return True
        facts = None if view is None else view.facts
        if facts is None or facts is self._facts or facts.history is None:
            return False
        self._facts = facts
        self._numbers = _later(self._numbers, reached(facts.history))
        return has(self._numbers, writes)

    def got(self, writes: Written, loan: Loan[Connection]) -> None:
        """Note that the server has the writes."""
        self.waits.discard(loan)
        self._rest = FIRST_REST
        self._numbers = _later(self._numbers, numbers(writes))

    def missed(self, now: float) -> None:
        """Note that the server did not get there in time."""
        self.late_until = now + self._rest
        self._rest = min(self._rest * 2, LONGEST_REST)

    def forget(self) -> None:
        """Forget everything: the numbers stand for other writes now."""
        self._numbers = {}


def _later(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    return {origin: max(one.get(origin, 0), other.get(origin, 0)) for origin in {**one, **other}}
