"""Folders that are removed, with the servers that run in them, when the process that made them ends, however it ends.

The owner claims a folder by an ``flock`` on the folder itself. The kernel drops the lock when the process ends, also by
kill -9. So if another process can take the lock, the folder has no owner, and that process may remove it. A process
number would prove less, because the system uses numbers again. A child forked from the owner shares the lock.

Knows folders, locks, and which processes run on a folder. Does not know what these processes do.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path

PREFIX = "improved_db-"

_POLL = 0.005
_PATIENCE = 10.0


class Claim:
    """A new private folder (mode 0700), which `reap` leaves alone until `release` or the end of this process."""

    def __init__(self, parent: Path) -> None:
        """Make the folder in *parent*."""
        lock = None
        while lock is None:  # another process may reap the folder before it is locked
            self.path: Path = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
            lock = _lock(self.path)
        self._lock = lock

    def release(self) -> None:
        """Kill the processes that run on the folder, and remove it. Call it only once."""
        _remove(self.path)
        os.close(self._lock)


def data_option(folder: Path) -> str:
    """Return the argument by which `reap` recognises a server of *folder* among all processes."""
    return f"--datadir={folder}/data"


def reap(parent: Path) -> None:
    """Remove this user's folders in *parent* that no process claims, and kill the servers left in them."""
    for path in parent.glob(f"{PREFIX}*"):
        lock = _lock(path)
        if lock is not None:
            _remove(path)
            os.close(lock)


def _lock(path: Path) -> int | None:
    """Return a descriptor that holds the lock of the folder at *path*; None if that is not possible."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return None
    with suppress(OSError):
        status = os.fstat(descriptor)
        if status.st_uid == os.geteuid():
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(status, path.stat()):
                return descriptor
    os.close(descriptor)
    return None


def _remove(folder: Path) -> None:
    """Kill the processes that run on *folder*, then remove it; if one cannot be killed, leave the folder."""
    marker = data_option(folder)
    deadline = time.monotonic() + _PATIENCE
    while running := [pid for pid, command_line in _processes() if marker in command_line]:
        if time.monotonic() > deadline:
            return
        for pid in running:
            with suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(_POLL)
    shutil.rmtree(folder, ignore_errors=True)


def _processes() -> list[tuple[int, str]]:
    """Return number and command line of every process that this user can see; a zombie's command line is empty."""
    if not Path("/proc/self/cmdline").exists():
        return _processes_by_ps()
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            found.append((int(entry.parent.name), os.fsdecode(entry.read_bytes())))
    return found


def _processes_by_ps() -> list[tuple[int, str]]:
    command = ["ps", "-A", "-ww", "-o", "pid=,command="]
    listed = subprocess.run(command, capture_output=True, text=True, errors="replace", check=True).stdout  # noqa: S603
    lines = [line.split(maxsplit=1) for line in listed.splitlines()]
    return [(int(line[0]), line[1]) for line in lines if len(line) > 1]
