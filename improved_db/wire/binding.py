"""Arguments into the placeholders of a statement.

`bind` is a method of `Connection`; it stands here by itself, because it needs only the connection's escaping.

Knows placeholders, and which error says what does not fit. Does not know the socket or the session.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pymysql import err

from improved_db.errors import StatementError
from improved_db.failures.raising import CallersOwn
from improved_db.wire.values import STRAYS, refuse_strays

if TYPE_CHECKING:
    from improved_db.wire.packets import Session


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
            text = query % tuple(map(connection.escape, args)) if args else query
        elif isinstance(args, Mapping):
            text = query % {name: connection.escape(value) for name, value in args.items()} if args else query
        else:
            text = query % (connection.escape(args),)
        if connection.encoding in STRAYS:
            refuse_strays(text, connection.encoding)
        return text.encode(connection.encoding)
    except (TypeError, ValueError, KeyError, err.ProgrammingError) as error:
        complaint = _misfit(connection, args, error)
    except BaseException as error:
        raise CallersOwn(error) from error
    raise complaint


def _misfit(connection: Session, args: object, error: Exception) -> StatementError:
    """Find what does not fit; the codec's own error is not kept, because it holds the whole statement."""
    values = enumerate(args, 1) if isinstance(args, (tuple, list)) else [(1, args)]
    for place, value in args.items() if isinstance(args, Mapping) else values:
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
    complaint = StatementError(
        f"the arguments do not fit the statement: {error}; give one value for each %s, a mapping for "
        "%(name)s, and write a literal percent sign as %%"
    )
    complaint.__cause__ = error
    return complaint
