"""The decorator that makes a function run in a transaction of its own each time it is called.

Knows functions and their parameters. Does not know how a transaction runs.
"""

from __future__ import annotations

import functools
import inspect
from inspect import Parameter
from typing import TYPE_CHECKING, Any, Concatenate, Final, ParamSpec, Protocol, TypeVar, overload

from improved_db.errors import StatementError
from improved_db.execution.transactions import check_work, finished, statements_to_start
from improved_db.settings.signature import shown_as

if TYPE_CHECKING:
    from collections.abc import Callable

    from improved_db.execution.transaction import Transaction
    from improved_db.execution.transactions import Transactions

S = TypeVar("S")
T = TypeVar("T")
P = ParamSpec("P")

#: What Python programmers call the first parameter of a method.
OWNERS: Final = frozenset({"self", "cls"})
#: The kinds of parameters that can take the transaction.
POSITIONAL: Final = {Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD, Parameter.VAR_POSITIONAL}


class Decorator(Protocol):
    """Makes a function that gets a transaction into one that its callers call without."""

    @overload
    def __call__(self, fn: Callable[Concatenate[Transaction, P], T], /) -> Callable[P, T]: ...
    @overload
    def __call__(self, fn: Callable[Concatenate[S, Transaction, P], T], /) -> Callable[Concatenate[S, P], T]: ...


def transactional(
    transactions: Transactions, fn: object, *, exactly_once: bool, isolation: str | None, read_only: bool
) -> Any:
    """Return *fn* as its callers see it; if it is None, the decorator; see `ImprovedDb.transactional`.

    Raises:
        StatementError: *fn* is not a function that can run in a transaction, or *isolation* is invalid.
    """
    statements_to_start(isolation, read_only)  # refuses an invalid level now, not at the first call
    run = functools.partial(transactions.run, exactly_once=exactly_once, isolation=isolation, read_only=read_only)
    return functools.partial(_decorated, run) if fn is None else _decorated(run, fn)


def _decorated(run: Callable[[Callable[[Transaction], Any]], Any], fn: Any) -> Any:
    if isinstance(fn, (staticmethod, classmethod)):
        raise StatementError(f"write @{type(fn).__name__} above @db.transactional, not below it")
    check_work(fn)
    signature = inspect.signature(fn)
    parameters = list(signature.parameters.values())
    after = int(bool(parameters) and parameters[0].name in OWNERS)
    if len(parameters) <= after or parameters[after].kind not in POSITIONAL:
        begin = f"{parameters[0].name}, tx" if after else "tx"
        raise StatementError(f"the function must take the transaction first: def {fn.__name__}({begin}, ...)")

    @functools.wraps(fn)
    def call(*args: Any, **keywords: Any) -> Any:
        return run(lambda tx: finished(fn(*args[:after], tx, *args[after:], **keywords)))

    if parameters[after].kind is not Parameter.VAR_POSITIONAL:
        del parameters[after]
    return shown_as(signature.replace(parameters=parameters))(call)
