"""Arguments into the placeholders of a statement.

`bind` is a method of `Connection`; it stands here by itself, because it needs only the connection's escaping.

Knows placeholders, and which error says what does not fit. Does not know the socket or the session.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from math import isfinite
from typing import TYPE_CHECKING, Any, Final

from pymysql import err

from improved_db.errors import StatementError
from improved_db.failures.raising import CallersOwn
from improved_db.sql.placeholders import (
    LONG,
    guarded,
    guarded_misfit,
    list_misfit,
    mapping_misfit,
    misfit,
    rows_given,
)
from improved_db.wire.values import STRAYS, refuse_strays

if TYPE_CHECKING:
    from collections.abc import Iterable

    from improved_db.wire.packets import Session

#: What PyMySQL writes as a list in parentheses.
_SEQUENCES: Final = frozenset({tuple, list, set, frozenset})
#: The usual scalars; to ask whether a value is a Mapping costs more than to escape it.
_SCALARS: Final = frozenset({int, str})

_ROWS_GIVEN: Final = "args is a list of rows: use exec_many; for a JSON column pass json.dumps(value)"


def bind(connection: Session, query: str, args: object) -> bytes:
    """Put escaped *args* into the placeholders of *query*, and encode it.

    Args:
        connection: Has ``escape`` and ``encoding``.
        query: The statement.
        args: As `Connection._run` takes them.

    Raises:
        StatementError: Placeholders and arguments do not fit together, or the connection cannot send a value.
        CallersOwn: The code of a value raised an error.
    """
    try:
        if args is None:
            text = query
        elif isinstance(args, (tuple, list)):
            text = _with_sequence(connection, query, args) if args else query
        elif type(args) not in _SCALARS and isinstance(args, Mapping):
            text = _with_mapping(connection, query, args) if args else query
        else:
            if len(query) <= LONG and guarded(query):
                _check_guarded(connection, query, args)
            text = query % (connection.escape(args),)
        if "()" in text and _has_empty_list(args):
            raise StatementError("")  # `_misfit` finds it
        if connection.encoding in STRAYS:
            refuse_strays(text, connection.encoding)
        return text.encode(connection.encoding)
    except (TypeError, ValueError, KeyError, err.ProgrammingError) as error:
        complaint = _misfit(connection, query, args, error)
    except BaseException as error:
        raise CallersOwn(error) from error
    raise complaint


def _with_sequence(connection: Session, query: str, args: tuple[Any, ...] | list[Any]) -> str:
    if len(query) <= LONG and guarded(query):
        _check_guarded(connection, query, args)
    if not _SEQUENCES.isdisjoint(map(type, args)):
        if rows_given(query, args):
            raise StatementError(_ROWS_GIVEN)
        _refuse_lone_lists(query, args)
    return query % tuple(map(connection.escape, args))


def _with_mapping(connection: Session, query: str, args: Mapping[Any, Any]) -> str:
    if len(query) <= LONG and guarded(query):
        _check_guarded(connection, query, args)
    wrong = mapping_misfit(query)
    if wrong is not None:
        raise StatementError(wrong)
    if not _SEQUENCES.isdisjoint(map(type, args.values())):
        _refuse_lone_lists(query, args)
    return query % {name: connection.escape(value) for name, value in args.items()}


def _misfit(connection: Session, query: str, args: object, error: Exception) -> StatementError:
    """Find what does not fit; the codec's own error is not kept, because it holds the whole statement."""
    if isinstance(args, (tuple, list)) and rows_given(query, args):
        return StatementError(_ROWS_GIVEN)
    for place, value in _values(args):
        unfit = _no_value(value)
        if unfit is not None:
            what, sign, advice = unfit.partition("; ")
            return StatementError(f"{what} (parameter {place!r}){sign}{advice}")
        try:
            connection.escape(value).encode(connection.encoding)
        except UnicodeError:
            return StatementError(f"the charset {connection.encoding} cannot encode parameter {place!r}")
        except Exception as reason:
            what, sign, advice = str(reason).partition("; ")
            complaint = StatementError(f"{what} (parameter {place!r}){sign}{advice}")
            complaint.__cause__ = reason
            return complaint
    if isinstance(error, UnicodeError):
        return StatementError(f"the charset {connection.encoding} cannot encode the statement")
    if isinstance(error, err.ProgrammingError):
        return StatementError(str(error))
    complaint = StatementError(misfit(query, args))
    complaint.__cause__ = error
    return complaint


def _values(args: object) -> Iterable[tuple[Any, Any]]:
    """Return each value with its place: a name, or a number from 1."""
    if isinstance(args, Mapping):
        return args.items()
    return enumerate(args, 1) if isinstance(args, (tuple, list)) else [(1, args)]


def _check_guarded(connection: Session, query: str, args: object) -> None:
    """Refuse texts where they would be SQL, or would do nothing."""
    marks = guarded(query)
    for place, value in _values(args):
        wrong = guarded_misfit(marks[place], place, connection.escape(value)) if place in marks else None
        if wrong is not None:
            raise StatementError(wrong)


def _refuse_lone_lists(query: str, args: object) -> None:
    """Refuse a list of one value where it would not be a list: a server takes ('a') for 'a'."""
    for place, value in _values(args):
        if type(value) is list and len(value) == 1:
            wrong = list_misfit(query, place)
            if wrong is not None:
                raise StatementError(wrong)


def _has_empty_list(args: object) -> bool:
    values = args.values() if isinstance(args, Mapping) else args if isinstance(args, (tuple, list)) else [args]
    return any(type(value) in _SEQUENCES and not value for value in values)


def _no_value(value: object) -> str | None:
    """Return what to say of a value that no SQL has."""
    if type(value) in _SEQUENCES and not value:
        return "an empty list; IN () is no SQL: leave the condition out, or pass a value that no row has"
    if isinstance(value, Mapping):
        return f"a {type(value).__name__} is no value of SQL; for a JSON column pass json.dumps(value)"
    if isinstance(value, (float, Decimal)) and not isfinite(value):
        return f"{value} is no value of SQL; pass None for NULL"
    return None
