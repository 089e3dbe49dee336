"""`Rows` in a notebook: a table, never a program."""

from __future__ import annotations

from dataclasses import dataclass
from html.parser import HTMLParser
from typing import Any, NamedTuple

from improved_db.rows import Rows, rows_counted, rows_made


class Pet(NamedTuple):
    """A row with names."""

    id: int
    name: str


@dataclass
class Owner:
    """A row with fields."""

    id: int
    name: str


class Result:
    """A finished result."""

    affected_rows = insert_id = warning_count = 0

    def __init__(self, *columns: str) -> None:
        self.description = [(column,) for column in columns]


class Reader(HTMLParser):
    """What a browser sees: tags, attributes and texts."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[Any] = []
        self.lines: list[list[str]] = []
        self.note = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        """Note a tag, and begin a line or a cell."""
        self.tags.append(tag)
        self.attributes += attrs
        if tag == "tr":
            self.lines.append([])
        elif tag in {"th", "td"}:
            self.lines[-1].append("")

    def handle_data(self, data: str) -> None:
        """Note a text where it stands."""
        if self.tags[-1] == "p":
            self.note += data
        else:
            self.lines[-1][-1] += data


def read(rows: Any, *columns: str) -> Reader:
    html = rows_made(rows, Result(*columns))._repr_html_()
    assert html is not None
    return Reader(html)


def test_rows_are_a_table_with_the_names_over_it() -> None:
    seen = read([(1, "Rex"), (2, None)], "id", "name")
    assert seen.lines == [["id", "name"], ["1", "Rex"], ["2", "None"]]
    assert seen.note == ""


def test_rows_of_every_class_are_the_same_table() -> None:
    """What `row_type` makes of a row does not change how it looks."""
    table = [["id", "name"], ["1", "Rex"]]
    for row in ({"id": 1, "name": "Rex"}, Pet(1, "Rex"), Owner(1, "Rex"), [1, "Rex"]):
        assert read([row], "id", "name").lines == table


def test_rows_that_are_single_values_have_one_cell() -> None:
    """A text has methods that are called as columns are; its characters are no cells."""
    assert read(["Rex", "Tom"], "count").lines == [["count"], ["Rex"], ["Tom"]]
    assert read([3.5], "id", "name").lines == [["3.5"]]


def test_nothing_in_a_value_or_name_is_html() -> None:
    """A row that a stranger wrote must not run in the notebook of who reads it."""
    evil = '<script>alert("1")</script><img src=x onerror=alert(1)>\'"><svg/onload=alert(1)>&lt;b&gt;</td></table>'
    seen = read([(evil, evil.encode()), (Owner(1, evil), [evil])], evil, "b")
    assert set(seen.tags) == {"table", "thead", "tbody", "tr", "th", "td"}
    assert seen.attributes == []
    assert seen.lines[0] == [evil, "b"]
    assert seen.lines[1] == [evil, str(evil.encode())]


def test_long_results_end_with_a_note() -> None:
    """A million rows would stop the browser."""
    seen = read([(number,) for number in range(1234)], "n")
    assert len(seen.lines) == 51
    assert seen.lines[-1] == ["49"]
    assert seen.note == "the first 50 of 1,234 rows"


def test_long_values_and_wide_rows_are_cut() -> None:
    seen = read([("x" * 5000, b"y" * 5000)], "a", "b")
    assert [len(cell) for cell in seen.lines[1]] == [301, 301]
    wide = read([tuple(range(1000))], *(f"c{number}" for number in range(1000)))
    assert {len(line) for line in wide.lines} == {100}
    assert wide.note == "the first 100 of 1,000 columns"


def test_a_result_without_rows_shows_its_columns_and_a_statement_without_result_nothing() -> None:
    """Notebooks show the plain text in place of None."""
    seen = read([], "id", "name")
    assert (seen.lines, seen.note) == ([["id", "name"]], "no rows")
    assert rows_counted(3)._repr_html_() is None
    assert isinstance(rows_counted(3), Rows)
