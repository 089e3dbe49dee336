"""``improved-db load``: what is in a file is in the table afterwards, or the line says how far it got."""

from __future__ import annotations

import datetime as dt
import json
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from tests.cli.running import Shell, on_terminal, process, url_of
from tests.faults.faults import SWALLOW_ANSWER_RST

if TYPE_CHECKING:
    from pathlib import Path

    from improved_db import ImprovedDb
    from tests.faults.harness import Rig

ROWS = (
    (1, "Ann", Decimal("1.50"), dt.date.fromisoformat("2020-01-02")),
    (2, 'a,"b"\nc\td\\e', Decimal("-0.25"), None),
    (3, "", None, dt.date.fromisoformat("1000-01-01")),
    (4, None, Decimal("0.00"), None),
)


@pytest.fixture(name="table")
def _table(db: ImprovedDb) -> None:
    """An empty table."""
    db.execute_query("create table t (id int primary key, name varchar(40), price decimal(10,2), day date)")


def rows(db: ImprovedDb) -> tuple[tuple[Any, ...], ...]:
    """Return what the table has."""
    return tuple(db.execute_query("select * from t order by id"))


@pytest.mark.usefixtures("table")
@pytest.mark.parametrize("method", ["insert", "load-data"])
@pytest.mark.parametrize("form", ["csv", "tsv", "jsonl", "parquet"])
def test_what_query_writes_load_reads(form: str, method: str, shell: Shell, db: ImprovedDb, tmp_path: Path) -> None:
    """NULL, a text without characters, quotes and line ends survive the way out and in."""
    if form == "parquet":
        pytest.importorskip("pyarrow")
    db.exec_many("insert into t values (%s, %s, %s, %s)", ROWS)
    file = tmp_path / f"t.{form}"
    assert shell("query", "select * from t", "--format", form, "-o", file).code == 0
    db.execute_query("delete from t")
    ran = shell("load", file, "t", "--method", method)
    assert (ran.code, ran.out, ran.err.partition(" in ")[0]) == (0, "", "4 rows")
    assert rows(db) == ROWS


@pytest.mark.usefixtures("table")
def test_columns_header_delimiter_and_null_can_be_told(shell: Shell, db: ImprovedDb, tmp_path: Path) -> None:
    """For files that other programs wrote."""
    file = tmp_path / "a.txt"
    file.write_text('7;"x;y"\r\n8;NULL\r\n9;\r\n10;"NULL"\r\n')
    options = ("--input", "csv", "--delimiter", ";", "--null", "NULL", "--no-header", "--columns", "id,name")
    assert shell("load", file, "t", *options).code == 0
    assert [row[:2] for row in rows(db)] == [(7, "x;y"), (8, None), (9, ""), (10, "NULL")]


@pytest.mark.usefixtures("table")
def test_json_values_that_are_no_column_type_are_json(shell: Shell, db: ImprovedDb, tmp_path: Path) -> None:
    """--columns takes some of the keys."""
    file = tmp_path / "a.jsonl"
    file.write_text(json.dumps({"id": 1, "name": {"a": [1]}, "more": 5}) + "\n\n")
    assert shell("load", file, "t", "--columns", "id,name").code == 0
    assert rows(db)[0][:2] == (1, '{"a": [1]}')


@pytest.mark.usefixtures("table")
@pytest.mark.parametrize(
    ("name", "text", "line"),
    [
        ("a.csv", "id,name\n1,a\n2\n", "line 3: 1 fields, where the first line has 2"),
        ("a.csv", 'id,name\n1,"a\n2,b\n', "line 2: a quote is opened and never closed"),
        ("a.csv", 'id,name\n1,a"b"\n', "line 2: a quote in the middle of field 2"),
        ("a.csv", "id,\n1,a\n", "line 1: a column without a name"),
        ("a.csv", "id,name\n1,\udcff\n", "line 2: this is not UTF-8"),
        ("a.tsv", "id\tname\n1\ta\tb\n", "line 2: 3 fields, where the first line has 2"),
        ("a.jsonl", '{"id": 1}\n{"id": 2, "name": 3}\n', "line 2: the key 'name' is not in the first line"),
        ("a.jsonl", '{"id": 1, "name": 3}\n{"id": 2}\n', "line 2: the key 'name' is missing"),
        ("a.jsonl", '{"id": 1}\n[2]\n', "line 2: a JSON object is needed"),
        ("a.jsonl", '{"id": 1}\n{2}\n', "line 2: Expecting property name"),
        ("a.csv", "id,nam\n1,a\n", "has no column nam: did you mean name; nothing was loaded"),
        ("a.csv", "id,name\n1,a\nx,b\n", "1366: Incorrect integer value"),
        ("a.parquet", "PAR", "is not a Parquet file"),
    ],
)  # fmt: skip
def test_a_broken_file_loads_nothing_and_says_where(
    name: str, text: str, line: str, shell: Shell, db: ImprovedDb, tmp_path: Path
) -> None:
    """One line, exit code 1, and an empty table."""
    if name.endswith("parquet"):
        pytest.importorskip("pyarrow")
    (tmp_path / name).write_bytes(text.encode(errors="surrogateescape"))
    ran = shell("load", tmp_path / name, "t")
    assert (ran.code, ran.out, rows(db)) == (1, "", ())
    assert line in ran.err
    assert ran.err.count("\n") == 1


