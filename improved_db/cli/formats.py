r"""Rows as text: tables, CSV, TSV, JSON, JSON lines, Markdown, one line for each value.

Every format takes rows as they come and keeps at most `PEEKED` of them. A CSV has nothing for NULL, and ``""`` for a
text without characters; a TSV has ``\N`` and MySQL's escapes.

Knows the formats. Does not know where rows come from.
"""

from __future__ import annotations

import itertools
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from improved_db.cli.cells import json_of, padded, shown, text_of, width
from improved_db.cli.ending import Exit, Failure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from improved_db.cli.console import Console

    Rows = Iterable[Sequence[Any]]

#: As many rows decide how wide the columns of a table are.
PEEKED: Final = 1000


def write_rows(console: Console, form: str, columns: Sequence[str], rows: Rows) -> int:
    """Write rows to standard output in the format *form* ("auto": a table on a terminal, else CSV); count them."""
    if form == "auto":
        form = "table" if console.out_is_terminal else "csv"
    count = 0

    def counted() -> Rows:
        nonlocal count
        for row in rows:
            count += 1
            yield row

    _WRITERS[form](console, columns, counted())
    console.out.flush()
    return count


def _table(console: Console, columns: Sequence[str], rows: Rows) -> None:
    coming = iter(rows)
    first = list(itertools.islice(coming, PEEKED))
    names = [shown(name) for name in columns]
    texts = [[shown(value) for value in row] for row in first]
    widths = [max(map(width, column)) for column in zip(names, *texts, strict=True)]
    right = [
        bool(values := [row[at] for row in first if row[at] is not None]) and not any(map(_is_text, values))
        for at in range(len(names))
    ]

    def line(cells: Sequence[str]) -> str:
        fitted = zip(cells, widths, right, strict=True)
        return "  ".join(padded(cell, columns_, right=side) for cell, columns_, side in fitted).rstrip()

    console.data(console.paint(line(names), "bold"))
    console.data("  ".join("-" * columns_ for columns_ in widths))
    for row in itertools.chain(texts, ([shown(value) for value in row] for row in coming)):
        console.data(line(row))


def _is_text(value: object) -> bool:
    return isinstance(value, (str, bytes))


def _vertical(console: Console, columns: Sequence[str], rows: Rows) -> None:
    names = [shown(name) for name in columns]
    widest = max(map(width, names), default=0)
    for number, row in enumerate(rows, 1):
        console.data(f"*** row {number} ***")
        for name, value in zip(names, row, strict=True):
            console.data(f"{padded(name, widest, right=True)}: {shown(value)}")


def _markdown(console: Console, columns: Sequence[str], rows: Rows) -> None:
    def line(cells: Iterable[object]) -> str:
        return "| " + " | ".join(shown(cell).replace("|", "\\|") for cell in cells) + " |"

    console.data(line(columns))
    console.data("|" + "---|" * len(columns))
    for row in rows:
        console.data(line(row))


def _csv(console: Console, columns: Sequence[str], rows: Rows) -> None:
    for row in itertools.chain([columns], rows):
        console.data(",".join(map(_csv_field, row)))


def _csv_field(value: object) -> str:
    if value is None:
        return ""
    text = text_of(value)
    if text and not any(char in text for char in '",\r\n'):
        return text
    return '"' + text.replace('"', '""') + '"'


_TSV: Final = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r", "\0": "\\0"})


def _tsv(console: Console, columns: Sequence[str], rows: Rows) -> None:
    for row in itertools.chain([columns], rows):
        console.data("\t".join("\\N" if value is None else text_of(value).translate(_TSV) for value in row))


def _jsonl(console: Console, columns: Sequence[str], rows: Rows) -> None:
    for text in _objects(columns, rows):
        console.data(text)


def _json(console: Console, columns: Sequence[str], rows: Rows) -> None:
    before = "["
    for text in _objects(columns, rows):
        console.data(before)
        console.out.write(text)
        before = ","
    console.data("[]" if before == "[" else "\n]")


def _objects(columns: Sequence[str], rows: Rows) -> Iterable[str]:
    if twice := [name for name, times in Counter(columns).items() if times > 1]:
        raise Failure(f"two columns are called {twice[0]!r}; rename one with AS, or write --format csv", Exit.USAGE)
    keys = [json_of(name) + ": " for name in columns]
    for row in rows:
        yield "{" + ", ".join(key + json_of(value) for key, value in zip(keys, row, strict=True)) + "}"


def _null(console: Console, columns: Sequence[str], rows: Rows) -> None:
    del console, columns
    for _ in rows:
        pass


_WRITERS: Final[dict[str, Callable[[Console, Sequence[str], Rows], None]]] = {
    "table": _table,
    "csv": _csv,
    "tsv": _tsv,
    "json": _json,
    "jsonl": _jsonl,
    "markdown": _markdown,
    "vertical": _vertical,
    "null": _null,
}
#: What ``--format`` takes.
FORMATS: Final = ("auto", *_WRITERS)
