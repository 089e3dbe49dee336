"""A primary with replicas: what makes a private server the one or the other, in MariaDB's words and in MySQL's.

Knows the statements of replication by GTID. Does not know which server is to be what.
"""

from __future__ import annotations

import re
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pymysql.constants import ER
from pymysql.err import OperationalError

from improved_db.testing.asking import PATIENCE, ask, ask_names

if TYPE_CHECKING:
    from collections.abc import Callable

    from improved_db.testing.binary import ServerBinary
    from improved_db.testing.server import TemporaryServer

_POLL = 0.005
_MEANWHILE = 1000


def _of_mariadb(position: str) -> int:
    """Count the transactions of ``0-1-930,1-2-7``: each domain has numbers of its own."""
    return sum(int(gtid.rpartition("-")[2]) for gtid in position.split(",") if gtid)


def _of_mysql(position: str) -> int:
    """Count the transactions of ``uuid:1-930:940, uuid:1-7``."""
    ranges = [(int(first), int(last or first)) for first, last in re.findall(r":(\d+)(?:-(\d+))?", position)]
    return sum(last - first + 1 for first, last in ranges)


@dataclass(frozen=True)
class Words:
    """What differs between MariaDB and MySQL.

    Attributes:
        options: Arguments of a server that can be a primary or a replica.
        noun: What a replica is called in statements.
        read_only: The variable that keeps writes away, from root too on MySQL.
        running: The columns of the status that say whether the replica receives, and whether it applies.
        log: The column with the file that the primary sends; it is empty until the primary has agreed to send.
        received: The column of the status with the transactions that it has received.
        follow: Makes the server a replica of the server at a port.
        delay: Makes a replica late by a number of seconds.
        position: An expression for all transactions that the server has.
        count: How many transactions a position has.
        wait: Waits for a position, for a number of seconds; the answer 0 means that it was reached.
        continue_from: What an old primary has to be told before it follows another server.
        let_root_write: Lets root write on a read-only server.
        empty: Forgets all transactions, with the log of them.
    """

    options: tuple[str, ...]
    noun: str
    read_only: str
    running: tuple[str, str]
    log: str
    received: str
    follow: str
    delay: str
    position: str
    count: Callable[[str], int]
    wait: str
    continue_from: tuple[str, ...]
    let_root_write: tuple[str, ...]
    empty: tuple[str, ...]


#: The sessions of programs: not replication's own, and not this one.
_SESSIONS = (
    "SELECT id FROM information_schema.processlist WHERE user NOT IN ('system user', 'event_scheduler') "
    "AND command NOT LIKE 'Binlog%' AND id <> CONNECTION_ID()"
)

#: Of receiving: the primary has not what the replica has (MySQL: 13114).
_OTHER_HISTORY = frozenset({1236, 13114})

# A replica tells its primary its address, for `discover`.
# The log is written, and not synchronised: a killed process keeps its commits, a machine without power would not.
_COMMON = ("--log-bin=binlog", "--relay-log=relay", "--binlog-format=ROW", "--sync-binlog=0", "--report-host=127.0.0.1")

_MARIADB = Words(
    options=(*_COMMON, "--log-slave-updates", "--gtid-strict-mode=1"),
    noun="SLAVE",
    read_only="read_only",
    running=("Slave_IO_Running", "Slave_SQL_Running"),
    log="Master_Log_File",
    received="Gtid_IO_Pos",
    follow="CHANGE MASTER TO MASTER_HOST='127.0.0.1', MASTER_PORT={port}, MASTER_USER='root', MASTER_PASSWORD='', "
    "MASTER_SSL=0, MASTER_SSL_VERIFY_SERVER_CERT=0, MASTER_CONNECT_RETRY=1, MASTER_USE_GTID=slave_pos",
    delay="CHANGE MASTER TO MASTER_DELAY={seconds}",
    position="@@global.gtid_current_pos",
    count=_of_mariadb,
    wait="MASTER_GTID_WAIT('{position}', {seconds})",
    continue_from=("SET GLOBAL gtid_slave_pos = @@global.gtid_current_pos",),
    let_root_write=(),
    empty=("RESET MASTER", "SET GLOBAL gtid_slave_pos = ''"),
)

