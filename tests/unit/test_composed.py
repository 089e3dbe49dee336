"""Statements put together of parts: what is text, what is a name, and what becomes an argument."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from improved_db.errors import StatementError
from improved_db.sql.composed import SQL, Identifier, compose


@pytest.mark.parametrize(
    ("statement", "text", "args"),
    [
        (SQL("select 1"), "select 1", None),
        (SQL("select {} from {}").format(Identifier("a"), Identifier("shop", "t")), "select `a` from `shop`.`t`", None),
        (SQL("select {1}, {0}").format(1, 2), "select %s, %s", (2, 1)),
        (SQL("a = {a} or b = {a}").format(a=None), "a = %s or b = %s", (None, None)),
        (SQL("select {t:i}.{c:i}").format(t="a`b", c=Identifier("c")), "select `a``b`.`c`", None),
        (SQL("select {v:l}, {p:q}").format(v="x", p=SQL("now()")), "select %s, now()", ("x",)),
        (SQL("select '{{}}', {}").format([1, 2]), "select '{}', %s", ([1, 2],)),
        (SQL("select {}").format("{0}"), "select %s", ("{0}",)),
        (SQL("{self}").format(self=1), "%s", (1,)),
        (SQL(", ").join([Identifier("a"), SQL("b"), 3]), "`a`, b, %s", (3,)),
        (SQL(", ").join([]), "", None),
        (SQL("select ") + Identifier("a") + SQL(" from t"), "select `a` from t", None),
        (SQL("insert into t ({}) ").format(SQL(", ").join(map(Identifier, "ab"))), "insert into t (`a`, `b`) ", None),
        (SQL.trusted("select " + str(1)), "select 1", None),
    ],
)
def test_names_become_text_and_values_become_arguments(statement: SQL, text: str, args: Any) -> None:
    """The text is the same for all values, so that it can be retried, counted and logged like any other."""
    assert compose(statement) == (text, args)


@pytest.mark.parametrize("empty", [None, (), [], {}])
def test_a_percent_sign_is_doubled_only_where_arguments_are_put_in(empty: Any) -> None:
    """The driver halves them there; the rule of a plain str holds for the text, and names need no rule."""
    odd = Identifier("100%")
    assert compose(SQL("select {} like 'a%'").format(odd), empty) == ("select `100%` like 'a%'", empty)
    assert compose(SQL("select {} like 'a%' + {}").format(odd, 5)) == ("select `100%%` like 'a%%' + %s", (5,))
    assert compose(SQL("select {}, %s like 'a%%'").format(odd), "b") == ("select `100%%`, %s like 'a%%'", "b")
    assert compose(SQL("insert into {} values (%s)").format(odd), [], many=True)[0] == "insert into `100%%` values (%s)"


@given(st.lists(st.text(min_size=1).filter(lambda name: "\0" not in name), min_size=1))
def test_a_name_cannot_leave_its_quotes(names: list[str]) -> None:
    """Names of columns come from files and forms, too."""
    quoted = str(Identifier(*names))
    assert [part.replace("``", "`") for part in quoted[1:-1].split("`.`")] == names or "`.`" in "".join(names)
    assert quoted.replace("`", "").replace(".", "") == "".join(names).replace("`", "").replace(".", "")
    assert quoted.count("`") == 2 * len(names) + 2 * "".join(names).count("`")


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: SQL(b"select 1"), "the text of SQL must be a str, not a bytes"),  # type: ignore[arg-type]
        (Identifier, "an identifier must be a str, not a NoneType"),
        (lambda: Identifier(""), "an identifier must have characters"),
        (lambda: Identifier("a\0"), "and no NUL among them"),
        (lambda: Identifier("a", 5), "an identifier must be a str, not a int"),  # type: ignore[arg-type]
        (lambda: SQL("{a}").format(b=1), "format() was given nothing for {a}"),
        (lambda: SQL("{}, {}").format(1), "format() was given nothing for {1}"),
        (lambda: SQL("{}").format(1, 2, b=3), "the text has no place for what format() was given: 1, b"),
        (lambda: SQL("{a.b}").format(a=1), "format() was given nothing for {a.b}"),
        (lambda: SQL("{a!r}").format(a=1), "{a!r}: a value is written as it is; leave out !r"),
        (lambda: SQL("{a:.2f}").format(a=1), "{a:.2f}: after the colon only i"),
        (lambda: SQL("{a:i}").format(a=5), "an identifier must be a str, not a int"),
        (lambda: SQL("{a:q}").format(a="now()"), "{a:q} must be SQL, an Identifier or a t-string, not a str"),
        (lambda: SQL("}").format(), "the braces of the SQL are invalid"),
        (lambda: SQL("{}").format(1).format(2), "this SQL is put together already"),
        (lambda: compose(None), "the statement must be a str, SQL or a t-string, not a NoneType"),
        (lambda: compose(Identifier("a")), "the statement must be a str, SQL or a t-string, not a Identifier"),
        (lambda: compose(SQL("{}").format(1), 2), "values in it, and arguments were given as well"),
        (lambda: compose(SQL("{}").format(1), [], many=True), "values in it, and rows were given as well"),
    ],
)
def test_what_does_not_fit_is_refused_with_what_to_write(make: Any, says: str) -> None:
    """Before anything is sent, and where it is written."""
    with pytest.raises(StatementError) as caught:
        make()
    assert says in str(caught.value)


def test_text_that_is_no_sql_yet_cannot_be_added() -> None:
    """``SQL("... = ") + name`` is the injection that the class is there to prevent."""
    with pytest.raises(TypeError):
        SQL("select * from t where name = ") + "x' or 1"


def test_repr_shows_no_value() -> None:
    """It ends up in logs and tracebacks."""
    statement = SQL("select {} from {}").format("secret", Identifier("t"))
    assert repr(statement) == "SQL('select %s from `t`')"
    assert repr(Identifier("shop", "t")) == "Identifier('shop', 't')"


def test_equal_parts_are_equal() -> None:
    """Tests of programs compare statements."""
    assert SQL("{}").format(1) == SQL("{}").format(1) != SQL("{}").format(2)
    assert {Identifier("a"), Identifier("a")} == {Identifier("a")} != {Identifier("a", "b")}
    assert SQL("a") != "a"
    assert Identifier("a") != "a"
