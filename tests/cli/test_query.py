"""``improved-db query``: rows come out in every format as they are in the table, and nothing is changed by chance."""

from __future__ import annotations

import csv
import datetime as dt
import io
import json
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from improved_db.cli.formats import FORMATS
from tests.cli.running import on_terminal, process

if TYPE_CHECKING:
    from pathlib import Path

    from improved_db import ImprovedDb
    from tests.cli.running import Shell

LEAP = dt.datetime.fromisoformat("2024-02-29 23:59:59.500")
FIRST = dt.datetime.fromisoformat("1000-01-01 00:00:00")
VALUES = (
    (1, None, "", Decimal("12345678901234567890.10"), b"\x00\xff", LEAP, 0.1),
    (2, dt.timedelta(hours=-30), 'a,"b"\n\tc\\', Decimal(0), b"", FIRST, -1e300),
    (3, dt.timedelta(0), "\N{CJK UNIFIED IDEOGRAPH-4E2D}|\x1b[31m", None, None, None, None),
)  # fmt: skip
COLUMNS = ("id", "t", "s", "d", "b", "at", "f")


@pytest.fixture(name="values")
def _values(db: ImprovedDb) -> None:
    """A row of each difficulty."""
    db.execute_query(
        "create table v (id int primary key, t time, s varchar(50), d decimal(30,2), b blob, at datetime(1), f double)"
    )
    db.exec_many("insert into v values (%s, %s, %s, %s, %s, %s, %s)", VALUES)


@pytest.mark.usefixtures("values")
def test_json_has_every_digit_and_every_value(shell: Shell) -> None:
    """Decimals are exact, bytes hexadecimal, dates ISO; both forms of JSON have the same objects."""
    out = shell("query", "select * from v order by id", "--format", "json").out
    lines = shell("query", "select * from v order by id", "--format", "jsonl").out.splitlines()
    found: list[dict[str, Any]] = json.loads(out, parse_float=Decimal)
    assert [json.loads(line, parse_float=Decimal) for line in lines] == found
    assert found[0] == {
        "id": 1, "t": None, "s": "", "d": Decimal("12345678901234567890.10"), "b": "0x00FF",
        "at": "2024-02-29T23:59:59.500000", "f": Decimal("0.1"),
    }  # fmt: skip
    assert [row["t"] for row in found] == [None, "-30:00:00", "00:00:00"]
    assert [row["s"] for row in found] == [row[2] for row in VALUES]
    assert shell("query", "select 1 from v where id > 9", "--format", "json").out == "[]\n"


@pytest.mark.usefixtures("values")
def test_csv_is_read_back_by_pythons_reader(shell: Shell) -> None:
    """NULL is nothing, a text without characters is two quotes."""
    out = shell("query", "select id, t, s, d, b from v order by id", "--format", "csv").out
    assert list(csv.reader(io.StringIO(out, newline=""))) == [
        ["id", "t", "s", "d", "b"],
        ["1", "", "", "12345678901234567890.10", "0x00FF"],
        ["2", "-30:00:00", 'a,"b"\n\tc\\', "0.00", "0x"],
        ["3", "00:00:00", VALUES[2][2], "", ""],
    ]
    assert out.splitlines()[1] == '1,,"",12345678901234567890.10,0x00FF'


@pytest.mark.usefixtures("values")
def test_a_terminal_is_not_steered_by_data(shell: Shell) -> None:
    """Escape sequences and line ends in a value are shown, not obeyed; wide characters keep the columns straight."""
    ask = "select id, s from v order by id"
    table = shell("query", ask, "--format", "table").out
    assert table.splitlines() == [
        "id  s",
        "--  -----------",
        " 1",
        ' 2  a,"b"\\n\\tc\\',
        " 3  \N{CJK UNIFIED IDEOGRAPH-4E2D}|\\x1b[31m",
    ]
    assert shell("query", ask, "--format", "markdown").out.splitlines()[-1].endswith("\\|\\x1b[31m |")
    assert shell("query", ask, "--format", "vertical").out.splitlines()[:3] == ["*** row 1 ***", "id: 1", " s: "]


@pytest.mark.usefixtures("values")
def test_each_format_writes_something_but_null(shell: Shell) -> None:
    """`null` is for --timing."""
    for form in FORMATS:
        ran = shell("query", "select id from v", "--format", form, "--timing")
        assert (ran.code, bool(ran.out)) == (0, form != "null")
        assert ran.err.startswith("3 rows in 0.")


