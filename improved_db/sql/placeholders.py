"""Why a statement and its arguments do not fit together, said without showing a value.

Knows PyMySQL's placeholders, ``%s``, ``%(name)s`` and ``%%``, and those of other libraries. Does not know how a value
is written.
"""

from __future__ import annotations

import functools
import re
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from typing import Final, NamedTuple

from improved_db.sql.tokens import tokens_of

# Texts, which `re` compiles with their first use: most programs never need them.
_PERCENT: Final = r"(?s)%(?:\(([^()]*)\)s|(s)|(%)|)"
_QUOTED: Final = r"'[^'\\]*'|\"[^\"\\]*\"|`[^`]*`"
_COLON: Final = r"(?<![:\w]):[A-Za-z_]\w*"
_INSERT: Final = r"(?i)\s*(?:insert|replace)\b"
_VALUES_OF_ARGS: Final = r"(?i)\bvalues?\s*%s"  # a tuple is a row with its parentheses
_IN: Final = r"(?i)\bin\s*\(?\s*%s"
_VALUES: Final = r"(?i)\bvalues?\s*\Z"
_BEFORE_A_LIST: Final = r"(?i)\bin\s*\(?\s*\Z"
_TABLE: Final = r"(?i)\b(?:from|into|update|join|table)\s+%"
_LIMIT: Final = r"(?i)\b(?:limit|offset)\s+%"
_ORDER: Final = r"(?i)\b(?:order|group)\s+by\s+((?:[\w`.,\s]|%s|%\([^()]*\)s)*)"
_COLUMN: Final = r"(?:\A|,)\s*(%s|%\([^()]*\)s)"
_END_OF_COLUMN: Final = r"(?i)\s*(?:[,);]|asc\b|desc\b|limit\b|having\b|for\b|with\b|\Z)"
_NUMBER: Final = r"-?[0-9][-+.0-9e]*"
_WITHIN_QUOTES: Final = r"'%(?:s|\(\w+\)s)'|\"%(?:s|\(\w+\)s)\""


#: Without one of these, no place of a statement is within quotes or a comment.
_OPENING: Final = ("'", '"', "`", "/*", "--", "#")
#: A longer text has its values in it: it is not read, which would take long, nor kept.
LONG: Final = 10_000


class Places(NamedTuple):
    """What a statement has places for.

    Attributes:
        positional: How many ``%s`` it has.
        names: The names of its ``%(name)s``.
        lone: Where a percent sign stands that belongs to no placeholder; None if there is none.
    """

    positional: int
    names: tuple[str, ...]
    lone: int | None


@functools.lru_cache(256)
def places_of(query: str) -> Places:
    """Return the places of *query*."""
    positional, names, lone = 0, [], None
    for found in re.finditer(_PERCENT, query):
        name, values, doubled = found.groups()
        if name is not None:
            names.append(name)
        elif values:
            positional += 1
        elif not doubled and lone is None:
            lone = found.start()
    return Places(positional, tuple(names), lone)


def _numbered(query: str) -> Iterator[tuple[int | str, re.Match[str]]]:
    """Yield each place, by its number from 1 or its name, and where it is."""
    number = 0
    for found in re.finditer(_PERCENT, query):
        name, positional, _ = found.groups()
        number += bool(positional)
        if positional or name is not None:
            yield (name if positional is None else number), found


@functools.lru_cache(256)
def guarded(query: str) -> Mapping[int | str, str]:
    """Return the places that do not take every value, each with one of these marks.

    "quotes" stand around it, or a comment: the quotes of a value's literal would end them there. Or the place is a
    column of "order", where a text is a constant.
    """
    columns = {
        clause.start(1) + column.start(1)
        for clause in re.finditer(_ORDER, query)
        for column in re.finditer(_COLUMN, clause[1])
        if re.match(_END_OF_COLUMN, query[clause.start(1) + column.end() :][:20])
    }
    opened = any(sign in query for sign in _OPENING)
    if not columns and not opened:
        return {}
    tokens = tokens_of(query, filled=True) if opened else ()
    inside = [token for token in tokens if token.kind in {"text", "name", "comment"}]
    starts = [token.start for token in inside]
    marks: dict[int | str, str] = {}
    for place, found in _numbered(query):
        nearest = bisect_right(starts, found.start()) - 1
        if nearest >= 0 and found.start() < inside[nearest].end:
            marks[place] = "quotes"
        elif found.start() in columns:
            marks[place] = "order"
    return marks


def guarded_misfit(mark: str, place: int | str, literal: str) -> str | None:
    """Say why a place with this *mark* does not take *literal*; None if it does."""
    if mark == "order" and literal.startswith("'"):
        return (
            f"a text is a constant to ORDER BY and GROUP BY (parameter {place!r}): SQL(...).format(Identifier(name)) "
            "puts a column there"
        )
    if mark == "quotes" and not re.fullmatch(_NUMBER, literal):
        return (
            f"write no quotes around a placeholder (parameter {place!r}), and put none into a comment: improved_db "
            "adds the quotes, and the signs of LIKE belong to the value"
        )
    return None


def list_misfit(query: str, place: int | str) -> str | None:
    """Say why *place* takes no list of one value, which would count there as the value itself."""
    if place in _places_of_lists(query):
        return None
    return f"a list is for IN alone (parameter {place!r}); for a JSON column pass json.dumps(value)"


