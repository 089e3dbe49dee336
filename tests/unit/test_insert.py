"""Which statements can carry many rows, and where theirs go."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymysql.cursors import RE_INSERT_VALUES

from improved_db.sql.insert import split_insert

#: The statement is what stands here, one after the other, and ``%%`` in the first and last part is to become ``%``.
FOLDED = [
    ("insert into t (a, b) values ", "(%s, %s)", ""),
    ("INSERT IGNORE INTO `values` VALUES", "(%s)", ""),
    ("replace t value\n", "(%(a)s, upper(%(b)s))", ""),
    ("insert into t values ", "(%s, upper(%s), 5, ((%s)+(1)))", ""),
    ("insert into t values ", "(%s, ')', \"(\", 'it''s', 'a\\\\')", ""),
    ("insert into t values ", "(%s, '50%%')", ""),
    ("insert into `a%%b` values ", "(%s)", " on duplicate key update a = '%%'"),
    ("insert into t values ", "(%s)", " on duplicate key update a = values(a)"),
    ("insert into t values ", "(%s)", " as new(a) on duplicate key update a = new.a"),
    ("insert into t values ", "(%s)", " returning id "),
    ("-- values (\ninsert /* ( */ into t # '\n values ", "(%s)", " -- done"),
    ("insert into t (`value`, value) values ", "(%s, %s)", ""),
    ("insert into t.value values ", "(%s)", ""),
]

ONE_BY_ONE = {
    "": "nothing",
    "select 1": "no INSERT",
    "update t set a = %s": "no INSERT",
    "insert into t set a = %s": "no VALUES",
    "insert into t select * from s": "no VALUES",
    "insert into t select * from (values (%s)) s": "no VALUES of its own",
    "insert into t values (%s), (%s)": "two rows",
    "insert into t values (%s) on duplicate key update a = %s": "a place behind the row",
    "insert into %s values (%s)": "a place before the row",
    "insert into t values (%s": "not closed",
    "insert into t values (%s)) ": "closed twice",
    "insert into t values (%s); select 1": "two statements",
    "insert into t values (%s) on duplicate key update a = 1; select 1": "two statements",
    "insert into t values (%s, 'it\\'s')": "depends on NO_BACKSLASH_ESCAPES",
    "insert into t values (%s, 'open)": "not closed",
    "insert /*!50000 ignore */ into t values (%s)": "a comment that is none",
    "insert /* into t values (%s)": "not closed",
    "insert into t values (%d)": "no such placeholder",
    "insert into t values (%s, %(a)s)": "two kinds of placeholders",
    "insert into t values (last_insert_id(), %s)": "depends on the row before",
    "insert into t values (%s, (select max(a) from s))": "may depend on the row before",
    "insert into t values %s": "no parentheses",
}


@pytest.mark.parametrize("end", ["", "; "])
@pytest.mark.parametrize(("prefix", "values", "postfix"), FOLDED, ids=["".join(parts) for parts in FOLDED])
def test_rows_of_an_insert_can_go_together(prefix: str, values: str, postfix: str, end: str) -> None:
    """One statement with a thousand rows is many times as fast as a thousand statements."""
    if end and "--" in postfix:
        end = "\n;"
    insert = split_insert(prefix + values + postfix + end)
    assert insert is not None
    assert insert.prefix == prefix.replace("%%", "%")
    assert insert.values == values
    assert insert.postfix.rstrip("\n") == postfix.replace("%%", "%")


@pytest.mark.parametrize("query", ONE_BY_ONE, ids=ONE_BY_ONE.values())
def test_other_statements_go_one_by_one(query: str) -> None:
    """Putting them together would change what they do, or what they are."""
    assert split_insert(query) is None


@given(st.text(st.sampled_from("insert values(%s)'\"`\\;-#/*!\n ,a"), max_size=40))
def test_any_text_is_taken_apart_or_refused(text: str) -> None:
    """What is taken apart gives the statement again."""
    query = "insert into t " + text
    insert = split_insert(query)
    if insert is not None:
        whole = insert.prefix.replace("%", "%%") + insert.values + insert.postfix.replace("%", "%%")
        assert query.startswith(whole)
        assert not query.removeprefix(whole).strip("; \n") or "-" in query or "#" in query or "*" in query


@pytest.mark.parametrize("query", ["".join(parts) for parts in FOLDED])
def test_what_pymysql_folds_is_folded_alike(query: str) -> None:
    """Moving here from PyMySQL must not make anything slower."""
    match = RE_INSERT_VALUES.match(query)
    if match:
        insert = split_insert(query)
        assert insert is not None
        assert (insert.prefix, insert.values) == (match[1] % (), match[2].rstrip())


@pytest.mark.parametrize("name", ["first name", "na\N{LATIN SMALL LETTER I WITH DIAERESIS}ve", "a.b", "a;b", "'"])
def test_placeholders_may_have_the_names_of_columns_in_a_file(name: str) -> None:
    """csv.DictReader takes them from the first line; one statement for each row would take a hundred times as long."""
    assert split_insert(f"insert into t (a) values (%({name})s)") == ("insert into t (a) values ", f"(%({name})s)", "")