_MYSQL = Words(
    options=(*_COMMON, "--gtid-mode=ON", "--enforce-gtid-consistency=ON"),
    noun="REPLICA",
    read_only="super_read_only",
    running=("Replica_IO_Running", "Replica_SQL_Running"),
    log="Source_Log_File",
    received="Retrieved_Gtid_Set",
    follow="CHANGE REPLICATION SOURCE TO SOURCE_HOST='127.0.0.1', SOURCE_PORT={port}, SOURCE_USER='root', "
    "SOURCE_PASSWORD='', SOURCE_CONNECT_RETRY=1, SOURCE_RETRY_COUNT=86400, SOURCE_AUTO_POSITION=1",
    delay="CHANGE REPLICATION SOURCE TO SOURCE_DELAY={seconds}",
    position="@@global.gtid_executed",
    count=_of_mysql,
    wait="WAIT_FOR_EXECUTED_GTID_SET('{position}', {seconds})",
    continue_from=(),
    let_root_write=("SET GLOBAL super_read_only = 0",),
    empty=("RESET BINARY LOGS AND GTIDS",),
)


def words_of(binary: ServerBinary) -> Words:
    """Return how *binary* says it."""
    if binary.flavour == "mariadb":
        return _MARIADB
    major, minor = (int(part) for part in binary.version.split(".")[:2])
    return _MYSQL if (major, minor) >= (8, 2) else replace(_MYSQL, empty=("RESET MASTER",))


class OtherHistory(RuntimeError):
    """A server cannot follow another, because it has transactions that the other does not have."""


