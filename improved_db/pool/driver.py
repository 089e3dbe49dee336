"""The seam between the pool and a driver: eight verbs.

Knows what a pool asks of a connection. Does not know any particular driver.
"""

from __future__ import annotations

from typing import Protocol, TypeVar

C = TypeVar("C")


class Driver(Protocol[C]):
    """What the pool asks of a driver, never under its lock. Only the holder of a connection calls it, but for `cut`."""

    @property
    def idle_limit(self) -> float | None:
        """Seconds after which the server ends an idle session; None until the first connection has asked it."""

    def connect(self) -> C:
        """Open a session and make it ready for a borrower, within the driver's own connect timeout.

        Raises:
            Exception: The driver's error; the borrowers who wait get it.
        """

    def is_alive(self, connection: C) -> bool:
        """Say, without a round trip, whether an idle connection can be used. Never raises."""

    def ping(self, connection: C, timeout: float) -> bool:
        """Say, with one round trip of at most *timeout* seconds, whether the server still answers. Never raises."""

    def is_clean(self, connection: C) -> bool:
        """Say, without a round trip, whether `restore` would have nothing to do. Never raises."""

    def restore(self, connection: C) -> bool:
        """Make a returned connection fit for the next borrower; False if that fails. Never raises."""

    def close(self, connection: C) -> None:
        """End the session politely. Never raises, never blocks for long."""

    def abandon(self, connection: C) -> None:
        """Close our end of the socket and send the server nothing. Never raises."""

    def cut(self, connection: C) -> None:
        """Shut the socket down while another thread uses it, so that the blocked call ends. Never raises.

        The one verb for a connection that the caller does not hold: it closes a pool by force.
        """