def test_a_table_that_is_not_there_is_one_line(shell: Shell, tmp_path: Path) -> None:
    """Before the file is read to its end."""
    (tmp_path / "a.csv").write_text("id\n1\n")
    ran = shell("load", tmp_path / "a.csv", "nothing")
    assert (ran.code, ran.err.count("\n")) == (1, 1)
    assert "1146: Table" in ran.err


def test_a_table_without_transactions_is_told_apart(shell: Shell, db: ImprovedDb, tmp_path: Path) -> None:
    """There a broken load leaves rows in, and nobody can say how many."""
    db.execute_query("create table t (id int primary key) engine=MyISAM")
    (tmp_path / "a.csv").write_text("id\n1\n2\n1\n")
    ran = shell("load", tmp_path / "a.csv", "t")
    assert ran.code == 1
    assert ran.err.endswith("; the table has no transactions and may have some of the rows\n")


@pytest.mark.usefixtures("table")
def test_a_load_in_chunks_goes_on_where_it_broke(shell: Shell, db: ImprovedDb, tmp_path: Path) -> None:
    """The line says what to type; the rows are in once each."""
    file = tmp_path / "a.csv"
    lines = [f"{number},{'x' * 40}" for number in range(100_000)]
    broken = [*lines[:90_000], "90000,a,b", *lines[90_001:]]
    file.write_text("\n".join(["id,name", *broken]) + "\n")
    ran = shell("load", file, "t", "--chunks")
    assert ran.code == 1
    assert "line 90002: 3 fields, where the first line has 2; the first " in ran.err
    done = db.fetch_value("select count(*) from t")
    assert ran.err.endswith(f"; the first {done:,} rows are in: go on with --skip {done}\n")
    assert 0 < done <= 90_000
    file.write_text("\n".join(["id,name", *lines]) + "\n")
    assert shell("load", file, "t", "--chunks", "--skip", done).code == 0
    assert db.fetch_one("select count(*), max(id) from t") == (100_000, 99_999)


def test_a_lost_answer_is_exit_code_4(rig: Rig, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """The rows in doubt are named; in one transaction it is all or none."""
    (tmp_path / "a.csv").write_text("id\n1\n2\n")
    through = Shell(url_of({**rig.options, "port": rig.proxy.port}), capsys)
    rig.proxy.on_query(b"(?i)^insert", SWALLOW_ANSWER_RST)
    ran = through("load", tmp_path / "a.csv", "t", "--chunks")
    assert ran.code == 4
    assert "the first 0 rows are in, rows 1 to 2 may or may not be: look at the table" in ran.err
    rig.ask("delete from t")
    rig.proxy.on_query(b"(?i)^commit", SWALLOW_ANSWER_RST)
    ran = through("load", tmp_path / "a.csv", "t")
    assert ran.code == 4
    assert ran.err.endswith("; either all rows are in, or none\n")


@pytest.mark.usefixtures("table")
def test_a_dry_run_reads_all_and_sends_nothing(shell: Shell, db: ImprovedDb, tmp_path: Path) -> None:
    """A broken line is found, too."""
    file = tmp_path / "a.csv"
    file.write_text("id,name\n1,a\n2,b\n")
    assert shell("load", file, "t", "--dry-run").err == "2 rows can be read; none was sent\n"
    file.write_text("id,name\n1,a\n2\n")
    assert shell("load", file, "t", "--dry-run").code == 1
    assert rows(db) == ()


@pytest.mark.usefixtures("table")
def test_rows_come_from_standard_input_and_a_log_gets_no_bar(shell: Shell, db: ImprovedDb) -> None:
    """A terminal gets one."""
    arguments = ("load", "-", "t", "--input", "csv", "-u", shell.url)
    ran = process(*arguments, stdin="id,name\n1,a\n")
    assert (ran.code, ran.out, ran.err.count("\n"), ran.err.count("\r")) == (0, "", 1, 0)
    shown = on_terminal(*arguments, typed="id,name\n2,a\n\x04").out
    assert "\r" in shown
    assert [row[0] for row in rows(db)] == [1, 2]
