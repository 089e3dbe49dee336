"""One server process: start it, signal it, wait for it.

Knows processes, signals and the file that the server logs to. Does not know SQL.
"""

from __future__ import annotations

import os
import signal
import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from improved_db.testing.claim import Claim

_POLITE_STOP = 30.0
_LOG_TAIL = 4000


class Daemon:
    """The process in a claimed folder. Only the Python process that made this object can start, signal or end it."""

    def __init__(self, claim: Claim) -> None:
        """Remember the folder; `start` starts the process."""
        self._claim = claim
        self._owner = os.getpid()
        self._process: subprocess.Popen[bytes] | None = None
        self._paused = False

    @property
    def pid(self) -> int | None:
        """Number of the running process; in a forked child, of the one that ran at the fork."""
        if self._process is None:
            return None
        ended = self._process.poll() if self.owned else self._process.returncode
        return self._process.pid if ended is None else None

    @property
    def owned(self) -> bool:
        """Whether this is the process that made the object, and not a forked child of it."""
        return os.getpid() == self._owner

    @property
    def paused(self) -> bool:
        """Whether `pause` was the last signal."""
        return self._paused

    def start(self, command: list[str], environment: Mapping[str, str]) -> None:
        """Run *command* in its own session, so that a Ctrl-C in the terminal does not reach it."""
        with (self._claim.path / "log").open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - no shell, and every word is ours or the caller's
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                env={**os.environ, **environment},
                start_new_session=True,
            )
        self._paused = False

    def stop(self) -> None:
        """Ask the server to end, and wait for it; if it does not end in 30 seconds, kill it."""
        if self._process is None:
            return
        self._process.terminate()
        self.resume()
        try:
            self._process.wait(_POLITE_STOP)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """End the process at once, as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def pause(self) -> None:
        """Freeze the process (SIGSTOP); when the call returns, it has stopped."""
        if self.pid is not None and not self._paused:
            os.kill(self.pid, signal.SIGSTOP)
            os.waitpid(self.pid, os.WUNTRACED)
            self._paused = True

    def resume(self) -> None:
        """Continue a paused process."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self._paused = False

    def story(self) -> str:
        """Return how the process ended, if it did, and the end of its log."""
        ended = "" if self._process is None or self.pid is not None else f" (ended with {self._process.returncode})"
        log = (self._claim.path / "log").read_text(encoding="utf-8", errors="replace")
        return f"{ended}:\n{log[-_LOG_TAIL:].strip()}"

    def destroy(self) -> None:
        """Kill the process and remove the folder; in a forked child, do nothing."""
        if self.owned:
            self.kill()
            self._claim.release()
