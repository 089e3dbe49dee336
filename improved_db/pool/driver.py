"""The seam between the pool and whatever it pools: eight verbs.

Knows what a pool asks of a connection. Does not know any particular driver.
"""

from __future__ import annotations

from typing import Protocol, TypeVar

C = TypeVar("C")


class Driver(Protocol[C]):
    """What the pool needs of a driver: called by a connection's sole owner, and, but for one, not under the lock."""

    @property
    def idle_limit(self) -> float | None:
        """Seconds after which the server ends an idle session, once a connection has told; None before that."""

    def connect(self) -> C:
        """Open a session and make it ready for a borrower, within the driver's own connect timeout.

        Raises:
            Exception: Whatever the driver says; it is handed to those who wait.
        """

    def is_alive(self, connection: C) -> bool:
        """Say, without a round trip, whether an idle connection can be used. Never raises."""

    def ping(self, connection: C, timeout: float) -> bool:
        """Say, with one round trip of at most *timeout* seconds, whether the server still answers. Never raises."""

    def is_clean(self, connection: C) -> bool:
        """Say, from what is known of it, whether `restore` would have nothing to do.

        The one verb that is called under the pool's lock. Never blocks, never raises.
        """

    def restore(self, connection: C) -> bool:
        """Make a returned connection as good as new; False if it must not be lent again. Never raises."""

    def close(self, connection: C) -> None:
        """End the session politely. Never raises, never blocks for long."""

    def abandon(self, connection: C) -> None:
        """Drop our end of the socket without a word to the server. Never raises."""

    def cut(self, connection: C) -> None:
        """Shut the socket down under whoever uses it, so that a blocked call ends. Never raises.

        The one verb that a thread may call on a connection that is not its own: to close a pool by force.
        """
