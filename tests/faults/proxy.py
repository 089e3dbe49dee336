"""A TCP proxy that does to MySQL's traffic what networks, proxies and dying servers do to it.

It passes bytes on unchanged and follows packets only to know where a command begins and where its answer ends, so that
a fault can hit one statement at one moment. The client must not use TLS (``ssl_disabled=True``).

    with Proxy(("127.0.0.1", server.port)) as proxy:
        proxy.on_query(b"insert", SWALLOW_ANSWER_RST)
        ...connect to 127.0.0.1, proxy.port...

The faults are in `tests.faults.faults`.

Knows sockets and packets. Does not know what is under test.
"""

from __future__ import annotations

import re
import select
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Final, NamedTuple

from tests.faults.listener import Bell, Listener, hang_up, readable
from tests.faults.packets import COM_QUERY, UNANSWERED, Answer, Framer

Target = str | tuple[str, int]

#: How much of a payload is kept in the log, in bytes.
KEPT: Final = 4096


class Way(Enum):
    """Which log line of a packet this is: a command is logged twice, if it gets through."""

    FROM_CLIENT = ">|"
    TO_SERVER = "|>"
    FROM_SERVER = "<"


class Packet(NamedTuple):
    """One line of the log: a command, or the first packet of an answer."""

    way: Way
    command: int  #: the first byte of the payload
    payload: bytes  #: what follows it
    session: int  #: counted from 1


class Cut(Exception):  # not an error: the end of a session
    """Ends the session it is raised in."""

    def __init__(self, *, reset: bool) -> None:
        super().__init__(reset)
        self.reset = reset


class Session:
    """One client and its connection to the server, driven by one thread. Faults run in that thread."""

    def __init__(self, proxy: Proxy, client: socket.socket, number: int) -> None:
        self.proxy = proxy
        self.number = number  #: counted from 1, as in the log
        self.ending: Cut | None = None  #: set from other threads, under ``proxy.changed``
        self.bell = Bell()
        self._client: socket.socket | None = client
        self._server: socket.socket | None = None
        self._from_client, self._from_server = Framer(), Framer()
        self._outstanding: list[Answer] = []
        self._first = True

    def run(self) -> None:
        """Pass everything on until one side is gone."""
        reset = False
        try:
            self._server = _connect(self.proxy.target)
            while True:
                self._turn()
        except Cut as cut:
            reset = cut.reset
        except OSError:
            pass  # one side is gone; the other one follows
        finally:
            for side in (self._client, self._server):
                if side is not None:
                    hang_up(side, reset=reset and side is self._client)
            self.bell.close()

    # --- what a fault may use ------------------------------------------------------------------------------------

    def forward(self, packet: bytes) -> None:
        """Hand a command (or a part of one) to the server."""
        assert self._server is not None
        self._send(self._server, packet)
        if len(packet) >= 4 + int.from_bytes(packet[:3], "little"):
            self.proxy.log(Way.TO_SERVER, packet, self.number)
            if packet[4] not in UNANSWERED:
                self._outstanding.append(Answer())

    def answer(self, data: bytes) -> None:
        """Give the client these bytes."""
        if self._client is not None:
            self._send(self._client, data)

    def finish_answers(self) -> None:
        """Pass answers on until none is outstanding."""
        while self._outstanding:
            self.answer(self.read_answer())

    def read_answer(self) -> bytes:
        """Read some of the server's answer, and keep account of it."""
        assert self._server is not None
        self._await_readable(self._server)
        data = self._server.recv(1 << 16)
        if not data:
            raise Cut(reset=False)
        for packet in self._from_server.feed(data):
            if not self._outstanding:
                continue  # the handshake, or a goodbye
            if self._first:
                self.proxy.log(Way.FROM_SERVER, packet, self.number)
            self._first = self._outstanding[0].feed(packet)
            if self._first:
                del self._outstanding[0]
        return data

    def swallow_answers(self) -> None:
        """Read answers until none is outstanding: what was asked for is done, and the client does not hear of it."""
        while self._outstanding:
            self.read_answer()

    def drop_client(self) -> None:
        """Reset the client's side; the server's side stays."""
        assert self._client is not None
        hang_up(self._client, reset=True)
        self._client = None

    def wait(self, ready: Callable[[], bool], timeout: float | None = None) -> None:
        """Wait until *ready*, which reads what ``proxy.changed`` guards."""
        with self.proxy.changed:
            self.proxy.changed.wait_for(lambda: self.ending is not None or ready(), timeout)
            if self.ending is not None:
                raise self.ending

    # --- passing on ------------------------------------------------------------------------------------------------

    def _turn(self) -> None:
        assert self._client is not None
        assert self._server is not None
        client_ready, server_ready = self._await_readable(self._client, self._server)
        self.wait(lambda: self.proxy.flowing)
        if server_ready:
            self.answer(self.read_answer())
        elif client_ready:
            data = self._client.recv(1 << 16)
            for packet in self._from_client.feed(data):
                self._take(packet)
            if not data:
                self._send(self._server, self._from_client.rest())
                raise Cut(reset=False)

    def _take(self, packet: bytes) -> None:
        if packet[3] != 0 or len(packet) == 4:  # the handshake, a local file, the rest of a long command
            assert self._server is not None
            self._send(self._server, packet)
            return
        self.proxy.log(Way.FROM_CLIENT, packet, self.number)
        fault = self.proxy.fault_for(packet)
        if fault is None:
            self.forward(packet)
        else:
            self.finish_answers()
            fault(self, packet)

    def _await_readable(self, *sides: socket.socket) -> list[bool]:
        rung, *ready = readable(self.bell, *sides)
        if rung:
            self.wait(lambda: True)
        return ready

    def _send(self, side: socket.socket, data: bytes) -> None:
        """Send all of it, or end the session if it is told to end meanwhile."""
        view = memoryview(data)
        while view:
            poller = select.poll()
            poller.register(self.bell, select.POLLIN)
            poller.register(side, select.POLLOUT)
            if any(number == self.bell.fileno() for number, _ in poller.poll()):
                self.wait(lambda: True)
            sent = side.send(view, socket.MSG_DONTWAIT)
            view = view[sent:]


