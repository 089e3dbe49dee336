"""A value that no printed traceback, log or repr shows.

Knows how to wrap and compare values. Does not know what they mean.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Generic, TypeVar

T = TypeVar("T")


class Secret(Generic[T]):
    """A value that printing does not show: ``repr`` and ``str`` are ``Secret('***')``.

    Attributes:
        value: The value itself. Read it in an expression, not into a local variable.
    """

    __slots__ = ("value",)

    def __init__(self, value: T) -> None:
        self.value: Final = value

    @staticmethod
    def of(value: object) -> Sealed:
        """Seal *value*, unless it is sealed already."""
        return value if isinstance(value, Secret) else Secret(value)

    def __eq__(self, other: object) -> bool:
        return bool(self.value == other.value) if isinstance(other, Secret) else NotImplemented

    def __hash__(self) -> int:
        return hash((Secret, self.value))

    def __repr__(self) -> str:
        return "Secret('***')"


Sealed = Secret[Any]
Options = dict[str, Sealed]


def seal(values: Mapping[Any, object]) -> Options:
    """Return *values*, each sealed; a function that takes options from a caller does this first."""
    return {name: Secret.of(value) for name, value in values.items()}


def frozen(value: Any) -> Any:
    """Return a hashable form that is equal only for equal values of the same type: a key for what is made of them."""
    if isinstance(value, Secret):
        return frozen(value.value)
    if isinstance(value, Mapping):
        return dict, frozenset((frozen(key), frozen(item)) for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return tuple(map(frozen, value))
    try:
        hash(value)
    except TypeError:
        return type(value), repr(value)
    return type(value), value
