"""What a row may be besides a tuple or a dict: a record with named fields, or what a callable makes of the values.

Knows classes and the names of columns. Does not know statements or connections.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections import Counter
from collections.abc import Mapping
from itertools import starmap
from types import UnionType
from typing import TYPE_CHECKING, Any, get_origin

from improved_db.errors import StatementError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

#: How a class says that it has named fields: NamedTuple, dataclass, attrs, msgspec.
_FIELDS = ("_fields", "__dataclass_fields__", "__attrs_attrs__", "__struct_fields__")


def checked(row_type: Any) -> Any:
    """Return *row_type* without parameters (`tuple` for ``tuple[int, str]``), or complain before anything is sent.

    Raises:
        StatementError: *row_type* can make no row.
    """
    if row_type is tuple or row_type is dict:  # most calls
        return row_type
    if inspect.iscoroutinefunction(row_type):
        raise StatementError("row_type is a coroutine function; calls of improved_db block, and cannot await it")
    bare = get_origin(row_type)
    if bare is None:
        bare = row_type
    elif not isinstance(bare, type) or bare is UnionType:
        raise StatementError(
            f"row_type must be one class, not {row_type}; fetch_one returns None by itself if no row matches"
        )
    if not callable(bare):
        raise StatementError(
            f"row_type must be tuple, dict, a class or a callable of the row's values, not a {type(row_type).__name__}"
        )
    return bare


def converted(rows: Sequence[tuple[Any, ...]], columns: Sequence[str], row_type: Callable[..., Any]) -> Iterable[Any]:
    """Return *rows* as *row_type* makes them.

    Args:
        rows: Tuples.
        columns: The names of the columns, as the server gives them.
        row_type: Not `tuple` or `dict`, which the connection makes by itself.

    Raises:
        StatementError: The columns do not fit the fields of a class; the text names them.
    """
    if not isinstance(row_type, type):
        return _called(rows, columns, row_type)
    make: Any = row_type
    if issubclass(row_type, Mapping):
        _refuse_repeated(columns, row_type)
        return (make(zip(columns, row, strict=True)) for row in rows)
    if hasattr(row_type, "model_validate"):  # pydantic has aliases, and its own word about other columns
        _refuse_repeated(columns, row_type)
        return (row_type.model_validate(dict(zip(columns, row, strict=True))) for row in rows)
    if any(hasattr(row_type, name) for name in _FIELDS):
        return _records(rows, columns, row_type)
    if issubclass(row_type, (tuple, list, set, frozenset)):
        return map(row_type, rows)
    return _called(rows, columns, row_type)


def _called(rows: Sequence[tuple[Any, ...]], columns: Sequence[str], make: Callable[..., Any]) -> Iterable[Any]:
    if not rows:
        _refuse_misfit(columns, make)
    try:
        return list(starmap(make, rows))
    except TypeError:
        _refuse_misfit(columns, make)  # else it is the callable's own
        raise


def _refuse_misfit(columns: Sequence[str], make: Callable[..., Any]) -> None:
    """Complain if a callable does not take one value for each column."""
    try:
        signature = inspect.signature(make)
    except (TypeError, ValueError):  # some of Python's own have none
        return
    try:
        signature.bind(*columns)
    except TypeError as error:
        what = getattr(make, "__name__", type(make).__name__)
        many = f"{len(columns)} column{'s' * (len(columns) != 1)}"
        raise StatementError(
            f"row_type {what} does not take the {many} of the statement ({_listed(columns)}): {error}; "
            "a callable gets the values of a row, each by itself, and a class of your own is best a dataclass"
        ) from None


def _records(rows: Sequence[tuple[Any, ...]], columns: Sequence[str], record: type) -> Iterable[Any]:
    _refuse_repeated(columns, record)
    parameters = inspect.signature(record).parameters
    unknown = [name for name in columns if name not in parameters]
    if unknown:
        raise StatementError(
            f"{record.__name__} has no field {_listed(unknown)} (it has {_listed(parameters)}); leave the column out "
            "of the statement, or name it with AS"
        )
    missing = [
        name for name, parameter in parameters.items() if parameter.default is parameter.empty and name not in columns
    ]
    if missing:
        raise StatementError(
            f"the statement returns no column {_listed(missing)} for {record.__name__} (but {_listed(columns)}); "
            "add it, or give the field a default"
        )
    in_order = list(parameters.values())[: len(columns)]
    if all(
        parameter.name == name and parameter.kind is parameter.POSITIONAL_OR_KEYWORD
        for parameter, name in zip(in_order, columns, strict=True)
    ):
        return starmap(record, rows)
    return (record(**dict(zip(columns, row, strict=True))) for row in rows)


def _refuse_repeated(columns: Sequence[str], row_type: type) -> None:
    repeated = [name for name, times in Counter(columns).items() if times > 1]
    if repeated:
        raise StatementError(
            f"the statement returns more than one column {_listed(repeated)}, and {row_type.__name__} has one field of "
            "a name; give the columns names of their own with AS"
        )


def _listed(names: Iterable[str]) -> str:
    return ", ".join(map(repr, names))


# --- the other way: records as the rows of a statement ---------------------------------------------------------------


def field_names(row: object) -> tuple[str, ...] | None:
    """Return the names of the fields if *row* is a record with named fields; None for any other row."""
    kind = type(row)
    if dataclasses.is_dataclass(kind):
        return tuple(field.name for field in dataclasses.fields(kind))
    named: Any = getattr(kind, "_fields", None) or getattr(kind, "__struct_fields__", None)
    if named is None and hasattr(kind, "__attrs_attrs__"):
        named = [attribute.name for attribute in kind.__attrs_attrs__]
    if named is None and hasattr(kind, "model_validate"):
        named = getattr(kind, "model_fields", None)
    return None if named is None else tuple(named)


def without_records(rows: Iterable[Any], first: object, *, by_name: bool) -> Iterable[Any]:
    """Return *rows* with records as dicts or tuples, in the order of their fields; other rows stay as they are.

    Args:
        rows: The rows, *first* included.
        first: The first of them. If it is no record, no row is looked at.
        by_name: Make dicts.
    """
    names = field_names(first)
    if names is None or (isinstance(first, tuple) and not by_name):
        return rows
    fields: dict[type, tuple[str, ...] | None] = {type(first): names}

    def plain(row: Any) -> Any:
        kind = type(row)
        if kind not in fields:
            fields[kind] = field_names(row)
        found = fields[kind]
        if found is None:
            return row
        values = tuple(getattr(row, name) for name in found)
        return dict(zip(found, values, strict=True)) if by_name else values

    return map(plain, rows)
