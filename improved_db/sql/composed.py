"""Statements put together of parts: `SQL`, `Identifier`, and the template strings of Python 3.14 (PEP 750).

A part is text that the programmer wrote, a quoted name, or a value. Text and names make the statement; each value
becomes a ``%s`` and an argument, so that no value is ever read as SQL.

Knows parts and how they make a statement and its arguments. Does not know how a value is written, nor who runs it.
"""

from __future__ import annotations

import string
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from improved_db.errors import StatementError

if TYPE_CHECKING:
    import sys
    from collections.abc import Iterable, Iterator
    from typing import TypeAlias

    from typing_extensions import LiteralString, Self

    if sys.version_info >= (3, 14):
        from string.templatelib import Template

        #: What every verb takes as its statement.
        Query: TypeAlias = LiteralString | "SQL" | Template
    else:
        Query: TypeAlias = "LiteralString | SQL"

    #: What a statement is put together of.
    Part: TypeAlias = "str | Identifier | _Value"

_AS_THEY_ARE: Final = frozenset({"", "l", "q"})  # `l` is psycopg's word for a value, `q` for a piece of SQL


class _Value(NamedTuple):
    """A value among the parts; to the statement it is a ``%s``."""

    value: Any


class Identifier:
    """The name of a table, a column or the like, which no placeholder can stand for; it is quoted in backticks.

    ``Identifier("shop", "user")`` is the table user of the database shop.
    """

    __slots__ = ("_names",)

    def __init__(self, *names: str) -> None:
        """Take the parts of the name, the outermost first.

        Raises:
            StatementError: A part is not a str, is empty, or has a NUL character.
        """
        for name in names or (None,):
            if not isinstance(name, str):
                raise StatementError(f"an identifier must be a str, not a {type(name).__name__}")
            if not name or "\0" in name:
                raise StatementError(f"an identifier must have characters, and no NUL among them, not {name!r}")
        self._names: tuple[str, ...] = names

    def __str__(self) -> str:
        return ".".join(f"`{name.replace('`', '``')}`" for name in self._names)

    def __repr__(self) -> str:
        return f"Identifier({', '.join(map(repr, self._names))})"

    def __eq__(self, other: object) -> bool:
        return self._names == other._names if isinstance(other, Identifier) else NotImplemented

    def __hash__(self) -> int:
        return hash((Identifier, self._names))


class SQL:
    """A statement, or a piece of one, that names and values can be put into.

    ``SQL("select {column} from user where uid = {uid}").format(column=Identifier("name"), uid=42)``

    Every verb takes one in place of a str. The values in it are its arguments; if it has none, arguments may be given
    to the verb, for ``%s`` and ``%(name)s`` in its text. A percent sign in its text is doubled only then.
    """

    __slots__ = ("_parts",)

    def __init__(self, text: LiteralString) -> None:
        """Take the text, which the programmer wrote: never one with a user's input in it.

        Raises:
            StatementError: *text* is not a str.
        """
        if not isinstance(text, str):
            raise StatementError(f"the text of SQL must be a str, not a {type(text).__name__}")
        self._parts: tuple[Part, ...] = (text,)

    @classmethod
    def trusted(cls, text: str) -> Self:
        """Return SQL of a text that type checkers cannot know to be the programmer's, from a file for example.

        Raises:
            StatementError: *text* is not a str.
        """
        checked: Any = text
        return cls(checked)

    def format(self, /, *args: object, **kwargs: object) -> Self:
        """Put something into each ``{}``, ``{0}`` or ``{name}`` of the text; ``{{`` is a brace.

        `SQL`, `Identifier` and template strings become part of the statement; ``{name:i}`` makes an identifier of a
        str. Everything else is a value.

        Raises:
            StatementError: The braces and what was given do not fit together.
        """
        if len(self._parts) != 1 or not isinstance(self._parts[0], str):
            raise StatementError("this SQL is put together already; call format() on each piece before")
        try:
            fields = list(string.Formatter().parse(self._parts[0]))
        except ValueError as error:
            raise StatementError(f"the braces of the SQL are invalid ({error}); write a literal brace twice") from None
        given: dict[str, object] = {**{str(number): value for number, value in enumerate(args)}, **kwargs}
        unused = dict.fromkeys(given)
        numbers = iter(range(len(fields)))
        parts: list[Part] = []
        for text, field, spec, conversion in fields:
            parts.append(text)
            if field is not None:
                name = field or str(next(numbers))
                if name not in given:
                    raise StatementError(f"format() was given nothing for {{{name}}}")
                unused.pop(name, None)
                parts.extend(_parts_of(given[name], spec or "", conversion, name))
        if unused:
            raise StatementError(f"the text has no place for what format() was given: {', '.join(unused)}")
        return self._of(parts)

    def join(self, items: Iterable[object]) -> Self:
        """Return the items with this text between them; what is no piece of SQL and no identifier is a value.

        ``SQL(", ").join([Identifier("name"), Identifier("age")])``
        """
        parts: list[Part] = []
        for number, item in enumerate(items):
            parts.extend(self._parts if number else ())
            parts.extend(_parts_of(item, "", None, f"item {number}"))
        return self._of(parts)

    @classmethod
    def _of(cls, parts: Iterable[Part]) -> Self:
        made = cls("")
        made._parts = tuple(parts)
        return made

    def __add__(self, other: object) -> Self:
        if not isinstance(other, (SQL, Identifier)) and not _is_template(other):
            return NotImplemented
        return self._of([*self._parts, *_parts_of(other, "", None, "")])

    def __repr__(self) -> str:
        return f"SQL({compose(self)[0]!r})"  # a value is its placeholder

    def __eq__(self, other: object) -> bool:
        return self._parts == other._parts if isinstance(other, SQL) else NotImplemented

    def __hash__(self) -> int:
        return hash((SQL, self._parts))  # an error if a value is a list


