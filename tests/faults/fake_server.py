"""A server that says what it is told to say: for what a real one cannot be made to say.

    with FakeServer(version="8.0.11-TiDB-v7.5.0") as server:
        server.on("update", err(9007, "Write conflict"))
        connection = pymysql.connect(**server.connect_options)

Any user and password will do. Whatever no rule is for gets a plain OK, a SELECT one row with the text ``1``, SHOW no
rows; commands other than queries get an OK.

Knows the protocol's outside: greeting, login, commands. Does not know SQL.
"""

from __future__ import annotations

import re
import select
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tests.faults import packets
from tests.faults.listener import Bell, Listener, hang_up, readable


class HangUp(Exception):  # not an error: the end of a session
    """Ends the session it is raised in."""

    def __init__(self, *, reset: bool = False) -> None:
        super().__init__(reset)
        self.reset = reset


class Peer:
    """The client of one session."""

    def __init__(self, client: socket.socket, bell: Bell, number: int) -> None:
        self.number = number
        self._client = client
        self._bell = bell
        self._framer = packets.Framer()
        self._received: list[bytes] = []

    def read(self) -> bytes:
        """Return the next packet, header included."""
        while not self._received:
            if readable(self._bell, self._client)[0]:
                raise HangUp
            data = self._client.recv(1 << 16)
            if not data:
                raise HangUp
            self._received.extend(self._framer.feed(data))
        return self._received.pop(0)

    @property
    def port(self) -> int:
        """The client's port."""
        return int(self._client.getpeername()[1])

    @property
    def has_more(self) -> bool:
        """Whether another packet has come already."""
        if not self._received and select.select([self._client], [], [], 0.01)[0]:
            data = self._client.recv(1 << 16, socket.MSG_PEEK)
            return bool(data)
        return bool(self._received)

    def send(self, *payloads: bytes, sequence: int = 1) -> None:
        """Send packets with consecutive sequence numbers."""
        self.send_raw(b"".join(packets.frame(sequence + i, payload) for i, payload in enumerate(payloads)))

    def send_raw(self, data: bytes) -> None:
        """Send bytes as they are."""
        self._client.sendall(data)


#: What the server says to a command, or in place of its greeting.
Response = Callable[[Peer], None]


def ok(affected: int = 0, insert_id: int = 0, status: int = packets.AUTOCOMMIT) -> Response:
    """Done; *status* may say `packets.IN_TRANSACTION`."""
    return lambda peer: peer.send(packets.ok(affected, insert_id, status))


def err(code: int, message: str = "", sqlstate: str | None = "HY000", *, sequence: int = 1) -> Response:
    """An error; with *sequence* 0 the goodbye of a server that has stopped listening, which hangs up after it."""

    def response(peer: Peer) -> None:
        peer.send(packets.err(code, message, sqlstate), sequence=sequence)
        if sequence == 0:
            raise HangUp

    return response


def rows(columns: Sequence[str], values: Sequence[Sequence[str | None]], status: int = packets.AUTOCOMMIT) -> Response:
    """A result set of text columns."""
    return lambda peer: peer.send(*packets.rows(columns, values, status))


def raw(data: bytes) -> Response:
    """These bytes, headers and all."""
    return lambda peer: peer.send_raw(data)


def close(*, reset: bool = False) -> Response:
    """No answer, but the end of the connection."""

    def response(_: Peer) -> None:
        raise HangUp(reset=reset)

    return response


def silence() -> Response:
    """No answer, and the connection stays."""
    return lambda _: None


def turn_away(code: int, message: str = "", sqlstate: str | None = None, *, sequence: int = 0) -> Response:
    """For ``greeting``: an error instead of a greeting, as a full server sends it (properly with *sequence* 0)."""

    def response(peer: Peer) -> None:
        peer.send(packets.err(code, message, sqlstate), sequence=sequence)
        raise HangUp

    return response


@dataclass
class _Rule:
    pattern: re.Pattern[str]
    response: Response
    left: int | None