@pytest.mark.usefixtures("values")
def test_parquet_holds_the_values_with_their_types(shell: Shell, tmp_path: Path) -> None:
    """For other programs, without a text in between."""
    parquet = pytest.importorskip("pyarrow.parquet")
    file = tmp_path / "v.parquet"
    assert shell("query", "select * from v order by id", "--format", "parquet", "-o", file).code == 0
    assert parquet.read_table(file).to_pylist() == [dict(zip(COLUMNS, row, strict=True)) for row in VALUES]
    assert shell("query", "select * from v", "--format", "parquet", "-o", file, "--limit", 2).code == 0
    assert parquet.read_table(file).num_rows == 2
    ran = shell("query", "select * from v", "--format", "parquet")
    assert (ran.code, "a file: -o FILE" in ran.err) == (2, True)
    broken = shell("query", "select 1 from nothing", "--format", "parquet", "-o", tmp_path / "x.parquet")
    assert (broken.code, sorted(path.name for path in tmp_path.iterdir())) == (1, ["v.parquet"])


@pytest.mark.usefixtures("values")
def test_a_file_is_there_only_if_it_is_whole(shell: Shell, tmp_path: Path) -> None:
    """A statement that fails in the middle leaves no half of a result behind."""
    file = tmp_path / "v.csv"
    assert shell("query", "select id from v order by id", "-o", file).code == 0
    assert file.read_text() == "id\n1\n2\n3\n"
    ran = shell("query", "select id from v; select nothing from v", "-o", tmp_path / "w.csv")
    assert (ran.code, sorted(path.name for path in tmp_path.iterdir())) == (1, ["v.csv"])


def test_two_columns_of_one_name_are_no_json_object(shell: Shell) -> None:
    """One of them would be missing."""
    ran = shell("query", "select 1 as a, 2 as a", "--format", "json")
    assert (ran.code, ran.out) == (2, "")
    assert "two columns are called 'a'; rename one with AS" in ran.err
    assert shell("query", "select 1 as a, 2 as a").out == "a,a\n1,2\n"


def test_a_statement_that_may_change_something_needs_to_be_allowed(shell: Shell, db: ImprovedDb) -> None:
    """A function of the user's may write, too; what is not clear counts as a write."""
    db.execute_query("create table t (a int)")
    ran = shell("query", "insert into t values (1)")
    assert (ran.code, ran.out, db.fetch_value("select count(*) from t")) == (2, "", 0)
    several = shell("query", "select 1;\n\ndelete from t")
    assert "statement 2 (line 3) may change something; nothing was run" in several.err
    assert several.out == ""
    done = shell("query", "insert into t values (1), (2)", "--write")
    assert (done.code, done.out, done.err) == (0, "", "2 rows affected\n")


def test_several_statements_run_in_order_and_an_error_says_which(shell: Shell, tmp_path: Path, db: ImprovedDb) -> None:
    """Semicolons in texts and comments cut nothing."""
    db.execute_query("create table t (a varchar(20))")
    file = tmp_path / "a.sql"
    file.write_text("-- first;\ninsert into t values ('a;b');\nselect a from t; -- done;\n;\nselect * from nothing;\n")
    ran = shell("query", "-f", file, "--write")
    assert (ran.code, ran.out) == (1, "a\na;b\n")
    assert "statement 3 of 3 (line 5): 1146: " in ran.err
    assert ran.err.endswith("; the 2 before it ran\n")


def test_statements_come_from_standard_input(shell: Shell) -> None:
    """For pipes."""
    assert process("query", "-", "-u", shell.url, stdin="select 1 as a;\n") == (0, "a\n1\n", "")
    assert process("query", "-", "-u", shell.url, stdin="-- nothing\n").code == 2


def test_values_stay_values(shell: Shell) -> None:
    """What a script passes is never read as SQL; without values, a percent sign is only that."""
    ran = shell("query", "select %(name)s as n, %(id)s + 1 as i, %(no)s is null as z", "-p", "name=' or 1=1 -- =",
                "-P", "id:=41", "-P", "no:=null")  # fmt: skip
    assert ran.out == "n,i,z\n' or 1=1 -- =,42,1\n"
    assert shell("query", "select '100 %' as a").out == "a\n100 %\n"
    assert shell("query", "select %(id)s", "-p", "other=1").code == 1


def test_a_terminal_gets_a_thousand_rows_and_a_pipe_all(shell: Shell) -> None:
    """A person who forgot LIMIT is told."""
    ask = "select seq from seq_1_to_5000"
    assert shell("query", ask).out.count("\n") == 5001
    assert shell("query", ask, "--limit", 3).out == "seq\n1\n2\n3\n"
    assert shell("query", "select seq from seq_1_to_3", "--limit", 3).err == ""
    shown = on_terminal("query", ask, "-u", shell.url, "--color", "never").out
    assert shown.count("\n") == 1003
    assert shown.endswith("there are more than 1,000 rows; --limit 0 shows all\n")


def test_a_statement_that_takes_too_long_is_ended(shell: Shell) -> None:
    """--timeout is the library's."""
    ran = shell("query", "select sleep(20)", "--timeout", "0.2")
    assert (ran.code, ran.out) == (3, "")
    assert ran.err.count("\n") == 1
