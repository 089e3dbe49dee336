"""The normal form of statements: what is one row in the statistics, and that no value is in it."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from improved_db import ImprovedDb
from improved_db.sql.normal import LONGEST, identity, normal_form
from improved_db.sql.summary import summary
from improved_db.testing import TemporaryServer

#: One statement, written in ten ways.
ONE_STATEMENT = [
    "select name from pets where id = 1 and kind in ('cat', 'dog')",
    "SELECT name FROM pets WHERE id = %s AND kind IN (%s)",
    "select name  from\n\tpets where id=%(id)s and kind in(%s,%s,%s)",
    "select `name` from `pets` where `id` = -1 and `kind` in ('x')",
    "select /* which */ name from pets where id = 0x1F and kind in ('it''s', \"b\")",
    "select name from pets where id = 1.5e3 and kind in (1) -- the end",
    "Select name From pets Where id = NULL And kind In ( 1 , 2 )",
    "select name from pets where id = .5 and kind in (-1, +2);",
    "select name from pets # why\nwhere id = true and kind in (null)",
    "select name from pets where id = x'41' and kind in (%s, 'a', 3)",
]

#: What is written, its form without white space and its summary: by the rules of OpenTelemetry's test cases, except
#: that keywords are in upper case, lists are ``(...)``, and of a binary plus the sign stays.
CASES: dict[str, tuple[str, str]] = {
    "SELECT 12, -12, +12": ("SELECT ?, ...", "SELECT"),
    "SELECT 12.34, -12.34, .01, -.01": ("SELECT ?, ...", "SELECT"),
    "SELECT 12.34e56, -12.34e-56": ("SELECT ?, ...", "SELECT"),
    "SELECT 99+100": ("SELECT ? + ?", "SELECT"),
    "SELECT 0xDEADBEEF, 0XdeadBEEF": ("SELECT ?, ...", "SELECT"),
    "SELECT 'My name''s not \n important'": ("SELECT ?", "SELECT"),
    "SELECT c3po, r2d2 FROM covid19 WHERE n1h1=1234": (
        "SELECT c3po, r2d2 FROM covid19 WHERE n1h1 = ?",
        "SELECT covid19",
    ),
    "SELECT a FROM dbo.Mine JOIN dbo.Other": ("SELECT a FROM dbo.Mine JOIN dbo.Other", "SELECT dbo.Mine dbo.Other"),
    "INSERT INTO X VALUES(1, 23456, 99+100)": ("INSERT INTO X VALUES (?, ... + ?)", "INSERT X"),
    "SELECT * FROM t WHERE v IN (123, 456, 'abc')": ("SELECT * FROM t WHERE v IN (...)", "SELECT t"),
    "SELECT c -- to the end\nFROM /* a \n b */ t": ("SELECT c FROM t", "SELECT t"),
    "INSERT INTO s\n(a)\nSELECT a FROM   o WHERE a = 1": (
        "INSERT INTO s(a) SELECT a FROM o WHERE a = ?",
        "INSERT s SELECT o",
    ),
    "SELECT d FROM (SELECT * FROM orders o JOIN people p ON o.x = p.x)": (
        "SELECT d FROM (SELECT * FROM orders o JOIN people p ON o.x = p.x)",
        "SELECT SELECT orders people",
    ),
    "SELEcT d FROM ORders": ("SELECT d FROM ORders", "SELEcT ORders"),
    "SELECT * FROM Orders o CROSS JOIN Details d": (
        "SELECT * FROM Orders o CROSS JOIN Details d",
        "SELECT Orders Details",
    ),
    "SELECT * FROM Orders o, Details d": ("SELECT * FROM Orders o, Details d", "SELECT Orders Details"),
    "CREATE  TABLE Mine (id INT DEFAULT (1))": ("CREATE TABLE Mine(id INT DEFAULT(?))", "CREATE TABLE Mine"),
    "ALTER  TABLE Mine ADD Name varchar(255)": ("ALTER TABLE Mine ADD Name VARCHAR(?)", "ALTER TABLE Mine"),
    "DROP  TABLE IF EXISTS Mine;": ("DROP TABLE IF EXISTS Mine", "DROP TABLE Mine"),
    "CREATE UNIQUE INDEX ix ON Staff (Email)": ("CREATE UNIQUE INDEX ix ON Staff(Email)", "CREATE INDEX ix"),
    "CREATE VIEW v AS SELECT * FROM Users WHERE a = 1": (
        "CREATE VIEW v AS SELECT * FROM Users WHERE a = ?",
        "CREATE VIEW v",
    ),
    "SELECT DISTINCT c FROM Lands": ("SELECT DISTINCT c FROM Lands", "SELECT Lands"),
    "SELECT a FROM A UNION SELECT a FROM B": ("SELECT a FROM A UNION SELECT a FROM B", "SELECT A B"),
    "UPDATE T SET A = (999)": ("UPDATE T SET A = (?)", "UPDATE T"),
    "DELETE FROM T WHERE a BETWEEN (1) AND (2)": ("DELETE FROM T WHERE a BETWEEN (?) AND (?)", "DELETE T"),
    "SELECT EXTRACT(YEAR FROM d) FROM t FOR UPDATE": ("SELECT EXTRACT(YEAR FROM d) FROM t FOR UPDATE", "SELECT t"),
    "INSERT INTO t (a) VALUES (1), (2) ON DUPLICATE KEY UPDATE a = 3": (
        "INSERT INTO t(a) VALUES (...) ON DUPLICATE KEY UPDATE a = ?",
        "INSERT t",
    ),
    "insert into t values (now(), 1), (now(), 2)": ("INSERT INTO t VALUES (NOW(), ?)", "insert t"),
    "select replace(a, 'x', 'y') from t limit 10, 20": ("SELECT REPLACE(a, ?, ...) FROM t LIMIT ?, ...", "select t"),
    "select * from a where b is not null and c is null": (
        "SELECT * FROM a WHERE b IS NOT NULL AND c IS NULL",
        "select a",
    ),
    "CREATE USER ann IDENTIFIED BY 'secret'": ("CREATE USER ...", "CREATE USER ann"),
    "GRANT ALL ON *.* TO ann IDENTIFIED BY 'secret'": ("GRANT ALL ...", "GRANT"),
    "set password for ann = password('secret')": ("SET PASSWORD ...", "set"),
    "call f(1, 2)": ("CALL f(...)", "call f"),
    "load data local infile 'x' into table t": ("LOAD data LOCAL INFILE ? INTO TABLE t", "load t"),
    "select 'it\\'s' from t": ("SELECT ...", "select"),
    "select 1 /*! + 1 */ from t": ("SELECT ? ...", "select"),
    "": ("", ""),
}

#: What no value may be a part of.
VALUES = st.one_of(
    st.integers(10**6, 10**12).map(str),
    st.from_regex(r"[a-z]{8,12}", fullmatch=True).map(lambda text: f"'{text}'"),
    st.from_regex(r"[0-9]{4}\.[0-9]{4}", fullmatch=True),
    st.from_regex(r"0x[0-9A-F]{8}", fullmatch=True),
)
NAMES = st.sampled_from(["a", "b.c", "`d e`", "COUNT(*)", "t1"])
TERMS = st.one_of(NAMES, VALUES)
CONDITIONS = st.builds("{} {} {}".format, NAMES, st.sampled_from(["=", "<", ">=", "<=>", "LIKE", "+"]), TERMS)


def statements(values: list[str], condition: str, tail: str) -> list[str]:
    """Return statements with these parts."""
    listed = ", ".join(values)
    return [
        f"SELECT a, {listed} FROM t WHERE {condition} AND a IN ({listed}) {tail}",
        f"insert into t (a, b) values ({listed}), ({listed}) {tail}",
        f"UPDATE t SET a = {values[0]} WHERE {condition}",
        f"select * from (select {listed} from x where {condition}) as y -- {tail}",
    ]


def test_texts_that_differ_in_values_case_space_and_comments_are_one_statement() -> None:
    """Or the list of statements is as long as the list of calls."""
    assert {normal_form(text) for text in ONE_STATEMENT} == {"SELECT name FROM pets WHERE id = ? AND kind IN (...)"}


def test_the_cases_of_the_conventions_have_their_form_and_summary() -> None:
    """What a trace calls a statement is what other tools call it."""
    assert {text: (normal_form(text), summary(text)) for text in CASES} == CASES


def test_a_summary_is_cut_between_two_words() -> None:
    """Half a table's name is another table's."""
    names = [f"table_with_a_long_name_{number}" for number in range(20)]
    cut = summary("SELECT * FROM " + ", ".join(names))
    assert len(cut) <= 255
    assert cut.split() == ["SELECT", *names][: len(cut.split())]
    assert summary(f"SELECT * FROM {'t' * 300} o, details d") == "SELECT"


@given(st.lists(VALUES, min_size=1, max_size=4), CONDITIONS, st.sampled_from(["", "LIMIT 1234567", "ORDER BY a"]))
def test_no_value_is_in_a_form_and_a_form_is_its_own(values: list[str], condition: str, tail: str) -> None:
    """What anything shows has no data of the caller's in it."""
    for text in statements(values, condition, tail):
        form = normal_form(text)
        shown = [value for value in [*values, condition.rsplit(maxsplit=1)[-1]] if value.strip("'") in form]
        assert [value for value in shown if value[0] in "'0123456789"] == []
        assert normal_form(form) == form


