"""Interrupts at a chosen instant: after each call and return in the files that a test names."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType, ModuleType


class Interrupt(KeyboardInterrupt):
    """Ctrl-C, told from a real one."""


def files_of(*modules: ModuleType) -> frozenset[str]:
    """Return the files of modules, as the frames of their functions name them."""
    return frozenset(str(Path(module.__file__ or "")) for module in modules)


def is_instant(frame: FrameType, event: str, files: frozenset[str]) -> bool:
    """Whether CPython looks for signals at this event in *files*: a function begins, or a call is over."""
    return frame.f_code.co_filename in files and event in {"call", "return", "c_return"}


class Bomb:
    """Raises once, at the n-th instant at which CPython looks for signals in *files*."""

    def __init__(self, instant: int, files: frozenset[str]) -> None:
        self.instant = instant
        self.seen = 0
        self._files = files

    def __call__(self, frame: FrameType, event: str, _: object) -> None:
        """Hear of an event, as a profile function."""
        if not is_instant(frame, event, self._files):
            return
        self.seen += 1
        if self.seen == self.instant:
            raise Interrupt

    @property
    def went_off(self) -> bool:
        """Whether it raised."""
        return self.seen >= self.instant


def interrupted(bomb: Bomb, call: Callable[[], object]) -> None:
    """Run *call* with the bomb in it."""
    sys.setprofile(bomb)
    try:
        call()
    except Interrupt:
        pass
    finally:
        sys.setprofile(None)
