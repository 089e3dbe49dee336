"""A password that must be seen nowhere, and a look for it in all that an error reporter sends away."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import improved_db

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CANARY = "c4n4ry-bird"
PACKAGE = str(Path(improved_db.__file__).parent)


def is_ours(file: str) -> bool:
    """Whether a file is the package's; frames of foreign drivers show a password, which is theirs to mend."""
    return file.startswith(PACKAGE)


def leaks(error: BaseException, watched: Callable[[str], bool]) -> Iterator[str]:
    """Find the canary in an error, in what it came from, and in the locals of every frame of a *watched* file."""
    seen: BaseException | None = error
    while seen is not None:
        if CANARY in f"{seen} {seen!r} {seen.args!r} {vars(seen)!r}":
            yield f"text of {type(seen).__name__}"
        step = seen.__traceback__
        while step is not None:
            code = step.tb_frame.f_code
            if watched(code.co_filename):
                for name, value in step.tb_frame.f_locals.items():
                    if CANARY in repr(value):
                        yield f"{code.co_filename}, {code.co_name}: {name}"
            step = step.tb_next
        seen = seen.__cause__ or seen.__context__
