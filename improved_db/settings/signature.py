"""Signatures for tools that ask while a program runs: `help`, IPython, `inspect.signature`.

Type checkers read overloads and `typed`, which do not exist at run time.

Knows the parameters of functions and of the class. Does not know what they mean.
"""

from __future__ import annotations

import dataclasses
from inspect import Parameter, Signature
from typing import TYPE_CHECKING, Any, TypeVar

from improved_db.settings.options import ALIASES, OWN, REFUSED
from improved_db.settings.settings import DEFAULT_RETRY, ClusterSettings, PoolSettings, Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

F = TypeVar("F", bound="Callable[..., Any]")


def shown_as(signature: Signature) -> Callable[[F], F]:
    """Let tools show *signature* for a function that takes ``*positional, **keywords``."""

    def decorate(function: F) -> F:
        function.__dict__["__signature__"] = signature
        return function

    return decorate


def signature_with_options(driver: Mapping[str, Parameter]) -> Signature:
    """Return the signature of a method that takes a config and every option by its name.

    Args:
        driver: The parameters of the driver's own `connect`, by name.

    Returns:
        Our options, then the driver's, without second spellings and refused ones.
    """
    ours = {
        field.name: _option(field.name, field.default, field.type)
        for kind in (PoolSettings, Settings)
        for field in dataclasses.fields(kind)
        if field.name in OWN
    }
    defaults, types = ClusterSettings._field_defaults, ClusterSettings.__annotations__
    ours |= {
        name: _option(name, defaults[name], getattr(types[name], "__forward_arg__", types[name]))
        for name in ClusterSettings._fields
        if name in OWN
    }
    own = [
        *(ours[name] for name in sorted(ours)),
        _option("retry", DEFAULT_RETRY, "RetryPolicy | tenacity.Retrying | None"),
        _option("ssl_mode", None, "str | None"),
    ]
    theirs = [
        _option(name, name == "autocommit" or parameter.default, "Any")
        for name, parameter in driver.items()
        if name not in {*ALIASES, *REFUSED}
    ]
    either = Parameter.POSITIONAL_OR_KEYWORD
    config = Parameter("config", either, default=None, annotation="str | Mapping[str, Any] | Callable[[], Any] | None")
    return Signature([Parameter("self", either), config, *own, *theirs], return_annotation="None")


def _option(name: str, default: object, annotation: object) -> Parameter:
    return Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
