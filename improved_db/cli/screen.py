"""A terminal as a screen: frames over each other, and single keys; at the end it is as it was.

Knows terminals. Does not know what is shown.
"""

from __future__ import annotations

import os
import select
import shutil
import sys
import termios
import tty
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

    from improved_db.cli.console import Console


class Screen:
    """The terminal of a command."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._input = sys.stdin.fileno() if sys.stdin.isatty() else None
        self._before: list[Any] | None = None

    def __enter__(self) -> Self:
        if self._input is not None:
            self._before = termios.tcgetattr(self._input)
            tty.setcbreak(self._input, termios.TCSANOW)  # keys that were pressed before count
        self._write("\x1b[?1049h\x1b[?25l")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._write("\x1b[?25h\x1b[?1049l")
        if self._input is not None and self._before is not None:
            termios.tcsetattr(self._input, termios.TCSADRAIN, self._before)

    def size(self) -> tuple[int, int]:
        """Return how many columns and rows there are."""
        found = shutil.get_terminal_size()
        return found.columns or 80, found.lines or 24  # 0 of a terminal that does not say, on Python 3.10

    def show(self, lines: list[str]) -> None:
        """Show a frame."""
        self._write("\x1b[H" + "".join(f"{line}\x1b[K\r\n" for line in lines[:-1]) + f"{lines[-1]}\x1b[K\x1b[J")

    def key(self, seconds: float) -> str:
        """Return the key that is pressed within so many seconds; empty if there is none."""
        source = [] if self._input is None else [self._input]
        ready, _, _ = select.select(source, [], [], seconds)
        return os.read(ready[0], 1).decode(errors="replace") if ready else ""

    def _write(self, text: str) -> None:
        self._console.out.write(text)
        self._console.out.flush()
