# What the compiled module has.

from collections.abc import Callable
from typing import Any, final

@final
class Rows:
    def __new__(
        cls,
        kinds: bytes,
        readers: tuple[Callable[[Any], Any], ...],
        names: tuple[str, ...] | None,
        refuse: Callable[[], Exception],
        /,
    ) -> Rows: ...
    def run(self, data: bytes, position: int, sequence: int, rows: list[Any], /) -> tuple[int, int]: ...