Fault = Callable[[Session, bytes], None]


@dataclass
class _Rule:
    matches: Callable[[int, bytes], bool]
    fault: Fault
    left: int | None = None


class Proxy(Listener):
    """Listens on 127.0.0.1 and passes everything on to one server.

    Attributes:
        target: The server: the path of a unix socket, or host and port.
        packets: The log. Answers are logged by their first packet, the handshake is not.
        flowing: False while `stall` holds everything back.
        flows: How many times `flow` was called.
    """

    def __init__(self, target: Target) -> None:
        super().__init__()
        self.target = target
        self.packets: list[Packet] = []
        self.flowing = True
        self.flows = 0
        self._rules: list[_Rule] = []

    def serve(self, client: socket.socket) -> None:
        """See `Listener`."""
        with self.changed:
            session = Session(self, client, self.connections)
            self._live[threading.current_thread()] = session
        session.run()

    # --- rules -----------------------------------------------------------------------------------------------------

    def on_query(self, pattern: bytes, fault: Fault, times: int | None = 1) -> None:
        """Let *fault* happen to the next *times* queries (None: to all) in which *pattern*, in any case, is found.

        Mind that ``b"commit"`` is found in SET AUTOCOMMIT too; ``b"^commit"`` is not.
        """
        search = re.compile(pattern, re.IGNORECASE).search
        self._add(_Rule(lambda command, body: command == COM_QUERY and search(body) is not None, fault, times))

    def on_command(self, command: int, fault: Fault, times: int | None = 1) -> None:
        """Let *fault* happen to the next *times* commands of this number (None: to all)."""
        self._add(_Rule(lambda number, _: number == command, fault, times))

    def on_any(self, chosen: Callable[[], bool], fault: Fault) -> None:
        """Let *fault* happen to every command for which *chosen* says so, by throwing dice for example."""
        self._add(_Rule(lambda *_: chosen(), fault))

    def clear(self) -> None:
        """Forget all rules."""
        with self.changed:
            self._rules.clear()

    def fault_for(self, packet: bytes) -> Fault | None:
        """Find the first rule for a command, and use it up."""
        with self.changed:
            for rule in self._rules:
                if rule.left != 0 and rule.matches(packet[4], packet[5:]):
                    if rule.left is not None:
                        rule.left -= 1
                    return rule.fault
            return None

    def _add(self, rule: _Rule) -> None:
        with self.changed:
            self._rules.append(rule)

    # --- all sessions at once --------------------------------------------------------------------------------------

    def cut_all(self, *, reset: bool = True) -> None:
        """Cut every session, and return when they are gone; new ones are let in."""
        with self.changed:
            cut = {thread: session for thread, session in self._live.items() if isinstance(session, Session)}
            for session in cut.values():
                session.ending = Cut(reset=reset)
                session.bell.ring()
            self.note_change()
        self.wait_until(lambda: cut.keys().isdisjoint(self._live))

    def hang_up_all(self) -> None:
        """See `Listener`."""
        while self.sessions:  # one that has only just been accepted may not be known yet
            self.cut_all()

    def stall(self) -> None:
        """Let nothing through any more, and say nothing: a black hole for old sessions and new ones."""
        with self.changed:
            self.flowing = False

    def flow(self) -> None:
        """Let everything through again, what has come in meanwhile included."""
        with self.changed:
            self.flowing = True
            self.flows += 1
            self.note_change()

    # --- the log ---------------------------------------------------------------------------------------------------

    def log(self, way: Way, packet: bytes, session: int) -> None:
        """Write one line."""
        with self.changed:
            self.packets.append(Packet(way, packet[4] if len(packet) > 4 else -1, packet[5 : 5 + KEPT], session))
            self.note_change()

    def seen(self, pattern: bytes, way: Way = Way.FROM_CLIENT) -> int:
        """How many queries with *pattern* (in any case) the clients have sent."""
        search = re.compile(pattern, re.IGNORECASE).search
        with self.changed:
            queries = [line.payload for line in self.packets if line.way is way and line.command == COM_QUERY]
        return sum(search(query) is not None for query in queries)

    def forwarded(self, pattern: bytes) -> int:
        """How many queries with *pattern* (in any case) the server was handed whole."""
        return self.seen(pattern, Way.TO_SERVER)

    def commands(self, command: int) -> int:
        """How many commands of this number the clients have sent."""
        with self.changed:
            return sum(line.way is Way.FROM_CLIENT and line.command == command for line in self.packets)


def _connect(target: Target) -> socket.socket:
    if isinstance(target, tuple):
        server = socket.create_connection(target)
        server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return server
    server = socket.socket(socket.AF_UNIX)
    try:
        server.connect(target)
    except BaseException:
        server.close()
        raise
    return server
