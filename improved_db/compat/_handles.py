"""Other drivers' connections as the older doors lend them: close() returns one, and it cannot be used afterwards.

Knows what stands for such a connection. Does not know which door made it.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import sys
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from improved_db.errors import RETURNED, LoanSpent
from improved_db.execution.handles import give_back

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from typing_extensions import Self

    from improved_db.pool.loan import Loan


@functools.cache
def _spent_among(theirs: Any) -> type[LoanSpent]:
    """Return a `LoanSpent` that is also the driver's own error, because libraries above catch only that."""
    if not isinstance(theirs, type) or issubclass(LoanSpent, theirs):
        return LoanSpent
    return type("LoanSpent", (LoanSpent, theirs), {"__module__": LoanSpent.__module__})


def _spent(connection: Any) -> LoanSpent:
    """Return the error for the use of another driver's connection after its return.

    For mysqlclient it has the number 2006, because SQLAlchemy looks only at the number of its errors.
    """
    module = type(connection).__module__.partition(".")[0]
    theirs = getattr(connection, "OperationalError", None) or getattr(sys.modules.get(module), "OperationalError", None)
    number = (2006,) if module == "MySQLdb" else ()
    return _spent_among(theirs)(*number, RETURNED)


#: The methods of connections and cursors that may return a cursor; those of `sqlite3` have most of them on both.
CURSOR_MAKERS: Final = frozenset({"cursor", "execute", "executemany", "executescript"})


class Proxy:
    """Stands for another driver's connection, or for a cursor of it, while the connection is lent.

    `isinstance` sees the class of what it stands for. After the return every use raises `LoanSpent`.

    Attributes:
        loan: The loan of the connection.
    """

    __slots__ = ("_loan", "_owner", "_target")

    _loan: Loan[Any]
    _target: Any
    _owner: Proxy | None  # the connection of a cursor; None for a connection

    def __init__(self, target: object, loan: Loan[Any], owner: Proxy | None = None) -> None:
        object.__setattr__(self, "_target", target)
        object.__setattr__(self, "_loan", loan)
        object.__setattr__(self, "_owner", owner)

    def _lent(self) -> Any:
        if self._loan.slot is None:
            raise _spent((self._owner or self)._target)
        return self._target

    def _call(self, method: Callable[..., Any], *args: Any, **options: Any) -> Any:
        made = method(*args, **options)
        if made is self._target:
            return self
        return Proxy(made, self._loan, self._owner or self) if hasattr(made, "fetchone") else made

    #: What `isinstance` looks at (PEP 3119).
    __class__ = property(lambda self: self._target.__class__)

    def __getattr__(self, name: str) -> Any:
        if name == "connection" and self._owner is not None:
            return self._owner
        value = getattr(self._lent(), name)
        return partial(self._call, value) if name in CURSOR_MAKERS else value

    def __setattr__(self, name: str, value: object) -> None:
        setattr(self._lent(), name, value)

    def __delattr__(self, name: str) -> None:
        delattr(self._lent(), name)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._lent())

    def __next__(self) -> Any:
        return next(self._lent())

    def __enter__(self) -> Any:
        target = self._lent()
        entered = target.__enter__()
        return self if entered is target or entered is getattr(target, "__wrapped__", target) else entered

    def __exit__(self, *error: object) -> Any:
        """Leave the block as the driver does; if the driver closes the connection there, close this proxy instead."""
        leave = self._target.__class__.__exit__
        return leave(self if inspect.isfunction(leave) else self._lent(), *error)


class ConnectionProxy(Proxy):
    """A borrowed connection of another driver: `close` returns it."""

    __slots__ = ()

    @property
    def open(self) -> bool:
        """Whether it can be used."""
        return self._loan.slot is not None and bool(getattr(self._target, "open", True))

    def close(self) -> None:
        """Return the connection to its pool; a second call does nothing."""
        with contextlib.suppress(LoanSpent):
            self.give_back()

    def give_back(self, discard: str | None = None) -> str | None:
        """End the loan, as the function `give_back` does."""
        return give_back(self._loan, discard)

    def __enter__(self) -> Self:
        entered: Self = super().__enter__()
        return entered
