"""What `help`, IPython and type checkers are shown, held against what is really taken."""

from __future__ import annotations

import inspect
import pydoc
import re
from typing import Any, get_type_hints

import pytest

from improved_db import ImprovedDb, Rows, Transaction
from improved_db.settings import typed
from improved_db.settings.options import ALIASES, OWN, REFUSED
from improved_db.settings.settings import ClusterSettings, ConnectOptions, PoolSettings, Settings
from improved_db.wire.pymysql_driver import OPTIONS

SHAPES = {"dictcursor", "return_one"}


class Narrower(ImprovedDb):
    """A subclass with parameters of its own."""

    def __init__(self, host: str) -> None:
        super().__init__({"host": host})


def parameters(function: Any) -> list[str]:
    return list(inspect.signature(function).parameters)


def test_type_checkers_know_every_option_that_is_taken_and_no_other() -> None:
    """A name that only one of the two knows is an error in the editor or in production, never in both."""
    assert typed.Options.__annotations__.keys() == (OPTIONS | OWN) - REFUSED.keys()
    assert typed.PoolOptions.__annotations__.keys() == OWN - {"ssl_mode"}


def test_the_class_shows_every_option_with_its_default() -> None:
    """`ImprovedDb?` is where people look first."""
    shown = inspect.signature(ImprovedDb).parameters
    assert shown.keys() - {"config"} == typed.Options.__annotations__.keys() - ALIASES.keys()
    assert next(iter(shown)) == "config"
    for name, default in {"max_size": 10, "acquire_timeout": 30.0, "retry": "<default policy>"}.items():
        assert str(shown[name].default) == str(default) or repr(shown[name].default) == default
    assert shown["autocommit"].default is True
    assert {name for name, one in shown.items() if one.kind is one.POSITIONAL_OR_KEYWORD} == {"config"}


def test_the_defaults_shown_are_those_that_hold() -> None:
    """A default that is shown and does not hold is worse than none."""
    settings = Settings(pool=PoolSettings(), connect=ConnectOptions({}))
    cluster = ClusterSettings()
    shown = inspect.signature(ImprovedDb).parameters
    for name in OWN - {"retry", "ssl_mode"}:
        assert shown[name].default == getattr(settings, name, getattr(settings.pool, name, getattr(cluster, name, ...)))


def test_a_subclass_shows_its_own_parameters() -> None:
    """What is shown for the parent would be wrong for it."""
    assert parameters(Narrower) == ["host"]


@pytest.mark.parametrize("verb", [ImprovedDb.execute_query, ImprovedDb.execute_query_multiplex])
def test_the_query_verbs_show_their_parameters(verb: Any) -> None:
    """``(*positional, **keywords)`` tells a reader nothing."""
    keywords = [*SHAPES, *typed.OnPool.__annotations__]
    assert set(parameters(verb)) == {"self", "query", "args", *keywords}
    assert parameters(verb)[:3] == ["self", "query", "args"]
    assert "dictcursor" in pydoc.render_doc(verb)


def test_help_of_the_class_shows_options_and_verbs() -> None:
    """``help(ImprovedDb)`` at the prompt needs no browser."""
    shown = re.sub(r"[\s|']", "", pydoc.plain(pydoc.render_doc(ImprovedDb)))  # newer Pythons wrap long signatures
    assert "ImprovedDb(config:" in shown
    assert ",max_size:int=10," in shown
    for name in ("execute_query", "execute_query_multiplex"):
        verb = getattr(ImprovedDb, name)
        begin = shown.index(f"{name}(self,query:")
        written = shown[begin : shown.index("->", begin)]
        assert [name for name in parameters(verb) if f"{name}:" not in written] == ["self"]


def test_bound_verbs_show_no_self() -> None:
    """As IPython asks for them: on an object."""
    db = ImprovedDb({"host": "nowhere.invalid"})
    assert parameters(db.execute_query)[:2] == ["query", "args"]
    db.close()


def test_the_words_of_a_transaction_are_those_that_type_checkers_know() -> None:
    """Shared by the overloads, which nothing else would hold against the function."""
    words = [*SHAPES, *typed.InTransaction.__annotations__]
    assert set(parameters(Transaction.execute_query)) == {"self", "query", "args", *words}


def test_rows_can_be_named_with_their_type_while_a_program_runs() -> None:
    """Libraries that read annotations, as dataclasses and pydantic do, evaluate them."""

    def rows() -> Rows[tuple[int, str]]:
        raise NotImplementedError

    assert str(get_type_hints(rows)["return"]) == "improved_db.rows.Rows[tuple[int, str]]"