class FakeServer(Listener):
    """Speaks the protocol and knows nothing.

    Attributes:
        queries: The texts of all queries, in the order of their arrival.
        commands: The numbers of all commands.
        hurried: How many sessions an impatient server has ended.
    """

    def __init__(
        self,
        version: str = "8.0.35",
        *,
        greeting: Response | None = None,
        greeting_from: int = 1,
        login: Response | None = None,
        impatient: bool = False,
    ) -> None:
        """Prepare; it listens inside the ``with`` block.

        Args:
            version: What it calls itself.
            greeting: What is said instead of the greeting; the session ends after it.
            greeting_from: The first session, counted from 1, to which that is said.
            impatient: End a session that sends a command before the answer to the last one.
            login: What is said to the client's login; OK if None. An error here has the sequence number 2.
        """
        super().__init__()
        self.version = version
        self.hurried = 0
        self._impatient = impatient
        self.queries: list[str] = []
        self.commands: list[int] = []
        self._greeting = greeting
        self._greeting_from = greeting_from
        self._login = login
        self._rules: list[_Rule] = []
        self._commands: dict[int, Response] = {}
        self._bell_for_sessions = Bell()

    @property
    def connect_options(self) -> dict[str, Any]:
        """Arguments for ``pymysql.connect``."""
        return {"host": "127.0.0.1", "port": self.port, "user": "u", "password": "p", "ssl_disabled": True}

    def on(self, pattern: str, response: Response, times: int | None = None) -> None:
        """Say this to the next *times* queries (None: to all) in which *pattern*, in any case, is found."""
        with self.changed:
            self._rules.append(_Rule(re.compile(pattern, re.IGNORECASE), response, times))

    def on_command(self, command: int, response: Response) -> None:
        """Say this to each command with that number that is no query."""
        with self.changed:
            self._commands[command] = response

    def count(self, pattern: str) -> int:
        """How many queries so far had *pattern*, in any case."""
        with self.changed:
            return sum(re.search(pattern, query, re.IGNORECASE) is not None for query in self.queries)

    def serve(self, client: socket.socket) -> None:
        """See `Listener`."""
        reset = False
        try:
            with self.changed:
                peer = Peer(client, self._bell_for_sessions, self.connections)
            self._shake_hands(peer)
            while True:
                self._obey(peer, peer.read())
        except HangUp as end:
            reset = end.reset
        except OSError:
            pass  # the client is gone
        finally:
            hang_up(client, reset=reset)

    def hang_up_all(self) -> None:
        """See `Listener`."""
        self._bell_for_sessions.ring()

    def close(self) -> None:
        """See `Listener`."""
        super().close()
        self._bell_for_sessions.close()

    def _shake_hands(self, peer: Peer) -> None:
        if self._greeting is not None and peer.number >= self._greeting_from:
            self._greeting(peer)
            raise HangUp
        peer.send(packets.greeting(self.version, peer.number), sequence=0)
        peer.read()
        if self._login is not None:
            self._login(peer)
            raise HangUp
        peer.send(packets.ok(), sequence=2)

    def _obey(self, peer: Peer, packet: bytes) -> None:
        if self._impatient and peer.has_more:
            with self.changed:
                self.hurried += 1
            raise HangUp
        command, text = packet[4], packet[5:].decode("utf-8", "replace")
        with self.changed:
            self.commands.append(command)
            if command == packets.COM_QUERY:
                self.queries.append(text)
            self.note_change()
        if command == packets.COM_QUIT:
            raise HangUp
        self._response_for(command, text)(peer)

    def _response_for(self, command: int, text: str) -> Response:
        if command == packets.COM_QUERY:
            with self.changed:
                for rule in self._rules:
                    if rule.left != 0 and rule.pattern.search(text):
                        if rule.left is not None:
                            rule.left -= 1
                        return rule.response
            beginning = text.lstrip()[:6].lower()
            if beginning.startswith("show"):
                return rows(["Variable_name", "Value"], [])
            return rows(["1"], [["1"]]) if beginning == "select" else ok()
        with self.changed:
            return self._commands.get(command, ok())