class Replication:
    """Makes servers replicas and primaries; each call waits until the server has done it."""

    def __init__(self, words: Words) -> None:
        """Speak to all servers by *words*."""
        self._words = words

    def lead(self, node: TemporaryServer) -> None:
        """Stop replication on *node* and let it take writes, now and after a restart."""
        words = self._words
        writable = (f"SET GLOBAL {words.read_only} = 0", "SET GLOBAL read_only = 0")
        ask(node.socket, f"STOP {words.noun}", f"RESET {words.noun} ALL", *writable)
        self.remember(node, read_only=False)

    def refuse_writes(self, node: TemporaryServer) -> None:
        """Make *node* refuse writes, now and after a restart; a transaction that is open cannot commit.

        The server waits for statements that run. One of them may wait for a lock of a transaction that cannot go on, so
        after a second the sessions of programs are ended, as an operator would do.
        """
        refuse = f"SET GLOBAL {self._words.read_only} = 1"
        try:
            ask(node.socket, "SET SESSION lock_wait_timeout = 1", refuse)
        except OperationalError as error:
            if error.args[0] != ER.LOCK_WAIT_TIMEOUT:
                raise
            for (number,) in ask(node.socket, _SESSIONS):
                with suppress(OperationalError):  # it has ended by itself
                    ask(node.socket, f"KILL {number}")
            ask(node.socket, refuse)
        self.remember(node, read_only=True)

    def remember(self, node: TemporaryServer, *, read_only: bool) -> None:
        """Let *node* refuse writes, or take them, from its next start on."""
        option = f"--{self._words.read_only.replace('_', '-')}=1"
        node.options[:] = [*(kept for kept in node.options if kept != option), *([option] if read_only else [])]

    def follow(self, node: TemporaryServer, primary: TemporaryServer) -> None:
        """Make *node* a read-only replica of *primary*; it continues from what it has.

        Raises:
            OtherHistory: *node* has what *primary* has not. MySQL does not say so, and keeps what it has.
            RuntimeError: *node* does not replicate for another reason: *primary* does not answer.
        """
        words = self._words
        self.refuse_writes(node)
        before = (f"STOP {words.noun}",) if self.status(node) else words.continue_from
        ask(node.socket, *before, words.follow.format(port=primary.port), f"START {words.noun}")
        self._await_running(node)

    def replay(self, node: TemporaryServer, primary: TemporaryServer) -> None:
        """Make an empty *node* a replica of *primary*, and wait until it has applied the whole history.

        A server skips what has its own number, which is right in a circle and wrong for one that begins anew; so it
        has another number meanwhile.
        """
        ((number,),) = ask(node.socket, "SELECT @@global.server_id")
        ask(node.socket, f"SET GLOBAL server_id = {number + _MEANWHILE}")
        self.follow(node, primary)
        self.settle(node, primary)
        noun = self._words.noun
        ask(node.socket, f"STOP {noun}", f"SET GLOBAL server_id = {number}", f"START {noun}")
        self._await_running(node)

    def stop(self, node: TemporaryServer, *, applying_only: bool) -> None:
        """Stop both threads of a replica, or only the one that applies what the other receives."""
        ask(node.socket, f"STOP {self._words.noun}{' SQL_THREAD' if applying_only else ''}")

    def start(self, node: TemporaryServer) -> None:
        """Start the threads that are stopped."""
        ask(node.socket, f"START {self._words.noun}")
        self._await_running(node)

    def delay(self, node: TemporaryServer, seconds: int) -> None:
        """Make *node* apply each transaction so many seconds after the primary did."""
        noun = self._words.noun
        ask(node.socket, f"STOP {noun}", self._words.delay.format(seconds=seconds), f"START {noun}")
        self._await_running(node)

    def settle(self, node: TemporaryServer, primary: TemporaryServer) -> None:
        """Wait until *node* has every transaction that *primary* has now."""
        ((position,),) = ask(primary.socket, f"SELECT {self._words.position}")
        self._await_position(node, position)

    def apply_received(self, node: TemporaryServer) -> None:
        """Let *node* receive no more, and wait until it has applied what it received."""
        ask(node.socket, f"STOP {self._words.noun} IO_THREAD", f"START {self._words.noun} SQL_THREAD")
        self._await_position(node, self.status(node)[self._words.received])

    def received(self, node: TemporaryServer) -> int:
        """Return how many transactions *node* has received of its primary, or has otherwise."""
        texts = [
            str(self.status(node).get(self._words.received, "")),
            *ask(node.socket, f"SELECT {self._words.position}")[0],
        ]
        return max(self._words.count(text) for text in texts)

    def empty(self, node: TemporaryServer, statements: tuple[str, ...]) -> None:
        """Make *node* replicate from no server and forget its history; run *statements* outside of any history.

        It refuses the writes of programs from now on: while it is rebuilt, it must not look like a second primary.
        """
        words = self._words
        ask(
            node.socket,
            "SET GLOBAL read_only = 1",
            f"STOP {words.noun}",
            f"RESET {words.noun} ALL",
            *words.let_root_write,
            "SET SESSION sql_log_bin = 0",
            *statements,
            "SET SESSION sql_log_bin = 1",
            *words.empty,
        )

    def status(self, node: TemporaryServer) -> dict[str, Any]:
        """Return what the server says about its replication; empty if it is no replica."""
        rows = ask_names(node.socket, f"SHOW {self._words.noun} STATUS")
        return rows[0] if rows else {}

    def _await_running(self, node: TemporaryServer) -> None:
        deadline = time.monotonic() + PATIENCE
        while True:
            status = self.status(node)
            if status[self._words.log] and all(status[column] == "Yes" for column in self._words.running):
                return
            if int(status["Last_IO_Errno"]) in _OTHER_HISTORY:
                raise OtherHistory(f"{node!r} does not replicate: {_errors(status)}")
            if time.monotonic() > deadline or int(status["Last_SQL_Errno"]):
                raise RuntimeError(f"{node!r} does not replicate: {_errors(status)}")
            time.sleep(_POLL)

    def _await_position(self, node: TemporaryServer, position: str) -> None:
        wait = self._words.wait.format(position=position.replace("\n", ""), seconds=PATIENCE - 1)
        if ask(node.socket, f"SELECT {wait}") != ((0,),):
            raise RuntimeError(f"{node!r} has not applied {position}: {_errors(self.status(node))}")


def _errors(status: dict[str, Any]) -> str:
    said = [str(status.get(column, "")) for column in ("Last_IO_Error", "Last_SQL_Error")]
    return "; ".join(filter(None, said)) or "the server says no reason"