def test_a_long_text_is_read_in_part_and_its_rows_are_one() -> None:
    """A thousand rows cost no more to name than twenty, and have no thousand names."""
    rows = ", ".join(f"({number}, 'name {number}')" for number in range(1000))
    dated = ", ".join(f"(now(), {number})" for number in range(1000))
    assert normal_form(f"insert into t values {rows}") == "INSERT INTO t VALUES (...)"
    assert normal_form(f"insert into t values {dated}") == "INSERT INTO t VALUES (NOW(), ?)"
    assert normal_form(f"select a from t where id in ({', '.join(map(str, range(1000)))}) and b = 1") == (
        "SELECT a FROM t WHERE id IN (...)"
    )
    assert len(normal_form("select " + ", ".join(f"column_{number}" for number in range(500)))) <= LONGEST


def test_an_id_names_a_form_in_a_database() -> None:
    """It is the same in every process, so that reports of two of them can be laid side by side."""
    assert identity("SELECT ?", "shop") == "6efbbc04a6799054"
    assert identity("SELECT ?", "shop") != identity("SELECT ?", "")


# --- as the server has it --------------------------------------------------------------------------------------------

#: Statements in pairs: whether each two of them are one is for the server to say, too.
PAIRS = [
    ("select id from t where id = 1", "SELECT id FROM t WHERE id=2"),
    ("select id from t where id = 1", "select id from t where id = 1 limit 5"),
    ("select id from t where n in (1, 2)", "select id from t where n in (3, 4, 5)"),
    ("select id from t where n = 'a'", "select id from t where n = 17"),
    ("select -1", "select 1"),
    ("select 1 + 1", "select 1 - 1"),
    ("select id /* one */ from t", "select id from t -- two"),
    ("insert into t values (1, 1), (2, 2)", "insert into t values (3, 3), (4, 4), (5, 5)"),
    ("update t set n = 1 where id = 1", "update t set n = 2 where id = 3"),
    ("update t set n = 1 where id = 1", "update t set n = n + 1 where id = 1"),
    ("select id from t order by id", "select id from t order by n"),
    ("select count(*) from t", "select COUNT(*) from t"),
    ("select id from t where n is null", "select id from t where n is not null"),
    ("select 0x41", "select 'A'"),
]