def compose(query: object, args: object = None, *, many: bool = False) -> tuple[str, Any]:
    """Return a statement as text, and its arguments; for what is not a str, which callers see to before.

    Args:
        query: `SQL` or a template string.
        args: What the caller gave besides.
        many: *args* are rows, each with arguments.

    Raises:
        StatementError: It is no statement, or has values and *args* as well.
    """
    if not is_composed(query):
        raise StatementError(f"the statement must be a str, SQL or a t-string, not a {type(query).__name__}")
    parts = list(_parts_of(query, "", None, ""))
    values = tuple(part.value for part in parts if isinstance(part, _Value))
    filled = many or not (args is None or (isinstance(args, (tuple, list, Mapping)) and not args))
    if values and filled:
        given = "rows" if many else "arguments"
        raise StatementError(f"the statement has values in it, and {given} were given as well; write one or the other")
    text = "".join(_written(part, doubled=bool(values), filled=filled) for part in parts)
    return text, values or args


def is_composed(query: object) -> bool:
    """Say whether `compose` takes it."""
    return isinstance(query, SQL) or _is_template(query)


def _written(part: Part, *, doubled: bool, filled: bool) -> str:
    """Return a part as the text of a statement, whose percent signs have a meaning if arguments are put into it."""
    if isinstance(part, _Value):
        return "%s"
    if isinstance(part, Identifier):
        return str(part).replace("%", "%%") if doubled or filled else str(part)
    return part.replace("%", "%%") if doubled else part


def _parts_of(value: Any, spec: str, conversion: str | None, where: str) -> Iterator[Part]:
    """Yield the parts that stand for one thing put into a statement.

    Args:
        value: What it is.
        spec: What follows its colon: ``i``, ``l``, ``q`` or nothing.
        conversion: ``r``, ``s`` or ``a``, all of which would change a value behind the caller's back.
        where: What an error calls it.
    """
    if conversion:
        raise StatementError(f"{{{where}!{conversion}}}: a value is written as it is; leave out !{conversion}")
    if spec == "i":
        yield value if isinstance(value, Identifier) else Identifier(value)
    elif spec not in _AS_THEY_ARE:
        raise StatementError(
            f"{{{where}:{spec}}}: after the colon only i (an identifier), l (a value) and q (a piece of SQL) have a "
            "meaning; improved_db writes values by their type"
        )
    elif isinstance(value, Identifier):
        yield value
    elif isinstance(value, SQL):
        yield from value._parts
    elif _is_template(value):
        for part in value:
            if isinstance(part, str):
                yield part
            else:
                yield from _parts_of(part.value, part.format_spec, part.conversion, part.expression)
    elif spec == "q":
        raise StatementError(f"{{{where}:q}} must be SQL, an Identifier or a t-string, not a {type(value).__name__}")
    else:
        yield _Value(value)


def _is_template(value: object) -> bool:
    """Say whether a value is a template string; the class exists from Python 3.14 on, and cannot be inherited from."""
    kind = type(value)
    return kind.__name__ == "Template" and kind.__module__ == "string.templatelib"