@functools.lru_cache(256)
def _places_of_lists(query: str) -> frozenset[int | str]:
    some: set[int | str] = set()
    others: set[int | str] = set()
    row, end = False, 0
    for place, found in _numbered(query):
        before, end = query[end : found.start()], found.end()
        row = re.search(_VALUES, before) is not None or (row and before.strip() == ",")
        (some if row or re.search(_BEFORE_A_LIST, before) else others).add(place)
    return frozenset(some - others)


@functools.lru_cache(256)
def mapping_misfit(query: str) -> str | None:
    """Say why *query* takes no mapping; None if it does. Python's own formatting would say nothing."""
    places = places_of(query)
    if places.positional:
        return "the statement has %s, and args is a mapping: write %(name)s, or pass a tuple"
    if not places.names and re.search(_COLON, re.sub(_QUOTED, "", query)):
        return "the statement has no %(name)s, and args is a mapping: placeholders are %(name)s, not :name"
    return None


def misfit(query: str, args: object) -> str:
    """Say why *args* do not fit *query*; they are known not to."""
    places = places_of(query)
    if places.lone is not None:
        return (
            f"character {places.lone + 1} of the statement is a percent sign of no placeholder: "
            "a percent sign of the statement itself is written %%"
        )
    if isinstance(args, Mapping):
        missing = [name for name in places.names if name not in args]
        if missing:
            return f"args has no {missing[0]!r}; it has {', '.join(sorted(map(repr, args)))}"
        return mapping_misfit(query) or "args do not fit the statement"
    number = len(args) if isinstance(args, (tuple, list)) else 1
    if places.names:
        return f"the statement has %({places.names[0]})s, and args is no mapping: pass a dict, or write %s"
    if not places.positional:
        other = ", not ?" if "?" in query else ""
        return (
            f"the statement has no %s, and args has {_counted(number, 'value')}: placeholders are %s or %(name)s{other}"
        )
    hint = ""
    if places.positional == 1 and number > 1 and re.search(_IN, query):
        hint = "; for IN %s put the list into a tuple: (ids,)"
    return (
        f"the statement has {_counted(places.positional, 'place')} (%s), and args has {_counted(number, 'value')}{hint}"
    )


def rows_given(query: str, args: tuple[object, ...] | list[object]) -> bool:
    """Say whether *args* are rows for an INSERT, which would need exec_many: each is a sequence."""
    return (
        re.match(_INSERT, query) is not None
        and re.search(_VALUES_OF_ARGS, query) is None
        and all(isinstance(row, Mapping if places_of(query).names else (tuple, list)) for row in args)
    )


def row_misfit(values: str, row: object) -> str | None:
    """Say why *row* does not fit the places of *values*; None if nothing is wrong with its form."""
    places = places_of(values)
    if places.lone is not None or (places.names and places.positional):
        return None
    if places.names:
        if not isinstance(row, Mapping):
            return "is no mapping, and the places of the statement have names: each row must be a mapping"
        missing = [name for name in places.names if name not in row]
        return f"has no {missing[0]!r}; it has {', '.join(sorted(map(repr, row)))}" if missing else None
    if isinstance(row, Mapping):
        return "is a mapping, and the places in the statement have no names: write %(name)s"
    if hasattr(row, "dtype") or not isinstance(row, (tuple, list)):
        return None
    if len(row) == places.positional:
        return None
    kind = type(row[0]).__name__ if len(row) == 1 else ""
    if kind and hasattr(row[0], "tolist"):
        return f"is a {kind}: pass rows.tolist()"
    if kind and isinstance(row[0], (Iterator, AbstractSet)):
        return f"is a {kind}, and no sequence of values: pass tuple(row)"
    if not places.positional:
        return f"has {_counted(len(row), 'value')}, and the statement has 0 places; placeholders are %s or %(name)s"
    return f"has {_counted(len(row), 'value')}, and the statement has {_counted(places.positional, 'place')}"


def hint(query: str, said: str) -> str:
    """Return what to add to a server's complaint about the syntax of *query*; nothing if there is nothing to add.

    Args:
        query: The statement, without its arguments.
        said: The complaint, which shows where the server stopped.
    """
    near = said.partition("near ")[2]
    bare = re.sub(_QUOTED, "", query)
    if re.search(r"%s|%\(\w+\)s", near):
        return "args was not given; for NULL pass (None,)"
    if re.search(_WITHIN_QUOTES, query):
        return "write no quotes around %s: improved_db adds them"
    if "?" in bare and "%s" not in query:
        return "placeholders are %s and %(name)s, not ?"
    if "{}" in bare:
        return "the places {} of SQL are filled by format(): SQL(...).format(Identifier(name))"
    if re.search(r";\s*\S", bare):
        return "execute_query takes one statement at a time: run them one after the other"
    return _hint_about_a_place(query, near)


def _hint_about_a_place(query: str, near: str) -> str:
    """Return what to add if the server stopped at the value of a place that takes another."""
    text = near.startswith("''")
    if text and re.search(_TABLE, query):
        return "a name of a table is no value: SQL(...).format(Identifier(name))"
    if text and re.search(_LIMIT, query):
        return "LIMIT and OFFSET take an int, not a str"
    if not near.startswith("'(") and re.search(_IN, query):
        return "for IN %s put the list into a tuple: (ids,)"
    return ""


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
