# What the compiled module has.

from collections.abc import Callable, Sequence
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

    # The values of each column, as Arrow keeps them, one after the other: a bit for each row that says whether it has a
    # value (padded to a multiple of 8 bytes), the offsets of all values and of the end (int32), and their bytes.
    def split(self, packets: Sequence[bytes], /) -> list[bytes]: ...
