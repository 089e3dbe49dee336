r"""Files of rows: CSV, TSV, JSON lines and Parquet, read row by row.

An error says the file and the line. In a CSV, a field with nothing in it is NULL and ``""`` a text without characters;
Python's `csv` tells these apart only from 3.12 on. With ``null=TEXT``, fields of that text, without quotes, are NULL,
and those with nothing in them are texts. In a TSV, ``\N`` is NULL, and a backslash escapes as ``LOAD DATA`` reads it.

Knows how these files are written. Does not know tables or servers.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from improved_db.cli.ending import Failure

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from typing import BinaryIO

#: By the ending of a file's name.
KINDS: Final = {".csv": "csv", ".tsv": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet"}

_FIELD: Final = r'"(?P<quoted>(?:[^"]|"")*)"|(?P<plain>[^"{delimiter}\r\n]*)'
_ESCAPED: Final = {"t": "\t", "n": "\n", "r": "\r", "0": "\0", "b": "\b", "Z": "\x1a"}


class Source(NamedTuple):
    """The rows of one file.

    Attributes:
        columns: Their names; None if the file does not say.
        rows: Each with as many values as there are columns.
    """

    columns: Sequence[str] | None
    rows: Iterator[Sequence[Any]]


def numbered(file: BinaryIO, name: str) -> Iterator[tuple[int, str]]:
    """Yield the lines of a text file with their numbers.

    Raises:
        Failure: A line is not UTF-8.
    """
    for number, line in enumerate(file, 1):
        try:
            yield number, line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise Failure(f"{name}, line {number}: this is not UTF-8") from error


def separated(file: BinaryIO, name: str, kind: str, *, delimiter: str, header: bool, null: str | None) -> Source:
    """Read a CSV or TSV.

    Raises:
        Failure: A line is broken; here for the first one, later from the rows.
    """
    lines = numbered(file, name)
    records = _tsv(lines, null) if kind == "tsv" else _csv(lines, name, delimiter, null)
    columns: list[str] | None = None
    if header:
        _, first = next(records, (0, []))
        columns = [field or "" for field in first]
        if not columns or not all(columns):
            raise Failure(
                f"{name}, line 1: a column without a name; --no-header --columns a,b gives names",
            )
    return Source(columns, _even(records, name, columns))


def _even(
    records: Iterator[tuple[int, list[str | None]]], name: str, columns: Sequence[str] | None
) -> Iterator[Sequence[Any]]:
    """Yield the rows; all have as many fields as the first line."""
    width = len(columns) if columns else 0
    for number, fields in records:
        width = width or len(fields)
        if len(fields) != width:
            raise Failure(f"{name}, line {number}: {len(fields)} fields, where the first line has {width}")
        yield fields


def _csv(
    lines: Iterator[tuple[int, str]], name: str, delimiter: str, null: str | None
) -> Iterator[tuple[int, list[str | None]]]:
    absent = null or ""
    field = re.compile(_FIELD.format(delimiter=re.escape(delimiter)))
    for number, first in lines:
        line = first
        if '"' not in line:  # most lines
            line = line.rstrip("\r\n")
            if line:
                yield number, [None if text == absent else text for text in line.split(delimiter)]
            continue
        while line.count('"') % 2:
            _, more = next(lines, (0, ""))
            if not more:
                raise Failure(f"{name}, line {number}: a quote is opened and never closed")
            line += more
        yield number, _fields(line.rstrip("\r\n"), field, delimiter, absent, f"{name}, line {number}")


def _fields(line: str, field: re.Pattern[str], delimiter: str, absent: str, where: str) -> list[str | None]:
    found: list[str | None] = []
    at = 0
    while True:
        match = field.match(line, at)
        quoted = match["quoted"] if match else None
        if match is None or (match.end() < len(line) and line[match.end()] != delimiter):
            raise Failure(f'{where}: a quote in the middle of field {len(found) + 1}; write "" for a quote in quotes')
        found.append(
            quoted.replace('""', '"') if quoted is not None else None if match["plain"] == absent else match["plain"]
        )
        if match.end() == len(line):
            return found
        at = match.end() + 1


def _tsv(lines: Iterator[tuple[int, str]], null: str | None) -> Iterator[tuple[int, list[str | None]]]:
    absent = "\\N" if null is None else null

    def value(text: str) -> str | None:
        if text == absent:
            return None
        return re.sub(r"\\(.)", lambda escape: _ESCAPED.get(escape[1], escape[1]), text) if "\\" in text else text

    for number, line in lines:
        if text := line.rstrip("\r\n"):
            yield number, [value(field) for field in text.split("\t")]


def json_lines(file: BinaryIO, name: str, columns: Sequence[str] | None) -> Source:
    """Read JSON lines; the columns are the keys of the first line, unless *columns* says which.

    Raises:
        Failure: A line is broken; here for the first one, later from the rows.
    """
    objects = _objects(numbered(file, name), name)
    first = next(objects, None)
    if first is None:
        return Source(columns or (), iter(()))
    names = list(columns or first[1])

    def rows() -> Iterator[Sequence[Any]]:
        for number, found in _chained(first, objects):
            if columns is None and (extra := found.keys() - set(names)):
                raise Failure(f"{name}, line {number}: the key {min(extra)!r} is not in the first line")
            if missing := set(names) - found.keys():
                raise Failure(f"{name}, line {number}: the key {min(missing)!r} is missing")
            yield [_plain(found[key]) for key in names]

    return Source(names, rows())


def _chained(
    first: tuple[int, dict[str, Any]], rest: Iterable[tuple[int, dict[str, Any]]]
) -> Iterator[tuple[int, dict[str, Any]]]:
    yield first
    yield from rest


def _objects(lines: Iterator[tuple[int, str]], name: str) -> Iterator[tuple[int, dict[str, Any]]]:
    from decimal import Decimal  # noqa: PLC0415  # only here: numbers keep every digit

    for number, line in lines:
        if not line.strip():
            continue
        try:
            found = json.loads(line, parse_float=Decimal)
        except ValueError as error:
            raise Failure(f"{name}, line {number}: {error}") from error
        if not isinstance(found, dict):
            raise Failure(f'{name}, line {number}: a JSON object is needed, as in {{"id": 1}}')
        yield number, found


def _plain(value: Any) -> Any:
    return json.dumps(value, ensure_ascii=False, default=str) if isinstance(value, (dict, list)) else value


def parquet(path: str) -> Source:
    """Read a Parquet file.

    Raises:
        Failure: It is none.
        ImportError: pyarrow is not installed.
    """
    from improved_db.frames.libraries import library  # noqa: PLC0415  # an extra

    arrow, reader = library("pyarrow"), library("pyarrow.parquet")
    try:
        file = reader.ParquetFile(path)
    except (arrow.ArrowInvalid, arrow.ArrowNotImplementedError) as error:
        raise Failure(f"{path} is not a Parquet file: {str(error).splitlines()[0]}") from error

    def rows() -> Iterator[Sequence[Any]]:
        for batch in file.iter_batches():
            yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)

    return Source(file.schema_arrow.names, rows())
