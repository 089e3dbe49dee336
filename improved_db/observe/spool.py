"""Several processes as one: each writes its metrics into a folder, and each reads those of all.

``$IMPROVED_DB_SPOOL`` names the folder, which processes of one machine, or of one container, share. A process writes
its own file every few seconds, when a pool closes and when it ends. What is shown comes from the files alone, its own
included, so that every process shows the same. The counters of a process that has ended are added to one file, under a
lock, and never leave it: so no sum falls.

A file that another program wrote, or that was not written to its end, is left out, and the log says so.

Knows files, processes and the lock. Does not know what the numbers mean.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import logging
import os
import re
import stat
import tempfile
from fcntl import LOCK_EX, LOCK_NB, LOCK_SH, flock
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from improved_db.clock import MonotonicClock, wall
from improved_db.critical import Reentered, Section, critical
from improved_db.errors import ConfigError
from improved_db.observe.metrics import BY_NAME, Histogram, Values, joined, own
from improved_db.pool.fork import remember

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

logger: logging.Logger = logging.getLogger("improved_db.observe")

VARIABLE: Final = "IMPROVED_DB_SPOOL"
#: Seconds between two files of a process at the least, and between two lines of the log about the same trouble.
PERIOD: Final = 5.0
QUIET: Final = 60.0
#: The largest file that is written or read, in bytes; statements are left out of one that would be larger.
LARGEST: Final = 65_536
#: How many statements a file has, and how many names of ended processes are remembered.
STATEMENTS: Final = 20
REMEMBERED: Final = 1_000
#: What a file begins with: another version's numbers may mean something else.
FORMAT: Final = 1
#: Seconds to wait for another process's lock.
PATIENCE: Final = 2.0

_NAME: Final = re.compile(r"(\d{1,10})-(\d{1,20})\.json")
_ENDED: Final = "ended.json"
_LOCK: Final = "lock"


class Refused(Exception):  # never seen outside: why a file is left out
    """A file that is none of ours, or is torn."""


class Spool:
    """One folder, as this process uses it.

    Attributes:
        folder: Its path.
    """

    def __init__(self, folder: str) -> None:
        """Use *folder*; make it if it is not there.

        Raises:
            ConfigError: It is no folder of this account's alone.
        """
        self.folder: Path = Path(folder)
        self._now = MonotonicClock.now
        self._due = 0.0
        self._quiet: dict[str, float] = {}
        self.begin_in_child()
        remember(self)
        _prepare(self.folder)

    def begin_in_child(self) -> None:
        """Write a file of its own from now on, as a forked child."""
        self.section: Section = Section()
        self._pid = os.getpid()
        self._due = 0.0
        self._closed: Values = {}  # the counters of the pools that this process has closed
        self._mine = f"{self._pid}-{_started(self._pid) or int(wall() * 1000)}.json"

    # --- writing ---------------------------------------------------------------------------------------------------

    def write_if_due(self) -> None:
        """Write this process's file, unless that was done lately."""
        if self._now() >= self._due or os.getpid() != self._pid:
            self.write()

    def write(self) -> None:
        """Write this process's file now; trouble goes to the log."""
        with contextlib.suppress(Reentered):
            self._write()

    def closes(self, values: Values) -> None:
        """Keep the counters of a pool that is closed: the process goes on, and no sum falls."""
        self._closed = joined([self._closed, _counters(values)])
        self.write()

    @critical
    def _write(self) -> None:
        if os.getpid() != self._pid:  # a fork that runs no hooks
            self.begin_in_child()
        self._due = self._now() + PERIOD
        try:
            self._put(self._mine, {"values": _dumped(_lightened(joined([own(STATEMENTS), self._closed]), STATEMENTS))})
            self._bury()
        except OSError as error:
            self._say("write", "the metrics of this process cannot be written to %s: %s", self.folder, error.strerror)

    def _put(self, name: str, content: Mapping[str, Any]) -> None:
        text = json.dumps({"improved_db": FORMAT, **content}, separators=(",", ":"))
        if len(text) > LARGEST:
            kept = [entry for entry in content["values"] if not entry[0].startswith("improved_db_top_")]
            text = json.dumps({"improved_db": FORMAT, **content, "values": kept}, separators=(",", ":"))
        handle, path = tempfile.mkstemp(prefix=".", suffix=".tmp", dir=self.folder)  # of mode 0600
        try:
            with open(handle, "w", encoding="utf-8") as file:
                file.write(text)
            os.replace(path, self.folder / name)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(path)
            raise

    def _bury(self) -> None:
        """Add the counters of processes that have ended to the file of those."""
        dead = [name for name in self._names() if name != self._mine and not _lives(name)]
        if not dead:
            return
        with self._locked(LOCK_EX) as locked:
            if not locked:
                return  # another process is at it
            ended, names = self._content(_ENDED)
            added = {name: self._content(name)[0] for name in dead if name not in names}
            if added:
                sums = _lightened(joined([ended, *map(_counters, added.values())]), 5 * STATEMENTS)
                self._put(_ENDED, {"values": _dumped(sums), "names": [*names, *added][-REMEMBERED:]})
            for name in dead:
                (self.folder / name).unlink(missing_ok=True)

    def _content(self, name: str) -> tuple[Values, list[str]]:
        """Return the values and the names in a file; if the file is refused, put it aside."""
        try:
            read = self._read(name)
            return _loaded(read["values"]), list(map(str, read["names"]))
        except FileNotFoundError:
            return {}, []
        except (Refused, OSError) as error:
            os.replace(self.folder / name, self.folder / f"{name}.refused")
            why = error.strerror if isinstance(error, OSError) else error
            self._say(name, "%s is put aside as %s.refused: %s", self.folder / name, name, why)
            return {}, []

    # --- reading ---------------------------------------------------------------------------------------------------

    def values(self, top: int = 0) -> Values:
        """Return the metrics of all processes together, those that have ended included."""
        self.write()
        found: list[Values] = []
        with self._locked(LOCK_SH):
            for name in [*self._names(), _ENDED]:
                values = self._values_of(name)
                found.append(values if name == _ENDED or _lives(name) else _counters(values))
        return _lightened(joined(found), top)

    def _values_of(self, name: str) -> Values:
        try:
            return _loaded(self._read(name)["values"])
        except FileNotFoundError:
            return {}
        except Refused as refused:
            self._say(name, "%s is left out: %s", self.folder / name, refused)
        except OSError as error:
            self._say(name, "%s is left out: %s", self.folder / name, error.strerror)
        return {}

    def _names(self) -> list[str]:
        try:
            return sorted(name for name in os.listdir(self.folder) if _NAME.fullmatch(name))
        except OSError as error:
            self._say("list", "%s cannot be read: %s", self.folder, error.strerror)
            return []

    def _read(self, name: str) -> dict[str, Any]:
        """Return the content of a file.

        Raises:
            Refused: It is no file of ours, or is torn.
            OSError: It cannot be read.
        """
        handle = os.open(self.folder / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with open(handle, "rb") as file:
            told = os.fstat(handle)
            if not stat.S_ISREG(told.st_mode) or told.st_uid != os.geteuid():
                raise Refused("it is no file of this account's")
            if told.st_size > 16 * LARGEST:
                raise Refused(f"it has {told.st_size} bytes")
            content = file.read()
        try:
            read: Any = json.loads(content)
        except ValueError:
            raise Refused("it is torn, or no JSON") from None
        if not isinstance(read, dict) or read.get("improved_db") != FORMAT or "values" not in read:
            raise Refused("another program, or another version of this one, wrote it")
        return {"names": [], **read}

    @contextlib.contextmanager
    def _locked(self, how: int) -> Iterator[bool]:
        """Hold the lock of the folder; False if another process has held it for too long."""
        try:
            handle = os.open(self.folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        except OSError:  # the folder is gone, or full
            yield False
            return
        try:
            yield self._took(handle, how)
        finally:
            os.close(handle)

    def _took(self, handle: int, how: int) -> bool:
        end = self._now() + PATIENCE
        while True:
            try:
                flock(handle, how | LOCK_NB)
            except BlockingIOError:
                if self._now() >= end:
                    return False
                MonotonicClock.sleep(0.005)
            else:
                return True

    def _say(self, about: str, text: str, *args: object) -> None:
        """Write a line to the log, not too often about the same thing."""
        now = self._now()
        if now >= self._quiet.get(about, now):
            self._quiet[about] = now + QUIET
            logger.warning(text, *args)


_spools: dict[str, Spool] = {}


def shared() -> Spool | None:
    """Return the spool that the environment names; None if it names none.

    Raises:
        ConfigError: What it names is no folder of this account's alone.
    """
    folder = os.environ.get(VARIABLE)
    if not folder:
        return None
    if folder not in _spools:
        _spools[folder] = Spool(folder)
        atexit.register(_spools[folder].write)
    return _spools[folder]


def _prepare(folder: Path) -> None:
    def refuse(why: str) -> ConfigError:
        return ConfigError(
            f"${VARIABLE}: {str(folder)!r} {why}; name a folder that only this account may use (mode 0700)"
        )

    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        told = os.lstat(folder)
    except FileExistsError:
        raise refuse("is no folder") from None
    except OSError as error:
        raise refuse(f"cannot be used: {error.strerror}") from None
    if stat.S_ISLNK(told.st_mode):
        raise refuse("is a symbolic link")
    if told.st_uid != os.geteuid():
        raise refuse("belongs to another account")
    if told.st_mode & 0o077:
        raise refuse(f"has the mode {stat.S_IMODE(told.st_mode):04o}")


def _lives(name: str) -> bool:
    """Say whether the process that writes a file runs."""
    match = _NAME.fullmatch(name)
    if match is None:
        return False
    pid, started = int(match.group(1)), match.group(2)
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it runs, under another account
        pass
    since = _started(pid)
    return since is None or str(since) == started


def _started(pid: int) -> int | None:
    """Return when a process started, in the system's own count; None if the system does not tell."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
        return 0 if fields[0] in {b"Z", b"X"} else int(fields[19])  # it has ended, and its parent has not noticed
    except (OSError, ValueError, IndexError):
        return None


def _dumped(values: Values) -> list[Any]:
    return [[name, [[list(labels), value] for labels, value in samples.items()]] for name, samples in values.items()]


def _loaded(told: Any) -> Values:
    """Return values as they were dumped.

    Raises:
        Refused: They are none.
    """
    try:
        found: Values = {}
        for name, samples in told:
            if name in BY_NAME:
                kind = BY_NAME[name].kind
                found[name] = {tuple(map(str, labels)): _value(kind, value) for labels, value in samples}
                _measure(name, found[name])
    except (TypeError, ValueError) as error:
        raise Refused("its numbers make no sense") from error
    return found


def _measure(name: str, samples: Mapping[tuple[str, ...], Any]) -> None:
    if any(len(labels) != 1 + len(BY_NAME[name].labels) for labels in samples):
        raise ValueError("labels")


def _value(kind: str, value: Any) -> Any:
    if kind != "histogram":
        return float(value) if isinstance(value, float) else int(value)
    counts, number, seconds = value
    return Histogram(tuple(map(int, counts)), int(number), float(seconds))


def _lightened(values: Values, top: int) -> Values:
    """Keep only the *top* statements of those that are series of their own."""
    seconds = values.get("improved_db_top_statement_seconds_total", {})
    kept = {labels[:2] for labels, _ in sorted(seconds.items(), key=lambda item: -item[1])[:top]}
    return {
        name: {labels: value for labels, value in samples.items() if labels[:2] in kept}
        if name.startswith("improved_db_top_")
        else samples
        for name, samples in values.items()
    }


def _counters(values: Values) -> Values:
    """Return what stays of a process that has ended."""
    kept = {"counter", "histogram", "info"}
    return {
        name: samples for name, samples in values.items() if BY_NAME[name].kind in kept and name != "improved_db_info"
    }
