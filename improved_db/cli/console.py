"""Standard output for data, standard error for everything else, and colour where a terminal wants it.

Knows the two streams and ``NO_COLOR``. Does not know what is written.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import TextIO

_COLOURS: Final = {"bold": "1", "red": "31", "green": "32", "yellow": "33", "cyan": "36", "dim": "2"}


class Console:
    """The two streams of a command.

    Attributes:
        out: Where data go.
        err: Where everything else goes.
    """

    def __init__(
        self, out: TextIO, err: TextIO, *, color: str = "auto", environ: Mapping[str, str] = os.environ
    ) -> None:
        """Decide about colours.

        Args:
            out: Where data go.
            err: Where everything else goes.
            color: "always", "never", or "auto": on a terminal, unless ``NO_COLOR`` is set and not empty.
            environ: Where the variable is looked up.
        """
        self.out: Final = out
        self.err: Final = err
        self._color = color
        self._plain = bool(environ.get("NO_COLOR")) or environ.get("TERM") == "dumb"

    @property
    def out_is_terminal(self) -> bool:
        """Whether a person reads the data."""
        return self.out.isatty()

    @property
    def err_is_terminal(self) -> bool:
        """Whether a person reads the rest; in a log file a progress bar is noise."""
        return self.err.isatty()

    def paint(self, text: str, color: str, stream: TextIO | None = None) -> str:
        """Return *text* in a colour if *stream*, or the one for data, shows colours."""
        shows = self._color == "always" or (self._color == "auto" and not self._plain and (stream or self.out).isatty())
        return f"\x1b[{_COLOURS[color]}m{text}\x1b[0m" if shows and text else text

    def say(self, text: str, color: str = "") -> None:
        """Write one line that is no data."""
        self.err.write((self.paint(text, color, self.err) if color else text) + "\n")
        self.err.flush()

    def data(self, text: str) -> None:
        """Write data: one line."""
        self.out.write(text + "\n")

    @contextlib.contextmanager
    def with_log(self, shown: bool) -> Iterator[None]:
        """Let the library's log appear among what is no data, if it is to be *shown*, for a ``with`` block."""
        if not shown:
            yield
            return
        handler = logging.StreamHandler(self.err)
        handler.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
        logger = logging.getLogger("improved_db")
        level = logger.level
        logger.addHandler(handler)
        logger.setLevel(logging.DEBUG)
        try:
            yield
        finally:
            logger.removeHandler(handler)
            logger.setLevel(level)


def console_of_process(color: str = "auto") -> Console:
    """Return the console of this process.

    Raises:
        OSError: A stream is closed.
    """
    if sys.stdout is None or sys.stderr is None:
        raise OSError("standard output or standard error is closed; redirect it to a file or to /dev/null")
    return Console(sys.stdout, sys.stderr, color=color)