#: What is one statement here and two to MariaDB: it tells names with backquotes from those without, a list of one value
#: from a list of many, and one row from many.
ONE_ONLY_HERE = [
    ("select `id` from t", "select id from t"),
    ("select id from t where n in (1)", "select id from t where n in (1, 2)"),
    ("insert into t values (1, 1)", "insert into t values (1, 1), (2, 2)"),
]


def test_what_is_one_statement_here_is_one_to_the_server() -> None:
    """Who finds a slow statement here looks for it there."""
    with (
        TemporaryServer(options=["--performance-schema=ON"]) as own,
        ImprovedDb(own.url, statements=0, max_size=1) as db,
    ):
        db.execute_query("create database d")
        db.execute_query("create table d.t (id int, n int)")
        db.execute_query("use d")
        differing: dict[tuple[str, str], Any] = {}
        with db.connection() as connection:
            connection.select_db("d")
            for pair in PAIRS:
                with connection.cursor() as cursor:
                    cursor.execute("truncate performance_schema.events_statements_summary_by_digest")
                    for text in pair:
                        cursor.execute(text)
                    cursor.execute(
                        "select count(*) from performance_schema.events_statements_summary_by_digest "
                        "where digest_text not like 'truncate%'"
                    )
                    ((number,),) = cursor.fetchall()
                if number != len({normal_form(text) for text in pair}):
                    differing[pair] = number
        assert differing == {}
        assert {len({normal_form(text) for text in pair}) for pair in ONE_ONLY_HERE} == {1}
